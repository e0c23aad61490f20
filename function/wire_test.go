package function

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
)

// The wire tests speak HTTP over a socket to a whole server, about what the official suite leaves out.

func testKey(b byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) }

func env(pairs ...string) func(string) string {
	m := map[string]string{
		"SEALING_KEYS": testKey(1), "AUTHENTICATION": "anonymous",
		"ANONYMOUS_RATE_LIMIT_PER_SECOND": "0", "ANONYMOUS_MAX_CONCURRENT_CALLS": "0",
		"TAIEA_TOOLS": "none",
	}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

// newServer starts a server with the entries that the tests call.
func newServer(t *testing.T, opts ...Option) testServer {
	t.Helper()
	return start(t, append([]Option{WithTools(wireTools()...), WithPrompts(wirePrompt()), WithResources(wireResources()...)}, opts...)...)
}

type pair struct {
	A int `json:"a"`
	B int `json:"b,omitempty"`
}

type sharded struct {
	Shard string `json:"shard,omitempty" header:"Shard"`
	Count *int   `json:"count,omitempty" header:"Count"`
	Dry   bool   `json:"dry,omitempty" header:"Dry"`
}

func wireTools() []Tool {
	return []Tool{
		NewTool("add", "Adds.", func(_ context.Context, in pair) (pair, error) { return pair{A: in.A + in.B}, nil }),
		NewTool("list", "Answers a list.", func(context.Context, None) ([]int, error) { return []int{1, 2}, nil }),
		NewTool("shard", "Mirrors its arguments.", func(_ context.Context, in sharded) (string, error) { return "shard " + in.Shard, nil }),
		NewAction("fail", "Fails.", func(context.Context, None) error { return errors.New("the disk is full") }),
		NewAction("panic", "Panics.", func(context.Context, None) error { panic("secret: hunter2") }),
	}
}

func wirePrompt() Prompt {
	return NewPrompt("greet", "Greets.", func(_ context.Context, args map[string]string) ([]Message, error) {
		return []Message{UserSays(Text("Hello, " + args["who"]))}, nil
	}, PromptOptions{Arguments: []Argument{{Name: "who", Required: true}}, Complete: CompleteFrom("Ada", "Alan")})
}

func wireResources() []Resource {
	read := func(_ context.Context, uri string, vars map[string]string) ([]ResourceContents, error) {
		if vars["name"] == "nobody" {
			return nil, ErrNotFound
		}
		return []ResourceContents{{URI: uri, Text: "hello " + vars["name"]}}, nil
	}
	return []Resource{
		NewResource("note://größe", "note", read, ResourceOptions{}),
		NewTemplate("note://by/{name}", "notes", read, ResourceOptions{}),
	}
}

// A wire is one request as it goes over the socket.
type wire struct {
	method string // default POST
	header map[string]string
	path   string // default /mcp
	body   string
}

// request is the message as an HTTP request.
func (w wire) request(t *testing.T, url string) *http.Request {
	t.Helper()
	if w.method == "" {
		w.method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), w.method, url+cmp.Or(w.path, "/mcp"), strings.NewReader(w.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("User-Agent", "wire-test")
	for name, v := range w.header {
		if v == "-" {
			req.Header.Del(name)
		} else {
			req.Header.Set(name, v)
		}
	}
	return req
}

func (w wire) send(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	client := network.Client(t)
	defer client.CloseIdleConnections()
	resp, err := client.Do(w.request(t, url))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

const metaModern = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"sampling":{}}}`

// modern is a conforming request of 2026-07-28; params are members, without braces.
func modern(method, name, params string) wire {
	if params != "" {
		params += ","
	}
	header := map[string]string{"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
	if name != "" {
		header["Mcp-Name"] = name
	}
	return wire{header: header, body: `{"jsonrpc":"2.0","id":"one","method":"` + method + `","params":{` + params + metaModern + `}}`}
}

// with changes headers; "-" takes one away.
func (w wire) with(pairs ...string) wire {
	w.header = maps.Clone(w.header)
	if w.header == nil {
		w.header = map[string]string{}
	}
	for i := 0; i < len(pairs); i += 2 {
		w.header[pairs[i]] = pairs[i+1]
	}
	return w
}

func legacy(version, method, params string) wire {
	w := wire{header: map[string]string{}, body: `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{` + params + `}}`}
	if version != "" {
		w.header["MCP-Protocol-Version"] = version
	}
	return w
}

// answered is a JSON-RPC response.
type answered struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  json.RawMessage `json:"result"`
	Error   *fault          `json:"error"`
}

type fault struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data"`
}

func parse(t *testing.T, body string) answered {
	t.Helper()
	var a answered
	if err := json.Unmarshal([]byte(body), &a); err != nil || a.JSONRPC != "2.0" {
		t.Fatalf("not a JSON-RPC response: %q", body)
	}
	var r struct {
		Content []struct{ Text string }
		IsError bool
		Meta    struct {
			Refusal json.RawMessage `json:"erlmcp/refusal"`
		} `json:"_meta"`
	}
	if json.Unmarshal(a.Result, &r) == nil && r.IsError && r.Meta.Refusal != nil && len(r.Content) == 1 {
		// Read as the error that it would be with REFUSALS=error.
		a.Error = &fault{Message: r.Content[0].Text, Data: r.Meta.Refusal}
		json.Unmarshal(r.Meta.Refusal, a.Error)
	}
	return a
}

func (a answered) code() int {
	if a.Error == nil {
		return 0
	}
	return a.Error.Code
}

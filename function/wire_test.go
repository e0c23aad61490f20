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
	"slices"
	"strings"
	"testing"
)

// The wire tests speak HTTP over a socket to a whole server, about what the official suite leaves out.

func testKey(b byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) }

func env(pairs ...string) func(string) string {
	m := map[string]string{
		"ERLMCP_KEYS": testKey(1), "AUTHENTICATION": "anonymous",
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
	lines  [][2]string // more header lines
	path   string      // default /mcp
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
	for _, line := range w.lines {
		req.Header.Add(line[0], line[1])
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

// and adds header lines.
func (w wire) and(pairs ...string) wire {
	w.lines = slices.Clone(w.lines)
	for i := 0; i < len(pairs); i += 2 {
		w.lines = append(w.lines, [2]string{pairs[i], pairs[i+1]})
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

func TestWire(t *testing.T) {
	srv := newServer(t)
	call := modern("tools/call", "add", `"name":"add","arguments":{"a":1,"b":2}`)
	shard := func(args string, pairs ...string) wire {
		return modern("tools/call", "shard", `"name":"shard","arguments":`+args).with(pairs...)
	}
	deep := strings.Repeat(`[`, 200) + strings.Repeat(`]`, 200)
	b64 := func(s string) string { return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?=" }
	body := func(w wire, body string) wire { w.body = body; return w }
	swap := func(w wire, old, new string) wire { w.body = strings.Replace(w.body, old, new, 1); return w }

	for _, c := range []struct {
		name   string
		send   wire
		status int
		code   int    // of the JSON-RPC error; 0 for a result
		want   string // in the body
	}{
		{"call", call, 200, 0, `"structuredContent":{"a":3}`},
		{"result type", call, 200, 0, `"resultType":"complete"`},
		{"server info", call, 200, 0, `"io.modelcontextprotocol/serverInfo":{"name":"erlmcp"`},
		{"array output", modern("tools/call", "list", `"name":"list"`), 200, 0, `"structuredContent":[1,2]`},
		{"number id", swap(call, `"id":"one"`, `"id":-0.5e1`), 200, 0, `"id":-0.5e1`},
		{"content type with charset", call.with("Content-Type", "application/json; charset=utf-8"), 200, 0, ""},
		{"no Accept", call.with("Accept", "-"), 200, 0, `"a":3`},
		{"Accept: */*", call.with("Accept", "*/*"), 200, 0, `"a":3`},

		// Versions.
		{"unknown new version", swap(call.with("MCP-Protocol-Version", "2099-01-01"), "2026-07-28", "2099-01-01"), 400, -32022, `"supported":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"]`},
		{"unknown old version", swap(call.with("MCP-Protocol-Version", "2020-01-01"), "2026-07-28", "2020-01-01"), 400, -32022, `"requested":"2020-01-01"`},
		{"garbage version", swap(call.with("MCP-Protocol-Version", "v1 beta"), "2026-07-28", "v1 beta"), 400, -32022, `"requested":"v1 beta"`},
		{"unknown version without meta", legacy("2020-01-01", "tools/list", ""), 400, -32022, ""},
		{"legacy version in _meta", swap(call.with("MCP-Protocol-Version", "2025-11-25"), "2026-07-28", "2025-11-25"), 400, -32022, `"requested":"2025-11-25"`},
		{"version header unlike _meta", call.with("MCP-Protocol-Version", "2099-01-01"), 400, -32020, ""},
		{"legacy header, modern _meta", call.with("MCP-Protocol-Version", "2025-11-25"), 400, -32020, ""},
		{"no version header, modern _meta", call.with("MCP-Protocol-Version", "-"), 400, -32020, "MCP-Protocol-Version is missing"},
		{"version in _meta is a number", swap(call, `"2026-07-28"`, `20260728`), 400, -32020, ""},

		// Headers against the body.
		{"no Mcp-Method", call.with("Mcp-Method", "-"), 400, -32020, "Mcp-Method is missing"},
		{"Mcp-Method of another case", call.with("Mcp-Method", "Tools/Call"), 400, -32020, ""},
		{"no Mcp-Name", call.with("Mcp-Name", "-"), 400, -32020, "Mcp-Name is missing"},
		{"other Mcp-Name", call.with("Mcp-Name", "fail"), 400, -32020, ""},
		{"Mcp-Name in base64", call.with("Mcp-Name", b64("add")), 200, 0, `"a":3`},
		{"Mcp-Name in base64 of another name", call.with("Mcp-Name", b64("fail")), 400, -32020, ""},
		{"Mcp-Name in bad base64", call.with("Mcp-Name", "=?base64?YWR?="), 400, -32020, "base64"},
		{"Mcp-Name in base64 of no UTF-8", call.with("Mcp-Name", b64("\xff\xfe")), 400, -32020, "base64"},
		{"Mcp-Name in raw UTF-8", modern("resources/read", "note://größe", `"uri":"note://größe"`), 400, -32020, "must be base64-encoded"},
		{"uri in base64", modern("resources/read", b64("note://größe"), `"uri":"note://größe"`), 200, 0, `"text":"hello "`},
		{"x-mcp-header", shard(`{"shard":"eu","count":42,"dry":true}`, "Mcp-Param-Shard", "eu", "Mcp-Param-Count", "42.0", "Mcp-Param-Dry", "true"), 200, 0, "shard eu"},
		{"x-mcp-header in base64", shard(`{"shard":"größe"}`, "mcp-param-shard", b64("größe")), 200, 0, "shard größe"},
		{"x-mcp-header missing", shard(`{"shard":"eu"}`), 400, -32020, "Mcp-Param-Shard is missing"},
		{"x-mcp-header unlike the argument", shard(`{"shard":"eu"}`, "Mcp-Param-Shard", "us"), 400, -32020, ""},
		{"x-mcp-header without its argument", shard(`{}`, "Mcp-Param-Shard", "us"), 200, 0, "shard "},
		{"x-mcp-header of null", shard(`{"count":null}`, "Mcp-Param-Count", "7"), 200, 0, "shard "},
		{"x-mcp-header: other number", shard(`{"count":42}`, "Mcp-Param-Count", "43"), 400, -32020, ""},
		{"x-mcp-header: no number", shard(`{"count":42}`, "Mcp-Param-Count", "many"), 400, -32020, ""},
		{"x-mcp-header: True", shard(`{"dry":true}`, "Mcp-Param-Dry", "True"), 400, -32020, ""},

		// _meta.
		{"no _meta", body(call, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}`), 400, -32602, "protocolVersion"},
		{"no params", body(modern("tools/list", "", ""), `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`), 400, -32602, "_meta"},
		{"no clientCapabilities", swap(call, `"io.modelcontextprotocol/clientCapabilities"`, `"other"`), 400, -32602, "clientCapabilities"},
		{"capabilities are an array", swap(call, `{"elicitation":{},"sampling":{}}`, `[]`), 400, -32602, ""},
		{"unknown log level", swap(call, `"_meta":{`, `"_meta":{"io.modelcontextprotocol/logLevel":"loud",`), 400, -32602, "loud"},
		{"progress token is an object", swap(call, `"_meta":{`, `"_meta":{"progressToken":{},`), 400, -32602, "progressToken"},
		{"trace context of a wrong type", swap(call, `"_meta":{`, `"_meta":{"traceparent":7,`), 200, 0, ""},

		// JSON and JSON-RPC.
		{"empty body", body(call, ``), 400, -32700, ""},
		{"not JSON", body(call, `{"jsonrpc"`), 400, -32700, ""},
		{"trailing text", swap(call, `}}}}`, `}}}} x`), 400, -32700, ""},
		{"invalid UTF-8", swap(call, `"one"`, "\"\xff\""), 400, -32700, "UTF-8"},
		{"deep nesting", swap(call, `{"a":1,"b":2}`, `{"a":`+deep+`}`), 400, -32700, "nesting"},
		{"deep nesting beside the arguments", swap(call, `"_meta":{`, `"other":`+deep+`,"_meta":{`), 400, -32700, "nesting"},
		{"a string", body(call, `"hello"`), 400, -32600, ""},
		{"array", body(call, `[`+call.body+`]`), 400, -32600, "batches"},
		{"no jsonrpc", body(call, `{"id":1,"method":"tools/list"}`), 400, -32600, "jsonrpc"},
		{"jsonrpc 1.0", swap(call, `"2.0"`, `"1.0"`), 400, -32600, "jsonrpc"},
		{"null id", swap(call, `"one"`, `null`), 400, -32600, "id must be"},
		{"object id", swap(call, `"one"`, `{}`), 400, -32600, "id must be"},
		{"long id", swap(call, `"one"`, `"`+strings.Repeat("x", 600)+`"`), 400, -32600, "512"},
		{"two ids", swap(call, `"id":"one"`, `"id":1,"id":2`), 400, -32600, "duplicate"},
		{"two methods", swap(call, `"id":`, `"method":"ping","id":`), 400, -32600, "duplicate"},
		{"two names", swap(call, `"name":"add"`, `"name":"fail","name":"add"`), 400, -32602, "duplicate"},
		{"a name and its escape", swap(call, `"name":"add"`, `"n\u0061me":"fail","name":"add"`), 400, -32602, "duplicate"},
		{"two arguments of a name", swap(call, `"a":1`, `"a":1,"a":5`), 400, -32602, "duplicate"},
		{"params are an array", body(call, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}`), 400, -32600, "params"},
		{"method is a number", body(call, `{"jsonrpc":"2.0","id":1,"method":7}`), 400, -32600, "method"},
		{"posted response", body(call, `{"jsonrpc":"2.0","id":1,"result":{}}`), 400, -32600, "response"},

		// Methods and names.
		{"unknown method", modern("tools/steal", "", ""), 404, -32601, ""},
		{"initialize", modern("initialize", "", ""), 404, -32601, ""},
		{"ping", modern("ping", "", ""), 404, -32601, ""},
		{"subscriptions/listen", modern("subscriptions/listen", "", ""), 404, -32601, ""},
		{"resources/subscribe", modern("resources/subscribe", "", `"uri":"note://größe"`), 404, -32601, ""},
		{"unknown tool", modern("tools/call", "nope", `"name":"nope"`), 400, -32602, `unknown tool: \"nope\"`},
		{"no tool name", modern("tools/call", "", ``), 400, -32602, "params.name is missing"},
		{"name is a number", modern("tools/call", "7", `"name":7`), 400, -32602, "must be a string"},
		{"arguments are an array", modern("tools/call", "add", `"name":"add","arguments":[1]`), 400, -32602, "must be an object"},
		{"unknown prompt", modern("prompts/get", "nope", `"name":"nope"`), 400, -32602, ""},
		{"prompt", modern("prompts/get", "greet", `"name":"greet","arguments":{"who":"Ada"}`), 200, 0, "Hello, Ada"},
		{"prompt without a required argument", modern("prompts/get", "greet", `"name":"greet"`), 400, -32602, `\"who\"`},
		{"prompt argument of a wrong type", modern("prompts/get", "greet", `"name":"greet","arguments":{"who":1}`), 400, -32602, ""},
		{"unknown resource", modern("resources/read", "note://x", `"uri":"note://x"`), 400, -32602, `"data":{"uri":"note://x"}`},
		{"template", modern("resources/read", "note://by/ada", `"uri":"note://by/ada"`), 200, 0, "hello ada"},
		{"template with nothing there", modern("resources/read", "note://by/nobody", `"uri":"note://by/nobody"`), 400, -32602, `"uri":"note://by/nobody"`},
		{"bad cursor", modern("tools/list", "", `"cursor":"abc"`), 400, -32602, "cursor"},
		{"cursor is a number", modern("tools/list", "", `"cursor":1`), 400, -32602, "cursor"},
		{"completion", modern("completion/complete", "", `"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"who","value":"a"}`), 200, 0, `"values":["Ada","Alan"],"total":2,"hasMore":false`},
		{"completion of an unknown prompt", modern("completion/complete", "", `"ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"who","value":""}`), 400, -32602, ""},
		{"completion without argument", modern("completion/complete", "", `"ref":{"type":"ref/prompt","name":"greet"}`), 400, -32602, ""},

		// Tools that fail.
		{"arguments do not fit", modern("tools/call", "add", `"name":"add","arguments":{"a":"x"}`), 200, 0, `"isError":true`},
		{"unknown argument", modern("tools/call", "add", `"name":"add","arguments":{"a":1,"c":1}`), 200, 0, `"isError":true`},
		{"tool error", modern("tools/call", "fail", `"name":"fail"`), 200, 0, "the disk is full"},
		{"panic", modern("tools/call", "panic", `"name":"panic"`), 200, -32603, "internal error"},

		// Notifications.
		{"notification", body(call, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}`), 202, 0, ""},

		// Legacy.
		{"legacy initialize", legacy("", "initialize", `"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}`), 200, 0, `"protocolVersion":"2025-06-18"`},
		{"initialize for the modern version", legacy("", "initialize", `"protocolVersion":"2026-07-28"`), 200, 0, `"protocolVersion":"2025-11-25"`},
		{"initialize for an unknown version", legacy("", "initialize", `"protocolVersion":"1999-01-01"`), 200, 0, `"protocolVersion":"2025-11-25"`},
		{"legacy call without initialize", legacy("2025-11-25", "tools/call", `"name":"add","arguments":{"a":1}`), 200, 0, `"structuredContent":{"a":1}`},
		{"no structured list for legacy", legacy("2025-11-25", "tools/call", `"name":"list"`), 200, 0, `[{"type":"text","text":"[1,2]"}]}}`},
		{"legacy ignores Mcp-Name", legacy("2025-11-25", "tools/call", `"name":"add","arguments":{"a":1}`).with("Mcp-Name", "x", "Mcp-Method", "y"), 200, 0, ""},
		{"legacy ignores sessions", legacy("2025-11-25", "ping", "").with("Mcp-Session-Id", "x", "Last-Event-ID", "9"), 200, 0, `"result":{}`},
		{"legacy unknown method", legacy("2025-11-25", "tools/steal", ""), 200, -32601, ""},
		{"legacy discover", legacy("2025-11-25", "server/discover", ""), 200, -32601, ""},
		{"legacy unknown resource", legacy("2025-11-25", "resources/read", `"uri":"note://x"`), 200, -32002, `"uri":"note://x"`},
		{"legacy set level", legacy("2025-11-25", "logging/setLevel", `"level":"debug"`), 200, 0, `"result":{}`},
		{"legacy set unknown level", legacy("2025-11-25", "logging/setLevel", `"level":"loud"`), 200, -32602, ""},
		{"legacy list", legacy("2025-11-25", "tools/list", ""), 200, 0, `"tools":[`},
		{"legacy notification", body(legacy("2025-11-25", "", ""), `{"jsonrpc":"2.0","method":"notifications/initialized"}`), 202, 0, ""},
		{"legacy posted response", body(legacy("2025-11-25", "", ""), `{"jsonrpc":"2.0","id":1,"result":{}}`), 202, 0, ""},
		{"legacy not JSON", body(legacy("2025-11-25", "", ""), `{`), 400, -32700, ""},
		{"legacy null id", body(legacy("2025-11-25", "", ""), `{"jsonrpc":"2.0","id":null,"method":"ping"}`), 400, -32600, ""},

		// HTTP.
		{"GET", wire{method: "GET"}, 405, -32600, ""},
		{"DELETE", wire{method: "DELETE"}, 405, -32600, ""},
		{"PUT", wire{method: "PUT"}, 405, -32600, ""},
		{"form", call.with("Content-Type", "application/x-www-form-urlencoded"), 415, -32600, "Content-Type"},
		{"latin-1", call.with("Content-Type", "application/json; charset=latin1"), 415, -32600, ""},
		{"no content type", call.with("Content-Type", "-"), 415, -32600, ""},
		{"gzip", call.with("Content-Encoding", "gzip"), 415, -32600, "Content-Encoding"},
		{"foreign origin", call.with("Origin", "https://evil.example"), 403, -32600, "ALLOWED_ORIGINS"},
		{"null origin", call.with("Origin", "null"), 403, -32600, ""},
		{"loopback origin on a public server", call.with("Origin", "http://localhost:6274"), 403, -32600, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, got := c.send.send(t, srv.URL)
			if resp.StatusCode != c.status {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, c.status, got)
			}
			if resp.Header.Get("X-Request-Id") == "" {
				t.Error("no X-Request-Id")
			}
			if c.status == 202 {
				if got != "" {
					t.Errorf("202 with the body %q", got)
				}
				return
			}
			if ct := resp.Header.Get("Content-Type"); ct != "application/json" {
				t.Errorf("content type %q", ct)
			}
			if c.status == 405 && resp.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
			a := parse(t, got)
			if a.code() != c.code {
				t.Errorf("code %d, want %d: %s", a.code(), c.code, got)
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("%s does not contain %s", got, c.want)
			}
			if string(a.ID) == "null" {
				t.Errorf("a null id, which the schema forbids: %s", got)
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("a panic's value reached the client: %s", got)
			}
			if a.Error != nil && slices.Contains([]int{-32602, -32601, -32020, -32021, -32022, -32603, -32002}, a.code()) && len(a.ID) == 0 {
				t.Errorf("the error lacks the request's id: %s", got)
			}
		})
	}
}

package command_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/erlmcp/function"
	"example.com/erlmcp/function/ask"
	"example.com/erlmcp/function/internal/command"
)

type order struct {
	Text   string         `json:"text"`
	Count  int            `json:"count,omitempty" header:"Count"`
	Big    bool           `json:"big,omitempty"`
	Size   string         `json:"size,omitempty" enum:"S,M"`
	Cities []string       `json:"cities,omitempty"`
	Sizes  []int          `json:"sizes,omitempty"`
	More   map[string]any `json:"more,omitempty"`
}

// server serves tools to callers with the key, if there is one.
func server(t *testing.T) string {
	t.Helper()
	s, err := function.New(t.Context(), function.Options{Loopback: true, PageSize: 2, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Getenv: func(string) string { return "" }, Catalog: function.Catalog{Tools: []function.Tool{
		function.NewTool("order", "Takes an order.\nIt is not sent.", func(ctx context.Context, in order) (string, error) {
			function.Progress(ctx, 1, 2, "half")
			return fmt.Sprintf("%+v", in), nil
		}),
		function.NewTool("fail", "Fails.", func(context.Context, function.None) (string, error) { return "", errors.New("the disk is full") }),
		function.NewTool("ask", "Asks.", func(ctx context.Context, _ function.None) (string, error) {
			var sure bool
			return "", ask.Client(ctx, ask.Confirm("sure", "Really?", &sure))
		}),
		function.NewTool("rare", "Can be called once.", func(context.Context, function.None) (string, error) { return "here", nil }, function.ToolOptions{PerSecond: 0.0001, Burst: 1}),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return h.URL
}

// run runs a command line and returns its status and what it has printed and said.
func run(line ...string) (status int, out, said string) {
	var o, e bytes.Buffer
	status = (&command.Program{Name: "shop", Version: "1.2.3"}).Run(line, &o, &e)
	return status, o.String(), e.String()
}

func TestCall(t *testing.T) {
	url := server(t)
	for _, version := range []string{"", "2026-07-28", "2025-11-25", "2025-03-26"} {
		call := func(words ...string) (int, string, string) {
			return run(append([]string{"call", "-protocol", version, "-url", url}, words...)...)
		}
		for _, c := range []struct {
			words  []string
			status int
			want   string // "" is not looked for, beginning with ! in what is said
		}{
			{[]string{"order", "text=12"}, 0, "{Text:12 Count:0 Big:false Size: Cities:[] Sizes:[] More:map[]}\n"},
			{[]string{"order", "text=a b=c", "count=3", "big=true", "size=M"}, 0, "{Text:a b=c Count:3 Big:true Size:M Cities:[] Sizes:[] More:map[]}\n"},
			{[]string{"order", "text=", "cities=Lima, Oslo", "sizes=1,2"}, 0, "Cities:[Lima Oslo] Sizes:[1 2]"},
			{[]string{"order", "text=x", `cities=["New York, NY"]`, "sizes=[3]"}, 0, "Cities:[New York, NY] Sizes:[3]"},
			{[]string{"order", "text=x", `more={"a":[1,true]}`}, 0, "More:map[a:[1 true]]"},
			{[]string{"order", `{"text":"y","count":2}`, "big=true"}, 0, "{Text:y Count:2 Big:true"},
			{[]string{"order", "-json", "text=z"}, 0, `"content":[{"type":"text"`},
			{[]string{"order", "text=x", "count=many"}, 1, "!many"},
			{[]string{"order"}, 1, "!text"},
			{[]string{"order", "text"}, 2, `!"text" is no argument NAME=VALUE`},
			{[]string{"order", "{"}, 2, "!no JSON object"},
			{[]string{"fail"}, 1, "!shop: the disk is full\n"},
			{[]string{"nothing"}, 1, "!the server lists ask, fail, order, rare"},
			{nil, 2, "!which tool? shop tools lists them"},
			{[]string{"-x"}, 2, "!not defined: -x"},
		} {
			status, out, said := call(c.words...)
			want, where := c.want, out
			if rest, ok := strings.CutPrefix(want, "!"); ok {
				want, where = rest, said
			}
			if status != c.status || !strings.Contains(where, want) {
				t.Errorf("%s call %q: status %d, want %d with %q:\n%s%s", version, c.words, status, c.status, c.want, out, said)
			}
		}
	}
	if status, _, said := run("call", "-url", url, "ask"); status != 1 || !strings.Contains(said, "the tool asks its user, which takes a client with an interface") {
		t.Errorf("ask: status %d: %s", status, said)
	}
	if status, out, said := run("call", "-url", url+"/", "rare"); status != 0 || out != "here\n" {
		t.Errorf("rare: status %d: %s%s", status, out, said)
	}
	if status, _, said := run("call", "-url", url, "rare"); status != 1 || !strings.Contains(said, "the limit of 0.0001 calls a second on tool:rare is reached") {
		t.Errorf("rare again: status %d: %s", status, said)
	}
}

func TestTools(t *testing.T) {
	url := server(t)
	for _, version := range []string{"", "2026-07-28", "2025-11-25"} {
		status, out, said := run("tools", "-protocol", version, "-url", url)
		const want = "order text=TEXT [big=true|false] [cities=TEXT,TEXT,…] [count=NUMBER] [more=JSON] [size=S|M] [sizes=NUMBER,NUMBER,…]\n    Takes an order.\n    It is not sent.\n"
		if status != 0 || !strings.Contains(out, want) || !strings.Contains(out, "fail\n    Fails.\n") {
			t.Errorf("%s: status %d, want %s:\n%s%s", version, status, want, out, said)
		}
	}
}

// TestOtherServers: a server that speaks but one era, and answers that are none.
func TestOtherServers(t *testing.T) {
	const list = `{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"one","inputSchema":{"type":"object"}}]}}`
	const hello = `{"jsonrpc":"2.0","id":2,"result":{"protocolVersion":"2024-11-05","capabilities":{},"serverInfo":{"name":"old"}}}`
	for _, c := range []struct {
		name   string
		answer func(method string, w http.ResponseWriter, r *http.Request)
		status int
		want   string
	}{
		{"sessions and events", func(method string, w http.ResponseWriter, r *http.Request) {
			switch {
			case method == "initialize":
				w.Header().Set("Mcp-Session-Id", "s")
				w.Header().Set("Content-Type", "text/event-stream")
				fmt.Fprintf(w, ": hello\n\nevent: message\ndata: %s\n\n", hello)
			case r.Header.Get("Mcp-Session-Id") != "s" || r.Header.Get("MCP-Protocol-Version") != "2024-11-05":
				http.Error(w, "Bad Request: no session", 400)
			case method == "notifications/initialized":
				w.WriteHeader(202)
			default:
				w.Header().Set("Content-Type", "text/event-stream")
				fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\ndata: %s\n\n", list)
			}
		}, 0, "one"},
		{"an unknown method", func(method string, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			switch method {
			case "server/discover":
				fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}`)
			case "initialize":
				fmt.Fprint(w, hello)
			default:
				fmt.Fprint(w, list)
			}
		}, 0, "one"},
		{"asks for credentials", func(_ string, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "who are you?", http.StatusUnauthorized)
		}, 1, "the server answers 401 Unauthorized: who are you?\nset MCP_TOKEN"},
		{"no server of MCP", func(_ string, w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") }, 1, "the server answers 200 OK: <html>"},
		{"not there", func(_ string, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, 1, "the server answers 404 Not Found"},
		{"ends early", func(_ string, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: {}\n")
		}, 1, "without an answer"},
	} {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body := make([]byte, 4096)
			n, _ := r.Body.Read(body)
			_, rest, _ := strings.Cut(string(body[:n]), `"method":"`)
			method, _, _ := strings.Cut(rest, `"`)
			c.answer(method, w, r)
		}))
		status, out, said := run("tools", "-url", h.URL)
		h.Close()
		if status != c.status || !strings.Contains(out+said, c.want) {
			t.Errorf("%s: status %d, want %d with %q:\n%s%s", c.name, status, c.status, c.want, out, said)
		}
	}
	for _, url := range []string{"localhost:8080", "http://127.0.0.1:1/mcp"} {
		if status, _, said := run("tools", "-url", url); status == 0 || !strings.Contains(said, url) {
			t.Errorf("%s: status %d: %s", url, status, said)
		}
	}
}

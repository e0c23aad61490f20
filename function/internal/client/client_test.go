package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A script answers requests by their methods, as a server of some kind does.
type script func(w http.ResponseWriter, r *http.Request, method string, params json.RawMessage)

func serve(t *testing.T, s script) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m struct {
			Method string
			Params json.RawMessage
		}
		if err := json.Unmarshal(body, &m); err != nil {
			t.Error(err)
		}
		s(w, r, m.Method, m.Params)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func answer(w http.ResponseWriter, result string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":%s}`, result)
}

const discovered = `{"supportedVersions":["2026-07-28"]}`

// TestModern speaks to a server of 2026-07-28: the headers are those of its transport (SEP-2243), pages are read to their end, and events
// until the answer.
func TestModern(t *testing.T) {
	var called http.Header
	url := serve(t, func(w http.ResponseWriter, r *http.Request, method string, params json.RawMessage) {
		if got := r.Header.Get("Mcp-Method"); got != method || r.Header.Get("MCP-Protocol-Version") != Modern || !strings.Contains(string(params), `"io.modelcontextprotocol/protocolVersion":"2026-07-28"`) {
			t.Errorf("%s: %v, %s", method, r.Header, params)
		}
		switch {
		case method == "server/discover":
			answer(w, discovered)
		case method == "tools/list" && strings.Contains(string(params), `"cursor":"2"`):
			answer(w, `{"tools":[{"name":"b"}]}`)
		case method == "tools/list":
			answer(w, `{"tools":[{"name":"grüß","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"at":{"properties":{"n":{"x-mcp-header":"N"}}},"left":{"x-mcp-header":"Left"}}}}],"nextCursor":"2"}`)
		case method == "tools/call":
			called = r.Header
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, ": hello\n\ndata: {\"method\":\"notifications/progress\",\ndata: \"params\":{\"progress\":1}}\n\nevent: message\ndata:{\"id\":3,\"result\":{\"content\":[]}}\n\n")
		}
	})
	var told []string
	c, err := Open(t.Context(), Options{URL: url, Token: "k", Name: "n", Release: "1", Told: func(method string, params json.RawMessage) { told = append(told, method+string(params)) }})
	if err != nil || c.Version() != Modern {
		t.Fatal(c, err)
	}
	tools, err := c.Tools(t.Context())
	if err != nil || len(tools) != 2 || tools[1].Name != "b" {
		t.Fatal(tools, err)
	}
	result, err := c.Call(t.Context(), &tools[0], map[string]any{"region": " eu", "at": map[string]any{"n": 7}})
	if err != nil || string(result) != `{"content":[]}` || len(told) != 1 || told[0] != `notifications/progress{"progress":1}` {
		t.Errorf("%s, %v, told %v", result, err, told)
	}
	for name, want := range map[string]string{
		"Mcp-Name": "=?base64?Z3LDvMOf?=", "Mcp-Param-Region": "=?base64?IGV1?=", "Mcp-Param-N": "7", "Mcp-Param-Left": "", "Authorization": "Bearer k", "User-Agent": "n/1",
	} {
		if got := called.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestLegacy speaks to a server that knows only initialize: it keeps the session and the version that the server settled on.
func TestLegacy(t *testing.T) {
	for _, settled := range []string{"2025-11-25", "2024-11-05"} {
		var ready bool
		url := serve(t, func(w http.ResponseWriter, r *http.Request, method string, params json.RawMessage) {
			switch method {
			case "server/discover":
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(400)
				fmt.Fprint(w, `{"error":{"code":-32601,"message":"no such method"}}`)
			case "initialize":
				w.Header().Set("Mcp-Session-Id", "s1")
				answer(w, `{"protocolVersion":"`+settled+`"}`)
			case "notifications/initialized":
				ready = r.Header.Get("Mcp-Session-Id") == "s1" && r.Header.Get("MCP-Protocol-Version") == settled
				w.WriteHeader(202)
			case "tools/list":
				if !ready || r.Header.Get("Mcp-Session-Id") != "s1" || r.Header.Get("Mcp-Method") != "" || strings.Contains(string(params), "_meta") {
					t.Errorf("%v, %s", r.Header, params)
				}
				answer(w, `{"tools":[]}`)
			}
		})
		c, err := Open(t.Context(), Options{URL: url, Name: "n"})
		if err != nil || c.Version() != settled {
			t.Fatal(c, err)
		}
		if tools, err := c.Tools(t.Context()); err != nil || len(tools) != 0 {
			t.Error(tools, err)
		}
	}
}

// TestFaults has servers answer with what is no answer: each is told as what it is.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name    string
		version string
		s       script
		status  int // of a StatusError, 0 for none
		code    int // of an Error, 0 for none
		says    string
	}{
		{"not signed in", "", func(w http.ResponseWriter, _ *http.Request, _ string, _ json.RawMessage) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="x"`)
			w.WriteHeader(401)
		}, 401, 0, "401 Unauthorized"},
		{"not allowed, in words", "", func(w http.ResponseWriter, _ *http.Request, _ string, _ json.RawMessage) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(403)
			fmt.Fprint(w, `{"error":{"code":2001,"message":"not you"}}`)
		}, 403, 2001, "not you (2001)"},
		{"a web page", Modern, func(w http.ResponseWriter, _ *http.Request, _ string, _ json.RawMessage) {
			fmt.Fprint(w, "<html>"+strings.Repeat("é", 400))
		}, 200, 0, "…"},
		{"JSON that is no message", Modern, func(w http.ResponseWriter, _ *http.Request, _ string, _ json.RawMessage) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `[]`)
		}, 200, 0, "[]"},
		{"events that end", Modern, func(w http.ResponseWriter, _ *http.Request, _ string, _ json.RawMessage) {
			w.Header().Set("Content-Type", "text/event-stream")
		}, 0, 0, "without an answer"},
		{"an event that is no message", Modern, func(w http.ResponseWriter, _ *http.Request, _ string, _ json.RawMessage) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: x\n\n")
		}, 0, 0, "no message"},
		{"initialize without a version", Legacy, func(w http.ResponseWriter, _ *http.Request, _ string, _ json.RawMessage) { answer(w, `{}`) }, 0, 0, "initialize with {}"},
		{"no notification is taken", Legacy, func(w http.ResponseWriter, _ *http.Request, method string, _ json.RawMessage) {
			if method != "initialize" {
				w.WriteHeader(500)
				return
			}
			answer(w, `{"protocolVersion":"2025-11-25"}`)
		}, 500, 0, "500"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(t.Context(), Options{URL: serve(t, c.s), Version: c.version})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, want %q", err, c.says)
			}
			var status *StatusError
			if errors.As(err, &status) != (c.status != 0) || status != nil && status.Status != c.status {
				t.Errorf("status %+v", status)
			}
			var wire *Error
			if errors.As(err, &wire) != (c.code != 0) || wire != nil && wire.Code != c.code {
				t.Errorf("error %+v", wire)
			}
		})
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	if _, err := Open(t.Context(), Options{URL: gone.URL}); err == nil {
		t.Error("nobody is there")
	}
	endless := serve(t, func(w http.ResponseWriter, _ *http.Request, method string, _ json.RawMessage) {
		answer(w, map[bool]string{true: discovered, false: `{"tools":[],"nextCursor":"again"}`}[method == "server/discover"])
	})
	c, err := Open(t.Context(), Options{URL: endless})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Tools(t.Context()); err == nil || !strings.Contains(err.Error(), "has no end") {
		t.Error(err)
	}
}

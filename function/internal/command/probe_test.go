package command

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestProbeRemote asks servers of which each lacks one thing.
func TestProbeRemote(t *testing.T) {
	const up, ready, tools = `{"status":"up","version":"3.2.1"}`, `{"status":"ready","degraded":[]}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"x"}]}}`
	const denied = `{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"who are you?"}}`
	p := &Program{Version: "3.2.1"}
	for _, c := range []struct {
		name               string
		health, ready, mcp string
		status             int // of /mcp
		token              string
		want               string // "" for a server that serves
	}{
		{"all well", up, ready, tools, 200, "token", ""},
		{"asks for credentials", up, ready, denied, 401, "", ""},
		{"refuses the credential", up, ready, denied, 401, "token", "answers 401"},
		{"refuses by policy", up, ready, `{"jsonrpc":"2.0","id":1,"error":{"code":2001,"message":"refused","data":{"reason":"insufficient_scope"}}}`, 403, "token", ""},
		{"refuses a tenant that is not listed", up, ready, `{"jsonrpc":"2.0","id":1,"error":{"code":2001,"message":"refused","data":{"reason":"not_entitled"}}}`, 200, "token", ""},
		{"is overloaded", up, ready, `{"jsonrpc":"2.0","id":1,"error":{"code":1005,"message":"refused","data":{"reason":"backpressure"}}}`, 200, "token", "answers 200"},
		{"no server of ours", "<html>", ready, tools, 200, "", "not healthy"},
		{"another version", `{"status":"up","version":"0.0.1"}`, ready, tools, 200, "", "has version v0.0.1"},
		{"degraded", up, `{"status":"ready","degraded":["governor"]}`, tools, 200, "", "degraded"},
		{"fails", up, ready, denied, 500, "", "answers 500"},
		{"no JSON", up, ready, "oops", 200, "", "oops"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != map[bool]string{true: "Bearer " + c.token}[c.token != ""] {
				t.Errorf("%s: Authorization %q", c.name, r.Header.Get("Authorization"))
			}
			if r.URL.Path == "/mcp" {
				w.WriteHeader(c.status)
			}
			io.WriteString(w, map[string]string{"/health": c.health, "/ready": c.ready, "/mcp": c.mcp}[r.URL.Path])
		}))
		err := p.probeHealth(t.Context(), srv.URL, c.token, "v"+p.Version)
		if err == nil {
			err = p.probeEras(t.Context(), srv.URL, c.token, io.Discard)
		}
		srv.Close()
		if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

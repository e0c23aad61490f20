package streamhttp

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/mcp"
)

// send has a handler answer a call of a tool of [bench], with header lines changed: "-" takes one away, and a second value is another line.
func send(t *testing.T, handler http.Handler, version, tool, meta, prefix string, lines ...string) (int, string) {
	t.Helper()
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `"}}`
	r := readRequest(t, "POST /mcp HTTP/1.1\nHost: localhost\n\n"+prefix+body+"\n")
	if version == mcp.Version20260728 {
		body = strings.Replace(body, `"}}`, `","_meta":{`+meta+`"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`, 1)
		r = readRequest(t, "POST /mcp HTTP/1.1\nHost: localhost\nMcp-Method: tools/call\nMcp-Name: "+tool+"\n\n"+prefix+body+"\n")
	}
	r.Header.Set("MCP-Protocol-Version", version)
	r.Header.Set("Content-Type", "application/json")
	given := map[string]bool{}
	for i := 0; i < len(lines); i += 2 {
		if name := lines[i]; lines[i+1] == "-" {
			r.Header.Del(name)
		} else if given[name] {
			r.Header.Add(name, lines[i+1])
		} else {
			r.Header.Set(name, lines[i+1])
			given[name] = true
		}
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestListsOfHTTP(t *testing.T) {
	handler := newTestHandler(t, "")
	const events = "event: message\ndata: "
	for _, version := range []string{mcp.Version20260728, mcp.Version20250618} {
		for _, c := range []struct{ accept, begins string }{
			{"application/json", "{"},
			{"APPLICATION/JSON, TEXT/EVENT-STREAM", "{"},
			{"application/json;q=0.1, text/event-stream;q=1", "{"},
			{"application/json ; charset=utf-8,text/event-stream", "{"},
			{"*/*", "{"},
			{"*", "{"},
			{"application/*", "{"},
			{"text/html, */*;q=0.1", "{"},
			{"text/html", "{"},
			{"", "{"},
			{", ,", "{"},
			{"text/event-stream", events},
			{"Text/Event-Stream", events},
			{"text/*", events},
			{"TEXT/*;q=0.5", events},
			{"application/json;q=0, text/event-stream", events},
			{"application/json;Q=0.000, */*", events},
			{"application/json; q=0, text/event-stream; q=0.5", events},
			{`text/event-stream;a="x, application/json;q=1"`, events},
			{"text/event-stream;q=0, */*", "{"},
			{"text/event-stream;q=0", "{"},
			{"application/*;q=0, application/json", "{"},
			{"*/*;q=0, text/event-stream", events},
			{"x-application/json, text/event-stream", events},
		} {
			if _, got := send(t, handler, version, "say", "", "", "Accept", c.accept); !strings.HasPrefix(got, c.begins) || !strings.Contains(got, `said\nall`) {
				t.Errorf("%s: Accept: %s: %s", version, c.accept, got)
			}
		}
		if _, got := send(t, handler, version, "say", "", "", "Accept", "text/html", "Accept", "text/event-stream"); !strings.HasPrefix(got, events) {
			t.Errorf("%s: Accept on two lines: %s", version, got)
		}
		for _, c := range []struct {
			contentType, encoding string
			status                int
		}{
			{"application/json", "-", 200},
			{"Application/JSON", "-", 200},
			{"application/json;charset=UTF-8", "-", 200},
			{`application/json; charset="utf-8"`, "-", 200},
			{"application/json; charset='utf-8'", "-", 200},
			{"application/json; Charset=utf8", "-", 200},
			{"application/json ;charset=utf_8", "-", 200},
			{"application/json;charset=us-ascii", "-", 200},
			{"application/json; charset=", "-", 200},
			{"application/json;", "-", 200},
			{"application/json; version=1; charset=utf-8", "-", 200},
			{"application/json; odata", "-", 200},
			{"application/json, application/json", "-", 200},
			{"application/json; charset=utf-8, application/json", "-", 200},
			{"application/json, text/plain", "-", 415},
			{"application/json; charset=latin1", "-", 415},
			{"application/json; charset=utf-16", "-", 415},
			{`text/plain; a="application/json"`, "-", 415},
			{"application/jsonl", "-", 415},
			{"", "-", 415},
			{"application/json", "identity", 200},
			{"application/json", "IDENTITY", 200},
			{"application/json", "identity, identity", 200},
			{"application/json", "", 200},
			{"application/json", " , ", 200},
			{"application/json", "gzip", 415},
			{"application/json", "identity, gzip", 415},
		} {
			if status, got := send(t, handler, version, "say", "", "", "Content-Type", c.contentType, "Content-Encoding", c.encoding); status != c.status {
				t.Errorf("%s: Content-Type: %s, Content-Encoding: %s: %d %s", version, c.contentType, c.encoding, status, got)
			}
		}
		if status, got := send(t, handler, version, "say", "", "", "Content-Encoding", "identity", "Content-Encoding", "gzip"); status != 415 {
			t.Errorf("%s: Content-Encoding on two lines: %d %s", version, status, got)
		}
		for prefix, want := range map[string]int{"\ufeff": 200, "\ufeff \r\n\t": 200, "\ufeff\ufeff": 400, " \ufeff": 400, "\xfe\xff": 400, "\ufeff\ufeffx": 400} {
			if status, got := send(t, handler, version, "say", "", prefix); status != want {
				t.Errorf("%s: a body that begins with %q: %d %s", version, prefix, status, got)
			}
		}
	}
	for accept, begins := range map[string]string{"application/json, text/*": events, "application/json, text/event-stream;q=0": "{", "Application/JSON, */*;q=0.1": events} {
		if _, got := send(t, handler, mcp.Version20260728, "talk", `"progressToken":1,`, "", "Accept", accept); !strings.HasPrefix(got, begins) || !strings.Contains(got, "talked") {
			t.Errorf("progress, with Accept: %s: %s", accept, got)
		}
	}
}

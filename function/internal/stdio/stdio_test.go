package stdio

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/mcp"
)

// serve has a handler answer lines, and returns what is written, in order.
func serve(t *testing.T, handler http.HandlerFunc, lines ...string) []string {
	t.Helper()
	var out strings.Builder
	mirrors := func(tool string) []mcp.HeaderParam {
		if tool == "shard" {
			return []mcp.HeaderParam{mcp.NewHeaderParam("Shard", []string{"of", "shard"}), mcp.NewHeaderParam("Count", []string{"count"})}
		}
		return nil
	}
	if err := Serve(t.Context(), Options{Handler: handler, Mirrors: mirrors}, strings.NewReader(strings.Join(lines, "\n")), &out); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

const modern = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}`

// TestHeaders: each message has the headers that it would have over HTTP.
func TestHeaders(t *testing.T) {
	const hello = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}`
	for _, c := range []struct {
		line, want string
	}{
		{`{"id":1,"method":"tools/list","params":{` + modern + `}}`, "Mcp-Method=tools/list Mcp-Protocol-Version=2026-07-28"},
		{`{"id":1,"method":"tools/call","params":{"name":"größe",` + modern + `}}`, "Mcp-Method=tools/call Mcp-Name==?base64?Z3LDtsOfZQ==?= Mcp-Protocol-Version=2026-07-28"},
		{`{"id":1,"method":"tools/call","params":{"name":"shard","arguments":{"of":{"shard":"a"},"count":2},` + modern + `}}`,
			"Mcp-Method=tools/call Mcp-Name==?base64?c2hhcmQ=?= Mcp-Param-Count==?base64?Mg==?= Mcp-Param-Shard==?base64?YQ==?= Mcp-Protocol-Version=2026-07-28"},
		{`{"id":1,"method":"tools/call","params":{"name":"shard","arguments":{"of":3},` + modern + `}}`, "Mcp-Method=tools/call Mcp-Name==?base64?c2hhcmQ=?= Mcp-Protocol-Version=2026-07-28"},
		{`{"id":1,"method":"resources/read","params":{"uri":"a://b",` + modern + `}}`, "Mcp-Method=resources/read Mcp-Name==?base64?YTovL2I=?= Mcp-Protocol-Version=2026-07-28"},
		{`{"id":1,"method":"prompts/get","params":{"name":"p",` + modern + `}}`, "Mcp-Method=prompts/get Mcp-Name==?base64?cA==?= Mcp-Protocol-Version=2026-07-28"},
		{`{"id":1,"method":"tools/list"}`, "Mcp-Protocol-Version=2025-06-18"},
		{`[{"id":1,"method":"tools/list"}]`, "Mcp-Protocol-Version=2025-06-18"},
		{`{"id":1,"method":"tools/list","params":[]}`, "Mcp-Protocol-Version=2025-06-18"},
		{`oops`, "Mcp-Protocol-Version=2025-06-18"},
	} {
		out := serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if strings.Contains(string(body), "initialize") {
				if r.Header.Get("MCP-Protocol-Version") != "" {
					t.Error("initialize has a version")
				}
				fmt.Fprint(w, `{"id":0,"result":{"protocolVersion":"2025-06-18"}}`)
				return
			}
			var names []string
			for name, values := range r.Header {
				if strings.HasPrefix(name, "Mcp-") {
					names = append(names, name+"="+values[0])
				}
			}
			slices.Sort(names)
			fmt.Fprint(w, strings.Join(names, " "))
		}, hello, c.line)
		if out[len(out)-1] != c.want {
			t.Errorf("%s: %q, want %q", c.line, out[len(out)-1], c.want)
		}
	}
}

// TestAnswers: whatever form an answer has, it is lines.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name, media string
		writes      []string
		want        []string
	}{
		{"a body", "application/json", []string{`{"id":1}`}, []string{`{"id":1}`}},
		{"a body in parts", "application/json", []string{`{"id"`, `:1}`}, []string{`{"id":1}`}},
		{"a body of several lines", "application/json", []string{"{\n \"id\": 1\n}\n"}, []string{`{"id":1}`}},
		{"events", "text/event-stream", []string{"data: {\"a\":1}\n\n", "data: {\"id\":1}\n\n"}, []string{`{"a":1}`, `{"id":1}`}},
		{"events in parts", "text/event-stream", []string{"id: 1\nda", "ta: {\"a\":1}\n", "\ndata: {\"id\":1}\n\n"}, []string{`{"a":1}`, `{"id":1}`}},
		{"nothing", "", nil, []string{""}},
	} {
		out := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", c.media)
			for _, text := range c.writes {
				io.WriteString(w, text)
			}
		}, `{"id":1,"method":"x"}`)
		if !slices.Equal(out, c.want) {
			t.Errorf("%s: %q, want %q", c.name, out, c.want)
		}
	}
}

// TestAtOnce: calls run side by side, a notification is served before what follows it, and a call that is cancelled has no answer.
func TestAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		out := serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			switch {
			case strings.Contains(string(body), "slow"):
				select {
				case <-r.Context().Done():
				case <-time.After(time.Hour):
				}
				fmt.Fprint(w, "slow")
			case strings.Contains(string(body), "second"):
				time.Sleep(time.Second)
				fmt.Fprint(w, "second")
			default:
				fmt.Fprint(w, "first")
			}
		}, `{"id":"a","method":"slow"}`, `{"id":2,"method":"second"}`, `{"method":"notifications/x"}`,
			`{"method":"notifications/cancelled","params":{"requestId":"a"}}`, `{"method":"notifications/cancelled","params":{"requestId":"b"}}`)
		if took := time.Since(begin); took != time.Second || !slices.Equal(out, []string{"first", "second"}) {
			t.Errorf("%q after %v", out, took)
		}
	})
}

func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, client := io.Pipe()
		defer client.Close()
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		go io.WriteString(client, `{"id":1,"method":"x"}`+"\n")
		if err := Serve(ctx, Options{Handler: handler}, in, io.Discard); err != nil {
			t.Error(err)
		}
	})
}

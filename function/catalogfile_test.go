package function

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/receipt"
)

// upstream is an API that the tools of these tests call.
func upstream(t *testing.T) (url string) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /here/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "here")
	})
	mux.HandleFunc("GET /broken/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("GET /late/", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("GET /no/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) })
	return network.Serve(t, mux)
}

// A termed tool is one that each kind of tool is made to be: what the API answers at the path of its kind, under these terms, in words of
// the catalog file and of Go.
type termed struct {
	name, path, line string
	options          ToolOptions
}

var governedTools = []termed{
	{"x_rare", "/here", "limits: {perSecond: 0.01, burst: 1}", ToolOptions{PerSecond: 0.01, Burst: 1}},
	{"x_daily", "/here", "limits: {perDay: 1}", ToolOptions{PerDay: 1}},
	{"x_heavy", "/here", "limits: {perSecond: 0.01, burst: 3, weight: 2}", ToolOptions{PerSecond: 0.01, Burst: 3, Weight: 2}},
	{"x_tried", "/here", "limits: {perSecond: 0.01, burst: 1, dryRun: true}", ToolOptions{PerSecond: 0.01, Burst: 1, DryRun: true}},
	{"x_killed", "/here", "", ToolOptions{}},
	{"crm_stopped", "/here", "", ToolOptions{}},
	{"x_slowed", "/here", "", ToolOptions{}},
	{"x_hidden", "/here", `allow: 'principal.tenant != "local"'`, ToolOptions{AllowWhen: []Condition{{When: `principal.tenant != "local"`}}}},
	{"x_bounded", "/here", "allow: {when: args.a < 10, message: too much}", ToolOptions{AllowWhen: []Condition{{When: "args.a < 10", Message: "too much"}}}},
	{"x_sure", "/here", "confirm: {when: args.a > 1, message: Is that right}", ToolOptions{ConfirmWhen: []Condition{{When: "args.a > 1", Message: "Is that right"}}}},
	{"x_sealed", "/here", "requireReceipt: true", ToolOptions{RequireReceipt: true}},
	{"x_scoped", "/here", "scopes: [admin]", ToolOptions{Scopes: []string{"admin"}}},
	{"x_late", "/late", "timeout: 500ms", ToolOptions{Timeout: time.Second / 2}},
	{"x_asks", "/no", "", ToolOptions{}},
	{"x_ruled", "/here", "", ToolOptions{}},
	{"away_broken", "/broken", "", ToolOptions{}},
}

// calls of them, one after the other.
var governedCalls = [][2]string{
	{"x_rare", `{"a":1}`}, {"x_rare", `{"a":1}`}, {"x_daily", `{"a":1}`}, {"x_daily", `{"a":1}`}, {"x_heavy", `{"a":1}`}, {"x_heavy", `{"a":1}`}, {"x_tried", `{"a":1}`}, {"x_tried", `{"a":1}`},
	{"x_rare", `{"a":"x"}`}, {"x_killed", `{"a":1}`}, {"crm_stopped", `{"a":1}`}, {"x_slowed", `{"a":1}`}, {"x_slowed", `{"a":1}`}, {"x_hidden", `{"a":1}`}, {"x_bounded", `{"a":1}`}, {"x_bounded", `{"a":10}`},
	{"x_sure", `{"a":1}`}, {"x_sure", `{"a":2}`}, {"x_sealed", `{"a":1}`}, {"x_scoped", `{"a":1}`}, {"x_late", `{"a":1}`}, {"x_asks", `{"a":1}`}, {"x_ruled", `{"a":1}`}, {"x_ruled", `{"a":99}`},
	{"away_broken", `{"a":1}`}, {"away_broken", `{"a":1}`}, {"away_broken", `{"a":1}`},
}

// asGo are the tools as Go functions.
func asGo() (tools []Tool) {
	for _, g := range governedTools {
		o := g.options
		o.Upstream, _, _ = strings.Cut(g.name, "_")
		o.Breaker, o.ReadOnly, o.Idempotent = Breaker{Failures: 2, Rest: time.Minute}, true, true
		if o.Timeout == 0 {
			o.Timeout = 20 * time.Second
		}
		tools = append(tools, NewTool(g.name, "Is governed.", func(ctx context.Context, _ pair) (string, error) {
			switch g.path {
			case "/broken":
				return "", fmt.Errorf("%w: it answers 503", ErrUnavailable)
			case "/late":
				<-ctx.Done()
				return "", ctx.Err()
			case "/no":
				return "", errors.New("it answers 400")
			}
			return "here", nil
		}, o))
	}
	return tools
}

// asRequests is a catalog file that writes them as requests, and asOperations one that makes them of an OpenAPI document.
func asRequests(t *testing.T, url string) string {
	return declaredTools(t, func(source string) string { return "rest: " + url }, func(g termed, name string) string {
		return "name: " + name + ", request: GET " + g.path + "/" + name + ", description: Is governed., arguments: {a: integer, b: {type: integer, optional: true}}"
	})
}

func asOperations(t *testing.T, url string) string {
	var paths strings.Builder
	for _, g := range governedTools {
		_, id, _ := strings.Cut(g.name, "_")
		fmt.Fprintf(&paths, "  /%s:\n    servers: [{url: '%s'}]\n    get: {operationId: %s, summary: Is governed., parameters: [{name: a, in: query, required: true, schema: {type: integer}}, "+
			"{name: b, in: query, schema: {type: integer}}], responses: {'200': {description: here}}}\n", id, url+g.path, id)
	}
	file := filepath.Join(t.TempDir(), "openapi.yaml")
	writeFile(t, file, "openapi: 3.1.0\ninfo: {title: T, version: '1'}\npaths:\n"+paths.String())
	return declaredTools(t, func(string) string { return "openapi: " + file }, func(_ termed, name string) string { return "match: " + name })
}

func declaredTools(t *testing.T, from func(source string) string, tool func(g termed, name string) string) string {
	text := "catalog: 1\nsources:\n"
	for _, source := range []string{"x", "crm", "away"} {
		text += "- name: " + source + "\n  " + from(source) + "\n  retries: {max: 0}\n  breaker: {failures: 2, rest: 1m}\n  tools:\n"
		for _, g := range governedTools {
			if of, name, _ := strings.Cut(g.name, "_"); of == source {
				line := tool(g, name)
				if g.line != "" {
					line += ", " + g.line
				}
				text += "  - {" + line + "}\n"
			}
		}
	}
	return writeFile(t, filepath.Join(t.TempDir(), "catalog.yaml"), text)
}

// decisive finds what of an answer is the governor's, and not the tool's own words.
var decisive = regexp.MustCompile(`"code":-?[0-9]+|"reason":"[^"]*"|"scope":"[^"]*"|"limit":"[^"]*"|"isError":true|"inputRequests"|unknown tool|"text":"here"|too much`)

// govern plays the calls, and returns what was decided, recorded and counted.
func govern(t *testing.T, send func(tool, arguments string) wire, declare func(url string) string) (told, receipts []string, counted string) {
	t.Helper()
	m := NewInMemoryStore()
	defer m.Close()
	rate := 0.01
	if _, err := m.of().Store.Change(t.Context(), func(d *directives.Directives) error {
		return errors.Join(d.Kill(directives.Kill{Scope: "tool:x_killed", Reason: "it leaks", At: time.Now()}),
			d.Kill(directives.Kill{Scope: "upstream:crm", Reason: "it is away", At: time.Now()}),
			d.Override(directives.Override{Scope: "tool:x_slowed", Limits: directives.Limits{PerSecond: &rate}, At: time.Now()}))
	}); err != nil {
		t.Fatal(err)
	}
	tools := asGo()
	settings := []string{"EGRESS_ALLOW", "127.0.0.1", "POLICY_FILE", writeFile(t, "", `rules: [{name: ruled, when: 'tool.name == "x_ruled" && has(args.a) && args.a > 50', then: deny, message: not so many}]`)}
	if declare != nil {
		tools = nil
		settings = append(settings, "CATALOG_FILE", declare(upstream(t)))
	}
	url, store, end := recorded(t, tools, WithMemory(m), WithGetenv(env(settings...)))
	var ids []string
	for _, call := range governedCalls {
		resp, got := send(call[0], call[1]).send(t, url)
		ids = append(ids, resp.Header.Get("X-Request-Id"))
		told = append(told, fmt.Sprint(call[0], " ", resp.StatusCode, " ", decisive.FindAllString(got, -1)))
	}
	_, text := scrape(t, url)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "tools_called_total") || strings.HasPrefix(line, "erlmcp_governor_decisions_total") || strings.HasPrefix(line, "erlmcp_policy") {
			counted += line
		}
	}
	end()
	for i, id := range ids {
		for _, r := range find(t, store, id) {
			r.ID, r.Principal, r.Instance, r.Seq, r.Previous, r.Hash, r.Time, r.Catalog = governedCalls[i][0], "", "", 0, receipt.Hash{}, receipt.Hash{}, time.Time{}, ""
			r.Policy, r.Trace, r.Duration = "", "", 0
			if r.Reason != "" {
				r.Result = receipt.Hash{} // it has the tool's own words
			}
			receipts = append(receipts, fmt.Sprintf("%+v", r))
		}
	}
	return told, receipts, counted
}

// TestDeclaredToolsAreGovernedAlike plays the same calls to Go functions, to requests of a catalog file and to operations of an OpenAPI document,
// under the same terms, in both eras: decisions, receipts and counts are the same.
func TestDeclaredToolsAreGovernedAlike(t *testing.T) {
	for era, send := range map[string]func(tool, arguments string) wire{
		"modern": func(tool, arguments string) wire {
			return modern("tools/call", tool, `"name":"`+tool+`","arguments":`+arguments)
		},
		"legacy": func(tool, arguments string) wire {
			return legacy("2025-11-25", "tools/call", `"name":"`+tool+`","arguments":`+arguments)
		},
	} {
		var want, wantReceipts []string
		var wantCounted string
		synctest.Test(t, func(t *testing.T) { want, wantReceipts, wantCounted = govern(t, send, nil) })
		for kind, declare := range map[string]func(*testing.T, string) string{"requests": asRequests, "operations": asOperations} {
			synctest.Test(t, func(t *testing.T) {
				got, receipts, counted := govern(t, send, func(url string) string { return declare(t, url) })
				for i := range want {
					if got[i] != want[i] {
						t.Errorf("%s, %s: %s, and of a Go function %s", era, kind, got[i], want[i])
					}
				}
				for i := range max(len(receipts), len(wantReceipts)) {
					if i >= len(receipts) || i >= len(wantReceipts) || receipts[i] != wantReceipts[i] {
						t.Errorf("%s, %s: recorded %q, and of a Go function %q", era, kind, receipts[i:min(i+1, len(receipts))], wantReceipts[i:min(i+1, len(wantReceipts))])
					}
				}
				if counted != wantCounted || !strings.Contains(counted, `"x_rare"`) {
					t.Errorf("%s, %s: counted\n%s\nand of Go functions\n%s", era, kind, counted, wantCounted)
				}
			})
		}
	}
}

// TestCatalogFileIsFollowed changes the file, and a document that it names, under a running server.
func TestCatalogFileIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		file, document := filepath.Join(dir, "catalog.yaml"), filepath.Join(dir, "openapi.json")
		at := upstream(t)
		operation := func(ids ...string) {
			var paths []string
			for _, id := range ids {
				paths = append(paths, `"/`+id+`":{"get":{"operationId":"`+id+`","summary":"Is here.","responses":{"200":{"description":"here"}}}}`)
			}
			writeFile(t, document, `{"openapi":"3.0.3","info":{"title":"T","version":"1"},"servers":[{"url":"`+at+`"}],"paths":{`+strings.Join(paths, ",")+`}}`)
		}
		operation("here")
		const good = "catalog: 1\nsources:\n- {name: x, openapi: openapi.json, tools: [{match: \"*\"}]}\n"
		writeFile(t, file, good)
		url := newServer(t, WithGetenv(env("EGRESS_ALLOW", "127.0.0.1", "CATALOG_FILE", file))).URL
		list := func() (names string) {
			_, got := modern("tools/list", "", "").send(t, url)
			for _, m := range regexp.MustCompile(`"name":"(x_\w+)"`).FindAllStringSubmatch(got, -1) {
				names += m[1] + " "
			}
			return names
		}
		ready := func() string {
			resp, err := fetch(t, url+"/ready")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			return string(b)
		}
		if got := list(); got != "x_here " {
			t.Fatal(got)
		}
		for _, c := range []struct {
			what   string
			change func()
			want   string
			fault  string // in /ready; "" for none
		}{
			{"a tool more, of the document", func() { operation("here", "no") }, "x_here x_no ", ""},
			{"another catalog", func() { writeFile(t, file, strings.Replace(good, "*", "no", 1)) }, "x_no ", ""},
			{"a member that there is not", func() { writeFile(t, file, good+"source: []\n") }, "x_no ", `line 4: the file has no member \"source\"`},
			{"a match of nothing", func() { writeFile(t, file, strings.Replace(good, "*", "listInvoices", 1)) }, "x_no ", "listInvoices matches no operation"},
			{"a name of the program's", func() {
				writeFile(t, file, "catalog: 1\nsources:\n- {name: add, texts: {dir: ., as: resources, search: true}}\n- {name: x, rest: '"+at+"', tools: [{name: y, request: GET /here/, description: D., limits: {perSecond: -1}}]}\n")
			}, "x_no ", "a number from 0 on"},
			{"mended", func() { writeFile(t, file, good) }, "x_here x_no ", ""},
			{"a document that can't be read", func() { writeFile(t, document, "{") }, "x_here x_no ", "openapi.json"},
			{"a document that can", func() { operation("here") }, "x_here ", ""},
			{"no file", func() { os.Remove(file) }, "x_here ", "no such file"},
			{"the same file again", func() { writeFile(t, file, good) }, "x_here ", ""},
			{"no file once more", func() { os.Remove(file) }, "x_here ", "no such file"},
			{"a file again", func() { writeFile(t, file, strings.Replace(good, "name: x", "name: x_z", 1)) }, "x_z_here ", ""},
		} {
			time.Sleep(3 * time.Second) // a change within the same tick of the clock of files hides behind the one before
			c.change()
			time.Sleep(waitAge)
			if list(); c.what != "" { // the first call looks
				synctest.Wait()
			}
			if got := list(); got != c.want {
				t.Errorf("%s: %s, want %s", c.what, got, c.want)
			}
			if got := ready(); c.fault != "" && !strings.Contains(got, c.fault) || c.fault == "" && !strings.Contains(got, `"degraded":[]`) {
				t.Errorf("%s: /ready says %s, want %s", c.what, got, c.fault)
			}
		}
	})
}

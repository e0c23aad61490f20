package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/verify"
)

// WithSearch has callers who see more tools than so many search for them.
func WithSearch(above int) Option {
	return func(o *Options) { o.Catalog.Search = &Search{Above: above} }
}

// decidedTools are decided in each way that there is.
func decidedTools() []Tool {
	say := func(context.Context, pair) (string, error) { return "here", nil }
	local := `principal.tenant == "local"`
	return append(wireTools(),
		NewTool("rare", "Once in a while.", say, ToolOptions{PerSecond: 0.01, Burst: 1}),
		NewTool("daily", "Once a day.", say, ToolOptions{PerDay: 1}),
		NewTool("heavy", "Weighs two.", say, ToolOptions{PerSecond: 0.01, Burst: 3, Weight: 2}),
		NewTool("tried", "Would be refused.", say, ToolOptions{PerSecond: 0.01, Burst: 1, DryRun: true}),
		NewTool("killed", "Is killed.", say),
		NewTool("stopped", "Calls what is killed.", say, ToolOptions{Upstream: "crm"}),
		NewTool("slowed", "Has a limit of an operator.", say),
		NewTool("hidden", "Is hidden.", say, ToolOptions{AllowWhen: []Condition{{When: "!(" + local + ")"}}}),
		NewTool("bounded", "Takes no large numbers.", say, ToolOptions{AllowWhen: []Condition{{When: "args.a < 10", Message: "too much"}}}),
		NewTool("sure", "Asks first.", say, ToolOptions{ConfirmWhen: []Condition{{When: "args.a > 1", Message: "Is that right?"}}}),
		NewTool("sealed", "Is recorded first.", say, ToolOptions{RequireReceipt: true}),
		NewTool("broken", "Calls what is away.", func(context.Context, pair) (string, error) {
			return "", fmt.Errorf("%w: the line is dead", ErrUnavailable)
		}, ToolOptions{Breaker: Breaker{Failures: 2, Rest: time.Minute}}),
		NewTool("late", "Takes too long.", func(ctx context.Context, _ pair) (string, error) { <-ctx.Done(); return "", ctx.Err() }, ToolOptions{Timeout: time.Second / 2}),
		NewTool("long", "Runs for a while.", func(context.Context, pair) (string, error) {
			time.Sleep(2 * time.Second) // in a bubble
			return "done", nil
		}),
		NewTool("asks", "Fails.", func(context.Context, pair) (string, error) { return "", errors.New("no") }),
	)
}

// steps are calls, one after the other.
var steps = [][2]string{
	{"add", `{"a":1,"b":2}`}, {"add", `{ "b" : null, "a": 1 }`}, {"add", `{"a":"x"}`}, {"list", `{}`}, {"fail", `{}`}, {"panic", `{}`},
	{"rare", `{"a":1}`}, {"rare", `{"a":1}`}, {"daily", `{"a":1}`}, {"daily", `{"a":1}`}, {"heavy", `{"a":1}`}, {"heavy", `{"a":1}`}, {"tried", `{"a":1}`}, {"tried", `{"a":1}`},
	{"rare", `{"a":"x"}`}, {"killed", `{"a":1}`}, {"stopped", `{"a":1}`}, {"slowed", `{"a":1}`}, {"slowed", `{"a":1}`},
	{"hidden", `{"a":1}`}, {"bounded", `{"a":1}`}, {"bounded", `{"a":10}`}, {"sure", `{"a":1}`}, {"sure", `{"a":2}`}, {"sealed", `{"a":1}`},
	{"broken", `{"a":1}`}, {"broken", `{"a":1}`}, {"broken", `{"a":1}`}, {"late", `{"a":1}`}, {"long", `{"a":1}`}, {"asks", `{"a":1}`}, {"find_tools", `{"query":"add numbers"}`},
}

// What no two runs have alike.
var sealedOrNamed = regexp.MustCompile(`"requestState":"[^"]*"|[0-9]{8}T[^"\\ )]*|[0-9a-f-]{26,}[^"\\ )]*`)

// did plays the steps to a new server, as send has them sent, and returns the answers, the receipts and what was counted.
func did(t *testing.T, send func(tool, arguments string) wire) (answers []string, receipts []receipt.Receipt, counted string) {
	t.Helper()
	m := NewInMemoryStore()
	defer m.Close()
	rate := 0.01
	if _, err := m.of().Store.Change(t.Context(), func(d *directives.Directives) error {
		return errors.Join(d.Kill(directives.Kill{Scope: "tool:killed", Reason: "it leaks", At: time.Now()}),
			d.Kill(directives.Kill{Scope: "upstream:crm", Reason: "it is away", At: time.Now()}),
			d.Override(directives.Override{Scope: "tool:slowed", Limits: directives.Limits{PerSecond: &rate}, At: time.Now()}))
	}); err != nil {
		t.Fatal(err)
	}
	url, store, end := recorded(t, decidedTools(), WithMemory(m), WithSearch(0))
	var ids []string
	for _, s := range steps {
		resp, got := send(s[0], s[1]).send(t, url)
		ids = append(ids, resp.Header.Get("X-Request-Id"))
		answers = append(answers, s[0]+" "+sealedOrNamed.ReplaceAllString(strings.ReplaceAll(got, ids[len(ids)-1], "ID"), "*"))
	}
	_, text := scrape(t, url)
	for line := range strings.Lines(text) {
		if strings.Contains(line, `reason="admitted"`) {
			continue // a large body that is to be read first is admitted too, apart from calls
		}
		if strings.HasPrefix(line, "tools_called_total") || strings.HasPrefix(line, "erlmcp_governor_decisions_total") || strings.HasPrefix(line, "erlmcp_policy") {
			counted += line
		}
	}
	end()
	for i, id := range ids {
		all, report, err := verify.Find(context.Background(), store, id, nil)
		if err != nil || !report.OK() {
			t.Fatalf("%s: %v %v", id, err, report)
		}
		for _, r := range all {
			r.ID, r.Principal, r.Instance, r.Seq, r.Previous, r.Hash = steps[i][0], "", "", 0, receipt.Hash{}, receipt.Hash{}
			if r.Reason == "input_required" {
				r.Result = receipt.Hash{} // it has a state of its own
			}
			receipts = append(receipts, r)
		}
	}
	return answers, receipts, counted
}

// TestCalledByAnother has each call by call_tool be decided, counted and recorded as the same by the tool's own name, in each form that a
// message has.
func TestCalledByAnother(t *testing.T) {
	element := func(w wire) wire {
		w.header = map[string]string{"MCP-Protocol-Version": "2025-03-26"}
		w.body = "[" + w.body + "]"
		return w
	}
	direct := func(tool, arguments string) string { return `"name":"` + tool + `","arguments":` + arguments }
	for name, send := range map[string]func(name, params string) wire{
		"modern": func(name, params string) wire { return modern("tools/call", name, params) },
		"legacy": func(_, params string) wire { return legacy("2025-11-25", "tools/call", params) },
		"batch":  func(_, params string) wire { return element(legacy("2025-03-26", "tools/call", params)) },
		"a large body": func(name, params string) wire {
			w := modern("tools/call", name, params)
			w.body += strings.Repeat(" ", 70<<10)
			return w
		},
	} {
		inCase(t, name, func() {
			var want, got []string
			var wantReceipts, gotReceipts []receipt.Receipt
			var wantCounted, gotCounted string
			synctest.Test(t, func(t *testing.T) {
				want, wantReceipts, wantCounted = did(t, func(tool, arguments string) wire { return send(tool, direct(tool, arguments)) })
			})
			synctest.Test(t, func(t *testing.T) {
				got, gotReceipts, gotCounted = did(t, func(tool, arguments string) wire {
					return send("call_tool", direct("call_tool", `{"name":"`+tool+`","arguments":`+arguments+`}`))
				})
			})
			for i, answer := range got {
				// A model has to read what it has named wrong, and reads results alone.
				if steps[i][0] == "hidden" {
					if !strings.Contains(answer, `there is no tool \"hidden\": call one that was found`) || !strings.Contains(answer, `"isError":true`) || !strings.Contains(want[i], `unknown tool: \"hidden\"`) {
						t.Errorf("%s, and by its name %s", answer, want[i])
					}
				} else if answer != want[i] {
					t.Errorf("by call_tool %s\nby its name %s", answer, want[i])
				}
			}
			for i := range max(len(wantReceipts), len(gotReceipts)) {
				a, b := at(gotReceipts, i), at(wantReceipts, i)
				if b.Kind == receipt.Refused && b.Era == "" { // by its headers, and the body never read
					a.Era, a.Arguments = "", receipt.Hash{}
				}
				if a := fmt.Sprintf("%+v", a); a != fmt.Sprintf("%+v", b) {
					t.Errorf("by call_tool %s\nby its name %+v", a, b)
				}
			}
			if gotCounted != wantCounted || !strings.Contains(gotCounted, `"add"`) || strings.Contains(gotCounted, "call_tool") {
				t.Errorf("counted by call_tool\n%s\nby its name\n%s", gotCounted, wantCounted)
			}
		})
	}
}

func at(receipts []receipt.Receipt, i int) (r receipt.Receipt) {
	if i < len(receipts) {
		r = receipts[i]
		r.Time = time.Time{}
	}
	return r
}

// TestSearchedCallers has lists, searches and calls be those of the caller's view, by path too, alike in both eras.
func TestSearchedCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tools := append(packedTools(), NewTool("secret", "For all, but hidden.", func(context.Context, None) (string, error) { return "here", nil },
			ToolOptions{AllowWhen: []Condition{{When: `principal.tenant == "acme"`}}}))
		url := start(t, WithLoopback(), WithTools(tools...), WithSearch(2), WithResources(wireResources()...)).URL
		for _, c := range []struct{ path, method, name, params, want, not string }{
			{"/mcp", "tools/list", "", "", `"name":"find_tools"`, `"name":"plain"`},
			{"/mcp", "tools/call", "find_tools", `"name":"find_tools","arguments":{"query":"plain secret report forecast","limit":20}`, `\"plain\"`, "secret"},
			{"/mcp", "tools/call", "call_tool", `"name":"call_tool","arguments":{"name":"plain"}`, "here", "isError"},
			{"/mcp", "tools/call", "call_tool", `"name":"call_tool","arguments":{"name":"secret"}`, `there is no tool \"secret\"`, "rule"},
			{"/mcp", "tools/call", "plain", `"name":"plain"`, "here", "isError"},
			{"/mcp/professional", "tools/list", "", "", `"name":"report"`, `plain`},
			{"/mcp/professional", "tools/list", "", "", `"name":"report"`, `find_tools`},
			{"/mcp/professional", "tools/call", "find_tools", `"name":"find_tools","arguments":{"query":"plain secret report forecast","limit":20}`, `\"report\"`, "plain"},
			{"/mcp/professional", "tools/call", "report", `"name":"report"`, "here", "isError"},
			{"/mcp/professional", "tools/call", "call_tool", `"name":"call_tool","arguments":{"name":"report"}`, "here", "isError"},
			{"/mcp/professional", "tools/call", "call_tool", `"name":"call_tool","arguments":{"name":"forecast"}`, `there is no tool \"forecast\"`, "toolset"},
			{"/mcp/professional", "tools/call", "plain", `"name":"plain"`, `unknown tool: \"plain\"`, "toolset"},
			{"/mcp/professional", "resources/list", "", "", `"uri":`, "error"},
			{"/mcp/science/", "tools/list", "", "", `"name":"forecast"`, `report`},
			{"/mcp/gone", "tools/list", "", "", "nothing at /mcp/gone; the MCP endpoint is /mcp", "professional"},
			{"/mcp/professional/x", "tools/list", "", "", "the MCP endpoint is /mcp", "professional\""},
		} {
			var results []string
			for _, w := range []wire{modern(c.method, c.name, c.params), legacy("2025-11-25", c.method, c.params)} {
				w.path = c.path
				_, got := w.send(t, url)
				if !strings.Contains(got, c.want) || strings.Contains(got, c.not) {
					t.Errorf("%s %s %s: %s, want %s, and not %s", c.path, c.method, c.params, got, c.want, c.not)
				}
				var answer struct {
					Result struct {
						Content, StructuredContent, Tools json.RawMessage
					}
				}
				json.Unmarshal([]byte(got), &answer)
				results = append(results, fmt.Sprintf("%s %s %s", answer.Result.Content, answer.Result.StructuredContent, answer.Result.Tools))
			}
			if results[0] != results[1] {
				t.Errorf("%s %s %s: %s in one era, %s in the other", c.path, c.method, c.params, results[0], results[1])
			}
		}
	})
}

// TestTokenOfToolset takes tokens that are made for a toolset's path there alone, and those that are made for the server everywhere, in
// whatever order they are seen.
func TestTokenOfToolset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer(t)
		url := start(t, WithTools(packedTools()...), WithGetenv(env("AUTHENTICATION", "oauth", "OAUTH_ISSUERS", issuer, "PUBLIC_URL", "https://mcp.example", "EGRESS_ALLOW", "127.0.0.1"))).URL
		w := modern("tools/list", "", "")
		for range 2 {
			for _, c := range []struct{ audience, paths string }{
				{"https://mcp.example/mcp", "/mcp /mcp/professional /mcp/science"},
				{"https://mcp.example", "/mcp /mcp/professional /mcp/science"},
				{"https://mcp.example/mcp/professional", "/mcp/professional"},
				{"https://MCP.example:443/mcp/professional", "/mcp/professional"},
				{"https://mcp.example/professional", ""}, // another service of the host
				{"https://other.example/mcp/professional", ""},
				{"https://mcp.example/mcp/", ""},
				{"https://mcp.example/mcp/mcp/professional", ""},
			} {
				token := sign(t, jose.RS256, rsaKey(), "rsa", map[string]any{"iss": issuer, "sub": "ada", "aud": c.audience, "exp": time.Now().Add(time.Hour).Unix()})
				var taken []string
				for _, path := range []string{"/mcp", "/mcp/professional", "/mcp/science"} {
					w.path = path
					if resp, err := post(t, url+path, w, "Bearer "+token); err != nil {
						t.Fatal(err)
					} else if resp.StatusCode == 200 {
						taken = append(taken, path)
					}
				}
				if got := strings.Join(taken, " "); got != c.paths {
					t.Errorf("a token for %s is taken at %s, want %s", c.audience, got, c.paths)
				}
			}
		}
	})
}

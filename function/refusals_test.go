package function

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/identity"
)

// TestRefusalsReachModels refuses calls for each reason, in both eras, and wants a result that says in words which limit it was, when to
// try again and which receipt; with REFUSALS=error, the error and the status that programs read.
func TestRefusalsReachModels(t *testing.T) {
	for _, mode := range []string{"", "error"} {
		synctest.Test(t, func(t *testing.T) {
			entered, leave := make(chan struct{}), make(chan struct{})
			here := func(context.Context, None) (string, error) { return "here", nil }
			tools := WithTools(
				NewTool("rare", "One now and then.", here, ToolOptions{PerSecond: 0.01, Burst: 1}),
				NewTool("scarce", "One a day.", here, ToolOptions{PerDay: 1}),
				NewTool("ruled", "Has a rule.", func(context.Context, pair) (string, error) { return "here", nil }, ToolOptions{AllowWhen: []Condition{{When: "args.a < 10"}}}),
				NewTool("stopped", "Is killed.", here),
				NewTool("packed", "Is of a pack.", here, ToolOptions{Toolset: "gold"}),
				NewTool("recorded", "Has an output schema.", func(context.Context, None) (pair, error) { return pair{}, nil }, ToolOptions{PerSecond: 0.01, Burst: 1}),
				NewAction("single", "One at a time.", func(context.Context, None) error {
					entered <- struct{}{}
					<-leave
					return nil
				}, ToolOptions{MaxConcurrent: 1}),
				NewAction("broken", "Fails.", func(context.Context, None) error { return fmt.Errorf("no answer: %w", ErrUnavailable) }, ToolOptions{Breaker: Breaker{Failures: 1, Rest: time.Hour}}),
			)
			redis := network.Redis(t)
			getenv := env("REDIS_URL", redis.URL, "REFUSALS", mode)
			memory := NewInMemoryStore()
			srv, other := newServer(t, WithGetenv(getenv), WithMemory(memory), tools), newServer(t, WithGetenv(getenv), WithMemory(memory), tools)
			op, err := openOperator(t.Context(), WithGetenv(getenv), WithMemory(memory), tools, onNetwork)
			if err != nil {
				t.Fatal(err)
			}
			defer op.Close()
			if _, err := op.Change(t.Context(), func(o *directives.Directives) error {
				return o.Kill(directives.Kill{Scope: "tool:stopped", Reason: "it leaks", At: time.Now()})
			}); err != nil {
				t.Fatal(err)
			}
			var running sync.WaitGroup
			running.Go(func() { modern("tools/call", "single", `"name":"single"`).send(t, srv.URL) })
			defer running.Wait()
			defer close(leave)
			<-entered
			for _, tool := range []string{"rare", "scarce", "recorded", "broken"} {
				modern("tools/call", tool, `"name":"`+tool+`"`).send(t, srv.URL)
			}
			time.Sleep(3 * time.Second) // directives are in force
			large := `"name":"add","arguments":{},"pad":"` + strings.Repeat("x", 1<<20) + `"`
			for _, c := range []struct {
				name, tool, params string
				code, status       int
				reason, scope      string
				words              []string
				headers            []string
			}{
				{"rate", "rare", "", 1056, 429, "rate", "tool:rare", []string{"the limit of 0.01 calls a second on tool:rare is reached", "try again in"}, []string{"Retry-After", "RateLimit", "RateLimit-Policy"}},
				{"rate of a tool with an output schema", "recorded", "", 1056, 429, "rate", "tool:recorded", []string{"try again in"}, []string{"Retry-After", "RateLimit"}},
				{"quota", "scarce", "", 1059, 429, "quota", "tool:scarce", []string{"the limit of 1 calls a day", "after midnight UTC"}, []string{"Retry-After", "RateLimit"}},
				{"concurrency", "single", "", 1060, 429, "concurrency", "tool:single", []string{"the limit of 1 calls at a time", "try again in"}, []string{"Retry-After"}},
				{"breaker", "broken", "", 1086, 503, "breaker_open", "tool:broken", []string{"has failed too often", "try again in"}, []string{"Retry-After"}},
				{"kill switch", "stopped", "", 2041, 503, "kill_switch", "tool:stopped", []string{"an operator has stopped tool:stopped: it leaks"}, nil},
				{"policy", "ruled", `"name":"ruled","arguments":{"a":10}`, 2001, 403, "not_entitled", "tool:ruled", []string{"refused by policy", "rule ruled-1"}, nil},
				{"size", "add", large, 1068, 413, "too_large", "", []string{"the request's body is too large"}, nil},
			} {
				params := c.params
				if params == "" {
					params = `"name":"` + c.tool + `"`
				}
				for i, url := range []string{srv.URL, other.URL} {
					if i > 0 && (c.reason == "rate" || c.reason == "breaker_open") {
						continue // what the other instance leases, and has heard of
					}
					for _, w := range []wire{modern("tools/call", c.tool, params), legacy("2025-11-25", "tools/call", params), legacy("", "tools/call", params)} {
						resp, got := w.send(t, url)
						era, modernEra := "legacy", w.header["Mcp-Method"] != ""
						if modernEra {
							era = "modern"
						}
						a := parse(t, got)
						d := refused(t, a)
						if a.code() != c.code || d.Reason != c.reason || c.scope != "" && d.Scope != c.scope || d.Receipt != resp.Header.Get("X-Request-Id") || (d.RetryAfterMs > 0) != (len(c.headers) > 0) {
							t.Errorf("%s, %s: %s", c.name, era, got)
						}
						for _, name := range c.headers {
							if resp.Header.Get(name) == "" {
								t.Errorf("%s, %s: no %s: %v", c.name, era, name, resp.Header)
							}
						}
						for _, words := range c.words {
							if !strings.Contains(a.Error.Message, words) {
								t.Errorf("%s, %s: %s, want %s", c.name, era, a.Error.Message, words)
							}
						}
						if mode == "error" {
							if status := map[bool]int{true: c.status, false: 200}[modernEra]; resp.StatusCode != status || a.Result != nil {
								t.Errorf("%s, %s: %d %s", c.name, era, resp.StatusCode, got)
							}
							continue
						}
						var r struct {
							ResultType string
							Content    []struct{ Type, Text string }
							IsError    bool
							Structured any `json:"structuredContent"`
						}
						if err := json.Unmarshal(a.Result, &r); err != nil || resp.StatusCode != 200 || !r.IsError || len(r.Content) != 1 || r.Structured != nil ||
							(r.ResultType == "complete") != modernEra || modernEra != strings.Contains(got, "serverInfo") || !strings.Contains(r.Content[0].Text, "(receipt "+d.Receipt+")") {
							t.Errorf("%s, %s: %d %s", c.name, era, resp.StatusCode, got)
						}
						if _, got := w.with("Accept", "text/event-stream").send(t, url); !strings.HasPrefix(got, "event: message\ndata: ") || !strings.Contains(got, c.reason) {
							t.Errorf("%s, %s, to who takes events: %s", c.name, era, got)
						}
					}
				}
			}
			one := legacy("2025-03-26", "tools/call", `"name":"rare"`)
			one.body = "[" + one.body + "," + legacy("", "tools/list", "").body + "," + one.body + "]"
			if resp, got := one.send(t, srv.URL); resp.StatusCode != 200 || strings.Count(got, `"reason":"rate"`) != 2 || strings.Count(got, `"isError":true`) != map[string]int{"": 2}[mode] || !strings.Contains(got, `"tools":[`) {
				t.Errorf("a batch: %d %s", resp.StatusCode, got)
			}
		})
	}
}

// TestRefusalsOfOtherMethods are errors, with a status whose bodies clients read.
func TestRefusalsOfOtherMethods(t *testing.T) {
	for mode, status := range map[string]int{"": 200, "error": 403} {
		srv := newServer(t, WithGetenv(env("REFUSALS", mode, "UNKNOWN_TENANTS", "deny")), WithMemory(NewInMemoryStore()))
		for _, c := range []struct{ method, name, params string }{
			{"resources/read", "note://by/ada", `"uri":"note://by/ada"`},
			{"prompts/get", "greet", `"name":"greet","arguments":{"who":"Ada"}`},
			{"tools/list", "", ""},
			{"prompts/list", "", ""},
			{"resources/list", "", ""},
			{"completion/complete", "", `"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"who","value":""}`},
			{"tools/steal", "", ""},
		} {
			for era, w := range map[string]wire{"modern": modern(c.method, c.name, c.params), "legacy": legacy("2025-06-18", c.method, c.params)} {
				want := status
				if era == "legacy" {
					want = 200
				}
				resp, got := w.send(t, srv.URL)
				if a := parse(t, got); resp.StatusCode != want || a.Result != nil || a.code() != 2001 || refused(t, a).Receipt != resp.Header.Get("X-Request-Id") {
					t.Errorf("REFUSALS=%s %s %s: %d %s", mode, c.method, era, resp.StatusCode, got)
				}
			}
		}
		if _, got := modern("tools/call", "add", `"name":"add","arguments":{"a":1}`).send(t, srv.URL); strings.Contains(got, `"isError":true`) != (mode == "") || parse(t, got).code() != 2001 {
			t.Errorf("REFUSALS=%s: a call of who is not entitled: %s", mode, got)
		}
	}
	// Who is not known is told by the status.
	file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci"})
	srv := newServer(t, WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", file)), WithTools(NewTool("scoped", "Needs a scope.", func(context.Context, None) (string, error) { return "", nil }, ToolOptions{Scopes: []string{"admin"}})))
	for _, c := range []struct {
		name, auth, tool string
		status           int
	}{
		{"no key", "-", "add", 401},
		{"a wrong key", "Bearer erlmcp_wrong", "add", 401},
		{"no bearer", "Basic YTpi", "add", 401},
		{"two tokens", "Bearer a b", "add", 400},
		{"no scope", "Bearer " + keys[0], "scoped", 403},
		{"a key", "Bearer " + keys[0], "add", 200},
	} {
		for _, w := range []wire{modern("tools/call", c.tool, `"name":"`+c.tool+`","arguments":{"a":1}`), legacy("2025-06-18", "tools/call", `"name":"`+c.tool+`","arguments":{"a":1}`)} {
			resp, got := w.with("Authorization", c.auth).send(t, srv.URL)
			if resp.StatusCode != c.status || (c.status != 200) != (parse(t, got).Error != nil) || c.status > 400 && !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer ") || strings.Contains(got, "isError") {
				t.Errorf("%s: %d %v %s", c.name, resp.StatusCode, resp.Header, got)
			}
		}
	}
}

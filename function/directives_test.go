package function

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/app/controlplane"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/receipt"
)

// TestDirectivesThroughRedisAlone gives directives with REDIS_URL alone, as where the store is away: the control plane sees them, no later change
// of another order lifts them, and the store gets them.
func TestDirectivesThroughRedisAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		taiea, urls, admin, _ := controlled(t, 2, "REDIS_URL", redis.URL)
		op, err := openOperator(t.Context(), WithGetenv(env("REDIS_URL", redis.URL)), WithTools(packedTools()...), onNetwork)
		if err != nil {
			t.Fatal(err)
		}
		defer op.Close()
		ask := func(method, path, body string, want int, headers ...string) string {
			t.Helper()
			status, text := order(t, method, taiea+path, admin, body, headers...)
			if status != want {
				t.Fatalf("%s %s: %d %s", method, path, status, text)
			}
			return text
		}
		var made struct{ Text string }
		if err := json.Unmarshal([]byte(ask("POST", "/v1/keys", `{"tenant":"acme","subject":"ci","scopes":["x"]}`, 201)), &made); err != nil {
			t.Fatal(err)
		}
		change := func(change func(*directives.Directives) error) {
			t.Helper()
			if _, err := op.Change(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
		rate := 7.0
		kill := func(scope string) func(*directives.Directives) error {
			return func(o *directives.Directives) error {
				return o.Kill(directives.Kill{Scope: scope, Reason: "it leaks", At: time.Now()})
			}
		}
		// What is ordered in Redis alone is in force after each of these, all of them unrelated.
		change(kill("tool:plain"))
		change(func(o *directives.Directives) error {
			return o.Override(directives.Override{Scope: "tool:report", Limits: directives.Limits{PerSecond: &rate}, At: time.Now()})
		})
		for _, later := range []struct {
			name         string
			method, path string
			body         string
			status       int
		}{
			{"at once", "GET", "/v1/kills", "", 200},
			{"another limit", "PUT", "/v1/limits/tool:forecast", `{"perSecond":3}`, 201},
			{"the limit of a tenant", "PUT", "/v1/limits/tenant:acme", `{"perSecond":3}`, 201},
			{"another kill switch", "PUT", "/v1/kills/tool:forecast", `{"reason":"other"}`, 201},
			{"its lift", "DELETE", "/v1/kills/tool:forecast", "", 200},
			{"the lift of a limit", "DELETE", "/v1/limits/tool:forecast", "", 200},
		} {
			headers := []string{}
			switch {
			case later.method == "PUT" && strings.Contains(later.path, "limits"):
				headers = []string{"If-None-Match", "*"}
			case later.method == "DELETE" && strings.Contains(later.path, "limits"):
				headers = []string{"If-Match", "*"}
			}
			ask(later.method, later.path, later.body, later.status, headers...)
			if text := ask("GET", "/v1/kills", "", 200); !strings.Contains(text, `"scope":"tool:plain"`) {
				t.Errorf("%s: the kill switch is lifted: %s", later.name, text)
			}
			if text := ask("GET", "/v1/limits/tool:report", "", 200); !strings.Contains(text, `"perSecond":7`) {
				t.Errorf("%s: the override is lifted: %s", later.name, text)
			}
		}
		within(t, inForce, func() (wrong string) {
			for i, url := range urls {
				if resp, body := modern("tools/call", "plain", `"name":"plain"`).with("Authorization", "Bearer "+made.Text).send(t, url); resp.StatusCode != 503 || !strings.Contains(body, "it leaks") {
					wrong = fmt.Sprintf("instance %d answers %d %s", i, resp.StatusCode, body)
				}
			}
			return wrong
		})
		ask("DELETE", "/v1/kills/tool:plain", "", 200)
		time.Sleep(5 * time.Second)
		var kills struct{ Kills []any }
		if err := json.Unmarshal([]byte(ask("GET", "/v1/kills", "", 200)), &kills); err != nil || len(kills.Kills) != 0 {
			t.Errorf("once it is lifted: %+v %v", kills, err)
		}
		if o, err := op.Directives(t.Context()); err != nil || len(o.Kills) != 0 || len(o.Limits) != 2 {
			t.Errorf("in Redis: %+v %v", o, err)
		}
	})
}

// TestOperatorsDirectives gives directives as the operator's command does, through the stores: with the checks, warnings and receipts of the
// control plane, and about what the fleet serves, not the command's own build.
func TestOperatorsDirectives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		memory := NewInMemoryStore()
		file, _ := keyFile(t)
		runs, ends := make(chan struct{}), make(chan struct{})
		s := start(t, WithMemory(memory), WithTools(
			NewAction("slots", "Waits.", func(context.Context, None) error { runs <- struct{}{}; <-ends; return nil }, ToolOptions{MaxConcurrent: 64, Upstream: "crm"}),
			NewTool("rate", "Says it.", func(context.Context, None) (string, error) { return "here", nil }, ToolOptions{PerSecond: 7, Burst: 3}),
		), WithLoopback(), WithGetenv(env("REDIS_URL", redis.URL, "API_KEYS_FILE", file)))
		for range 2 {
			go func() { modern("tools/call", "slots", `"name":"slots"`).send(t, s.URL) }()
			<-runs
		}
		time.Sleep(3 * time.Second) // until the instance has said so
		open := func(opts ...Option) *controlplane.Local {
			op, err := openOperator(t.Context(), append(opts, WithGetenv(env("REDIS_URL", redis.URL)), WithTools(packedTools()...), onNetwork)...)
			if err != nil {
				t.Fatal(err)
			}
			return op
		}
		type answer struct {
			Receipt, ETag string
			Warnings      []string
			Kills         []any
			Limits        []struct {
				Scope       string
				PerSecond   float64
				Burst       float64
				Slots, Used *int64
				Override    any
			}
		}
		var ids []string
		give := func(op *controlplane.Local, method, path, etag, body string, status int, warns string) (a answer) {
			t.Helper()
			got, text, err := op.Order(t.Context(), method, path, etag, []byte(body))
			if err != nil || got != status {
				t.Fatalf("%s %s: %d %s %v", method, path, got, text, err)
			}
			json.Unmarshal(text, &a)
			if said := strings.Join(a.Warnings, "; "); !strings.Contains(said, warns) || warns == "" && said != "" {
				t.Errorf("%s %s: it warns %q, want %q", method, path, said, warns)
			}
			if method != "GET" {
				ids = append(ids, a.Receipt)
			}
			return a
		}
		op := open(WithMemory(memory))
		const unknown = "nothing is known here by the name"
		give(op, "PUT", "/v1/kills/tool:slots", "", `{"reason":"it lies"}`, 201, "")
		give(op, "PUT", "/v1/kills/tool:slot", "", `{"reason":"a typo"}`, 201, unknown)
		give(op, "PUT", "/v1/kills/tool:plain", "", `{"reason":"of the command's own build"}`, 201, unknown)
		give(op, "PUT", "/v1/kills/upstream:crm", "", `{"reason":"it is away"}`, 201, "")
		give(op, "PUT", "/v1/kills/upstream:crn", "", `{"reason":"a typo"}`, 201, unknown)
		give(op, "PUT", "/v1/kills/tenant:anyone", "", `{"reason":"abuse"}`, 201, "")
		for _, scope := range []string{"tool:slot", "tool:plain", "upstream:crm", "upstream:crn", "tenant:anyone", "tool:slots"} {
			give(op, "DELETE", "/v1/kills/"+scope, "", "", 200, "")
		}
		give(op, "PUT", "/v1/limits/tool:rate", "", `{"perSecond":9}`, 201, "")
		give(op, "PUT", "/v1/limits/tool:rates", "", `{"perSecond":9}`, 201, unknown)
		for _, bad := range []struct{ path, body string }{
			{"/v1/kills/tools:x", `{"reason":"r"}`}, {"/v1/kills/tool:x", `{}`}, {"/v1/kills/tool:x", `{"reason":"r","until":"2000-01-01T00:00:00Z"}`}, {"/v1/limits/tool:rate", `{}`},
			{"/v1/limits/tool:rate", `{"perSecond":-1}`},
		} {
			if status, text, err := op.Order(t.Context(), "PUT", bad.path, "", []byte(bad.body)); status < 400 || err != nil {
				t.Errorf("PUT %s %s: %d %s %v", bad.path, bad.body, status, text, err)
			}
		}
		found := map[string]bool{}
		for _, l := range give(op, "GET", "/v1/limits", "", "", 200, "").Limits {
			found[l.Scope] = true
			switch l.Scope {
			case "tool:rate":
				if l.PerSecond != 9 || l.Override == nil {
					t.Errorf("an override just made: %+v", l)
				}
			case "tool:slots":
				if l.Used == nil || *l.Used != 2 || l.Slots == nil || *l.Slots < 2 {
					t.Errorf("two calls run: %+v", l)
				}
			}
		}
		if !found["tool:rate"] || !found["tool:slots"] || !found["everything"] || found["tool:plain"] {
			t.Errorf("limits on %v", found)
		}
		close(ends)
		time.Sleep(3 * time.Second)
		for _, l := range give(op, "GET", "/v1/limits", "", "", 200, "").Limits {
			if l.Scope == "tool:slots" && (l.Used == nil || *l.Used != 0) {
				t.Errorf("no call runs: %+v", l)
			}
		}
		if op.Close(); !op.Recorded() {
			t.Error("it is said that orders are not recorded")
		}
		for _, id := range ids {
			kinds := map[receipt.Kind]int{}
			for _, r := range find(t, memory.memory.Receipts, id) {
				kinds[r.Kind]++
			}
			if kinds[receipt.Admitted] != 1 || kinds[receipt.Killed]+kinds[receipt.Changed] != 1 {
				t.Errorf("%s: %v", id, kinds)
			}
		}
		alone := open()
		defer alone.Close()
		give(alone, "PUT", "/v1/kills/tool:slots", "", `{"reason":"it lies"}`, 201, "")
		if alone.Recorded() || alone.Stored() {
			t.Error("without a store, it is said that orders are recorded, or stored")
		}
		quiet, err := openOperator(t.Context(), WithGetenv(env("REDIS_URL", redis.URL, "RECEIPTS", "false")), WithMemory(memory), onNetwork)
		if err != nil {
			t.Fatal(err)
		}
		defer quiet.Close()
		if quiet.Recorded() || !quiet.Stored() {
			t.Error("with a store and no receipts, it is said that orders are recorded, or not stored")
		}
	})
}

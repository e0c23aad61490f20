package function

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/command"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/judge"
	"example.com/erlmcp/function/internal/receipt/verify"
)

const (
	prober   = "erlmcp-deploy@my-project.iam.gserviceaccount.com" // as infra/modules/delivery names it
	neighbor = "billing@my-project.iam.gserviceaccount.com"
)

// invokerToken is an account's ID token as Cloud Run hands it on to a private service.
func invokerToken(email string) string {
	now := time.Now()
	claims, _ := json.Marshal(map[string]any{"iss": "https://accounts.google.com", "aud": "https://mcp.example", "email": email, "email_verified": true, "sub": "1", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()})
	return "e30." + base64.RawURLEncoding.EncodeToString(claims) + ".SIGNATURE_REMOVED_BY_GOOGLE"
}

// probes runs erlmcp probe, and returns its exit status and what it says.
func probes(t *testing.T, url, token string) (int, string) {
	t.Helper()
	t.Setenv("PROBE_TOKEN", token)
	var out bytes.Buffer
	status := (&command.Program{Name: "erlmcp", Version: "1.2.3"}).Run([]string{"probe", url}, &out, &out)
	return status, out.String()
}

// away is a store whose tenants can't be read.
type away struct{ entitlement.Store }

func (away) Changes(context.Context, int64) (*entitlement.Changes, error) {
	return nil, errors.New("the store is away")
}

// TestProberOfARelease probes servers as a release on Cloud Run does, and sends the judge's calls, under each setting by which operators
// keep callers out: the prober is a tenant of its own, and a server that refuses it by such a setting serves. One that does not serve fails.
func TestProberOfARelease(t *testing.T) {
	granted := func(plan string) *entitlement.Event { return &entitlement.Event{Type: entitlement.Grant, Plan: plan} }
	one := 1.0
	for _, c := range []struct {
		name    string
		pairs   []string
		policy  string
		event   *entitlement.Event                 // about the prober's tenant
		order   func(*directives.Directives) error // an operator's
		stand   Option
		status  int    // of the probe
		says    string // the probe
		refused string // some of the judge's calls are, with this reason; "" for none
		let     bool   // a call of the tool gets through
	}{
		{name: "no rules", says: "2026-07-28: 2 tools", let: true},
		{name: "tenants must be listed, and it is not", pairs: []string{"UNKNOWN_TENANTS", "deny"}, says: "does not serve this caller: refused: the tenant prober is not known here", refused: "not_entitled"},
		{name: "tenants must be listed, and it is", pairs: []string{"UNKNOWN_TENANTS", "deny"}, event: granted("base"), says: "2025-11-25: 1 tools", refused: "rate", let: true},
		{name: "its plan is suspended", event: &entitlement.Event{Type: entitlement.Suspend, Reason: "for a while"}, says: "does not serve this caller", refused: "not_entitled"},
		{name: "a policy that hides all", policy: "otherwise: deny", says: "2026-07-28: 0 tools"},
		{name: "a policy that knows it", policy: "otherwise: deny\nrules:\n- {name: prober, when: 'principal.tenant == \"prober\" && tool.readOnly', then: allow}", says: "2026-07-28: 2 tools", let: true},
		{name: "a policy that demands scopes of tools", policy: "rules:\n- {name: scoped, when: 'tool.name == \"now\"', then: scopes, scopes: [x]}", says: "2026-07-28: 2 tools", refused: "insufficient_scope", let: true},
		{name: "scopes of every call", pairs: []string{"OAUTH_SCOPES", "mcp"}, says: "does not serve this caller: refused: this server needs the scopes mcp", refused: "insufficient_scope"},
		{name: "a limit of its own", order: func(d *directives.Directives) error {
			return d.Override(directives.Override{Scope: "tenant:prober", Limits: directives.Limits{PerSecond: &one}, At: time.Now()})
		}, says: "2026-07-28: 2 tools", refused: "rate", let: true},
		{name: "a kill switch on it", order: func(d *directives.Directives) error {
			return d.Kill(directives.Kill{Scope: "tenant:prober", Reason: "while we look", At: time.Now()})
		}, says: "an operator has stopped tenant:prober", refused: "kill_switch"},

		{name: "a server that takes no such tokens", pairs: []string{"AUTHENTICATION", "anonymous"}, status: 1, says: "answers 401"},
		{name: "a server that can't read its tenants", stand: func(o *Options) {
			o.stand.Tenants = func(s entitlement.Store) entitlement.Store { return away{s} }
		}, status: 1, says: "not healthy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			memory := NewInMemoryStore()
			if c.event != nil {
				c.event.ID, c.event.Source, c.event.Tenant = "1", "shop", "prober"
				said(t, memory, nil, *c.event)
			}
			if c.order != nil {
				if _, err := (&directives.Writer{Store: memory.memory.Store, Now: time.Now}).Change(t.Context(), c.order); err != nil {
					t.Fatal(err)
				}
			}
			pairs := append([]string{"K_SERVICE", "erlmcp", "GOVERNOR_SCOPE", "instance", "AUTHENTICATION", "cloudrun", "PUBLIC_URL", "https://mcp.example"}, c.pairs...)
			if !slices.Contains(pairs, "anonymous") {
				pairs = append(pairs, "TENANT_MAP", "cloudrun:"+prober+"=prober")
			}
			if c.policy != "" {
				pairs = append(pairs, "POLICY_FILE", writeFile(t, "", c.policy))
			}
			var called atomic.Int64
			tool := func(name, toolset string) Tool {
				return NewTool(name, "Reads.", func(context.Context, None) (string, error) { called.Add(1); return "here", nil }, ToolOptions{ReadOnly: true, Toolset: toolset})
			}
			opts := []Option{WithMemory(memory), WithGetenv(env(pairs...)), WithTools(tool("now", ""), tool("report", "professional"))}
			if c.stand != nil {
				opts = append(opts, c.stand)
			}
			server := start(t, opts...)

			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			var asked atomic.Int64
			serving := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				server.ServeHTTP(w, r)
				if r.URL.Path == "/mcp" && asked.Add(1) == 60 {
					cancel()
				}
			}))
			defer serving.Close()
			if status, text := probes(t, serving.URL, invokerToken(prober)); status != c.status || !strings.Contains(text, c.says) {
				t.Errorf("the probe ends with %d and says %q, want %d and %q", status, text, c.status, c.says)
			}
			if c.status != 0 {
				return
			}
			load := judge.Load{
				URL: serving.URL + "/mcp", Token: func(context.Context) (string, error) { return invokerToken(prober), nil }, PerSecond: 1000, Name: "erlmcp-judge", Release: "1",
				Decided: func(reason string) bool { return reason == c.refused },
			}
			sent := load.Run(ctx)
			if sent.Failed > 0 || (sent.Refused > 0) != (c.refused != "") || (called.Load() > 0) != c.let {
				t.Errorf("%d calls of tools, %+v, want them refused by %q", called.Load(), sent, c.refused)
			}

			// Who else is of the project is another tenant.
			if resp, body := modern("tools/call", "now", `"name":"now"`).with("Authorization", "Bearer "+invokerToken(neighbor)).send(t, server.URL); c.order != nil && (resp.StatusCode != 200 || !strings.Contains(body, "here")) {
				t.Errorf("what is ordered of the prober holds for its neighbor: %d %s", resp.StatusCode, body)
			}
			server.Close()
			of := map[string]int{}
			for r, err := range verify.Select(t.Context(), memory.memory.Receipts, "", time.Time{}, time.Time{}) {
				if err != nil {
					t.Fatal(err)
				}
				of[r.Tenant]++
			}
			if (c.let || c.refused != "") && of["prober"] == 0 || of["cloudrun:my-project"] > 1 {
				t.Errorf("receipts by tenant are %v", of)
			}
		})
	}
}

package agenttools

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/refresh"
)

// A subject is the server that the tools are about.
type subject struct {
	degraded []string
	draining bool
}

func (s *subject) Scope() string      { return "fleet" }
func (s *subject) Degraded() []string { return s.degraded }
func (s *subject) Draining() bool     { return s.draining }

// A prover answers what it is told to, and keeps what it was asked.
type prover struct {
	report       *verify.Report
	unheard, err error
	tenant       string
	from, to     time.Time
}

func (p *prover) Prove(_ context.Context, tenant string, from, to time.Time) (*verify.Report, error, error) {
	p.tenant, p.from, p.to = tenant, from, to
	return p.report, p.unheard, p.err
}

var (
	acme     = &identity.Principal{Tenant: "acme", Subject: "ann", Method: identity.APIKeys}
	operator = &identity.Local
)

// ask calls a tool as a principal, and reads its answer into a map.
func ask(t *testing.T, tools *Tools, as *identity.Principal, name, arguments string) (map[string]any, error) {
	t.Helper()
	built, err := catalog.Build(tools.Entries(&config.Config{AgentTools: config.AgentTools, Receipts: "true"}, true)...)
	if err != nil {
		t.Fatal(err)
	}
	call := &mcp.Call{Head: &mcp.RequestHeader{RequestID: "r1"}}
	if err := json.Unmarshal([]byte(arguments), &call.Arguments); err != nil {
		t.Fatal(err)
	}
	ctx := mcp.NewContext(identity.NewContext(t.Context(), as), call)
	r, err := built.Tool(ctx, Prefix+name).Call(ctx, call)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	if err := json.Unmarshal(r.Structured, &out); err != nil {
		t.Fatal(err)
	}
	return out, nil
}

// TestOffered has only those offered that are named and can work with what there is.
func TestOffered(t *testing.T) {
	for _, c := range []struct {
		names    []string
		receipts string
		stored   bool
		want     int
	}{
		{config.AgentTools, "true", true, 4}, {config.AgentTools, "false", true, 2}, {config.AgentTools, "true", false, 2}, {nil, "true", true, 0}, {[]string{"support_model"}, "true", true, 1},
	} {
		if got := len((&Tools{}).Entries(&config.Config{AgentTools: c.names, Receipts: c.receipts}, c.stored)); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// TestHealth tells an operator in words, and a stranger to the machine no more than what it is about.
func TestHealth(t *testing.T) {
	said := "governor: Redis at redis.internal:6379 does not answer"
	for _, c := range []struct {
		name   string
		as     *identity.Principal
		s      subject
		status string
		says   bool // the words themselves
	}{
		{"well", acme, subject{}, "ok", false},
		{"degraded", acme, subject{degraded: []string{said}}, "degraded", false},
		{"degraded, for an operator", operator, subject{degraded: []string{said}}, "degraded", true},
		{"draining", acme, subject{degraded: []string{said}, draining: true}, "draining", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tools := &Tools{Server: &c.s, Instance: "secret-host-7f", Version: "1", Start: time.Now()}
			h, err := ask(t, tools, c.as, "health_check", `{}`)
			if err != nil || h["status"] != c.status || h["scope"] != "fleet" {
				t.Fatalf("%v, %v", h, err)
			}
			text, _ := json.Marshal(h)
			if strings.Contains(string(text), "redis.internal") != c.says || strings.Contains(string(text), "secret-host") != (c.as == operator) {
				t.Errorf("%s", text)
			}
			if caller := h["caller"].(map[string]any); caller["state"] != "unlisted" || caller["tenant"] != c.as.Tenant {
				t.Errorf("%v", caller)
			}
		})
	}
}

// TestSupport is what the plan of the caller's own tenant includes.
func TestSupport(t *testing.T) {
	now := time.Now()
	tenant := &entitlement.Tenant{ID: "acme", Revision: 1}
	tenant.Apply(&entitlement.Event{Source: "shop", Type: entitlement.Grant, Time: now.Add(-time.Minute), Plan: "gold"})
	directory := entitlement.NewDirectory().With(&entitlement.Changes{
		Version: 1, Tenants: []*entitlement.Tenant{tenant}, Plans: []*entitlement.Plan{{Name: "gold", Revision: 1, Packs: []string{"*"}, Support: entitlement.Support{Contact: "help@example.com"}}},
	})
	value := refresh.New(refresh.Options[entitlement.Directory]{Read: func(context.Context, *entitlement.Directory) (*entitlement.Directory, int64, error) {
		return directory, 1, nil
	}})
	t.Cleanup(value.Close)
	tools := &Tools{Server: &subject{}, Instance: "h-1", Version: "2", Directory: value}
	got, err := ask(t, tools, acme, "support_model", `{}`)
	if err != nil {
		t.Fatal(err)
	}
	if s := got["support"].(map[string]any); s["contact"] != "help@example.com" || got["caller"].(map[string]any)["plan"] != "gold" {
		t.Errorf("%v", got)
	}
	other, err := ask(t, tools, &identity.Principal{Tenant: "other"}, "support_model", `{}`)
	if err != nil || other["support"] != nil || strings.Contains(jsonOf(other), "acme") {
		t.Errorf("%v, %v", other, err)
	}
}

func jsonOf(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// TestVerify asks about the caller's own tenant alone, over a bounded range, and says what is wrong in words.
func TestVerify(t *testing.T) {
	faults := make([]verify.Fault, maxFaults+2)
	for i := range faults {
		faults[i].Words = "it was altered"
	}
	for _, c := range []struct {
		name, in string
		as       *identity.Principal
		p        prover
		tenant   string
		whole    bool
		more     float64
		fails    string
	}{
		{"whole", `{}`, acme, prover{report: &verify.Report{Receipts: 3}}, "acme", true, 0, ""},
		{"the operator's own machine", `{}`, operator, prover{report: &verify.Report{}}, "", true, 0, ""},
		{"faults", `{"from":"2026-11-01T00:00:00Z","to":"2026-11-02T00:00:00Z"}`, acme, prover{report: &verify.Report{Faults: faults, More: 5}}, "acme", false, 7, ""},
		{"what was announced is not known", `{}`, acme, prover{report: &verify.Report{}, unheard: errors.New("redis.internal")}, "acme", true, 0, ""},
		{"the store is away", `{}`, acme, prover{err: errors.New("firestore.internal")}, "acme", false, 0, "the operator finds the cause in the log under request r1"},
		{"backwards", `{"from":"2026-11-02T00:00:00Z","to":"2026-11-01T00:00:00Z"}`, acme, prover{}, "", false, 0, "at most 31 days"},
		{"too long", `{"from":"2026-01-01T00:00:00Z","to":"2026-11-01T00:00:00Z"}`, acme, prover{}, "", false, 0, "at most 31 days"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tools := &Tools{Server: &subject{}, Instance: "h-1", Records: &c.p, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
			got, err := ask(t, tools, c.as, "receipts_verify_chain", c.in)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) || strings.Contains(err.Error(), ".internal") {
					t.Errorf("%v, want %q", err, c.fails)
				}
				return
			}
			if err != nil || got["whole"] != c.whole || got["moreFaults"] != c.more || c.p.tenant != c.tenant || strings.Contains(jsonOf(got), ".internal") {
				t.Errorf("%v, %v, asked about %q", got, err, c.p.tenant)
			}
			if notes := len(got["notes"].([]any)); (notes > 0) != (c.p.unheard != nil) {
				t.Errorf("%d notes", notes)
			}
		})
	}
}

package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/store/memory"
)

// of returns a pointer to a value.
func of[T any](v T) *T { return &v }

// tool is an entry that is called for its limits alone.
func tool(name string, terms catalog.Terms) catalog.Entry {
	t := catalog.FromFunc(name, "Is called.", func(context.Context, struct {
		Amount int `json:"amount,omitempty"`
	}) (string, error) {
		return "", nil
	})
	t.Terms = terms
	return t
}

// A world is a gate with callers: one with a key of the tenant acme, and whoever has none.
type world struct {
	*Gate
	key   string
	keys  *atomic.Pointer[identity.Keys]
	store *memory.Store
}

func newWorld(t *testing.T, o Options, overrides []directives.Override, granted *directives.Limits) *world {
	t.Helper()
	store := memory.New()
	if _, err := store.Change(t.Context(), func(d *directives.Directives) error {
		for _, v := range overrides {
			if err := d.Override(v); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	counters := governor.NewStandalone(time.Now)
	o.Governor = governor.New(governor.Options{Instance: "one", Counters: counters, Epochs: counters, Directives: store, Quotas: store, Standalone: true, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(o.Governor.Close)
	o.Governor.Warm()
	w := &world{store: store, keys: &atomic.Pointer[identity.Keys]{}}
	var key identity.Key
	w.key, key = identity.NewKey(identity.Key{Tenant: "acme", Subject: "ci", Created: time.Now()})
	text, err := json.Marshal(identity.KeyFile{Keys: []identity.Key{key}})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := identity.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	o.Callers = identity.New(identity.Options{Chain: []string{identity.APIKeys, identity.Anonymous}, Keys: w.keys.Load})
	w.keys.Store(keys)
	if granted != nil {
		if _, err := store.ChangeTenant(t.Context(), "acme", nil, func(x *entitlement.Tenant) error {
			x.Apply(&entitlement.Event{Source: "shop", Type: entitlement.Grant, Time: time.Now(), Plan: "base", Limits: *granted})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		changes, err := store.Changes(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		directory := entitlement.NewDirectory().With(changes)
		o.Entitlements = &Entitlements{
			Directory: func(context.Context) (*entitlement.Directory, bool) { return directory, true }, Known: func() bool { return true }, Note: func(string) {},
		}
	}
	if w.Gate, err = New(o); err != nil {
		t.Fatal(err)
	}
	return w
}

// call asks for a call, which comes to nothing: it returns the refusal, or nil.
func (w *world) call(ctx context.Context, tool string, known bool) *mcp.Refusal {
	h := &mcp.RequestHeader{RequestID: "1", Version: "2026-07-28", Method: "tools/call", Name: tool, Header: http.Header{}, RemoteAddr: "192.0.2.1:1", Began: time.Now()}
	if known {
		h.Header.Set("Authorization", "Bearer "+w.key)
	}
	a, refusal := w.Admit(ctx, h)
	if refusal == nil {
		a.Drop(ctx)
	}
	return refusal
}

// TestWhoseLimitRefuses calls ten times at once, under each kind of limit and what may stand in its place: as many are admitted as its
// burst says, by weight, and the refusal names it.
func TestWhoseLimitRefuses(t *testing.T) {
	ten := governor.Limit{PerSecond: 1, Burst: 4}
	for _, c := range []struct {
		name      string
		terms     catalog.Terms
		o         Options
		overrides []directives.Override
		granted   *directives.Limits
		known     bool
		admitted  int    // of ten
		scope     string // of the refusal, "" for none
	}{
		{"no limit", catalog.Terms{}, Options{}, nil, nil, true, 10, ""},
		{"the tool's", catalog.Terms{Limits: ten}, Options{}, nil, nil, true, 4, "tool:t"},
		{"the tool's, by weight", catalog.Terms{Limits: ten, Weight: 2}, Options{}, nil, nil, true, 2, "tool:t"},
		{"the tool's, in dry run", catalog.Terms{Limits: governor.Limit{PerSecond: 1, Burst: 4, DryRun: true}}, Options{}, nil, nil, true, 10, ""},
		{"everything", catalog.Terms{}, Options{Everything: governor.Limit{PerSecond: 30}}, nil, nil, true, 3, "everything"},
		{"each tenant", catalog.Terms{}, Options{EachTenant: governor.Limit{PerSecond: 20}}, nil, nil, true, 2, "tenant:acme"},
		{"each client", catalog.Terms{}, Options{EachClient: governor.Limit{PerSecond: 20}}, nil, nil, true, 2, "client"},
		{"the least of several", catalog.Terms{Limits: ten}, Options{Everything: governor.Limit{PerSecond: 30}, EachTenant: governor.Limit{PerSecond: 20}}, nil, nil, true, 2, "tenant:acme"},
		{"the tool's, overridden", catalog.Terms{Limits: ten}, Options{}, []directives.Override{{Scope: "tool:t", Limits: directives.Limits{Burst: of(6.0)}}}, nil, true, 6, "tool:t"},
		{"the tool's, lifted", catalog.Terms{Limits: ten}, Options{}, []directives.Override{{Scope: "tool:t", Limits: directives.Limits{PerSecond: of(0.0)}}}, nil, true, 10, ""},
		{"the tool's, in dry run by an override", catalog.Terms{Limits: ten}, Options{}, []directives.Override{{Scope: "tool:t", Limits: directives.Limits{DryRun: of(true)}}}, nil, true, 10, ""},
		{"everything, overridden", catalog.Terms{}, Options{Everything: governor.Limit{PerSecond: 30}}, []directives.Override{{Scope: directives.Everything, Limits: directives.Limits{Burst: of(5.0)}}}, nil, true, 5, "everything"},
		{"each tenant, overridden", catalog.Terms{}, Options{EachTenant: governor.Limit{PerSecond: 20}}, []directives.Override{{Scope: directives.EachTenant, Limits: directives.Limits{Burst: of(7.0)}}}, nil, true, 7, "tenant:acme"},
		{"the tenant by its name", catalog.Terms{}, Options{EachTenant: governor.Limit{PerSecond: 20}}, []directives.Override{{Scope: "tenant:acme", Limits: directives.Limits{Burst: of(8.0)}}}, nil, true, 8, "tenant:acme"},
		{"another tenant by its name", catalog.Terms{}, Options{EachTenant: governor.Limit{PerSecond: 20}}, []directives.Override{{Scope: "tenant:other", Limits: directives.Limits{Burst: of(8.0)}}}, nil, true, 2, "tenant:acme"},
		{"what was granted", catalog.Terms{}, Options{EachTenant: governor.Limit{PerSecond: 20}}, nil, &directives.Limits{PerSecond: of(1.0), Burst: of(3.0)}, true, 3, "tenant:acme"},
		{"what was granted, overridden", catalog.Terms{}, Options{}, []directives.Override{{Scope: "tenant:acme", Limits: directives.Limits{Burst: of(9.0)}}}, &directives.Limits{PerSecond: of(1.0), Burst: of(3.0)}, true, 9, "tenant:acme"},
		{"an upstream by an override", catalog.Terms{Upstream: "crm"}, Options{}, []directives.Override{{Scope: "upstream:crm", Limits: directives.Limits{PerSecond: of(1.0), Burst: of(5.0)}}}, nil, true, 5, "upstream:crm"},
		{"calls a day", catalog.Terms{Limits: governor.Limit{PerDay: 6}}, Options{Quotas: true}, nil, nil, true, 10, ""},
		{"who is anonymous", catalog.Terms{}, Options{Anonymous: governor.Limit{PerSecond: 3}}, nil, nil, false, 3, "tenant:anonymous"},
		{"who is anonymous, beside those who are known", catalog.Terms{}, Options{Anonymous: governor.Limit{PerSecond: 3}}, nil, nil, true, 10, ""},
		{"who is anonymous, as a tenant", catalog.Terms{}, Options{Anonymous: governor.Limit{PerSecond: 40}, EachTenant: governor.Limit{PerSecond: 20}}, nil, nil, false, 2, "tenant:anonymous"},
		{"a tool that there is not", catalog.Terms{Limits: ten}, Options{}, nil, nil, true, 10, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				built, err := catalog.Build(tool("t", c.terms))
				if err != nil {
					t.Fatal(err)
				}
				c.o.Catalog = built
				w := newWorld(t, c.o, c.overrides, c.granted)
				name := "t"
				if c.name == "a tool that there is not" {
					name = "none"
				}
				admitted, scopes := 0, map[string]bool{}
				for range 10 {
					if refusal := w.call(t.Context(), name, c.known); refusal == nil {
						admitted++
					} else {
						scopes[refusal.Scope] = true
					}
				}
				if got := fmt.Sprint(scopes); admitted != c.admitted || c.scope == "" && len(scopes) > 0 || c.scope != "" && (len(scopes) != 1 || !scopes[c.scope]) {
					t.Errorf("%d are admitted, want %d; the refusals are of %s, want %q", admitted, c.admitted, got, c.scope)
				}
			})
		})
	}
}

package admission

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/loadshed"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/policy"
	"example.com/erlmcp/function/internal/receipt"
)

// TestBetweenAdmissionAndStart has the world change while a body is long in coming: what is ordered by then decides.
func TestBetweenAdmissionAndStart(t *testing.T) {
	for _, c := range []struct {
		name   string
		after  time.Duration
		change func(*world, *testing.T)
		want   string
	}{
		{"nothing changes", 3 * time.Second, func(*world, *testing.T) {}, ""},
		{"a kill switch, at once", 0, kill, ""}, // knowledge of less than two seconds decides
		{"a kill switch", 3 * time.Second, kill, "kill_switch"},
		{"the key is revoked", 3 * time.Second, func(w *world, _ *testing.T) { w.keys.Store(&identity.Keys{}) }, "unauthenticated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _ := recordedWorld(t, catalog.Terms{Limits: governor.Limit{Concurrency: 1}})
				h := w.head("tools/call", "t")
				a, refusal := w.Admit(t.Context(), h)
				wantReason(t, "at first", refusal, "")
				c.change(w, t)
				time.Sleep(c.after) // in a bubble
				_, started, refusal := a.Start(t.Context(), &mcp.Call{Head: h, Method: "tools/call", Name: "t", Modern: true})
				wantReason(t, "at its start", refusal, c.want)
				if started != nil {
					started.End(&mcp.Ending{Entered: true})
				}
			})
		})
	}
}

func kill(w *world, t *testing.T) {
	t.Helper()
	if _, err := w.store.Change(t.Context(), func(d *directives.Directives) error {
		return d.Kill(directives.Kill{Scope: "tool:t", Reason: "leak", At: time.Now()})
	}); err != nil {
		t.Fatal(err)
	}
}

// TestWhatIsNoCall counts messages that are no calls by a rate of their own, so that a client whose calls are refused can list.
func TestWhatIsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := recordedWorld(t, catalog.Terms{Limits: governor.Limit{PerSecond: 1, Burst: 1}})
		for range 3 {
			w.call(t.Context(), "t", true)
		}
		wantReason(t, "a call", w.call(t.Context(), "t", true), "rate")
		var last *mcp.Refusal
		admitted := 0
		for range 10 * minApart {
			a, refusal := w.Admit(t.Context(), w.head("", ""))
			if refusal == nil {
				refusal = a.Charge(t.Context())
			}
			if last = refusal; refusal != nil {
				break
			}
			admitted++
			if again := a.Charge(t.Context()); again != nil {
				t.Fatal("it was counted twice", again)
			}
		}
		wantReason(t, "too many of them", last, "rate")
		if admitted < minApart {
			t.Errorf("%d messages that are no calls", admitted)
		}
		h := w.head("", "")
		h.Size = 2 * largeBody
		_, refusal := w.Admit(t.Context(), h)
		wantReason(t, "a large body, before it is read", refusal, "rate")
		a, refusal := w.Admit(t.Context(), w.head("", ""))
		wantReason(t, "a small one", refusal, "")
		wantReason(t, "which is not valid", a.Invalid(t.Context(), &mcp.Call{Head: w.head("", "")}), "rate")
	})
}

// A dead recorder stores nothing.
type dead struct {
	kept
	err error
}

func (d *dead) Commit(context.Context, receipt.Receipt) error { return d.err }

// TestStrict calls a tool that needs a receipt of its intent: it is called once that is stored, and at no other time.
func TestStrict(t *testing.T) {
	for _, c := range []struct {
		name    string
		journal receipt.Recorder
		want    string
		kinds   []receipt.Kind
	}{
		{"stored", &kept{}, "", []receipt.Kind{receipt.Admitted, receipt.Completed}},
		{"not stored", &dead{err: errors.New("away")}, "backpressure", nil},
		{"while the server ends", &dead{err: receipt.ErrClosed}, "shutting_down", nil},
		{"nowhere to store it", nil, "backpressure", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				built, err := catalog.Build(tool("t", catalog.Terms{Strict: true, Limits: governor.Limit{Concurrency: 1}}))
				if err != nil {
					t.Fatal(err)
				}
				w := newWorld(t, Options{Catalog: built, Journal: c.journal}, nil, nil)
				for range 2 { // what was refused holds no slot
					started, refusal := w.enter(t.Context(), w.head("tools/call", "t"), "t")
					wantReason(t, c.name, refusal, c.want)
					if started != nil {
						started.End(&mcp.Ending{Entered: true})
					}
				}
				if k, ok := c.journal.(*kept); ok && !slices.Equal(k.kinds()[:2], c.kinds) {
					t.Errorf("receipts of %v", k.kinds())
				}
			})
		})
	}
}

// TestLongCallsAreRecordedTwice has a call run for more than a second.
func TestLongCallsAreRecordedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, k := recordedWorld(t, catalog.Terms{})
		started, _ := w.enter(t.Context(), w.head("tools/call", "t"), "t")
		time.Sleep(2 * tellAfter) // in a bubble
		started.End(&mcp.Ending{Entered: true, Outcome: mcp.InputRequired, Result: []byte("{}")})
		if got := k.kinds(); !slices.Equal(got, []receipt.Kind{receipt.Admitted, receipt.Completed}) {
			t.Errorf("receipts of %v", got)
		}
		if last := k.all[1]; last.Reason != "input_required" || last.Duration != 2*tellAfter || last.Result != receipt.HashOf([]byte("{}")) || last.Tenant != "acme" {
			t.Errorf("%+v", last)
		}
	})
}

// TestWithinACall reads a resource within a call, by the rules that hold for the caller's own reading.
func TestWithinACall(t *testing.T) {
	for _, c := range []struct {
		name, uri string
		rule      *policy.Rule
		want      string // "" for nothing wrong
	}{
		{"allowed", "doc://a", nil, ""},
		{"not there", "doc://none", nil, mcp.ErrUnknown.Error()},
		{"hidden", "doc://a", &policy.Rule{Name: "r", Then: policy.Deny}, mcp.ErrUnknown.Error()},
		{"denied by its address", "doc://a", &policy.Rule{Name: "r", When: `args.uri == "doc://a"`, Then: policy.Deny}, "refused by policy"},
		{"asked first", "doc://a", &policy.Rule{Name: "r", When: `args.uri == "doc://a"`, Then: policy.Confirm}, "needs the consent"},
		{"scopes", "doc://a", &policy.Rule{Name: "r", Then: policy.Scopes, Scopes: []string{"more"}}, "needs the scopes more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			terms := catalog.Terms{}
			if c.rule != nil {
				terms.Rules = []policy.Rule{*c.rule}
			}
			built, err := catalog.Build(tool("t", catalog.Terms{}), &catalog.Resource{URI: "doc://a", Name: "a", Terms: terms, Read: func(context.Context, string, map[string]string) (*mcp.ReadResult, error) {
				return &mcp.ReadResult{}, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, Options{Catalog: built}, nil, nil)
			call := &mcp.Call{Head: w.head("tools/call", "t")}
			if err := w.MayRead(t.Context(), call, c.uri); err == nil {
				t.Error("without a caller it is allowed")
			}
			err = w.MayRead(identity.NewContext(t.Context(), &identity.Principal{Tenant: "acme", Subject: "ci", Method: identity.APIKeys}), call, c.uri)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestTenants refuses those that are not served, and what their plan leaves out.
func TestTenants(t *testing.T) {
	suspended := func(x *entitlement.Tenant) {
		x.Apply(&entitlement.Event{Source: "shop", Type: entitlement.Suspend, Time: time.Now().Add(time.Second)})
	}
	for _, c := range []struct {
		name    string
		known   bool
		listed  bool
		granted func(*entitlement.Tenant)
		pack    string
		want    string
	}{
		{"granted", true, true, func(*entitlement.Tenant) {}, "", ""},
		{"not listed", true, true, nil, "", "not_entitled"},
		{"not listed, where that is allowed", true, false, nil, "", ""},
		{"suspended", true, true, suspended, "", "not_entitled"},
		{"a pack that the plan leaves out", true, true, func(*entitlement.Tenant) {}, "extra", "not_entitled"},
		{"not known of now", false, true, nil, "", "backpressure"},
	} {
		t.Run(c.name, func(t *testing.T) {
			built, err := catalog.Build(tool("t", catalog.Terms{Pack: c.pack}))
			if err != nil {
				t.Fatal(err)
			}
			directory := entitlement.NewDirectory()
			if c.granted != nil {
				x := &entitlement.Tenant{ID: "acme", Revision: 1}
				x.Apply(&entitlement.Event{Source: "shop", Type: entitlement.Grant, Time: time.Now(), Plan: "base"})
				c.granted(x)
				directory = directory.With(&entitlement.Changes{Version: 1, Tenants: []*entitlement.Tenant{x}, Plans: []*entitlement.Plan{{Name: "base", Revision: 1, Packs: []string{"core"}}}})
			}
			w := newWorld(t, Options{Catalog: built, Entitlements: &Entitlements{
				Directory: func(context.Context) (*entitlement.Directory, bool) { return directory, c.known },
				Known:     func() bool { return c.known }, Listed: c.listed, Note: func(string) {},
			}}, nil, nil)
			wantReason(t, c.name, w.call(t.Context(), "t", true), c.want)
			if w.Informed(t.Context()) != c.known || w.Ready() != c.known {
				t.Errorf("informed %t, ready %t", w.Informed(t.Context()), w.Ready())
			}
		})
	}
}

// TestBusy has the load shedder refuse at its cap, and take calls again when they end.
func TestBusy(t *testing.T) {
	built, err := catalog.Build(tool("t", catalog.Terms{Upstream: "crm"}))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, Options{Catalog: built, Shedder: loadshed.New(loadshed.Options{MaxConcurrent: 10, Workers: 1, Load: func() loadshed.Load { return loadshed.Load{} }})}, nil, nil)
	for range 3 {
		first, refusal := w.enter(t.Context(), w.head("tools/call", "t"), "t")
		wantReason(t, "a call", refusal, "")
		second, refusal := w.Admit(t.Context(), w.head("tools/call", "t"))
		wantReason(t, "another at the same upstream", refusal, "backpressure")
		if second == nil || second.Caller() == "" || second.Tenant() != "acme" {
			t.Errorf("who was refused is %+v", second)
		}
		first.End(&mcp.Ending{Entered: true})
	}
}

// TestLimitsInForce holds two ways to the limits against each other: those that a server decides by, and those that taiea shows, which has
// what servers announced and the directives.
func TestLimitsInForce(t *testing.T) {
	built, err := catalog.Build(tool("t", catalog.Terms{Upstream: "crm", Limits: governor.Limit{PerSecond: 2, Burst: 3}}), tool("u", catalog.Terms{}))
	if err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{RatePerSecond: 100, MaxCalls: 50, TenantRate: 20, ClientRate: 10}
	cfg.Callers.Chain, cfg.Callers.AnonymousRate = []string{identity.Anonymous}, 5
	base, err := ConfiguredLimits(cfg, built, true, &directives.Directives{})
	if err != nil {
		t.Fatal(err)
	}
	scopes := []string{"tool:t", "tool:u", "upstream:crm"}
	for _, scope := range append([]string{directives.Everything, directives.EachTenant, directives.EachClient, "tenant:acme"}, scopes...) {
		for _, v := range []directives.Override{{Limits: directives.Limits{PerSecond: of(7.0)}}, {Limits: directives.Limits{Burst: of(2.0), PerSecond: of(4.0)}}, {Limits: directives.Limits{Concurrency: of(int64(3))}}, {Limits: directives.Limits{PerDay: of(int64(9))}}, {Limits: directives.Limits{DryRun: of(true), PerSecond: of(1.0)}}} {
			v.Scope = scope
			d := &directives.Directives{}
			if err := d.Override(v); err != nil {
				t.Fatal(err)
			}
			decided, err := ConfiguredLimits(cfg, built, true, d)
			if err != nil {
				t.Fatal(err)
			}
			shown := Overridden(base, scopes, nil, d)
			for _, l := range decided {
				i := slices.IndexFunc(shown, func(s governor.Limit) bool { return s.Scope == l.Scope })
				if l.Scope == "tenant:"+identity.TenantAnonymous && scope == directives.EachTenant {
					continue // it is the smaller of two, of which what was announced has one
				}
				if i < 0 || shown[i].PerSecond != l.PerSecond || shown[i].Concurrency != l.Concurrency || shown[i].PerDay != l.PerDay || shown[i].DryRun != l.DryRun {
					t.Errorf("%+v: decided by %+v, shown %+v", v, l, shown)
				}
			}
		}
	}
	w := newWorld(t, Configured(cfg, built, true), nil, nil)
	if len(w.Degraded()) > 0 {
		t.Error(w.Degraded())
	}
	if a, refusal := w.Admit(t.Context(), &mcp.RequestHeader{RequestID: "1", Method: "tools/call", Name: "t", Header: http.Header{}, RemoteAddr: "192.0.2.1:1"}); refusal != nil {
		t.Error(refusal)
	} else {
		a.Drop(t.Context())
	}
	for _, h := range w.Held() {
		if h.Tokens < 0 {
			t.Errorf("%+v", h)
		}
	}
}

package admission

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/policy"
	"example.com/erlmcp/function/internal/receipt"
)

// A kept is a recorder that shows what it was given.
type kept struct {
	mu  sync.Mutex
	all []receipt.Receipt
}

func (k *kept) Append(r receipt.Receipt) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, r)
}

func (k *kept) Commit(_ context.Context, r receipt.Receipt) error { k.Append(r); return nil }
func (k *kept) Hash(_ string, raw []byte) receipt.Hash            { return receipt.HashOf(raw) }

// kinds are what the receipts were of, in order.
func (k *kept) kinds() (out []receipt.Kind) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.all {
		out = append(out, r.Kind)
	}
	return out
}

func (w *world) head(method, tool string) *mcp.RequestHeader {
	return &mcp.RequestHeader{
		RequestID: "1", Version: "2026-07-28", Method: method, Name: tool, RemoteAddr: "192.0.2.1:1", Began: time.Now(),
		Header: http.Header{"Authorization": {"Bearer " + w.key}},
	}
}

// enter takes a call to where its handler would run, and returns what takes its end, or the refusal.
func (w *world) enter(ctx context.Context, h *mcp.RequestHeader, tool string) (mcp.Admission, *mcp.Refusal) {
	a, refusal := w.Admit(ctx, h)
	if refusal != nil {
		return nil, refusal
	}
	_, running, refusal := a.Start(ctx, &mcp.Call{Head: h, Method: "tools/call", Name: tool, Modern: h.Method != "", Arguments: map[string]any{}})
	return running, refusal
}

// recordedWorld is a world in a bubble, with one tool, and what it records.
func recordedWorld(t *testing.T, terms catalog.Terms) (*world, *kept) {
	t.Helper()
	built, err := catalog.Build(tool("t", terms))
	if err != nil {
		t.Fatal(err)
	}
	k := &kept{}
	return newWorld(t, Options{Catalog: built, Journal: k}, nil, nil), k
}

func wantReason(t *testing.T, what string, refusal *mcp.Refusal, want string) {
	t.Helper()
	got := ""
	if refusal != nil {
		got = refusal.Reason.Name
	}
	if got != want {
		t.Errorf("%s: refused with %q, want %q: %+v", what, got, want, refusal)
	}
}

// TestSlots has one slot, and wants it back at each end that a call can have, and at none twice.
func TestSlots(t *testing.T) {
	done := mcp.Ending{Entered: true}
	for _, c := range []struct {
		name   string
		modern bool
		end    func(ctx context.Context, w *world, h *mcp.RequestHeader) // ends a call that has the slot
	}{
		{"it ends", true, func(ctx context.Context, w *world, h *mcp.RequestHeader) {
			end, _ := w.enter(ctx, h, "t")
			end.End(&done)
		}},
		{"its handler is not entered", true, func(ctx context.Context, w *world, h *mcp.RequestHeader) {
			end, _ := w.enter(ctx, h, "t")
			end.End(&mcp.Ending{})
		}},
		{"it is dropped", true, func(ctx context.Context, w *world, h *mcp.RequestHeader) {
			a, _ := w.Admit(ctx, h)
			a.Drop(ctx)
		}},
		{"it yields while its body is long in coming", true, func(ctx context.Context, w *world, h *mcp.RequestHeader) {
			a, _ := w.Admit(ctx, h)
			a.Yield()
		}},
		{"a legacy one ends", false, func(ctx context.Context, w *world, h *mcp.RequestHeader) {
			end, _ := w.enter(ctx, h, "t")
			end.End(&done)
		}},
		{"a legacy one turns out invalid", false, func(ctx context.Context, w *world, h *mcp.RequestHeader) {
			a, _ := w.Admit(ctx, h)
			a.Invalid(ctx, &mcp.Call{Head: h, Method: "tools/call", Name: "t"})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _ := recordedWorld(t, catalog.Terms{Limits: governor.Limit{Concurrency: 1}})
				method := "tools/call"
				if !c.modern {
					method = ""
				}
				for range 3 {
					c.end(t.Context(), w, w.head(method, "t"))
				}
				first, refusal := w.enter(t.Context(), w.head("tools/call", "t"), "t")
				wantReason(t, "one call", refusal, "")
				_, refusal = w.enter(t.Context(), w.head("tools/call", "t"), "t")
				wantReason(t, "a second one", refusal, "concurrency")
				if first != nil {
					first.End(&done)
				}
			})
		})
	}
}

// TestYieldedIsDecidedAnew has a call that yielded its slot find it taken when its body has come.
func TestYieldedIsDecidedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := recordedWorld(t, catalog.Terms{Limits: governor.Limit{Concurrency: 1}})
		h := w.head("tools/call", "t")
		slow, refusal := w.Admit(t.Context(), h)
		wantReason(t, "a call", refusal, "")
		slow.Yield()
		end, refusal := w.enter(t.Context(), w.head("tools/call", "t"), "t")
		wantReason(t, "the next", refusal, "")
		_, _, refusal = slow.Start(t.Context(), &mcp.Call{Head: h, Method: "tools/call", Name: "t", Modern: true})
		wantReason(t, "the first, once its body has come", refusal, "concurrency")
		end.End(&mcp.Ending{Entered: true})
	})
}

// TestBreakers has an upstream fail twice: it is left alone for its rest, and then tried with one call.
func TestBreakers(t *testing.T) {
	terms := catalog.Terms{Upstream: "crm", Breaker: governor.Breaker{Failures: 2, Rest: 10 * time.Second}}
	for _, outcome := range []mcp.Outcome{mcp.Unavailable, mcp.TimedOut, mcp.Panicked} {
		t.Run(outcome.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _ := recordedWorld(t, terms)
				for range 2 {
					end, refusal := w.enter(t.Context(), w.head("tools/call", "t"), "t")
					wantReason(t, "before it is open", refusal, "")
					end.End(&mcp.Ending{Entered: true, Outcome: outcome})
				}
				_, refusal := w.enter(t.Context(), w.head("tools/call", "t"), "t")
				wantReason(t, "while it is open", refusal, "breaker_open")
				for i := range 9 { // in a bubble
					time.Sleep(time.Second)
					if _, err := w.store.Change(t.Context(), func(d *directives.Directives) error { // what operators order has nothing to do with it
						return d.Override(directives.Override{Scope: "tool:other", Limits: directives.Limits{PerDay: of(int64(i))}, At: time.Now()})
					}); err != nil {
						t.Fatal(err)
					}
					_, refusal := w.enter(t.Context(), w.head("tools/call", "t"), "t")
					wantReason(t, "during its rest", refusal, "breaker_open")
				}
				time.Sleep(time.Second + time.Millisecond)
				end, refusal := w.enter(t.Context(), w.head("tools/call", "t"), "t")
				wantReason(t, "after its rest", refusal, "")
				_, refusal = w.enter(t.Context(), w.head("tools/call", "t"), "t")
				wantReason(t, "beside the trial", refusal, "breaker_open")
				end.End(&mcp.Ending{Entered: true})
				end, refusal = w.enter(t.Context(), w.head("tools/call", "t"), "t")
				wantReason(t, "after a trial that worked", refusal, "")
				end.End(&mcp.Ending{Entered: true})
			})
		})
	}
}

// TestRecords has each way that a call ends leave one receipt.
func TestRecords(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(ctx context.Context, w *world)
		want receipt.Kind
	}{
		{"a call that ends", func(ctx context.Context, w *world) {
			end, _ := w.enter(ctx, w.head("tools/call", "t"), "t")
			end.End(&mcp.Ending{Entered: true})
		}, receipt.Completed},
		{"a call that fails", func(ctx context.Context, w *world) {
			end, _ := w.enter(ctx, w.head("tools/call", "t"), "t")
			end.End(&mcp.Ending{Entered: true, Outcome: mcp.Panicked})
		}, receipt.Failed},
		{"a stranger", func(ctx context.Context, w *world) {
			h := w.head("tools/call", "t")
			h.Header.Set("Authorization", "Bearer erlmcp_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaa")
			w.Admit(ctx, h)
		}, receipt.Refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, k := recordedWorld(t, catalog.Terms{})
				c.run(t.Context(), w)
				if got := k.kinds(); len(got) != 1 || got[0] != c.want {
					t.Errorf("receipts of %v, want %s", got, c.want)
				}
			})
		})
	}
}

// TestRules decides by a tool's own rules: what is denied whatever the arguments is not seen, and what depends on them is.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		name    string
		rule    policy.Rule
		hidden  bool
		refused string
	}{
		{"for nobody", policy.Rule{When: "true", Then: policy.Deny, Name: "none"}, true, ""},
		{"not for acme", policy.Rule{When: `principal.tenant == "acme"`, Then: policy.Deny, Name: "acme"}, true, ""},
		{"for acme", policy.Rule{When: `principal.tenant != "acme"`, Then: policy.Deny, Name: "others"}, false, ""},
		{"by an argument", policy.Rule{When: `size(args) == 0`, Then: policy.Deny, Name: "args"}, false, "not_entitled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _ := recordedWorld(t, catalog.Terms{Rules: []policy.Rule{c.rule}})
				h := w.head("tools/call", "t")
				a, refusal := w.Admit(t.Context(), h)
				wantReason(t, "from the headers", refusal, "")
				call := &mcp.Call{Head: h, Method: "tools/call", Name: "t", Modern: true, Arguments: map[string]any{}}
				_, end, refusal := a.Start(t.Context(), call)
				wantReason(t, "with the arguments", refusal, c.refused)
				if hidden := call.Concealed() != nil; hidden != c.hidden {
					t.Errorf("hidden: %t, want %t", hidden, c.hidden)
				}
				if end != nil {
					end.End(&mcp.Ending{Entered: !c.hidden})
				}
			})
		})
	}
}

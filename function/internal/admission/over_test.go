package admission

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
)

// TestOver has a gate take another's place: it has the limits of its own catalog, knows from its first call what operators have ordered and tenants
// may, and goes on with what was counted; one with a fault in its limits is none, and leaves the gate before as it was.
func TestOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		build := func(entries ...catalog.Entry) *catalog.Catalog {
			t.Helper()
			c, err := catalog.Build(entries...)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		overrides := []directives.Override{{Scope: "tool:late", Limits: directives.Limits{PerSecond: of(1.0), Burst: of(3.0)}}}
		once := governor.Limit{PerSecond: 1, Burst: 2}
		w := newWorld(t, Options{Catalog: build(tool("early", catalog.Terms{Limits: once}))}, overrides, &directives.Limits{PerSecond: of(1.0), Burst: of(7.0)})
		admitted := func(name string) (n int) {
			for w.call(context.Background(), name, true) == nil && n < 20 {
				n++
			}
			return n
		}
		first := w.Gate
		if n := admitted("early"); n != 2 {
			t.Errorf("the first gate admits %d", n)
		}
		w.decided.count("rule", "deny")
		broken := build(tool("late", catalog.Terms{Weight: 9, Limits: once}), tool("daily", catalog.Terms{Limits: governor.Limit{PerDay: 1}}))
		if next, err := w.Over(broken); next != nil || err == nil || !strings.Contains(err.Error(), "tool:late") || !strings.Contains(err.Error(), "tool:daily: calls a day need a store") {
			t.Errorf("%v %v", next, err)
		}
		next, err := w.Over(build(tool("early", catalog.Terms{Limits: once}), tool("late", catalog.Terms{})))
		if err != nil {
			t.Fatal(err)
		}
		now, before := next.callers.Load(), first.callers.Load()
		if now.rules.directives != before.rules.directives || now.directory != before.directory || now.directory == nil || len(now.rules.directives.Limits) != 1 {
			t.Errorf("%+v, and before %+v", now.rules.directives, before.rules.directives)
		}
		if n := first.Decided()[Decided{"rule", "deny"}]; n != 1 || next.Decided()[Decided{"rule", "deny"}] != n {
			t.Errorf("%v, and before %v", next.Decided(), first.Decided())
		}
		w.Gate = next
		if n := admitted("early"); n != 0 {
			t.Errorf("a limit that is the same admits %d anew", n)
		}
		if n := admitted("late"); n != 3 {
			t.Errorf("what operators have ordered admits %d", n)
		}
		if n := admitted("none"); n == 0 {
			t.Error("what is no call is refused")
		}
		w.Gate = first // which calls may still have
		if n := admitted("early"); n != 0 {
			t.Errorf("the gate before admits %d anew", n)
		}
	})
}

package governor

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestManyNames has ever other tools be refused, fail and succeed, as where catalogs take each other's place: what is kept of them is bounded, the
// counts add up, and a breaker that is open stays so.
func TestManyNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counters := NewStandalone(time.Now)
		g := New(Options{Instance: "a", Counters: counters, Epochs: counters, Standalone: true})
		defer g.Close()
		run := func(scope string, fails bool) Decision {
			limit := Limit{Scope: "tool:" + scope, Key: "tool:" + scope, PerSecond: 0.01, Burst: 1}
			l, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{&limit}, Breaker: &Breaker{Scope: "upstream:" + scope, Failures: 1, Rest: time.Minute}})
			if d.Admitted() {
				if fails {
					l.Fail()
				}
				l.Release()
			}
			return d
		}
		run("first", true)
		const names = 2 * maxDecided
		for n := range names {
			name := fmt.Sprint("t", n)
			if d := run(name, n%2 == 0); !d.Admitted() {
				t.Fatalf("%s: %+v", name, d)
			}
			want := RateReached
			if n%2 == 0 {
				want = BreakerOpen
			}
			if d := run(name, false); d.Reason != want {
				t.Fatalf("%s once more: %+v", name, d)
			}
			time.Sleep(time.Second)
			if n == 30 {
				if d := run("first", false); d.Reason != BreakerOpen {
					t.Errorf("the first breaker is open, and admits: %+v", d)
				}
			}
		}
		kinds, refused := g.Stats().Decisions, int64(0)
		for d, n := range kinds {
			if d.Reason != Admitted {
				refused += n
			}
		}
		if len(kinds) > maxDecided+10 || refused != names+1 || kinds[Decided{Reason: RateReached, Scope: "tool"}] == 0 {
			t.Errorf("%d kinds of decisions, %d refusals", len(kinds), refused)
		}
		if n := len(g.breakers); n > maxBreakers {
			t.Errorf("%d breakers are kept", n)
		}
	})
}

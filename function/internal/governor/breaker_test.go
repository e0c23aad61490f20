package governor_test

import (
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
)

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		a, b := f.governor(t, "a"), f.governor(t, "b")
		call := &governor.Call{
			Weight: 1, Limits: search.Limits,
			Breaker: &governor.Breaker{Scope: "upstream:crm", Failures: 3, Rest: 10 * time.Second},
		}
		run := func(g *governor.Governor, fails bool) governor.Decision {
			t.Helper()
			l, d := g.Admit(t.Context(), call)
			if d.Admitted() {
				if fails {
					l.Fail()
				}
				l.Release()
			}
			return d
		}
		run(b, false)
		for _, fails := range []bool{true, true, false, true, true} { // never three in a row
			if d := run(a, fails); !d.Admitted() {
				t.Fatalf("%+v", d)
			}
		}
		run(a, true)
		d := run(a, false)
		if d.Reason != governor.BreakerOpen || d.Scope != "upstream:crm" || d.Wait <= 9*time.Second || d.Wait > 10*time.Second {
			t.Fatalf("after three failures in a row: %+v", d)
		}
		if took := within(t, b, call, governor.BreakerOpen); took > time.Second {
			t.Errorf("the other instance stops after %v", took)
		}
		if d := admit(t, a, other); !d.Admitted() {
			t.Errorf("what does not need it: %+v", d)
		}

		// One trial at a time; one that fails makes it rest twice as long.
		time.Sleep(10 * time.Second)
		trial, d := a.Admit(t.Context(), call)
		if !d.Admitted() {
			t.Fatalf("the trial: %+v", d)
		}
		if d := run(a, false); d.Reason != governor.BreakerOpen || d.Wait <= 0 {
			t.Errorf("a second trial at once: %+v", d)
		}
		trial.Fail()
		trial.Release()
		if d := run(a, false); d.Reason != governor.BreakerOpen || d.Wait < 19*time.Second {
			t.Errorf("after a trial that failed: %+v", d)
		}
		time.Sleep(time.Second)
		admit(t, b, other)
		time.Sleep(time.Second)
		if d := run(b, false); d.Reason != governor.BreakerOpen {
			t.Errorf("the other instance: %+v", d)
		}

		// One that succeeds closes it everywhere.
		time.Sleep(20 * time.Second)
		if d := run(a, false); !d.Admitted() {
			t.Errorf("the second trial: %+v", d)
		}
		if d := run(a, false); !d.Admitted() {
			t.Errorf("after a trial that succeeded: %+v", d)
		}
		for range 2 { // the other hears of it within a second
			admit(t, b, other)
			time.Sleep(500 * time.Millisecond)
		}
		for i := range 2 { // at a time: neither is a trial of its own
			l, d := b.Admit(t.Context(), call)
			if !d.Admitted() {
				t.Fatalf("call %d at the other instance: %+v", i+1, d)
			}
			defer l.Release()
		}
	})
}

// TestRefusedTrialIsNoTrial wants the trial back that another limit refused.
func TestRefusedTrialIsNoTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFleet().governor(t, "n")
		slot := &governor.Limit{Scope: "slot", Key: "slot", Concurrency: 1}
		broken := &governor.Breaker{Scope: "tool:x", Failures: 1, Rest: time.Second}
		call := &governor.Call{Weight: 1, Limits: []*governor.Limit{slot}, Breaker: broken}
		l, _ := g.Admit(t.Context(), call)
		l.Fail()
		l.Release()
		time.Sleep(time.Second)
		holder, d := g.Admit(t.Context(), &governor.Call{Weight: 1, Limits: call.Limits})
		if !d.Admitted() {
			t.Fatalf("%+v", d)
		}
		if d := admit(t, g, call); d.Reason != governor.SlotsTaken {
			t.Fatalf("%+v", d)
		}
		holder.Release()
		if took := within(t, g, call, governor.Admitted); took > 100*time.Millisecond {
			t.Errorf("the trial after %v", took)
		}
	})
}

// TestUntoldBreakerStaysOpen has a breaker open while the counters are away. What they tell once they are back does not mention it, since
// nobody has told them: that closes nothing.
func TestUntoldBreakerStaysOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		g := f.governor(t, "n")
		call := &governor.Call{Weight: 1, Breaker: &governor.Breaker{Scope: "upstream:crm", Failures: 1, Rest: 30 * time.Second}}
		l, d := g.Admit(t.Context(), call)
		if !d.Admitted() {
			t.Fatalf("%+v", d)
		}
		f.set(func() { f.down = true })
		l.Fail()
		l.Release()
		time.Sleep(100 * time.Millisecond)
		f.set(func() { f.down = false })
		for i := range 10 {
			time.Sleep(time.Second)
			if _, err := f.Change(t.Context(), func(d *directives.Directives) error { // what the counters tell is another thing each time
				return d.Kill(directives.Kill{Scope: "tool:other", Reason: "it leaks", At: time.Now()})
			}); err != nil {
				t.Fatal(err)
			}
			if d := admit(t, g, call); d.Reason != governor.BreakerOpen {
				t.Fatalf("after %d s: %+v", i+1, d)
			}
		}
	})
}

package governor_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/governor"
)

func TestShadowMode(t *testing.T) {
	for name, limit := range map[string]*governor.Limit{
		"rate":  {Scope: "tool:x", Key: "x", PerSecond: 2, Burst: 2, DryRun: true},
		"slots": {Scope: "tool:x", Key: "x", Concurrency: 2, DryRun: true},
		"quota": {Scope: "tool:x", Key: "x", PerDay: 2, DryRun: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				a, b := f.governor(t, "a"), f.governor(t, "b")
				call := &governor.Call{Weight: 1, Limits: []*governor.Limit{limit, search.Limits[0]}}
				var leases []*governor.Lease
				over := 0
				for i := range 6 {
					g := []*governor.Governor{a, b}[i%2]
					l, d := g.Admit(t.Context(), call)
					if !d.Admitted() {
						t.Fatalf("%+v", d)
					}
					if slices.Contains(d.DryRun, limit) {
						over++
					}
					leases = append(leases, l)
				}
				if over != 4 {
					t.Errorf("%d of 6 calls were over a limit of 2", over)
				}
				for _, l := range leases {
					l.Release()
				}
				time.Sleep(3 * time.Second)
				if d := admit(t, a, call); !d.Admitted() || (len(d.DryRun) > 0) != (name == "quota") {
					t.Errorf("later: %+v", d)
				}
				f.set(func() { f.down, f.lost = true, true })
				time.Sleep(100 * time.Millisecond)
				strict := &governor.Call{Weight: 1, Limits: []*governor.Limit{limit}}
				for range 10 {
					if d := admit(t, a, strict); !d.Admitted() {
						t.Errorf("without counters and store: %+v", d)
					}
				}
			})
		})
	}
}

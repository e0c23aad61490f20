package governor_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
)

// maxMin are the shares of those who ask by progressive filling (Bertsekas and Gallager, Data Networks, 6.5.2).
func maxMin(capacity float64, asked []float64) []float64 {
	order := make([]int, len(asked))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return int(math.Copysign(1, asked[a]-asked[b])) })
	shares := make([]float64, len(asked))
	for n, i := range order {
		shares[i] = min(asked[i], capacity/float64(len(asked)-n))
		capacity -= shares[i]
	}
	return shares
}

// TestTurnsOfCallersThatGo has a tenant give up each of its calls while it waits for its turn: what was kept for it is charged to it, and
// the others have their share.
func TestTurnsOfCallersThatGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		g := f.governor(t, "n")
		limit := &governor.Limit{Scope: directives.Everything, Key: "all", PerSecond: 10, Common: true}
		calls := [2]*governor.Call{{Tenant: "stays", Weight: 1, Limits: []*governor.Limit{limit}}, {Tenant: "goes", Weight: 1, Limits: []*governor.Limit{limit}}}
		var admitted [2]atomic.Int64
		var wg sync.WaitGroup
		for n := range 1000 {
			for i, call := range calls {
				if i == 1 && n%30 > 0 {
					continue
				}
				ctx, cancel := context.WithCancel(t.Context())
				wg.Go(func() {
					defer cancel()
					if i == 1 {
						time.AfterFunc(time.Millisecond, cancel)
					}
					if l, d := g.Admit(ctx, call); d.Admitted() {
						admitted[i].Add(1)
						l.Release()
					}
				})
			}
			time.Sleep(10 * time.Millisecond)
		}
		wg.Wait()
		if stays, goes := admitted[0].Load(), admitted[1].Load(); stays < 60 || goes < 30 {
			t.Errorf("of 100 calls one had %d, and the one that asked for 34 and did not wait for its turns %d", stays, goes)
		}
	})
}

// TestTenantsTakeTurns has tenants that ask more or less often share one limit over a fleet. Each must have nine tenths of its max-min
// share, less three calls, and all together no less than nine tenths of what one of them would have alone.
func TestTenantsTakeTurns(t *testing.T) {
	const span = 20 // seconds
	for _, c := range []struct {
		limit     governor.Limit
		takes     time.Duration
		asks      []float64 // a second, of each tenant
		instances int
	}{
		{governor.Limit{PerSecond: 20}, 0, []float64{100, 2}, 1},
		{governor.Limit{PerSecond: 20}, 0, []float64{100, 2}, 4},
		{governor.Limit{PerSecond: 10}, 0, []float64{100, 1}, 2},
		{governor.Limit{PerSecond: 1}, 0, []float64{50, 0.2}, 2},
		{governor.Limit{PerSecond: 2}, 0, []float64{50, 0.5}, 1},
		{governor.Limit{PerSecond: 100, Burst: 50}, 0, []float64{300, 10, 3, 1}, 3},
		{governor.Limit{PerSecond: 20}, 0, []float64{100, 50, 2}, 2},
		{governor.Limit{PerSecond: 30}, 0, []float64{200, 5, 5, 5, 1, 1, 1}, 4},
		{governor.Limit{Concurrency: 4}, 200 * time.Millisecond, []float64{100, 2}, 1},
		{governor.Limit{Concurrency: 4}, 200 * time.Millisecond, []float64{100, 2}, 3},
		{governor.Limit{Concurrency: 1}, 100 * time.Millisecond, []float64{100, 2}, 2},
		{governor.Limit{Concurrency: 4}, 2 * time.Second, []float64{20, 0.3}, 2},
		{governor.Limit{Concurrency: 20}, 500 * time.Millisecond, []float64{100, 5, 2}, 4},
	} {
		name := fmt.Sprintf("%v of %d at %v a second or %d of %v", c.asks, c.instances, c.limit.PerSecond, c.limit.Concurrency, c.takes)
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				var fleet []*governor.Governor
				for i := range c.instances {
					fleet = append(fleet, f.governor(t, fmt.Sprint("n", i)))
				}
				limit := c.limit
				limit.Scope, limit.Key, limit.Common = directives.Everything, "all", true
				capacity := limit.PerSecond
				if limit.Concurrency > 0 {
					capacity = float64(limit.Concurrency) / c.takes.Seconds()
				}
				var mu sync.Mutex
				admitted, asked := make([]float64, len(c.asks)), make([]float64, len(c.asks))
				var calls, tenants sync.WaitGroup
				for i, rate := range c.asks {
					call := &governor.Call{Tenant: fmt.Sprint("tenant", i), Weight: 1, Limits: []*governor.Limit{&limit}}
					rng := rand.New(rand.NewPCG(uint64(i), 3))
					tenants.Go(func() {
						for begin := time.Now(); time.Since(begin) < span*time.Second; {
							time.Sleep(time.Duration((0.5 + rng.Float64()) / rate * float64(time.Second)))
							asked[i]++
							g := fleet[rng.IntN(len(fleet))]
							calls.Go(func() {
								l, d := g.Admit(t.Context(), call)
								if d.Admitted() {
									mu.Lock()
									admitted[i]++
									mu.Unlock()
									time.Sleep(c.takes)
									l.Release()
								}
							})
						}
					})
				}
				tenants.Wait()
				calls.Wait()
				shares, sum := maxMin(capacity*span, asked), 0.0
				for i, share := range shares {
					sum += admitted[i]
					if admitted[i] < 0.9*share-3 {
						t.Errorf("the tenant that asks %v a second has %v of its share of %.1f", c.asks[i], admitted[i], share)
					}
				}
				if sum < 0.9*capacity*span-2 {
					t.Errorf("%v of %v calls are admitted", sum, capacity*span)
				}
				t.Logf("asked %v, admitted %v, max-min shares %.1f", asked, admitted, shares)
			})
		})
	}
}

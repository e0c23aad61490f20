package redis

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/erlmcp/function/internal/governor"
)

// TestLimitsAdmit holds limits of each kind to what they promise, on the counters of a process and on Redis: a burst at once on
// whatever instances, each call up to it after a pause, and never more in any window. Package governor does it for all limits.
func TestLimitsAdmit(t *testing.T) {
	for _, c := range []limited{
		{1, 1, 1, 1, 0}, {2, 1, 1, 2, 30 * time.Millisecond}, {2, 1, 1, 1, 120 * time.Millisecond}, {10, 1, 1, 3, time.Millisecond},
		{40, 4, 4, 4, 10 * time.Millisecond}, {68, 6.8, 4, 2, 0}, {100, 10, 10, 5, 5 * time.Millisecond}, {400, 4, 4, 3, 18 * time.Millisecond},
		{400, 40, 4, 2, time.Millisecond}, {4000, 4, 4, 3, time.Millisecond}, {4000, 400, 204, 4, 2 * time.Millisecond},
		{400_000, 40, 1, 16, 100 * time.Millisecond}, {20, 50, 7, 8, time.Millisecond}, {0.4, 4, 4, 3, 60 * time.Millisecond},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			t.Run("alone", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { c.admits(t, governor.NewStandalone(time.Now), true) })
			})
			eachRedis(t, func(t *testing.T, client *redis.Client, exact bool) {
				o := *client.Options()
				o.PoolSize = 64 // for the whole fleet: who waits for a connection does so by a timer that the library shares among bubbles
				wide := redis.NewClient(&o)
				defer wide.Close()
				c.admits(t, NewCounters(wide), exact)
			})
		})
	}
}

type limited struct {
	rate, burst float64
	weight      int64
	instances   int
	latency     time.Duration // where the clock is the test's
}

// later are counters whose answers take some time.
type later struct {
	governor.Counters
	latency time.Duration
}

// Lease implements [governor.Counters].
func (c later) Lease(ctx context.Context, d *governor.LeaseRequest) (governor.LeaseResponse, error) {
	time.Sleep(c.latency / 2)       // in a bubble
	defer time.Sleep(c.latency / 2) // in a bubble
	return c.Counters.Lease(ctx, d)
}

func (c limited) admits(t *testing.T, shared governor.Counters, exact bool) {
	if !exact && (c.burst/c.rate > 2 || c.burst/c.rate < 0.02) {
		t.Skip("takes too long where time is real, or less than a busy machine pauses")
	}
	rng := rand.New(rand.NewPCG(3, 4))
	if exact {
		shared = later{shared, c.latency}
	}
	var fleet []*governor.Governor
	for i := range c.instances {
		g := governor.New(governor.Options{Instance: fmt.Sprint("n", i), Counters: shared, Epochs: firstEpoch{}, Timeout: 250 * time.Millisecond, Logger: logTo(t)})
		defer g.Close()
		if err := g.Warm(); err != nil {
			t.Fatal(err)
		}
		fleet = append(fleet, g)
	}
	limit := &governor.Limit{Key: "x", Scope: "x", PerSecond: c.rate, Burst: c.burst}
	var mu sync.Mutex
	var entries []entry
	begin := time.Now()
	call := func(weight int64, times int) (admitted int) {
		var wg sync.WaitGroup
		for range times {
			g := fleet[rng.IntN(len(fleet))]
			wg.Go(func() {
				asked := time.Since(begin)
				l, d := g.Admit(t.Context(), &governor.Call{Weight: weight, Limits: []*governor.Limit{limit}})
				if d.Outage {
					t.Errorf("%+v", d)
				}
				if d.Admitted() {
					mu.Lock()
					admitted++
					entries = append(entries, entry{asked, time.Since(begin), weight})
					mu.Unlock()
					l.Release()
				}
			})
		}
		wg.Wait()
		return admitted
	}
	pause := func(tokens float64) {
		time.Sleep(time.Duration(tokens/c.rate*1e9) + 50*time.Millisecond + 3*c.latency) // in a bubble, but for a real Redis
	}
	tries := 1
	if !exact { // on a busy machine an answer can come too late to be used
		tries = 20
	}
	admitted := func(weight int64, times int, rest float64) {
		got := 0
		for range tries {
			got = call(weight, times)
			pause(rest)
			if got == times {
				return
			}
		}
		t.Errorf("%d of %d calls at once of weight %d are admitted after a pause", got, times, weight)
	}
	atOnce := int(c.burst) / int(c.weight)
	for range 3 {
		admitted(c.weight, atOnce, c.burst)
	}
	for _, weight := range []int64{int64(c.burst), 1, c.weight, c.weight} {
		admitted(weight, 1, float64(weight))
	}
	call(c.weight, 3*atOnce)
	if fault := over(entries, limit); fault != "" {
		t.Error(fault)
	}
}

// An entry is a call that was admitted at some time between two.
type entry struct {
	from, to time.Duration
	weight   int64
}

// over says in which window there were too many, whenever the calls entered.
func over(entries []entry, l *governor.Limit) string {
	slices.SortFunc(entries, func(x, y entry) int { return int(x.to - y.to) })
	for i, first := range entries {
		n := first.weight
		for _, last := range entries[i+1:] {
			n += last.weight
			if most := l.Burst + l.PerSecond*(last.to-first.from).Seconds(); float64(n) > math.Nextafter(most, math.Inf(1)) {
				return fmt.Sprintf("%d tokens from %v to %v, %v may be", n, first.from, last.to, most)
			}
		}
	}
	return ""
}

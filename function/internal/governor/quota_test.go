package governor_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/governor"
)

func daily(most int64) *governor.Call {
	return &governor.Call{Weight: 1, Limits: []*governor.Limit{{Scope: "tool:x", Key: "x", PerDay: most}}}
}

func TestDailyQuota(t *testing.T) {
	for _, most := range []int64{1, 5, 100, 2000} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				call := daily(most)
				var fleet []*governor.Governor
				for i := range 8 {
					fleet = append(fleet, f.governor(t, fmt.Sprint("n", i)))
				}
				spend := func() int64 {
					var admitted atomic.Int64
					var wg sync.WaitGroup
					for i := range 32 {
						wg.Go(func() {
							for range 100 {
								if d := admit(t, fleet[i%8], call); d.Admitted() {
									admitted.Add(1)
								} else if d.Reason != governor.QuotaUsed || d.Limit != call.Limits[0] || d.Wait <= 0 || d.Wait > 24*time.Hour || d.Outage {
									t.Errorf("%+v", d)
								}
								time.Sleep(5 * time.Millisecond)
							}
						})
					}
					wg.Wait()
					return admitted.Load()
				}
				if n := spend(); n != most {
					t.Errorf("%d of %d admitted", n, most)
				}
				f.restartEmpty()
				if n := spend(); n != 0 {
					t.Errorf("%d more after the counters were lost", n)
				}
				time.Sleep(24 * time.Hour)
				if n := spend(); n != most {
					t.Errorf("%d of %d admitted the next day", n, most)
				}
			})
		})
	}
}

// TestQuotaEndsWithItsDay has an instance draw more than it uses before midnight.
func TestQuotaEndsWithItsDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		g := f.governor(t, "n")
		for range 40 {
			if d := admit(t, g, daily(100)); !d.Admitted() {
				t.Fatalf("%+v", d)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if used, _ := f.Used(t.Context(), "x", time.Now().UTC().Format(time.DateOnly)); used <= 40 {
			t.Fatalf("%d drawn after 40 calls: there is nothing to test", used)
		}
		time.Sleep(24 * time.Hour)
		admitted := 0
		for range 200 {
			if admit(t, g, daily(100)).Admitted() {
				admitted++
			}
			time.Sleep(10 * time.Millisecond)
		}
		if admitted != 100 {
			t.Errorf("%d of 100 admitted the next day", admitted)
		}
	})
}

func TestQuotaComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		call := daily(1000)
		slot := &governor.Limit{Scope: "slot", Key: "slot", Concurrency: 1}
		both := &governor.Call{Weight: 1, Limits: []*governor.Limit{call.Limits[0], slot}}
		g := f.governor(t, "n")
		l, d := g.Admit(t.Context(), both)
		if !d.Admitted() {
			t.Fatalf("%+v", d)
		}
		for range 50 {
			if d := admit(t, g, both); d.Reason != governor.SlotsTaken {
				t.Fatalf("%+v", d)
			}
			time.Sleep(10 * time.Millisecond)
		}
		l.Release()
		g.Close() // gives back what it has drawn: all but the one call
		day := time.Now().UTC().Format(time.DateOnly)
		if used, _ := f.Used(t.Context(), "x", day); used != 1 {
			t.Errorf("%d used after one call, 50 that were refused, and the instance's end", used)
		}

		// A crash loses a slice at most.
		crashed := f.governor(t, "crashed")
		for range 100 {
			admit(t, crashed, call)
			time.Sleep(10 * time.Millisecond)
		}
		used, _ := f.Used(t.Context(), "x", day)
		if lost := used - 101; lost < 0 || lost > 1000/8 {
			t.Errorf("%d lost with an instance", lost)
		}
	})
}

// slowStore takes its time to take anything back.
type slowStore struct{ *fleet }

func (s slowStore) Return(ctx context.Context, key, day string, n int64) error {
	select {
	case <-time.After(50 * time.Millisecond): // in a bubble
		return s.fleet.Return(ctx, key, day, n)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestQuotasComeBackTogether has an instance end that has drawn of many quotas, from a store that takes a while for each.
func TestQuotasComeBackTogether(t *testing.T) {
	const most = 50
	for _, c := range []struct {
		name     string
		time     time.Duration
		returned bool
	}{{"in time", closeTime, true}, {"there is no time", 20 * time.Millisecond, false}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				var log strings.Builder
				g := governor.New(governor.Options{Instance: "n", Counters: f, Epochs: f, Directives: f, Quotas: slowStore{f}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				call := func(i int) *governor.Call {
					name := fmt.Sprint("q", i)
					return &governor.Call{Weight: 1, Limits: []*governor.Limit{{Scope: "tool:" + name, Key: name, PerDay: 1000}}}
				}
				for range 10 {
					for i := range most {
						if d := admit(t, g, call(i)); !d.Admitted() {
							t.Fatalf("%+v", d)
						}
					}
					time.Sleep(100 * time.Millisecond)
				}
				begin := time.Now()
				g.CloseBy(begin.Add(c.time))
				if took := time.Since(begin); took > c.time {
					t.Errorf("it took %v", took)
				}
				back := 0
				for i := range most {
					if used, err := f.Used(t.Context(), fmt.Sprint("q", i), time.Now().UTC().Format(time.DateOnly)); err == nil && used == 10 {
						back++
					}
				}
				if (back == most) != c.returned {
					t.Errorf("%d of %d quotas have what was used of them", back, most)
				}
				if n := strings.Count(log.String(), "could not be given back"); n != map[bool]int{true: 0, false: 1}[c.returned] {
					t.Errorf("it is said %d times: %s", n, log.String())
				}
			})
		})
	}
}

// closeTime is what a server has at least.
const closeTime = 500 * time.Millisecond

func TestQuotaWithoutItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		g := f.governor(t, "n")
		admit(t, g, daily(0)) // learns the directives
		f.set(func() { f.lost = true })
		for range 20 {
			begin := time.Now()
			if d := admit(t, g, daily(10)); d.Reason != governor.QuotaUsed || !d.Outage || d.Rule != governor.FailClosed || d.Wait <= 0 {
				t.Fatalf("%+v", d)
			}
			if took := time.Since(begin); took > 50*time.Millisecond {
				t.Errorf("a refusal took %v", took)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if text := strings.Join(g.Degraded(), ";"); !strings.Contains(text, "store") {
			t.Errorf("degraded: %q", text)
		}
		f.set(func() { f.lost = false })
		if took := within(t, g, daily(10), governor.Admitted); took > 2*time.Second {
			t.Errorf("admitted again after %v", took)
		}
	})
}

func TestRaisedQuotaIsThereAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFleet().governor(t, "n")
		for i := range 5 {
			if d := admit(t, g, daily(3)); d.Admitted() != (i < 3) {
				t.Errorf("call %d of 3: %+v", i+1, d)
			}
		}
		if d := admit(t, g, daily(4)); !d.Admitted() {
			t.Errorf("the fourth of four: %+v", d)
		}
	})
}

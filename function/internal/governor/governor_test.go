package governor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/directives"
)

func standalone(t *testing.T, now func() time.Time) *Governor {
	c := NewStandalone(now)
	return start(t, Options{Counters: c, Epochs: c, Standalone: true, Now: now})
}

// start returns a governor that logs to the test, and ends with it.
func start(t testing.TB, o Options) *Governor {
	o.Instance, o.Logger = "one", slog.New(slog.NewTextHandler(t.Output(), nil))
	g := New(o)
	t.Cleanup(g.Close)
	return g
}

// A clock that the test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func TestSlotsAreNeverExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := standalone(t, time.Now)
		limit := &Limit{Scope: "tool:x", Key: "x", Concurrency: 7}
		var live, most, admitted, refused atomic.Int64
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				for range 200 {
					l, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{limit}})
					if !d.Admitted() {
						refused.Add(1)
						if d.Limit != limit || d.Reason != SlotsTaken || d.Wait <= 0 {
							t.Errorf("%+v", d)
						}
						time.Sleep(30 * time.Microsecond)
						continue
					}
					if n := live.Add(1); n > most.Load() {
						most.Store(n)
					}
					admitted.Add(1)
					time.Sleep(50 * time.Microsecond)
					live.Add(-1)
					l.Release()
				}
			})
		}
		wg.Wait()
		if most.Load() != 7 || admitted.Load() == 0 || refused.Load() == 0 {
			t.Errorf("most live %d of 7, admitted %d, refused %d", most.Load(), admitted.Load(), refused.Load())
		}
		if held, used, _ := g.leases.Holdings(g.now()); used != 0 {
			t.Errorf("held %d, used %d after all calls returned", held, used)
		}
	})
}

func TestRateDeliversItsLimitAndNoMore(t *testing.T) {
	for _, limit := range []*Limit{
		{Key: "a", PerSecond: 5}, {Key: "b", PerSecond: 20}, {Key: "c", PerSecond: 100}, {Key: "d", PerSecond: 1000},
		{Key: "e", PerSecond: 10000}, {Key: "f", PerSecond: 10, Burst: 50}, {Key: "g", PerSecond: 0.1},
	} {
		c := newClock()
		g := standalone(t, c.now)
		step := min(time.Duration(float64(time.Second)/limit.PerSecond/20), 50*time.Millisecond)
		begin := c.now()
		tokens := min(max(10*limit.PerSecond, 20), 2000)
		total := time.Duration(tokens / limit.PerSecond * float64(time.Second))
		entered := &window{limit: limit}
		var early int64 // in the first half, where the burst is used up
		for c.now().Sub(begin) < total {
			if c.now().Sub(begin) < total/2 {
				early = entered.calls
			}
			for range 3 {
				if l, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{limit}}); d.Admitted() {
					if excess := entered.enter(c.now().Sub(begin).Microseconds()); excess > 1e-6 {
						t.Fatalf("%v/s: %v calls too many in a window", limit.PerSecond, excess)
					}
					l.Release()
				}
			}
			c.add(step)
		}
		if n := float64(entered.calls); n < 0.95*tokens || n > tokens+limit.MaxBurst() {
			t.Errorf("%v/s: %v admitted in %v", limit.PerSecond, n, total)
		}
		if n := float64(entered.calls - early); n < 0.95*tokens/2 {
			t.Errorf("%v/s: %v admitted in the second half of %v", limit.PerSecond, n, total)
		}
	}
}

func TestRefusedCallConsumesNothing(t *testing.T) {
	c := newClock()
	g := standalone(t, c.now)
	rate, slot := &Limit{Key: "rate", PerSecond: 1, Burst: 2}, &Limit{Key: "slot", Concurrency: 1}
	first, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{rate, slot}})
	if !d.Admitted() {
		t.Fatal(d)
	}
	for range 5 {
		if _, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{rate, slot}}); d.Limit != slot {
			t.Fatalf("the slot is taken: %+v", d)
		}
	}
	first.Release()
	// The refused ones left the second token of the burst.
	second, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{rate, slot}})
	if !d.Admitted() {
		t.Fatalf("a token is left: %+v", d)
	}
	second.Release()
	_, d = g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{rate, slot}})
	if d.Limit != rate || d.Wait <= 0 || d.Wait > time.Second+150*time.Millisecond {
		t.Fatalf("%+v", d)
	}
	c.add(d.Wait) // who honours the wait gets in
	if _, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{rate, slot}}); !d.Admitted() {
		t.Errorf("after the wait: %+v", d)
	}
}

// stalled are counters that fail when told to.
type stalled struct {
	*Standalone
	fault atomic.Pointer[error]
	hang  atomic.Bool
}

func (s *stalled) Lease(ctx context.Context, d *LeaseRequest) (LeaseResponse, error) {
	if s.hang.Load() {
		<-ctx.Done()
		return LeaseResponse{}, ctx.Err()
	}
	if f := s.fault.Load(); f != nil {
		return LeaseResponse{}, *f
	}
	return s.Standalone.Lease(ctx, d)
}

// noDirectives is a store in which nothing is ordered.
type noDirectives struct{}

func (noDirectives) Directives(context.Context) (directives.Directives, error) {
	return directives.Directives{}, nil
}

func (noDirectives) Change(_ context.Context, change func(*directives.Directives) error) (directives.Directives, error) {
	var o directives.Directives
	return o, change(&o)
}

func TestOutage(t *testing.T) {
	down := errors.New("connection refused")
	for _, c := range []struct {
		name     string
		limit    Limit
		admitted int // of 20 calls while the counters are away
	}{
		{"slots shut", Limit{Concurrency: 10}, 0},
		{"slots open", Limit{Concurrency: 10, SlotOutage: FailOpen}, 20},
		{"slots by share", Limit{Concurrency: 10, SlotOutage: FailLocal}, 10},
		{"rate by share", Limit{PerSecond: 5, Burst: 4}, 4},
		{"rate shut", Limit{PerSecond: 5, RateOutage: FailClosed}, 0},
		{"rate open", Limit{PerSecond: 5, RateOutage: FailOpen}, 20},
	} {
		for _, hang := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, hang %t", c.name, hang), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &stalled{Standalone: NewStandalone(time.Now)}
					if s.hang.Store(hang); !hang {
						s.fault.Store(&down)
					}
					g := start(t, Options{Counters: s, Epochs: s, Directives: noDirectives{}, Lease: time.Second})
					limit := c.limit
					limit.Key = "x"
					admitted := 0
					begin := time.Now()
					g.Warm()
					if d := time.Since(begin); d > connectTimeout {
						t.Errorf("the first message was given up after %v", d)
					}
					begin = time.Now()
					for range 20 {
						_, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{&limit}})
						if !d.Outage {
							t.Errorf("not said to be an outage: %+v", d)
						}
						if d.Admitted() {
							admitted++
						} else if d.Wait <= 0 {
							t.Errorf("%+v", d)
						}
					}
					if admitted != c.admitted {
						t.Errorf("%d of 20 admitted, want %d", admitted, c.admitted)
					}
					if d := time.Since(begin); d != 0 {
						t.Errorf("20 decisions took %v, though it is known that the counters are away", d)
					}
					if len(g.Degraded()) == 0 {
						t.Error("not said to be degraded")
					}
					s.hang.Store(false)
					s.fault.Store(nil)
					time.Sleep(retry)
					if _, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{&limit}}); !d.Admitted() || d.Outage || len(g.Degraded()) > 0 {
						t.Errorf("after the outage: %+v %v", d, g.Degraded())
					}
				})
			})
		}
	}
}

// TestOneCallFindsOutThatTheCountersHang wants one call to wait for them once in a while, and the others to know.
func TestOneCallFindsOutThatTheCountersHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stalled{Standalone: NewStandalone(time.Now)}
		s.hang.Store(true)
		g := start(t, Options{Counters: s, Epochs: s, Directives: noDirectives{}})
		for i, most := range []time.Duration{connectTimeout, g.opts.Timeout, g.opts.Timeout} {
			begin := time.Now()
			for range 20 {
				if _, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{{Key: "x", PerSecond: 5}}}); !d.Outage {
					t.Errorf("not said to be an outage: %+v", d)
				}
			}
			if took := time.Since(begin); took > most {
				t.Errorf("time %d: 20 decisions took %v, want %v at most", i+1, took, most)
			}
			time.Sleep(messageTimeout + retry)
		}
	})
}

// slow are counters that take their time, as any goroutine may on a machine with too much to do: the clock moves on.
type slow struct {
	*Standalone
	clock *clock
}

func (s slow) Lease(ctx context.Context, d *LeaseRequest) (LeaseResponse, error) {
	s.clock.add(30 * time.Millisecond)
	return s.Standalone.Lease(ctx, d)
}

// TestAloneNeverGivesUpOnItself wants every call decided by the counters, even where they are late and the caller has gone.
func TestAloneNeverGivesUpOnItself(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, limit := range map[string]*Limit{
		"slots":       {Key: "x", Concurrency: 10},
		"short holds": {Key: "x", PerSecond: 10, Burst: 10}, // a token may be used for 3 ms
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			s := NewStandalone(c.now)
			g := start(t, Options{Counters: slow{s, c}, Epochs: s, Standalone: true, Now: c.now})
			var wg sync.WaitGroup
			for range 6 {
				wg.Go(func() {
					_, d := g.Admit(ctx, &Call{Weight: 1, Limits: []*Limit{limit}})
					if !d.Admitted() || d.Outage {
						t.Errorf("%+v", d)
					}
				})
			}
			wg.Wait()
			if faults := g.Degraded(); len(faults) > 0 {
				t.Errorf("it takes itself for lost: %v", faults)
			}
		})
	}
}

// TestFencing wants a call to end before the counters give its slot away, whenever that was renewed last between two beats.
func TestFencing(t *testing.T) {
	const lease = 400 * time.Millisecond
	for later := time.Duration(0); later < lease/8; later += 5 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			s := &stalled{Standalone: NewStandalone(time.Now)}
			g := start(t, Options{Counters: s, Epochs: s, Lease: lease})
			l, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{{Key: "x", Concurrency: 5}}})
			if !d.Admitted() {
				t.Fatal(d)
			}
			defer l.Release()
			ctx := l.Bind(t.Context())
			// The heart keeps the lease beyond its length.
			time.Sleep(2*lease + later)
			other, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{{Key: "y", Concurrency: 5}}}) // renews the first
			if !d.Admitted() {
				t.Fatal(d)
			}
			defer other.Release()
			if ctx.Err() != nil {
				t.Fatalf("ended while the counters answered: %v", context.Cause(ctx))
			}
			s.hang.Store(true)
			begin := time.Now()
			select {
			case <-ctx.Done():
				if !errors.Is(context.Cause(ctx), ErrFenced) {
					t.Errorf("cause %v", context.Cause(ctx))
				}
				if d := time.Since(begin); d > lease*9/10 {
					t.Errorf("renewed %v after a beat, it is cancelled %v later, the lease is %v", later, d, lease)
				}
			case <-time.After(2 * time.Second):
				t.Error("the call outlived its lease")
			}
		})
	}
}

func TestLimitCheck(t *testing.T) {
	for _, l := range []Limit{{PerSecond: -1}, {PerSecond: 2e6}, {PerSecond: 1e-9}, {PerSecond: 0.001, Burst: 1e6}, {Burst: 0.5}, {Concurrency: -1}} {
		if l.Check() == nil {
			t.Errorf("%+v passes", l)
		}
	}
	for _, l := range []Limit{{}, {PerSecond: 10000}, {PerSecond: 0.01, Burst: 3, Concurrency: 5}} {
		if err := l.Check(); err != nil {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

func BenchmarkAdmit(b *testing.B) {
	c := NewStandalone(time.Now)
	g := start(b, Options{Counters: c, Epochs: c, Standalone: true})
	limits := []*Limit{{Key: "all", PerSecond: 1e6, Burst: 1e6, Concurrency: 1000}, {Key: "tool", PerSecond: 1e6, Burst: 1e6, Concurrency: 100}}
	b.ReportAllocs()
	refused := 0
	for b.Loop() {
		l, d := g.Admit(b.Context(), &Call{Weight: 1, Limits: limits})
		if d.Admitted() {
			l.Release()
		} else {
			refused++
		}
	}
	b.ReportMetric(float64(refused), "refused")
}

// TestCloseIsTheEnd wants no message after Close: one that comes late could open an epoch for counters that were lost since.
func TestCloseIsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &slowCounters{Standalone: NewStandalone(time.Now)}
		g := start(t, Options{Counters: c, Epochs: c.Standalone, Timeout: 100 * time.Millisecond})
		g.Warm()
		l, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{{Key: "k", Scope: "k", Concurrency: 3}}})
		if !d.Admitted() {
			t.Fatalf("%+v", d)
		}
		l.Release()
		g.Close()
		before := c.draws.Load()
		time.Sleep(time.Minute)
		if after := c.draws.Load(); after != before || before == 0 {
			t.Errorf("%d messages before the end of Close, %d later", before, after)
		}
	})
}

type slowCounters struct {
	*Standalone
	draws atomic.Int64
}

func (c *slowCounters) Lease(ctx context.Context, d *LeaseRequest) (LeaseResponse, error) {
	time.Sleep(20 * time.Millisecond) // in a bubble
	c.draws.Add(1)
	return c.Standalone.Lease(ctx, d)
}

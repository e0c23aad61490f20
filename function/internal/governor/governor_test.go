package governor

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func alone(t *testing.T, now func() time.Time) *Governor {
	c := NewStandalone(now)
	g := New(Options{Instance: "one", Counters: c, Epochs: c, Alone: true, Now: now})
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
	g := alone(t, time.Now)
	limit := &Limit{Scope: "tool:x", Key: "x", Concurrency: 7}
	var live, most, admitted, refused atomic.Int64
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			for range 200 {
				_, l, d := g.Admit(context.Background(), &Call{Weight: 1, Limits: []*Limit{limit}})
				if !d.Admitted() {
					refused.Add(1)
					if d.Limit != limit || d.Reason != SlotsTaken || d.Wait <= 0 {
						t.Errorf("%+v", d)
					}
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
	if most.Load() > 7 || most.Load() < 5 || admitted.Load() == 0 || refused.Load() == 0 {
		t.Errorf("most live %d, admitted %d, refused %d", most.Load(), admitted.Load(), refused.Load())
	}
	if held, used, _ := g.book.Holdings(g.now()); used != 0 {
		t.Errorf("held %d, used %d after all calls returned", held, used)
	}
}

func TestRateDeliversItsLimitAndNoMore(t *testing.T) {
	for _, limit := range []*Limit{
		{Key: "a", PerSecond: 5}, {Key: "b", PerSecond: 20}, {Key: "c", PerSecond: 100}, {Key: "d", PerSecond: 1000},
		{Key: "e", PerSecond: 10000}, {Key: "f", PerSecond: 10, Burst: 50}, {Key: "g", PerSecond: 0.1},
	} {
		c := newClock()
		g := alone(t, c.now)
		step := min(time.Duration(float64(time.Second)/limit.PerSecond/20), 50*time.Millisecond)
		begin := c.now()
		total := max(10*time.Second, time.Duration(float64(20*time.Second)/limit.PerSecond))
		var entries []int64
		for c.now().Sub(begin) < total {
			for range 3 {
				if _, l, d := g.Admit(context.Background(), &Call{Weight: 1, Limits: []*Limit{limit}}); d.Admitted() {
					entries = append(entries, c.now().Sub(begin).Microseconds())
					l.Release()
				}
			}
			c.add(step)
		}
		want := limit.PerSecond * total.Seconds()
		if n := float64(len(entries)); n < 0.95*want || n > want+limit.MaxBurst() {
			t.Errorf("%v/s: %v admitted in %v", limit.PerSecond, n, total)
		}
		if excess, _ := worstWindow(limit, entries); excess > 1e-6 {
			t.Errorf("%v/s: %v calls too many in a window", limit.PerSecond, excess)
		}
	}
}

func TestRefusedCallConsumesNothing(t *testing.T) {
	c := newClock()
	g := alone(t, c.now)
	rate, slot := &Limit{Key: "rate", PerSecond: 1, Burst: 2}, &Limit{Key: "slot", Concurrency: 1}
	_, first, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{rate, slot}})
	if !d.Admitted() {
		t.Fatal(d)
	}
	for range 5 {
		if _, _, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{rate, slot}}); d.Limit != slot {
			t.Fatalf("the slot is taken: %+v", d)
		}
	}
	first.Release()
	// The refused ones left the second token of the burst.
	_, second, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{rate, slot}})
	if !d.Admitted() {
		t.Fatalf("a token is left: %+v", d)
	}
	second.Release()
	_, _, d = g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{rate, slot}})
	if d.Limit != rate || d.Wait <= 0 || d.Wait > time.Second+150*time.Millisecond {
		t.Fatalf("%+v", d)
	}
	c.add(d.Wait) // who honours the wait gets in
	if _, _, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{rate, slot}}); !d.Admitted() {
		t.Errorf("after the wait: %+v", d)
	}
}

// stalled are counters that fail when told to.
type stalled struct {
	*Standalone
	fault atomic.Pointer[error]
	hang  atomic.Bool
}

func (s *stalled) Draw(ctx context.Context, d *Draw) (Reply, error) {
	if s.hang.Load() {
		<-ctx.Done()
		return Reply{}, ctx.Err()
	}
	if f := s.fault.Load(); f != nil {
		return Reply{}, *f
	}
	return s.Standalone.Draw(ctx, d)
}

func TestOutage(t *testing.T) {
	down := errors.New("connection refused")
	for _, c := range []struct {
		name     string
		limit    Limit
		admitted int // of 20 calls while the counters are away
	}{
		{"slots shut", Limit{Concurrency: 10}, 0},
		{"slots open", Limit{Concurrency: 10, SlotOutage: Open}, 20},
		{"slots by share", Limit{Concurrency: 10, SlotOutage: Local}, 10},
		{"rate by share", Limit{PerSecond: 5, Burst: 4}, 4},
		{"rate shut", Limit{PerSecond: 5, RateOutage: Shut}, 0},
		{"rate open", Limit{PerSecond: 5, RateOutage: Open}, 20},
	} {
		for _, hang := range []bool{false, true} {
			s := &stalled{Standalone: NewStandalone(time.Now)}
			if s.hang.Store(hang); !hang {
				s.fault.Store(&down)
			}
			g := New(Options{Instance: "one", Counters: s, Epochs: s, Lease: time.Second})
			c.limit.Key = "x"
			admitted := 0
			begin := time.Now()
			g.Warm()
			if d := time.Since(begin); d > connectPatience+50*time.Millisecond {
				t.Errorf("the first message was given up after %v", d)
			}
			begin = time.Now()
			for range 20 {
				_, _, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{&c.limit}})
				if !d.Outage {
					t.Errorf("%s: not said to be an outage: %+v", c.name, d)
				}
				if d.Admitted() {
					admitted++
				} else if d.Wait <= 0 {
					t.Errorf("%s: %+v", c.name, d)
				}
			}
			if admitted != c.admitted {
				t.Errorf("%s: %d of 20 admitted, want %d", c.name, admitted, c.admitted)
			}
			// One call waits for the patience, the others know.
			if d := time.Since(begin); d > 100*time.Millisecond {
				t.Errorf("%s: 20 decisions took %v", c.name, d)
			}
			if len(g.Degraded()) == 0 {
				t.Errorf("%s: not said to be degraded", c.name)
			}
			s.hang.Store(false)
			s.fault.Store(nil)
			time.Sleep(retry + 20*time.Millisecond)
			if _, _, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{&c.limit}}); !d.Admitted() || d.Outage || len(g.Degraded()) > 0 {
				t.Errorf("%s: after the outage: %+v %v", c.name, d, g.Degraded())
			}
			g.Close()
		}
	}
}

// slow are counters that take their time, as any goroutine may on a machine with too much to do.
type slow struct{ *Standalone }

func (s slow) Draw(ctx context.Context, d *Draw) (Reply, error) {
	time.Sleep(30 * time.Millisecond)
	return s.Standalone.Draw(ctx, d)
}

func TestAloneNeverGivesUpOnItself(t *testing.T) {
	c := NewStandalone(time.Now)
	g := New(Options{Instance: "one", Counters: slow{c}, Epochs: c, Alone: true})
	defer g.Close()
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			_, _, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{{Key: "x", Concurrency: 10}}})
			if !d.Admitted() || d.Outage {
				t.Errorf("%+v", d)
			}
		})
	}
	wg.Wait()
}

func TestFencing(t *testing.T) {
	s := &stalled{Standalone: NewStandalone(time.Now)}
	g := New(Options{Instance: "one", Counters: s, Epochs: s, Lease: 400 * time.Millisecond})
	defer g.Close()
	ctx, l, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{{Key: "x", Concurrency: 5}}})
	if !d.Admitted() {
		t.Fatal(d)
	}
	defer l.Release()
	select { // the heart keeps the lease beyond its length
	case <-ctx.Done():
		t.Fatalf("ended while the counters answered: %v", context.Cause(ctx))
	case <-time.After(800 * time.Millisecond):
	}
	s.hang.Store(true)
	begin := time.Now()
	select {
	case <-ctx.Done():
		if !errors.Is(context.Cause(ctx), ErrFenced) {
			t.Errorf("cause %v", context.Cause(ctx))
		}
		if d := time.Since(begin); d > 450*time.Millisecond {
			t.Errorf("cancelled after %v, the lease is 400 ms", d)
		}
	case <-time.After(2 * time.Second):
		t.Error("the call outlived its lease")
	}
}

func TestLimitCheck(t *testing.T) {
	for _, l := range []Limit{{PerSecond: -1}, {PerSecond: 2e6}, {PerSecond: 1e-9}, {Burst: 0.5}, {Concurrency: -1}} {
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
	g := New(Options{Instance: "one", Counters: c, Epochs: c, Alone: true})
	limits := []*Limit{{Key: "all", PerSecond: 1e6, Burst: 1e6, Concurrency: 1000}, {Key: "tool", PerSecond: 1e6, Burst: 1e6, Concurrency: 100}}
	b.ReportAllocs()
	refused := 0
	for b.Loop() {
		_, l, d := g.Admit(context.Background(), &Call{Weight: 1, Limits: limits})
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
	c := &slowCounters{Standalone: NewStandalone(time.Now)}
	g := New(Options{Instance: "n", Counters: c, Epochs: c.Standalone, Patience: 100 * time.Millisecond})
	g.Warm()
	_, l, d := g.Admit(t.Context(), &Call{Weight: 1, Limits: []*Limit{{Key: "k", Scope: "k", Concurrency: 3}}})
	if !d.Admitted() {
		t.Fatalf("%+v", d)
	}
	l.Release()
	g.Close()
	before := c.draws.Load()
	time.Sleep(60 * time.Millisecond)
	if after := c.draws.Load(); after != before || before == 0 {
		t.Errorf("%d messages before the end of Close, %d later", before, after)
	}
}

type slowCounters struct {
	*Standalone
	draws atomic.Int64
}

func (c *slowCounters) Draw(ctx context.Context, d *Draw) (Reply, error) {
	time.Sleep(20 * time.Millisecond)
	c.draws.Add(1)
	return c.Standalone.Draw(ctx, d)
}

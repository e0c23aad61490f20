package loadshed

import (
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"time"
)

func TestLoadShedder(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	var load Load
	s := New(Options{MaxConcurrent: 200, Workers: 2, Now: func() time.Time { return now }, Load: func() Load { return load }})
	fill := func() (n int) {
		for s.Acquire("anna", "").Admitted() {
			n++
		}
		return n
	}
	empty := func(n int) {
		for range n {
			s.Release("anna", "")
		}
	}
	look := func(l Load) {
		load = l
		now = now.Add(readEvery)
		if s.Acquire("anna", "").Admitted() {
			s.Release("anna", "")
		}
	}
	if n := fill(); n != 200 {
		t.Errorf("%d calls of 200", n)
	}
	empty(200)

	look(Load{Wait: time.Second})
	if s.Cap() != 200 {
		t.Errorf("one late reading changes the cap to %d", s.Cap())
	}
	for range 60 {
		n := fill()
		look(Load{Wait: time.Second})
		empty(n)
	}
	if s.Cap() != minConcurrent {
		t.Errorf("the cap of a process that is late for long is %d", s.Cap())
	}
	n := fill()
	if d := s.Acquire("anna", ""); d.Reason != Busy || d.Wait <= 0 || d.Scope != "instance" {
		t.Errorf("%+v", d)
	}
	empty(n)
	for range 100 {
		look(Load{Wait: time.Millisecond})
	}
	if s.Cap() != 200 {
		t.Errorf("the cap of a process that is on time again is %d", s.Cap())
	}

	for _, step := range []struct {
		memory   float64
		admitted bool
	}{{0.8, true}, {0.95, false}, {0.88, false}, {0.8, true}} {
		load = Load{Memory: step.memory}
		now = now.Add(readEvery)
		if d := s.Acquire("anna", ""); d.Admitted() != step.admitted {
			t.Errorf("with %v of the memory in use: %+v", step.memory, d)
		} else if d.Admitted() {
			s.Release("anna", "")
		}
	}

	s.Acquire("anna", "crm")
	s.Acquire("anna", "crm")
	if d := s.Acquire("anna", "crm"); d.Reason != UpstreamBusy || d.Scope != "upstream:crm" {
		t.Errorf("a third call to an upstream of two workers: %+v", d)
	}
	if d := s.Acquire("anna", "mail"); !d.Admitted() {
		t.Errorf("another upstream: %+v", d)
	}
	s.Release("anna", "crm")
	if d := s.Acquire("anna", "crm"); !d.Admitted() {
		t.Errorf("after one has ended: %+v", d)
	}
}

// TestShares draws tenants that call and end at random, on an instance that is more and less late: who has less than an equal part of
// the cap is admitted unless the instance has as many calls as it ever may, and who has it is not admitted over the cap.
func TestShares(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 17))
		now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
		late := time.Duration(0)
		most := 20 + r.IntN(300)
		s := New(Options{MaxConcurrent: most, Now: func() time.Time { return now }, Load: func() Load { return Load{Wait: late} }})
		calls, all := map[string]int{}, 0
		greedy := string(rune('a' + r.IntN(4)))
		for range 3000 {
			now = now.Add(time.Duration(r.IntN(20)) * time.Millisecond)
			if r.IntN(50) == 0 {
				late = time.Duration(r.IntN(4)) * 50 * time.Millisecond
			}
			tenant := string(rune('a' + r.IntN(4)))
			if r.IntN(3) > 0 {
				tenant = greedy
			}
			if r.IntN(5) < 2 && calls[tenant] > 0 {
				s.Release(tenant, "")
				calls[tenant]--
				all--
				continue
			}
			d := s.Acquire(tenant, "")
			limit, active := s.Cap(), 0
			for name, n := range calls {
				if n > 0 || name == tenant {
					active++
				}
			}
			if _, ok := calls[tenant]; !ok {
				active++
			}
			switch equal := limit / active; {
			case d.Admitted() && all >= limit && calls[tenant] >= equal:
				t.Fatalf("seed %d: %s has %d of %d calls and is admitted over a cap of %d", seed, tenant, calls[tenant], all, limit)
			case !d.Admitted() && all < most && (all < limit || calls[tenant] < equal):
				t.Fatalf("seed %d: %s has %d of %d calls and is refused at a cap of %d", seed, tenant, calls[tenant], all, limit)
			}
			if d.Admitted() {
				calls[tenant]++
				all++
			}
		}
		for tenant, n := range calls {
			for range n {
				s.Release(tenant, "")
			}
		}
		if s.live != 0 || len(s.tenants) != 0 {
			t.Fatalf("seed %d: %d calls and %v are left", seed, s.live, s.tenants)
		}
	}
}

// TestGaugeTakesThePercentile gives the gauge histograms as the runtime keeps them: they count from the start of the process.
func TestGaugeTakesThePercentile(t *testing.T) {
	g := newGauge()
	waits := &metrics.Float64Histogram{Buckets: []float64{math.Inf(-1), 0.001, 0.1, 1, math.Inf(1)}, Counts: make([]uint64, 4)}
	for i, step := range []struct {
		more [4]uint64
		want time.Duration
	}{
		{[4]uint64{0, 15, 0, 0}, -1},
		{[4]uint64{0, 0, 1, 0}, 100 * time.Millisecond}, // with those before there are enough
		{[4]uint64{100, 0, 0, 0}, 0},
		{[4]uint64{0, 99, 1, 0}, time.Millisecond},
		{[4]uint64{0, 98, 1, 1}, 100 * time.Millisecond},
		{[4]uint64{0, 0, 0, 15}, -1},
		{[4]uint64{0, 0, 0, 15}, time.Second},
		{[4]uint64{}, -1},
	} {
		for j, n := range step.more {
			waits.Counts[j] += n
		}
		if got := g.late(waits); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}

// TestGaugeMeasures keeps the processors busy and wants the gauge to see that. Only here goroutines really wait, for others that
// really run: so many, for so long each, that the last ones wait for twice what is borne.
func TestGaugeMeasures(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	const each = 500 * time.Microsecond
	busy := int(2*borneWait/each) * runtime.GOMAXPROCS(0)
	g := newGauge()
	var l Load
	for range 20 { // of the waits the runtime records one in eight
		g.load()
		var wg sync.WaitGroup
		for range busy {
			wg.Go(func() {
				for begin := time.Now(); time.Since(begin) < each; {
				}
			})
		}
		wg.Wait()
		if l = g.load(); l.Wait > borneWait {
			break
		}
	}
	if l.Wait <= borneWait {
		t.Errorf("with %d busy goroutines the wait is %v, which is borne", busy, l.Wait)
	}
	if l.Memory != 0 {
		t.Errorf("without a limit %v of the memory is in use", l.Memory)
	}
	debug.SetMemoryLimit(1 << 40)
	if l := g.load(); l.Memory <= 0 || l.Memory > 0.1 {
		t.Errorf("of a terabyte %v is in use", l.Memory)
	}
}

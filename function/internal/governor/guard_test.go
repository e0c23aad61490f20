package governor

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"time"
)

func TestGuard(t *testing.T) {
	c := newClock()
	var load Load
	g := NewGuard(GuardOptions{Most: 200, Workers: 2, Now: c.now, Load: func() Load { return load }})
	fill := func() (n int) {
		for g.Enter("").Admitted() {
			n++
		}
		return n
	}
	empty := func(n int) {
		for range n {
			g.Leave("")
		}
	}
	look := func(l Load) {
		load = l
		c.add(lookEvery)
		if g.Enter("").Admitted() {
			g.Leave("")
		}
	}
	if n := fill(); n != 200 {
		t.Errorf("%d calls of 200", n)
	}
	empty(200)

	look(Load{Wait: time.Second})
	if g.Cap() != 200 {
		t.Errorf("one late reading changes the cap to %d", g.Cap())
	}
	for range 60 {
		n := fill()
		look(Load{Wait: time.Second})
		empty(n)
	}
	if g.Cap() != fewest {
		t.Errorf("the cap of a process that is late for long is %d", g.Cap())
	}
	n := fill()
	if d := g.Enter(""); d.Reason != Saturated || d.Wait <= 0 || d.Scope != "instance" {
		t.Errorf("%+v", d)
	}
	empty(n)
	for range 100 {
		look(Load{Wait: time.Millisecond})
	}
	if g.Cap() != 200 {
		t.Errorf("the cap of a process that is on time again is %d", g.Cap())
	}

	for _, step := range []struct {
		memory   float64
		admitted bool
	}{{0.8, true}, {0.95, false}, {0.88, false}, {0.8, true}} {
		load = Load{Memory: step.memory}
		c.add(lookEvery)
		if d := g.Enter(""); d.Admitted() != step.admitted {
			t.Errorf("with %v of the memory in use: %+v", step.memory, d)
		} else if d.Admitted() {
			g.Leave("")
		}
	}

	g.Enter("crm")
	g.Enter("crm")
	if d := g.Enter("crm"); d.Reason != Saturated || d.Scope != "upstream:crm" {
		t.Errorf("a third call to an upstream of two workers: %+v", d)
	}
	if d := g.Enter("mail"); !d.Admitted() {
		t.Errorf("another upstream: %+v", d)
	}
	g.Leave("crm")
	if d := g.Enter("crm"); !d.Admitted() {
		t.Errorf("after one has ended: %+v", d)
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

package governor

import (
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

// TestGaugeMeasures makes the process busy and wants the gauge to see that.
func TestGaugeMeasures(t *testing.T) {
	g := newGauge()
	g.load()
	stop := make(chan struct{})
	for range 400 { // far more than processors
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					for range 200_000 {
					}
				}
			}
		}()
	}
	defer close(stop)
	for begin := time.Now(); time.Since(begin) < 10*time.Second; time.Sleep(50 * time.Millisecond) {
		if l := g.load(); l.Wait > borneWait {
			return
		}
	}
	t.Error("with 400 busy goroutines the wait is still borne")
}

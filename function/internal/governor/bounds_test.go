package governor

import (
	"fmt"
)

// checkSlots holds the live calls of each limit to its cap. A paused instance runs nothing; it cancels as it wakes.
func (s *sim) checkSlots() {
	for _, l := range s.limits {
		if l.Concurrency == 0 {
			continue
		}
		var live int64
		for _, n := range s.nodes {
			if len(n.running) == 0 || !s.up(n) || !n.leases.Leased(n.local(s.now)) {
				continue
			}
			for _, r := range n.running {
				for _, of := range r.limits {
					if of == l {
						live++
					}
				}
			}
		}
		if live > l.Concurrency {
			s.fault = fmt.Errorf("at %d µs %d calls are live on %s, the cap is %d", s.now, live, l.Scope, l.Concurrency)
		}
	}
}

// enter takes note of a call under a limit, and holds it to the rate and to the tokens that were granted.
func (s *sim) enter(l *Limit, weight int64) {
	w := s.entered[l]
	if w == nil {
		w = &window{limit: l}
		s.entered[l] = w
	}
	if excess := w.enterAs(s.now, weight); excess > 1e-6 {
		s.fault = fmt.Errorf("%s (%v/s, B %v): %.3f calls too many in the window that ends at %d µs with call %d", l.Scope, l.PerSecond, l.MaxBurst(), excess, s.now, w.calls)
	}
	if granted := s.granted["r:"+l.Key]; w.calls > granted {
		s.fault = fmt.Errorf("at %d µs %d tokens of %s are used, %d were granted", s.now, w.calls, l.Scope, granted)
	}
}

// A window holds the calls under a limit to its rate: for entries e, of all i < j, j-i+1 ≤ B + r·(e[j]-e[i]).
type window struct {
	limit *Limit
	calls int64
	least float64 // i - r·e[i] of the call from where on the most came
}

// enter returns by how many calls the worst of the windows that end now is over.
func (w *window) enter(now int64) (excess float64) { return w.enterAs(now, 1) }

// enterAs is enter for a call of some weight.
func (w *window) enterAs(now, weight int64) (excess float64) {
	position := float64(w.calls) - w.limit.PerSecond*float64(now)/second
	if w.calls == 0 || position < w.least {
		w.least = position
	}
	w.calls += weight
	return position + float64(weight) - w.least - w.limit.MaxBurst()
}

// checkAccounts compares what an instance takes for declared with what the reference has of it: unless a message is under way,
// they are the same, and no more is held.
func (s *sim) checkAccounts(n *node) {
	b := n.leases
	if s.fault != nil || n.dead || b.sent != nil || b.epoch != s.reference.epoch || s.reference.instances[n.name].ends <= s.now {
		return
	}
	for _, a := range b.accounts {
		if a.kind != Slots || a.declared == unknown {
			continue
		}
		if has := s.reference.slots[a.key][n.name]; has != a.declared || a.held > a.declared || a.used > a.held {
			s.fault = fmt.Errorf("at %d µs %s has %d slots of %s in the reference, takes %d for declared, holds %d and uses %d", s.now, n.name, has, a.key, a.declared, a.held, a.used)
		}
	}
}

// heal ends the load and all faults. Within a lease and the beats that idle slots take to return, nothing may be held, and
// then one instance must get the whole of every cap, and all of them together the burst of every rate.
func (s *sim) heal() error {
	s.quiet, s.loss, s.calm = true, 0, true
	var alive []*node
	for _, n := range s.nodes {
		if n.dead {
			continue
		}
		n.paused = min(n.paused, s.now)
		s.wake(n)
		alive = append(alive, n)
	}
	if err := s.runUntil(s.now + 4*simLease.Microseconds()); err != nil {
		return err
	}
	for _, n := range alive {
		if held, used, _ := n.leases.Holdings(n.local(s.now)); held != 0 || used != 0 {
			return fmt.Errorf("%s holds %d slots and uses %d long after the last call", n.name, held, used)
		}
	}
	for _, l := range s.limits {
		if l.Concurrency == 0 {
			continue
		}
		if held := s.reference.held(s.now, "c:"+l.Key); held != 0 {
			return fmt.Errorf("%d slots of %s are held in the reference long after the last call: %v", held, l.Scope, s.reference.slots["c:"+l.Key])
		}
	}
	only := alive[s.rng.IntN(len(alive))]
	// Counters may have been lost without anyone having asked them since: they learn first.
	s.callFor(only, s.limits, 1, 1)
	if err := s.runUntil(s.now + 4*simLease.Microseconds()); err != nil {
		return err
	}
	if err := s.bursts(alive); err != nil {
		return err
	}
	for _, l := range s.limits {
		if l.Concurrency == 0 {
			continue
		}
		slots := &Limit{Scope: l.Scope, Key: l.Key, Concurrency: l.Concurrency}
		before := only.admitted
		for range l.Concurrency {
			s.callFor(only, []*Limit{slots}, 1, 10_000*ms)
			if err := s.runUntil(s.now + 2*ms); err != nil {
				return err
			}
		}
		if got := int64(only.admitted - before); got != l.Concurrency {
			return fmt.Errorf("in the end only %d slots of the %d of %s can be had", got, l.Concurrency, l.Scope)
		}
	}
	return nil
}

// bursts wants the burst of every rate admitted at once, once there was time for it.
func (s *sim) bursts(alive []*node) error {
	admitted := func() (n int) {
		for _, node := range alive {
			n += node.admitted
		}
		return n
	}
	for _, l := range s.limits {
		pause := int64(l.MaxBurst()/l.PerSecond*second) + 2*maxHold
		if l.PerSecond == 0 || pause > 20_000*ms {
			continue // TestSimulationOfLimits has the patience
		}
		rate := &Limit{Scope: l.Scope, Key: l.Key, PerSecond: l.PerSecond, Burst: l.Burst}
		if err := s.runUntil(s.now + pause); err != nil {
			return err
		}
		burst := min(int(l.MaxBurst()), 32*len(alive)) // what one message of each bears
		before := admitted()
		for i := range burst {
			s.callFor(alive[i%len(alive)], []*Limit{rate}, 1, 1)
		}
		if err := s.runUntil(s.now + 100*ms); err != nil {
			return err
		}
		if got := admitted() - before; got != burst {
			return fmt.Errorf("in the end %d calls of a burst of %d under %v/s are admitted on %s", got, burst, l.PerSecond, l.Scope)
		}
	}
	return nil
}

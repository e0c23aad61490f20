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
			if !s.up(n) || !n.book.Leased(n.local(s.now)) {
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

// checkRates holds every window: for entries e, of all i < j, j-i+1 ≤ B + r·(e[j]-e[i]).
func (s *sim) checkRates() {
	for l, entries := range s.entry {
		excess, at := worstWindow(l, entries)
		if excess > 1e-6 {
			s.fault = fmt.Errorf("%s (%v/s, B %v): %.3f calls too many in the window that ends with entry %d of %d", l.Scope, l.PerSecond, l.MaxBurst(), excess, at, len(entries))
		}
	}
}

// worstWindow returns by how much the worst window is over B + r·W.
func worstWindow(l *Limit, entries []int64) (excess float64, at int) {
	least := 0.0
	for j, e := range entries {
		position := float64(j) - l.PerSecond*float64(e)/second
		if j == 0 || position < least {
			least = position
		}
		if over := position + 1 - least - l.MaxBurst(); over > excess {
			excess, at = over, j
		}
	}
	return excess, at
}

// checkAccounts compares what an instance takes for declared with what the ledger has of it: unless a message is under way,
// they are the same, and no more is held.
func (s *sim) checkAccounts(n *node) {
	b := n.book
	if s.fault != nil || n.dead || b.sent != nil || b.epoch != s.ledger.epoch || s.ledger.instances[n.name].ends <= s.now {
		return
	}
	for _, a := range b.accounts {
		if a.kind != Slots || a.declared == unknown {
			continue
		}
		if has := s.ledger.slots[a.key][n.name]; has != a.declared || a.held > a.declared || a.used > a.held {
			s.fault = fmt.Errorf("at %d µs %s has %d slots of %s in the ledger, takes %d for declared, holds %d and uses %d", s.now, n.name, has, a.key, a.declared, a.held, a.used)
		}
	}
}

// heal ends the load and all faults. Within a lease and the beats that idle slots take to return, nothing may be held, and
// then one instance must get the whole of every cap.
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
		if held, used, _ := n.book.Holdings(n.local(s.now)); held != 0 || used != 0 {
			return fmt.Errorf("%s holds %d slots and uses %d long after the last call", n.name, held, used)
		}
	}
	for _, l := range s.limits {
		if l.Concurrency == 0 {
			continue
		}
		if held := s.ledger.held(s.now, "c:"+l.Key); held != 0 {
			return fmt.Errorf("%d slots of %s are held in the ledger long after the last call: %v", held, l.Scope, s.ledger.slots["c:"+l.Key])
		}
	}
	only := alive[s.rng.IntN(len(alive))]
	// Counters may have been lost without anyone having asked them since: they learn first.
	s.callFor(only, s.limits, 1)
	if err := s.runUntil(s.now + 4*simLease.Microseconds()); err != nil {
		return err
	}
	for _, l := range s.limits {
		if l.Concurrency == 0 {
			continue
		}
		slots := &Limit{Scope: l.Scope, Key: l.Key, Concurrency: l.Concurrency}
		before := only.admitted
		for range l.Concurrency {
			s.callFor(only, []*Limit{slots}, 10_000*ms)
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

// checkTokens wants no more used than was granted.
func (s *sim) checkTokens() {
	for l, entries := range s.entry {
		if used, granted := int64(len(entries)), s.granted["r:"+l.Key]; used > granted {
			s.fault = fmt.Errorf("%d tokens of %s were used, %d granted", used, l.Scope, granted)
		}
	}
}

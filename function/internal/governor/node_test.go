package governor

import (
	"fmt"
	"slices"
)

// A node is a simulated instance.
type node struct {
	name    string
	leases  *LeaseCache
	offset  int64 // of its clock
	paused  int64 // until
	frozen  bool
	tick    func()   // its clock
	pending []func() // what comes while it is frozen
	dead    bool
	running []*simCall // in the order of their entry, as everything here, so that a seed replays
	waiting []*simCall

	admitted int
}

type simCall struct {
	reservation *Reservation
	limits      []*Limit
	weight      int64
	takes       int64 // time
	client      int
	ended       bool
}

func (n *node) local(now int64) int64 { return now + n.offset }

func (s *sim) up(n *node) bool { return !n.dead && !n.frozen && s.now >= n.paused }

// when does something at an instance as soon as it runs.
func (s *sim) when(n *node, do func()) {
	switch {
	case n.dead:
	case n.frozen:
		n.pending = append(n.pending, do)
	case s.now < n.paused:
		s.later(n.paused-s.now+1, n, do)
	default:
		do()
		s.doze(n)
	}
}

// doze freezes an instance that has nothing to do, where instances sleep between calls.
func (s *sim) doze(n *node) {
	n.frozen = s.sleepy && !s.quiet && len(n.running) == 0 && len(n.waiting) == 0
}

// wake lets a frozen instance go on with what has come meanwhile, in no certain order.
func (s *sim) wake(n *node) {
	n.frozen = false
	pending := n.pending
	n.pending = nil
	s.rng.Shuffle(len(pending), func(i, j int) { pending[i], pending[j] = pending[j], pending[i] })
	for _, do := range pending {
		s.later(s.rng.Int64N(200), n, do)
	}
}

// callFor is a call that takes some time.
func (s *sim) callFor(n *node, limits []*Limit, weight, takes int64) {
	c := n.leases.Reserve(n.local(s.now), &Call{Weight: weight, Limits: limits})
	n.waiting = append(n.waiting, &simCall{reservation: c, limits: limits, weight: weight, takes: takes, client: s.rng.IntN(len(s.clients))})
	if s.ideal != nil && s.ideal.offer(s.now) {
		s.after(takes, func() { s.ideal.live-- })
	}
	s.settle(n)
	s.send(n)
	s.later(20*ms, n, func() {
		if !c.Decided {
			n.leases.Abandon(c)
			s.settle(n)
		}
	})
}

// settle starts what was admitted.
func (s *sim) settle(n *node) {
	undecided := n.waiting[:0]
	for _, c := range n.waiting {
		if c.reservation.Decided {
			s.decided(n, c)
		} else {
			undecided = append(undecided, c)
		}
	}
	clear(n.waiting[len(undecided):])
	n.waiting = undecided
}

func (s *sim) decided(n *node, c *simCall) {
	v := c.reservation.Verdict
	switch {
	case v.Lost:
		s.lost++
	case !v.Admitted:
		s.refused++
		if v.Limit == nil || v.Wait <= 0 {
			s.fault = fmt.Errorf("a refusal without limit or wait: %+v", v)
		}
	default:
		s.admitted++
		n.admitted++
		s.clients[c.client]++
		n.running = append(n.running, c)
		for _, l := range c.limits {
			if l.PerSecond > 0 {
				s.enter(l, c.weight)
			}
		}
		s.later(c.takes, n, func() { s.finish(n, c) })
		s.checkSlots()
	}
}

func (s *sim) finish(n *node, c *simCall) {
	if c.ended {
		return
	}
	if s.fence(n); c.ended {
		return
	}
	n.running = slices.DeleteFunc(n.running, func(r *simCall) bool { return r == c })
	if c.ended = true; n.leases.Release(c.reservation) {
		s.send(n)
	}
}

// fence cancels what runs beyond the lease, as an instance does when it wakes.
func (s *sim) fence(n *node) {
	if n.leases.Leased(n.local(s.now)) {
		return
	}
	for _, c := range n.running {
		c.ended = true
		n.leases.Release(c.reservation)
	}
	n.running = nil
}

// tick is an instance's clock: it beats, fences and sends.
func (s *sim) tick(n *node) {
	if n.dead {
		return
	}
	if s.up(n) {
		s.fence(n)
		s.send(n)
		s.checkAccounts(n)
	}
	s.after(50*ms, n.tick)
}

func (s *sim) delay() int64 {
	if !s.calm && s.rng.IntN(20) == 0 {
		return s.rng.Int64N(300 * ms) // late, and so reordered
	}
	if s.calm {
		return 100 + s.rng.Int64N(300)
	}
	return 100 + s.rng.Int64N(2*ms)
}

func (s *sim) send(n *node) {
	d := n.leases.Next(n.local(s.now))
	if d == nil {
		return
	}
	s.messages++
	s.later(20*ms, n, func() { s.timeOut(n, d.Seq) })
	for range 1 + boolInt(!s.calm && s.rng.IntN(30) == 0) { // now and then doubled
		if s.rng.Float64() < s.loss {
			continue
		}
		s.after(s.delay(), func() { s.receive(n, d) })
	}
}

func (s *sim) timeOut(n *node, seq int64) {
	n.leases.Lose(seq)
	s.settle(n)
	s.send(n)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *sim) receive(n *node, d *LeaseRequest) {
	response := s.reference.Lease(s.now, d)
	for i, g := range response.Granted {
		for j, amount := range g.Amounts {
			if d.Groups[i][j].Kind == Tokens {
				s.granted[d.Groups[i][j].Key] += amount
			}
		}
	}
	if s.rng.Float64() < s.loss {
		return
	}
	s.later(s.delay(), n, func() { s.answer(n, d.Seq, response) })
}

func (s *sim) answer(n *node, seq int64, r LeaseResponse) {
	if r.Status == Closed {
		s.epochs++
		s.reference.Open(s.now, s.epochs, false, simLease.Microseconds())
	}
	n.leases.Apply(n.local(s.now), seq, r)
	s.fence(n)
	s.settle(n)
	s.send(n)
	s.checkAccounts(n)
}

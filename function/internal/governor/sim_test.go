package governor

import (
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var (
	simSeeds = flag.Int("seeds", 1000, "seeds of the simulation")
	simSeed  = flag.Uint64("seed", 0, "replay this seed alone")
)

// TestSimulation runs fleets of books against one ledger over a network that loses, doubles, delays and reorders messages,
// with crashes, pauses, lost ledgers and abandoned calls, and holds every bound at each step. All of it follows from a seed.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		if err := newSim(*simSeed).run(); err != nil {
			t.Fatal(err)
		}
		return
	}
	seeds := *simSeeds
	if testing.Short() {
		seeds /= 10
	}
	var admitted, refused, lost, offered int
	for seed := uint64(1); seed <= uint64(seeds); seed++ {
		s := newSim(seed)
		if err := s.run(); err != nil {
			t.Fatalf("seed %d: %v\nreplay with: go test -run Simulation ./function/internal/governor -seed %d", seed, err, seed)
		}
		admitted, refused, lost, offered = admitted+s.admitted, refused+s.refused, lost+s.lost, offered+s.offered
	}
	t.Logf("%d seeds: %d calls offered, %d admitted, %d refused, %d undecided for want of an answer", seeds, offered, admitted, refused, lost)
	if admitted == 0 || refused == 0 || lost == 0 {
		t.Error("the simulation does not exercise all outcomes")
	}
}

const ms = int64(1000)

type sim struct {
	rng    *rand.Rand
	now    int64
	queue  events
	order  int
	ledger *Ledger
	epochs int64
	limits []*Limit // the last is on everything
	nodes  []*node
	entry  map[*Limit][]int64
	loss   float64 // of messages
	calm   bool    // nothing is late or doubled

	ideal                            *ideal
	messages                         int
	offered, admitted, refused, lost int
	fault                            error
}

type node struct {
	name    string
	book    *Book
	offset  int64 // of its clock
	paused  int64 // until
	dead    bool
	running []*simCall // in the order of their entry, as everything here, so that a seed replays
	waiting []*simCall

	admitted int
}

// An ideal is one exact limiter that sees every call at once.
type ideal struct {
	limit    *Limit
	arrival  float64
	live     int64
	admitted int
}

// offer admits a call, and tells whether it holds a slot.
func (i *ideal) offer(now int64) bool {
	if i.limit.PerSecond > 0 {
		period := second / i.limit.PerSecond
		if i.arrival-float64(now) > (i.limit.MaxBurst()-1)*period {
			return false
		}
		i.arrival = max(i.arrival, float64(now)) + period
	}
	if i.limit.Concurrency > 0 {
		if i.live == i.limit.Concurrency {
			return false
		}
		i.live++
	}
	i.admitted++
	return true
}

type simCall struct {
	claim  *Claim
	limits []*Limit
	takes  int64 // time
	ended  bool
}

type event struct {
	at    int64
	order int
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

func (s *sim) after(d int64, do func()) {
	s.order++
	heap.Push(&s.queue, event{s.now + d, s.order, do})
}

const (
	simLease = 2 * time.Second
	simTime  = int64(6 * time.Second / time.Microsecond)
)

func newSim(seed uint64) *sim {
	s := &sim{rng: rand.New(rand.NewPCG(seed, 0)), ledger: NewLedger(), entry: map[*Limit][]int64{}}
	rates := []float64{1, 5, 20, 100, 1000}
	caps := []int64{1, 3, 10, 40}
	for i := range 1 + s.rng.IntN(3) {
		l := &Limit{Scope: fmt.Sprint("tenant:", i), Key: fmt.Sprint("t", i)}
		if s.rng.IntN(3) > 0 {
			l.PerSecond = rates[s.rng.IntN(len(rates))]
			if s.rng.IntN(3) == 0 {
				l.Burst = float64(1 + s.rng.IntN(20))
			}
		}
		if s.rng.IntN(3) > 0 || l.PerSecond == 0 {
			l.Concurrency = caps[s.rng.IntN(len(caps))]
		}
		s.limits = append(s.limits, l)
	}
	s.limits = append(s.limits, &Limit{Scope: "all", Key: "all", PerSecond: 500, Concurrency: 60})
	for range []int{1, 2, 4, 8, 64}[s.rng.IntN(5)] {
		s.spawn()
	}
	s.loss = []float64{0, 0.02, 0.2}[s.rng.IntN(3)]
	return s
}

func (s *sim) spawn() *node {
	name := fmt.Sprint("n", len(s.nodes))
	n := &node{name: name, book: NewBook(name, simLease), offset: s.rng.Int64N(1e12)}
	s.nodes = append(s.nodes, n)
	s.after(s.rng.Int64N(50*ms), func() { s.tick(n) })
	return n
}

func (s *sim) run() error {
	s.epochs = 1
	s.ledger.Open(s.now, 1, true, simLease.Microseconds())
	// Offered load: about twice what the widest limit allows, in steps.
	var offer func()
	offer = func() {
		s.call(s.nodes[s.rng.IntN(len(s.nodes))])
		s.after(1+s.rng.Int64N(2*ms), offer)
	}
	offer()
	if s.rng.IntN(2) == 0 {
		s.after(ms*s.rng.Int64N(5000), s.loseLedger)
	}
	for range s.rng.IntN(4) {
		s.after(ms*s.rng.Int64N(5000), s.disturb)
	}
	return s.runUntil(simTime)
}

func (s *sim) runUntil(end int64) error {
	for s.queue.Len() > 0 && s.fault == nil {
		e := heap.Pop(&s.queue).(event)
		if e.at > end {
			break
		}
		s.now = e.at
		e.do()
	}
	if s.fault == nil {
		s.checkRates()
	}
	return s.fault
}

// disturb crashes or pauses an instance, or adds one.
func (s *sim) disturb() {
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	switch s.rng.IntN(3) {
	case 0:
		n.dead = true
		n.running = nil
		s.spawn()
	case 1:
		n.paused = s.now + ms*s.rng.Int64N(4000)
		s.after(n.paused-s.now, func() { s.tick(n) })
	case 2:
		s.spawn()
	}
}

// loseLedger restarts the counters empty; whoever finds them so opens the next epoch.
func (s *sim) loseLedger() { s.ledger = NewLedger() }

func (n *node) local(now int64) int64 { return now + n.offset }

func (s *sim) up(n *node) bool { return !n.dead && s.now >= n.paused }

// call is one call at an instance: on one of the limits, and on the one on everything.
func (s *sim) call(n *node) {
	s.callOn(n, []*Limit{s.limits[s.rng.IntN(len(s.limits)-1)], s.limits[len(s.limits)-1]})
}

func (s *sim) callOn(n *node, limits []*Limit) {
	if !s.up(n) {
		return
	}
	s.fence(n)
	s.offered++
	c := n.book.Claim(n.local(s.now), 1, limits)
	takes := 1 + s.rng.Int64N(60*ms)
	n.waiting = append(n.waiting, &simCall{claim: c, limits: limits, takes: takes})
	if s.ideal != nil && s.ideal.offer(s.now) {
		s.after(takes, func() { s.ideal.live-- })
	}
	s.settle(n)
	s.send(n)
	s.after(20*ms, func() {
		if s.up(n) && !c.Decided {
			n.book.Abandon(c)
			s.settle(n)
		}
	})
}

// settle starts what was admitted.
func (s *sim) settle(n *node) {
	var undecided, decided []*simCall
	for _, c := range n.waiting {
		if c.claim.Decided {
			decided = append(decided, c)
		} else {
			undecided = append(undecided, c)
		}
	}
	n.waiting = undecided
	for _, c := range decided {
		v := c.claim.Verdict
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
			n.running = append(n.running, c)
			for _, l := range c.limits {
				if l.PerSecond > 0 {
					s.entry[l] = append(s.entry[l], s.now)
				}
			}
			s.after(c.takes, func() { s.finish(n, c) })
			s.checkSlots()
		}
	}
}

func (s *sim) finish(n *node, c *simCall) {
	if n.dead || c.ended {
		return
	}
	if s.now < n.paused {
		s.after(n.paused-s.now+1, func() { s.finish(n, c) })
		return
	}
	if s.fence(n); c.ended {
		return
	}
	n.running = slices.DeleteFunc(n.running, func(r *simCall) bool { return r == c })
	if c.ended = true; n.book.Release(c.claim) {
		s.send(n)
	}
}

// fence cancels what runs beyond the lease, as an instance does when it wakes.
func (s *sim) fence(n *node) {
	if n.book.Leased(n.local(s.now)) {
		return
	}
	for _, c := range n.running {
		c.ended = true
		n.book.Release(c.claim)
	}
	n.running = nil
}

// tick is an instance's clock: it beats, fences and sends.
func (s *sim) tick(n *node) {
	if n.dead {
		return
	}
	if s.now >= n.paused {
		s.fence(n)
		s.send(n)
	}
	s.after(50*ms, func() { s.tick(n) })
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
	d := n.book.Next(n.local(s.now))
	if d == nil {
		return
	}
	draw := *d
	s.messages++
	s.after(20*ms, func() { s.timeOut(n, draw.Seq) })
	for range 1 + boolInt(!s.calm && s.rng.IntN(30) == 0) { // now and then doubled
		if s.rng.Float64() < s.loss {
			continue
		}
		s.after(s.delay(), func() { s.receive(n, draw) })
	}
}

func (s *sim) timeOut(n *node, seq int64) {
	if n.dead {
		return
	}
	if s.now < n.paused {
		s.after(n.paused-s.now+1, func() { s.timeOut(n, seq) })
		return
	}
	n.book.Lose(seq)
	s.settle(n)
	s.send(n)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *sim) receive(n *node, d Draw) {
	reply := s.ledger.Draw(s.now, &d)
	if s.rng.Float64() < s.loss {
		return
	}
	s.after(s.delay(), func() { s.answer(n, d.Seq, reply) })
}

func (s *sim) answer(n *node, seq int64, r Reply) {
	if n.dead {
		return
	}
	if s.now < n.paused {
		s.after(n.paused-s.now+1, func() { s.answer(n, seq, r) })
		return
	}
	if r.Status == Closed {
		s.epochs++
		s.ledger.Open(s.now, s.epochs, false, simLease.Microseconds())
	}
	n.book.Apply(n.local(s.now), seq, r)
	s.fence(n)
	s.settle(n)
	s.send(n)
}

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

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
	simSeeds = flag.Int("seeds", 400, "seeds of the simulation")
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
	sleepy bool    // an instance gets no processor unless a call is under way
	slow   int64   // how many times longer calls take
	quiet  bool    // no more load

	granted map[string]int64 // tokens, by key

	ideal                            *ideal
	messages                         int
	offered, admitted, refused, lost int
	clients                          [20]int // admitted calls of each of equal clients
	fault                            error
}

type node struct {
	name    string
	book    *Book
	offset  int64 // of its clock
	paused  int64 // until
	frozen  bool
	pending []func() // what comes while it is frozen
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
	client int
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
	s := &sim{rng: rand.New(rand.NewPCG(seed, 0)), ledger: NewLedger(), entry: map[*Limit][]int64{}, granted: map[string]int64{}}
	rates := []float64{1, 5, 20, 100, 1000}
	caps := []int64{1, 3, 10, 40, 60, 150}
	s.slow = []int64{1, 1, 8}[s.rng.IntN(3)]
	s.sleepy = s.rng.IntN(4) == 0
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
	if err := s.runUntil(simTime); err != nil {
		return err
	}
	return s.heal()
}

func (s *sim) runUntil(end int64) error {
	for s.queue.Len() > 0 && s.queue[0].at <= end && s.fault == nil {
		e := heap.Pop(&s.queue).(event)
		s.now = e.at
		e.do()
	}
	if s.fault == nil {
		s.checkRates()
		s.checkTokens()
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

func (s *sim) up(n *node) bool { return !n.dead && !n.frozen && s.now >= n.paused }

// when does something at an instance as soon as it runs.
func (s *sim) when(n *node, do func()) {
	switch {
	case n.dead:
	case n.frozen:
		n.pending = append(n.pending, do)
	case s.now < n.paused:
		s.after(n.paused-s.now+1, func() { s.when(n, do) })
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
		s.after(s.rng.Int64N(200), func() { s.when(n, do) })
	}
}

// call is one call at an instance: on one of the limits, and on the one on everything.
func (s *sim) call(n *node) {
	s.callOn(n, []*Limit{s.limits[s.rng.IntN(len(s.limits)-1)], s.limits[len(s.limits)-1]})
}

func (s *sim) callOn(n *node, limits []*Limit) {
	if s.quiet {
		return
	}
	if n.frozen && !n.dead && s.now >= n.paused {
		s.wake(n)
	}
	if !s.up(n) {
		return
	}
	s.fence(n)
	s.offered++
	s.callFor(n, limits, 1+s.rng.Int64N(60*ms*max(s.slow, 1)))
}

// callFor is a call that takes some time.
func (s *sim) callFor(n *node, limits []*Limit, takes int64) {
	c := n.book.Claim(n.local(s.now), 1, limits)
	n.waiting = append(n.waiting, &simCall{claim: c, limits: limits, takes: takes, client: s.rng.IntN(len(s.clients))})
	if s.ideal != nil && s.ideal.offer(s.now) {
		s.after(takes, func() { s.ideal.live-- })
	}
	s.settle(n)
	s.send(n)
	s.after(20*ms, func() {
		s.when(n, func() {
			if !c.Decided {
				n.book.Abandon(c)
				s.settle(n)
			}
		})
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
			s.clients[c.client]++
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
	s.when(n, func() {
		if c.ended {
			return
		}
		if s.fence(n); c.ended {
			return
		}
		n.running = slices.DeleteFunc(n.running, func(r *simCall) bool { return r == c })
		if c.ended = true; n.book.Release(c.claim) {
			s.send(n)
		}
	})
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
	if s.up(n) {
		s.fence(n)
		s.send(n)
		s.checkAccounts(n)
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
	s.when(n, func() {
		n.book.Lose(seq)
		s.settle(n)
		s.send(n)
	})
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *sim) receive(n *node, d Draw) {
	reply := s.ledger.Draw(s.now, &d)
	for i, g := range reply.Granted {
		for j, amount := range g.Amounts {
			if d.Groups[i][j].Kind == Tokens {
				s.granted[d.Groups[i][j].Key] += amount
			}
		}
	}
	if s.rng.Float64() < s.loss {
		return
	}
	s.after(s.delay(), func() { s.answer(n, d.Seq, reply) })
}

func (s *sim) answer(n *node, seq int64, r Reply) {
	s.when(n, func() {
		if r.Status == Closed {
			s.epochs++
			s.ledger.Open(s.now, s.epochs, false, simLease.Microseconds())
		}
		n.book.Apply(n.local(s.now), seq, r)
		s.fence(n)
		s.settle(n)
		s.send(n)
		s.checkAccounts(n)
	})
}

package governor

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"
)

var (
	simSeeds = flag.Int("seeds", 80, "seeds of the simulation")
	simSeed  = flag.Uint64("seed", 0, "replay this seed alone")
)

// TestSimulation runs fleets of caches against one reference over a network that loses, doubles, delays and reorders messages,
// with crashes, pauses, lost ledgers and abandoned calls, and holds every bound at each step. All of it follows from a seed.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		if err := newSim(*simSeed).run(); err != nil {
			t.Fatal(err)
		}
		return
	}
	seeds := uint64(*simSeeds)
	if testing.Short() {
		seeds /= 5
	}
	collectRarely(t)
	var mu sync.Mutex
	var last, failed uint64 // seeds
	var fault error
	next := func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		if fault != nil || last == seeds {
			return 0
		}
		last++
		return last
	}
	var sum sim
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := next(); seed != 0; seed = next() {
				s := newSim(seed)
				err := s.run()
				mu.Lock()
				sum.admitted, sum.refused, sum.lost, sum.offered = sum.admitted+s.admitted, sum.refused+s.refused, sum.lost+s.lost, sum.offered+s.offered
				if err != nil && (fault == nil || seed < failed) {
					fault, failed = err, seed
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if fault != nil {
		t.Fatalf("seed %d: %v\nreplay with: go test -run Simulation ./function/internal/governor -seed %d", failed, fault, failed)
	}
	t.Logf("%d seeds: %d calls offered, %d admitted, %d refused, %d undecided for want of an answer", seeds, sum.offered, sum.admitted, sum.refused, sum.lost)
	if sum.admitted == 0 || sum.refused == 0 || sum.lost == 0 {
		t.Error("the simulation does not exercise all outcomes")
	}
}

// collectRarely lets garbage lie for longer until the test ends: a simulation makes much of it, and keeps little else.
func collectRarely(t *testing.T) {
	before := debug.SetGCPercent(800)
	t.Cleanup(func() { debug.SetGCPercent(before) })
}

// TestSeedsReplay wants a seed to give the same simulation again, to the last random number.
func TestSeedsReplay(t *testing.T) {
	for seed := range uint64(5) {
		outcome := func() string {
			s := newSim(seed)
			return fmt.Sprint(s.run(), s.now, s.messages, s.offered, s.admitted, s.refused, s.lost, s.clients, s.rng.Uint64())
		}
		if one, other := outcome(), outcome(); one != other {
			t.Errorf("seed %d gives %s and %s", seed, one, other)
		}
	}
}

const ms = int64(1000)

type sim struct {
	rng       *rand.Rand
	now       int64
	queue     queue
	reference *ReferenceCounters
	epochs    int64
	limits    []*Limit   // the last is on everything
	pairs     [][]*Limit // of each of the others and the last
	nodes     []*node
	entered   map[*Limit]*window
	loss      float64 // of messages
	calm      bool    // nothing is late or doubled
	sleepy    bool    // an instance gets no processor unless a call is under way
	slow      int64   // how many times longer calls take
	quiet     bool    // no more load

	granted map[string]int64 // tokens, by key

	ideal                            *ideal
	messages                         int
	offered, admitted, refused, lost int
	clients                          [20]int // admitted calls of each of equal clients
	fault                            error
}

// after does something later.
func (s *sim) after(d int64, do func()) { s.queue.add(s.now, d, nil, do) }

// later has an instance do something later, or as soon as it runs.
func (s *sim) later(d int64, n *node, do func()) { s.queue.add(s.now, d, n, do) }

const (
	simLease = 2 * time.Second
	simTime  = int64(6 * time.Second / time.Microsecond)
)

func newSim(seed uint64) *sim {
	s := &sim{rng: rand.New(rand.NewPCG(seed, 0)), reference: NewReferenceCounters(), entered: map[*Limit]*window{}, granted: map[string]int64{}}
	rate := func() float64 { return math.Round(math.Pow(10, s.rng.Float64()*6-1)*10) / 10 } // 0.1 to 100 000
	caps := []int64{1, 3, 10, 40, 60, 150}
	s.slow = []int64{1, 1, 8}[s.rng.IntN(3)]
	s.sleepy = s.rng.IntN(4) == 0
	for i := range 1 + s.rng.IntN(3) {
		l := &Limit{Scope: fmt.Sprint("tenant:", i), Key: fmt.Sprint("t", i)}
		if s.rng.IntN(3) > 0 {
			l.PerSecond = rate()
			if s.rng.IntN(2) == 0 {
				l.Burst = float64(1 + s.rng.IntN(50))
			}
		}
		if s.rng.IntN(3) > 0 || l.PerSecond == 0 {
			l.Concurrency = caps[s.rng.IntN(len(caps))]
		}
		s.limits = append(s.limits, l)
	}
	s.limits = append(s.limits, &Limit{Scope: "all", Key: "all", PerSecond: 500, Concurrency: 60})
	for _, l := range s.limits[:len(s.limits)-1] {
		s.pairs = append(s.pairs, []*Limit{l, s.limits[len(s.limits)-1]})
	}
	for range []int{1, 2, 4, 8, 64}[s.rng.IntN(5)] {
		s.spawn()
	}
	s.loss = []float64{0, 0.02, 0.2}[s.rng.IntN(3)]
	return s
}

func (s *sim) spawn() *node {
	name := fmt.Sprint("n", len(s.nodes))
	n := &node{name: name, leases: NewLeaseCache(name, simLease), offset: s.rng.Int64N(1e12)}
	s.nodes = append(s.nodes, n)
	n.tick = func() { s.tick(n) }
	s.after(s.rng.Int64N(50*ms), n.tick)
	return n
}

func (s *sim) run() error {
	s.epochs = 1
	s.reference.Open(s.now, 1, true, simLease.Microseconds())
	// Offered load: about twice what the widest limit allows, in steps.
	var offer func()
	offer = func() {
		s.call(s.nodes[s.rng.IntN(len(s.nodes))])
		s.after(1+s.rng.Int64N(2*ms), offer)
	}
	offer()
	if s.rng.IntN(2) == 0 {
		s.after(ms*s.rng.Int64N(5000), s.loseCounters)
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
	for s.fault == nil {
		e, ok := s.queue.next(end)
		if !ok {
			break
		}
		s.now = e.at
		if e.node == nil {
			e.do()
		} else {
			s.when(e.node, e.do)
		}
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
		s.after(n.paused-s.now, n.tick)
	case 2:
		s.spawn()
	}
}

// loseCounters restarts the counters empty; whoever finds them so opens the next epoch.
func (s *sim) loseCounters() { s.reference = NewReferenceCounters() }

// call is one call at an instance: on one of the limits, and on the one on everything.
func (s *sim) call(n *node) {
	s.callOn(n, s.pairs[s.rng.IntN(len(s.pairs))])
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
	weight := int64(1)
	if s.ideal == nil && s.rng.IntN(4) == 0 {
		weight += s.rng.Int64N(heaviestOf(limits))
	}
	s.callFor(n, limits, weight, 1+s.rng.Int64N(60*ms*max(s.slow, 1)))
}

// heaviestOf is the weight of the heaviest call that all of the limits admit.
func heaviestOf(limits []*Limit) int64 {
	w := int64(50)
	for _, l := range limits {
		if l.PerSecond > 0 {
			w = min(w, int64(l.MaxBurst()))
		}
	}
	return w
}

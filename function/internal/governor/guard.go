package governor

import (
	"math"
	"runtime/metrics"
	"sync"
	"time"
)

// GuardOptions configure a [Guard].
type GuardOptions struct {
	Most    int // calls at a time at this instance; the cap that adapts begins there
	Workers int // calls at a time to each upstream; 0 is no limit
	Now     func() time.Time
	Load    func() Load // of the process; nil reads it from the runtime
}

// Load is how busy the process is.
type Load struct {
	Memory float64       // the part of GOMEMLIMIT that is in use and can't be collected; 0 without a limit
	Wait   time.Duration // that goroutines waited for a processor since the last time, the 99th percentile; negative for too few
}

// A Guard keeps one instance from more than it can carry, beside the limits of the fleet: by its memory, by calls at a time
// to each upstream, and by a cap on calls at a time that follows how long goroutines wait for a processor. The cap shrinks
// by the gradient from the wait that is borne to the one that is measured, and grows by its root (as Netflix's
// concurrency-limits does by latency; the latency of tools says more about what they call than about this process).
type Guard struct {
	opts GuardOptions

	mu        sync.Mutex
	live      int
	upstreams map[string]int
	limit     float64
	late      int // readings in a row with too long a wait
	full      bool
	looked    time.Time
}

// NewGuard returns a guard.
func NewGuard(o GuardOptions) *Guard {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Load == nil {
		o.Load = newGauge().load
	}
	return &Guard{opts: o, upstreams: map[string]int{}, limit: float64(o.Most)}
}

const (
	lookEvery   = 100 * time.Millisecond
	borneWait   = 50 * time.Millisecond
	fewest      = 16   // calls at a time that the cap never goes below
	mostMemory  = 0.9  // of the limit
	memoryAgain = 0.85 // from where calls are taken again
)

// Enter takes a call in, to upstreams that may be none, or refuses it. Leave must follow.
func (g *Guard) Enter(upstream string) Decision {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.opts.Now(); now.Sub(g.looked) >= lookEvery {
		g.looked = now
		g.adapt(g.opts.Load())
	}
	switch {
	case g.full:
		return Decision{Reason: Saturated, Scope: "instance", Note: "its memory is used up", Wait: time.Second}
	case g.live >= int(g.limit):
		return Decision{Reason: Saturated, Scope: "instance", Note: "it is busy", Wait: 250 * time.Millisecond}
	case upstream != "" && g.opts.Workers > 0 && g.upstreams[upstream] >= g.opts.Workers:
		return Decision{Reason: Saturated, Scope: "upstream:" + upstream, Note: "as many calls as one instance makes at a time are under way", Wait: 100 * time.Millisecond}
	}
	g.live++
	if upstream != "" {
		g.upstreams[upstream]++
	}
	return Decision{}
}

// Leave ends a call that entered.
func (g *Guard) Leave(upstream string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.live--
	if upstream != "" {
		if g.upstreams[upstream]--; g.upstreams[upstream] == 0 {
			delete(g.upstreams, upstream)
		}
	}
}

func (g *Guard) adapt(l Load) {
	g.full = l.Memory > mostMemory || g.full && l.Memory > memoryAgain
	if l.Wait < 0 {
		return
	}
	if l.Wait <= borneWait {
		g.late = 0
		g.limit = min(g.limit+math.Sqrt(g.limit), float64(g.opts.Most))
		return
	}
	if g.late++; g.late < 2 { // one reading may be of a process that slept
		return
	}
	gradient := max(0.5, float64(borneWait)/float64(l.Wait))
	g.limit = max(min(g.limit, 2*float64(g.live))*gradient, min(fewest, float64(g.opts.Most)))
}

// Cap is how many calls the guard takes at a time now.
func (g *Guard) Cap() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return int(g.limit)
}

// A gauge reads the load of this process from the runtime.
type gauge struct {
	samples []metrics.Sample
	before  []uint64
}

func newGauge() *gauge {
	return &gauge{samples: []metrics.Sample{
		{Name: "/sched/latencies:seconds"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}, {Name: "/gc/gomemlimit:bytes"},
	}}
}

// fewestWaits is how many waits a percentile is worth taking of. The runtime records one in eight, and a process that is late
// has few.
const fewestWaits = 16

func (g *gauge) load() Load {
	metrics.Read(g.samples)
	var l Load
	if limit := g.samples[3].Value.Uint64(); limit < math.MaxInt64 {
		l.Memory = float64(g.samples[1].Value.Uint64()+g.samples[2].Value.Uint64()) / float64(limit)
	}
	l.Wait = g.late(g.samples[0].Value.Float64Histogram())
	return l
}

// late is the 99th percentile of the waits since the last time, negative for too few.
func (g *gauge) late(waits *metrics.Float64Histogram) (wait time.Duration) {
	if len(g.before) != len(waits.Counts) {
		g.before = make([]uint64, len(waits.Counts))
	}
	var all uint64
	for i, n := range waits.Counts {
		all += n - g.before[i]
	}
	if all < fewestWaits {
		return -1 // they add up until there are enough
	}
	over := all / 100
	for i := len(waits.Counts) - 1; i >= 0; i-- {
		if n := waits.Counts[i] - g.before[i]; n <= over {
			over -= n
			continue
		}
		wait = time.Duration(max(0, waits.Buckets[i]) * float64(time.Second)) // the lower end of the bucket
		break
	}
	copy(g.before, waits.Counts)
	return wait
}

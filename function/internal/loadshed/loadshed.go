// Package loadshed keeps one instance from more than it can carry, beside the limits of the fleet.
package loadshed

import (
	"math"
	"runtime/metrics"
	"sync"
	"time"
)

// Options configure a [LoadShedder].
type Options struct {
	MaxConcurrent int // calls at this instance; the cap that adapts begins there
	Workers       int // concurrent calls to each upstream; 0 is no limit
	Now           func() time.Time
	Load          func() Load // of the process; nil reads it from the runtime
}

// A Reason is why a call was refused, in words for its caller.
type Reason string

// Reasons of a [Decision].
const (
	Admitted     Reason = ""
	MemoryFull   Reason = "its memory is used up"
	Busy         Reason = "it is busy"
	UpstreamBusy Reason = "as many calls as one instance makes at a time are under way"
)

// A Decision is the answer to a call. Its zero value admits.
type Decision struct {
	Reason Reason
	Scope  string        // that is busy: "instance", or an upstream
	Wait   time.Duration // until it is worth trying again
}

// Admitted tells whether the call may proceed.
func (d Decision) Admitted() bool { return d.Reason == Admitted }

// Load is how busy the process is.
type Load struct {
	Memory float64       // the part of GOMEMLIMIT that is in use and can't be collected; 0 without a limit
	Wait   time.Duration // that goroutines waited for a processor since the last time, the 99th percentile; negative for too few
}

// A LoadShedder goes by the memory of the instance, by concurrent calls to each upstream, and by a cap on concurrent calls that
// follows how long goroutines wait for a processor. A tenant with less than its share of that cap is admitted over it, so that who
// keeps the instance busy is refused and not the others. The cap shrinks by the gradient from the wait that is borne to the one that is
// measured, and grows by its root (as Netflix's concurrency-limits does by latency; the latency of tools says more about what they
// call than about this process).
type LoadShedder struct {
	opts Options

	mu        sync.Mutex
	live      int
	upstreams map[string]int
	tenants   map[string]int // their calls under way
	limit     float64
	late      int // readings in a row with too long a wait
	full      bool
	read      time.Time
}

// New returns a load shedder.
func New(o Options) *LoadShedder {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Load == nil {
		o.Load = newGauge().load
	}
	return &LoadShedder{opts: o, upstreams: map[string]int{}, tenants: map[string]int{}, limit: float64(o.MaxConcurrent)}
}

const (
	readEvery     = 100 * time.Millisecond
	borneWait     = 50 * time.Millisecond
	minConcurrent = 16   // the cap never goes below
	maxMemory     = 0.9  // of the limit
	resumeMemory  = 0.85 // from where calls are taken again
)

// Acquire admits a tenant's call to an upstream, which may be none, or refuses it. Once an admitted call has returned, Release must
// follow.
func (s *LoadShedder) Acquire(tenant, upstream string) Decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.opts.Now(); now.Sub(s.read) >= readEvery {
		s.read = now
		s.adapt(s.opts.Load())
	}
	switch {
	case s.full:
		return Decision{Reason: MemoryFull, Scope: "instance", Wait: time.Second}
	case s.live >= s.opts.MaxConcurrent, s.live >= int(s.limit) && s.tenants[tenant] >= s.share(tenant):
		return Decision{Reason: Busy, Scope: "instance", Wait: 250 * time.Millisecond}
	case upstream != "" && s.opts.Workers > 0 && s.upstreams[upstream] >= s.opts.Workers:
		return Decision{Reason: UpstreamBusy, Scope: "upstream:" + upstream, Wait: 100 * time.Millisecond}
	}
	s.live++
	s.tenants[tenant]++
	if upstream != "" {
		s.upstreams[upstream]++
	}
	return Decision{}
}

// share is what of the cap each tenant with calls may have, and the one that asks. All shares together are at most the cap.
func (s *LoadShedder) share(tenant string) int {
	n := len(s.tenants)
	if s.tenants[tenant] == 0 {
		n++
	}
	return int(s.limit) / n
}

// Release ends a call that was admitted.
func (s *LoadShedder) Release(tenant, upstream string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live--
	less(s.tenants, tenant)
	if upstream != "" {
		less(s.upstreams, upstream)
	}
}

func less(counts map[string]int, name string) {
	if counts[name]--; counts[name] == 0 {
		delete(counts, name)
	}
}

func (s *LoadShedder) adapt(l Load) {
	s.full = l.Memory > maxMemory || s.full && l.Memory > resumeMemory
	if l.Wait < 0 {
		return
	}
	if l.Wait <= borneWait {
		s.late = 0
		s.limit = min(s.limit+math.Sqrt(s.limit), float64(s.opts.MaxConcurrent))
		return
	}
	if s.late++; s.late < 2 { // one reading may be of a process that slept
		return
	}
	gradient := max(0.5, float64(borneWait)/float64(l.Wait))
	s.limit = max(min(s.limit, 2*float64(s.live))*gradient, min(minConcurrent, float64(s.opts.MaxConcurrent)))
}

// Cap is how many concurrent calls are admitted now.
func (s *LoadShedder) Cap() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.limit)
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

// minWaits is how many waits a percentile is worth taking of. The runtime records one in eight, and a process that is late
// has few.
const minWaits = 16

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
	if all < minWaits {
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

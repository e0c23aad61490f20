package judge

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// bakes is how many of each kind are simulated.
var bakes = flag.Int("bakes", 3, "of each kind")

func number() int {
	if testing.Short() {
		return 1
	}
	return *bakes
}

// A fleet is a simulated one: what its processes count is read as Prometheus would have it.
type fleet struct {
	rand      *rand.Rand
	now       time.Time
	every     time.Duration
	perSecond float64 // calls of both versions
	canary    float64 // part of them
	tools     []toolOf
	legacy    float64 // part of the calls
	outage    float64 // chance that an upstream is away during a batch, for both
	bursts    bool    // callers whose faults come in bursts, at one process
	cold      float64 // how much slower the canary is, without being worse
	fault     fault
	counters  map[process]map[key]float64
	times     map[series]*times
	gauges    map[process]float64 // memory
	sides     map[process]Side
}

// A toolOf is how a tool is when all is well.
type toolOf struct {
	name          string
	fails         float64 // part of its calls that end in an error of the tool
	median, sigma float64 // seconds, of a lognormal distribution
}

// A fault is what is wrong with the canary.
type fault struct {
	name          string
	panics, sheds float64 // parts of all calls
	tool          float64 // part of the calls of the first tool that fail
	legacy        float64 // part of the calls of legacy clients that are answered with an error
	slower        float64 // times
	overhead      float64 // seconds, of one call in ten
	leak          float64 // bytes a call
}

func newFleet(seed uint64, processes [2]int) *fleet {
	f := &fleet{rand: rand.New(rand.NewPCG(seed, 17)), now: time.Unix(1_800_000_000, 0), every: time.Second, perSecond: 40, canary: 0.1, legacy: 0.2,
		counters: map[process]map[key]float64{}, times: map[series]*times{}, gauges: map[process]float64{}, sides: map[process]Side{}}
	for side, n := range processes {
		for i := range n {
			p := process{"erlmcp", fmt.Sprint(Side(side), "-", i)}
			f.sides[p] = Side(side)
			f.counters[p] = map[key]float64{}
			f.gauges[p] = 60 << 20
		}
	}
	return f
}

// withTools gives it so many.
func (f *fleet) withTools(n int) *fleet {
	for i := range n {
		f.tools = append(f.tools, toolOf{fmt.Sprint("tool", i), 0.04 * f.rand.Float64(), 0.002 * math.Pow(200, f.rand.Float64()), 0.3 + f.rand.Float64()})
	}
	return f
}

var (
	durations  = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	overheads  = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}
	operations = []float64{.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 120, 300}
)

func (f *fleet) of(side Side) (out []process) {
	for i := 0; ; i++ {
		p := process{"erlmcp", fmt.Sprint(side, "-", i)}
		if f.counters[p] == nil {
			return out
		}
		out = append(out, p)
	}
}

func poisson(r *rand.Rand, mean float64) int {
	if mean > 50 {
		return max(0, int(math.Round(mean+math.Sqrt(mean)*r.NormFloat64())))
	}
	n, p, limit := 0, 1.0, math.Exp(-mean)
	for {
		if p *= r.Float64(); p < limit {
			return n
		}
		n++
	}
}

var written = map[float64]string{}

func init() {
	for _, b := range slices.Concat(durations, overheads, operations) {
		written[b] = strconv.FormatFloat(b, 'g', -1, 64)
	}
}

func bound(b float64) string { return written[b] }

// A times is a histogram: how many are in each bucket.
type times struct {
	bounds []float64
	counts []float64 // the last beyond all bounds
	sum    float64
}

func (f *fleet) observe(p process, name, first string, bounds []float64, seconds float64) {
	k := series{p, name, first}
	h := f.times[k]
	if h == nil {
		h = &times{bounds: bounds, counts: make([]float64, len(bounds)+1)}
		f.times[k] = h
	}
	i, _ := slices.BinarySearch(bounds, seconds)
	h.counts[i]++
	h.sum += seconds
}

type series struct {
	process     process
	name, first string
}

// values are those of the histogram's series, as far as they are not 0.
func (h *times) values(of series, out []value) []value {
	n := 0.0
	for i, c := range h.counts {
		le := "+Inf"
		if i < len(h.bounds) {
			le = bound(h.bounds[i])
		}
		if n += c; n > 0 {
			out = append(out, value{of.process, key{metric: of.name + "_bucket", first: of.first, le: le}, n})
		}
	}
	return append(out, value{of.process, key{metric: of.name + "_sum", first: of.first}, h.sum})
}

// step lets time pass until the next reading.
func (f *fleet) step() *reading {
	f.now = f.now.Add(f.every)
	away := f.rand.Float64() < f.outage
	for _, side := range []Side{Canary, Baseline} {
		share := f.canary
		if side == Baseline {
			share = 1 - f.canary
		}
		processes := f.of(side)
		for range poisson(f.rand, f.perSecond*share*f.every.Seconds()) {
			f.call(processes[f.rand.IntN(len(processes))], side, away)
		}
		if f.bursts && f.rand.Float64() < 0.05*share*float64(len(processes)) {
			p := processes[f.rand.IntN(len(processes))] // one caller's, over one connection
			for range 2 + f.rand.IntN(5) {
				f.counters[p][key{metric: failures, first: "-32602"}]++
				f.counters[p][key{metric: requests, first: "tools/call", second: "failed"}]++
			}
		}
		for _, p := range processes {
			f.gauges[p] = max(f.gauges[p], (60<<20)+(20<<20)*f.rand.Float64())
		}
	}
	r := &reading{at: f.now, sides: f.sides, gauges: map[string]map[process]float64{memory: f.gauges}}
	for p, counters := range f.counters {
		for k, v := range counters {
			r.values = append(r.values, value{p, k, v})
		}
	}
	for of, h := range f.times {
		r.values = h.values(of, r.values)
	}
	return r
}

// call is one call of a tool.
func (f *fleet) call(p process, side Side, away bool) {
	bad := fault{}
	if side == Canary {
		bad = f.fault
	}
	count := f.counters[p]
	i := f.rand.IntN(len(f.tools))
	t := f.tools[i]
	legacy := f.rand.Float64() < f.legacy
	era := "2026-07-28"
	if legacy {
		era = "2025-11-25"
	}
	took := t.median * math.Exp(t.sigma*f.rand.NormFloat64())
	own := 0.0002 * math.Exp(0.8*f.rand.NormFloat64())
	if side == Canary {
		took *= max(1, f.cold)
	}
	if bad.slower > 0 {
		took *= bad.slower
	}
	if bad.overhead > 0 && f.rand.Float64() < 0.1 {
		own += bad.overhead
	}
	end, kind := "completed", ""
	switch chance := f.rand.Float64; {
	case chance() < bad.sheds:
		end, kind = "refused", "backpressure"
	case chance() < bad.panics:
		end, kind = "panicked", "panic"
	case legacy && chance() < bad.legacy:
		end, kind = "failed", "-32602"
	case away && chance() < 0.5:
		end, kind = "unavailable", "unavailable"
	case i == 0 && chance() < bad.tool, chance() < t.fails:
		end, kind = "tool_failed", "tool_error"
	}
	count[key{metric: requests, first: "tools/call", second: end}]++
	count[key{metric: eras, first: era, second: end}]++
	if kind != "" {
		count[key{metric: failures, first: kind}]++
	}
	f.observe(p, duration, "tools/call", durations, took+own)
	if end == "refused" {
		return
	}
	count[key{metric: tools, first: t.name, second: end}]++
	f.observe(p, overhead, "", overheads, own)
	if kind == "" {
		f.observe(p, operation, t.name, operations, took+own)
	}
	f.gauges[p] += bad.leak
}

// bake judges a fleet for so many readings, as Run does.
func (f *fleet) bake(level float64, readings int) (v *Verdict, at int, c *comparison) {
	c = newComparison(level)
	for i := range readings {
		c.add(f.step())
		if c.failed() {
			return c.verdict(100), i, c
		}
	}
	c.finish()
	return c.verdict(100), readings, c
}

// TestHealthyCanaryPasses bakes canaries that are as good as the baseline, or nearly, in fleets of all kinds: with many tools and few, thin
// traffic and thick, errors of tools, upstreams that are away for both, bursts of one caller's faults, and caches that are cold.
func TestHealthyCanaryPasses(t *testing.T) {
	bakes := number()
	for i, c := range []struct {
		name  string
		fleet func(*fleet)
		tools int
		of    [2]int
		thin  bool
	}{
		{"plain", func(*fleet) {}, 10, [2]int{1, 1}, false},
		{"thin traffic", func(f *fleet) { f.perSecond = 3 }, 10, [2]int{1, 3}, true},
		{"many tools", func(f *fleet) { f.perSecond = 60 }, 60, [2]int{1, 3}, false},
		{"half of the traffic", func(f *fleet) { f.canary = 0.5 }, 5, [2]int{2, 2}, false},
		{"upstreams come and go", func(f *fleet) { f.outage = 0.2 }, 10, [2]int{1, 3}, false},
		{"bursts of a caller's faults", func(f *fleet) { f.bursts = true }, 10, [2]int{1, 3}, false},
		{"cold caches", func(f *fleet) { f.cold = 1.25 }, 10, [2]int{1, 3}, false},
		{"all of it", func(f *fleet) { f.bursts, f.cold, f.outage = true, 1.2, 0.1 }, 20, [2]int{2, 4}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			failed, undecided := 0, 0
			for j := range bakes {
				f := newFleet(uint64(i*10_000+j), c.of).withTools(c.tools)
				c.fleet(f)
				v, at, _ := f.bake(0.01, 60)
				switch {
				case v.Verdict == Fail:
					failed++
					if failed < 4 {
						t.Logf("bake %d, reading %d: %s", j, at, v.Words())
					}
				case v.Verdict == Undecided:
					undecided++
				}
			}
			if most := 0.01*float64(bakes) + 3*math.Sqrt(0.01*float64(bakes)); float64(failed) > most {
				t.Errorf("%d of %d healthy canaries failed", failed, bakes)
			}
			if c.thin != (undecided > bakes/2) {
				t.Errorf("%d of %d bakes are undecided", undecided, bakes)
			}
		})
	}
}

// TestLevelHolds takes away what makes the judge slow to fail, such as what a difference must be to matter, and bakes canaries that are
// exactly as good as the baseline at a level of one in ten: of all comparisons of a bake together no more may find a difference.
func TestLevelHolds(t *testing.T) {
	bakes := 2 * number()
	const level = 0.1
	alarms := 0
	for j := range bakes {
		f := newFleet(uint64(900_000+j), [2]int{1, 1}).withTools(20)
		f.outage = 0.1
		c := newComparison(level)
		alarm := false
		for range 60 {
			c.add(f.step())
			for _, l := range c.order {
				if l.test != nil {
					l.test.Null, l.test.Power, l.test.MostOfBatch = 1, 1, math.Inf(1)
				}
				alarm = alarm || l.test != nil && l.log() >= c.limit(l)
			}
		}
		if alarm {
			alarms++
		}
	}
	if most := level*float64(bakes) + 3*math.Sqrt(level*float64(bakes)); float64(alarms) > most {
		t.Errorf("%d alarms in %d bakes", alarms, bakes)
	}
	t.Logf("%d alarms in %d bakes at level %g", alarms, bakes, level)
}

// TestFaultsAreFound bakes canaries of which each is bad in one way, at 90 to 10 and 4 calls of the canary's a second. Nearly all must fail,
// within a minute, and for the reason that is theirs.
func TestFaultsAreFound(t *testing.T) {
	bakes := number()
	for i, c := range []struct {
		fault fault
		says  string
	}{
		{fault{name: "panics", panics: 0.2}, "errors of type panic"},
		{fault{name: "one tool of ten fails", tool: 1}, "calls of the tool tool0 that failed"},
		{fault{name: "sheds", sheds: 0.2}, "errors of type backpressure"},
		{fault{name: "legacy clients", legacy: 1}, "requests in protocol revision 2025-11-25 that ended in a protocol error"},
		{fault{name: "three times as slow", slower: 3}, "slow "},
		{fault{name: "overhead", overhead: 0.2}, "the server's own time"},
		{fault{name: "leaks", leak: 512 << 10}, "memory of canary-0"},
	} {
		t.Run(c.fault.name, func(t *testing.T) {
			t.Parallel()
			found, last := 0, 0
			for j := range bakes {
				f := newFleet(uint64(500_000+i*1000+j), [2]int{1, 2}).withTools(10)
				f.bursts, f.outage, f.cold = true, 0.05, 1.1
				f.fault = c.fault
				v, at, _ := f.bake(0.01, 60)
				last = max(last, at)
				if v.Verdict != Fail {
					continue
				}
				for _, finding := range slices.Concat(v.Findings, v.Closest) {
					if strings.Contains(finding.What, c.says) {
						found++
						break
					}
				}
			}
			t.Logf("%d of %d, the last after %d s", found, bakes, last)
			if float64(found) < 0.9*float64(bakes) {
				t.Errorf("%d of %d were found", found, bakes)
			}
		})
	}
}

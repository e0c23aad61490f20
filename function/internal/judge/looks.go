package judge

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A look is one comparison of canary and baseline.
type look struct {
	what   string // that is marked, such as "calls of the tool x that panicked"
	weight float64

	test         *Proportions
	waiting      Table   // of readings that are not in the test
	bound        float64 // of what waits, where its marks are times
	readings     int     // that wait
	marks, calls key     // that the test counts, where they are series
	// What a difference must be to matter, however certain it is: of the shares, as a difference and as a ratio, and further.
	excess, ratio float64
	also          func() bool   // nil: nothing further
	detail        func() string // more to say; nil: nothing

	trend *Trend // of memory, in place of a test
}

// Of each kind of look: which odds ratio is borne, and so on.
type manner struct{ null, power, excess, ratio float64 }

var (
	// What is the server's own fault. Half a percent of all calls is what the objective allows (infra/docs/telemetry.md).
	own = manner{null: 1.25, power: 0.5, excess: 0.005, ratio: 1.5}
	// What callers may be the cause of comes in bursts, one caller's after the other.
	theirs = manner{null: 2, power: 0.5, excess: 0.02, ratio: 2}
	slow   = manner{null: 1.5, power: 0.5, excess: 0.05, ratio: 1.2}
	tail   = manner{null: 1.5, power: 0.5, excess: 0.01, ratio: 2}
)

const (
	mostOfBatch = 2.5 // e^2.5 is 12: with the usual level, a failure must show in at least 4 batches
	fewestBad   = 3   // marked calls of the canary
	slower      = 1.5 // times the mean, to matter
	leak        = 32 << 20
	leakPart    = 0.25 // of what was used before
	blockOfLook = 64
)

// ours are the outcomes and types of error that no caller can be the cause of.
var ours = map[string]bool{"panicked": true, "timed_out": true, "unavailable": true,
	"panic": true, "timeout": true, "-32603": true, "backpressure": true, "shutting_down": true, "http_500": true, "http_503": true}

// wrong are the outcomes that are not as they should be.
var wrong = map[string]bool{"tool_failed": true, "unavailable": true, "failed": true, "timed_out": true, "panicked": true, "refused": true, "cancelled": true, "invalid": true}

// comparison is all that is looked at, in the order in which it was first there. Weights are handed out in that order: 64 have half of the
// level together, the next 64 a quarter, and so on, so that they never are more than 1, however many tools there are. Series appear by what
// was marked at either side, and the tests go by whose it was: the order tells them nothing.
type comparison struct {
	level  float64
	looks  map[string]*look
	order  []*look
	totals [2]float64
	tally  *tally
	hists  map[key]*histogram
	calls  map[key][2]float64 // by what was called
	sides  map[process]Side
	trends map[process]*Trend // of memory
}

func newComparison(level float64) *comparison {
	return &comparison{level: level, looks: map[string]*look{}, tally: newTally(), hists: map[key]*histogram{}, calls: map[key][2]float64{}, trends: map[process]*Trend{}}
}

// limit is the logarithm that the e-value of a look must reach: with it, the chance that any look of a canary that is no worse
// reaches its own is at most the level.
func (c *comparison) limit(l *look) float64 { return -math.Log(c.level * l.weight) }

func (c *comparison) look(name string, make func() *look) *look {
	l := c.looks[name]
	if l == nil {
		l = make()
		l.weight = math.Pow(2, -float64(len(c.order)/blockOfLook+1)) / blockOfLook
		c.looks[name] = l
		c.order = append(c.order, l)
	}
	return l
}

func (m manner) look(what string) func() *look {
	return func() *look {
		return &look{what: what, excess: m.excess, ratio: m.ratio, test: &Proportions{Null: m.null, Power: m.power, MostOfBatch: mostOfBatch}}
	}
}

// A batch of a test has so many calls of the canary, or is of so many readings: of few calls at a time little can be said. Whether a
// batch is full does not go by how many are marked.
const (
	callsOfBatch    = 4
	readingsOfBatch = 6
)

// take puts what was counted into the test once there is enough, and returns what it put.
func (l *look) take(t Table, bound float64) (put []Table) {
	if l.readings > 0 && bound != l.bound {
		put = append(put, l.waiting)
		l.waiting, l.readings = Table{}, 0
	}
	l.bound = bound
	l.waiting = Table{plus(l.waiting.Marked, t.Marked), plus(l.waiting.All, t.All)}
	if l.readings++; l.waiting.All[Canary] >= callsOfBatch && l.waiting.All[Baseline] > 0 || l.readings >= readingsOfBatch {
		put = append(put, l.waiting)
		l.waiting, l.readings = Table{}, 0
	}
	for _, one := range put {
		l.test.Add(one)
	}
	return put
}

// finish puts all that waits into the tests.
func (c *comparison) finish() {
	for _, l := range c.order {
		if l.readings > 0 {
			l.test.Add(l.waiting)
			l.waiting, l.readings = Table{}, 0
		}
	}
}

// add takes a reading.
func (c *comparison) add(r *reading) {
	b := c.tally.add(r)
	c.sides = r.sides
	sorted := slices.SortedFunc(maps.Keys(b), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.metric, b.metric), cmp.Compare(a.first, b.first), cmp.Compare(a.second, b.second), cmp.Compare(a.le, b.le))
	})
	all := map[key][2]float64{} // of each metric and first label
	for _, k := range sorted {
		whole := key{metric: k.metric, first: k.first}
		all[whole] = plus(all[whole], *b[k])
		if k.metric == requests {
			c.totals = plus(c.totals, *b[k])
			all[key{metric: requests}] = plus(all[key{metric: requests}], *b[k])
		}
		if k.metric == failures && strings.HasPrefix(k.first, "http_") { // these held no message
			all[key{metric: requests}] = plus(all[key{metric: requests}], *b[k])
		}
	}
	c.addShares(sorted, b, all)
	c.addHistograms(sorted, b)
	c.addMemory(r)
}

func plus(a, b [2]float64) [2]float64 { return [2]float64{a[0] + b[0], a[1] + b[1]} }

// addShares compares how many calls failed.
func (c *comparison) addShares(sorted []key, b batch, all map[key][2]float64) {
	for _, k := range sorted {
		m := theirs
		if ours[k.first] && k.metric == failures || ours[k.second] && k.metric != failures {
			m = own
		}
		of := key{metric: k.metric, first: k.first}
		switch {
		case k.metric == failures:
			c.share(k, key{metric: requests}, m, "errors of type "+k.first)
		case wrong[k.second] && kinds[k.metric] != "":
			whole := kinds[k.metric] + k.first
			c.share(k, of, m, whole+" that "+outcome(k.second))
		}
	}
	for of, n := range all {
		c.calls[of] = plus(c.calls[of], n)
	}
	for _, l := range c.order {
		if l.trend == nil && l.marks.metric != "" {
			l.take(Table{b.of(l.marks), all[l.calls]}, 0)
		}
	}
}

// kinds are what the metrics count that tell how each ended.
var kinds = map[string]string{requests: "requests of method ", eras: "requests in protocol revision ", tools: "calls of the tool ", resources: "readings of "}

// share has a share be looked at from now on; what was called before counts in it.
func (c *comparison) share(marks, calls key, m manner, what string) {
	c.look(what, func() *look {
		l := m.look(what)()
		l.marks, l.calls = marks, calls
		l.test.all = c.calls[calls]
		return l
	})
}

func outcome(name string) string {
	switch name {
	case "tool_failed":
		return "failed"
	case "failed":
		return "ended in a protocol error"
	case "unavailable":
		return "found their upstream unavailable"
	case "refused", "cancelled":
		return "were " + name
	case "invalid":
		return "were not valid"
	case "timed_out":
		return "timed out"
	}
	return name
}

// A histogram is of how long what took, at both sides.
type histogram struct {
	buckets map[float64][2]float64 // cumulative, by upper bound in seconds
	sum     [2]float64
}

func (h *histogram) count(s Side) float64 { return h.buckets[math.Inf(1)][s] }

func (h *histogram) mean(s Side) float64 {
	if h.count(s) == 0 {
		return 0
	}
	return h.sum[s] / h.count(s)
}

// fewestTimes is of how many of the baseline's a quantile is made.
const fewestTimes = 20

// bound is the smallest bound that at most a part of the baseline's times is above.
func (h *histogram) bound(part float64) (bounds []float64, at int, ok bool) {
	bounds = slices.Sorted(maps.Keys(h.buckets))
	n := h.count(Baseline)
	if n < fewestTimes {
		return nil, 0, false
	}
	for i, b := range bounds {
		if n-h.buckets[b][Baseline] <= part*n {
			return bounds, i, true
		}
	}
	return nil, 0, false
}

// addHistograms compares how long calls take: how many take longer than a bound that is chosen by what the baseline's took before.
func (c *comparison) addHistograms(sorted []key, b batch) {
	fresh := map[key]*histogram{}
	var order []key
	of := func(m map[key]*histogram, k key) *histogram {
		if m[k] == nil {
			m[k] = &histogram{buckets: map[float64][2]float64{}}
		}
		return m[k]
	}
	for _, k := range sorted {
		name, bucket := strings.CutSuffix(k.metric, "_bucket")
		name, sum := strings.CutSuffix(name, "_sum")
		if !bucket && !sum {
			continue
		}
		whole := key{metric: name, first: k.first}
		if fresh[whole] == nil {
			order = append(order, whole)
		}
		h := of(fresh, whole)
		if sum {
			h.sum = plus(h.sum, *b[k])
			continue
		}
		if le, err := strconv.ParseFloat(k.le, 64); err == nil {
			h.buckets[le] = plus(h.buckets[le], *b[k])
		}
	}
	var together []Table
	for _, k := range order {
		before := of(c.hists, k)
		if put := c.compareTimes(k, before, fresh[k]); k.metric == operation {
			together = append(together, put...)
		}
		for le, n := range fresh[k].buckets {
			before.buckets[le] = plus(before.buckets[le], n)
		}
		before.sum = plus(before.sum, fresh[k].sum)
	}
	if len(together) > 0 {
		l := c.look("time of all tools", slow.look("slow calls of all tools, each against its own time"))
		l.also = func() bool { return c.expansion() > slower }
		l.detail = func() string { return fmt.Sprintf("They take %.1f times as long.", c.expansion()) }
		l.test.Add(together...)
	}
}

// expansion is how many times as long the canary's calls took as the baseline's of the same tools would have.
func (c *comparison) expansion() float64 {
	took, would := 0.0, 0.0
	for k, h := range c.hists {
		if k.metric == operation && h.count(Canary) > 0 && h.count(Baseline) > 0 {
			took += h.sum[Canary] / h.mean(Baseline)
			would += h.count(Canary)
		}
	}
	if would == 0 {
		return 0
	}
	return took / would
}

// compareTimes holds the times of a batch against those before, and returns what it put into the test of the median.
func (c *comparison) compareTimes(k key, before, now *histogram) (put []Table) {
	what := map[string]string{duration: "requests of method ", operation: "calls of the tool "}[k.metric] + k.first
	if k.metric == overhead {
		what = "calls, by the server's own time"
	} else if bounds, at, enough := before.bound(0.5); enough && !math.IsInf(bounds[at], 1) {
		l := c.look("time of "+what, slow.look("slow "+what))
		l.also = func() bool { return before.mean(Canary) > slower*before.mean(Baseline) }
		l.detail = func() string {
			return "They take " + seconds(before.mean(Canary)) + " in the mean, at the baseline " + seconds(before.mean(Baseline)) + "."
		}
		put = l.take(Table{now.above(bounds[at], bounds[at]), now.counts()}, bounds[at])
	}
	// Of the slowest, twice as slow is borne: the canary's are held against the next bound, which is at least twice as high.
	if bounds, at, enough := before.bound(0.02); enough && before.count(Baseline) >= fewestOfTail {
		for at < len(bounds) && bounds[at] < quick {
			at++
		}
		if at+1 < len(bounds) && !math.IsInf(bounds[at+1], 1) {
			l := c.look("slowest of "+what, tail.look("very slow "+what))
			l.take(Table{now.above(bounds[at+1], bounds[at]), now.counts()}, bounds[at])
		}
	}
	return put
}

const (
	fewestOfTail = 100   // of the baseline's times
	quick        = 0.005 // seconds that are never very slow
)

func (h *histogram) above(canary, baseline float64) [2]float64 {
	n := h.counts()
	return [2]float64{n[Canary] - h.at(canary)[Canary], n[Baseline] - h.at(baseline)[Baseline]}
}

// at is how many are at or below a bound. A bound at which nothing was counted in a batch has no series in it.
func (h *histogram) at(bound float64) [2]float64 { return h.buckets[bound] }

func (h *histogram) counts() [2]float64 { return h.buckets[math.Inf(1)] }

// addMemory follows what each process of the canary uses.
func (c *comparison) addMemory(r *reading) {
	used := r.gauges[memory]
	sorted := slices.SortedFunc(maps.Keys(used), func(a, b process) int { return cmp.Or(cmp.Compare(a.job, b.job), cmp.Compare(a.instance, b.instance)) })
	for _, p := range sorted {
		t := c.trends[p]
		if t == nil {
			t = &Trend{}
			c.trends[p] = t
		}
		t.Add(used[p])
		if r.sides[p] == Canary {
			c.look("memory of "+p.instance, func() *look { return &look{what: "memory of " + p.instance, trend: t} })
		}
	}
}

// leaks tells whether a process of the canary's uses more and more memory, and the baseline's do not.
func (c *comparison) leaks(l *look) bool { return c.grows(l) && l.trend.Log() >= c.limit(l) }

// grows tells whether its memory grows so much, and so steadily, that it matters, however certain that is.
func (c *comparison) grows(l *look) bool {
	growth, steady := l.trend.Growth()
	first, _ := l.trend.quarters()
	return steady && growth >= max(leak, leakPart*first[0]) && c.baselineGrowth() < growth/2
}

// baselineGrowth is the largest of the baseline's processes, in bytes.
func (c *comparison) baselineGrowth() (most float64) {
	for p, t := range c.trends {
		if side, is := c.sides[p]; is && side == Baseline {
			growth, _ := t.Growth()
			most = max(most, growth)
		}
	}
	return most
}

// worse tells whether a look has found that the canary is worse.
func (c *comparison) worse(l *look) bool {
	if l.trend != nil {
		return c.leaks(l)
	}
	canary, baseline := l.test.Share(Canary), l.test.Share(Baseline)
	return l.test.marked[Canary] >= fewestBad && canary >= baseline+l.excess && canary >= l.ratio*baseline && (l.also == nil || l.also()) && l.test.Log() >= c.limit(l)
}

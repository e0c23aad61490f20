package judge

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Verdicts.
const (
	Pass      = "pass"
	Fail      = "fail"
	Undecided = "undecided"
)

// A Verdict is what a bake has shown.
type Verdict struct {
	Verdict  string    `json:"verdict"` // pass, fail or undecided
	Because  []string  `json:"because"` // in sentences
	Findings []Finding `json:"findings,omitempty"`
	Closest  []Finding `json:"closest,omitempty"` // of what was not found worse, what came closest to it
	Canary   Seen      `json:"canary"`
	Baseline Seen      `json:"baseline"`
	Looks    int       `json:"comparisons"`
	Level    float64   `json:"level"`   // the chance of failing a canary that is no worse
	Seconds  float64   `json:"seconds"` // from the first reading to the last
	Readings int       `json:"readings"`
	Missed   int       `json:"missedReadings"`
	Notes    []string  `json:"notes,omitempty"`
}

// Seen is what was seen of a side.
type Seen struct {
	Selected  string   `json:"selected"` // by these matchers
	Versions  []string `json:"versions"`
	Processes int      `json:"processes"`
	Requests  float64  `json:"requests"`
	Restarts  int      `json:"restarts"`
}

// A Finding is what a comparison has found.
type Finding struct {
	What     string  `json:"what"`
	Canary   *Part   `json:"canary,omitempty"`
	Baseline *Part   `json:"baseline,omitempty"`
	Chance   float64 `json:"chance"` // at most, that a bake shows as much of a canary that is no worse; all comparisons are allowed for
	Text     string  `json:"text"`
}

// A Part is how many of how many calls.
type Part struct {
	Marked float64 `json:"marked"`
	Of     float64 `json:"of"`
}

func (p *Part) share() string {
	if p.Of == 0 {
		return "none"
	}
	return fmt.Sprintf("%.0f of %.0f (%.2f %%)", p.Marked, p.Of, 100*p.Marked/p.Of)
}

// finding puts a look into words.
func (c *comparison) finding(l *look) Finding {
	if l.trend != nil {
		m, _ := l.trend.quarters()
		growth, _ := l.trend.Growth()
		f := Finding{What: l.what, Chance: c.chance(l, l.trend.Log())}
		f.Text = fmt.Sprintf("memory of %s grows steadily: by %s to %s, at most %s at the baseline (chance %s)",
			strings.TrimPrefix(l.what, "memory of "), mebibytes(growth), mebibytes(m[3]), mebibytes(c.baselineGrowth()), chance(f.Chance))
		return f
	}
	part := func(s Side) *Part { return &Part{l.test.marked[s], l.test.all[s]} }
	f := Finding{What: l.what, Canary: part(Canary), Baseline: part(Baseline), Chance: c.chance(l, l.test.Log())}
	f.Text = fmt.Sprintf("%s: at the canary %s, at the baseline %s (chance %s)", l.what, f.Canary.share(), f.Baseline.share(), chance(f.Chance))
	if l.detail != nil {
		f.Text += ". " + l.detail()
	}
	return f
}

// chance is a bound for the whole bake: the weighted e-value's inverse.
func (c *comparison) chance(l *look, e float64) float64 { return min(1, math.Exp(-e)/l.weight) }

func chance(p float64) string {
	switch {
	case p >= 0.995:
		return "1"
	case p < 1e-9:
		return "below 1 in a thousand million"
	case p < 0.001:
		return fmt.Sprintf("1 in %.0f", 1/p)
	}
	return fmt.Sprintf("%.3f", p)
}

func mebibytes(b float64) string { return fmt.Sprintf("%.0f MiB", b/(1<<20)) }

func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// worst are the looks that have found the canary worse, the surest first.
func (c *comparison) worst() (out []*look) {
	for _, l := range c.order {
		if c.worse(l) {
			out = append(out, l)
		}
	}
	c.sort(out)
	return out
}

func (c *comparison) sort(looks []*look) {
	slices.SortStableFunc(looks, func(a, b *look) int { return cmp.Compare(b.log()+math.Log(b.weight), a.log()+math.Log(a.weight)) })
}

func (l *look) log() float64 {
	if l.trend != nil {
		return l.trend.Log()
	}
	return l.test.Log()
}

// mostRestarts are borne of the canary's processes.
const mostRestarts = 1

// restarted tells whether the canary's processes begin anew under the same name, and the baseline's less often.
func (c *comparison) restarted() bool {
	r, n := c.tally.restarts, [2]float64{float64(len(c.tally.seen[Canary])), float64(len(c.tally.seen[Baseline]))}
	return r[Canary] > mostRestarts && float64(r[Canary])*max(n[Baseline], 1) > 2*float64(r[Baseline])*n[Canary]
}

// failed tells whether anything shows that the canary is worse.
func (c *comparison) failed() bool { return c.restarted() || slices.ContainsFunc(c.order, c.worse) }

// most is how many comparisons are told of that came close.
const most = 3

// verdict says what was found. It is final where it is fail.
func (c *comparison) verdict(least int) *Verdict {
	v := &Verdict{Level: c.level, Looks: len(c.order), Verdict: Pass}
	v.Canary.Requests, v.Baseline.Requests = c.totals[Canary], c.totals[Baseline]
	v.Canary.Processes, v.Baseline.Processes = len(c.tally.seen[Canary]), len(c.tally.seen[Baseline])
	v.Canary.Restarts, v.Baseline.Restarts = c.tally.restarts[Canary], c.tally.restarts[Baseline]
	if c.restarted() {
		v.Because = append(v.Because, fmt.Sprintf("The canary's processes began anew under the same name %d times, the baseline's %d times.", v.Canary.Restarts, v.Baseline.Restarts))
	}
	for _, l := range c.worst() {
		f := c.finding(l)
		v.Findings = append(v.Findings, f)
	}
	if n := len(v.Findings); n > 0 {
		v.Because = append(v.Because, fmt.Sprintf("The canary is worse than the baseline in %d of %d comparisons.", n, v.Looks))
	}
	if len(v.Because) > 0 {
		v.Verdict = Fail
	}
	near := slices.DeleteFunc(slices.Clone(c.order), func(l *look) bool { return c.worse(l) || l.trend != nil && !c.grows(l) })
	c.sort(near)
	for _, l := range near[:min(most, len(near))] {
		v.Closest = append(v.Closest, c.finding(l))
	}
	if v.Verdict == Fail {
		return v
	}
	for _, side := range []struct {
		name string
		n    float64
	}{{"canary", c.totals[Canary]}, {"baseline", c.totals[Baseline]}} {
		if side.n < float64(least) {
			v.Verdict = Undecided
			v.Because = append(v.Because, fmt.Sprintf("The %s answered %.0f requests, and at least %d are wanted to judge by: let the bake be longer, send more of the traffic to the canary, or add synthetic load (-load).", side.name, side.n, least))
		}
	}
	if v.Verdict == Pass {
		v.Because = []string{fmt.Sprintf("No comparison of %d shows that the canary is worse than the baseline.", v.Looks)}
	}
	v.Notes = append(v.Notes, c.thin()...)
	return v
}

// fewCalls is of how many calls of a tool something can be said.
const fewCalls = 10

// thin names the tools that the canary was seldom called by.
func (c *comparison) thin() []string {
	var names []string
	for k, n := range c.calls {
		if k.metric == tools && k.first != "" && n[Canary] < fewCalls && n[Baseline] >= fewCalls {
			names = append(names, k.first)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return []string{fmt.Sprintf("Fewer than %d calls reached the canary of each of these tools, of which little can be said: %s.", fewCalls, strings.Join(names, ", "))}
}

// Words is the verdict in words, in lines.
func (v *Verdict) Words() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", v.Verdict, strings.Join(v.Because, " "))
	for _, f := range v.Findings {
		fmt.Fprintf(&b, "  %s\n", f.Text)
	}
	for _, s := range []struct {
		name string
		seen Seen
	}{{"canary", v.Canary}, {"baseline", v.Baseline}} {
		fmt.Fprintf(&b, "%-9s %s: version %s, processes %d, restarts %d, requests %.0f\n", s.name, s.seen.Selected,
			cmp.Or(strings.Join(s.seen.Versions, ", "), "unknown"), s.seen.Processes, s.seen.Restarts, s.seen.Requests)
	}
	fmt.Fprintf(&b, "%d comparisons in %.0f s, by %d readings; a canary that is no worse fails with a chance of at most %g\n", v.Looks, v.Seconds, v.Readings, v.Level)
	for i, f := range v.Closest {
		if i == 0 {
			b.WriteString("what else came closest to a failure:\n")
		}
		fmt.Fprintf(&b, "  %s\n", f.Text)
	}
	for _, n := range v.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	return b.String()
}

func names(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

package judge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A stage answers the queries of a bake from a simulated fleet, which goes on with each reading.
type stage struct {
	fleet    *fleet
	canary   string // matchers
	last     *reading
	at       time.Time
	absent   func(Side, time.Duration) bool // whether a side's series are away; nil: never
	fault    func(time.Duration) error      // of each query; nil: none
	begin    time.Time
	unknown  bool // processes that do not say when they began
	restarts map[process]float64
}

// Query implements [Source].
func (s *stage) Query(_ context.Context, query string, at time.Time) ([]Sample, error) {
	if s.begin.IsZero() {
		s.begin = at
	}
	since := at.Sub(s.begin)
	if s.fault != nil {
		if err := s.fault(since); err != nil {
			return nil, err
		}
	}
	if !at.Equal(s.at) {
		s.at, s.last = at, s.fleet.step()
	}
	name, rest, _ := strings.Cut(query, "{")
	name, _, _ = strings.Cut(name, " ")
	away := func(p process) bool { return s.absent != nil && s.absent(s.fleet.sides[p], since) }
	var out []Sample
	for p, side := range s.fleet.sides {
		labels := map[string]string{"job": p.job, "instance": p.instance}
		switch {
		case away(p):
		case name == "erlmcp_build_info" && strings.HasPrefix(rest, s.canary) == (side == Canary):
			labels["version"] = map[Side]string{Canary: "2", Baseline: "1"}[side]
			out = append(out, Sample{labels, 1})
		case name == memory:
			out = append(out, Sample{labels, s.last.gauges[memory][p]})
		case name == started && !s.unknown:
			out = append(out, Sample{labels, 1000 + s.restarts[p]})
		}
	}
	for _, v := range s.last.values {
		if v.key.metric != name || away(v.process) {
			continue
		}
		labels := map[string]string{"job": v.process.job, "instance": v.process.instance, "le": v.key.le}
		for _, m := range metrics {
			if m.name == name {
				labels[m.first], labels[m.second] = v.key.first, v.key.second
			}
		}
		out = append(out, Sample{labels, v.value})
	}
	return out, nil
}

// TestRun bakes with the clock of a bubble: what is concluded while Prometheus or one of both sides is away, and when.
func TestRun(t *testing.T) {
	away := errors.New("connection refused")
	for _, c := range []struct {
		name    string
		stage   func(*stage)
		verdict string
		says    string
		within  time.Duration // of the bake's minute; 0: all of it
	}{
		{"healthy", func(*stage) {}, Pass, "No comparison of", 0},
		{"panics", func(s *stage) { s.fleet.fault.panics = 0.3 }, Fail, "errors of type panic: at the canary ", 40 * time.Second},
		{"thin", func(s *stage) { s.fleet.perSecond = 1 }, Undecided, "The canary answered ", 0},
		{"Prometheus is away", func(s *stage) { s.fault = func(time.Duration) error { return away } }, Undecided, "could not be asked in the whole bake, 61 times: connection refused", 0},
		{"Prometheus is away for a while", func(s *stage) {
			s.fault = func(at time.Duration) error {
				if at > 10*time.Second && at < 30*time.Second {
					return away
				}
				return nil
			}
		}, Pass, "note: Prometheus could not be asked 19 times of 61.", 0},
		{"a bad canary is found all the same", func(s *stage) {
			s.fleet.fault.panics = 0.3
			s.fault = func(at time.Duration) error {
				if int(at.Seconds())%3 > 0 {
					return away
				}
				return nil
			}
		}, Fail, "errors of type panic", 50 * time.Second},
		{"Prometheus is away at the end", func(s *stage) {
			s.fault = func(at time.Duration) error {
				if at > 30*time.Second {
					return away
				}
				return nil
			}
		}, Undecided, "could not be asked in the last 30 s of the bake: connection refused", 0},
		{"there is no canary", func(s *stage) { s.absent = func(side Side, _ time.Duration) bool { return side == Canary } }, Undecided,
			`There is no canary: no series erlmcp_build_info{version="2"}`, 0},
		{"there is no baseline", func(s *stage) { s.absent = func(side Side, _ time.Duration) bool { return side == Baseline } }, Undecided, "There is no baseline", 0},
		{"the canary goes", func(s *stage) {
			s.absent = func(side Side, at time.Duration) bool { return side == Canary && at > 30*time.Second }
		}, Undecided, "were not there together in the last 30 s", 0},
		{"the canary begins anew again and again", func(s *stage) {
			p := process{"erlmcp", "canary-0"}
			s.fault = func(at time.Duration) error { s.restarts[p] = float64(int(at.Seconds()) / 20 * 20); return nil }
		}, Fail, "began anew under the same name 2 times, the baseline's 0 times", 45 * time.Second},
		{"nobody says when processes began", func(s *stage) { s.unknown = true }, Pass, "No comparison of", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(7, [2]int{1, 2}).withTools(5)
				s := &stage{fleet: f, canary: `version="2"`, restarts: map[process]float64{}}
				c.stage(s)
				begin := time.Now()
				v, err := Run(t.Context(), Options{Source: s, Canary: `version="2"`, Baseline: `version="1"`, Bake: time.Minute, Least: 100})
				if err != nil {
					t.Fatal(err)
				}
				took := time.Since(begin)
				if words := v.Words(); v.Verdict != c.verdict || !strings.Contains(words, c.says) {
					t.Errorf("%s, want %s and %q", words, c.verdict, c.says)
				}
				if c.within == 0 && took != time.Minute || c.within > 0 && took > c.within {
					t.Errorf("after %s", took)
				}
			})
		})
	}
}

// TestRunEnds: a query that is not understood, and an end of the context, end the bake at once.
func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{fleet: newFleet(7, [2]int{1, 1}).withTools(1), canary: `version="2"`, fault: func(time.Duration) error { return &QueryError{"q", "no"} }}
		var bad *QueryError
		if _, err := Run(t.Context(), Options{Source: s, Canary: `version="2"`, Bake: time.Minute}); !errors.As(err, &bad) {
			t.Errorf("%v", err)
		}
		s.fault = nil
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begin := time.Now()
		if _, err := Run(ctx, Options{Source: s, Canary: `version="2"`, Bake: time.Minute}); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 10*time.Second {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
}

// TestTally: what is counted between readings, when processes begin, end and begin anew.
func TestTally(t *testing.T) {
	a, b := process{"j", "a"}, process{"j", "b"}
	k := key{metric: requests, first: "m", second: "completed"}
	at := time.Unix(1000, 0)
	type seen struct{ value, started float64 }
	type step struct {
		of   map[process]seen // a is the canary's
		want [2]float64
	}
	for _, c := range []struct {
		name  string
		steps []step
		again [2]int // restarts
	}{
		{"of the first reading nothing counts", []step{{map[process]seen{a: {5, 1}, b: {7, 1}}, [2]float64{}}, {map[process]seen{a: {6, 1}, b: {9, 1}}, [2]float64{1, 2}}}, [2]int{}},
		{"a process that began in the bake counts from its start", []step{{map[process]seen{b: {7, 1}}, [2]float64{}}, {map[process]seen{a: {6, 1001}, b: {7, 1}}, [2]float64{6, 0}}}, [2]int{}},
		{"one that began before does not", []step{{map[process]seen{b: {7, 1}}, [2]float64{}}, {map[process]seen{a: {6, 900}, b: {7, 1}}, [2]float64{}}, {map[process]seen{a: {8, 900}}, [2]float64{2, 0}}}, [2]int{}},
		{"one of which that is not known does not", []step{{map[process]seen{}, [2]float64{}}, {map[process]seen{a: {6, 0}}, [2]float64{}}, {map[process]seen{a: {8, 0}}, [2]float64{2, 0}}}, [2]int{}},
		{"a process begins anew", []step{{map[process]seen{a: {5, 1}}, [2]float64{}}, {map[process]seen{a: {6, 1001}}, [2]float64{6, 0}}, {map[process]seen{a: {9, 1002.5}}, [2]float64{9, 0}}}, [2]int{2, 0}},
		{"and does not say so", []step{{map[process]seen{a: {5, 0}}, [2]float64{}}, {map[process]seen{a: {3, 0}}, [2]float64{3, 0}}}, [2]int{}},
		{"a process is away and comes back", []step{{map[process]seen{a: {5, 1}}, [2]float64{}}, {map[process]seen{}, [2]float64{}}, {map[process]seen{a: {9, 1}}, [2]float64{4, 0}}}, [2]int{}},
	} {
		tally := newTally()
		for i, s := range c.steps {
			r := &reading{at: at.Add(time.Duration(i) * time.Second), sides: map[process]Side{}, gauges: map[string]map[process]float64{started: {}}}
			for p, v := range s.of {
				r.sides[p] = map[process]Side{a: Canary, b: Baseline}[p]
				r.values = append(r.values, value{p, k, v.value})
				if v.started > 0 {
					r.gauges[started][p] = v.started
				}
			}
			if got := tally.add(r).of(k); got != s.want {
				t.Errorf("%s, reading %d: %v, want %v", c.name, i, got, s.want)
			}
		}
		if tally.restarts != c.again {
			t.Errorf("%s: %d restarts, want %d", c.name, tally.restarts, c.again)
		}
	}
}

// TestOverlap: a process that is of both sides is a fault of the matchers.
func TestOverlap(t *testing.T) {
	s := &stage{fleet: newFleet(7, [2]int{1, 1}).withTools(1)} // every series matches
	_, err := selection{"a", "b"}.read(t.Context(), s, time.Unix(1, 0))
	var overlap *OverlapError
	if !errors.As(err, &overlap) || overlap.Instance != "canary-0" {
		t.Errorf("%v", err)
	}
}

// TestWeights: however many comparisons there are, their weights are not more than 1 together.
func TestWeights(t *testing.T) {
	c := newComparison(0.01)
	sum := 0.0
	for i := range 5000 {
		sum += c.look(fmt.Sprint(i), own.look("x")).weight
	}
	if sum > 1 || sum < 0.99 {
		t.Errorf("%g", sum)
	}
}

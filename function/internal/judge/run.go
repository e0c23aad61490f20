package judge

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Options say what is judged.
type Options struct {
	Source   Source
	Canary   string        // matchers for the labels of erlmcp_build_info, such as version="0.8.0"
	Baseline string        // the same
	Bake     time.Duration // for how long
	Every    time.Duration // between two readings; default a sixtieth of the bake, at least a second
	Level    float64       // the chance that a canary that is no worse may fail with; default 0.01
	Least    int           // requests of each side for a verdict; default 100
	Told     func(string)  // is told how it goes, a line each; default: nobody
}

const (
	// Answers of Prometheus are of a moment ago, so that what is scraped meanwhile is in all of them or in none.
	settled = 2 * time.Second
	patient = 10 * time.Second // for one reading
	tellMin = time.Minute
)

// Run looks at both sides until the bake is over or the canary has failed. An error is that the options can't be followed. That the
// metrics could not be had is a verdict: [Undecided].
func Run(ctx context.Context, o Options) (*Verdict, error) {
	if o.Every <= 0 {
		o.Every = max(time.Second, o.Bake/60)
	}
	if o.Level <= 0 {
		o.Level = 0.01
	}
	if o.Told == nil {
		o.Told = func(string) {}
	}
	s := selection{o.Canary, o.Baseline}
	c := newComparison(o.Level)
	w := &watch{o: o, versions: [2]map[string]bool{{}, {}}}
	ticker := time.NewTicker(o.Every)
	defer ticker.Stop()
	begin := time.Now()
	w.told = begin
	for {
		if err := w.look(ctx, s, c); err != nil {
			return nil, err
		}
		if c.failed() {
			return w.conclude(c, c.verdict(o.Least)), nil
		}
		if time.Since(begin) >= o.Bake {
			break
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-ticker.C:
		}
	}
	c.finish()
	v := w.conclude(c, c.verdict(o.Least))
	w.doubt(v, begin)
	return v, nil
}

// A watch is of one bake.
type watch struct {
	o           Options
	versions    [2]map[string]bool
	first, last time.Time // readings with both sides
	readings    int
	missed      int
	fault       error // of the last reading
	told        time.Time
}

// look takes a reading. One that fails is no fault: what it would have shown is in the next.
func (w *watch) look(ctx context.Context, s selection, c *comparison) error {
	at := time.Now()
	limited, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	r, err := s.read(limited, w.o.Source, at.Add(-settled))
	var overlap *OverlapError
	var bad *QueryError
	switch {
	case errors.As(err, &overlap), errors.As(err, &bad), ctx.Err() != nil:
		return errors.Join(err, context.Cause(ctx))
	case err != nil:
		if w.fault == nil {
			w.o.Told("Prometheus can't be asked: " + err.Error())
		}
		w.missed++
		w.fault = err
		return nil
	}
	w.fault = nil
	w.readings++
	c.add(r)
	var there [2]bool
	for _, side := range r.sides {
		there[side] = true
	}
	for side := range w.versions {
		for name := range r.versions[side] {
			w.versions[side][name] = true
		}
	}
	if there[Canary] && there[Baseline] {
		if w.first.IsZero() {
			w.first = at
		}
		w.last = at
	}
	if at.Sub(w.told) >= tellMin {
		w.told = at
		w.o.Told(fmt.Sprintf("%.0f requests of the canary and %.0f of the baseline, %d comparisons, none worse", c.totals[Canary], c.totals[Baseline], len(c.order)))
	}
	return nil
}

// conclude adds to a verdict what was read.
func (w *watch) conclude(c *comparison, v *Verdict) *Verdict {
	v.Readings, v.Missed = w.readings, w.missed
	v.Seconds = w.last.Sub(w.first).Seconds()
	v.Canary.Selected, v.Baseline.Selected = "{"+w.o.Canary+"}", "{"+w.o.Baseline+"}"
	v.Canary.Versions, v.Baseline.Versions = names(w.versions[Canary]), names(w.versions[Baseline])
	return v
}

// doubt makes a verdict undecided that too little was seen for.
func (w *watch) doubt(v *Verdict, begin time.Time) {
	because := ""
	switch lag := time.Since(w.last); {
	case w.readings == 0:
		because = fmt.Sprintf("Prometheus could not be asked in the whole bake, %d times: %v.", w.missed, w.fault)
	case v.Canary.Processes == 0 || v.Baseline.Processes == 0:
		side, matchers := Canary, w.o.Canary
		if v.Canary.Processes > 0 {
			side, matchers = Baseline, w.o.Baseline
		}
		because = fmt.Sprintf("There is no %s: no series erlmcp_build_info{%s} was found in the bake. See which there are by asking Prometheus for erlmcp_build_info.", side, matchers)
	case w.first.IsZero():
		because = "Canary and baseline were at no time there together."
	case lag > w.o.Bake/4+w.o.Every && w.fault != nil:
		because = fmt.Sprintf("Prometheus could not be asked in the last %.0f s of the bake: %v.", lag.Seconds(), w.fault)
	case lag > w.o.Bake/4+w.o.Every:
		because = fmt.Sprintf("Canary and baseline were not there together in the last %.0f s of the bake.", lag.Seconds())
	}
	switch {
	case because != "":
		v.Verdict, v.Because = Undecided, []string{because}
	case w.missed > 0:
		v.Notes = append(v.Notes, fmt.Sprintf("Prometheus could not be asked %d times of %d.", w.missed, w.missed+w.readings))
	}
}

package judge

import (
	"math"
	"time"
)

// A Tally turns readings of counters into what was counted in between.
type tally struct {
	begin    time.Time
	last     map[process]map[key]float64
	started  map[process]float64
	restarts [2]int
	seen     [2]map[process]bool
}

func newTally() *tally {
	return &tally{last: map[process]map[key]float64{}, started: map[process]float64{}, seen: [2]map[process]bool{{}, {}}}
}

// A batch is what was counted between two readings, by side.
type batch map[key]*[2]float64

func (b batch) of(k key) [2]float64 {
	if v := b[k]; v != nil {
		return *v
	}
	return [2]float64{}
}

// add returns what was counted since the reading before. Of the first nothing is: what happened before the bake is no part of it. A
// process that is seen later counts from its start if that is within the bake. A counter that has become smaller began anew.
func (t *tally) add(r *reading) batch {
	if t.begin.IsZero() {
		t.begin = r.at
	}
	b := batch{}
	fresh := map[process]bool{}
	for p, side := range r.sides {
		t.seen[side][p] = true
		begun, known := r.gauges[started][p]
		before, seen := t.started[p]
		switch {
		case known && seen && math.Abs(begun-before) > 1: // under the same name
			t.restarts[side]++
			t.last[p] = map[key]float64{}
		case t.last[p] == nil:
			t.last[p] = map[key]float64{}
			fresh[p] = !(known && begun > float64(t.begin.UnixMilli())/1000)
		}
		if known {
			t.started[p] = begun
		}
	}
	for _, v := range r.values {
		k := v.key
		last := t.last[v.process]
		more := v.value - last[k]
		if more < 0 {
			more = v.value
		}
		last[k] = v.value
		if more > 0 && !fresh[v.process] {
			if b[k] == nil {
				b[k] = new([2]float64)
			}
			b[k][r.sides[v.process]] += more
		}
	}
	return b
}

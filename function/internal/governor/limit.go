// Package governor decides whether a call may proceed: under limits that hold over the whole fleet (rates, calls at a time,
// calls a day), by what operators have ordered, and by breakers. An instance leases slices of tokens and slots from shared
// counters, so that most calls are decided without a round trip; a slice of one is the exact check by the same code. Daily
// quotas are drawn in slices from a store that outlives the counters, and orders are kept there.
//
// The lease protocol is a pure state machine on both sides, the instance's [Book] and the counters' [Ledger], with clock and
// network outside. Its rules: an instance has one message under way at a time and numbers them, declares what it holds in
// absolute terms, shrinks locally before it tells, and stops on its own before its lease ends. A token must be used within
// the limit's hold time, which the counters' burst leaves room for, so that what is leased never adds to the bound: in every
// window W at most B + r·W calls are admitted.
package governor

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"
)

// A Limit holds on one scope. Zero in a field is no limit of that kind.
type Limit struct {
	Scope       string  // what it is on, such as "tool:search"; shown to the caller
	Key         string  // of the counters; holds no name that a caller may choose
	PerSecond   float64 // tokens a second
	Burst       float64 // tokens at once; 0 for a tenth of a second's worth, at least 1
	Concurrency int64   // calls at a time
	PerDay      int64   // calls in a UTC day
	Many        bool    // one of many alike, for each of the callers: its counters may be forgotten when they are as if unused
	Shadow      bool    // counted, and refuses no one: what it would have refused is said in the decision
	RateOutage  Outage  // by default as the governor's options say
	SlotOutage  Outage
}

// Outage is what a limit does while the counters are out of reach. Only counted slots keep their cap, so slots shut by
// default; a rate goes on locally. Open is for those who choose it.
type Outage int

// Rules for an outage.
const (
	ByKind Outage = iota // as is said in general
	Shut                 // admit nothing that is not leased already
	Local                // admit by this instance's share of the limit
	Open                 // admit
)

func (o Outage) String() string { return [...]string{"default", "closed", "local", "open"}[o] }

// outageRule returns the rule for a kind of a limit.
func (g *Governor) outageRule(l *Limit, k Kind) Outage {
	if k == Slots {
		return cmp.Or(l.SlotOutage, g.opts.SlotOutage)
	}
	return cmp.Or(l.RateOutage, g.opts.RateOutage)
}

// Check returns what is wrong with the limit.
func (l *Limit) Check() error {
	var faults []error
	if l.PerSecond < 0 || math.IsNaN(l.PerSecond) || l.PerSecond > 1e6 {
		faults = append(faults, fmt.Errorf("a rate of %v a second is not from 0 to a million", l.PerSecond))
	}
	if l.PerSecond > 0 && l.PerSecond < 1.0/86400 {
		faults = append(faults, fmt.Errorf("a rate of %v a second is less than one a day: use a daily quota", l.PerSecond))
	}
	if l.Burst < 0 || l.Burst > 0 && l.Burst < 1 {
		faults = append(faults, fmt.Errorf("a burst of %v is less than one call", l.Burst))
	}
	if l.Concurrency < 0 {
		faults = append(faults, fmt.Errorf("%d calls at a time is less than none", l.Concurrency))
	}
	if l.PerDay < 0 {
		faults = append(faults, fmt.Errorf("%d calls a day is less than none", l.PerDay))
	}
	return errors.Join(faults...)
}

// MaxBurst is B: how many calls may come at once.
func (l *Limit) MaxBurst() float64 {
	if l.Burst > 0 {
		return l.Burst
	}
	return max(1, l.PerSecond/10)
}

const second = float64(time.Second / time.Microsecond)

// pace returns the rate in the counters' terms. A token may be used until hold after it was asked for, and the counters make
// up for that, so that whatever the delay, the N-th of calls stays within N ≤ B + r·W. A slow limit is not worth leasing
// ahead: its tokens are held for the time of a round trip, and spaced wider by as much, three parts in a hundred. A fast one
// is leased in slices, and half of its burst is kept for what may be held.
func (l *Limit) pace() (period, slack, hold int64) {
	exact := second / l.PerSecond
	if h := exact * 0.03; h >= 1500 {
		period = int64(math.Ceil(exact + h))
		return period, (int64(l.MaxBurst()) - 1) * period, int64(min(h, 100e3))
	}
	spare := (l.MaxBurst() - 1) * exact
	h := min(spare/2, 100e3)
	return int64(math.Ceil(exact)), int64(spare - h), int64(h)
}

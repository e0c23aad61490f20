// Package governor decides whether a call may proceed: under limits that hold over the whole fleet (rates, calls at a time,
// calls a day), by what operators have ordered, and by breakers. An instance leases slices of tokens and slots from shared
// counters, so that most calls are decided without a round trip; a slice of one is the exact check by the same code. Daily
// quotas are drawn in slices from a store that outlives the counters, and orders are kept there.
//
// The lease protocol is a pure state machine on both sides, the instance's [Book] and the counters' [Ledger], with clock and
// network outside. Its rules: an instance has one message under way at a time and numbers them, declares what it holds in
// absolute terms, shrinks locally before it tells, and stops on its own before its lease ends. A token must be used within
// the hold time that it was asked for with, and until then the counters take it for unused and for used, whichever is worse, so
// that what is leased never adds to the bound: in every window W at most B + r·W calls are admitted.
package governor

import (
	"cmp"
	"errors"
	"fmt"
	"math"
)

// A Limit holds on one scope. Zero in a field is no limit of that kind.
type Limit struct {
	Scope       string  // what it is on, such as "tool:search"; shown to the caller
	Key         string  // of the counters; holds no name that a caller may choose
	PerSecond   float64 // tokens a second
	Burst       float64 // tokens at once; 0 for a tenth of a second's worth, at least 1
	Concurrency int64   // calls at a time
	PerDay      int64   // calls in a UTC day
	Common      bool    // to several tenants: they take turns once it is used up
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

const longestBurst = 10 * 365 * 86400 // s; the counters' whole microseconds bear no more

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
	if l.PerSecond > 0 && l.Burst/l.PerSecond > longestBurst {
		faults = append(faults, fmt.Errorf("a burst of %v takes more than ten years to come back at %v a second", l.Burst, l.PerSecond))
	}
	if l.Concurrency < 0 {
		faults = append(faults, fmt.Errorf("%d calls at a time is less than none", l.Concurrency))
	}
	if l.PerDay < 0 {
		faults = append(faults, fmt.Errorf("%d calls a day is less than none", l.PerDay))
	}
	return errors.Join(faults...)
}

// MaxBurst is B: how many calls may come at once. Of an override over a rate that it was not made for it is what the counters bear.
func (l *Limit) MaxBurst() float64 {
	if l.Burst > 0 {
		return min(l.Burst, longestBurst*l.PerSecond)
	}
	return max(1, l.PerSecond/10)
}

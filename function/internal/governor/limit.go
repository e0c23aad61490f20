// Package governor decides whether a call may proceed: under limits that hold over the whole fleet (rates, calls at a time,
// calls a day), by what operators have ordered, and by breakers. An instance leases slices of tokens and slots from shared
// counters, so that most calls are decided without a round trip; a slice of one is the exact check by the same code. Daily
// quotas are drawn in slices from a store that outlives the counters.
//
// The lease protocol is a pure state machine on both sides, the instance's [LeaseCache] and the [ReferenceCounters], with clock and
// network outside. Its rules: an instance has one message under way at a time and numbers them, declares what it holds in
// absolute terms, shrinks locally before it tells, and stops on its own before its lease ends. A token must be used within
// the hold time that it was asked for with, and until then the counters take it for unused and for used, whichever is worse, so
// that what is leased never adds to the bound: in every window W at most B + r·W calls are admitted.
package governor

import (
	"cmp"

	"example.com/erlmcp/function/internal/directives"
)

// A Limit holds on one scope, in calls. Zero in a field is no limit of that kind.
type Limit struct {
	Scope       string  // what it is on, such as "tool:search"; shown to the caller
	Key         string  // of the counters; holds no name that a caller may choose
	PerSecond   float64 // calls a second
	Burst       float64 // calls at once; 0 for a tenth of a second's worth, at least 1
	Concurrency int64   // calls at a time
	PerDay      int64   // calls in a UTC day
	Common      bool    // to several tenants: they take turns once it is used up
	Many        bool    // one of many alike, for each of the callers: its counters may be forgotten when they are as if unused
	DryRun      bool    `json:"Shadow"` // counted, and refuses no one: what it would have refused is said in the decision
	RateOutage  Outage  // by default as the governor's options say
	SlotOutage  Outage
}

// Outage is what a limit does while the counters are out of reach. Only counted slots keep their cap, so slots shut by
// default; a rate goes on locally. Open is for those who choose it.
type Outage int

// Rules for an outage.
const (
	ByKind     Outage = iota // as is said in general
	FailClosed               // admit nothing that is not leased already
	FailLocal                // admit by this instance's share of the limit
	FailOpen                 // admit
)

func (o Outage) String() string { return [...]string{"default", "closed", "local", "open"}[o] }

// outageRule returns the rule for a kind of a limit.
func (g *Governor) outageRule(l *Limit, k Kind) Outage {
	if k == Slots {
		return cmp.Or(l.SlotOutage, g.opts.SlotOutage)
	}
	return cmp.Or(l.RateOutage, g.opts.RateOutage)
}

// With returns the limit with what is set in v in place. A new rate has its default burst unless one is given.
func (l Limit) With(v directives.Limits) Limit {
	if v.PerSecond != nil {
		l.Burst = 0
	}
	set(&l.PerSecond, v.PerSecond)
	set(&l.Burst, v.Burst)
	set(&l.Concurrency, v.Concurrency)
	set(&l.PerDay, v.PerDay)
	set(&l.DryRun, v.DryRun)
	return l
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// Active tells whether the limit limits anything.
func (l *Limit) Active() bool { return l.PerSecond > 0 || l.Concurrency > 0 || l.PerDay > 0 }

// Check returns what is wrong with the limit.
func (l *Limit) Check() error {
	return directives.Limits{PerSecond: &l.PerSecond, Burst: &l.Burst, Concurrency: &l.Concurrency, PerDay: &l.PerDay}.Check()
}

// MaxBurst is B: how many calls may come at once. Of an override over a rate that it was not made for it is what the counters bear.
func (l *Limit) MaxBurst() float64 {
	if l.Burst > 0 {
		return min(l.Burst, directives.MaxBurstSeconds*l.PerSecond)
	}
	return max(1, l.PerSecond/10)
}

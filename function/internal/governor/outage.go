package governor

import (
	"math"
	"time"
)

// A share is this instance's part of a limit while the counters are out of reach.
type share struct {
	arrival int64
	used    int64
}

// withoutCounters decides by the outage rules, all or nothing.
func (g *Governor) withoutCounters(now int64, call *Call, l *Lease) Decision {
	type taking struct {
		share   *share
		arrival int64
		slot    bool
	}
	var takings []taking
	for _, limit := range call.Limits {
		if limit.DryRun {
			continue
		}
		s := g.shares[limit.Key]
		if s == nil {
			s = &share{}
			g.shares[limit.Key] = s
		}
		t := taking{share: s, arrival: s.arrival}
		if limit.PerSecond > 0 {
			switch rule := g.outageRule(limit, Tokens); rule {
			case FailClosed:
				return without(limit, RateReached, rule, time.Second)
			case FailLocal:
				pace, instances := limit.pace(), float64(max(g.leases.instances, 1))
				period := pace.period * instances
				slack := (max(1, pace.burst/instances) - 1) * period
				cost := int64(math.Ceil(float64(call.Weight*tokensPerCall) * period))
				if wait := s.arrival - now - int64(slack); wait > 0 {
					return without(limit, RateReached, rule, time.Duration(wait)*time.Microsecond)
				}
				t.arrival = max(s.arrival, now) + cost
			}
		}
		if limit.Concurrency > 0 {
			switch rule := g.outageRule(limit, Slots); rule {
			case FailClosed:
				return without(limit, SlotsTaken, rule, time.Second)
			case FailLocal:
				if s.used >= max(1, limit.Concurrency/max(g.leases.instances, 1)) {
					return without(limit, SlotsTaken, rule, time.Second)
				}
				t.slot = true
			}
		}
		takings = append(takings, t)
	}
	for _, t := range takings {
		t.share.arrival = t.arrival
		if t.slot {
			t.share.used++
			l.local = append(l.local, t.share)
		}
	}
	return Decision{}
}

func without(l *Limit, why Reason, rule Outage, wait time.Duration) Decision {
	d := refused(l, why, wait)
	d.Outage, d.Rule = true, rule
	return d
}

package dataplane

import (
	"cmp"
	"slices"
	"strconv"

	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/telemetry"
)

// metrics are those of the data plane.
func (p *Plane) metrics() []telemetry.Metric {
	return slices.Concat(p.governorMetrics(), p.callerMetrics(), p.catalogMetrics())
}

// catalogMetrics are those of what is declared.
func (p *Plane) catalogMetrics() []telemetry.Metric {
	d := &p.declared
	return []telemetry.Metric{
		{Name: "erlmcp_catalog_declarations_total", Help: "Catalogs that were declared while calls ran, by outcome: taken, or rejected as a whole.",
			Kind: telemetry.Counter, Labels: []string{"outcome"},
			Read: func(emit func(float64, ...string)) {
				emit(float64(d.taken.Load()), "taken")
				emit(float64(d.rejected.Load()), "rejected")
			}},
		{Name: "erlmcp_catalog_rejected", Help: "1 while the catalog that was declared last is not in force, since something is wrong with it.", Kind: telemetry.Gauge,
			Read: func(emit func(float64, ...string)) {
				if d.fault.Load() != nil {
					emit(1)
				} else {
					emit(0)
				}
			}},
	}
}

// callerMetrics are those of authentication and policies.
func (p *Plane) callerMetrics() []telemetry.Metric {
	return []telemetry.Metric{
		{Name: "erlmcp_authentications_total", Help: "Requests by the method that authenticated or refused the caller, and the outcome: ok, or the cause of the refusal.",
			Kind: telemetry.Counter, Labels: []string{"method", "outcome"},
			Read: func(emit func(float64, ...string)) {
				for o, n := range p.Callers.Authenticator.Stats() {
					method, outcome := cmp.Or(o.Method, "none"), string(o.Cause)
					if outcome == "" {
						outcome = "ok"
					}
					emit(float64(n), method, outcome)
				}
			}},
		{Name: "erlmcp_policy_decisions_total", Help: "Calls that a rule decided, by rule and effect: allow, confirm, scopes, deny or shadow.",
			Kind: telemetry.Counter, Labels: []string{"rule", "effect"},
			Read: func(emit func(float64, ...string)) {
				for d, n := range p.Gate().Decided() {
					emit(float64(n), cmp.Or(d.Rule, "otherwise"), d.Effect)
				}
			}},
	}
}

// governorMetrics are those of the governor.
func (p *Plane) governorMetrics() []telemetry.Metric {
	g := p.Governor
	if g == nil {
		return nil
	}
	one := func(name, help string, kind telemetry.Kind, value func(governor.Stats) float64) telemetry.Metric {
		return telemetry.Metric{Name: name, Help: help, Kind: kind, Read: func(emit func(float64, ...string)) { emit(value(g.Stats())) }}
	}
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	return []telemetry.Metric{
		{Name: "erlmcp_governor_decisions_total", Help: "Decisions, by reason and scope of the refusal; outage: made without the counters.",
			Kind: telemetry.Counter, Labels: []string{"decision", "reason", "scope", "outage"},
			Read: func(emit func(float64, ...string)) {
				for d, n := range g.Stats().Decisions {
					decision := "refused"
					if d.Reason == governor.Admitted {
						decision = "admitted"
					}
					emit(float64(n), decision, d.Reason.String(), d.Scope, strconv.FormatBool(d.Outage))
				}
			}},
		{Name: "erlmcp_governor_degraded", Help: "1 while the counters can't be reached and the rule in the label is in force.",
			Kind: telemetry.Gauge, Labels: []string{"limit", "rule"},
			Read: func(emit func(float64, ...string)) {
				s := g.Stats()
				emit(flag(s.Degraded), "rate", s.RateOutage.String())
				emit(flag(s.Degraded), "concurrency", s.SlotOutage.String())
				emit(flag(s.StoreFault), "quota", governor.FailClosed.String())
			}},
		one("erlmcp_governor_wait_seconds_total", "Time that decisions waited for counters and store.", telemetry.Counter, func(s governor.Stats) float64 { return s.Waited.Seconds() }),
		one("erlmcp_governor_round_trips_total", "Messages to the counters.", telemetry.Counter, func(s governor.Stats) float64 { return float64(s.RoundTrips) }),
		one("erlmcp_governor_lost_round_trips_total", "Messages to the counters that no answer came to in time.", telemetry.Counter, func(s governor.Stats) float64 { return float64(s.Lost) }),
		one("erlmcp_governor_in_flight", "Calls that hold slots of the fleet.", telemetry.Gauge, func(s governor.Stats) float64 { return float64(s.InFlight) }),
		one("erlmcp_governor_waiting", "Calls that wait for the counters.", telemetry.Gauge, func(s governor.Stats) float64 { return float64(s.Waiting) }),
		{Name: "erlmcp_governor_leased", Help: "What this instance has leased of all limits.", Kind: telemetry.Gauge, Labels: []string{"kind"},
			Read: func(emit func(float64, ...string)) {
				s := g.Stats()
				emit(float64(s.Held), "slots")
				emit(float64(s.Used), "slots_in_use")
				emit(s.Tokens, "tokens")
			}},
		one("erlmcp_governor_instances", "Instances of the fleet, when they were last counted.", telemetry.Gauge, func(s governor.Stats) float64 { return float64(s.Instances) }),
		{Name: "erlmcp_governor_unheard_total", Help: "Calls that could not be decided, since neither Redis nor the store told within a second what is in force: it was known of more than 2 s ago.",
			Kind: telemetry.Counter, Labels: []string{"knowledge"},
			Read: func(emit func(float64, ...string)) {
				emit(float64(g.Stats().Unheard), "directives")
				if p.entitled != nil {
					tenants, keys := p.entitled.Unheard()
					emit(float64(tenants), "tenants")
					emit(float64(keys), "keys")
				}
			}},
		one("erlmcp_governor_orders_version", "Version of the operators' orders in force.", telemetry.Gauge, func(s governor.Stats) float64 { return float64(s.DirectivesVersion) }),
		one("erlmcp_governor_orders_age_seconds", "Time since the orders were known to be current.", telemetry.Gauge, func(s governor.Stats) float64 { return s.DirectivesAge.Seconds() }),
		{Name: "erlmcp_instance_calls_allowed", Help: "Calls at a time that the instance takes on: it falls while goroutines wait too long for a processor.",
			Kind: telemetry.Gauge, Read: func(emit func(float64, ...string)) { emit(float64(p.shedder.Cap())) }},
	}
}

// used is what this instance uses of the limits that the data plane alone has.
func (p *Plane) used(emit func(what, scope string, value float64)) {
	held, _ := p.endpoint.Held()
	emit("request_bytes", "instance", float64(held))
	if p.Governor != nil {
		stats := p.Governor.Stats()
		emit("slots", "instance", float64(stats.Used))
		emit("tokens", "instance", float64(stats.Tokens))
	}
}

// allowed is what is allowed of them.
func (p *Plane) allowed(emit func(what, scope string, value float64)) {
	_, most := p.endpoint.Held()
	emit("request_bytes", "instance", float64(most))
	if p.Governor != nil {
		emit("slots", "fleet", float64(p.Config.MaxCalls))
		emit("tokens", "fleet", float64(p.Config.RatePerSecond))
	}
}

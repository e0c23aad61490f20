package function

import (
	"cmp"
	"os"
	rtmetrics "runtime/metrics"
	"strconv"

	"example.com/erlmcp/function/internal/admission"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/telemetry"
)

// callerMetrics are those of authentication and policies.
func callerMetrics(a *identity.Authenticator, gate *admission.Gate) []telemetry.Metric {
	return []telemetry.Metric{
		{Name: "erlmcp_authentications_total", Help: "Requests by the method that authenticated or refused the caller, and the outcome: ok, or the cause of the refusal.",
			Kind: telemetry.Counter, Labels: []string{"method", "outcome"},
			Read: func(emit func(float64, ...string)) {
				for o, n := range a.Stats() {
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
				for d, n := range gate.Decided() {
					emit(float64(n), cmp.Or(d.Rule, "otherwise"), d.Effect)
				}
			}},
	}
}

// metrics are those of the governor.
func metrics(g *governor.Governor, guard *governor.Guard, e *entitled) []telemetry.Metric {
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
				emit(flag(s.StoreFault), "quota", governor.Shut.String())
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
				emit(float64(s.Tokens), "tokens")
			}},
		one("erlmcp_governor_instances", "Instances of the fleet, when they were last counted.", telemetry.Gauge, func(s governor.Stats) float64 { return float64(s.Instances) }),
		{Name: "erlmcp_governor_unheard_total", Help: "Calls that could not be decided, since neither Redis nor the store told within a second what is in force: it was known of more than 2 s ago.",
			Kind: telemetry.Counter, Labels: []string{"knowledge"},
			Read: func(emit func(float64, ...string)) {
				emit(float64(g.Stats().Unheard), "directives")
				if e != nil {
					emit(float64(e.directory.Unheard()), "tenants")
					emit(float64(e.keys.Unheard()), "keys")
				}
			}},
		one("erlmcp_governor_orders_version", "Version of the operators' orders in force.", telemetry.Gauge, func(s governor.Stats) float64 { return float64(s.Orders) }),
		one("erlmcp_governor_orders_age_seconds", "Time since the orders were known to be current.", telemetry.Gauge, func(s governor.Stats) float64 { return s.OrdersAge.Seconds() }),
		{Name: "erlmcp_instance_calls_allowed", Help: "Calls at a time that the instance takes on: it falls while goroutines wait too long for a processor.",
			Kind: telemetry.Gauge, Read: func(emit func(float64, ...string)) { emit(float64(guard.Cap())) }},
	}
}

// capacity is each limit of the process and of the fleet, as it is used and as it is allowed. Over instances, sum what is used.
func (s *Server) capacity() []telemetry.Metric {
	read := func(what func(emit func(what, scope string, value float64))) func(func(float64, ...string)) {
		return func(emit func(float64, ...string)) {
			what(func(what, scope string, value float64) { emit(value, what, scope) })
		}
	}
	labels := []string{"what", "scope"}
	return []telemetry.Metric{
		{Name: "erlmcp_capacity_used", Help: "What this instance uses of each limit.", Kind: telemetry.Gauge, Labels: labels, Read: read(func(emit func(string, string, float64)) {
			emit("connections", "instance", float64(s.connections.count()))
			if n, ok := filesOpen(); ok {
				emit("open_files", "instance", float64(n))
			}
			emit("memory_bytes", "instance", float64(memoryUsed()))
			if s.endpoint != nil {
				held, _ := s.endpoint.Held()
				emit("request_bytes", "instance", float64(held))
			}
			if s.governor != nil {
				stats := s.governor.Stats()
				emit("slots", "instance", float64(stats.Used))
				emit("tokens", "instance", float64(stats.Tokens))
			}
			if s.recorder != nil {
				emit("receipts", "instance", float64(s.recorder.journal.Stats().Waiting))
			}
		})},
		{Name: "erlmcp_capacity_allowed", Help: "What is allowed of each limit, to this instance or to the fleet.", Kind: telemetry.Gauge, Labels: labels, Read: read(func(emit func(string, string, float64)) {
			emit("connections", "instance", float64(s.config.MaxConnections))
			if n := openFiles(); n > 0 {
				emit("open_files", "instance", float64(n))
			}
			if limit := thisMachine().Memory; limit > 0 {
				emit("memory_bytes", "instance", float64(limit))
			}
			if s.endpoint != nil {
				_, most := s.endpoint.Held()
				emit("request_bytes", "instance", float64(most))
			}
			if s.governor != nil {
				emit("slots", "fleet", float64(s.config.MaxCalls))
				emit("tokens", "fleet", float64(s.config.RatePerSecond))
			}
			if s.recorder != nil {
				emit("receipts", "instance", float64(s.recorder.journal.Most()))
			}
		})},
		{Name: "erlmcp_active_connections", Help: "Connections that are open.", Kind: telemetry.Gauge, Read: func(emit func(float64, ...string)) { emit(float64(s.connections.count())) }},
		{Name: "erlmcp_connections_closed_total", Help: "Connections closed to make room, or not let in as all served requests.", Kind: telemetry.Counter, Labels: []string{"why"}, Read: func(emit func(float64, ...string)) {
			emit(float64(s.connections.evicted.Load()), "unused")
			emit(float64(s.connections.refused.Load()), "full")
		}},
		{Name: "subscriptions_active", Help: "Streams of subscriptions/listen that are open.", Kind: telemetry.Gauge, Read: func(emit func(float64, ...string)) { emit(float64(s.observer.listening.Load())) }},
	}
}

// filesOpen is how many files the process has open.
func filesOpen() (int, bool) {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, false
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	return len(names) - 1, err == nil // this one is left out
}

// memoryUsed is what counts for GOMEMLIMIT.
func memoryUsed() uint64 {
	samples := []rtmetrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	rtmetrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}

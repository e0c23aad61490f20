package app

import (
	"example.com/erlmcp/function/internal/serve"
	"example.com/erlmcp/function/internal/telemetry"
)

// Gauges tell values of what is limited: of what, and to whom, an instance or the fleet.
type Gauges func(emit func(what, scope string, value float64))

// RegisterCapacity has each limit of the process be told, as it is used and as it is allowed, and those of the function beside them. Over
// instances, sum what is used.
func (a *App) RegisterCapacity(used, allowed Gauges) {
	gauge := func(name, help string, own, more Gauges) telemetry.Metric {
		return telemetry.Metric{Name: name, Help: help, Kind: telemetry.Gauge, Labels: []string{"what", "scope"}, Read: func(emit func(float64, ...string)) {
			say := func(what, scope string, value float64) { emit(value, what, scope) }
			own(say)
			more(say)
		}}
	}
	a.Telemetry.Register(
		gauge("erlmcp_capacity_used", "What this instance uses of each limit.", a.used, used),
		gauge("erlmcp_capacity_allowed", "What is allowed of each limit, to this instance or to the fleet.", a.allowed, allowed),
		telemetry.Metric{Name: "erlmcp_active_connections", Help: "Connections that are open.", Kind: telemetry.Gauge, Read: func(emit func(float64, ...string)) { emit(float64(a.Connections().Open())) }},
		telemetry.Metric{Name: "erlmcp_connections_closed_total", Help: "Connections closed to make room, or not let in as all served requests.", Kind: telemetry.Counter, Labels: []string{"why"}, Read: func(emit func(float64, ...string)) {
			evicted, refused := a.Connections().Closed()
			emit(float64(evicted), "unused")
			emit(float64(refused), "full")
		}},
		telemetry.Metric{Name: "subscriptions_active", Help: "Streams of subscriptions/listen that are open.", Kind: telemetry.Gauge, Read: func(emit func(float64, ...string)) { emit(float64(a.Observer.Listening())) }},
	)
}

func (a *App) used(emit func(what, scope string, value float64)) {
	emit("connections", "instance", float64(a.Connections().Open()))
	if n, ok := serve.OpenFiles(); ok {
		emit("open_files", "instance", float64(n))
	}
	emit("memory_bytes", "instance", float64(serve.MemoryUsed()))
	if a.Recorder != nil {
		emit("receipts", "instance", float64(a.Recorder.Journal.Stats().Waiting))
	}
}

func (a *App) allowed(emit func(what, scope string, value float64)) {
	emit("connections", "instance", float64(a.Config.MaxConnections))
	if n := serve.MaxOpenFiles(); n > 0 {
		emit("open_files", "instance", float64(n))
	}
	if limit := serve.ThisMachine().Memory; limit > 0 {
		emit("memory_bytes", "instance", float64(limit))
	}
	if a.Recorder != nil {
		emit("receipts", "instance", float64(a.Recorder.Journal.MaxWaiting()))
	}
}

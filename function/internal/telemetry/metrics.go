package telemetry

import (
	"maps"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"
)

// A Kind is what a metric's values mean.
type Kind = prometheus.ValueType

// Kinds of metrics.
const (
	Counter = prometheus.CounterValue
	Gauge   = prometheus.GaugeValue
)

// A Metric is read when it is asked for.
type Metric struct {
	Name, Help string
	Kind       Kind
	Labels     []string
	Read       func(emit func(value float64, labels ...string))
}

// metrics are those of requests, which are counted as they end, and those that are read when they are asked for.
type metrics struct {
	registry *prometheus.Registry
	handler  http.Handler

	requests, errors, tools, resources *prometheus.CounterVec
	eras                               *prometheus.CounterVec
	duration, operation                *prometheus.HistogramVec
	overhead                           prometheus.Histogram
	lostSpans, lostExports             atomic.Int64

	mu       sync.RWMutex
	known    map[series]*counted
	named    map[entryName]bool // entries that have series
	revision map[eraSeries]prometheus.Counter
}

// An eraSeries is how requests of a protocol revision end; by itself, so that series of the others are not multiplied.
type eraSeries struct{ era, outcome string }

// An entryName is an entry of the catalog, by its kind.
type entryName struct{ kind, name string }

// A series is a way in which requests end.
type series struct{ method, kind, name, outcome, err string }

// counted is what counts for a series.
type counted struct {
	requests, errors, called prometheus.Counter
	duration, operation      prometheus.Observer
}

// maxSeries bounds what the errors of tools can make of the metrics; those beyond are counted as other.
const maxSeries = 500

var (
	durationBuckets  = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	overheadBuckets  = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}
	operationBuckets = []float64{.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 120, 300} // of the OpenTelemetry MCP conventions
)

// faults are the types of errors that use up the error budget: see The objective in infra/docs/telemetry.md.
var faults = []string{"panic", "-32603", "backpressure", "shutting_down"}

// operationDuration is the metric of the OpenTelemetry MCP conventions, by its name here.
const operationDuration = "mcp_server_operation_duration_seconds"

func newMetrics(t *Telemetry) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	m := &metrics{
		registry:  prometheus.NewRegistry(),
		requests:  counter("erlmcp_requests_total", "Messages by method and how they ended; invalid: what never was a request.", "method", "outcome"),
		eras:      counter("erlmcp_era_requests_total", "Requests by the revision of the protocol that they are in and how they ended: whether a version fails for the clients of one alone.", "era", "outcome"),
		errors:    counter("erlmcp_errors_total", "Messages that did not end well: the code of the JSON-RPC error, the reason of the refusal, or what else it was.", "type"),
		tools:     counter("tools_called_total", "Calls of tools that were admitted.", "tool", "outcome"),
		resources: counter("resources_accessed_total", "Readings of resources that were admitted, by URI or template.", "resource", "outcome"),
		duration:  histogram("erlmcp_request_duration_seconds", "Time from a request's headers to its answer.", durationBuckets, "method"),
		operation: histogram(operationDuration, "The same for each operation, as the OpenTelemetry MCP conventions have it.", operationBuckets, "mcp_method_name", "gen_ai_tool_name", "error_type"),
		overhead: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "erlmcp_request_overhead_seconds",
			Help: "Time of an admitted call that was not its handler's: the server's own.", Buckets: overheadBuckets}),
		known: map[series]*counted{}, named: map[entryName]bool{}, revision: map[eraSeries]prometheus.Counter{},
	}
	m.registry.MustRegister(collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsScheduler)),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.requests, m.eras, m.errors, m.tools, m.resources, m.duration, m.operation, m.overhead)
	for _, fault := range faults {
		m.errors.WithLabelValues(fault) // its first error grows from 0, and the budget is known before
	}
	m.register(
		Metric{Name: "erlmcp_telemetry_lost_total", Help: "Records of the log, spans, and exports of metrics that were dropped rather than let a request wait.",
			Kind: Counter, Labels: []string{"signal"}, Read: func(emit func(float64, ...string)) {
				emit(float64(t.log.lost()), "logs")
				emit(float64(m.lostSpans.Load()), "spans")
				emit(float64(m.lostExports.Load()), "metrics")
			}},
		Metric{Name: "erlmcp_build_info", Help: "Always 1; the label says what runs.", Kind: Gauge, Labels: []string{"version"},
			Read: func(emit func(float64, ...string)) { emit(1, t.opts.Version) }},
	)
	m.handler = promhttp.InstrumentMetricHandler(m.registry, promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: 4,
	}))
	return m
}

func (m *metrics) register(more ...Metric) {
	for _, one := range more {
		m.registry.MustRegister(collector{one, prometheus.NewDesc(one.Name, one.Help, one.Labels, nil)})
	}
}

// Histogram makes a histogram, in seconds, and returns what observes a value.
func (t *Telemetry) Histogram(name, help string) (observe func(seconds float64)) {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: overheadBuckets})
	t.metrics.registry.MustRegister(h)
	return h.Observe
}

// record counts a request.
func (m *metrics) record(r *Request, span trace.SpanContext) {
	if r.Method == "" && r.Error == "" {
		return // a probe, or something like it
	}
	c := m.of(series{r.Method, r.Kind, r.Name, r.Outcome, r.Error})
	if c.requests != nil {
		c.requests.Inc()
	}
	if c.errors != nil {
		c.errors.Inc()
	}
	if r.Method == "" {
		return
	}
	if r.Era != "" {
		m.ofEra(eraSeries{r.Era, r.Outcome}).Inc()
	}
	var exemplar prometheus.Labels
	if span.IsSampled() {
		exemplar = prometheus.Labels{"trace_id": span.TraceID().String(), "span_id": span.SpanID().String()}
	}
	seconds := r.Duration.Seconds()
	observe(c.duration, seconds, exemplar)
	observe(c.operation, seconds, exemplar)
	if r.Kind != "" && r.Reason == "" {
		observe(m.overhead, (r.Duration - r.Handled).Seconds(), exemplar)
		if c.called != nil {
			c.called.Inc()
		}
	}
}

func observe(o prometheus.Observer, v float64, exemplar prometheus.Labels) {
	if exemplar != nil {
		o.(prometheus.ExemplarObserver).ObserveWithExemplar(v, exemplar)
		return
	}
	o.Observe(v)
}

func (m *metrics) of(s series) *counted {
	m.mu.RLock()
	c := m.known[s]
	m.mu.RUnlock()
	if c != nil {
		return c
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := s
	if len(m.known) >= maxSeries && s.err != "" {
		s.err = "other"
	}
	c = &counted{}
	if s.err != "" {
		c.errors = m.errors.WithLabelValues(s.err)
	}
	if s.method != "" {
		c.requests = m.requests.WithLabelValues(s.method, s.outcome)
		c.duration = m.duration.WithLabelValues(s.method)
		tool := ""
		if s.name != "" {
			m.named[entryName{s.kind, s.name}] = true
		}
		switch s.kind {
		case "tool":
			tool = s.name
			c.called = m.tools.WithLabelValues(s.name, s.outcome)
		case "resource":
			c.called = m.resources.WithLabelValues(s.name, s.outcome)
		}
		c.operation = m.operation.WithLabelValues(s.method, tool, s.err)
	}
	if len(m.known) < 2*maxSeries {
		m.known[key] = c
	}
	return c
}

// Keep ends the series of entries that the catalog does not have any more, so that those of all catalogs that were in force do not add up.
// What calls that still run make of them ends the next time.
func (t *Telemetry) Keep(lists func(kind, name string) bool) {
	m := t.metrics
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.named, func(e entryName, _ bool) bool {
		if lists(e.kind, e.name) {
			return false
		}
		switch e.kind {
		case "tool":
			m.tools.DeletePartialMatch(prometheus.Labels{"tool": e.name})
			m.operation.DeletePartialMatch(prometheus.Labels{"gen_ai_tool_name": e.name})
		case "resource":
			m.resources.DeletePartialMatch(prometheus.Labels{"resource": e.name})
		}
		return true
	})
	maps.DeleteFunc(m.known, func(s series, _ *counted) bool { return s.name != "" && !m.named[entryName{s.kind, s.name}] })
}

// ofEra needs no bound: telemetry is told of revisions that the protocol has, or "unknown".
func (m *metrics) ofEra(s eraSeries) prometheus.Counter {
	m.mu.RLock()
	c := m.revision[s]
	m.mu.RUnlock()
	if c != nil {
		return c
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c = m.eras.WithLabelValues(s.era, s.outcome)
	m.revision[s] = c
	return c
}

type collector struct {
	metric Metric
	desc   *prometheus.Desc
}

func (c collector) Describe(out chan<- *prometheus.Desc) { out <- c.desc }

func (c collector) Collect(out chan<- prometheus.Metric) {
	c.metric.Read(func(value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(c.desc, c.metric.Kind, value, labels...)
	})
}

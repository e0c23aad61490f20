package telemetry

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
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

// Metrics serves the metrics, and those of the Go runtime and the process, as Prometheus reads them.
func Metrics(metrics []Metric) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, m := range metrics {
		r.MustRegister(collector{m, prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)})
	}
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
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

// Package telemetry is what an operator sees of the server from outside: a log of one record for each request, metrics, and
// traces. A request tells it once what became of it; the package writes that down in the forms that Google Cloud, Prometheus
// and OpenTelemetry read. Nothing here makes a request wait: what can't be written in time is dropped and counted.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"
)

// Options configure [New]. The zero value logs JSON lines to standard output and exports nothing.
type Options struct {
	Service, Version, Instance string
	Level                      slog.Level
	LevelFile                  string            // has the level in place of Level; "" for none
	Output                     io.Writer         // of the log; default standard output
	LogAPI                     bool              // sends the log to Cloud Logging's API instead
	Project                    string            // of Google Cloud, "" for none
	File                       string            // to which the log goes too; "" for none
	FileMegabytes              int               // after which it is moved aside; default 10
	Sample                     float64           // part of the records of successes that is kept; 0 is all
	Endpoint                   string            // of an OpenTelemetry collector (OTLP over HTTP), such as http://localhost:4318; "" for none
	Headers                    map[string]string // for it
	// Authorize adds the account's token where Endpoint is Google's own, https://telemetry.googleapis.com: what is sent there names the
	// Project and keeps to that endpoint's bounds. nil for a collector.
	Authorize   func(*http.Request) error
	Sampler     string        // of traces: OTEL_TRACES_SAMPLER; default parentbased_traceidratio
	SampleRatio float64       // OTEL_TRACES_SAMPLER_ARG
	Interval    time.Duration // between two exports of metrics; default a minute
	Logger      *slog.Logger  // takes the place of the log
	Now         func() time.Time
	// Dial connects to the collector; default: a [net.Dialer].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Telemetry is the log, the metrics and the traces of one process.
type Telemetry struct {
	opts    Options
	log     *log
	logger  *slog.Logger
	metrics *metrics
	tracing *tracing
	now     func() time.Time
}

// New opens what the options name. The context bounds that alone. Its error lists every fault.
func New(ctx context.Context, o Options) (*Telemetry, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Output == nil {
		o.Output = os.Stdout
	}
	t := &Telemetry{opts: o, now: o.Now}
	var logFault error
	t.log, logFault = newLog(ctx, &o)
	t.logger = o.Logger
	if t.logger == nil {
		t.logger = slog.New(&handler{log: t.log})
	}
	t.metrics = newMetrics(t)
	tracing, traceFault := newTracing(ctx, &o, t.metrics, t.logger)
	t.tracing = tracing
	if err := errors.Join(logFault, traceFault); err != nil {
		t.Close(ctx)
		return nil, err
	}
	return t, nil
}

// Logger is for the rooms.
func (t *Telemetry) Logger() *slog.Logger { return t.logger }

// Register adds metrics that are read when they are asked for.
func (t *Telemetry) Register(more ...Metric) { t.metrics.register(more...) }

// Handler serves the metrics as Prometheus reads them.
func (t *Telemetry) Handler() http.Handler { return t.metrics.handler }

// Reload reads the level's file again, and opens the log's file anew where something else has moved it away.
func (t *Telemetry) Reload() {
	level, err := t.log.readLevel(&t.opts)
	if err != nil {
		t.logger.Error("the level of the log stays as it was", "error", err)
		return
	}
	if before := t.log.level.Level(); before != level {
		t.log.level.Set(level)
	}
	t.logger.Info("the log goes on", "level", levelName(level))
	t.log.reopen()
}

// Close writes and sends what waits, as far as the context's time allows.
func (t *Telemetry) Close(ctx context.Context) error {
	fault := t.tracing.close(ctx)
	return errors.Join(fault, t.log.close(ctx)) // last, so that the rest can say what went wrong
}

// A fault is a setting that can't be followed.
func fault(setting, format string, args ...any) error {
	return fmt.Errorf(setting+": "+format, args...)
}

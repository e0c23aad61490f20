package app

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/telemetry"
)

// span runs what leaves the process for a call, as a span of the call's trace where there is one.
func span(ctx context.Context, tracer trace.Tracer, name, system string, run func(context.Context) error) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		run(ctx)
		return
	}
	ctx, s := tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.String("db.system.name", system)))
	defer s.End()
	if run(ctx) != nil {
		s.SetStatus(codes.Error, "")
	}
}

// watchedCounters measure the messages to counters, and let them be seen in traces.
type watchedCounters struct {
	governor.Counters
	tracer  trace.Tracer
	observe func(seconds float64)
}

// WatchCounters has the messages to counters be measured, unless nothing leaves the process.
func WatchCounters(c governor.Counters, standalone bool, seen *telemetry.Telemetry) governor.Counters {
	observe := seen.Histogram("erlmcp_governor_round_trip_seconds", "Time of a message to the counters and its answer.")
	if standalone { // nothing leaves the process
		return c
	}
	return &watchedCounters{c, seen.Tracer(), observe}
}

// Lease implements [governor.Counters].
func (w *watchedCounters) Lease(ctx context.Context, request *governor.LeaseRequest) (response governor.LeaseResponse, err error) {
	begin := time.Now()
	span(ctx, w.tracer, "redis draw", "redis", func(ctx context.Context) error {
		response, err = w.Counters.Lease(ctx, request)
		return err
	})
	w.observe(time.Since(begin).Seconds())
	return response, err
}

// watchedQuotas let what is drawn of quotas be seen in traces.
type watchedQuotas struct {
	governor.QuotaStore
	tracer trace.Tracer
}

// WatchQuotas does the same for what is drawn of quotas.
func WatchQuotas(q governor.QuotaStore, seen *telemetry.Telemetry) governor.QuotaStore {
	if q == nil {
		return nil
	}
	return &watchedQuotas{q, seen.Tracer()}
}

// Take implements [governor.QuotaStore].
func (w *watchedQuotas) Take(ctx context.Context, key, day string, most, want int64) (taken, left int64, err error) {
	span(ctx, w.tracer, "store draw quota", "gcp.firestore", func(ctx context.Context) error {
		taken, left, err = w.QuotaStore.Take(ctx, key, day, most, want)
		return err
	})
	return taken, left, err
}

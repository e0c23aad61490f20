package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// tracing makes spans and exports them, with the metrics beside them.
type tracing struct {
	tracer trace.Tracer
	spans  *sdktrace.TracerProvider // nil where nothing is exported
	roots  float64                  // part of the requests that begin a trace
	meters *sdkmetric.MeterProvider
	end    func() // of exports that are under way
	tell   *telling
}

const scope = "example.com/erlmcp"

// A sampling says which requests are traced, by OTEL_TRACES_SAMPLER. Whether a request of a caller that is not traced begins a
// trace is decided before any span is made, since most never need one.
type sampling struct {
	roots   float64          // part of them
	sampler sdktrace.Sampler // of spans, with the decision about roots behind them
}

func newSampling(name string, ratio float64) sampling {
	what, parentBased := strings.CutPrefix(name, "parentbased_")
	switch what {
	case "always_on":
		ratio = 1
	case "always_off":
		ratio = 0
	}
	var others []sdktrace.ParentBasedSamplerOption
	if !parentBased {
		own := sdktrace.TraceIDRatioBased(ratio)
		others = append(others, sdktrace.WithRemoteParentSampled(own), sdktrace.WithRemoteParentNotSampled(own))
	}
	return sampling{ratio, sdktrace.ParentBased(sdktrace.AlwaysSample(), others...)}
}

func newTracing(ctx context.Context, o *Options, m *metrics, logger *slog.Logger) (*tracing, error) {
	t := &tracing{tracer: noop.NewTracerProvider().Tracer(scope)}
	if o.Endpoint == "" {
		return t, nil
	}
	e, err := newExporters(ctx, o, m, logger)
	if err != nil {
		return t, err
	}
	if o.Sampler == "" {
		o.Sampler = "parentbased_traceidratio"
	}
	sampling := newSampling(o.Sampler, o.SampleRatio)
	t.roots = sampling.roots
	t.spans = sdktrace.NewTracerProvider(
		sdktrace.WithResource(e.resource), sdktrace.WithSampler(sampling.sampler), sdktrace.WithSpanProcessor(e.processor),
	)
	t.tracer = t.spans.Tracer(scope, trace.WithInstrumentationVersion(o.Version))
	t.end, t.tell = e.end, e.tell
	t.meters = sdkmetric.NewMeterProvider(sdkmetric.WithResource(e.resource), sdkmetric.WithReader(e.reader))
	return t, nil
}

func (t *tracing) close(ctx context.Context) error {
	if t.spans == nil {
		return nil
	}
	defer t.end()
	defer context.AfterFunc(ctx, t.end)()
	done := make(chan error, 1)
	go func() { done <- t.spans.Shutdown(ctx) }()
	return errors.Join(t.meters.Shutdown(ctx), <-done)
}

// Degraded says what the collector, or Google's endpoint, does not take.
func (t *Telemetry) Degraded() (out []string) {
	if tell := t.tracing.tell; tell != nil {
		for _, signal := range []struct {
			name   string
			failed *atomic.Bool
		}{{"traces", &tell.spans}, {"metrics", &tell.metrics}} {
			if signal.failed.Load() {
				out = append(out, "telemetry: OTEL_EXPORTER_OTLP_ENDPOINT does not take "+signal.name)
			}
		}
	}
	return out
}

// Tracer is for the rooms.
func (t *Telemetry) Tracer() trace.Tracer { return t.tracing.tracer }

var propagator propagation.TraceContext

// remote adds the span that a caller names, in the W3C's form, to the context.
func remote(ctx context.Context, parent, state string) context.Context {
	if parent == "" {
		return ctx
	}
	return propagator.Extract(ctx, propagation.MapCarrier{"traceparent": parent, "tracestate": state})
}

// An arrival is an HTTP request with a trace of its caller's. Whether it is traced is for the caller to say once it is known who that
// is: anyone can write the header, and a span costs more than a refusal.
type arrival struct {
	caller trace.SpanContext
	method string
	begun  time.Time
	span   trace.Span // nil until the caller is believed
}

type arrivalKey struct{}

// arrivalOf returns nil where the request brought no trace, or is traced whatever its caller says.
func arrivalOf(ctx context.Context) *arrival {
	a, _ := ctx.Value(arrivalKey{}).(*arrival)
	return a
}

// unsampled leaves of a caller's trace its id, for the log.
func unsampled(ctx context.Context) context.Context {
	caller := trace.SpanContextFromContext(ctx)
	return trace.ContextWithRemoteSpanContext(ctx, caller.WithTraceFlags(caller.TraceFlags().WithSampled(false)))
}

// StartHTTP opens the span of an HTTP request where it begins a trace, or is one of those that are traced in any case. A trace that the
// headers name waits for [Telemetry.Believe]. The context carries its id, for the log and for what tools call.
func (t *Telemetry) StartHTTP(ctx context.Context, method string, header http.Header, begun time.Time) context.Context {
	if parent := header["Traceparent"]; len(parent) == 1 {
		ctx = remote(ctx, parent[0], header.Get("Tracestate"))
	}
	if t.tracing.spans == nil {
		return ctx
	}
	caller := trace.SpanContextFromContext(ctx)
	switch traced := rand.Float64() < t.tracing.roots; {
	case !caller.IsValid() && !traced:
		return ctx
	case caller.IsValid() && !traced:
		return context.WithValue(unsampled(ctx), arrivalKey{}, &arrival{caller: caller, method: method, begun: begun})
	}
	ctx, _ = t.startHTTP(ctx, method, begun)
	return ctx
}

func (t *Telemetry) startHTTP(ctx context.Context, method string, begun time.Time) (context.Context, trace.Span) {
	ctx, span := t.tracing.tracer.Start(ctx, method, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(begun))
	if span.IsRecording() {
		span.SetAttributes(attribute.String("http.request.method", method))
	}
	return ctx, span
}

// Believe has a request belong to the trace that its caller named: it is known who that is.
func (t *Telemetry) Believe(ctx context.Context) context.Context {
	if t.tracing.spans == nil {
		return ctx
	}
	a := arrivalOf(ctx)
	if a == nil {
		return ctx
	}
	if a.span == nil {
		_, a.span = t.startHTTP(trace.ContextWithRemoteSpanContext(ctx, a.caller), a.method, a.begun)
	}
	return trace.ContextWithSpan(ctx, a.span)
}

// EndHTTP ends the span of an HTTP request.
func (t *Telemetry) EndHTTP(ctx context.Context, route string, status int) {
	if t.tracing.spans == nil {
		return
	}
	span := trace.SpanFromContext(ctx)
	if a := arrivalOf(ctx); a != nil && a.span != nil {
		span = a.span
	}
	if span.IsRecording() {
		if route != "" {
			span.SetName(span.(sdktrace.ReadOnlySpan).Name() + " " + route)
			span.SetAttributes(attribute.String("http.route", route))
		}
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if status >= 500 {
			span.SetStatus(codes.Error, "")
		}
	}
	span.End()
}

// An Operation is a message whose span is opened: https://opentelemetry.io/docs/specs/semconv/gen-ai/mcp/.
type Operation struct {
	Method, Kind, Name, Era string
	Parent, State           string // traceparent and tracestate of _meta
	Believed                bool   // it is known who the caller is, or the call is admitted
	Begun                   time.Time
}

// StartOperation opens the span of a message: below what _meta names, with a link to that of the HTTP request, or else below
// that of the HTTP request.
func (t *Telemetry) StartOperation(ctx context.Context, o Operation) context.Context {
	if t.tracing.spans != nil {
		a := arrivalOf(ctx)
		if a != nil && a.span != nil {
			ctx = trace.ContextWithSpan(ctx, a.span)
		}
		if !o.Believed && !trace.SpanFromContext(ctx).IsRecording() && (a != nil || o.Parent != "") {
			return unsampled(remote(ctx, o.Parent, o.State))
		}
	}
	if outer := trace.SpanContextFromContext(ctx); t.tracing.spans == nil || o.Parent == "" && !outer.IsValid() {
		return remote(ctx, o.Parent, o.State)
	}
	options := [3]trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(o.Begun)}
	n := 2
	if o.Parent != "" {
		outer := trace.SpanContextFromContext(ctx)
		if ctx = remote(ctx, o.Parent, o.State); trace.SpanContextFromContext(ctx).SpanID() != outer.SpanID() && outer.IsValid() {
			options[n] = trace.WithLinks(trace.Link{SpanContext: outer})
			n++
		}
	}
	name := o.Method
	if o.Name != "" {
		name += " " + o.Name
	}
	ctx, span := t.tracing.tracer.Start(ctx, name, options[:n]...)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("mcp.method.name", o.Method), attribute.String("mcp.protocol.version", o.Era),
			attribute.String("network.transport", "tcp"), attribute.String("network.protocol.name", "http"))
		switch o.Kind {
		case "tool":
			span.SetAttributes(attribute.String("gen_ai.tool.name", o.Name), attribute.String("gen_ai.operation.name", "execute_tool"))
		case "prompt":
			span.SetAttributes(attribute.String("gen_ai.prompt.name", o.Name))
		case "resource":
			span.SetAttributes(attribute.String("mcp.resource.uri", o.Name))
		}
	}
	return ctx
}

// EndOperation ends the span of a message.
func (t *Telemetry) EndOperation(ctx context.Context, r *Request) {
	if t.tracing.spans == nil {
		return
	}
	span := trace.SpanFromContext(ctx)
	if span.IsRecording() {
		attributes := []attribute.KeyValue{attribute.String("erlmcp.request_id", r.ID), attribute.String("erlmcp.outcome", r.Outcome)}
		for key, value := range map[string]string{"erlmcp.tenant": r.Tenant, "erlmcp.refusal.scope": r.Scope, "error.type": r.Error} {
			if value != "" {
				attributes = append(attributes, attribute.String(key, value))
			}
		}
		if r.Code != 0 {
			attributes = append(attributes, attribute.Int("rpc.response.status_code", r.Code))
		}
		span.SetAttributes(attributes...)
		if r.Error != "" {
			span.SetStatus(codes.Error, "")
		}
	}
	span.End(trace.WithTimestamp(r.Begun.Add(r.Duration)))
}

// A Transport makes HTTP requests that carry the trace of the call that they are made in, each a span below it. Of the URL it
// records the host alone, since paths and queries are made of arguments.
type Transport struct{ Base http.RoundTripper }

// CloseIdleConnections is what [http.Client.CloseIdleConnections] looks for.
func (t Transport) CloseIdleConnections() {
	if c, ok := t.Base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements [http.RoundTripper].
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return t.Base.RoundTrip(r)
	}
	ctx, span := parent.TracerProvider().Tracer(scope).Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", r.Method), attribute.String("server.address", r.URL.Hostname())))
	defer span.End()
	r = r.Clone(ctx)
	propagator.Inject(ctx, propagation.HeaderCarrier(r.Header))
	resp, err := t.Base.RoundTrip(r)
	switch {
	case err != nil:
		span.SetStatus(codes.Error, "")
		span.SetAttributes(attribute.String("error.type", errorType(err)))
	default:
		span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
		if resp.StatusCode >= 400 {
			span.SetStatus(codes.Error, "")
		}
	}
	return resp, err
}

// errorType names an error without its text, which may quote what was sent.
func errorType(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	}
	return "unavailable"
}

// bounded keeps spans from the processor that it could not take, and counts them.
type bounded struct {
	sdktrace.SpanProcessor
	most    int64
	waiting *atomic.Int64
	lost    func(spans int)
}

// OnEnd implements [sdktrace.SpanProcessor].
func (b bounded) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	if b.waiting.Add(1) > b.most {
		b.waiting.Add(-1)
		b.lost(1)
		return
	}
	b.SpanProcessor.OnEnd(s)
}

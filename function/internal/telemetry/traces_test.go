package telemetry

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	points "go.opentelemetry.io/proto/otlp/metrics/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"example.com/erlmcp/function/internal/memnet"
)

// An otelCollector takes what is exported, as its protocol has it.
type otelCollector struct {
	network memnet.Network
	url     string

	mu      sync.Mutex
	refuse  int // the status that it answers with; 0 takes all
	spans   []*otlp.Span
	metrics map[string]*points.Metric
	about   map[string]string // the resource
	header  http.Header
}

func newCollector(t *testing.T) *otelCollector {
	c := &otelCollector{metrics: map[string]*points.Metric{}, about: map[string]string{}}
	c.url = c.network.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(body)
		}
		b, err := io.ReadAll(body)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.refuse != 0 {
			w.WriteHeader(c.refuse)
			return
		}
		var traces collectortrace.ExportTraceServiceRequest
		var samples collectormetrics.ExportMetricsServiceRequest
		switch r.URL.Path {
		case "/v1/traces":
			err = errors.Join(err, proto.Unmarshal(b, &traces))
		case "/v1/metrics":
			err = errors.Join(err, proto.Unmarshal(b, &samples))
		}
		if err != nil {
			t.Error(err)
		}
		c.header = r.Header
		for _, rs := range traces.ResourceSpans {
			for _, a := range rs.Resource.Attributes {
				c.about[a.Key] = a.Value.GetStringValue()
			}
			for _, ss := range rs.ScopeSpans {
				c.spans = append(c.spans, ss.Spans...)
			}
		}
		for _, rm := range samples.ResourceMetrics {
			for _, sm := range rm.ScopeMetrics {
				for _, m := range sm.Metrics {
					c.metrics[m.Name] = m
				}
			}
		}
	}))
	return c
}

// open is telemetry that exports to the collector.
func (c *otelCollector) open(t *testing.T, o Options) *Telemetry {
	o.Endpoint, o.Dial, o.Output, o.Service, o.Version, o.Instance = c.url, c.network.Dial, io.Discard, "erlmcp", "1.2.3", "n-1"
	return open(t, o)
}

// take closes the telemetry and returns the spans.
func (c *otelCollector) take(t *testing.T, seen *Telemetry) []*otlp.Span {
	t.Helper()
	if err := seen.Close(context.Background()); err != nil {
		t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans
}

// spanID is text as it is in traceparent.
func spanID(s *otlp.Span) string { return hex.EncodeToString(s.SpanId) }

func attributesOf(s *otlp.Span) map[string]string {
	out := map[string]string{}
	for _, a := range s.Attributes {
		out[a.Key] = a.Value.GetStringValue()
		if n := a.Value.GetIntValue(); n != 0 {
			out[a.Key] = fmt.Sprint(n)
		}
	}
	return out
}

const (
	callersTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callersSpan  = "00f067aa0ba902b7"
	sampledBy    = "00-" + callersTrace + "-" + callersSpan + "-01"
	unsampledBy  = "00-" + callersTrace + "-" + callersSpan + "-00"
)

// TestSpans holds the span of each kind of message to the OpenTelemetry conventions for MCP and for HTTP.
func TestSpans(t *testing.T) {
	for _, c := range []struct {
		name      string
		header    http.Header
		operation Operation
		ended     Request
		status    int
		want      map[string]string // attributes of the message's span; "" is that there is none
		failed    bool
		parent    string // of the message's span: the request's where it is ""
	}{
		{"a tool", nil, Operation{Method: "tools/call", Kind: "tool", Name: "add", Era: "2026-07-28"}, Request{Method: "tools/call", ID: "r1", Outcome: "completed", Tenant: "acme"}, 200, map[string]string{
			"mcp.method.name": "tools/call", "gen_ai.tool.name": "add", "gen_ai.operation.name": "execute_tool", "mcp.protocol.version": "2026-07-28", "network.transport": "tcp",
			"network.protocol.name": "http", "erlmcp.request_id": "r1", "erlmcp.outcome": "completed", "erlmcp.tenant": "acme", "error.type": "", "rpc.response.status_code": "", "erlmcp.refusal.scope": ""}, false, ""},
		{"a prompt", nil, Operation{Method: "prompts/get", Kind: "prompt", Name: "greet"}, Request{}, 200, map[string]string{"gen_ai.prompt.name": "greet", "gen_ai.tool.name": ""}, false, ""},
		{"a resource", nil, Operation{Method: "resources/read", Kind: "resource", Name: "note://by/{name}"}, Request{}, 200, map[string]string{"mcp.resource.uri": "note://by/{name}"}, false, ""},
		{"a refusal", nil, Operation{Method: "tools/call", Kind: "tool", Name: "add"}, Request{Error: "rate", Code: 1056, Scope: "tool:add"}, 429, map[string]string{
			"error.type": "rate", "rpc.response.status_code": "1056", "erlmcp.refusal.scope": "tool:add"}, true, ""},
		{"what is wrong here", nil, Operation{Method: "tools/list"}, Request{Error: "panic", Code: -32603}, 500, map[string]string{"error.type": "panic", "rpc.response.status_code": "-32603"}, true, ""},
		{"below a span that headers name", http.Header{"Traceparent": {sampledBy}}, Operation{Method: "tools/list", Believed: true}, Request{}, 200, map[string]string{}, false, ""},
		{"below a span that the message names", nil, Operation{Method: "tools/list", Parent: sampledBy, Believed: true}, Request{}, 200, map[string]string{}, false, callersSpan},
	} {
		synctest.Test(t, func(t *testing.T) {
			to := newCollector(t)
			seen := to.open(t, Options{Sampler: "always_on"})
			begin := time.Now()
			ctx := seen.StartHTTP(t.Context(), "POST", c.header, begin)
			inner := seen.StartOperation(ctx, c.operation)
			c.ended.Begun, c.ended.Duration = begin, 7*time.Millisecond
			seen.EndOperation(inner, &c.ended)
			time.Sleep(9 * time.Millisecond) // in a bubble
			seen.EndHTTP(ctx, "/mcp", c.status)
			spans := to.take(t, seen)
			if len(spans) != 2 {
				t.Fatalf("%s: %d spans", c.name, len(spans))
			}
			message, request := spans[0], spans[1]
			name := strings.TrimSpace(c.operation.Method + " " + c.operation.Name)
			if message.Name != name || request.Name != "POST /mcp" || message.Kind != otlp.Span_SPAN_KIND_SERVER || request.Kind != otlp.Span_SPAN_KIND_SERVER {
				t.Errorf("%s: %v, %v", c.name, message, request)
			}
			if got := attributesOf(request); got["http.request.method"] != "POST" || got["http.route"] != "/mcp" || got["http.response.status_code"] != fmt.Sprint(c.status) {
				t.Errorf("%s: the request has %v", c.name, got)
			}
			if (request.Status.GetCode() == otlp.Status_STATUS_CODE_ERROR) != (c.status >= 500) || (message.Status.GetCode() == otlp.Status_STATUS_CODE_ERROR) != c.failed {
				t.Errorf("%s: status %v, and of the request %v", c.name, message.Status, request.Status)
			}
			got := attributesOf(message)
			for key, want := range c.want {
				if got[key] != want {
					t.Errorf("%s: %s is %q, want %q", c.name, key, got[key], want)
				}
			}
			parent := hex.EncodeToString(message.ParentSpanId)
			if c.parent == "" && parent != spanID(request) || c.parent != "" && (parent != c.parent || len(message.Links) != 1 || hex.EncodeToString(message.Links[0].SpanId) != spanID(request)) {
				t.Errorf("%s: it is below %s, with links %v", c.name, parent, message.Links)
			}
			if c.header != nil && (hex.EncodeToString(request.TraceId) != callersTrace || hex.EncodeToString(request.ParentSpanId) != callersSpan) {
				t.Errorf("%s: the request is below %x", c.name, request.ParentSpanId)
			}
			if took := time.Duration(message.EndTimeUnixNano - message.StartTimeUnixNano); took != 0 && took != 7*time.Millisecond {
				t.Errorf("%s: it took %v", c.name, took)
			}
			if to.about["service.name"] != "erlmcp" || to.about["service.version"] != "1.2.3" || to.about["service.instance.id"] != "n-1" {
				t.Errorf("%s: of %v", c.name, to.about)
			}
		})
	}
}

// TestSampling asks the samplers of OpenTelemetry's own SDK whether a request is traced, by each name of OTEL_TRACES_SAMPLER and each trace
// that a caller may bring. Of a caller that is not known, a trace counts for nothing.
func TestSampling(t *testing.T) {
	samplers := map[string]func(ratio float64) sdktrace.Sampler{
		"always_on":                func(float64) sdktrace.Sampler { return sdktrace.AlwaysSample() },
		"always_off":               func(float64) sdktrace.Sampler { return sdktrace.NeverSample() },
		"traceidratio":             sdktrace.TraceIDRatioBased,
		"parentbased_always_on":    func(float64) sdktrace.Sampler { return sdktrace.ParentBased(sdktrace.AlwaysSample()) },
		"parentbased_always_off":   func(float64) sdktrace.Sampler { return sdktrace.ParentBased(sdktrace.NeverSample()) },
		"parentbased_traceidratio": func(r float64) sdktrace.Sampler { return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(r)) },
		"":                         func(r float64) sdktrace.Sampler { return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(r)) }, // by default
	}
	for name, sampler := range samplers {
		for _, ratio := range []float64{0, 1} {
			for _, parent := range []string{"", sampledBy, unsampledBy} {
				for _, believed := range []bool{true, false} {
					synctest.Test(t, func(t *testing.T) {
						what := fmt.Sprintf("%s of %v, parent %q, believed: %t", name, ratio, parent, believed)
						header := http.Header{}
						ctx := t.Context()
						if parent != "" {
							header.Set("Traceparent", parent)
							ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(header))
						}
						decided := sampler(ratio).ShouldSample(sdktrace.SamplingParameters{ParentContext: ctx, TraceID: trace.TraceID{1}, Name: "POST"})
						want := decided.Decision == sdktrace.RecordAndSample
						to := newCollector(t)
						seen := to.open(t, Options{Sampler: name, SampleRatio: ratio})
						if !believed && parent == sampledBy && seen.tracing.roots == 0 {
							want = false
						}
						ctx = seen.StartHTTP(t.Context(), "POST", header, time.Now())
						if believed {
							ctx = seen.Believe(ctx)
						}
						inner := seen.StartOperation(ctx, Operation{Method: "tools/list", Believed: believed, Begun: time.Now()})
						if id := trace.SpanContextFromContext(inner).TraceID().String(); parent != "" && id != callersTrace {
							t.Errorf("%s: the log has the trace %s", what, id)
						}
						seen.EndOperation(inner, &Request{Begun: time.Now()})
						seen.EndHTTP(ctx, "/mcp", 200)
						if spans := to.take(t, seen); (len(spans) == 2) != want || len(spans)%2 != 0 {
							t.Errorf("%s: %d spans; the SDK samples: %t", what, len(spans), want)
						}
					})
				}
			}
		}
	}
}

// TestTransport has a call ask another server, which reads the trace by OpenTelemetry's own propagator.
func TestTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newCollector(t)
		var got trace.SpanContext
		elsewhere := to.network.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(r.Header)))
			if r.URL.Path == "/missing" {
				w.WriteHeader(404)
			}
		}))
		client := &http.Client{Transport: Transport{to.network.Client(t).Transport}}
		defer client.CloseIdleConnections()
		ask := func(ctx context.Context, url string) error {
			r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(r)
			if err == nil {
				resp.Body.Close()
			}
			if r.Header.Get("Traceparent") != "" {
				t.Error("the caller's request was changed")
			}
			return err
		}
		if err := ask(t.Context(), elsewhere); err != nil || got.IsValid() {
			t.Errorf("without a trace: %v, %v", err, got)
		}
		seen := to.open(t, Options{Sampler: "always_on"})
		ctx := seen.StartHTTP(t.Context(), "POST", nil, time.Now())
		if err := ask(ctx, elsewhere+"/path?secret=1"); err != nil || !got.IsSampled() || got.TraceID() != trace.SpanContextFromContext(ctx).TraceID() {
			t.Errorf("in a trace: %v, %v", err, got)
		}
		sent := got.SpanID().String()
		if err := ask(ctx, elsewhere+"/missing"); err != nil {
			t.Error(err)
		}
		if err := ask(ctx, "http://127.0.0.1:1/"); err == nil {
			t.Error("nothing listens there")
		}
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if err := ask(gone, elsewhere); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		seen.EndHTTP(ctx, "/mcp", 200)
		spans := to.take(t, seen)
		var said []string
		for _, s := range spans[:len(spans)-1] {
			a := attributesOf(s)
			said = append(said, a["http.response.status_code"]+a["error.type"])
			if s.Kind != otlp.Span_SPAN_KIND_CLIENT || a["server.address"] != "127.0.0.1" || strings.Contains(s.String(), "secret") || strings.Contains(s.String(), "path") ||
				(s.Status.GetCode() == otlp.Status_STATUS_CODE_ERROR) != (a["http.response.status_code"] != "200") {
				t.Errorf("%v", s)
			}
		}
		if !slices.Equal(said, []string{"200", "404", "unavailable", "cancelled"}) || spanID(spans[0]) != sent {
			t.Errorf("%q", said)
		}
	})
}

// TestCollectorAway has a collector refuse, and then take what comes: nothing waits, what is lost is counted, and it is said once a minute.
func TestCollectorAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newCollector(t)
		to.refuse = 400
		var log written
		seen := open(t, Options{Endpoint: to.url, Dial: to.network.Dial, Sampler: "always_on", Interval: 10 * time.Second, Headers: map[string]string{"Api-Key": "k"}, Output: &log})
		one := func() {
			ctx := seen.StartHTTP(t.Context(), "POST", nil, time.Now())
			seen.EndHTTP(ctx, "/mcp", 200)
		}
		begin := time.Now()
		for range 3 * maxSpans {
			one()
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("requests waited for %v", took)
		}
		time.Sleep(50 * time.Second) // in a bubble
		if d := seen.Degraded(); len(d) != 2 || !strings.Contains(d[0], "traces") || !strings.Contains(d[1], "metrics") {
			t.Errorf("degraded: %q", d)
		}
		if lost, exports := seen.metrics.lostSpans.Load(), seen.metrics.lostExports.Load(); lost != 3*maxSpans || exports < 4 {
			t.Errorf("%d spans and %d exports are lost", lost, exports)
		}
		if n := strings.Count(log.String(), "OTEL_EXPORTER_OTLP_ENDPOINT did not take"); n != 1 {
			t.Errorf("it is said %d times in %q", n, log.String())
		}
		to.mu.Lock()
		to.refuse = 0
		to.mu.Unlock()
		one()
		time.Sleep(10 * time.Second) // in a bubble
		if d := seen.Degraded(); len(d) != 0 {
			t.Errorf("it takes all, and degraded is %q", d)
		}
		if spans := to.take(t, seen); len(spans) != 1 || to.header.Get("Api-Key") != "k" {
			t.Errorf("%d spans, %v", len(spans), to.header)
		}
		lost := to.metrics["erlmcp_telemetry_lost_total"]
		if lost == nil || len(lost.GetSum().GetDataPoints()) != 3 {
			t.Errorf("%v", lost)
		}
	})
}

// TestExportTriesAgain only where time ran out and the process stays.
func TestExportTriesAgain(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []error // nil takes it, DeadlineExceeded waits
		ends    bool    // while the first try is under way
		tries   int
		fails   bool
	}{
		{"taken", []error{nil}, false, 1, false},
		{"refused", []error{errors.New("400"), nil}, false, 1, true},
		{"late once", []error{context.DeadlineExceeded, nil}, false, 2, false},
		{"late for good", []error{context.DeadlineExceeded, context.DeadlineExceeded, nil}, false, 2, true},
		{"the process ends", []error{context.DeadlineExceeded, nil}, true, 1, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			tries := 0
			err := lifetime{ctx}.export(func(ctx context.Context) error {
				answer := c.answers[tries]
				tries++
				if c.ends {
					end()
				}
				if errors.Is(answer, context.DeadlineExceeded) {
					<-ctx.Done()
					return ctx.Err()
				}
				return answer
			})
			if tries != c.tries || (err != nil) != c.fails {
				t.Errorf("%s: %d tries, %v", c.name, tries, err)
			}
			end()
		})
	}
}

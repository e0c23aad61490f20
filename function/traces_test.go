package function

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	points "go.opentelemetry.io/proto/otlp/metrics/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A collected keeps what is exported to it.
type collected struct {
	url string

	mu      sync.Mutex
	spans   []*trace.Span
	metrics map[string]*points.Metric
	raw     strings.Builder // all that came, for searching
}

func newCollected(t *testing.T) *collected {
	c := &collected{metrics: map[string]*points.Metric{}}
	c.url = network.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		b, err := io.ReadAll(body)
		if err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw.Write(b)
		var traces collectortrace.ExportTraceServiceRequest
		var samples collectormetrics.ExportMetricsServiceRequest
		switch r.URL.Path {
		case "/v1/traces":
			if err := proto.Unmarshal(b, &traces); err != nil {
				t.Error(err)
			}
		case "/v1/metrics":
			if err := proto.Unmarshal(b, &samples); err != nil {
				t.Error(err)
			}
		default:
			t.Error(r.URL.Path)
		}
		for _, rs := range traces.ResourceSpans {
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

// named waits for a span.
func (c *collected) named(t *testing.T, name string) *trace.Span {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < 5*time.Second; time.Sleep(10 * time.Millisecond) { // in a bubble
		c.mu.Lock()
		for _, s := range c.spans {
			if s.Name == name {
				c.mu.Unlock()
				return s
			}
		}
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, s := range c.spans {
		names = append(names, s.Name)
	}
	t.Fatalf("no span %q among %q", name, names)
	return nil
}

func (c *collected) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = nil
}

func attributes(s *trace.Span) map[string]string {
	out := map[string]string{}
	for _, a := range s.Attributes {
		out[a.Key] = a.Value.GetStringValue()
		if a.Value.GetStringValue() == "" {
			out[a.Key] = strings.TrimSpace(strings.ReplaceAll(a.Value.String(), "int_value:", ""))
		}
	}
	return out
}

// TestTraces holds the span of each way in which a call ends to the OpenTelemetry MCP conventions.
func TestTraces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const traceID, spanID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
		elsewhere := network.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.Header.Get("Traceparent"), "00-"+traceID+"-") {
				w.WriteHeader(500)
			}
		}))
		fetch := func(ctx context.Context, _ struct{}) (string, error) {
			req, err := http.NewRequestWithContext(ctx, "GET", elsewhere+"/secret?secret=1", nil)
			if err != nil {
				return "", err
			}
			resp, err := Client(ctx).Do(req)
			if err != nil {
				return "", err
			}
			return resp.Status, resp.Body.Close()
		}
		c := newCollected(t)
		began := make(chan struct{}, 1)
		redis := network.Redis(t)
		url := newServer(t, WithMemory(NewInMemoryStore()), WithGetenv(env("REDIS_URL", redis.URL, "OTEL_EXPORTER_OTLP_ENDPOINT", c.url, "OTEL_TRACES_SAMPLER", "always_on", "EGRESS_ALLOW", "127.0.0.1")), WithTools(
			NewTool("fetch", "Fetches.", fetch, ToolOptions{PerDay: 100}),
			NewTool("no", "Fails.", func(context.Context, None) (string, error) { return "", errors.New("no") }),
			NewTool("away", "Is away.", func(context.Context, None) (string, error) { return "", ErrUnavailable }),
			NewTool("slow", "Takes its time.", func(ctx context.Context, _ None) (string, error) { <-ctx.Done(); return "", ctx.Err() }, ToolOptions{Timeout: 20 * time.Millisecond}),
			NewTool("wait", "Waits.", func(ctx context.Context, _ None) (string, error) {
				began <- struct{}{}
				<-ctx.Done()
				return "", ctx.Err()
			}),
			NewTool("full", "Is never free.", func(context.Context, None) (string, error) { return "", nil }, ToolOptions{PerSecond: 0.001, Burst: 1}),
		)).URL
		parent := `"traceparent":"00-` + traceID + `-` + spanID + `-01",`
		for _, tc := range []struct {
			name    string
			request wire
			span    string
			want    map[string]string // attributes; "" is that there is none
			failed  bool
		}{
			{"success", modern("tools/call", "fetch", `"name":"fetch"`), "tools/call fetch", map[string]string{
				"mcp.method.name": "tools/call", "gen_ai.tool.name": "fetch", "gen_ai.operation.name": "execute_tool", "mcp.protocol.version": "2026-07-28",
				"network.transport": "tcp", "network.protocol.name": "http", "erlmcp.outcome": "completed", "erlmcp.tenant": "anonymous", "error.type": ""}, false},
			{"tool error", modern("tools/call", "no", `"name":"no"`), "tools/call no", map[string]string{"error.type": "tool_error", "rpc.response.status_code": ""}, true},
			{"unavailable", modern("tools/call", "away", `"name":"away"`), "tools/call away", map[string]string{"error.type": "unavailable"}, true},
			{"timed out", modern("tools/call", "slow", `"name":"slow"`), "tools/call slow", map[string]string{"error.type": "timeout"}, true},
			{"panicked", modern("tools/call", "panic", `"name":"panic"`), "tools/call panic", map[string]string{"error.type": "panic", "rpc.response.status_code": "-32603"}, true},
			{"JSON-RPC error", modern("tools/call", "nothing", `"name":"nothing"`), "tools/call", map[string]string{"error.type": "-32602", "rpc.response.status_code": "-32602", "gen_ai.tool.name": ""}, true},
			{"unknown method", modern("my/secret", "", ``), "other", map[string]string{"error.type": "-32601", "mcp.method.name": "other"}, true},
			{"refused", modern("tools/call", "full", `"name":"full"`), "tools/call full", map[string]string{"error.type": "rate", "erlmcp.refusal.scope": "tool:full", "rpc.response.status_code": "1056"}, true},
			{"legacy", legacy("2025-11-25", "tools/call", `"name":"no"`), "tools/call no", map[string]string{"mcp.protocol.version": "2025-11-25", "error.type": "tool_error"}, true},
		} {
			inCase(t, tc.name, func() {
				r := tc.request
				if tc.name == "refused" {
					r.send(t, url) // the one that is allowed
					c.named(t, tc.span)
				}
				c.reset()
				r.body = strings.Replace(r.body, `"_meta":{`, `"_meta":{`+parent, 1)
				r.send(t, url)
				s := c.named(t, tc.span)
				got := attributes(s)
				for key, want := range tc.want {
					if got[key] != want {
						t.Errorf("%s is %q, want %q", key, got[key], want)
					}
				}
				if s.Kind != trace.Span_SPAN_KIND_SERVER || (s.Status.GetCode() == trace.Status_STATUS_CODE_ERROR) != tc.failed {
					t.Errorf("kind %v, status %v", s.Kind, s.Status)
				}
				http := c.named(t, "POST /mcp")
				if tc.name == "refused" { // from the headers, before the body with its _meta was read
					if string(s.ParentSpanId) != string(http.SpanId) {
						t.Error("not below the HTTP span")
					}
					return
				}
				if strings.Contains(r.body, "traceparent") {
					if hex.EncodeToString(s.TraceId) != traceID || hex.EncodeToString(s.ParentSpanId) != spanID || len(s.Links) != 1 || string(s.Links[0].SpanId) != string(http.SpanId) {
						t.Errorf("trace %x, parent %x, links %v", s.TraceId, s.ParentSpanId, s.Links)
					}
				} else if string(s.ParentSpanId) != string(http.SpanId) {
					t.Error("not below the HTTP span")
				}
				if tc.name == "success" {
					out := c.named(t, "GET")
					if string(out.ParentSpanId) != string(s.SpanId) || out.Kind != trace.Span_SPAN_KIND_CLIENT || attributes(out)["http.response.status_code"] != "200" {
						t.Errorf("outbound: %v", out)
					}
					if governed := c.named(t, "governor admit"); string(governed.ParentSpanId) != string(http.SpanId) {
						t.Errorf("governor: %v", governed)
					} else {
						for _, name := range []string{"redis draw", "store draw quota"} {
							if below := c.named(t, name); string(below.ParentSpanId) != string(governed.SpanId) || below.Kind != trace.Span_SPAN_KIND_CLIENT {
								t.Errorf("%s: %v", name, below)
							}
						}
					}
				}
			})
		}
		inCase(t, "cancelled", func() {
			c.reset()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := modern("tools/call", "wait", `"name":"wait"`)
			req, err := http.NewRequestWithContext(ctx, "POST", url+"/mcp", strings.NewReader(r.body))
			if err != nil {
				t.Fatal(err)
			}
			for name, v := range r.header {
				req.Header.Set(name, v)
			}
			req.Header.Set("Content-Type", "application/json")
			go func() { <-began; cancel() }()
			if resp, err := do(t, req); err == nil {
				resp.Body.Close()
				t.Fatal("the call was answered")
			}
			if got := attributes(c.named(t, "tools/call wait")); got["error.type"] != "cancelled" {
				t.Errorf("%v", got)
			}
		})
		if c.mu.Lock(); strings.Contains(c.raw.String(), "secret") {
			t.Error("paths, queries or unknown names are exported")
		}
		c.mu.Unlock()
	})
}

// Package traces follows a call from the official SDK's client through a server process to what its tool calls, by what a real
// OpenTelemetry collector receives, and takes the collector away.
package traces

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	pb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

var collectorBinary = flag.String("collector", "", "the collector's program")

// A received keeps what the collector hands on.
type received struct {
	url   string
	mu    sync.Mutex
	spans []*pb.Span
}

func newReceived(t *testing.T) *received {
	r := &received{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
			return
		}
		var m collectortrace.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &m); err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, rs := range m.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				r.spans = append(r.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// named waits for a span of a name.
func (r *received) named(t *testing.T, name string, patience time.Duration) *pb.Span {
	t.Helper()
	var names []string
	for begin := time.Now(); time.Since(begin) < patience; time.Sleep(20 * time.Millisecond) {
		r.mu.Lock()
		names = nil
		for _, s := range r.spans {
			if s.Name == name {
				r.mu.Unlock()
				return s
			}
			names = append(names, s.Name)
		}
		r.mu.Unlock()
	}
	t.Fatalf("the collector received no span %q, only %q", name, names)
	return nil
}

func freePort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return fmt.Sprint(ln.Addr().(*net.TCPAddr).Port)
}

// collector starts the real one, which hands on what it gets.
func collector(t *testing.T, to string) (url string, process *os.Process) {
	t.Helper()
	if *collectorBinary == "" {
		t.Fatal("no collector: run make traces")
	}
	port := freePort(t)
	config := filepath.Join(t.TempDir(), "collector.yaml")
	text := fmt.Sprintf(`
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:%s"}}}}
processors: {batch: {timeout: 50ms}}
exporters: {otlp_http: {endpoint: %q, compression: none}, debug: {}}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], processors: [batch], exporters: [otlp_http]}
    metrics: {receivers: [otlp], processors: [batch], exporters: [debug]}
`, port, to)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(*collectorBinary, "--config", config)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGCONT)
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			conn.Close()
			return "http://127.0.0.1:" + port, cmd.Process
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("the collector does not listen: %s", log.String())
		}
	}
}

// A server is a process of the fixture's.
type server struct {
	url string
	cmd *exec.Cmd
	log *bytes.Buffer
	end chan error
}

func start(t *testing.T, env ...string) *server {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "fixture")
	if out, err := exec.Command("go", "build", "-o", binary, "./fixture").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := &server{cmd: exec.Command(binary), log: &bytes.Buffer{}, end: make(chan error, 1)}
	s.cmd.Env = append(append(os.Environ(), "PORT=0", "OTEL_TRACES_SAMPLER=always_on", "DRAIN_TIMEOUT=2s", "EGRESS_ALLOW=127.0.0.1"), env...)
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(io.TeeReader(out, s.log))
	var line struct{ URL string }
	for line.URL == "" {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatalf("%v\n%s", err, s.log)
		}
		json.Unmarshal(text, &line)
	}
	s.url = line.URL
	go func() { io.Copy(io.Discard, lines); s.end <- s.cmd.Wait() }()
	t.Cleanup(func() { s.cmd.Process.Signal(syscall.SIGCONT); s.cmd.Process.Kill() })
	return s
}

func (s *server) call() (time.Duration, error) {
	begin := time.Now()
	resp, err := http.Post(s.url, "application/json", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"fetch"}}`))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && !strings.Contains(string(b), "200 OK") {
		err = fmt.Errorf("%s", b)
	}
	return time.Since(begin), err
}

// propagating carries the client's span in the HTTP headers, as instrumented clients do.
type propagating struct{ http.RoundTripper }

func (p propagating) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	propagation.TraceContext{}.Inject(r.Context(), propagation.HeaderCarrier(r.Header))
	return p.RoundTripper.RoundTrip(r)
}

// TestOneTrace wants one trace from the client to what the tool calls.
func TestOneTrace(t *testing.T) {
	got := newReceived(t)
	endpoint, _ := collector(t, got.url)
	heard := make(chan string, 1)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r.Header.Get("Traceparent") }))
	defer elsewhere.Close()
	s := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint, "ELSEWHERE="+elsewhere.URL)

	exporter, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(endpoint+"/v1/traces"))
	if err != nil {
		t.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	client := mcp.NewClient(&mcp.Implementation{Name: "traced", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: s.url, DisableStandaloneSSE: true,
		HTTPClient: &http.Client{Transport: propagating{http.DefaultTransport}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	ctx, span := provider.Tracer("client").Start(t.Context(), "agent asks", trace.WithSpanKind(trace.SpanKindClient))
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Meta: mcp.Meta{"traceparent": carrier["traceparent"]}, Name: "fetch"})
	if err != nil || result.IsError {
		t.Fatal(err, result)
	}
	span.End()
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}

	const patience = 10 * time.Second
	agent, tool, out := got.named(t, "agent asks", patience), got.named(t, "tools/call fetch", patience), got.named(t, "GET", patience)
	for _, c := range []struct {
		what          string
		span, parent  *pb.Span
		kind          pb.Span_SpanKind
		name, service string
	}{
		{"the tool's span is below the client's", tool, agent, pb.Span_SPAN_KIND_SERVER, "gen_ai.tool.name", "fetch"},
		{"what the tool calls is below the tool's span", out, tool, pb.Span_SPAN_KIND_CLIENT, "server.address", "127.0.0.1"},
	} {
		if !bytes.Equal(c.span.TraceId, agent.TraceId) || !bytes.Equal(c.span.ParentSpanId, c.parent.SpanId) || c.span.Kind != c.kind {
			t.Errorf("%s: %v", c.what, c.span)
		}
		found := false
		for _, a := range c.span.Attributes {
			found = found || a.Key == c.name && a.Value.GetStringValue() == c.service
		}
		if !found {
			t.Errorf("%s: no %s=%s in %v", c.what, c.name, c.service, c.span.Attributes)
		}
		if c.span.StartTimeUnixNano < c.parent.StartTimeUnixNano || c.span.EndTimeUnixNano > c.parent.EndTimeUnixNano {
			t.Errorf("%s, and not within its time", c.what)
		}
	}
	if want := "00-" + hex.EncodeToString(agent.TraceId) + "-" + hex.EncodeToString(out.SpanId) + "-01"; <-heard != want {
		t.Errorf("the other server heard something other than %s", want)
	}
	// The governor's decision and the HTTP request, which carried the same trace.
	linked := false
	got.mu.Lock()
	for _, s := range got.spans {
		if s.Name == "POST /mcp" && len(tool.Links) == 1 && bytes.Equal(s.SpanId, tool.Links[0].SpanId) {
			linked = bytes.Equal(s.TraceId, agent.TraceId) && bytes.Equal(s.ParentSpanId, agent.SpanId)
		}
	}
	got.mu.Unlock()
	if !linked {
		t.Errorf("the tool's span has no link to the HTTP request's: %v", tool.Links)
	}
	governed := got.named(t, "governor admit", patience)
	if governed == nil {
		t.Error("no span of the governor")
	}
	record := s.log.String()
	if !strings.Contains(record, `"trace":"`+hex.EncodeToString(agent.TraceId)+`"`) || !strings.Contains(record, `"logging.googleapis.com/spanId":"`+hex.EncodeToString(tool.SpanId)+`"`) {
		t.Errorf("the log does not correlate with the trace: %s", record)
	}
}

// TestCollectorStalls stops the collector: calls go on as fast, losses are counted, and the end is in time.
func TestCollectorStalls(t *testing.T) {
	got := newReceived(t)
	endpoint, process := collector(t, got.url)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer elsewhere.Close()
	s := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint, "OTEL_METRIC_EXPORT_INTERVAL=200", "ELSEWHERE="+elsewhere.URL)
	process.Signal(syscall.SIGSTOP)
	var worst time.Duration
	for range 1500 { // of four spans each
		took, err := s.call()
		if err != nil {
			t.Fatal(err)
		}
		worst = max(worst, took)
	}
	if worst > time.Second {
		t.Errorf("a call took %v", worst)
	}
	resp, err := http.Get(strings.TrimSuffix(s.url, "mcp") + "metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || strings.Contains(string(text), `erlmcp_telemetry_lost_total{signal="spans"} 0`) || !strings.Contains(string(text), `erlmcp_telemetry_lost_total{signal="spans"}`) {
		t.Errorf("losses are not counted: %v", err)
	}
	begin := time.Now()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.end:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the server does not end")
	}
	t.Logf("slowest call %v, the end took %v", worst, time.Since(begin).Round(time.Millisecond))
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
}

// TestFrozenAndEnded freezes the server in the middle of an export, beyond every time limit of it, and ends it right after a call:
// no span is lost.
func TestFrozenAndEnded(t *testing.T) {
	got := newReceived(t)
	endpoint, process := collector(t, got.url)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer elsewhere.Close()
	s := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint, "ELSEWHERE="+elsewhere.URL)
	process.Signal(syscall.SIGSTOP) // so that the export is under way
	if _, err := s.call(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond)
	s.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(12 * time.Second)
	process.Signal(syscall.SIGCONT)
	s.cmd.Process.Signal(syscall.SIGCONT)
	got.named(t, "tools/call fetch", 10*time.Second)

	got.mu.Lock()
	got.spans = nil
	got.mu.Unlock()
	if _, err := s.call(); err != nil {
		t.Fatal(err)
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.end:
	case <-time.After(10 * time.Second):
		t.Fatal("the server does not end")
	}
	got.named(t, "tools/call fetch", 5*time.Second)
}

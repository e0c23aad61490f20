package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/logging"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"example.com/erlmcp/function/internal/memnet"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 123456789, time.UTC)

// here keeps the library from asking the network where it runs.
var here = logging.CommonResource(nil)

// A written is an output that can be read while it is written.
type written struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func open(t *testing.T, o Options) *Telemetry {
	t.Helper()
	seen, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { seen.Close(context.Background()) })
	return seen
}

// records closes the telemetry and returns what it wrote.
func records(t *testing.T, seen *Telemetry, out *written) (list []map[string]any) {
	t.Helper()
	if err := seen.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		list = append(list, r)
	}
	return list
}

var success = Request{
	ID: "r1", Begun: noon, Duration: 1234567 * time.Nanosecond, Handled: time.Millisecond, Method: "tools/call", Kind: "tool", Name: "add", Era: "2026-07-28",
	Client: "bench/1.0", Tenant: "acme", Outcome: "completed", HTTPMethod: "POST", Path: "/mcp", Protocol: "HTTP/1.1", UserAgent: "bench/1.0", Status: 200, RequestSize: 300, ResponseSize: 200,
}

var refused = Request{
	ID: "r2", Begun: noon, Duration: time.Millisecond, Method: "tools/call", Kind: "tool", Name: "add", Era: "2025-11-25", Outcome: "refused", Error: "rate", Code: 1056, Fault: Refused,
	Reason: "rate", Scope: "tool:add", Limit: "5/s", HTTPMethod: "POST", Path: "/mcp", Protocol: "HTTP/2.0", Status: 429,
}

var probe = Request{ID: "r3", Begun: noon, Quiet: true, HTTPMethod: "GET", Path: "/health", Protocol: "HTTP/1.1", Status: 200}

func traced(ctx context.Context) context.Context {
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, SpanID: trace.SpanID{1, 2, 3, 4, 5, 6, 7, 8}, TraceFlags: trace.FlagsSampled,
	}))
}

// TestCloudFormat holds what is written to standard output against what Google's own library writes for the same entry.
func TestCloudFormat(t *testing.T) {
	var out written
	seen := open(t, Options{Output: &out, Project: "p", Instance: "n-1", Version: "0.7.0"})
	seen.Record(traced(t.Context()), &success)
	got := records(t, seen, &out)[0]

	var theirs bytes.Buffer
	client, err := logging.NewClient(t.Context(), "projects/p", option.WithoutAuthentication(), option.WithEndpoint("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	span := trace.SpanContextFromContext(traced(t.Context()))
	logger := client.Logger("erlmcp", logging.RedirectAsJSON(&theirs), here)
	logger.Log(logging.Entry{
		Timestamp: noon.Add(success.Duration), Severity: logging.Info, Payload: "tools/call add", Labels: map[string]string{"instance": "n-1", "version": "0.7.0"},
		Trace: "projects/p/traces/" + span.TraceID().String(), SpanID: span.SpanID().String(), TraceSampled: true,
		HTTPRequest: &logging.HTTPRequest{Request: &http.Request{Method: "POST", URL: &url.URL{Path: "/mcp"}, Proto: "HTTP/1.1", Header: http.Header{"User-Agent": {"bench/1.0"}}},
			Status: 200, RequestSize: 300, ResponseSize: 200, Latency: success.Duration},
	})
	var want map[string]any
	for line := range bytes.Lines(theirs.Bytes()) { // one of them says which library it is
		if !bytes.Contains(line, []byte("httpRequest")) {
			continue
		}
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatal(err)
		}
	}
	stamp := want["timestamp"]
	delete(want, "timestamp")
	for key, v := range want {
		mine := got[key]
		if key == "httpRequest" {
			a, b := v.(map[string]any), mine.(map[string]any)
			delete(a, "latency") // in more digits
			delete(b, "latency")
		}
		if !reflect.DeepEqual(mine, v) {
			t.Errorf("%s is %v, the library writes %v", key, mine, v)
		}
	}
	if len(want) < 7 {
		t.Errorf("the library wrote little: %v", want)
	}
	at, err := time.Parse(time.RFC3339Nano, got["time"].(string))
	if err != nil || !at.Equal(noon.Add(success.Duration)) {
		t.Errorf("time %v, the library's timestamp %v", got["time"], stamp)
	}
	for key, v := range map[string]any{"request_id": "r1", "client": "bench/1.0", "method": "tools/call", "tool": "add", "tenant": "acme", "decision": "admitted", "duration_ms": 1.234, "status": 200.0, "trace": span.TraceID().String()} {
		if got[key] != v {
			t.Errorf("%s is %v, want %v", key, got[key], v)
		}
	}
}

// TestFieldsKeepTheirTypes wants each field of one type in all records, as Elasticsearch does.
func TestFieldsKeepTheirTypes(t *testing.T) {
	var out written
	file := filepath.Join(t.TempDir(), "logs", "erlmcp.log")
	seen := open(t, Options{Output: &out, File: file, Level: slog.LevelDebug})
	for _, r := range []Request{success, refused, probe} {
		seen.Record(traced(t.Context()), &r)
		seen.Record(t.Context(), &r)
	}
	log := seen.Logger()
	log.With("part", "store").WithGroup("g").Error("it failed", "error", errors.New("no"), "took", time.Second, "n", 3, "f", math.NaN(), "list", []string{"a"}, "message", "own")
	log.Info("weird \xff \u2028 \x01\n", "", 1, slog.Group("empty"), slog.Group("", slog.Int("inline", 1)))
	all := records(t, seen, &out)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]string{}
	for line := range strings.Lines(string(b)) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r["@timestamp"] == nil || r["message"] == nil || r["severity"] == nil {
			t.Errorf("shippers miss fields in %s", line)
		}
		all = append(all, r)
	}
	if len(all) != 16 {
		t.Errorf("%d records", len(all))
	}
	for _, r := range all {
		for key, v := range r {
			if v == nil {
				t.Errorf("%s is null", key)
			}
			if was := types[key]; was != "" && was != fmt.Sprintf("%T", v) {
				t.Errorf("%s is %T and %s", key, v, was)
			}
			types[key] = fmt.Sprintf("%T", v)
		}
	}
	failed := all[6]
	if g := failed["g"].(map[string]any); failed["part"] != "store" || g["error"] != "no" || g["took"] != "1s" || g["message_"] != "own" {
		t.Errorf("%v", failed)
	}
}

// TestNothingWaitsForTheLog stops whoever reads the log.
func TestNothingWaitsForTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		seen := open(t, Options{Output: w})
		long := success
		long.Client = strings.Repeat("x", 2000)
		const n = 4000
		begin := time.Now()
		for range n {
			seen.Record(t.Context(), &long)
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("%d records waited for %v", n, took)
		}
		lost := seen.log.lost()
		if lost == 0 || lost >= n {
			t.Errorf("%d of %d are lost", lost, n)
		}
		var text strings.Builder
		done := make(chan struct{})
		go func() { io.Copy(&text, r); close(done) }()
		time.Sleep(2 * pace) // until there is room again
		seen.Record(t.Context(), &refused)
		if more := seen.log.lost() - lost; more > 0 {
			t.Errorf("%d are lost where there is room", more)
		}
		if err := seen.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.Close()
		<-done
		got := strings.Count(text.String(), "\n")
		if told := strings.Count(text.String(), "records of the log were lost"); told == 0 || int64(got-told)+seen.log.lost() < n {
			t.Errorf("%d lines, of which %d tell of losses; %d lost of %d", got, told, seen.log.lost(), n)
		}
		metric := scrape(t, seen)
		if !strings.Contains(metric, `erlmcp_telemetry_lost_total{signal="logs"} `+fmt.Sprint(seen.log.lost())) {
			t.Errorf("the losses are not counted:\n%s", metric)
		}
	})
}

func scrape(t *testing.T, seen *Telemetry) string {
	t.Helper()
	families, err := seen.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "erlmcp_telemetry") {
			continue
		}
		for _, m := range f.Metric {
			fmt.Fprintf(&b, "%s{%s=%q} %v\n", f.GetName(), m.Label[0].GetName(), m.Label[0].GetValue(), m.Counter.GetValue())
		}
	}
	return b.String()
}

// TestNothingWaitsForTheAPI sends the log to an API that takes connections and never answers.
func TestNothingWaitsForTheAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		o := Options{Project: "p", Service: "erlmcp", Now: time.Now}
		conn, err := grpc.NewClient("passthrough:"+network.Silent(t), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return network.Dial(ctx, "tcp", address) }))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		s, err := newAPISink(t.Context(), &o, []option.ClientOption{option.WithGRPCConn(conn)}, here)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		long := strings.Repeat("m", 64<<10)
		for range 2 * maxBuffered / len(long) {
			s.put(&entry{time: noon, message: long, request: &success, span: trace.SpanContextFromContext(traced(t.Context()))})
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("twice what fits into the buffer waited for %v", took)
		}
		if s.lost() == 0 {
			t.Error("what does not fit into the buffer is not counted")
		}
		ctx, done := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer done()
		begin = time.Now()
		if err := s.close(ctx); err == nil || time.Since(begin) != 200*time.Millisecond {
			t.Errorf("closed after %v: %v", time.Since(begin), err)
		}
	})
}

func TestFileIsRotated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "erlmcp.log")
		seen := open(t, Options{Output: io.Discard, File: file, FileMegabytes: 1})
		long := success
		long.Client = strings.Repeat("x", 8000)
		for i := range 1300 { // 10.5 MB
			seen.Record(t.Context(), &long)
			if i%50 == 0 {
				time.Sleep(2 * pace)
			}
			if i == 50 { // after which it goes on
				seen.Reload()
			}
		}
		if err := seen.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, name := range names {
			if info, err := os.Stat(name); err != nil || info.Size() > 1<<20 {
				t.Errorf("%s: %d bytes, %v", name, info.Size(), err)
			}
		}
		if len(names) != 1+filesKept || !slices.Contains(names, file) {
			t.Errorf("%q", names)
		}
	})
}

func TestUnwritableFileStopsTheStart(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), Options{Output: io.Discard, File: filepath.Join(blocked, "erlmcp.log")}); err == nil || !strings.Contains(err.Error(), "LOG_FILE") {
		t.Error(err)
	}
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out written
		dir := t.TempDir()
		level, file := filepath.Join(dir, "level"), filepath.Join(dir, "erlmcp.log")
		put := func(text string) {
			if err := os.WriteFile(level, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		put("error\n")
		seen := open(t, Options{Output: &out, LevelFile: level, File: file})
		count := func(message string) int { return strings.Count(out.String(), message) }
		log := seen.Logger()
		log.Info("one")
		put("debug")
		seen.Reload()
		log.Debug("two")
		put("loud")
		seen.Reload()
		log.Debug("three")
		time.Sleep(2 * pace) // until it is written
		os.Rename(file, file+".old")
		put("info")
		seen.Reload()
		log.Debug("four")
		log.Info("five")
		records(t, seen, &out)
		for message, want := range map[string]int{"one": 0, "two": 1, "three": 1, "four": 0, "five": 1, "stays as it was": 1} {
			if got := count(`"message":"` + message); message != "stays as it was" && got != want || message == "stays as it was" && count(message) != 1 {
				t.Errorf("%q is there %d times, want %d", message, got, want)
			}
		}
		b, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(b), "five") {
			t.Errorf("the file was not opened anew: %v %s", err, b)
		}
		if _, err := New(t.Context(), Options{Output: io.Discard, LevelFile: filepath.Join(dir, "none")}); err == nil || !strings.Contains(err.Error(), "LOG_LEVEL_FILE") {
			t.Error(err)
		}
	})
}

func TestSample(t *testing.T) {
	var out written
	seen := open(t, Options{Output: &out, Sample: 0.1})
	const n = 2000
	bad := success
	bad.Outcome, bad.Error, bad.Fault = "panicked", "panic", Ours
	for range n {
		seen.Record(t.Context(), &success)
		seen.Record(t.Context(), &refused)
		seen.Record(t.Context(), &bad)
	}
	count := map[string]int{}
	for _, r := range records(t, seen, &out) {
		count[r["outcome"].(string)]++
	}
	if count["refused"] != n || count["panicked"] != n || count["completed"] < n/20 || count["completed"] > n/5 {
		t.Errorf("%v", count)
	}
}

func TestLineForATerminal(t *testing.T) {
	for _, c := range []struct {
		entry entry
		want  string
	}{
		{entry{level: slog.LevelInfo, message: success.message(), request: &success}, "INFO    tools/call add: completed in 1.23ms tenant=acme client=bench/1.0 request_id=r1"},
		{entry{level: slog.LevelWarn, message: refused.message(), request: &refused}, "WARNING tools/call add: refused in 1ms reason=rate scope=tool:add request_id=r2"},
		{entry{level: slog.LevelError, message: "it \x1b[2J failed", attrs: []slog.Attr{slog.String("error", "a b"), slog.Any("g", slog.GroupValue(slog.Int("n", 1)))}}, `ERROR   it ?[2J failed error="a b" g.n=1`},
	} {
		c.entry.time = noon
		if _, got, _ := strings.Cut(string(appendLine(nil, &c.entry)), " "); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// BenchmarkRecord is one record, beside what the library makes of it.
func BenchmarkRecord(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		seen, err := New(b.Context(), Options{Output: io.Discard, Project: "p"})
		if err != nil {
			b.Fatal(err)
		}
		defer seen.Close(b.Context())
		b.ReportAllocs()
		for b.Loop() {
			seen.Record(b.Context(), &success)
		}
	})
	b.Run("slog", func(b *testing.B) { // the same members, by the standard library's handler
		handler := slog.NewJSONHandler(io.Discard, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) > 0 {
				return a
			}
			switch a.Key {
			case slog.LevelKey:
				return slog.String("severity", severity(a.Value.Any().(slog.Level)))
			case slog.MessageKey:
				a.Key = "message"
			}
			return a
		}}).WithAttrs([]slog.Attr{slog.Group("logging.googleapis.com/labels", "instance", "i", "version", "v")})
		b.ReportAllocs()
		for b.Loop() {
			r := slog.NewRecord(noon, slog.LevelInfo, "tools/call add", 0)
			success.each(func(name, value string) { r.AddAttrs(slog.String(name, value)) }, func(name string, value float64) { r.AddAttrs(slog.Float64(name, value)) })
			r.AddAttrs(slog.Group("httpRequest", "requestMethod", "POST", "requestUrl", "/mcp", "status", 200, "latency", "0.001s", "protocol", "HTTP/1.1"))
			handler.Handle(b.Context(), r)
		}
	})
	b.Run("library", func(b *testing.B) {
		client, err := logging.NewClient(b.Context(), "projects/p", option.WithoutAuthentication(), option.WithEndpoint("127.0.0.1:1"))
		if err != nil {
			b.Fatal(err)
		}
		logger := client.Logger("erlmcp", logging.RedirectAsJSON(io.Discard), here)
		b.ReportAllocs()
		for b.Loop() {
			payload := map[string]any{"message": "tools/call add"}
			success.each(func(name, value string) { payload[name] = value }, func(name string, value float64) { payload[name] = value })
			logger.Log(logging.Entry{Timestamp: noon, Severity: logging.Info, Payload: payload, HTTPRequest: &logging.HTTPRequest{
				Request: &http.Request{Method: "POST", URL: &url.URL{Path: "/mcp"}, Proto: "HTTP/1.1"}, Status: 200, Latency: success.Duration}})
		}
	})
}

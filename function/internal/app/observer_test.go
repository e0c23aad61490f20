package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.opentelemetry.io/otel/baggage"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/streamhttp"
)

// watched is a function with one tool, whose observer writes to the log.
func watched(t *testing.T, log *strings.Builder, settings ...string) (*App, *catalog.Catalog) {
	t.Helper()
	pairs := map[string]string{"GOVERNOR_SCOPE": "instance"}
	for i := 0; i < len(settings); i += 2 {
		pairs[settings[i]] = settings[i+1]
	}
	entries, err := catalog.Build(catalog.FromFunc("add", "Adds.", func(context.Context, struct{}) (string, error) { return "", nil }))
	if err != nil {
		t.Fatal(err)
	}
	a, err := Begin(t.Context(), Options{Loopback: true, Getenv: func(name string) string { return pairs[name] }, Logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	a.Observe()
	return a, entries
}

// TestWhatIsToldOfMessages is a table of how messages end, and of what the log has of each: whose affair it is, and no name that a caller
// has made up.
func TestWhatIsToldOfMessages(t *testing.T) {
	limited := &mcp.Refusal{Reason: mcp.RateLimited, Scope: "tool:add", Limit: "5/s"}
	for _, c := range []struct {
		name    string
		message mcp.Message
		level   string
		want    map[string]any // nil is that it is not there
	}{
		{"a call", mcp.Message{Method: "tools/call", Name: "add", Version: "2026-07-28", Tenant: "acme", Outcome: mcp.Completed, Handled: time.Millisecond}, "INFO",
			map[string]any{"msg": "tools/call add", "tool": "add", "tenant": "acme", "outcome": "completed", "decision": "admitted", "era": "2026-07-28", "handler_ms": 1.0, "error_type": nil}},
		{"a tool that there is not", mcp.Message{Method: "tools/call", Name: "hunter2", Outcome: mcp.Failed, Error: &mcp.Error{Code: -32602}}, "INFO",
			map[string]any{"msg": "tools/call", "tool": nil, "code": -32602.0, "error_type": "-32602"}},
		{"a method that there is not", mcp.Message{Method: "hunter2", Outcome: mcp.Failed, Error: &mcp.Error{Code: -32601}}, "INFO", map[string]any{"method": "other"}},
		{"a revision that there is not", mcp.Message{Method: "tools/list", Version: "hunter2", Outcome: mcp.Completed}, "INFO", map[string]any{"era": "unknown"}},
		{"a refusal", mcp.Message{Method: "tools/call", Name: "add", Outcome: mcp.Refused, Refusal: limited}, "WARN",
			map[string]any{"decision": "refused", "reason": "rate", "scope": "tool:add", "limit": "5/s", "code": 1056.0, "error_type": "rate"}},
		{"refused before it was read", mcp.Message{Outcome: mcp.Refused, Refusal: limited}, "WARN", map[string]any{"method": "unread", "decision": "refused"}},
		{"what was never a request", mcp.Message{Outcome: mcp.Invalid, Error: &mcp.Error{Code: -32700}}, "INFO", map[string]any{"method": nil, "decision": nil, "code": -32700.0}},
		{"the tool says no", mcp.Message{Method: "tools/call", Name: "add", Outcome: mcp.ToolFailed}, "INFO", map[string]any{"error_type": "tool_error", "outcome": "tool_failed"}},
		{"something else is away", mcp.Message{Method: "tools/call", Name: "add", Outcome: mcp.Unavailable}, "WARN", map[string]any{"error_type": "unavailable"}},
		{"it takes too long", mcp.Message{Method: "tools/call", Name: "add", Outcome: mcp.TimedOut}, "WARN", map[string]any{"error_type": "timeout"}},
		{"the caller has gone", mcp.Message{Method: "tools/call", Name: "add", Outcome: mcp.Cancelled}, "INFO", map[string]any{"error_type": "cancelled"}},
		{"a panic", mcp.Message{Method: "tools/call", Name: "add", Outcome: mcp.Panicked, Error: &mcp.Error{Code: mcp.CodeInternal}}, "ERROR", map[string]any{"error_type": "panic", "code": -32603.0}},
		{"a fault of our own", mcp.Message{Method: "tools/list", Outcome: mcp.Failed, Error: &mcp.Error{Code: mcp.CodeInternal}}, "ERROR", map[string]any{"error_type": "-32603"}},
		{"a client that says its name", mcp.Message{Method: "tools/list", Client: json.RawMessage(`{"name":"my <client>","version":"1.2\n"}`), Outcome: mcp.Completed}, "INFO", map[string]any{"client": "my _client_/1.2_"}},
		{"a client that says what is none", mcp.Message{Method: "tools/list", Client: json.RawMessage(`"hunter2"`), Outcome: mcp.Completed}, "INFO", map[string]any{"client": nil}},
	} {
		var log strings.Builder
		a, entries := watched(t, &log)
		c.message.Catalog = entries
		r := httptest.NewRequest("POST", "/mcp?q=hunter2", strings.NewReader("{}"))
		r.Pattern = "POST /mcp"
		r.Header.Set("User-Agent", "curl/8 hunter2")
		x := &streamhttp.Exchange{Request: r, RequestID: "r1", Begun: time.Now(), Status: 200}
		ctx := a.Observer.Begin(t.Context(), x)
		a.Observer.Message(ctx, x, &c.message)
		x.Messages = 1
		a.Observer.End(ctx, x)
		var got map[string]any
		if err := json.Unmarshal([]byte(log.String()), &got); err != nil { // one record, and no more
			t.Errorf("%s: %v: %s", c.name, err, log.String())
			continue
		}
		if got["level"] != c.level || got["request_id"] != "r1" || strings.Contains(log.String(), "hunter2") {
			t.Errorf("%s: %s", c.name, log.String())
		}
		for key, want := range c.want {
			if got[key] != want {
				t.Errorf("%s: %s is %v, want %v", c.name, key, got[key], want)
			}
		}
	}
}

// TestWhatIsToldOfRequests has requests without a message: probes are quiet as long as they are answered well.
func TestWhatIsToldOfRequests(t *testing.T) {
	for _, c := range []struct {
		method, pattern string
		status          int
		panicked        bool
		level, message  string
	}{
		{"GET", "GET /health", 200, false, "DEBUG", "GET /health"},
		{"GET", "GET /ready", 503, false, "INFO", "GET /ready"},
		{"GET", "GET /metrics", 200, false, "DEBUG", "GET /metrics"},
		{"DELETE", "/mcp", 405, false, "INFO", "DELETE /mcp"},
		{"HUNTER2", "/", 404, false, "INFO", "OTHER elsewhere"},
		{"GET", "", 403, false, "INFO", "GET elsewhere"},
		{"POST", "/mcp", 500, true, "ERROR", "POST /mcp"},
	} {
		var log strings.Builder
		a, _ := watched(t, &log)
		r := httptest.NewRequest(c.method, "/hunter2", nil)
		r.Pattern = c.pattern
		x := &streamhttp.Exchange{Request: r, RequestID: "r1", Begun: time.Now(), Status: c.status, Panicked: c.panicked}
		a.Observer.End(a.Observer.Begin(t.Context(), x), x)
		var got map[string]any
		if err := json.Unmarshal([]byte(log.String()), &got); err != nil || got["level"] != c.level || got["msg"] != c.message || got["status"] != float64(c.status) || strings.Contains(log.String(), "unter2") {
			t.Errorf("%s %s: %v %s", c.method, c.pattern, err, log.String())
		}
	}
}

// TestListeningIsCounted has streams be open while they run.
func TestListeningIsCounted(t *testing.T) {
	var log strings.Builder
	a, _ := watched(t, &log)
	o := a.Observer
	call := &mcp.Call{Head: &mcp.RequestHeader{}, Method: methodListen}
	ctx := o.Operation(t.Context(), call)
	if o.Listening() != 1 {
		t.Errorf("%d are open", o.Listening())
	}
	x := &streamhttp.Exchange{Request: httptest.NewRequest("POST", "/mcp", nil)}
	o.Message(ctx, x, &mcp.Message{Method: methodListen, Call: call, Outcome: mcp.Completed})
	o.Message(ctx, x, &mcp.Message{Method: methodListen, Outcome: mcp.Refused, Refusal: &mcp.Refusal{Reason: mcp.RateLimited}}) // it never began
	if o.Listening() != 0 {
		t.Errorf("%d are open", o.Listening())
	}
}

// TestClientsNamesAreBounded sends more names than are kept, long ones, and all characters.
func TestClientsNamesAreBounded(t *testing.T) {
	var log strings.Builder
	a, _ := watched(t, &log)
	o := a.Observer
	for i := range 3 * maxClients {
		if got := o.client(json.RawMessage(fmt.Sprintf(`{"name":"n%d"}`, i)), ""); got != fmt.Sprint("n", i) {
			t.Fatalf("%q", got)
		}
	}
	o.client(json.RawMessage(`{"name":"`+strings.Repeat("x", 2000)+`"}`), "")
	if len(o.clients) > maxClients {
		t.Errorf("%d are kept", len(o.clients))
	}
	for r := rune(0); r < unicode.MaxRune; r = r*5/4 + 1 {
		got := product(strings.Repeat(string(r), 200))
		if len(got) > 64 || strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' && r != ' ' || r > '~' || strings.ContainsRune(`"<>&\{}`, r) }) {
			t.Errorf("%q becomes %q", r, got)
		}
	}
}

// TestHeaders reads OTEL_EXPORTER_OTLP_HEADERS as OpenTelemetry's own reader of W3C baggage does, whose form it has.
func TestHeaders(t *testing.T) {
	for _, list := range []string{"", "api-key=secret", "a=1,b=2", " a = 1 , b=2", "a=b%20c%3D%2C", "a=x=y", "a=%zz", "a"} {
		got := headers(list)
		want := map[string]string{}
		if theirs, err := baggage.Parse(strings.ReplaceAll(list, " ", "")); err == nil {
			for _, m := range theirs.Members() {
				want[m.Key()] = m.Value()
			}
		} else if list == "a=%zz" {
			want["a"] = "%zz" // what is no escape is meant as it is written
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: %v, want %v", list, got, want)
		}
	}
}

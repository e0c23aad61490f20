package function

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/identity"
)

// observed is a server whose log, traces and metrics can be looked at.
func observed(t *testing.T, log io.Writer, pairs []string, opts ...Option) (url string, stop func(), collector *collected) {
	t.Helper()
	collector = newCollected(t)
	pairs = append(pairs, "OTEL_EXPORTER_OTLP_ENDPOINT", collector.url, "OTEL_TRACES_SAMPLER", "always_on", "LOG_LEVEL", "debug", "NODE_NAME", "n")
	opts = append([]Option{WithGetenv(env(pairs...)), WithLogOutput(log), onNetwork, WithTools(wireTools()...), WithPrompts(wirePrompt()), WithResources(wireResources()...)}, opts...)
	s, err := assemble(t.Context(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(s.Close)
	t.Cleanup(stop)
	return network.Serve(t, s), stop, collector
}

// TestRecords holds the record of each way in which a request ends.
func TestRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log safeBuffer
		url, stop, _ := observed(t, &log, nil, WithTools(
			NewTool("full", "Is never free.", func(context.Context, None) (string, error) { return "", nil }, ToolOptions{PerSecond: 0.001, Burst: 1}),
			NewTool("slow", "Takes its time.", func(context.Context, None) (string, error) { time.Sleep(250 * time.Millisecond); return "", nil }),
		))
		full := modern("tools/call", "full", `"name":"full"`)
		full.send(t, url)
		time.Sleep(time.Second) // its record comes after its answer
		element := func(name string) string {
			return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + name + `"}}`
		}
		for _, c := range []struct {
			name string
			send wire
			want []map[string]any // of each record; nil is that the field is not there
		}{
			{"success", modern("tools/call", "add", `"name":"add","arguments":{"a":1}`), []map[string]any{{"severity": "INFO", "message": "tools/call add", "method": "tools/call", "tool": "add", "tenant": "anonymous",
				"decision": "admitted", "outcome": "completed", "status": 200.0, "era": "2026-07-28", "client": "wire-test", "error_type": nil}}},
			{"takes its time", modern("tools/call", "slow", `"name":"slow"`), []map[string]any{{"tool": "slow", "duration_ms": 250.0, "handler_ms": 250.0}}},
			{"refused", full, []map[string]any{{"severity": "WARNING", "tool": "full", "tenant": "anonymous", "decision": "refused", "reason": "rate", "scope": "tool:full", "limit": "0.001/s", "status": 200.0, "code": 1056.0}}},
			{"tool error", legacy("2025-11-25", "tools/call", `"name":"fail"`), []map[string]any{{"severity": "INFO", "tool": "fail", "outcome": "tool_failed", "error_type": "tool_error", "status": 200.0, "era": "2025-11-25"}}},
			{"unknown tool", legacy("2025-11-25", "tools/call", `"name":"hunter2"`), []map[string]any{{"severity": "INFO", "message": "tools/call", "tool": nil, "outcome": "failed", "code": -32602.0}}},
			{"unknown method", legacy("2025-11-25", "hunter2", ``), []map[string]any{{"method": "other", "outcome": "failed", "code": -32601.0}}},
			{"list", modern("tools/list", "", ``), []map[string]any{{"method": "tools/list", "decision": "admitted", "outcome": "completed"}}},
			{"resource of a template", modern("resources/read", "note://by/ada", `"uri":"note://by/ada"`), []map[string]any{{"resource": "note://by/{name}", "outcome": "completed"}}},
			{"prompt", modern("prompts/get", "greet", `"name":"greet","arguments":{"who":"Ada"}`), []map[string]any{{"prompt": "greet"}}},
			{"panic", modern("tools/call", "panic", `"name":"panic"`), []map[string]any{
				{"severity": "ERROR", "message": "panic in a handler", "panic": "string"}, {"severity": "ERROR", "tool": "panic", "outcome": "panicked", "code": -32603.0}}},
			{"notification", wire{body: `{"jsonrpc":"2.0","method":"notifications/initialized"}`}, []map[string]any{{"method": "notifications/initialized", "status": 202.0}}},
			{"not JSON", wire{body: `{`}, []map[string]any{{"outcome": "invalid", "code": -32700.0, "status": 400.0, "decision": nil, "method": nil}}},
			{"header mismatch", modern("tools/call", "add", `"name":"fail"`), []map[string]any{{"outcome": "failed", "code": -32020.0, "method": "tools/call"}}},
			{"batch", wire{body: "[" + element("fail") + "," + element("full") + "]", header: map[string]string{"MCP-Protocol-Version": "2025-03-26"}},
				[]map[string]any{{"tool": "fail", "outcome": "tool_failed"}, {"tool": "full", "reason": "rate"}}},
			{"foreign origin", wire{header: map[string]string{"Origin": "https://evil.example"}}, []map[string]any{{"message": "POST /mcp", "status": 403.0, "error_type": "http_403", "method": nil}}},
			{"GET", wire{method: "GET"}, []map[string]any{{"message": "GET /mcp", "status": 405.0}}},
		} {
			inCase(t, c.name, func() {
				before := len(log.String())
				resp, _ := c.send.send(t, url)
				id := resp.Header.Get("X-Request-Id")
				time.Sleep(time.Second) // the log is written behind the answers
				lines := slices.Collect(strings.Lines(log.String()[before:]))
				if len(lines) != len(c.want) {
					t.Fatalf("%d records, want %d: %q", len(lines), len(c.want), lines)
				}
				for i, line := range lines {
					var got map[string]any
					if err := json.Unmarshal([]byte(line), &got); err != nil {
						t.Fatal(err, line)
					}
					if _, ok := c.want[i]["duration_ms"]; !ok && got["panic"] == nil {
						c.want[i]["duration_ms"] = 0.0
					}
					for key, want := range c.want[i] {
						if got[key] != want {
							t.Errorf("%s is %v, want %v in %s", key, got[key], want, line)
						}
					}
					if got["request_id"] != id || id == "" {
						t.Errorf("request_id %v, the answer has %q", got["request_id"], id)
					}
					if labels := got["logging.googleapis.com/labels"].(map[string]any); !strings.HasPrefix(labels["instance"].(string), "n-") {
						t.Errorf("%v", labels)
					}
				}
			})
		}
		stop()
		if strings.Contains(log.String(), "hunter2") {
			t.Error("a name that is not in the catalog, or a panic's text, is in the log")
		}
	})
}

// TestSecretsAreNotSeen puts canaries wherever a caller or an operator can, and looks for them in all that is seen from outside.
func TestSecretsAreNotSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const canary = "cAnArY"
		key, entry := identity.NewKey(identity.Key{Tenant: "acme", Subject: "ci"})
		text, err := json.Marshal(identity.KeyFile{Keys: []identity.Key{entry}})
		if err != nil {
			t.Fatal(err)
		}
		redis := network.Redis(t)
		redis.RequireAuth(canary + "redis")
		leak := func(_ context.Context, in struct {
			How string `json:"how"`
		}) (string, error) {
			switch {
			case strings.HasPrefix(in.How, "error"):
				return "", errors.New("could not: " + in.How)
			case strings.HasPrefix(in.How, "unavailable"):
				return "", fmt.Errorf("%w: %s", ErrUnavailable, in.How)
			case strings.HasPrefix(in.How, "panic"):
				panic(in.How)
			case strings.HasPrefix(in.How, "wrapped"):
				panic(fmt.Errorf("it was %s", in.How))
			}
			return in.How, nil
		}
		var log safeBuffer
		file := writeFile(t, "", string(text))
		logFile := filepath.Join(t.TempDir(), "erlmcp.log")
		url, stop, collector := observed(t, &log, []string{
			"REDIS_URL", strings.Replace(redis.URL, "//", "//:"+canary+"redis@", 1), "AUTHENTICATION", "keys,anonymous", "API_KEYS_FILE", file, "LOG_FILE", logFile,
			"SEALING_KEYS", base64.StdEncoding.EncodeToString([]byte((canary + strings.Repeat("x", 32))[:32])), "OTEL_EXPORTER_OTLP_HEADERS", "api-key=" + canary + "otel",
			"OTEL_METRIC_EXPORT_INTERVAL", "200",
		}, WithMemory(NewInMemoryStore()), WithTools(NewTool("leak", "Says it.", leak)))

		sent := 0
		try := func(w wire) {
			for _, credential := range []string{"Bearer " + key, "Bearer erlmcp_" + canary, "Bearer eyJhbGciOiJub25lIn0." + canary + ".", "Basic " + canary, ""} {
				if w.header == nil {
					w.header = map[string]string{}
				}
				w := w.with("X-Api-Key", canary, "Cookie", "session="+canary, "Mcp-Param-Shard", canary, "X-Goog-Iap-Jwt-Assertion", canary,
					"X-Serverless-Authorization", "Bearer "+canary, "Tracestate", "a="+canary, "Baggage", "b="+canary)
				if w.header["Authorization"] = credential; credential == "" {
					delete(w.header, "Authorization")
				}
				w.send(t, url)
				sent++
			}
		}
		for _, how := range []string{"say", "error", "unavailable", "panic", "wrapped"} {
			args := `"name":"leak","arguments":{"how":"` + how + canary + `"}`
			try(modern("tools/call", "leak", args))
			try(legacy("2025-11-25", "tools/call", args))
			try(legacy("2025-03-26", "tools/call", args))
		}
		try(modern("tools/call", canary, `"name":"`+canary+`"`))
		try(modern("tools/call", "leak", `"name":"leak","arguments":{"how":7,"`+canary+`":1}`))
		try(modern(canary, "", ""))
		try(legacy("2025-11-25", canary, ""))
		try(modern("resources/read", "note://by/"+canary, `"uri":"note://by/`+canary+`"`))
		try(legacy("", "resources/read", `"uri":"note://by/`+canary+`"`))
		try(legacy("", "resources/read", `"uri":"nothing://`+canary+`"`))
		try(legacy("", "prompts/get", `"name":"greet","arguments":{"who":"`+canary+`"}`))
		try(legacy("", "completion/complete", `"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"who","value":"`+canary+`"}`))
		try(wire{body: `{"` + canary})
		try(wire{body: `[` + legacy("", "tools/call", `"name":"`+canary+`"`).body + `]`})
		try(modern("tools/list", "", `"cursor":"`+canary+`"`))
		try(wire{header: map[string]string{"Origin": "https://" + canary + ".example"}})
		for _, path := range []string{"/health", "/ready", "/startup", "/metrics", app.MetadataPath, app.MetadataPath + "/mcp", "/" + canary, "/mcp/" + canary} {
			for _, method := range []string{"GET", "POST", canary} {
				req, err := http.NewRequest(method, url+path+"?token="+canary, strings.NewReader(canary))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer "+canary)
				resp, err := do(t, req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				sent++
			}
		}
		redis.Stop()
		try(modern("tools/call", "leak", `"name":"leak","arguments":{"how":"say"}`))
		_, metrics := scrape(t, url)
		stop()
		if n := strings.Count(log.String(), "\n"); n < sent {
			t.Errorf("%d records of %d requests: this looks in the wrong place", n, sent)
		}
		collector.mu.Lock()
		defer collector.mu.Unlock()
		if len(collector.spans) < sent || len(collector.metrics) < 20 {
			t.Errorf("%d spans, %d metrics", len(collector.spans), len(collector.metrics))
		}
		for what, text := range map[string]string{"the log": log.String(), "the log's file": readFile(t, logFile), "the metrics": metrics, "what is exported": collector.raw.String()} {
			for _, secret := range []string{canary, key, strings.TrimPrefix(key, "erlmcp_")} {
				if i := strings.Index(text, secret); i >= 0 {
					t.Errorf("%s shows %q: …%s…", what, secret, text[max(0, i-300):min(len(text), i+60)])
				}
			}
		}
	})
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSeriesAreBounded calls as 200 clients, each with names of its own, and then as 1000 others, which make no series.
func TestSeriesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := assemble(t.Context(), WithGetenv(env("RATE_LIMIT_PER_SECOND", "250000", "CLIENT_RATE_LIMIT_PER_SECOND", "1000")), WithLogOutput(io.Discard), WithTools(wireTools()...), WithResources(wireResources()...))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		send := func(body string, header map[string]string) {
			r := httptest.NewRequest("POST", "/mcp", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			for name, v := range header {
				r.Header.Set(name, v)
			}
			s.ServeHTTP(httptest.NewRecorder(), r)
		}
		callAs := func(from, to int) {
			for i := from; i < to; i++ {
				name := fmt.Sprint("name", i)
				info := fmt.Sprintf(`"_meta":{"io.modelcontextprotocol/clientInfo":{"name":"client%d","version":"%d"},`, i, i)
				m := modern("tools/call", name, `"name":"`+name+`"`)
				send(strings.Replace(m.body, `"_meta":{`, info, 1), map[string]string{"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": name})
				send(legacy("", "tools/call", `"name":"add","arguments":{"a":1}`).body, map[string]string{"User-Agent": name + "/1"})
				send(legacy("", "method/"+name, ``).body, map[string]string{"MCP-Protocol-Version": name})
				send(legacy("", "method/"+name, ``).body, nil)
				send(legacy("", "resources/read", `"uri":"note://by/`+name+`"`).body, map[string]string{"Authorization": "Bearer erlmcp_" + name})
				send(legacy("", "resources/read", `"uri":"note://by/`+name+`"`).body, nil)
				send(legacy("", "prompts/get", `"name":"`+name+`"`).body, nil)
				send(`{"`+name, nil)
				time.Sleep(time.Millisecond) // at 8000 a second most are refused, after the first thousand
			}
		}
		series := func() []string {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "http://localhost/metrics", nil)
			r.RemoteAddr = "127.0.0.1:1"
			s.ServeHTTP(w, r)
			if w.Code != 200 {
				t.Fatalf("status %d", w.Code)
			}
			var names []string
			for line := range strings.Lines(w.Body.String()) {
				if !strings.HasPrefix(line, "#") {
					names = append(names, line[:strings.LastIndexByte(line, ' ')])
				}
			}
			return names
		}
		callAs(0, 200)
		before := series()
		callAs(200, 1200)
		after := series()
		t.Logf("%d series", len(after)) // infra/docs/benchmarks.md has it
		if len(before) < 300 || len(after) >= 2000 {
			t.Errorf("%d series, then %d", len(before), len(after))
		}
		if more := slices.DeleteFunc(after, func(name string) bool { return slices.Contains(before, name) }); len(more) > 0 {
			t.Errorf("more clients made %d more, such as %s", len(more), more[0])
		}
	})
}

// TestNamedMetrics wants the metrics that architecture and conventions name, in both forms of Prometheus and by OTLP.
func TestNamedMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log safeBuffer
		redis := network.Redis(t)
		url, _, collector := observed(t, &log, []string{"REDIS_URL", redis.URL, "OTEL_METRIC_EXPORT_INTERVAL", "100"}, WithMemory(NewInMemoryStore()))
		modern("tools/call", "add", `"name":"add","arguments":{"a":1}`).send(t, url)
		modern("resources/read", "note://by/ada", `"uri":"note://by/ada"`).send(t, url)
		synctest.Wait() // a request is counted once it is answered
		_, text := scrape(t, url)
		_, open := scrape(t, url, "Accept", "application/openmetrics-text; version=1.0.0")
		for _, want := range []string{
			`erlmcp_requests_total{method="tools/call",outcome="completed"} 1`, `erlmcp_request_duration_seconds_count{method="tools/call"} 1`, `erlmcp_errors_total{type="panic"} 0`, `erlmcp_errors_total{type="backpressure"} 0`, "erlmcp_active_connections ",
			`erlmcp_era_requests_total{era="2026-07-28",outcome="completed"} 2`, `tools_called_total{outcome="completed",tool="add"} 1`, `resources_accessed_total{outcome="completed",resource="note://by/{name}"} 1`, "subscriptions_active 0",
			`mcp_server_operation_duration_seconds_count{error_type="",gen_ai_tool_name="add",mcp_method_name="tools/call"} 1`,
			"erlmcp_governor_decisions_total", "erlmcp_governor_wait_seconds_total", "erlmcp_governor_in_flight", "erlmcp_governor_leased", "erlmcp_governor_round_trips_total", "erlmcp_governor_round_trip_seconds_count",
			"erlmcp_governor_degraded", "go_memstats_heap_alloc_bytes", "go_goroutines", "go_sched_latencies_seconds", "process_open_fds", "erlmcp_request_overhead_seconds_count 2",
			`erlmcp_capacity_used{scope="instance",what="connections"}`, `erlmcp_capacity_allowed{scope="instance",what="open_files"}`, `erlmcp_capacity_used{scope="instance",what="memory_bytes"}`,
			`erlmcp_capacity_allowed{scope="fleet",what="slots"} 1000`, `erlmcp_capacity_allowed{scope="fleet",what="tokens"} 10000`, `erlmcp_telemetry_lost_total{signal="logs"} 0`, `erlmcp_build_info{version="` + Version + `"} 1`,
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s is missing", want)
			}
		}
		if !strings.HasSuffix(open, "# EOF\n") || !regexp.MustCompile(`erlmcp_request_duration_seconds_bucket\{[^}]*\} \d+ # \{[^}]*trace_id="[0-9a-f]{32}"`).MatchString(open) {
			t.Error("no OpenMetrics with exemplars")
		}
		var sent []string
		for begin := time.Now(); time.Since(begin) < 5*time.Second; time.Sleep(20 * time.Millisecond) {
			collector.mu.Lock()
			sent = nil
			for name := range collector.metrics {
				sent = append(sent, name)
			}
			m := collector.metrics["mcp.server.operation.duration"]
			if m != nil && collector.metrics["tools_called_total"] != nil {
				if m.Unit != "s" || len(m.GetHistogram().GetDataPoints()) == 0 || !strings.Contains(m.String(), "gen_ai.tool.name") {
					t.Errorf("%v", m)
				}
				collector.mu.Unlock()
				return
			}
			collector.mu.Unlock()
		}
		t.Errorf("by OTLP there is %q", sent)
	})
}

package function

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func scrape(t *testing.T, url string, header ...string) (status int, text string) {
	t.Helper()
	req, err := http.NewRequest("GET", url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(header) == 2 {
		req.Header.Set(header[0], header[1])
		if header[0] == "Host" {
			req.Host = header[1]
		}
	}
	resp, err := do(t, req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestRuleInForceIsSaid takes Redis away and wants the rule in the metrics, in /ready, in the log and in the refusal.
func TestRuleInForceIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		var log safeBuffer
		url := newServer(t, WithGetenv(env("REDIS_URL", redis.URL)), WithMemory(NewInMemoryStore()), WithLogger(slog.New(slog.NewJSONHandler(&log, nil))),
			WithTools(NewTool("free", "No limit.", func(context.Context, None) (string, error) { return "here", nil }))).URL
		call := modern("tools/call", "free", `"name":"free"`)
		if _, got := call.send(t, url); parse(t, got).code() != 0 {
			t.Fatal(got)
		}
		status, text := scrape(t, url)
		for _, want := range []string{
			`erlmcp_governor_decisions_total{decision="admitted",outage="false",reason="admitted",scope=""} 1`,
			`erlmcp_governor_degraded{limit="rate",rule="local"} 0`, `erlmcp_governor_degraded{limit="concurrency",rule="closed"} 0`,
			"erlmcp_governor_round_trips_total", "erlmcp_governor_in_flight", `erlmcp_governor_leased{kind="slots"}`, "go_goroutines", "process_open_fds",
		} {
			if status != 200 || !strings.Contains(text, want) {
				t.Errorf("status %d, and %s is missing", status, want)
			}
		}
		redis.Stop()
		time.Sleep(2 * time.Second) // the lease
		resp, got := call.send(t, url)
		if a := parse(t, got); resp.StatusCode != 200 || a.code() != 1005 || !strings.Contains(a.Error.Message, "rule: closed") {
			t.Errorf("%d %s", resp.StatusCode, got)
		}
		_, text = scrape(t, url)
		for _, want := range []string{
			`erlmcp_governor_degraded{limit="rate",rule="local"} 1`, `erlmcp_governor_degraded{limit="concurrency",rule="closed"} 1`,
			`erlmcp_governor_decisions_total{decision="refused",outage="true",reason="concurrency",scope="everything"} 1`,
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s is missing", want)
			}
		}
		ready, err := fetch(t, url+"/ready")
		if err != nil {
			t.Fatal(err)
		}
		defer ready.Body.Close()
		b, _ := io.ReadAll(ready.Body)
		const rule = "rates are local, slots are closed"
		if ready.StatusCode != 200 || !strings.Contains(string(b), rule) {
			t.Errorf("%d %s", ready.StatusCode, b)
		}
		if !strings.Contains(log.String(), rule) {
			t.Errorf("the log does not say so: %s", log.String())
		}
	})
}

func TestMetricsAreForThisMachine(t *testing.T) {
	url := newServer(t).URL
	for _, header := range [][]string{{"X-Forwarded-For", "203.0.113.9"}, {"Forwarded", "for=203.0.113.9"}, {"Host", "mcp.example.com"}} {
		if status, _ := scrape(t, url, header...); status != 403 {
			t.Errorf("%q gets %d", header, status)
		}
	}
}

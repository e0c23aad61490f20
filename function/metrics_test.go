package function

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/identity"
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

// certificate is one in PEM that signs itself, and ends at a time.
func certificate(t *testing.T, end time.Time) string {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(nil, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestWhatEndsIsSaid has a key of the file end, and a key of the store before it, which is followed while nobody calls; and certificates.
func TestWhatEndsIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const d = 24 * time.Hour
		now := time.Now()
		key := func(subject string, end time.Duration) identity.Key {
			return identity.Key{Tenant: "acme", Subject: subject, Created: now.Add(-80 * d), Expires: now.Add(end)}
		}
		file, _ := keyFile(t, key("ada", 10*d))
		memory := NewInMemoryStore()
		_, stored := identity.NewKey(key("bob", 6*d))
		if _, err := memory.memory.Store.AddKey(t.Context(), stored); err != nil {
			t.Fatal(err)
		}
		redis := network.Redis(t)
		url := start(t, WithMemory(memory), WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", file, "REDIS_URL", redis.URL))).URL
		says := func(url, want string) (wrong string) {
			if _, text := scrape(t, url); !strings.Contains(text, "\nerlmcp_expires_in_seconds{"+want) {
				return "no " + want
			}
			return ""
		}
		within(t, inForce, func() string { return says(url, `what="api_keys"} 5184`) }) // 6 days less a moment
		if _, err := memory.memory.Store.ChangeKey(t.Context(), stored.ID, func(k *identity.Key) error { k.Revoked = time.Now(); return nil }); err != nil {
			t.Fatal(err)
		}
		within(t, inForce, func() string { return says(url, `what="api_keys"} 8639`) })

		operators, _ := keyFile(t, key("alice", -d))
		taiea := start(t, WithMemory(memory), WithGetenv(env("FUNCTION_TARGET", "taiea", "AUTHENTICATION", "keys", "API_KEYS_FILE", operators, "REDIS_URL", redis.URL))).URL
		if wrong := says(taiea, `what="api_keys"} -864`); wrong != "" {
			t.Error(wrong)
		}
		both := certificate(t, now.Add(2*d)) + certificate(t, now.Add(400*d)) + certificate(t, now.Add(d))
		tls := start(t, WithMemory(memory), WithGetenv(env("AUTHENTICATION", "anonymous", "REDIS_URL", "rediss"+strings.TrimPrefix(redis.URL, "redis"), "REDIS_CA", both))).URL
		if wrong := says(tls, `what="redis_ca"} 3.45`); wrong != "" {
			t.Error(wrong)
		}
		if says(tls, `what="api_keys"`) == "" {
			t.Error("what authenticates nobody ends")
		}
	})
}

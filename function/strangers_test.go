package function

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/verify"
)

// canaryOf is what a stranger writes wherever something can be written.
const canaryOf = "zxcanaryzx"

// TestStrangersWriteNothing sends both functions what strangers may, with a text of theirs in each part: the store gets one receipt a
// second, and of the text nothing.
func TestStrangersWriteNothing(t *testing.T) {
	token := "eyJhbGciOiJIUzI1NiJ9." + strings.Repeat(canaryOf, 20) + ".x"
	for _, c := range []struct {
		name   string
		taiea  bool
		method string
		path   string
		body   string
		header []string
		status int
	}{
		{"a token in the query", true, "GET", "/v1/tenants?access_token=" + token, "", nil, 401},
		{"a long path", true, "DELETE", "/v1/tenants/" + strings.Repeat(canaryOf, 10), "", nil, 401},
		{"an order", true, "PUT", "/v1/kills/tool:" + canaryOf, `{"reason":"` + canaryOf + `"}`, nil, 401},
		{"a key that is none", true, "GET", "/v1/keys/" + canaryOf, "", []string{"Authorization", "Bearer erlmcp_" + canaryOf}, 401},
		{"a token that is none", true, "POST", "/v1/keys", `{"tenant":"` + canaryOf + `"}`, []string{"Authorization", "Bearer " + token}, 401},
		{"an event that nobody signed", true, "POST", "/v1/events/webhook", `{"id":"` + canaryOf + `"}`, []string{"Webhook-Id", canaryOf, "Webhook-Timestamp", "1", "Webhook-Signature", "v1," + canaryOf}, 401},
		{"an event of no known type", true, "POST", "/v1/events/webhook?" + canaryOf, canaryOf, []string{"Content-Type", "text/" + canaryOf}, 415},
		{"a trace", true, "GET", "/v1/fleet", "", []string{"Traceparent", "00-" + hex.EncodeToString([]byte(canaryOf+"123456")) + "-00f067aa0ba902b7-01", "Tracestate", "a=" + canaryOf}, 401},
		{"a call", false, "POST", "/mcp?" + canaryOf, "", nil, 401},
		{"a call of a name that there is not", false, "POST", "/mcp", "", []string{"Mcp-Name", canaryOf, "Mcp-Method", canaryOf}, 401},
		{"a call with a token", false, "POST", "/mcp", "", []string{"Authorization", "Bearer " + token}, 401},
		{"a call with a trace", false, "POST", "/mcp", "", []string{"Traceparent", "00-" + hex.EncodeToString([]byte(canaryOf+"123456")) + "-00f067aa0ba902b7-01"}, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				file, _ := keyFile(t, identity.Key{Tenant: "ops", Subject: "alice", Scopes: []string{"taiea:admin"}})
				memory := NewInMemoryStore()
				target := map[bool]string{true: app.ControlTarget, false: app.Target}[c.taiea]
				s := start(t, WithMemory(memory), WithGetenv(env("FUNCTION_TARGET", target, "AUTHENTICATION", "keys", "API_KEYS_FILE", file,
					"WEBHOOK_SECRETS", "shop=whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=")))
				const seconds, each = 5, 20
				for range seconds {
					for range each {
						var status int
						if c.taiea {
							status, _ = order(t, c.method, s.URL+c.path, "", c.body, c.header...)
						} else {
							resp, _ := modern("tools/call", "add", `"name":"add","arguments":{"a":1}`).with(c.header...).send(t, s.URL)
							status = resp.StatusCode
						}
						if status != c.status && status != 429 {
							t.Fatalf("status %d, want %d", status, c.status)
						}
					}
					time.Sleep(time.Second)
				}
				s.Close()
				total, kept := int64(0), 0
				for r, err := range verify.Select(context.Background(), memory.memory.Receipts, "", time.Time{}, time.Time{}) {
					if err != nil {
						t.Fatal(err)
					}
					if r.Kind != receipt.Refused {
						continue
					}
					kept++
					total += 1 + r.More
					text := string(r.Append(nil))
					for _, part := range []string{canaryOf, hex.EncodeToString([]byte(canaryOf)), "eyJ", "tool:", "127.0.0.1"} {
						if strings.Contains(text, part) {
							t.Errorf("%q is in %s", part, text)
						}
					}
					if !regexp.MustCompile(`^\{"address":"[0-9a-f]{16}"\}$`).MatchString(r.Detail) || r.Principal != "" || r.Tenant != "" || r.Trace != "" || !r.Arguments.IsZero() {
						t.Errorf("%s", text)
					}
				}
				if total != seconds*each || kept > seconds+1 {
					t.Errorf("%d receipts of %d refusals, want %d in at most %d", kept, total, seconds*each, seconds+1)
				}
			})
		})
	}
}

// TestStrangersForceNoTraces sends calls with a traceparent that says it is traced: only of callers that are known, or let in, it counts.
func TestStrangersForceNoTraces(t *testing.T) {
	const traceID, spanID = "00000000000000000000000000000001", "00f067aa0ba902b7" // an id that each ratio would take
	parent := "00-" + traceID + "-" + spanID + "-01"
	call := modern("tools/call", "add", `"name":"add","arguments":{"a":1}`)
	inMeta := func(w wire) wire {
		w.body = strings.Replace(w.body, `"_meta":{`, `"_meta":{"traceparent":"`+parent+`",`, 1)
		return w
	}
	old := legacy("2025-11-25", "tools/call", `"name":"add","arguments":{"a":1},"_meta":{"traceparent":"`+parent+`"}`)
	for _, c := range []struct {
		name     string
		settings []string
		key      bool
		call     wire
		sampler  string
		traced   bool
	}{
		{"no key", nil, false, call.with("Traceparent", parent), "parentbased_traceidratio", false},
		{"a wrong key", nil, false, call.with("Traceparent", parent, "Authorization", "Bearer erlmcp_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaa"), "parentbased_traceidratio", false},
		{"no key, by the id alone", nil, false, call.with("Traceparent", parent), "traceidratio", false},
		{"no key, in _meta", nil, false, inMeta(call), "parentbased_traceidratio", false},
		{"no key, legacy", nil, false, old.with("Traceparent", parent), "parentbased_traceidratio", false},
		{"a key", nil, true, call.with("Traceparent", parent), "parentbased_traceidratio", true},
		{"a key, in _meta", nil, true, inMeta(call), "parentbased_traceidratio", true},
		{"a key, legacy", nil, true, old.with("Traceparent", parent), "parentbased_traceidratio", true},
		{"a key, and no trace", nil, true, call, "parentbased_traceidratio", false},
		{"a key, and a trace that is not sampled", nil, true, call.with("Traceparent", parent[:len(parent)-1]+"0"), "parentbased_traceidratio", false},
		{"anonymous, let in", []string{"AUTHENTICATION", "anonymous"}, false, call.with("Traceparent", parent), "parentbased_traceidratio", true},
		{"anonymous, and refused", []string{"AUTHENTICATION", "anonymous", "ANONYMOUS_RATE_LIMIT_PER_SECOND", "1"}, false, call.with("Traceparent", parent), "parentbased_traceidratio", false},
		{"anonymous, legacy, and refused", []string{"AUTHENTICATION", "anonymous", "ANONYMOUS_RATE_LIMIT_PER_SECOND", "1"}, false, old, "parentbased_traceidratio", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := newCollected(t)
				file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}})
				s := newServer(t, WithMemory(NewInMemoryStore()), WithGetenv(env(append([]string{"AUTHENTICATION", "keys", "API_KEYS_FILE", file,
					"OTEL_EXPORTER_OTLP_ENDPOINT", got.url, "OTEL_TRACES_SAMPLER", c.sampler, "OTEL_TRACES_SAMPLER_ARG", "0.0000000001"}, c.settings...)...)))
				if c.key {
					c.call = c.call.with("Authorization", "Bearer "+keys[0])
				}
				calls := 1
				if !c.traced {
					calls = 10
				}
				if strings.Contains(c.name, "refused") {
					call.send(t, s.URL) // the one that is let in, without a trace
				}
				for range calls {
					c.call.send(t, s.URL)
				}
				s.Close()
				got.mu.Lock()
				defer got.mu.Unlock()
				var names []string
				for _, span := range got.spans {
					names = append(names, span.Name)
					if hex.EncodeToString(span.TraceId) != traceID {
						t.Errorf("%s is of another trace", span.Name)
					}
				}
				if (len(names) > 0) != c.traced {
					t.Errorf("spans: %q", names)
				}
				if c.traced && !strings.Contains(fmt.Sprint(names), "tools/call add") {
					t.Errorf("the call is not among %q", names)
				}
			})
		})
	}
}

// TestWordsAreForOperators has things go wrong whose words name files, hosts and rules, and asks for them as an operator at the machine
// and as others.
func TestWordsAreForOperators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		policy := writeFile(t, "", "rules: []")
		file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}})
		s := newServer(t, WithMemory(NewInMemoryStore()), WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", file, "POLICY_FILE", policy, "REDIS_URL", redis.URL,
			"TAIEA_TOOLS", "health.check,support.model", "NODE_NAME", "gke-host-7")))
		call := func(tool string) string {
			_, got := modern("tools/call", tool, `"name":"`+tool+`","arguments":{}`).with("Authorization", "Bearer "+keys[0]).send(t, s.URL)
			return got
		}
		call("add")
		writeFile(t, policy, `rules: [{name: none, when: tol.name == "zxcanaryzx", then: deny}]`)
		time.Sleep(waitAge)
		call("add")
		synctest.Wait()
		ready := func(change func(*http.Request)) string {
			r := httptest.NewRequestWithContext(t.Context(), "GET", "http://127.0.0.1/ready", nil)
			r.RemoteAddr = "127.0.0.1:999"
			change(r)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			return w.Body.String()
		}
		secret := []string{policy, file, canaryOf, "tol.name", "gke-host", strings.TrimPrefix(redis.URL, "redis://"), "rule"}
		if got := ready(func(*http.Request) {}); !strings.Contains(got, policy) || !strings.Contains(got, "files: ") {
			t.Errorf("an operator at the machine is told %s", got)
		}
		for name, got := range map[string]string{
			"from elsewhere":      ready(func(r *http.Request) { r.RemoteAddr = "203.0.113.9:999" }),
			"by a proxy":          ready(func(r *http.Request) { r.Header.Set("X-Forwarded-For", "203.0.113.9") }),
			"by a proxy, forward": ready(func(r *http.Request) { r.Header.Set("Forwarded", "for=203.0.113.9") }),
			"by a name":           ready(func(r *http.Request) { r.Host = "mcp.example.com" }),
			"from an odd address": ready(func(r *http.Request) { r.RemoteAddr = "@" }),
			"at startup":          ready(func(r *http.Request) { r.RemoteAddr, r.URL.Path = "203.0.113.9:999", "/startup" }),
			"taiea.health.check":  call("taiea.health.check"),
			"taiea.support.model": call("taiea.support.model"),
			"the head of a caller": ready(func(r *http.Request) {
				r.RemoteAddr = "203.0.113.9:1"
				r.Header.Set("Authorization", "Bearer "+keys[0])
			}),
		} {
			for _, part := range secret {
				if strings.Contains(got, part) {
					t.Errorf("%s: %q is in %s", name, part, got)
				}
			}
			if name != "at startup" && !strings.Contains(got, "files") {
				t.Errorf("%s: no code in %s", name, got)
			}
		}
	})
}

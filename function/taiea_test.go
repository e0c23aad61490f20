package function

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/identity"
)

// controlled starts instances of the data plane and a control plane beside them, with one Redis.
func controlled(t *testing.T, instances int, pairs ...string) (taiea string, urls []string, admin string, log *safeBuffer) {
	t.Helper()
	return stored(t, instances, append([]string{"REDIS_URL", network.Redis(t).URL}, pairs...)...)
}

// stored starts instances of the data plane and a control plane beside them, with one store.
func stored(t *testing.T, instances int, pairs ...string) (taiea string, urls []string, admin string, log *safeBuffer) {
	t.Helper()
	memory := NewInMemoryStore()
	file, _ := keyFile(t)
	for range instances {
		urls = append(urls, packed(t, memory, append([]string{"API_KEYS_FILE", file, "SEALING_KEYS", testKey(1)}, pairs...)...).URL)
	}
	operators, texts := keyFile(t, identity.Key{Tenant: "ops", Subject: "alice", Scopes: []string{"taiea:admin"}}, identity.Key{Tenant: "acme", Subject: "bob", Scopes: []string{"*"}})
	log = &safeBuffer{}
	s := start(t, WithMemory(memory), WithTools(packedTools()...), WithLogger(slog.New(slog.NewJSONHandler(log, nil))),
		WithGetenv(env(append([]string{"FUNCTION_TARGET", "taiea", "AUTHENTICATION", "keys", "API_KEYS_FILE", operators, "SEALING_KEYS", testKey(1)}, pairs...)...)))
	if status, body := order(t, "GET", s.URL+"/v1/tenants", texts[1], ""); status != 403 {
		t.Errorf("the scope * makes an operator: %d %s", status, body)
	}
	return s.URL, urls, texts[0], log
}

func order(t *testing.T, method, url, key, body string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := do(t, r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestControlPlaneReachesTheFleet makes a key, grants a plan, suspends, kills and lifts, and finds each in force on every instance
// within 2 s.
func TestControlPlaneReachesTheFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taiea, urls, admin, log := controlled(t, 2, "UNKNOWN_TENANTS", "deny")
		operate(t, taiea, urls, admin, log)
		var fleet struct{ Instances []struct{ Name string } }
		if status, text := order(t, "GET", taiea+"/v1/fleet", admin, ""); status != 200 || json.Unmarshal([]byte(text), &fleet) != nil || len(fleet.Instances) != 3 {
			t.Errorf("%d %s, want 2 instances and the control plane", status, text)
		}
	})
}

// TestControlPlaneReachesOneInstanceWithoutRedis does the same by the store alone, as in the size try.
func TestControlPlaneReachesOneInstanceWithoutRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taiea, urls, admin, log := stored(t, 1, "UNKNOWN_TENANTS", "deny", "GOVERNOR_SCOPE", "instance")
		operate(t, taiea, urls, admin, log)
		if status, text := order(t, "GET", taiea+"/v1/fleet", admin, ""); status != 404 || !strings.Contains(text, "REDIS_URL is not set") {
			t.Errorf("nobody can say which instances there are, and the answer is %d %s", status, text)
		}
		if status, text := order(t, "GET", taiea+"/ready", "", ""); status != 200 || !strings.Contains(text, `"degraded":[]`) {
			t.Errorf("the control plane is %d %s", status, text)
		}
	})
}

// operate gives the orders, and wants each to be in force on every instance.
func operate(t *testing.T, taiea string, urls []string, admin string, log *safeBuffer) {
	t.Helper()
	do := func(method, path, body string, want int, headers ...string) map[string]any {
		t.Helper()
		status, text := order(t, method, taiea+path, admin, body, headers...)
		if status != want {
			t.Fatalf("%s %s: %d %s", method, path, status, text)
		}
		var out map[string]any
		json.Unmarshal([]byte(text), &out)
		return out
	}
	made := do("POST", "/v1/keys", `{"tenant":"acme","subject":"ci","scopes":["*"]}`, 201, "Idempotency-Key", "first")
	again := do("POST", "/v1/keys", `{"tenant":"acme","subject":"ci","scopes":["*"]}`, 201, "Idempotency-Key", "first")
	key, _ := made["text"].(string)
	if key == "" || again["text"] != nil || again["id"] != made["id"] {
		t.Fatalf("the key %v, and again %v", made, again)
	}
	everywhere := func(what string, status int, says string) {
		t.Helper()
		within(t, inForce, func() (wrong string) {
			for i, url := range urls {
				resp, body := modern("tools/call", "plain", `"name":"plain"`).with("Authorization", "Bearer "+key).send(t, url)
				if resp.StatusCode != status || !strings.Contains(body, says) {
					wrong = fmt.Sprintf("%s: instance %d answers %d %s", what, i, resp.StatusCode, body)
				}
			}
			return wrong
		})
	}
	everywhere("not granted", 403, "is not known here")
	do("PUT", "/v1/tenants/acme", `{"plan":"enterprise"}`, 201, "If-None-Match", "*")
	everywhere("granted", 200, "here")
	do("POST", "/v1/tenants/acme/suspend", `{"reason":"looks like abuse"}`, 200)
	everywhere("suspended", 403, "suspended by operator: looks like abuse")
	do("POST", "/v1/tenants/acme/resume", "", 200)
	everywhere("resumed", 200, "here")
	do("PUT", "/v1/kills/tool:plain", `{"reason":"it lies"}`, 201)
	everywhere("killed", 503, "it lies")
	do("DELETE", "/v1/kills/tool:plain", "", 200)
	everywhere("lifted", 200, "here")
	limits := do("GET", "/v1/limits", "", 200)
	if text, _ := json.Marshal(limits); !strings.Contains(string(text), "everything") {
		t.Errorf("limits: %s", text)
	}
	do("DELETE", "/v1/keys/"+made["id"].(string), "", 200)
	everywhere("revoked", 401, "")
	var list map[string]any
	within(t, inForce, func() (wrong string) { // what the instances recorded is stored
		list = do("GET", "/v1/receipts?limit=500", "", 200)
		kinds := map[string]int{}
		for _, r := range list["receipts"].([]any) {
			kinds[r.(map[string]any)["kind"].(string)]++
		}
		for _, kind := range []string{"changed", "killed", "entitled", "refused", "completed"} {
			if kinds[kind] == 0 {
				wrong = fmt.Sprintf("no receipt says %s: %v", kind, kinds)
			}
		}
		return wrong
	})
	if report := do("GET", "/v1/receipts/verify", "", 200); report["ok"] != true {
		t.Errorf("the receipts: %v", report)
	}
	if text, _ := json.Marshal(list); strings.Contains(string(text)+log.String(), key) {
		t.Error("a receipt or the log holds the key")
	}
	for _, kind := range []string{"changed", "killed", "entitled"} {
		if !strings.Contains(log.String(), `"msg":"recorded: `+kind) {
			t.Errorf("the log is not told what is %s:\n%s", kind, log)
		}
	}
}

func TestControlPlaneStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name  string
			pairs []string
			fault string
		}{
			{"without a store", []string{"REDIS_URL", "redis://127.0.0.1:1", "AUTHENTICATION", "google", "GOOGLE_AUDIENCES", "x"}, "GOOGLE_CLOUD_PROJECT: is not set, and taiea keeps"},
			{"without operators", []string{"AUTHENTICATION", ""}, "AUTHENTICATION: is not set"},
			{"without receipts", []string{"AUTHENTICATION", "google", "GOOGLE_AUDIENCES", "x", "RECEIPTS", "false"}, "RECEIPTS: is false, and taiea records every change"},
			{"a bad secret", []string{"AUTHENTICATION", "google", "GOOGLE_AUDIENCES", "x", "WEBHOOK_SECRETS", "shop=abc"}, "WEBHOOK_SECRETS: "},
			{"keys without a file", []string{"AUTHENTICATION", "keys"}, "operators' keys are in a file of their own"},
			{"a bad operator", []string{"AUTHENTICATION", "google", "GOOGLE_AUDIENCES", "x", "OPERATORS", "root=alice@example.com"}, "is not ROLE=WHO"},
			{"a push account that is none", []string{"AUTHENTICATION", "google", "GOOGLE_AUDIENCES", "x", "PUBSUB_AUDIENCE", "y", "PUBSUB_SERVICE_ACCOUNT", "push"}, `PUBSUB_SERVICE_ACCOUNT: "push": is not the e-mail address`},
			{"a push account without an audience", []string{"AUTHENTICATION", "google", "GOOGLE_AUDIENCES", "x", "PUBSUB_SERVICE_ACCOUNT", "p@x.iam.gserviceaccount.com"}, "PUBSUB_AUDIENCE: is not set"},
		} {
			s, err := assemble(t.Context(), WithLogger(logTo(t)), onNetwork, WithGetenv(env(append([]string{"FUNCTION_TARGET", "taiea"}, c.pairs...)...)))
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v, want %s", c.name, err, c.fault)
			}
		}
	})
}

// TestPushedThroughCloudRun has tokens whose signature the platform took away: they are taken where the operator says so, of the push
// account, for the push endpoint.
func TestPushedThroughCloudRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const account, audience = "push@acme.iam.gserviceaccount.com", "https://taiea.example.com/v1/events/pubsub"
		token := func(email, aud string) string {
			claims, _ := json.Marshal(map[string]any{"iss": "https://accounts.google.com", "aud": aud, "email": email, "email_verified": true, "sub": "1", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()})
			return "e30." + base64.RawURLEncoding.EncodeToString(claims) + ".SIGNATURE_REMOVED_BY_GOOGLE"
		}
		plane := func(authentication string) string {
			return start(t, WithMemory(NewInMemoryStore()), WithGetenv(env("FUNCTION_TARGET", "taiea",
				"K_SERVICE", "taiea", "GOVERNOR_SCOPE", "instance", "AUTHENTICATION", authentication, "PUBLIC_URL", "https://taiea.example.com", "PUBSUB_SERVICE_ACCOUNT", account, "OPERATORS", "viewer=bob@example.com"))).URL
		}
		private, public := plane("cloudrun"), plane("google")
		event, _ := json.Marshal(map[string]any{"id": "e1", "source": "shop", "type": "grant", "tenant": "acme", "time": time.Now().UTC().Format(time.RFC3339), "plan": "base"})
		push, _ := json.Marshal(map[string]any{"message": map[string]any{"data": base64.StdEncoding.EncodeToString(event), "messageId": "1"}, "subscription": "s"})
		for _, c := range []struct {
			what, url, token string
			status           int
		}{
			{"of the account", private, token(account, audience), 204},
			{"of another account", private, token("other@acme.iam.gserviceaccount.com", audience), 403},
			{"for the service", private, token(account, "https://taiea.example.com"), 403},
			{"to a public service", public, token(account, audience), 401},
		} {
			if status, body := order(t, "POST", c.url+"/v1/events/pubsub", c.token, string(push)); status != c.status {
				t.Errorf("%s: %d %s, want %d", c.what, status, body, c.status)
			}
		}
		for who, want := range map[string]int{"bob@example.com": 200, "eve@example.com": 403} {
			if status, body := order(t, "GET", private+"/v1/tenants", token(who, "https://taiea.example.com"), ""); status != want {
				t.Errorf("%s: %d %s", who, status, body)
			}
		}
	})
}

// names are looked up in a test.
type names map[string]string

// LookupNetIP implements [egress.Resolver].
func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	addr, err := netip.ParseAddr(n[host])
	if err != nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return []netip.Addr{addr}, nil
}

// TestPushReachesPublicAddressesAlone has Google's keys lie at an address that EGRESS_ALLOW names. Operators' tokens are verified by
// what is there; push deliveries, which anyone may send, are not.
func TestPushReachesPublicAddressesAlone(t *testing.T) {
	for address, public := range map[string]bool{
		"10.0.0.1": false, "127.0.0.1": false, "192.168.1.1": false, "169.254.169.254": false, "fd00::1": false, "::1": false, "8.8.8.8": true, "2001:4860:4860::8888": true,
	} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			var dialed []string
			reached := func() []string {
				mu.Lock()
				defer mu.Unlock()
				all := dialed
				dialed = nil
				return all
			}
			outside := func(o *Options) {
				o.stand.Resolver = names{"www.googleapis.com": address}
				o.stand.Dial = func(_ context.Context, _, to string) (net.Conn, error) {
					mu.Lock()
					defer mu.Unlock()
					dialed = append(dialed, to)
					return nil, errors.New("there is no one")
				}
			}
			plane := start(t, outside, WithMemory(NewInMemoryStore()), WithGetenv(env("FUNCTION_TARGET", "taiea", "AUTHENTICATION", "google", "GOVERNOR_SCOPE", "instance",
				"PUBLIC_URL", "https://taiea.example.com", "PUBSUB_SERVICE_ACCOUNT", "push@acme.iam.gserviceaccount.com", "EGRESS_ALLOW", "www.googleapis.com,"+address)))
			token := func(audience string) string {
				claims, _ := json.Marshal(map[string]any{"iss": "https://accounts.google.com", "aud": audience, "email": "push@acme.iam.gserviceaccount.com", "email_verified": true, "sub": "1",
					"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()})
				head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"1"}`))
				return head + "." + base64.RawURLEncoding.EncodeToString(claims) + ".AAAA"
			}
			if status, body := order(t, "POST", plane.URL+"/v1/events/pubsub", token("https://taiea.example.com/v1/events/pubsub"), "{}"); status != 503 {
				t.Errorf("%s: a delivery is answered %d %s", address, status, body)
			}
			if got := reached(); (len(got) > 0) != public {
				t.Errorf("%s: to verify a delivery %q was dialed", address, got)
			}
			if status, body := order(t, "GET", plane.URL+"/v1/tenants", token("https://taiea.example.com"), ""); status != 503 {
				t.Errorf("%s: an operator is answered %d %s", address, status, body)
			}
			if got := reached(); len(got) == 0 || got[0] != net.JoinHostPort(address, "443") {
				t.Errorf("%s: to verify an operator %q was dialed", address, got)
			}
		})
	}
}

package function

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/erlmcp/function/internal/identity"
)

var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { k, _ := rsa.GenerateKey(rand.Reader, 2048); return k })
	otherKey = sync.OnceValue(func() *rsa.PrivateKey { k, _ := rsa.GenerateKey(rand.Reader, 2048); return k })
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey { k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); return k })
)

// newIssuer serves the discovery document and the keys of an issuer.
func newIssuer(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	url := network.Serve(t, mux)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]string{"issuer": url, "jwks_uri": url + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
			{Key: rsaKey().Public(), KeyID: "rsa", Algorithm: "RS256", Use: "sig"},
			{Key: ecKey().Public(), KeyID: "ec", Use: "sig"},
		}})
	})
	return url
}

func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, kid string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(claims)
	object, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	out, err := object.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// with returns the claims with some of them changed.
func with(claims map[string]any, pairs ...any) map[string]any {
	out := map[string]any{}
	for k, v := range claims {
		out[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == nil {
			delete(out, pairs[i].(string))
		} else {
			out[pairs[i].(string)] = pairs[i+1]
		}
	}
	return out
}

func keyFile(t *testing.T, keys ...identity.Key) (path string, texts []string) {
	t.Helper()
	var f identity.KeyFile
	for _, k := range keys {
		text, k := identity.NewKey(k)
		texts = append(texts, text)
		f.Keys = append(f.Keys, k)
	}
	path = filepath.Join(t.TempDir(), "keys.json")
	b, _ := json.Marshal(f)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, texts
}

var receiptMember = regexp.MustCompile(`"receipt":"[0-9a-f-]{36}"`)

// TestCredentials is the matrix of credentials: for each and in both eras the status, the challenge, the body, the record in
// the log and the metric.
func TestCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer, elsewhere := newIssuer(t), newIssuer(t)
		now := time.Now()
		file, keys := keyFile(t,
			identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}},
			identity.Key{Tenant: "acme", Subject: "old", Scopes: []string{"*"}, Expires: now.Add(-time.Hour)},
			identity.Key{Tenant: "acme", Subject: "new", Scopes: []string{"*"}, Starts: now.Add(time.Hour)},
			identity.Key{Tenant: "acme", Subject: "bad", Scopes: []string{"*"}, Revoked: now.Add(-time.Hour)},
			identity.Key{Tenant: "acme", Subject: "low", Scopes: []string{"read"}},
		)
		good := map[string]any{"iss": issuer, "sub": "ada", "aud": "https://mcp.example/mcp", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "scope": "read admin"}
		rs := func(claims map[string]any) string { return sign(t, jose.RS256, rsaKey(), "rsa", claims) }
		none := func(header string) string {
			body, _ := json.Marshal(good)
			return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(body) + "."
		}
		der, err := x509.MarshalPKIXPublicKey(rsaKey().Public())
		if err != nil {
			t.Fatal(err)
		}
		public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		right := rs(good)
		forged := strings.Split(right, ".")
		forgedBody, _ := json.Marshal(with(good, "sub", "root"))
		forged[1] = base64.RawURLEncoding.EncodeToString(forgedBody)

		const (
			metadata  = `resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp"`
			need      = `scope="read admin", `
			say       = "say who you are: send the header Authorization: Bearer, with a key or a token"
			invalid   = "the credentials are not valid here"
			scheme    = "no such scheme is taken here: send the header Authorization: Bearer, with a key or a token"
			malformed = "the credentials are malformed: send one header Authorization: Bearer, with one key or token"
		)
		unauthenticated := func(text string) string {
			return `{"code":2000,"message":"refused: ` + text + `","data":{"reason":"unauthenticated","scope":"authentication","receipt":"R"}}`
		}
		token := func(text string) string {
			return `Bearer realm="erlmcp", error="invalid_token", error_description="` + text + `", SCOPE` + metadata
		}
		for _, c := range []struct {
			name           string
			headers        []string // values of Authorization
			status         int
			challenge      string
			fault          string // the JSON-RPC error; "" for a result
			method, metric string // in log and metrics
		}{
			{"none", nil, 401, `Bearer realm="erlmcp", SCOPE` + metadata, unauthenticated(say), "", "none"},
			{"two", []string{"Bearer " + right, "Bearer " + right}, 400, `Bearer realm="erlmcp", error="invalid_request", error_description="` + malformed + `", SCOPE` + metadata,
				strings.ReplaceAll(unauthenticated(malformed), `"reason":"unauthenticated"`, `"reason":"malformed_credentials"`), "", "malformed"},
			{"no token", []string{"Bearer"}, 400, `Bearer realm="erlmcp", error="invalid_request", error_description="` + malformed + `", SCOPE` + metadata,
				strings.ReplaceAll(unauthenticated(malformed), `"reason":"unauthenticated"`, `"reason":"malformed_credentials"`), "", "malformed"},
			{"two words", []string{"Bearer a b"}, 400, `Bearer realm="erlmcp", error="invalid_request", error_description="` + malformed + `", SCOPE` + metadata,
				strings.ReplaceAll(unauthenticated(malformed), `"reason":"unauthenticated"`, `"reason":"malformed_credentials"`), "", "malformed"},
			{"another scheme", []string{"Basic YTpi"}, 401, `Bearer realm="erlmcp", SCOPE` + metadata, unauthenticated(scheme), "", "unknown"},
			{"a key without its scheme", []string{keys[0]}, 401, `Bearer realm="erlmcp", SCOPE` + metadata, unauthenticated("the key comes without its scheme: send Authorization: Bearer erlmcp_…"), "", "unknown"},
			{"a token without its scheme", []string{right}, 401, `Bearer realm="erlmcp", SCOPE` + metadata, unauthenticated("the token comes without its scheme: send Authorization: Bearer, a space and the token"), "", "unknown"},
			{"unknown token", []string{"Bearer opaque"}, 401, token(invalid), unauthenticated(invalid), "", "unknown"},
			{"unknown key", []string{"Bearer erlmcp_zzzzzzzz_" + strings.Repeat("a", 26)}, 401, token(invalid), unauthenticated(invalid), "keys", "unknown"},
			{"key of no form", []string{"Bearer erlmcp_x"}, 401, token(invalid), unauthenticated(invalid), "keys", "unknown"},
			{"wrong secret", []string{"Bearer " + keys[0][:16] + strings.Repeat("a", 26)}, 401, token(invalid), unauthenticated(invalid), "keys", "unknown"},
			{"expired key", []string{"Bearer " + keys[1]}, 401, token("the credentials have expired"), unauthenticated("the credentials have expired"), "keys", "expired"},
			{"early key", []string{"Bearer " + keys[2]}, 401, token("the credentials are not valid yet"), unauthenticated("the credentials are not valid yet"), "keys", "not_yet_valid"},
			{"revoked key", []string{"Bearer " + keys[3]}, 401, token(invalid), unauthenticated(invalid), "keys", "revoked"},
			{"expired", []string{"Bearer " + rs(with(good, "exp", now.Add(-time.Hour).Unix()))}, 401, token("the credentials have expired"), unauthenticated("the credentials have expired"), "oauth", "expired"},
			{"without an end", []string{"Bearer " + rs(with(good, "exp", nil))}, 401, token(invalid), unauthenticated(invalid), "oauth", "malformed"},
			{"not yet valid", []string{"Bearer " + rs(with(good, "nbf", now.Add(time.Hour).Unix()))}, 401, token("the credentials are not valid yet"), unauthenticated("the credentials are not valid yet"), "oauth", "not_yet_valid"},
			{"wrong audience", []string{"Bearer " + rs(with(good, "aud", "https://other.example/mcp"))}, 401, token(invalid), unauthenticated(invalid), "oauth", "wrong_audience"},
			{"no audience", []string{"Bearer " + rs(with(good, "aud", nil))}, 401, token(invalid), unauthenticated(invalid), "oauth", "wrong_audience"},
			{"wrong issuer", []string{"Bearer " + rs(with(good, "iss", elsewhere))}, 401, token(invalid), unauthenticated(invalid), "", "wrong_issuer"},
			{"alg none", []string{"Bearer " + none(`{"alg":"none","typ":"JWT"}`)}, 401, token(invalid), unauthenticated(invalid), "oauth", "wrong_algorithm"},
			{"alg None", []string{"Bearer " + none(`{"alg":"None","kid":"rsa"}`)}, 401, token(invalid), unauthenticated(invalid), "oauth", "wrong_algorithm"},
			{"HS for RS", []string{"Bearer " + sign(t, jose.HS256, public, "rsa", good)}, 401, token(invalid), unauthenticated(invalid), "oauth", "wrong_algorithm"},
			{"an algorithm that is not pinned", []string{"Bearer " + sign(t, jose.RS512, rsaKey(), "rsa", good)}, 401, token(invalid), unauthenticated(invalid), "oauth", "wrong_algorithm"},
			{"unknown kid", []string{"Bearer " + sign(t, jose.RS256, otherKey(), "other", good)}, 401, token(invalid), unauthenticated(invalid), "oauth", "unknown_kid"},
			{"no kid", []string{"Bearer " + sign(t, jose.RS256, rsaKey(), "", good)}, 200, "", "", "oauth", "ok"},
			{"no kid, and no key of the issuer's", []string{"Bearer " + sign(t, jose.RS256, otherKey(), "", good)}, 401, token(invalid), unauthenticated(invalid), "oauth", "bad_signature"},
			{"another's key under a known kid", []string{"Bearer " + sign(t, jose.RS256, otherKey(), "rsa", good)}, 401, token(invalid), unauthenticated(invalid), "oauth", "bad_signature"},
			{"forged claims", []string{"Bearer " + strings.Join(forged, ".")}, 401, token(invalid), unauthenticated(invalid), "oauth", "bad_signature"},
			{"RS kid, ES algorithm", []string{"Bearer " + sign(t, jose.ES256, ecKey(), "rsa", good)}, 401, token(invalid), unauthenticated(invalid), "oauth", "wrong_algorithm"},
			{"platform's mark", []string{"Bearer " + strings.Join(forged[:2], ".") + ".SIGNATURE_REMOVED_BY_GOOGLE"}, 401, token(invalid), unauthenticated(invalid), "", "wrong_issuer"},
			{"no subject", []string{"Bearer " + rs(with(good, "sub", nil))}, 401, token(invalid), unauthenticated(invalid), "oauth", "unnamed"},
			{"low scope", []string{"Bearer " + rs(with(good, "scope", "read"))}, 403, `Bearer realm="erlmcp", error="insufficient_scope", error_description="wipe needs the scopes read admin", scope="read admin", ` + metadata,
				`{"code":2001,"message":"refused: wipe needs the scopes read admin","data":{"reason":"insufficient_scope","scope":"tool:wipe","limit":"read admin","receipt":"R"}}`, "oauth", "ok"},
			{"wildcard in a token", []string{"Bearer " + rs(with(good, "scope", "read *"))}, 403, `Bearer realm="erlmcp", error="insufficient_scope", error_description="wipe needs the scopes read admin", scope="read admin", ` + metadata,
				`{"code":2001,"message":"refused: wipe needs the scopes read admin","data":{"reason":"insufficient_scope","scope":"tool:wipe","limit":"read admin","receipt":"R"}}`, "oauth", "ok"},
			{"low scope of a key", []string{"Bearer " + keys[4]}, 403, `Bearer realm="erlmcp", error="insufficient_scope", error_description="wipe needs the scopes read admin", scope="read admin", ` + metadata,
				`{"code":2001,"message":"refused: wipe needs the scopes read admin","data":{"reason":"insufficient_scope","scope":"tool:wipe","limit":"read admin","receipt":"R"}}`, "keys", "ok"},
			{"right key", []string{"Bearer " + keys[0]}, 200, "", "", "keys", "ok"},
			{"right token", []string{"bearer " + right}, 200, "", "", "oauth", "ok"},
			{"right ES256", []string{"Bearer " + sign(t, jose.ES256, ecKey(), "ec", good)}, 200, "", "", "oauth", "ok"},
			{"scp", []string{"Bearer " + rs(with(good, "scope", nil, "scp", []string{"read", "admin"}))}, 200, "", "", "oauth", "ok"},
			{"within the skew", []string{"Bearer " + rs(with(good, "exp", now.Add(-10*time.Second).Unix()))}, 200, "", "", "oauth", "ok"},
			{"one of two audiences", []string{"Bearer " + rs(with(good, "aud", []string{"x", "https://mcp.example"}))}, 200, "", "", "oauth", "ok"},
		} {
			for era, w := range map[string]wire{
				"modern": modern("tools/call", "wipe", `"name":"wipe"`),
				"legacy": legacy("2025-11-25", "tools/call", `"name":"wipe"`),
			} {
				var log safeBuffer
				s := start(t, WithLogger(slog.New(slog.NewJSONHandler(&log, nil))),
					WithTools(NewAction("wipe", "Wipes.", func(context.Context, None) error { return nil }, ToolOptions{Scopes: []string{"admin"}})),
					WithGetenv(env("AUTHENTICATION", "keys,oauth", "API_KEYS_FILE", file, "OAUTH_ISSUERS", issuer, "PUBLIC_URL", "https://mcp.example",
						"OAUTH_SCOPES", "read", "EGRESS_ALLOW", "127.0.0.1")))
				client := network.Client(t)
				send := func(method, path, body string) (*http.Response, string) {
					req, _ := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
					req.Header.Set("Content-Type", "application/json")
					for name, v := range w.header {
						req.Header.Set(name, v)
					}
					req.Header["Authorization"] = c.headers
					resp, err := client.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					b, _ := io.ReadAll(resp.Body)
					return resp, string(b)
				}
				resp, got := send(http.MethodPost, "/mcp", w.body)
				synctest.Wait() // and all of it is logged
				scope := `scope="read", `
				if era == "modern" { // the headers say which tool
					scope = need
				}
				if want := strings.Replace(c.challenge, "SCOPE", scope, 1); resp.StatusCode != c.status || resp.Header.Get("Www-Authenticate") != want {
					t.Errorf("%s, %s: %d\n%s\nwant %d\n%s", c.name, era, resp.StatusCode, resp.Header.Get("Www-Authenticate"), c.status, want)
				}
				id := map[string]string{"modern": `"one"`, "legacy": "1"}[era]
				want := `{"jsonrpc":"2.0","id":` + id + `,"error":` + c.fault + `}`
				if got = receiptMember.ReplaceAllString(got, `"receipt":"R"`); c.fault != "" && got != want || c.fault == "" && !strings.Contains(got, `"result":{`) {
					t.Errorf("%s, %s: the body is\n%s\nwant\n%s", c.name, era, got, want)
				}
				var record struct{ Msg, Cause, Method, RequestID string }
				for line := range strings.Lines(log.String()) {
					if json.Unmarshal([]byte(line), &record); record.Msg == "credentials were refused" {
						break
					}
				}
				if refused := c.metric != "ok"; refused != (record.Cause == c.metric && record.Method == c.method) {
					t.Errorf("%s, %s: the log says\n%s", c.name, era, log.String())
				}
				for _, secret := range append(c.headers, keys...) {
					if secret = strings.TrimPrefix(secret, "Bearer "); len(secret) > 10 && (strings.Contains(log.String(), secret) || strings.Contains(got, secret)) {
						t.Errorf("%s, %s: the credentials are in the log or the answer", c.name, era)
					}
				}
				_, metrics := send(http.MethodGet, "/metrics", "")
				method := c.method
				if method == "" {
					method = "none"
				}
				if line := fmt.Sprintf("erlmcp_authentications_total{method=%q,outcome=%q} 1\n", method, c.metric); !strings.Contains(metrics, line) {
					t.Errorf("%s, %s: the metrics lack %s", c.name, era, line)
				}
				// Nothing else asks who calls.
				for path, status := range map[string]int{"/health": 200, "/ready": 200, "/.well-known/oauth-protected-resource": 200, "/.well-known/oauth-protected-resource/mcp": 200, "/elsewhere": 404} {
					if resp, _ := send(http.MethodGet, path, ""); resp.StatusCode != status {
						t.Errorf("%s, %s: %s answers %d", c.name, era, path, resp.StatusCode)
					}
				}
				client.CloseIdleConnections()
				s.Close()
			}
		}
	})
}

// TestGuessing counts failed attempts over all instances, in Redis.
func TestGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Second) }) // so often the Redis client's goroutine that dials looks whether it is closed
		redis := network.Redis(t)
		file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}})
		var urls []string
		for range 2 {
			urls = append(urls, newServer(t, WithMemory(NewInMemoryStore()), WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", file, "REDIS_URL", redis.URL, "TRUSTED_PROXIES", "1"))).URL)
		}
		attempt := func(i int, key, address string) (*http.Response, string) {
			return modern("tools/call", "add", `"name":"add","arguments":{"a":1}`).with("Authorization", "Bearer "+key, "X-Forwarded-For", address).send(t, urls[i])
		}
		guess := keys[0][:16] + strings.Repeat("a", 26)
		for i := range 10 {
			if resp, got := attempt(i%2, guess, fmt.Sprint("192.0.2.", i)); resp.StatusCode != 401 {
				t.Fatalf("attempt %d: %d %s", i, resp.StatusCode, got)
			}
		}
		for i := range 2 {
			resp, got := attempt(i, guess, "198.51.100.7")
			if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" || refused(t, parse(t, got)).Scope != "authentication" || resp.Header.Get("Www-Authenticate") != "" {
				t.Errorf("one more at instance %d: %d %s", i, resp.StatusCode, got)
			}
			resp, got = attempt(i, keys[0], "198.51.100.7")
			if resp.StatusCode != 200 {
				t.Errorf("the owner at instance %d: %d %s", i, resp.StatusCode, got)
			}
		}
		for _, k := range redis.Keys() {
			if strings.Contains(k, "192.0.2") || strings.Contains(k, keys[0][7:15]) {
				t.Errorf("Redis learns who: %s", k)
			}
		}
		redis.Stop()
		if resp, got := attempt(0, guess, "203.0.113.1"); resp.StatusCode != 429 { // known here
			t.Errorf("without Redis: %d %s", resp.StatusCode, got)
		}
		if resp, _ := attempt(1, "erlmcp_bbbbbbbb_"+strings.Repeat("a", 26), "203.0.113.1"); resp.StatusCode != 401 {
			t.Errorf("another key without Redis: %d", resp.StatusCode)
		}
	})
}

// TestPublicPath stands behind gateways that lead to the server from a path of theirs: what takes the path away, and what leaves it.
// A client that knows the address of the endpoint finds the document about it by the rules of RFC 9728.
func TestPublicPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer(t)
		s := start(t, WithTools(wireTools()...), WithGetenv(env("AUTHENTICATION", "oauth", "OAUTH_ISSUERS", issuer, "PUBLIC_URL", "https://Example.com:443/tools/", "EGRESS_ALLOW", "127.0.0.1")))
		const (
			endpoint = "https://example.com/tools/mcp"
			metadata = "/.well-known/oauth-protected-resource"
		)
		for name, gateway := range map[string]string{
			"takes it away": network.Serve(t, http.StripPrefix("/tools", s)) + "/tools",
			"leaves it":     s.URL + "/tools",
		} {
			w := modern("tools/call", "add", `"name":"add","arguments":{"a":1}`)
			resp, err := post(t, gateway+"/mcp", w, "")
			if err != nil {
				t.Fatal(err)
			}
			if got := resp.Header.Get("Www-Authenticate"); resp.StatusCode != 401 || !strings.Contains(got, `resource_metadata="https://example.com`+metadata+`/tools/mcp"`) {
				t.Errorf("a gateway that %s: %d %s", name, resp.StatusCode, got)
			}
			for _, aud := range []string{endpoint, "https://EXAMPLE.com/tools/mcp", "https://example.com:443/tools"} {
				token := sign(t, jose.RS256, rsaKey(), "rsa", map[string]any{"iss": issuer, "sub": "ada", "aud": aud, "exp": time.Now().Add(time.Hour).Unix()})
				if resp, err := post(t, gateway+"/mcp", w, "Bearer "+token); err != nil || resp.StatusCode != 200 {
					t.Errorf("a gateway that %s, a token for %s: %v %v", name, aud, resp, err)
				}
			}
			for path, want := range map[string]string{metadata: "https://example.com/tools", metadata + "/mcp": endpoint} {
				if status, got := get(t, gateway+path); status != 200 || !strings.Contains(got, `"resource":"`+want+`"`) {
					t.Errorf("a gateway that %s, %s: %d %s", name, path, status, got)
				}
			}
		}
		for path, want := range map[string]string{
			metadata + "/tools/mcp": endpoint, metadata + "/tools": "https://example.com/tools", // by the rules
			metadata + "/mcp": endpoint, metadata: "https://example.com/tools", // without the path
		} {
			if status, got := get(t, s.URL+path); status != 200 || !strings.Contains(got, `"resource":"`+want+`"`) {
				t.Errorf("%s: %d %s", path, status, got)
			}
		}
		for _, path := range []string{metadata + "/other/mcp", "/other/mcp", "/tools", "/tools/health"} {
			if status, got := get(t, s.URL+path); status != 404 {
				t.Errorf("%s: %d %s", path, status, got)
			}
		}
	})
}

// post sends what w is to a URL, and drops the answer's body.
func post(t *testing.T, url string, w wire, authorization string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(w.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for name, v := range w.header {
		req.Header.Set(name, v)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := do(t, req)
	if err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return resp, err
}

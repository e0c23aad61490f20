package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A fake is an issuer whose clock, keys and health a test sets.
type fake struct {
	mu      sync.Mutex
	now     time.Time
	keys    map[string]*ecdsa.PrivateKey
	down    bool
	fetches int // of the keys
}

const fakeURL = "https://issuer.example"

func newFake(kids ...string) *fake {
	f := &fake{now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), keys: map[string]*ecdsa.PrivateKey{}}
	for _, kid := range kids {
		f.keys[kid], _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return f
}

func (f *fake) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fake) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fake) get(_ context.Context, url string, _ int64) ([]byte, http.Header, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if url == fakeURL+"/keys" {
		f.fetches++
	}
	switch {
	case f.down:
		return nil, nil, errors.New("connection refused")
	case url == fakeURL+"/.well-known/openid-configuration":
		return fmt.Appendf(nil, `{"issuer":%q,"jwks_uri":%q}`, fakeURL, fakeURL+"/keys"), nil, nil
	case url == fakeURL+"/keys":
		var set jose.JSONWebKeySet
		for kid, k := range f.keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public(), KeyID: kid})
		}
		b, err := json.Marshal(set)
		return b, nil, err
	}
	return nil, nil, errors.New("404")
}

func (f *fake) token(t testing.TB, kid string, key *ecdsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"iss": fakeURL, "aud": "me", "sub": "ada", "exp": f.clock().Add(24 * time.Hour).Unix()}
	for k, v := range claims {
		all[k] = v
	}
	text, _ := json.Marshal(all)
	object, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := object.CompactSerialize()
	return out
}

func (f *fake) authenticator(chain ...string) *Authenticator {
	return New(Options{Chain: chain, Issuers: []Issuer{OAuthIssuer(fakeURL, []string{"me"}, []string{"ES256"}, "")}, Get: f.get, Now: f.clock})
}

func try(a *Authenticator, token string) (*Principal, Cause) {
	p, err := a.Authenticate(context.Background(), &Request{Header: http.Header{"Authorization": {"Bearer " + token}}, RemoteAddr: "192.0.2.1:1"})
	if err != nil {
		return nil, err.Cause
	}
	return p, ""
}

// forged is a token with a signature of no one.
func (f *fake) forged(kid string) string {
	part := func(format string, args ...any) string {
		return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, format, args...))
	}
	return part(`{"alg":"ES256","kid":%q}`, kid) + "." +
		part(`{"iss":%q,"aud":"me","sub":"ada","exp":%d}`, fakeURL, f.clock().Add(24*time.Hour).Unix()) + "." + part("%064d", 0)
}

func TestOutageOfTheIssuer(t *testing.T) {
	f := newFake("a")
	a := f.authenticator(OAuth)
	if _, cause := try(a, f.token(t, "a", f.keys["a"], nil)); cause != "" {
		t.Fatal(cause)
	}
	if _, cause := try(a, f.forged("a")); cause != BadSignature {
		t.Errorf("a known kid, and no one's signature: %q", cause)
	}
	f.mu.Lock()
	f.down = true
	f.fetches = 0
	f.mu.Unlock()
	for minute := range 60 {
		f.pass(time.Minute)
		if _, cause := try(a, f.token(t, "a", f.keys["a"], map[string]any{"jti": fmt.Sprint(minute)})); cause != "" {
			t.Fatalf("minute %d: a known key: %s", minute, cause)
		}
		var wg sync.WaitGroup
		for n := range 50 {
			wg.Go(func() {
				if _, cause := try(a, f.forged(fmt.Sprint("unknown", minute, "-", n))); cause != UnknownKey {
					t.Errorf("minute %d: an unknown kid: %s", minute, cause)
				}
			})
		}
		wg.Wait()
	}
	f.mu.Lock()
	if f.fetches > 61 || f.fetches < 30 {
		t.Errorf("%d fetches in an hour of 3000 unknown kids", f.fetches)
	}
	f.mu.Unlock()
	f.pass(24 * time.Hour)
	if _, cause := try(a, f.token(t, "a", f.keys["a"], nil)); cause != Unavailable {
		t.Errorf("keys that could not be confirmed for a day: %s", cause)
	}
}

func TestColdOutage(t *testing.T) {
	f := newFake("a")
	f.down = true
	a := f.authenticator(OAuth)
	token := f.token(t, "a", f.keys["a"], nil)
	for range 100 {
		if _, cause := try(a, token); cause != Unavailable {
			t.Fatal(cause)
		}
	}
	f.down = false
	if _, cause := try(a, token); cause != Unavailable {
		t.Errorf("asked again at once: %s", cause)
	}
	f.pass(5 * time.Second)
	if _, cause := try(a, token); cause != "" {
		t.Errorf("once the issuer is back: %s", cause)
	}
}

func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("old")
		a := f.authenticator(OAuth)
		old := f.token(t, "old", f.keys["old"], nil)
		if _, cause := try(a, old); cause != "" {
			t.Fatal(cause)
		}
		next, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		f.mu.Lock()
		f.keys["new"] = next
		f.mu.Unlock()
		fresh := f.token(t, "new", next, nil)
		f.pass(2 * time.Minute)
		if _, cause := try(a, fresh); cause != "" {
			t.Errorf("a new key: %s", cause)
		}
		if _, cause := try(a, old); cause != "" {
			t.Errorf("the old key beside it: %s", cause)
		}
		f.mu.Lock()
		delete(f.keys, "old")
		f.mu.Unlock()
		f.pass(11 * time.Minute)
		if _, cause := try(a, fresh); cause != "" { // refreshes beside the request
			t.Error(cause)
		}
		synctest.Wait()
		if _, cause := try(a, old); cause != UnknownKey {
			t.Errorf("the old key once it is gone: %q", cause)
		}
		// A key that changed under its kid, too.
		f.mu.Lock()
		f.keys["new"], _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		f.mu.Unlock()
		f.pass(11 * time.Minute)
		try(a, fresh)
		synctest.Wait()
		if _, cause := try(a, fresh); cause != BadSignature {
			t.Errorf("another key of the same kid: %q", cause)
		}
	})
}

func TestCachedTokenEnds(t *testing.T) {
	f := newFake("a")
	a := f.authenticator(OAuth)
	token := f.token(t, "a", f.keys["a"], map[string]any{"exp": f.clock().Add(time.Minute).Unix()})
	for _, c := range []struct {
		after time.Duration
		want  Cause
	}{{0, ""}, {time.Minute, ""}, {29 * time.Second, ""}, {2 * time.Second, Expired}} {
		f.pass(c.after)
		if _, cause := try(a, token); cause != c.want {
			t.Errorf("%v later: %q, want %q", c.after, cause, c.want)
		}
	}
}

func TestDiscoveryOfAnotherIssuer(t *testing.T) {
	f := newFake("a")
	a := New(Options{Chain: []string{OAuth}, Issuers: []Issuer{OAuthIssuer(fakeURL+"/", []string{"me"}, nil, "")}, Get: f.get, Now: f.clock})
	if _, cause := try(a, f.token(t, "a", f.keys["a"], map[string]any{"iss": fakeURL + "/"})); cause != Unavailable {
		t.Errorf("a document about another issuer: %s", cause)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name            string
		issuer          Issuer
		claims          Claims
		tenant, subject string
	}{
		{"Workspace", GoogleIssuer(nil), Claims{"email": "ada@corp.example", "email_verified": true, "hd": "corp.example"}, "corp.example", "ada@corp.example"},
		{"service account", GoogleIssuer(nil), Claims{"email": "bot@proj.iam.gserviceaccount.com", "email_verified": true}, "proj", "bot@proj.iam.gserviceaccount.com"},
		{"a person", GoogleIssuer(nil), Claims{"email": "ada@gmail.com", "email_verified": true}, "google", "ada@gmail.com"},
		{"verified in words", GoogleIssuer(nil), Claims{"email": "ada@gmail.com", "email_verified": "true"}, "google", "ada@gmail.com"},
		{"unverified in words", GoogleIssuer(nil), Claims{"email": "ada@gmail.com", "email_verified": "false"}, "", ""},
		{"verified by a number", GoogleIssuer(nil), Claims{"email": "ada@gmail.com", "email_verified": 1.0}, "", ""},
		{"odd hd", GoogleIssuer(nil), Claims{"email": "ada@gmail.com", "email_verified": true, "hd": 3.0}, "google", "ada@gmail.com"},
		{"odd email", GoogleIssuer(nil), Claims{"email": []any{"ada@gmail.com"}, "email_verified": true}, "", ""},
		{"unverified", GoogleIssuer(nil), Claims{"email": "ada@corp.example", "hd": "corp.example"}, "", ""},
		{"IAP", IAPIssuer(nil), Claims{"email": "ada@corp.example", "hd": "corp.example"}, "corp.example", "ada@corp.example"},
		{"claim", OAuthIssuer(fakeURL, nil, nil, "org"), Claims{"org": "acme"}, "acme", ""},
		{"no claim", OAuthIssuer(fakeURL, nil, nil, "org"), Claims{"org": 3.0}, "", ""},
		{"host", OAuthIssuer("https://login.example/t/1", nil, nil, ""), Claims{}, "login.example", ""},
	} {
		tenant, subject, err := c.issuer.Name(c.claims)
		if tenant != c.tenant || subject != c.subject || (err != nil) != (c.tenant == "") {
			t.Errorf("%s: %s/%s (%v)", c.name, tenant, subject, err)
		}
	}
	c := Claims{"sub": "system:serviceaccount:shop:agent"}
	if tenant, subject, err := KubernetesIssuer("x", nil).Name(c); tenant != "shop" || subject != "agent" || err != nil {
		t.Errorf("%s/%s (%v)", tenant, subject, err)
	}
	c["sub"] = "system:node:one"
	if _, _, err := KubernetesIssuer("x", nil).Name(c); err == nil {
		t.Error("a node is a caller")
	}
	// Tenants and subjects never run into each other.
	x := newPrincipal(Principal{Tenant: "a", Issuer: "keys", Subject: "b/keys c"})
	y := newPrincipal(Principal{Tenant: "a", Issuer: "https://a/b", Subject: "keys c"})
	if x.String() == y.String() || x.String() == Local.String() {
		t.Errorf("%s and %s", x, y)
	}
}

// TestPlatforms is which header carries what on Cloud Run, under IAP and in the open.
func TestPlatforms(t *testing.T) {
	f := newFake("a")
	text, key := NewKey(Key{Tenant: "acme", Subject: "ci"})
	keys, err := (&KeyFile{Keys: []Key{key}}).index()
	if err != nil {
		t.Fatal(err)
	}
	stripped := func(exp time.Duration, iss ...string) string {
		body, _ := json.Marshal(map[string]any{"iss": append(iss, "https://accounts.google.com")[0], "email": "bot@proj.iam.gserviceaccount.com", "email_verified": true, "exp": f.clock().Add(exp).Unix()})
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"x"}`)) + "." + base64.RawURLEncoding.EncodeToString(body) + withoutSignature
	}
	assertion := func(kid string, iss ...string) string {
		return f.token(t, kid, f.keys["a"], map[string]any{"aud": "/projects/1/x", "email": "ada@corp.example", "iss": append(iss, fakeURL)[0]})
	}
	iap := IAPIssuer([]string{"/projects/1/x"})
	iap.URL, iap.Keys = fakeURL, fakeURL+"/keys"
	kube := KubernetesIssuer(fakeURL, []string{"erlmcp"})
	for _, c := range []struct {
		name   string
		chain  []string
		header http.Header
		want   string // the principal, or the cause
	}{
		{"private service, invoker's token", []string{CloudRun}, http.Header{"Authorization": {"Bearer " + stripped(time.Hour)}}, "cloudrun:proj"},
		{"private service, its own header", []string{CloudRun}, http.Header{"X-Serverless-Authorization": {"Bearer " + stripped(time.Hour)}}, "cloudrun:proj"},
		{"private service, a key beside it, keys first", []string{APIKeys, CloudRun}, http.Header{"X-Serverless-Authorization": {"Bearer " + stripped(time.Hour)}, "Authorization": {"Bearer " + text}}, "acme"},
		{"private service, a key beside it, invoker first", []string{CloudRun, APIKeys}, http.Header{"X-Serverless-Authorization": {"Bearer " + stripped(time.Hour)}, "Authorization": {"Bearer " + text}}, "cloudrun:proj"},
		{"private service, a bad key beside it", []string{APIKeys, CloudRun}, http.Header{"X-Serverless-Authorization": {"Bearer " + stripped(time.Hour)}, "Authorization": {"Bearer " + text + "x"}}, "unknown"},
		{"private service, expired", []string{CloudRun}, http.Header{"Authorization": {"Bearer " + stripped(-time.Hour)}}, "expired"},
		{"private service, another issuer", []string{CloudRun}, http.Header{"Authorization": {"Bearer " + stripped(time.Hour, fakeURL)}}, "wrong_issuer"},
		{"open service, a forged mark", []string{Google, APIKeys}, http.Header{"Authorization": {"Bearer " + stripped(time.Hour)}}, "wrong_issuer"},
		{"open service, a key", []string{APIKeys, Anonymous}, http.Header{"Authorization": {"Bearer " + text}}, "acme"},
		{"open service, nothing", []string{APIKeys, Anonymous}, http.Header{}, "anonymous"},
		{"open service, a bad key is not anonymous", []string{APIKeys, Anonymous}, http.Header{"Authorization": {"Bearer " + text + "x"}}, "unknown"},
		{"open service, credentials of no method", []string{Anonymous}, http.Header{"Authorization": {"Bearer whatever"}}, "unknown"},
		{"IAP", []string{IAP}, http.Header{"X-Goog-Iap-Jwt-Assertion": {assertion("a")}}, "iap:google"},
		{"IAP, its token in Authorization", []string{IAP}, http.Header{"Authorization": {"Bearer " + assertion("a")}}, "wrong_issuer"},
		{"IAP, unknown kid", []string{IAP}, http.Header{"X-Goog-Iap-Jwt-Assertion": {assertion("b")}}, "unknown_kid"},
		{"IAP, another issuer", []string{IAP}, http.Header{"X-Goog-Iap-Jwt-Assertion": {assertion("a", "https://elsewhere.example")}}, "wrong_issuer"},
		{"IAP, nothing", []string{IAP}, http.Header{}, "none"},
		{"IAP, a key beside it", []string{APIKeys, IAP}, http.Header{"X-Goog-Iap-Jwt-Assertion": {assertion("a")}, "Authorization": {"Bearer " + text}}, "acme"},
		{"IAP, header twice", []string{IAP}, http.Header{"X-Goog-Iap-Jwt-Assertion": {assertion("a"), assertion("a")}}, "malformed"},
		{"Kubernetes", []string{Kubernetes}, http.Header{"Authorization": {"Bearer " + f.token(t, "a", f.keys["a"], map[string]any{"aud": []string{"erlmcp"}, "sub": "system:serviceaccount:shop:agent"})}}, "kubernetes:shop"},
		{"Kubernetes, for the API server", []string{Kubernetes}, http.Header{"Authorization": {"Bearer " + f.token(t, "a", f.keys["a"], map[string]any{"aud": "https://kubernetes.default.svc", "sub": "system:serviceaccount:shop:agent"})}}, "wrong_audience"},
	} {
		a := New(Options{Chain: c.chain, Keys: func() *Keys { return keys }, Issuers: []Issuer{iap, kube, GoogleIssuer([]string{"me"})}, Get: f.get, Now: f.clock})
		for range 2 { // the second time from the cache
			p, err := a.Authenticate(t.Context(), &Request{Header: c.header, RemoteAddr: "192.0.2.1:1"})
			got := ""
			if err != nil {
				got = string(err.Cause)
			} else {
				got = p.Tenant
			}
			if got != c.want {
				t.Errorf("%s: %s, want %s", c.name, got, c.want)
			}
		}
	}
}

// TestTypes: a token that was made for another use does not tell who calls.
func TestTypes(t *testing.T) {
	f := newFake("a")
	a := f.authenticator(OAuth)
	for typ, want := range map[string]Cause{"JWT": "", "at+jwt": "", "application/at+JWT": "", "secevent+jwt": Malformed, "dpop+jwt": Malformed, "logout+jwt": Malformed} {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: f.keys["a"], KeyID: "a"}}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
		if err != nil {
			t.Fatal(err)
		}
		object, _ := signer.Sign(fmt.Appendf(nil, `{"iss":%q,"aud":"me","sub":"ada","exp":%d}`, fakeURL, f.clock().Add(time.Hour).Unix()))
		token, _ := object.CompactSerialize()
		if _, cause := try(a, token); cause != want {
			t.Errorf("%s: %q, want %q", typ, cause, want)
		}
	}
}

// TestVerifiedElsewhere: that a token is good in one header says nothing of another.
func TestVerifiedElsewhere(t *testing.T) {
	f := newFake("a")
	iap := IAPIssuer([]string{"me"})
	iap.URL, iap.Keys = fakeURL, fakeURL+"/keys"
	a := New(Options{Chain: []string{OAuth, IAP}, Issuers: []Issuer{OAuthIssuer("https://other.example", []string{"me"}, nil, ""), iap}, Get: f.get, Now: f.clock})
	token := f.token(t, "a", f.keys["a"], map[string]any{"email": "ada@corp.example"})
	if _, err := a.Authenticate(t.Context(), &Request{Header: http.Header{"X-Goog-Iap-Jwt-Assertion": {token}}, RemoteAddr: "192.0.2.1:1"}); err != nil {
		t.Fatal(err)
	}
	if _, cause := try(a, token); cause != WrongIssuer {
		t.Errorf("the proxy's assertion in Authorization: %q", cause)
	}
}

func TestFailuresAreLimited(t *testing.T) {
	f := newFake()
	text, key := NewKey(Key{Tenant: "acme", Subject: "ci"})
	keys, _ := (&KeyFile{Keys: []Key{key}}).index()
	a := New(Options{Chain: []string{APIKeys}, Keys: func() *Keys { return keys }, Now: f.clock})
	from := func(address, token string) (*Principal, *Error) {
		return a.Authenticate(t.Context(), &Request{Header: http.Header{"Authorization": {"Bearer " + token}}, RemoteAddr: address + ":1"})
	}
	guess := text[:16] + strings.Repeat("a", 26)
	for n := range perKey { // from everywhere
		if _, err := from(fmt.Sprint("192.0.2.", n), guess); err.Wait > 0 {
			t.Fatalf("failure %d is too many", n)
		}
	}
	_, err := from("198.51.100.1", guess)
	if err.Wait <= 0 || err.Wait > time.Minute {
		t.Errorf("one more: %v", err.Wait)
	}
	if p, err := from("198.51.100.1", text); err != nil || p.Tenant != "acme" {
		t.Errorf("the owner is locked out: %v", err)
	}
	if _, err := from("198.51.100.1", "erlmcp_bbbbbbbb_"+strings.Repeat("a", 26)); err.Wait > 0 {
		t.Errorf("another key: %v", err.Wait)
	}
	f.pass(time.Minute)
	if _, err := from("198.51.100.1", guess); err.Wait > 0 {
		t.Errorf("a minute later: %v", err.Wait)
	}
	for n := range 2 * perAddress {
		_, err = from("203.0.113.9", fmt.Sprintf("erlmcp_%08d_%s", n, strings.Repeat("a", 26)))
	}
	if err.Wait <= 0 {
		t.Error("an address may try all keys")
	}
	if _, err := from("203.0.113.9", ""); err.Cause != Malformed || err.Wait <= 0 {
		t.Errorf("malformed ones count: %+v", err)
	}
}

func TestAddress(t *testing.T) {
	for _, c := range []struct {
		remote    string
		forwarded []string
		proxies   int
		want      string
	}{
		{"192.0.2.1:99", nil, 0, "192.0.2.1"},
		{"192.0.2.1:99", []string{"1.2.3.4"}, 0, "192.0.2.1"}, // who sends it may lie
		{"10.0.0.1:99", []string{"6.6.6.6, 1.2.3.4"}, 1, "1.2.3.4"},
		{"10.0.0.1:99", []string{"6.6.6.6", "1.2.3.4, 7.7.7.7"}, 2, "1.2.3.4"},
		{"10.0.0.1:99", []string{"1.2.3.4"}, 3, "1.2.3.4"},
		{"10.0.0.1:99", nil, 1, "10.0.0.1"},
		{"[2001:db8:1:2:3::4]:99", nil, 0, "2001:db8:1:2::/64"},
		{"[::ffff:192.0.2.1]:99", nil, 0, "192.0.2.1"},
		{"10.0.0.1:99", []string{"garbage"}, 1, "unknown"},
	} {
		h := http.Header{}
		if c.forwarded != nil {
			h["X-Forwarded-For"] = c.forwarded
		}
		if got := Address(h, c.remote, c.proxies); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

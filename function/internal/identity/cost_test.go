package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

var (
	costRounds = flag.Int("cost", 0, "measure what authentication costs, in this many rounds")
	strict     = flag.Bool("strict", false, "hold the costs as they are wanted; without it a busy machine gets leeway")
)

// TestCost measures authentication: of a token that was verified before, of an API key, and of tokens that are new.
func TestCost(t *testing.T) {
	if *costRounds == 0 {
		t.Skip("asked for with -cost")
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	get := func(_ context.Context, url string, _ int64) ([]byte, http.Header, error) {
		if !strings.HasSuffix(url, "/keys") {
			return fmt.Appendf(nil, `{"issuer":%q,"jwks_uri":%q}`, fakeURL, fakeURL+"/keys"), nil, nil
		}
		b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: rsaKey.Public(), KeyID: "RS256"}, {Key: ecKey.Public(), KeyID: "ES256"}}})
		return b, nil, err
	}
	text, key := NewKey(Key{Tenant: "acme", Subject: "ci"})
	keys, err := (&KeyFile{Keys: []Key{key}}).index()
	if err != nil {
		t.Fatal(err)
	}
	a := New(Options{Chain: []string{APIKeys, OAuth}, Keys: func() *Keys { return keys }, Issuers: []Issuer{OAuthIssuer(fakeURL, []string{"me"}, nil, "")}, Get: get})
	token := func(alg jose.SignatureAlgorithm, key any) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: string(alg)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		claims, _ := json.Marshal(map[string]any{"iss": fakeURL, "aud": "me", "sub": "ada", "scope": "read write", "exp": time.Now().Add(time.Hour).Unix(), "client_id": strings.Repeat("c", 40)})
		object, err := signer.Sign(claims)
		if err != nil {
			t.Fatal(err)
		}
		out, _ := object.CompactSerialize()
		return out
	}
	for _, c := range []struct {
		what, credential string
		cold             bool
	}{
		{"cached RS256 token", token(jose.RS256, rsaKey), false}, {"cached ES256 token", token(jose.ES256, ecKey), false}, {"API key", text, false},
		{"new RS256 token", token(jose.RS256, rsaKey), true}, {"new ES256 token", token(jose.ES256, ecKey), true},
	} {
		r := &Request{Header: http.Header{"Authorization": {"Bearer " + c.credential}}, RemoteAddr: "192.0.2.1:1"}
		best, bytes := time.Hour, int64(0)
		for range *costRounds {
			result := testing.Benchmark(func(b *testing.B) {
				for b.Loop() {
					if c.cold {
						a.verified.mu.Lock()
						clear(a.verified.known)
						a.verified.mu.Unlock()
					}
					if _, err := a.Authenticate(context.Background(), r); err != nil {
						b.Fatal(err)
					}
				}
			})
			best, bytes = min(best, time.Duration(result.NsPerOp())), result.AllocedBytesPerOp()
		}
		t.Logf("%-20s %8.2f µs  %5d bytes allocated, a credential of %d bytes", c.what, float64(best.Nanoseconds())/1000, bytes, len(c.credential))
		limit := 3 * time.Microsecond
		if !*strict {
			limit *= 2
		}
		if !c.cold && (best > limit || bytes > 1024) {
			t.Errorf("%s: %v and %d bytes, wanted are %v and 1024", c.what, best, bytes, limit)
		}
	}
}

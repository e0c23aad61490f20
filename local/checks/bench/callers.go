package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// rules are ten that an operator might write; none of them holds for the call.
const rules = `
rules:
- {name: r1, when: 'principal.tenant == "other" && tool.destructive', then: deny}
- {name: r2, when: 'principal.method == "anonymous" && !tool.readOnly', then: deny}
- {name: r3, when: 'tool.name.startsWith("admin.")', then: scopes, scopes: [admin]}
- {name: r4, when: 'tool.upstream == "billing" && !("billing" in principal.scopes)', then: deny}
- {name: r5, when: 'tool.idempotent && now.getHours("UTC") < 2', then: deny}
- {name: r6, when: 'principal.subject.endsWith("@contractor.example")', then: deny}
- {name: r7, when: 'tool.kind == "prompt" && principal.tenant == "kiosk"', then: deny}
- {name: r8, when: 'tool.openWorld && principal.tenant == "airgap"', then: deny}
- {name: r9, when: 'has(args.rows) && args.rows > 1000', then: confirm}
- {name: r10, when: '"ops" in principal.scopes && tool.name == "wipe"', then: confirm}
`

// callers starts an issuer of tokens, and leaves the settings of the server that takes them in the environment. Every server
// is sent the token.
func callers() (token string, stop func(), err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return "", nil, err
	}
	stop = func() { ln.Close(); os.RemoveAll(dir) }
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte(rules), 0o600); err != nil {
		return "", stop, err
	}
	issuer := "http://" + ln.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]string{"issuer": issuer, "jwks_uri": issuer + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "one"}}})
	})
	go http.Serve(ln, mux)
	os.Setenv("BENCH_ISSUER", issuer)
	os.Setenv("BENCH_POLICY", policy)

	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "one"}}, nil)
	if err != nil {
		return "", stop, err
	}
	claims, err := json.Marshal(map[string]any{
		"iss": issuer, "aud": "https://bench.example/mcp", "sub": "ada", "scope": "read write", "client_id": "bench",
		"iat": time.Now().Unix(), "exp": time.Now().Add(6 * time.Hour).Unix(),
	})
	if err != nil {
		return "", stop, err
	}
	object, err := signer.Sign(claims)
	if err != nil {
		return "", stop, err
	}
	token, err = object.CompactSerialize()
	return token, stop, err
}

// authenticated is the environment of the server that authenticates.
func authenticated() {
	for name, v := range map[string]string{
		"AUTHENTICATION": "oauth", "OAUTH_ISSUERS": os.Getenv("BENCH_ISSUER"), "PUBLIC_URL": "https://bench.example",
		"EGRESS_ALLOW": "127.0.0.1", "POLICY_FILE": os.Getenv("BENCH_POLICY"),
	} {
		os.Setenv(name, v)
	}
}

// Package hosts plays hosts on the internet to processes, under their own names and with TLS, and beside them the metadata server that gives
// processes in Google Cloud their tokens.
package hosts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Play has handlers answer for hosts, such as telemetry.googleapis.com, until the test ends. A process with the variables that it returns
// reaches them by a proxy, trusts their certificate, and reaches no other host but 127.0.0.1.
func Play(t *testing.T, handlers map[string]http.Handler) (env []string) {
	t.Helper()
	names := slices.Sorted(maps.Keys(handlers))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	authority := filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := handlers[r.Host]; h != nil {
			h.ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusMisdirectedRequest)
	}))
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host, port, err := net.SplitHostPort(r.Host); r.Method != http.MethodConnect || err != nil || port != "443" || handlers[host] == nil {
			http.Error(w, fmt.Sprintf("there are only %v", names), http.StatusBadGateway)
			return
		}
		there, err := net.Dial("tcp", secure.Listener.Addr().String())
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		here, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			there.Close()
			return
		}
		io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { io.Copy(there, here); there.Close() }()
		go func() { io.Copy(here, there); here.Close() }()
	}))
	t.Cleanup(proxy.Close)
	return []string{"HTTPS_PROXY=" + proxy.URL, "NO_PROXY=127.0.0.1", "SSL_CERT_FILE=" + authority}
}

// Metadata plays the metadata server, as https://docs.cloud.google.com/compute/docs/access/authenticate-workloads has it.
type Metadata struct {
	Good, Said time.Duration // for how long tokens are good, and are said to be

	mu     sync.Mutex
	tokens map[string]time.Time // until when they are good
}

// Serve starts it. A process with the variables that it returns asks it, and has no credentials beside.
func (m *Metadata) Serve(t *testing.T) (env []string) {
	t.Helper()
	m.tokens = map[string]time.Time{}
	srv := httptest.NewServer(m)
	t.Cleanup(srv.Close)
	return []string{"GCE_METADATA_HOST=" + strings.TrimPrefix(srv.URL, "http://"), "GOOGLE_APPLICATION_CREDENTIALS=", "HOME=" + t.TempDir()}
}

// Knows tells whether a request has a token that is good.
func (m *Metadata) Knows(r *http.Request) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return time.Now().Before(m.tokens[token])
}

// Given is how many tokens were asked for.
func (m *Metadata) Given() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.tokens)
}

// ServeHTTP implements [http.Handler].
func (m *Metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Metadata-Flavor", "Google")
	if r.Header.Get("Metadata-Flavor") != "Google" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	switch r.URL.Path {
	case "/computeMetadata/v1/instance/service-accounts/default/token":
		m.mu.Lock()
		defer m.mu.Unlock()
		token := fmt.Sprintf("ya29.%d", len(m.tokens))
		m.tokens[token] = time.Now().Add(m.Good)
		json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(m.Said.Seconds())})
	case "/computeMetadata/v1/project/project-id":
		io.WriteString(w, "another-project")
	case "/computeMetadata/v1/universe/universe-domain", "/computeMetadata/v1/universe/universe_domain":
		io.WriteString(w, "googleapis.com")
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

package redis

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// authority makes an authority of one's own, and the certificate that it has signed for 127.0.0.1.
func authority(t *testing.T) (ca string, certificate, key string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ours"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, of, of, &root.PublicKey, root)
	if err != nil {
		t.Fatal(err)
	}
	ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	server, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if der, err = x509.CreateCertificate(rand.Reader, leaf, of, &server.PublicKey, root); err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(server)
	if err != nil {
		t.Fatal(err)
	}
	return ca, write("server.pem", "CERTIFICATE", der), write("server.key", "PRIVATE KEY", private)
}

// TestTokens logs in to a real Redis with access tokens, over TLS by an authority of its own. Its password is the token of the hour. Connections
// that are there go on when that changes, as with accounts of the platform, and each new one brings the token that is good then.
func TestTokens(t *testing.T) {
	ca, certificate, key := authority(t)
	addr := realRedis(t, "--port", "0", "--tls-port", "PORT", "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no", "--requirepass", "token-1")
	var token atomic.Pointer[string]
	good := func(text string) { token.Store(&text) }
	good("token-1")
	var asked atomic.Int64
	open := func(ca string, fault error) error {
		c := connectTo(t, Options{URL: "rediss://" + addr, CA: ca, Timeout: 10 * time.Second, Token: func(context.Context) (string, error) {
			asked.Add(1)
			return *token.Load(), fault
		}})
		return c.Ping(t.Context()).Err()
	}
	if err := open(ca, nil); err != nil {
		t.Fatal(err)
	}
	other, _, _ := authority(t)
	if err := open(other, nil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server that another authority vouches for: %v", err)
	}
	if err := open(ca, errors.New("no account")); err == nil || !strings.Contains(err.Error(), "no account") {
		t.Errorf("without a token: %v", err)
	}

	c := connectTo(t, Options{URL: "rediss://" + addr, CA: ca, Timeout: 10 * time.Second, Token: func(context.Context) (string, error) { asked.Add(1); return *token.Load(), nil }})
	before := asked.Load()
	for range 10 {
		if err := c.Set(t.Context(), "a", 1, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.ConfigSet(t.Context(), "requirepass", "token-2").Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), "a").Err(); err != nil || asked.Load() != before+1 {
		t.Errorf("a connection that is there: %v, and %d tokens were made", err, asked.Load()-before)
	}
	if err := open(ca, nil); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("a token that has ended: %v", err)
	}
	good("token-2")
	if err := open(ca, nil); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	c.Do(t.Context(), "client", "kill", "type", "normal", "skipme", "no") // as the platform ends connections after a time
	c.Ping(t.Context())                                                   // finds out
	if err := c.Get(t.Context(), "a").Err(); err != nil {
		t.Errorf("after its connection was ended: %v", err)
	}
	if o := c.Options(); o.ConnMaxLifetime != tokenLifetime || o.ConnMaxLifetime > 55*time.Minute {
		t.Errorf("a connection lasts for %v, and the token that it began with for an hour", o.ConnMaxLifetime)
	}
}

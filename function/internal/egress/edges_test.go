package egress

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestEdges(t *testing.T) {
	s, roots, hits := server(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			w.Header()["Location"] = []string{to}
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		fmt.Fprint(w, "{}")
	})
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	c := NewClient(Options{Allow: allow(t, "127.0.0.1"), TLS: &tls.Config{RootCAs: roots}})
	if body, _, err := c.Get(t.Context(), s.URL, math.MaxInt64); string(body) != "{}" {
		t.Errorf("no bound: %q, %v", body, err)
	}
	for _, to := range []string{"https://example.com%5C@127.0.0.1/", "https://exa+mple.com/", "https://%2531.0.0.1/", s.URL + "/%3Fa+b", "/%5Cx", "https://%EF%BC%91.0.0.1/"} {
		before := hits.Load()
		if _, _, err := c.Get(t.Context(), s.URL+"/?to="+to, 10); !errors.As(err, new(*RefusedError)) || hits.Load() != before+1 {
			t.Errorf("redirect to %s: %v, %d connections", to, err, hits.Load()-before)
		}
	}
	if _, err := c.HTTP().Post(s.URL+"/?to=/", "text/plain", strings.NewReader("secret")); !errors.As(err, new(*RefusedError)) {
		t.Errorf("a redirect that takes the body along: %v", err)
	}
	if _, err := c.HTTP().Get(s.URL + "/?a b"); !errors.As(err, new(*RefusedError)) {
		t.Errorf("a space in the query: %v", err)
	}
	for _, where := range []string{"https://a:secret@exa mple.com/", "https://a:secret@[bad/"} {
		if _, _, err := c.Get(t.Context(), where, 10); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v", err)
		}
	}
	named := NewClient(Options{Allow: allow(t, "idp.internal."), TLS: &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS13},
		Resolver: names(t, map[string][][]string{"idp.internal": {{"127.0.0.1"}}})})
	if _, _, err := named.Get(t.Context(), "https://idp.internal:"+port, 10); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("the certificate of another name: %v", err)
	}
	if v := named.http.Transport.(guard).next.TLSClientConfig.MinVersion; v != tls.VersionTLS13 {
		t.Errorf("version %x", v)
	}
	for item, ok := range map[string]bool{"10.0.0.0/8:8443": true, "10.0.0.0/8:0": false, "[::1": false, "[::1]": true, "fe80::1%lo": false, "::ffff:10.0.0.0/104": false, "10.0.0.0/33": false, "127.0.0.1.": false, "127.1.": false} {
		if _, err := ParseAllowed(item); (err == nil) != ok {
			t.Errorf("%s: %v", item, err)
		}
	}
	ranged := NewClient(Options{Allow: allow(t, "127.0.0.0/8:1"), TLS: &tls.Config{RootCAs: roots}})
	if _, _, err := ranged.Get(t.Context(), s.URL, 10); !errors.As(err, new(*RefusedError)) {
		t.Errorf("another port of a range: %v", err)
	}
}

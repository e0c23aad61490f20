package egress

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/memnet"
)

// server is one that counts its connections, each of which serves one request.
func server(t *testing.T, address string, h http.HandlerFunc) (s *httptest.Server, roots *x509.CertPool, hits *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		if runtime.GOOS != "linux" {
			t.Skipf("NOT TESTED: no listener on %s: %v", address, err) // not every system has all of 127.0.0.0/8
		}
		t.Fatal(err)
	}
	return serve(t, ln, h)
}

func serve(t *testing.T, ln net.Listener, h http.HandlerFunc) (s *httptest.Server, roots *x509.CertPool, hits *atomic.Int64) {
	t.Helper()
	hits = new(atomic.Int64)
	s = httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = ln
	s.Config.SetKeepAlivesEnabled(false)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			hits.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	roots = x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s, roots, hits
}

func allow(t *testing.T, list string) []Allowed {
	t.Helper()
	a, err := ParseAllowed(list)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The name has an allowed address when it is checked and a forbidden one after; both have listeners on the same port.
func TestRebinding(t *testing.T) {
	s, roots, good := server(t, "127.0.0.2:0", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	_, _, bad := server(t, "127.0.0.1:"+port, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
	c := NewClient(Options{
		Allow: allow(t, "127.0.0.2"), TLS: &tls.Config{RootCAs: roots},
		Resolver: names(t, map[string][][]string{
			"rebind.example.com": {{"127.0.0.2"}, {"127.0.0.1"}},
			"both.example.com":   {{"127.0.0.2", "127.0.0.1"}},
		}),
	})
	where := "https://rebind.example.com:" + port
	if _, _, err := c.Get(t.Context(), where, 10); err != nil || good.Load() != 1 {
		t.Errorf("the address that was checked: %v, %d connections", err, good.Load())
	}
	if _, _, err := c.Get(t.Context(), where, 10); !errors.As(err, new(*RefusedError)) {
		t.Errorf("the address after: %v", err)
	}
	if _, _, err := c.Get(t.Context(), "https://both.example.com:"+port, 10); !errors.As(err, new(*RefusedError)) {
		t.Errorf("one allowed and one forbidden: %v", err)
	}
	if good.Load() != 1 || bad.Load() != 0 {
		t.Errorf("%d connections to the allowed address and %d to the forbidden one", good.Load(), bad.Load())
	}
}

func TestRedirects(t *testing.T) {
	port, hits := trap(t)
	var first *httptest.Server
	first, roots, _ := server(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		var left int
		switch fmt.Sscanf(r.URL.Path, "/%d", &left); {
		case r.URL.Path == "/plain":
			http.Redirect(w, r, "http://127.0.0.1:"+port, http.StatusFound)
		case left > 0:
			http.Redirect(w, r, fmt.Sprintf("/%d", left-1), http.StatusFound)
		default:
			fmt.Fprint(w, "{}")
		}
	})
	c := NewClient(Options{Allow: allow(t, "127.0.0.1"), TLS: &tls.Config{RootCAs: roots}}) // the trap is allowed, in the clear too
	for path, ok := range map[string]bool{"/0": true, "/5": true, "/6": false, "/plain": false} {
		_, _, err := c.Get(t.Context(), first.URL+path, 10)
		if ok && err != nil || !ok && !errors.As(err, new(*RefusedError)) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if n := hits.Load(); n > 0 {
		t.Errorf("%d connections in the clear", n)
	}
}

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		s, roots, _ := serve(t, network.Listen(), func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/headers" {
				w.Header().Set("X-Long", strings.Repeat("x", 100<<10))
				return
			}
			for { // a body without end
				fmt.Fprint(w, " ")
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
					panic(http.ErrAbortHandler) // to return would end the body, which may reach a client that is still closing
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
		c := NewClient(Options{Allow: allow(t, "127.0.0.1"), TLS: &tls.Config{RootCAs: roots}, Timeout: 300 * time.Millisecond, Dial: network.Dial})
		defer c.Close()
		if _, _, err := c.Get(t.Context(), s.URL+"/headers", 10); err == nil || !strings.Contains(err.Error(), "headers exceeded") {
			t.Errorf("long headers: %v", err)
		}
		start := time.Now()
		if _, _, err := c.Get(t.Context(), s.URL, 1<<20); err == nil || time.Since(start) != 300*time.Millisecond {
			t.Errorf("a body without end: %v after %v", err, time.Since(start))
		}

		old := httptest.NewUnstartedServer(http.NotFoundHandler())
		old.Listener.Close()
		old.Listener = network.Listen()
		old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
		old.StartTLS()
		defer old.Close()
		lax := NewClient(Options{Allow: allow(t, "127.0.0.1"), TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10}, Dial: network.Dial})
		if _, _, err := lax.Get(t.Context(), old.URL, 10); err == nil || !strings.Contains(err.Error(), "version") {
			t.Errorf("TLS 1.1: %v", err)
		}
	})
}

// net/http reads the environment's proxy once a process, so the test is a process of its own.
func TestNoProxy(t *testing.T) {
	if os.Getenv("OUTBOUND_TEST_CHILD") == "" {
		port, hits := trap(t)
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoProxy$")
		cmd.Env = append(os.Environ(), "OUTBOUND_TEST_CHILD=1", "NO_PROXY=", "no_proxy=")
		for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
			cmd.Env = append(cmd.Env, name+"=http://127.0.0.1:"+port)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		if n := hits.Load(); n > 0 {
			t.Errorf("the proxy got %d connections", n)
		}
		return
	}
	s, roots, _ := server(t, "127.0.0.1:0", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	where := "https://idp.example.com:" + port
	req, _ := http.NewRequest(http.MethodGet, where, nil)
	if proxy, err := http.ProxyFromEnvironment(req); proxy == nil || err != nil {
		t.Fatalf("the environment has no proxy to ignore: %v", err)
	}
	c := NewClient(Options{
		Allow: allow(t, "idp.example.com"), TLS: &tls.Config{RootCAs: roots},
		Resolver: names(t, map[string][][]string{"idp.example.com": {{"127.0.0.1"}}}),
	})
	if _, _, err := c.Get(t.Context(), where, 10); err != nil {
		t.Error(err)
	}
}

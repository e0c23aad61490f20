package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// trap is a listener on loopback that nothing may connect to.
func trap(t *testing.T) (port string, hits *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	hits = new(atomic.Int64)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			hits.Add(1)
			conn.Close()
		}
	}()
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port, hits
}

// names is a real DNS server. Each name has lists of addresses; each query for IPv4 takes the next list, and the last stays.
func names(t *testing.T, zone map[string][][]string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	var mu sync.Mutex
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			q := buf[:n]
			var labels []string
			end := 12
			for q[end] != 0 {
				labels = append(labels, string(q[end+1:end+1+int(q[end])]))
				end += 1 + int(q[end])
			}
			kind := binary.BigEndian.Uint16(q[end+1:])
			end += 5
			name := strings.ToLower(strings.Join(labels, "."))
			mu.Lock()
			lists := zone[name]
			var answers []netip.Addr
			if len(lists) > 0 {
				for _, a := range lists[0] {
					if addr := netip.MustParseAddr(a); addr.Is4() == (kind == 1) {
						answers = append(answers, addr)
					}
				}
				if len(lists) > 1 && kind == 1 {
					zone[name] = lists[1:]
				}
			}
			mu.Unlock()
			reply := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, byte(len(answers)), 0, 0, 0, 0}, q[12:end]...)
			for _, a := range answers {
				raw := a.AsSlice()
				reply = append(reply, 0xc0, 12, byte(kind>>8), byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(len(raw)))
				reply = append(reply, raw...)
			}
			conn.WriteTo(reply, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestTricks(t *testing.T) {
	port, hits := trap(t)
	var redirect http.HandlerFunc = func(w http.ResponseWriter, r *http.Request) {
		to := r.URL.Query().Get("to")
		if to == "loop" {
			to = r.URL.String()
		}
		w.Header()["Location"] = []string{to}
		w.WriteHeader(http.StatusFound)
	}
	allowed := httptest.NewTLSServer(redirect)
	defer allowed.Close()
	_, own, _ := net.SplitHostPort(allowed.Listener.Addr().String())
	roots := x509.NewCertPool()
	roots.AddCert(allowed.Certificate())
	allow, err := ParseAllowed("127.0.0.1:" + own + ",meta.internal,loops.internal:" + own)
	if err != nil {
		t.Fatal(err)
	}
	resolver := names(t, map[string][][]string{
		"private.example":  {{"127.0.0.1"}},
		"ten.example":      {{"10.1.2.3"}},
		"metadata.example": {{"169.254.169.254"}},
		"mixed.example":    {{"93.184.215.14", "127.0.0.1"}},
		"six.example":      {{"::1"}},
		"mapped.example":   {{"::ffff:127.0.0.1"}},
		"both.example":     {{"93.184.215.14", "fd00::1"}},
		"rebind.example":   {{"127.0.0.1"}, {"93.184.215.14"}},
		"nat64.example":    {{"64:ff9b::7f00:1"}},
		"meta.internal":    {{"169.254.169.254"}},
		"zero.example":     {{"0.0.0.0"}},
		"carrier.example":  {{"100.100.100.200"}},
	})
	c := NewClient(Options{Allow: allow, Resolver: resolver, Timeout: 3 * time.Second, TLS: &tls.Config{RootCAs: roots, InsecureSkipVerify: true}})
	to := func(target string) string { return allowed.URL + "/?to=" + url.QueryEscape(target) }
	at := func(host string) string { return "https://" + host + ":" + port + "/" }
	tricks := map[string]string{
		"loopback":                          at("127.0.0.1"),
		"another loopback":                  at("127.1.2.3"),
		"IPv6 loopback":                     at("[::1]"),
		"unspecified":                       at("0.0.0.0"),
		"IPv6 unspecified":                  at("[::]"),
		"decimal":                           at("2130706433"),
		"octal":                             at("0177.0.0.1"),
		"octal in one":                      at("017700000001"),
		"hexadecimal":                       at("0x7f000001"),
		"hexadecimal part":                  at("0x7f.0.0.1"),
		"hexadecimal last":                  at("127.0.0.0x1"),
		"two parts":                         at("127.1"),
		"three parts":                       at("127.0.1"),
		"leading zeros":                     at("127.000.000.001"),
		"trailing dot":                      at("127.0.0.1."),
		"dots beyond":                       at("127.0.0.1.."),
		"too large":                         at("127.0.0.257"),
		"mapped":                            at("[::ffff:127.0.0.1]"),
		"mapped in hexadecimal":             at("[::ffff:7f00:1]"),
		"compatible":                        at("[::127.0.0.1]"),
		"NAT64":                             at("[64:ff9b::7f00:1]"),
		"local NAT64":                       at("[64:ff9b:1::7f00:1]"),
		"6to4":                              at("[2002:7f00:1::]"),
		"Teredo":                            at("[2001:0:7f00:1::]"),
		"unique local":                      at("[fd00:ec2::254]"),
		"link-local":                        at("[fe80::1]"),
		"zone":                              at("[fe80::1%25lo]"),
		"zone on loopback":                  at("[::1%25lo]"),
		"site-local":                        at("[fec0::1]"),
		"metadata":                          "http://169.254.169.254/computeMetadata/v1/",
		"metadata by https":                 at("169.254.169.254"),
		"metadata mapped":                   at("[::ffff:a9fe:a9fe]"),
		"metadata by name":                  "http://metadata.google.internal/computeMetadata/v1/",
		"metadata by its short name":        "http://metadata/computeMetadata/v1/",
		"another cloud's":                   "https://168.63.129.16/",
		"ten":                               at("10.0.0.1"),
		"172":                               at("172.16.0.1"),
		"192":                               at("192.168.0.1"),
		"carrier":                           at("100.64.0.1"),
		"benchmark":                         at("198.18.0.1"),
		"multicast":                         at("224.0.0.1"),
		"broadcast":                         at("255.255.255.255"),
		"reserved":                          at("240.0.0.1"),
		"localhost":                         at("localhost"),
		"below localhost":                   at("a.localhost"),
		"localhost with a dot":              at("LocalHost."),
		"no domain":                         at("redis"),
		"kubernetes":                        at("kubernetes.default.svc.cluster.local"),
		"user":                              "https://example.com@127.0.0.1:" + port + "/",
		"user and password":                 "https://a:b@example.com/",
		"user that looks like host":         "https://127.0.0.1:" + port + "#@example.com/",
		"backslash":                         `https://example.com\@127.0.0.1:` + port + "/",
		"CRLF":                              "https://example.com/\r\nHost: 127.0.0.1",
		"CRLF in the host":                  "https://example.com%0d%0a.evil/",
		"null":                              "https://127.0.0.1\x00.example.com/",
		"space":                             "https://127.0.0.1 .example.com/",
		"full width":                        "https://１２７.0.0.1:" + port + "/",
		"circled":                           "https://①②⑦.⓪.⓪.①/",
		"percent":                           "https://%31%32%37.0.0.1:" + port + "/",
		"no host":                           "https:///path",
		"opaque":                            "https:127.0.0.1",
		"no scheme":                         "//127.0.0.1:" + port + "/",
		"file":                              "file:///etc/passwd",
		"gopher":                            "gopher://127.0.0.1:" + port + "/_x",
		"in the clear":                      "http://example.com/",
		"name of loopback":                  at("private.example"),
		"name of ten":                       at("ten.example"),
		"name of metadata":                  at("metadata.example"),
		"one of two":                        at("mixed.example"),
		"one of two families":               at("both.example"),
		"name of ::1":                       at("six.example"),
		"name of a mapped one":              at("mapped.example"),
		"name of NAT64":                     at("nat64.example"),
		"name of zero":                      at("zero.example"),
		"name of a carrier's":               at("carrier.example"),
		"first private, then public":        at("rebind.example"),
		"redirect to loopback":              to(at("127.0.0.1")),
		"redirect to metadata":              to("https://169.254.169.254/"),
		"redirect in the clear":             to("http://example.com/"),
		"redirect to the same in the clear": to("http://127.0.0.1:" + own + "/"),
		"redirect to a name":                to(at("private.example")),
		"redirect to a user":                to("https://a:b@example.com/"),
		"redirect to a file":                to("file:///etc/passwd"),
		"redirect to decimal":               to(at("2130706433")),
		"allowed name of metadata":          "https://meta.internal/",
		"redirect without end":              to("loop"),
		"allowed host, other port":          at("loops.internal"),
	}
	for name, target := range tricks {
		t.Run(name, func(t *testing.T) {
			_, _, err := c.Get(t.Context(), target, 1000)
			var refused *RefusedError
			if !errors.As(err, &refused) {
				t.Fatalf("%q: %v (%T), want a refusal", target, err, err)
			}
			if strings.Contains(err.Error(), "dial tcp") {
				t.Errorf("%q: an address was dialed before: %v", target, err)
			}
			if len(refused.Reason) < 10 || strings.ContainsAny(refused.Error(), "\r\n\x00") {
				t.Errorf("%q: %q says little, or too much", target, refused)
			}
		})
	}
	if n := hits.Load(); n > 0 {
		t.Errorf("%d connections were made", n)
	}
	if len(tricks) < 80 {
		t.Errorf("%d tricks", len(tricks))
	}
}

func TestAllowed(t *testing.T) {
	var second http.Header
	target := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		second = r.Header.Clone()
		fmt.Fprint(w, strings.Repeat("x", 100))
	}))
	defer target.Close()
	first := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target.URL, http.StatusFound) }))
	defer first.Close()
	roots := x509.NewCertPool()
	roots.AddCert(first.Certificate())
	allow, err := ParseAllowed("127.0.0.0/8, idp.internal")
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(Options{Allow: allow, TLS: &tls.Config{RootCAs: roots}, Resolver: names(t, map[string][][]string{"idp.internal": {{"127.0.0.1"}}})})

	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, first.URL, nil)
	for _, name := range []string{"Authorization", "Cookie", "X-Api-Key", "Proxy-Authorization"} {
		req.Header.Set(name, "secret")
	}
	resp, err := c.HTTP().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for name, values := range second {
		if strings.Contains(strings.Join(values, " "), "secret") {
			t.Errorf("the header %s came along", name)
		}
	}
	if _, _, err := c.Get(t.Context(), first.URL, 100); err != nil || !strings.Contains(second.Get("Accept"), "application/jwk-set+json") {
		t.Errorf("Kubernetes answers 406 to who accepts %q (%v)", second.Get("Accept"), err)
	}
	if _, _, err := c.Get(t.Context(), first.URL, 99); err == nil || !strings.Contains(err.Error(), "more than 99 bytes") {
		t.Errorf("a long body: %v", err)
	}
	if body, _, err := c.Get(t.Context(), first.URL, 100); err != nil || len(body) != 100 {
		t.Errorf("a body of the limit: %d, %v", len(body), err)
	}
	strict := NewClient(Options{Allow: allow, TLS: &tls.Config{InsecureSkipVerify: true}})
	if _, _, err := strict.Get(t.Context(), first.URL, 100); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown certificate: %v", err)
	}
	_, port, _ := net.SplitHostPort(first.Listener.Addr().String())
	if _, _, err := c.Get(t.Context(), "https://idp.internal:"+port, 100); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an allowed name is reached, and its certificate is of another: %v", err)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	if _, _, err := c.Get(t.Context(), plain.URL, 100); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("in the clear to an allowed address: %v", err)
	}
}

func TestParseAllowed(t *testing.T) {
	for list, want := range map[string]string{
		"10.0.0.0/8, ::1, idp.internal:8443,[::1]:9": "",
		"https://idp.internal":                       "without a scheme or path",
		"idp.internal:http":                          "has no port",
		"127.1,a b":                                  "\n",
	} {
		_, err := ParseAllowed(list)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", list, err, want)
		}
	}
}

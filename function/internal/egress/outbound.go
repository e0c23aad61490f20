// Package egress is the way out: the client for everything that leaves the server. Every address is resolved and checked
// when it is dialed, and only public ones are reached unless the operator names others. No credentials of a caller travel
// with it, and redirects are held to the same rules.
package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Options configure a [Client].
type Options struct {
	Allow    []Allowed     // what may be reached though it is not public
	Resolver Resolver      // default: the system's
	Timeout  time.Duration // of a request with its redirects; default 10 s
	TLS      *tls.Config   // roots; certificates are verified whatever it says
	// Dial connects to an address that was checked; default: a [net.Dialer], which checks it once more.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// A Resolver finds the addresses of a name, as [net.Resolver] does.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// A Client reaches what is allowed, and nothing else.
type Client struct {
	opts Options
	http http.Client
}

// A RefusedError says what was not dialed and why.
type RefusedError struct{ Target, Reason string }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%.200q is not reached: %s", e.Target, e.Reason)
}

const (
	maxRedirects = 5
	userAgent    = "erlmcp"
	remedy       = "; name it in EGRESS_ALLOW if it should be"
)

// NewClient returns a client.
func NewClient(o Options) *Client {
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	secure := &tls.Config{}
	if o.TLS != nil {
		secure = o.TLS.Clone()
	}
	secure.InsecureSkipVerify, secure.ServerName = false, "" // the name of the URL is verified, no other
	secure.MinVersion = max(secure.MinVersion, tls.VersionTLS12)
	c := &Client{opts: o}
	c.http = http.Client{
		Timeout: o.Timeout,
		Transport: guard{c, &http.Transport{
			Proxy:                  nil, // a proxy would reach what this must not
			DialContext:            c.dial,
			TLSClientConfig:        secure,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    5 * time.Second,
			ResponseHeaderTimeout:  o.Timeout,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        30 * time.Second,
		}},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return &RefusedError{req.URL.Redacted(), fmt.Sprintf("more than %d redirects", maxRedirects)}
			}
			if req.Method != http.MethodGet && req.Method != http.MethodHead {
				return &RefusedError{req.URL.Redacted(), "a redirect would send the body on to it"}
			}
			if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
				return &RefusedError{req.URL.Redacted(), "a redirect leads from https to " + req.URL.Scheme}
			}
			// What was meant for one host is not for another.
			kept := http.Header{}
			for _, name := range []string{"Accept", "User-Agent"} {
				if v := req.Header.Get(name); v != "" {
					kept.Set(name, v)
				}
			}
			req.Header = kept
			return nil
		},
	}
	return c
}

// Close ends the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// HTTP returns a client for requests of other forms, which shares the connections of this one.
func (c *Client) HTTP() *http.Client {
	h := c.http
	return &h
}

// Get fetches a small document: at most so many bytes, answered with 200.
func (c *Client) Get(ctx context.Context, where string, most int64) (body []byte, header http.Header, err error) {
	if err := checkText(where); err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return nil, nil, &RefusedError{redacted(where), "it is no URL"}
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json, */*;q=0.1") // Kubernetes has its keys in the second alone
	req.Header.Set("User-Agent", userAgent)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s answers %s", req.URL.Redacted(), resp.Status)
	}
	body, err = io.ReadAll(http.MaxBytesReader(nil, resp.Body, most))
	if errors.As(err, new(*http.MaxBytesError)) {
		return nil, nil, fmt.Errorf("%s answers more than %d bytes", req.URL.Redacted(), most)
	}
	if err != nil {
		return nil, nil, err
	}
	return body, resp.Header, nil
}

// guard checks the URL of every request, those of redirects too.
type guard struct {
	client *Client
	next   *http.Transport
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] looks for.
func (g guard) CloseIdleConnections() { g.next.CloseIdleConnections() }

func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.client.checkURL(req.URL); err != nil {
		return nil, err
	}
	resp, err := g.next.RoundTrip(req)
	if err != nil || resp.StatusCode/100 != 3 {
		return resp, err
	}
	to := resp.Header.Get("Location")
	fault := checkText(to)
	if _, err := url.Parse(to); err != nil && fault == nil {
		fault = &RefusedError{redacted(to), "it is no URL to redirect to"}
	}
	if fault != nil {
		resp.Body.Close()
		return nil, fault
	}
	return resp, nil
}

// checkText refuses what parsers read in different ways.
func checkText(where string) error {
	for i := range len(where) {
		if c := where[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return &RefusedError{redacted(where), "it has a space, a control character, a backslash or a letter that is not ASCII"}
		}
	}
	return nil
}

// redacted leaves out what may be a password, of text that may be no URL.
func redacted(where string) string {
	if i := strings.LastIndexByte(where, '@'); i >= 0 {
		return "xxxxx" + where[i:]
	}
	return where
}

func (c *Client) checkURL(u *url.URL) error {
	refuse := func(reason string) error { return &RefusedError{u.Redacted(), reason} }
	host := u.Hostname()
	for _, text := range []string{u.Host, u.RawQuery} { // the path is escaped when it is sent
		if err := checkText(text); err != nil {
			return err
		}
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return refuse("its scheme is not https")
	case u.User != nil:
		return refuse("it has a user name or password in it")
	case u.Opaque != "" || host == "":
		return refuse("it has no host")
	case strings.ContainsAny(host, "%"):
		return refuse("its host has an IPv6 zone or percent encoding")
	}
	addr, err := netip.ParseAddr(host)
	if err == nil {
		if why := forbidden(addr); why != "" && !c.allowed(host, addr, portOf(u)) {
			return refuse("its address is " + why + remedy)
		}
	} else {
		if numeric(host) {
			return refuse("its host is an address in a form that programs read differently: write it as 192.0.2.1")
		}
		if why := internal(host); why != "" && !c.allowed(host, netip.Addr{}, portOf(u)) {
			return refuse(why + remedy)
		}
	}
	if u.Scheme == "http" && !c.allowed(host, addr, portOf(u)) {
		return refuse("its scheme is not https, which only a host in EGRESS_ALLOW may do without")
	}
	return nil
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// dial resolves the name, checks every address, and dials the ones that it checked.
func (c *Client) dial(ctx context.Context, network, target string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return nil, &RefusedError{target, "it is no host and port"}
	}
	var addrs []netip.Addr
	if addr, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{addr}
	} else if addrs, err = c.opts.Resolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil, err
	}
	for _, addr := range addrs { // one that is forbidden spoils them all: which one is dialed is chance
		if why := forbidden(addr); why != "" && !c.allowed(host, addr, port) {
			return nil, &RefusedError{target, fmt.Sprintf("its address %s is %s%s", addr, why, remedy)}
		}
	}
	dialer := net.Dialer{Timeout: 5 * time.Second, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return &RefusedError{target, "it is no address"}
		}
		if why := forbidden(to.Addr()); why != "" && !c.allowed(host, to.Addr(), port) {
			return &RefusedError{target, fmt.Sprintf("its address %s is %s%s", to.Addr(), why, remedy)}
		}
		return nil
	}}
	connect := dialer.DialContext
	if c.opts.Dial != nil {
		connect = c.opts.Dial
	}
	var faults []error
	for _, addr := range addrs {
		conn, err := connect(ctx, network, net.JoinHostPort(addr.Unmap().WithZone("").String(), port))
		if err == nil {
			return conn, nil
		}
		faults = append(faults, err)
	}
	if faults == nil {
		return nil, fmt.Errorf("%s has no address", host)
	}
	return nil, errors.Join(faults...)
}

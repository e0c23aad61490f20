package streamhttp

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Origins are those whose pages may call. Programs send no Origin and are not held to it.
type Origins struct {
	Loopback bool // any web origin on this machine

	named []string // in normal form
}

// anyOrigin is the name of all origins, and opaque that of pages without one, such as files (RFC 6454, section 7).
const (
	anyOrigin = "*"
	opaque    = "null"
)

// Name adds origins. Its error lists those that are none.
func (o *Origins) Name(origins ...string) error {
	var faults []error
	for _, text := range origins {
		origin := normalOrigin(strings.TrimSuffix(text, "/"))
		switch {
		case text == anyOrigin:
			origin = anyOrigin
		case origin == "":
			faults = append(faults, fmt.Errorf("%q is not an origin such as https://app.example.com, spelled as browsers send it, nor null or *", text))
			continue
		}
		o.named = append(o.named, origin)
	}
	return errors.Join(faults...)
}

// validOrigin matches a scheme, and a host with or without a port, of which pages of some programs have none: letters beyond ASCII are
// sent in their ASCII form.
var validOrigin = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._~-]*)(:[0-9]{1,5})?$`)

// normalOrigin returns an origin as browsers send it, in small letters and without the port that its scheme implies; "" where it is none.
func normalOrigin(origin string) string {
	origin = strings.ToLower(origin)
	if origin == opaque {
		return opaque
	}
	if !validOrigin.MatchString(origin) {
		return ""
	}
	port := map[string]string{"http": ":80", "https": ":443"}
	scheme, host, _ := strings.Cut(origin, "://")
	host = strings.TrimSuffix(host, cmp.Or(port[scheme], ":"))
	if host == "" && port[scheme] != "" {
		return ""
	}
	return scheme + "://" + host
}

// Allow decides on the value of an Origin header. The error says what to do.
func (o *Origins) Allow(origin string) error {
	if slices.Contains(o.named, anyOrigin) {
		return nil
	}
	normal := normalOrigin(origin)
	switch {
	case normal == "":
		return fmt.Errorf("the header Origin is %s, which is no origin: leave it out, as programs do, or send it as browsers do", shown(origin))
	case slices.Contains(o.named, normal):
		return nil
	}
	if u, err := url.Parse(normal); o.Loopback && err == nil && (u.Scheme == "http" || u.Scheme == "https") && LoopbackHost(u.Host) {
		return nil
	}
	return fmt.Errorf("requests from the origin %s are not allowed: name it in ALLOWED_ORIGINS", shown(origin))
}

// LoopbackHost tells whether a Host header or the host of a URL names this machine.
func LoopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// LoopbackOnly refuses requests that were sent to another name than this machine's: the second half of the protection
// against DNS rebinding, for requests that carry no Origin.
func LoopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !LoopbackHost(r.Host) {
			fail(w, http.StatusForbidden, "this server answers on this machine only: use http://localhost")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// OfThisMachine tells whether a request came from this machine itself, as from a collector beside the server, or an operator at it. What
// a proxy or the platform passes on says so.
func OfThisMachine(r *http.Request) bool {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && addr.Addr().Unmap().IsLoopback() && LoopbackHost(r.Host) && r.Header.Get("X-Forwarded-For") == "" && r.Header.Get("Forwarded") == ""
}

// FromThisMachine refuses requests that did not.
func FromThisMachine(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !OfThisMachine(r) {
			fail(w, http.StatusForbidden, "this path answers on the machine itself only")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func allowOrigin(h http.Header, origin string) {
	h.Set("Access-Control-Allow-Origin", origin)
	h.Add("Vary", "Origin")
	h.Set("Access-Control-Allow-Methods", "POST, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "*, Authorization")
	h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate")
	h.Set("Access-Control-Max-Age", "600")
}

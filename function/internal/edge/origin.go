package edge

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Origins are the web origins whose pages may call. Programs send no Origin and are not held to it.
type Origins struct {
	Named    []string // in lower case, such as https://app.example.com, or * for any
	Loopback bool     // any origin on this machine
}

// Allow decides on the value of an Origin header.
func (o Origins) Allow(origin string) bool {
	if slices.Contains(o.Named, strings.ToLower(origin)) || slices.Contains(o.Named, "*") {
		return true
	}
	if !o.Loopback {
		return false
	}
	u, err := url.Parse(origin)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && LoopbackHost(u.Host)
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

// FromThisMachine refuses requests that did not come from this machine itself, as from a collector beside the server. What a
// proxy or the platform passes on says so.
func FromThisMachine(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		addr, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !addr.Addr().Unmap().IsLoopback() || !LoopbackHost(r.Host) || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" {
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

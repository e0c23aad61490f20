package identity

import (
	"net/url"
	"strings"
)

// normalURI returns a URI with an authority as RFC 3986, section 6.2, has it compared: scheme and host in lower case, the default port of
// the scheme and an empty path left out. Other text is returned as it is.
func normalURI(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	u, err := url.Parse(s)
	if !ok || err != nil || u.Host == "" {
		return s
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	rest = rest[len(authority):]
	user := ""
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, authority = authority[:i+1], authority[i+1:]
	}
	scheme, authority = strings.ToLower(scheme), strings.ToLower(authority)
	authority = strings.TrimSuffix(authority, map[string]string{"http": ":80", "https": ":443"}[scheme])
	authority = strings.TrimSuffix(authority, ":")
	if rest == "/" {
		rest = ""
	} else if strings.HasPrefix(rest, "/?") || strings.HasPrefix(rest, "/#") {
		rest = rest[1:]
	}
	return scheme + "://" + user + authority + rest
}

// SameURI tells whether two texts name the same thing, such as the audience of a token and that of this server.
func SameURI(a, b string) bool { return a == b || normalURI(a) == normalURI(b) }

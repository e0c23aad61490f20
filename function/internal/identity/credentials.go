package identity

import (
	"net/http"
	"strings"
	"time"
)

// credentials are what a request brings.
type credentials struct {
	now        time.Time
	header     http.Header
	bearer     presented // of Authorization
	serverless presented // of X-Serverless-Authorization
	other      string    // Authorization of another scheme, or of none
	apiKey     bool      // bearer is of X-API-Key
	keyID      string
	part       string // of the server, that is asked for
}

const (
	headerAuthorization = "Authorization"
	headerServerless    = "X-Serverless-Authorization"
	headerAssertion     = "X-Goog-Iap-Jwt-Assertion"
	headerAPIKey        = "X-Api-Key"
)

func (c *credentials) given() bool {
	return c.apiKey || len(c.header[headerAuthorization]) > 0 || len(c.header[headerServerless]) > 0 || len(c.header[headerAssertion]) > 0
}

func (c *credentials) read(h http.Header, now time.Time) *Error {
	c.now, c.header = now, h
	for _, header := range []struct {
		name string
		into *presented
	}{{headerAuthorization, &c.bearer}, {headerServerless, &c.serverless}} {
		values := h[header.name]
		if len(values) == 0 {
			continue
		}
		if len(values) > 1 {
			return &Error{Cause: Malformed, Detail: header.name + " is given more than once", Request: true}
		}
		scheme, token, _ := strings.Cut(values[0], " ")
		if !strings.EqualFold(scheme, "Bearer") {
			c.other = values[0]
			continue
		}
		if header.into.text = strings.TrimLeft(token, " "); !token68(header.into.text) {
			return &Error{Cause: Malformed, Detail: header.name + " has no bearer token of one word", Request: true}
		}
	}
	// Other keys in that header are for others, such as a gateway before the server.
	if values := h[headerAPIKey]; len(h[headerAuthorization]) == 0 && len(values) > 0 && strings.HasPrefix(values[0], KeyPrefix) {
		if len(values) > 1 {
			return &Error{Cause: Malformed, Detail: headerAPIKey + " is given more than once", Request: true}
		}
		c.bearer.text, c.apiKey = values[0], true
	}
	return nil
}

// token68 is the form of a bearer token (RFC 6750, section 2.1).
func token68(s string) bool {
	s = strings.TrimRight(s, "=")
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~+/", c) >= 0) {
			return false
		}
	}
	return true
}

// unrecognized says why no method took the credentials.
func (c *credentials) unrecognized() *Error {
	switch {
	case !c.given():
		return &Error{Cause: Missing}
	case c.bearer.text == "" && c.serverless.text == "":
		return &Error{Cause: Unknown, Detail: "not bearer tokens", Hint: c.missing()}
	}
	for _, t := range []*presented{&c.bearer, &c.serverless} {
		if iss := t.issuedBy(); iss != "" {
			return &Error{Cause: WrongIssuer, Detail: "iss " + cut(iss)}
		}
	}
	return &Error{Cause: Unknown, Detail: "neither a key nor a token that is taken here"}
}

// missing says what a header lacks that has no bearer token in it.
func (c *credentials) missing() string {
	switch {
	case strings.HasPrefix(c.other, KeyPrefix):
		return "the key comes without its scheme: send Authorization: Bearer erlmcp_…"
	case strings.Count(c.other, ".") == 2 && token68(c.other):
		return "the token comes without its scheme: send Authorization: Bearer, a space and the token"
	}
	return "no such scheme is taken here: send the header Authorization: Bearer, with a key or a token"
}

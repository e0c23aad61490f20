package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Claims are what a token says, by name. Each is read where it is used: issuers write the same claim in several forms, and one that
// nobody reads may have any.
type Claims map[string]any

// readClaims decodes members one by one. One whose value is not to be had here, such as a number out of range, is left out.
func readClaims(members map[string]json.RawMessage) Claims {
	c := make(Claims, len(members))
	for name, raw := range members {
		var v any
		if json.Unmarshal(raw, &v) == nil && v != nil {
			c[name] = v
		}
	}
	return c
}

// text returns a claim that is text, "" where there is none or where it is something else.
func (c Claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

// yes tells whether a claim is true. Cognito, Apple and Entra write such claims as text.
func (c Claims) yes(name string) bool { return c[name] == true || c[name] == "true" }

// mostSeconds is the last second of the year 9999. A greater number is no time in seconds (RFC 7519, section 2: NumericDate).
const mostSeconds = 253402300799

// when returns a claim that is a time, and the zero time where there is none.
func (c Claims) when(name string) (time.Time, error) {
	v, ok := c[name]
	if !ok {
		return time.Time{}, nil
	}
	seconds, ok := v.(float64)
	if !ok || seconds < 0 || seconds > mostSeconds {
		return time.Time{}, fmt.Errorf("%s is not a time in seconds", name)
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)), nil
}

// texts returns a claim that is text or a list of texts.
func (c Claims) texts(name string) ([]string, error) {
	switch v := c[name].(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		out := make([]string, 0, len(v))
		for _, one := range v {
			s, ok := one.(string)
			if !ok {
				return nil, fmt.Errorf("%s has something other than text in it", name)
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, fmt.Errorf("%s is neither text nor a list of texts", name)
}

// scopes are those of scope (RFC 8693: text, separated by spaces) and scp, which Entra, Okta and others write in its place. Either may be
// a list.
func (c Claims) scopes() []string {
	var out []string
	for _, name := range []string{"scope", "scp"} {
		list, _ := c.texts(name)
		for _, s := range list {
			out = append(out, strings.Fields(s)...)
		}
	}
	// What an issuer writes is not the wildcard of this server.
	return slices.DeleteFunc(out, func(s string) bool { return s == "*" || !validScope(s) })
}

// A life is when a token may be used.
type life struct{ expires, begins, issued time.Time }

func (c Claims) life() (l life, err error) {
	var faults [3]error
	l.expires, faults[0] = c.when("exp")
	l.begins, faults[1] = c.when("nbf")
	l.issued, faults[2] = c.when("iat")
	if err = errors.Join(faults[:]...); err == nil && l.expires.IsZero() {
		err = errors.New("the token has no exp")
	}
	return l, err
}

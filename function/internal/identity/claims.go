package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Claims are what a token says, by name. Each is read where it is used: issuers write the same claim in several forms, and one that
// nobody reads may have any. Whole numbers are int64, or uint64 beyond that, so that rules see no neighbour of an id, and others float64.
type Claims map[string]any

// readClaims decodes members one by one. One whose value is not to be had here, such as a number out of range, is left out.
func readClaims(members map[string]json.RawMessage) Claims {
	c := make(Claims, len(members))
	for name, raw := range members {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		var v any
		if d.Decode(&v) != nil {
			continue
		}
		if v, ok := withNumbers(v); ok && v != nil {
			c[name] = v
		}
	}
	return c
}

// withNumbers puts values in the place of numbers. It is not ok where one is out of range.
func withNumbers(v any) (_ any, ok bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if v[name], ok = withNumbers(member); !ok {
				return nil, false
			}
		}
	case []any:
		for i, element := range v {
			if v[i], ok = withNumbers(element); !ok {
				return nil, false
			}
		}
	case json.Number:
		return numberOf(v.String())
	}
	return v, true
}

// numberOf reads a number: one that is whole is an integer, however it is written, where an integer type holds it.
func numberOf(text string) (any, bool) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, true
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || f == 0 || math.Abs(f) > 1<<64 {
		return f, err == nil
	}
	if whole, ok := new(big.Rat).SetString(text); ok && whole.IsInt() {
		switch n := whole.Num(); {
		case n.IsInt64():
			return n.Int64(), true
		case n.IsUint64():
			return n.Uint64(), true
		}
	}
	return f, true
}

// text returns a claim that is text, "" where there is none or where it is something else.
func (c Claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

// yes tells whether a claim is true. Cognito, Apple and Entra write such claims as text.
func (c Claims) yes(name string) bool { return c[name] == true || c[name] == "true" }

// maxSeconds is the last second of the year 9999. A greater number is no time in seconds (RFC 7519, section 2: NumericDate).
const maxSeconds = 253402300799

// when returns a claim that is a time, and the zero time where there is none.
func (c Claims) when(name string) (time.Time, error) {
	v, ok := c[name]
	if !ok {
		return time.Time{}, nil
	}
	var seconds float64
	switch n := v.(type) {
	case int64:
		seconds = float64(n)
	case float64:
		seconds = n
	default:
		ok = false // an unsigned one is too large
	}
	if !ok || seconds < 0 || seconds > maxSeconds {
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

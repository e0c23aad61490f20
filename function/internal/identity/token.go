package identity

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// An Issuer is who signs tokens (RFC 7519) that are taken.
type Issuer struct {
	Method     string   // that its principals are of
	URL        string   // iss
	Spelled    []string // other values of iss that mean it
	Keys       string   // where its keys are; "" to discover it
	Audiences  []string // aud must be one of them
	Algorithms []string // of signatures; empty for RS256 and ES256
	Header     string   // that brings the token; "" is Authorization
	// Name says of verified claims whom they mean.
	Name func(*Claims) (tenant, subject string, err error)
}

// Claims are what a token says.
type Claims struct {
	jwt.Claims
	Scope         string         `json:"scope"` // RFC 8693, separated by spaces
	Scopes        any            `json:"scp"`   // the same, as some issuers write it
	Email         string         `json:"email"`
	EmailVerified bool           `json:"email_verified"`
	Domain        string         `json:"hd"` // Google Workspace
	All           map[string]any `json:"-"`
}

func (c *Claims) scopes() []string {
	out := strings.Fields(c.Scope)
	switch v := c.Scopes.(type) {
	case string:
		out = append(out, strings.Fields(v)...)
	case []any:
		for _, s := range v {
			if s, ok := s.(string); ok {
				out = append(out, s)
			}
		}
	}
	// What an issuer writes is not the wildcard of this server.
	return slices.DeleteFunc(out, func(s string) bool { return s == "*" || !validScope(s) })
}

const (
	skew         = 30 * time.Second // that clocks may differ by
	mostToken    = 16 << 10         // bytes
	verifiedAge  = 5 * time.Minute  // after which a token is verified again
	mostVerified = 10000            // tokens remembered
)

// An issuer is an Issuer with its keys.
type issuer struct {
	Issuer
	algorithms []jose.SignatureAlgorithm
	keys       *keySet
}

func newIssuer(o Issuer, get Get, now func() time.Time) *issuer {
	i := &issuer{Issuer: o, keys: &keySet{issuer: o.URL, url: o.Keys, get: get, now: now}}
	for _, a := range o.Algorithms {
		i.algorithms = append(i.algorithms, jose.SignatureAlgorithm(a))
	}
	if i.algorithms == nil {
		i.algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256}
	}
	return i
}

func (i *issuer) issues(iss string) bool { return iss == i.URL || slices.Contains(i.Spelled, iss) }

// verify checks a token of the issuer: algorithm, key, signature, times, audience, and whom it names.
func (i *issuer) verify(ctx context.Context, text string, now time.Time) (*Principal, time.Time, *Error) {
	refuse := func(cause Cause, detail string) (*Principal, time.Time, *Error) {
		return nil, time.Time{}, &Error{Cause: cause, Method: i.Method, Detail: detail}
	}
	token, err := jwt.ParseSigned(text, i.algorithms)
	var algorithm *jose.ErrUnexpectedSignatureAlgorithm
	switch {
	case errors.As(err, &algorithm):
		return refuse(WrongAlgorithm, string(algorithm.Got))
	case err != nil || len(token.Headers) != 1:
		return refuse(Malformed, "not a signed token")
	}
	if typ, _ := token.Headers[0].ExtraHeaders[jose.HeaderType].(string); !accessType(typ) {
		return refuse(Malformed, "a token of type "+cut(typ))
	}
	key, err := i.keys.key(ctx, token.Headers[0].KeyID)
	switch {
	case errors.Is(err, errUnreachable):
		return refuse(Unavailable, err.Error())
	case err != nil:
		return refuse(UnknownKey, "kid "+cut(token.Headers[0].KeyID))
	case key.Algorithm != "" && key.Algorithm != token.Headers[0].Algorithm:
		return refuse(WrongAlgorithm, "the key is for "+cut(key.Algorithm))
	}
	claims := &Claims{}
	if err := token.Claims(key.Key, claims, &claims.All); err != nil {
		if errors.Is(err, jose.ErrCryptoFailure) {
			return refuse(BadSignature, "")
		}
		return refuse(Malformed, "the claims can't be read")
	}
	return i.judge(claims, now)
}

// judge checks verified claims.
func (i *issuer) judge(claims *Claims, now time.Time) (*Principal, time.Time, *Error) {
	refuse := func(cause Cause, detail string) (*Principal, time.Time, *Error) {
		return nil, time.Time{}, &Error{Cause: cause, Method: i.Method, Detail: detail}
	}
	if claims.Expiry == nil {
		return refuse(Malformed, "the token has no exp")
	}
	if !i.issues(claims.Issuer) {
		return refuse(WrongIssuer, cut(claims.Issuer))
	}
	if len(i.Audiences) == 0 && i.Method != CloudRun { // which has compared it with the addresses of the service
		return refuse(WrongAudience, "no audience is configured")
	}
	switch err := claims.ValidateWithLeeway(jwt.Expected{Time: now, AnyAudience: i.Audiences}, skew); {
	case errors.Is(err, jwt.ErrExpired):
		return refuse(Expired, "at "+claims.Expiry.Time().UTC().Format(time.RFC3339))
	case errors.Is(err, jwt.ErrNotValidYet), errors.Is(err, jwt.ErrIssuedInTheFuture):
		return refuse(NotYetValid, "")
	case errors.Is(err, jwt.ErrInvalidAudience):
		return refuse(WrongAudience, "aud "+cut(strings.Join(claims.Audience, " ")))
	case err != nil:
		return refuse(Malformed, err.Error())
	}
	tenant, subject, err := i.Name(claims)
	if err = cmp.Or(err, checkTenant(tenant), checkSubject(subject)); err != nil {
		return refuse(Unnamed, err.Error())
	}
	return newPrincipal(Principal{
		Tenant: tenant, Subject: subject, Issuer: i.URL, Method: i.Method, Scopes: claims.scopes(), Claims: claims.All,
	}), claims.Expiry.Time().Add(skew), nil
}

// accessType tells whether the type of a token is one that tells who calls (RFC 9068), and not one made for another use.
func accessType(typ string) bool {
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	return typ == "" || typ == "jwt" || typ == "at+jwt"
}

// cut shortens what a caller wrote for the log.
func cut(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// A presented token is read only as far as it is needed.
type presented struct {
	text   string
	looked bool
	known  *verified
	peeked bool
	iss    string
	sum    [sha256.Size]byte
}

// issuedBy returns the issuer that the token claims to be of, unverified.
func (t *presented) issuedBy() string {
	if t.peeked {
		return t.iss
	}
	t.peeked = true
	_, rest, _ := strings.Cut(t.text, ".")
	payload, _, ok := strings.Cut(rest, ".")
	if !ok || len(t.text) > mostToken {
		return ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(raw, &claims) == nil {
		t.iss = claims.Issuer
	}
	return t.iss
}

// verifications remember tokens by their hash.
type verifications struct {
	mu    sync.RWMutex
	known map[[sha256.Size]byte]*verified
}

type verified struct {
	principal *Principal
	issuer    *issuer
	changes   int64 // of the issuer's keys
	until     time.Time
}

// buffers take tokens that are hashed: a copy of each would be what a request allocates most.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// look returns what is known of the token, or nil.
func (v *verifications) look(t *presented, now time.Time) *verified {
	if !t.looked {
		t.looked = true
		b := buffers.Get().(*[]byte)
		*b = append((*b)[:0], t.text...)
		t.sum = sha256.Sum256(*b)
		buffers.Put(b)
		v.mu.RLock()
		t.known = v.known[t.sum]
		v.mu.RUnlock()
		if k := t.known; k != nil && (!now.Before(k.until) || k.changes != k.issuer.keys.changes.Load()) {
			t.known = nil
		}
	}
	return t.known
}

func (v *verifications) keep(t *presented, k *verified) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known == nil || len(v.known) >= mostVerified {
		v.known = make(map[[sha256.Size]byte]*verified)
	}
	v.known[t.sum] = k
}

// HostTenant names the tenant by the issuer's host.
func HostTenant(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	return u.Host
}

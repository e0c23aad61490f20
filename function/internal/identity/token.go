package identity

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
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
	// Name says of verified claims whom they mean; the tenant by the name that the issuer has for it.
	Name func(Claims) (tenant, subject string, err error)
	Only bool // all tokens are of one tenant, whose name is the issuer's host
	// Accounts says that subjects are addresses for which the issuer vouches, by which a [TenantMap] may name one account.
	Accounts bool
	// Admits says why a caller with verified claims may not call; nil admits all.
	Admits func(Claims) error
}

const (
	skew        = 30 * time.Second // that clocks may differ by
	maxToken    = 16 << 10         // bytes
	verifiedAge = 5 * time.Minute  // after which a token is verified again
	maxVerified = 10000            // tokens remembered
)

// An issuer is an Issuer with its keys.
type issuer struct {
	Issuer
	algorithms []jose.SignatureAlgorithm
	audiences  map[string]bool // as they are compared
	keys       *keySet
	tenants    *TenantMap
}

func newIssuer(i Issuer, o *Options) *issuer {
	out := &issuer{Issuer: i, audiences: map[string]bool{}, tenants: o.Tenants,
		keys: &keySet{issuer: i.URL, url: i.Keys, get: o.Get, now: o.Now, logger: o.Logger}}
	for _, a := range i.Audiences {
		out.audiences[normalURI(a)] = true
	}
	for _, a := range i.Algorithms {
		out.algorithms = append(out.algorithms, jose.SignatureAlgorithm(a))
	}
	if out.algorithms == nil {
		out.algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256}
	}
	return out
}

func (i *issuer) issues(iss string) bool { return iss == i.URL || slices.Contains(i.Spelled, iss) }

// verify checks a token of the issuer, for a part of the server: algorithm, key, signature, times, audience, and whom it names.
func (i *issuer) verify(ctx context.Context, text, part string, now time.Time) (*Principal, time.Time, *Error) {
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
	head := token.Headers[0]
	if typ, ok := head.ExtraHeaders[jose.HeaderType]; ok {
		if typ, ok := typ.(string); !ok || !accessType(typ) {
			return refuse(Malformed, "a token of type "+cut(fmt.Sprint(typ)))
		}
	}
	claims, err := i.open(ctx, token)
	var yet unknownYet
	switch {
	case errors.As(err, &yet):
		return nil, time.Time{}, &Error{Cause: UnknownKey, Method: i.Method, Detail: "kid " + cut(head.KeyID) + ": " + err.Error(), Retry: yet.wait}
	case errors.Is(err, errUnreachable):
		return refuse(Unavailable, err.Error())
	case errors.Is(err, errNoKey):
		return refuse(UnknownKey, "kid "+cut(head.KeyID))
	case errors.Is(err, errUnfit):
		return refuse(WrongAlgorithm, "no key of kid "+cut(head.KeyID)+" is for "+head.Algorithm)
	case errors.Is(err, jose.ErrCryptoFailure):
		return refuse(BadSignature, "")
	case err != nil:
		return refuse(Malformed, "the claims can't be read")
	}
	return i.judge(claims, part, now)
}

// open returns the claims of a token that one of the issuer's keys has signed.
func (i *issuer) open(ctx context.Context, token *jwt.JSONWebToken) (Claims, error) {
	kid, algorithm := token.Headers[0].KeyID, token.Headers[0].Algorithm
	for {
		keys, err := i.keys.candidates(ctx, kid, algorithm)
		if err != nil {
			return nil, err
		}
		named := false
		for _, k := range keys {
			named = named || k.KeyID != "" && k.KeyID == kid
			var members map[string]json.RawMessage
			if err = token.Claims(k.Key, &members); err == nil {
				return readClaims(members), nil
			}
			if !errors.Is(err, jose.ErrCryptoFailure) {
				return nil, err
			}
		}
		if named || !i.keys.renew(ctx) { // without an id a new key is known by its signature alone
			return nil, err
		}
	}
}

// judge checks verified claims.
func (i *issuer) judge(claims Claims, part string, now time.Time) (*Principal, time.Time, *Error) {
	refuse := func(cause Cause, detail string) (*Principal, time.Time, *Error) {
		return nil, time.Time{}, &Error{Cause: cause, Method: i.Method, Detail: detail}
	}
	life, err := claims.life()
	if err != nil {
		return refuse(Malformed, err.Error())
	}
	for _, name := range []string{"iss", "sub"} {
		if v, ok := claims[name]; ok && v != claims.text(name) {
			return refuse(Malformed, name+" is not text")
		}
	}
	audiences, err := claims.texts("aud")
	if err != nil {
		return refuse(Malformed, err.Error())
	}
	switch iss := claims.text("iss"); {
	case !i.issues(iss):
		return refuse(WrongIssuer, cut(iss))
	case len(i.audiences) == 0 && i.Method != CloudRun: // which has compared it with the addresses of the service
		return refuse(WrongAudience, "no audience is configured")
	case now.After(life.expires.Add(skew)):
		return refuse(Expired, "at "+life.expires.UTC().Format(time.RFC3339))
	case now.Add(skew).Before(life.begins), now.Add(skew).Before(life.issued):
		return refuse(NotYetValid, "")
	case len(i.audiences) > 0 && !slices.ContainsFunc(audiences, func(a string) bool { return i.means(a, part) }):
		return refuse(WrongAudience, "aud "+cut(strings.Join(audiences, " ")))
	}
	name, subject, err := i.Name(claims)
	tenant, mapped := i.tenants.account(&i.Issuer, subject)
	switch {
	case mapped:
	case i.Only:
		tenant = i.tenants.only(&i.Issuer, name)
	default:
		tenant = i.tenants.Tenant(i.authority(), name)
	}
	if err = cmp.Or(err, CheckTenant(name), CheckTenant(tenant)); err != nil {
		return nil, time.Time{}, &Error{Cause: Unnamed, Method: i.Method, Detail: err.Error(),
			Hint: "the credentials are valid, and name no tenant that can be used: " + err.Error()}
	}
	if i.Admits != nil {
		if err := i.Admits(claims); err != nil {
			return nil, time.Time{}, &Error{Cause: Unnamed, Method: i.Method, Detail: err.Error(), Hint: "the credentials are valid, but " + err.Error()}
		}
	}
	if err := checkSubject(subject); err != nil {
		return refuse(Unnamed, err.Error())
	}
	return newPrincipal(Principal{
		Tenant: tenant, Subject: subject, Issuer: i.URL, Method: i.Method, Scopes: claims.scopes(), Claims: claims,
	}), life.expires.Add(skew), nil
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
	if !ok || len(t.text) > maxToken {
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

// means tells whether an audience is the server, or the part of it.
func (i *issuer) means(audience, part string) bool {
	if i.audiences[normalURI(audience)] {
		return true
	}
	whole, ofPart := strings.CutSuffix(audience, "/"+part)
	return part != "" && ofPart && strings.HasSuffix(whole, "/mcp") && i.audiences[normalURI(whole)] // elsewhere on the host may be others
}

// verifications remember tokens by their hash, with the part of the server that they were taken for.
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

// look returns what is known of the token for a part of the server, or nil.
func (v *verifications) look(t *presented, part string, now time.Time) *verified {
	if !t.looked {
		t.looked = true
		b := buffers.Get().(*[]byte)
		*b = append((*b)[:0], t.text...)
		if part != "" {
			*b = append(append(*b, 0), part...)
		}
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
	if v.known == nil || len(v.known) >= maxVerified {
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

// Package identity says who calls. A chain of methods, in the operator's order, looks at the credentials of a request: API
// keys, tokens of OAuth and OpenID Connect issuers, of Google, of its Identity-Aware Proxy and of Kubernetes. The first
// method that recognizes a credential decides, and what it refuses no later one lets in.
package identity

import (
	"context"
	"fmt"
	"regexp"
	"slices"
)

// A Principal is an authenticated caller. It is shared by the calls of the caller and must not be changed.
type Principal struct {
	Tenant  string         // whom the caller belongs to and who pays
	Subject string         // the caller within the tenant, as the issuer names it
	Issuer  string         // who vouches for it: an issuer's URL, or the name of the method
	Method  string         // that authenticated it, one of [Methods], or local
	Scopes  []string       // what it was granted; * is everything
	Claims  map[string]any // of its token, or nil; whole numbers are int64, or uint64 beyond that

	name string
}

// The tenants that no key and no token can name.
const (
	TenantLocal     = "local"
	TenantAnonymous = "anonymous"
)

var (
	// Local is the caller of a server that answers its own machine alone.
	Local = Principal{Tenant: TenantLocal, Subject: "local", Issuer: "local", Method: "local", Scopes: []string{"*"}, name: "local/local"}
	// anyone is the caller who has not said who it is.
	anyone = Principal{Tenant: TenantAnonymous, Subject: "anonymous", Issuer: Anonymous, Method: Anonymous, name: "anonymous/anonymous"}
)

// String is a stable name, unlike that of any other principal: a tenant has no slash, and an issuer no space.
func (p *Principal) String() string {
	if p.name != "" {
		return p.name
	}
	return p.Tenant + "/" + p.Issuer + " " + p.Subject
}

// Missing returns the scopes of need that the principal was not granted.
func (p *Principal) Missing(need []string) (missing []string) {
	for _, s := range need {
		if !slices.Contains(p.Scopes, s) && !slices.Contains(p.Scopes, "*") {
			missing = append(missing, s)
		}
	}
	return missing
}

var validTenant = regexp.MustCompile(`^[A-Za-z0-9_.:@-]{1,128}$`)

// CheckTenant returns why a name can be no tenant of keys and tokens.
func CheckTenant(tenant string) error {
	switch {
	case tenant == TenantLocal || tenant == TenantAnonymous:
		return fmt.Errorf("the tenant %q is reserved", tenant)
	case !validTenant.MatchString(tenant):
		return fmt.Errorf("the tenant %q is not a name of 1 to 128 letters, digits, '_', '-', '.', ':' and '@'", tenant)
	}
	return nil
}

func checkSubject(subject string) error {
	if subject == "" || len(subject) > 256 {
		return fmt.Errorf("the subject %.40q must have 1 to 256 bytes", subject)
	}
	return nil
}

// newPrincipal computes the name once.
func newPrincipal(p Principal) *Principal {
	p.name = p.String()
	return &p
}

type contextKey struct{}

// NewContext returns a context that carries the principal.
func NewContext(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// FromContext returns the principal of the call, or nil outside of one.
func FromContext(ctx context.Context) *Principal {
	p, _ := ctx.Value(contextKey{}).(*Principal)
	return p
}

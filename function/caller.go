package function

import (
	"context"

	"example.com/erlmcp/function/internal/identity"
)

// A Principal is who calls: a tenant, and a subject within it, with what was granted to it.
type Principal struct {
	Tenant  string         // whom the caller belongs to and who pays
	Subject string         // the caller within the tenant, as the issuer names it
	Issuer  string         // who vouches for it: an issuer's URL, or the name of the method
	Method  string         // of AUTHENTICATION that found out, or local
	Scopes  []string       // what it was granted; * is everything
	Claims  map[string]any // of its token, or nil; whole numbers are int64, or uint64 beyond that
}

// String is the principal in logs: its tenant and subject.
func (p Principal) String() string {
	return (&identity.Principal{Tenant: p.Tenant, Subject: p.Subject, Issuer: p.Issuer, Method: p.Method}).String()
}

// Caller returns who calls, and the zero Principal outside of a call.
func Caller(ctx context.Context) Principal {
	p := identity.FromContext(ctx)
	if p == nil {
		return Principal{}
	}
	return Principal{Tenant: p.Tenant, Subject: p.Subject, Issuer: p.Issuer, Method: p.Method, Scopes: p.Scopes, Claims: p.Claims}
}

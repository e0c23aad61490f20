// Package identity says who calls. So far there is one caller, the person at this machine.
package identity

import "context"

// A Principal is an authenticated caller.
type Principal struct {
	Tenant  string // whom the caller belongs to and who pays
	Subject string // the caller within the tenant
}

// Local is the caller of a server that knows no other.
var Local = Principal{Tenant: "local", Subject: "local"}

// String is a stable name, unlike that of any other principal.
func (p Principal) String() string { return p.Tenant + "/" + p.Subject }

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

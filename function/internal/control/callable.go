package control

import (
	"context"
	"fmt"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/tenant"
)

// Callable lists what the tenants of callers can be: names, and patterns whose last character is *. It is nil where that is not known.
type Callable func(context.Context) []string

// callablePatience is for asking the fleet: a change does not wait for it.
const callablePatience = 250 * time.Millisecond

// uncallable warns of a grant to a tenant, or its suspension, that concerns no one: the name is spelled otherwise than callers have it.
func (e *Entitlements) uncallable(ctx context.Context, event *tenant.Event) []string {
	if event.Type != tenant.Grant && event.Type != tenant.Suspend {
		return nil
	}
	id := event.Tenant
	reserved := id == identity.TenantAnonymous || id == identity.TenantLocal
	if err := identity.CheckTenant(id); err != nil && !reserved {
		return []string{fmt.Sprintf("no caller can be the tenant %q: %v", id, err)}
	}
	if e.opts.Callable == nil {
		return nil
	}
	ctx, stop := context.WithTimeout(ctx, callablePatience)
	defer stop()
	patterns := e.opts.Callable(ctx)
	if patterns == nil {
		return nil
	}
	for _, pattern := range patterns {
		prefix, any := strings.CutSuffix(pattern, "*")
		if id == pattern || any && len(id) > len(prefix) && strings.HasPrefix(id, prefix) && !reserved {
			return nil
		}
	}
	return []string{fmt.Sprintf("no caller can be the tenant %q: by AUTHENTICATION and TENANT_MAP of the instances that run, tenants are %s", id, strings.Join(patterns, ", "))}
}

package entitlement

import (
	"context"
	"fmt"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/identity"
)

// Callable lists what the tenants of callers can be: names, and patterns whose last character is *. It is nil where that is not known.
type Callable func(context.Context) []string

// callableTimeout is for asking the fleet: a change does not wait for it.
const callableTimeout = 250 * time.Millisecond

// Uncallable warns of a grant to a tenant, or its suspension, that concerns no one: the name is spelled otherwise than callers have it.
func (p *Processor) Uncallable(ctx context.Context, event *Event) []string {
	if event.Type != Grant && event.Type != Suspend {
		return nil
	}
	id := event.Tenant
	reserved := id == identity.TenantAnonymous || id == identity.TenantLocal
	if err := identity.CheckTenant(id); err != nil && !reserved {
		return []string{fmt.Sprintf("no caller can be the tenant %q: %v", id, err)}
	}
	if p.opts.Callable == nil {
		return nil
	}
	ctx, stop := context.WithTimeout(ctx, callableTimeout)
	defer stop()
	patterns := p.opts.Callable(ctx)
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

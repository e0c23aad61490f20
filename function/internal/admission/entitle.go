package admission

import (
	"cmp"
	"context"
	"math"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
)

// Entitlements are what tenants are entitled to.
type Entitlements struct {
	// Directory returns all tenants, another pointer when they have changed, and whether they are known of the last two seconds.
	Directory func(context.Context) (_ *entitlement.Directory, known bool)
	Known     func() bool         // whether they are known, as far as calls have found out
	Listed    bool                // tenants that are not in it are refused
	Note      func(tenant string) // is told of a tenant whose state the clock has changed; must not wait
}

// entitled decides by what the caller's tenant is entitled to, and returns that; nil is what all have.
func (g *Gate) entitled(ctx context.Context, p *identity.Principal, requestID string) (*entitlement.Standing, *mcp.Refusal) {
	e := g.opts.Entitlements
	if e == nil || p == &identity.Local {
		return nil, nil
	}
	scope := "tenant:" + p.Tenant
	directory, known := e.Directory(ctx)
	if !known {
		return nil, &mcp.Refusal{
			Reason: mcp.Backpressure, Scope: scope, Receipt: requestID, RetryAfter: time.Second,
			Message: "refused: it can't be read at the moment what tenants are entitled to; try again in 1s",
		}
	}
	s := g.generation(g.callers.Load().rules.directives, directory).standing(g, p)
	switch {
	case s == nil && e.Listed:
		return nil, &mcp.Refusal{
			Reason: mcp.NotEntitled, Scope: scope, Limit: "unlisted", Receipt: requestID,
			Message: "refused: the tenant " + p.Tenant + " is not known here; its operator must grant it a plan",
		}
	case s != nil && !s.State.Serves():
		return nil, &mcp.Refusal{
			Reason: mcp.NotEntitled, Scope: scope, Limit: "state:" + string(s.State), Receipt: requestID,
			Message: "refused: the tenant " + p.Tenant + " is not entitled: " + s.Why,
		}
	}
	return s, nil
}

// lacksPack refuses a call of an entry whose pack the tenant's plan leaves out.
func lacksPack(p *identity.Principal, o *catalog.Object, s *entitlement.Standing, requestID string) *mcp.Refusal {
	if s == nil || s.Enables(o.Pack) {
		return nil
	}
	return &mcp.Refusal{
		Reason: mcp.NotEntitled, Scope: "tenant:" + p.Tenant, Limit: "pack:" + o.Pack, Receipt: requestID,
		Message: "refused: " + o.Name + " belongs to the pack " + o.Pack + ", which the plan " + cmp.Or(s.Plan, "none") + " of " + p.Tenant + " leaves out",
	}
}

// generation returns what is remembered under these directives and this directory, until the clock changes a standing. Calls that began
// earlier do not bring back what was known before, nor those that began when nothing was.
func (g *Gate) generation(directives *directives.Directives, directory *entitlement.Directory) *callers {
	now := g.opts.Now().UnixNano()
	latest := func(c *callers) bool {
		if c.directory != nil && directory != nil && directory.Version < c.directory.Version {
			directory = c.directory
		}
		if c.rules.directives != nil && (directives == nil || directives.Version < c.rules.directives.Version) {
			directives = c.rules.directives
		}
		return c.is(directives, directory, now)
	}
	if c := g.callers.Load(); latest(c) {
		return c
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.callers.Load()
	if latest(c) {
		return c
	}
	r := c.rules
	if r.directives != directives {
		var err error
		if r, err = makeRules(&g.opts, directives); err != nil {
			g.opts.Logger.Error("orders of operators do not fit what is served: they stay in force, and calls that can't be admitted under them are refused", "error", err)
			text := "orders: " + err.Error()
			g.broken.Store(&text)
		} else {
			g.broken.Store(nil)
		}
		for _, warning := range r.renamed {
			g.opts.Logger.Warn(warning)
		}
	}
	c = newCallers(r, directory)
	g.callers.Store(c)
	return c
}

func newCallers(r *rules, directory *entitlement.Directory) *callers {
	c := &callers{rules: r, directory: directory}
	c.until.Store(math.MaxInt64)
	return c
}

func (c *callers) is(directives *directives.Directives, directory *entitlement.Directory, now int64) bool {
	return c.rules.directives == directives && c.directory == directory && now < c.until.Load()
}

// standing returns what a caller's tenant may, nil where the directory does not have it. Its size bounds what is remembered.
func (c *callers) standing(g *Gate, p *identity.Principal) *entitlement.Standing {
	if c.directory == nil || p == &identity.Local {
		return nil
	}
	if known, ok := c.standings.Load(p.Tenant); ok {
		return known.(*entitlement.Standing)
	}
	t := c.directory.Tenants[p.Tenant]
	if t == nil {
		return nil
	}
	s := t.Standing(c.directory.Plans, g.opts.Now())
	if !s.Until.IsZero() {
		for until := c.until.Load(); s.Until.UnixNano() < until && !c.until.CompareAndSwap(until, s.Until.UnixNano()); {
			until = c.until.Load()
		}
	}
	if s.State != cmp.Or(t.Noted, entitlement.Boot) && g.opts.Entitlements.Note != nil {
		g.opts.Entitlements.Note(p.Tenant)
	}
	c.standings.Store(p.Tenant, s)
	return s
}

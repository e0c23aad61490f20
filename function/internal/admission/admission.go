// Package admission stands before every message: it finds out who calls and decides by the governor's limits whether the
// call may proceed. A modern request is decided from its headers, before its body is read; a legacy one, and each element of
// a batch, once it is decoded. So far every caller is the local principal.
package admission

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
)

// Limits are counted in quarters of a call, so that a list can cost less than a call.
const (
	units      = 4
	listWeight = 1
)

// Options configure a [Gate].
type Options struct {
	Governor *governor.Governor // nil admits all
	Catalog  *catalog.Catalog
	// PerSecond and Concurrency limit all calls together; 0 is no limit.
	PerSecond   float64
	Concurrency int64
}

// A Gate implements [mcp.Gate].
type Gate struct {
	governor *governor.Governor
	calls    *governor.Limit // on everything
	lists    *governor.Limit // the same rate, and no slot: a list is answered at once
	tools    map[string]tool
}

type tool struct {
	weight int64
	limits []*governor.Limit // its own and the one on everything
}

// New returns a gate. Its error lists the faults of the limits.
func New(o Options) (*Gate, error) {
	g := &Gate{governor: o.Governor, tools: map[string]tool{}}
	g.calls = limit("everything", "all", o.PerSecond, 0, o.Concurrency)
	g.lists = limit("everything", "all", o.PerSecond, 0, 0)
	err := o.Catalog.EachTool(func(name string, terms catalog.Terms) error {
		if terms.Limits.PerDay > 0 {
			return fmt.Errorf("tool %q: a limit of calls a day is not enforced yet: leave it out", name)
		}
		t := tool{weight: units * int64(max(terms.Weight, 1)), limits: []*governor.Limit{g.calls}}
		if l := terms.Limits; l.PerSecond > 0 || l.Concurrency > 0 {
			// Names of the catalog alone become keys: what a caller writes never does.
			own := limit("tool:"+name, "tool:"+name, l.PerSecond, l.Burst, int64(l.Concurrency))
			if err := own.Check(); err != nil {
				return fmt.Errorf("tool %q: %w", name, err)
			}
			t.limits = []*governor.Limit{own, g.calls}
		}
		g.tools[name] = t
		return nil
	})
	return g, err
}

// limit makes a limit of calls; a burst of 0 is the default one.
func limit(scope, key string, perSecond float64, burst int, concurrency int64) *governor.Limit {
	l := &governor.Limit{Scope: scope, Key: key, PerSecond: perSecond * units, Concurrency: concurrency}
	if perSecond > 0 {
		l.Burst = units * max(1, perSecond/10)
		if burst > 0 {
			l.Burst = units * float64(burst)
		}
	}
	return l
}

// A ticket is what the two decisions share.
type ticket struct {
	principal *identity.Principal
	admitted  bool // from the headers
	ctx       context.Context
	lease     *governor.Lease
}

func (t *ticket) Caller() string { return t.principal.String() }

// Head authenticates, and decides a modern request.
func (g *Gate) Head(ctx context.Context, h *mcp.Head) (mcp.Ticket, *mcp.Refusal) {
	t := &ticket{principal: &identity.Local}
	if h.Method == "" {
		return t, nil
	}
	var refusal *mcp.Refusal
	t.ctx, t.lease, refusal = g.admit(ctx, h.RequestID, h.Method, h.Name)
	t.admitted = refusal == nil
	return t, refusal
}

// Begin decides what Head has not, and puts the principal into the context of the call.
func (g *Gate) Begin(ctx context.Context, mt mcp.Ticket, c *mcp.Call) (context.Context, func(mcp.Outcome), *mcp.Refusal) {
	t := mt.(*ticket)
	lease := t.lease
	if t.admitted {
		ctx, t.lease = t.ctx, nil
	} else {
		var refusal *mcp.Refusal
		if ctx, lease, refusal = g.admit(ctx, c.Head.RequestID, c.Method, c.Name); refusal != nil {
			return ctx, nil, refusal
		}
	}
	return identity.NewContext(ctx, t.principal), func(mcp.Outcome) {
		if lease != nil {
			lease.Release()
		}
	}, nil
}

// Drop gives back the slot of a request that was admitted from its headers and then came to nothing; its token is spent.
func (g *Gate) Drop(mt mcp.Ticket) {
	if t := mt.(*ticket); t.lease != nil {
		t.lease.Release()
		t.lease = nil
	}
}

func (g *Gate) admit(ctx context.Context, requestID, method, name string) (context.Context, *governor.Lease, *mcp.Refusal) {
	if g.governor == nil {
		return ctx, nil, nil
	}
	weight, limits := int64(listWeight), []*governor.Limit{g.lists}
	switch method {
	case "tools/call":
		if t, ok := g.tools[name]; ok {
			weight, limits = t.weight, t.limits
		}
	case "prompts/get", "resources/read", "completion/complete":
		weight, limits = units, []*governor.Limit{g.calls}
	}
	ctx, lease, d := g.governor.Admit(ctx, weight, limits)
	if !d.Admitted() {
		return ctx, nil, refusal(d, requestID)
	}
	return ctx, lease, nil
}

// refusal words a decision for the person who reads it.
func refusal(d governor.Decision, requestID string) *mcp.Refusal {
	r := &mcp.Refusal{Scope: d.Limit.Scope, RetryAfter: d.Wait, Receipt: requestID}
	var what string
	if d.Kind == governor.Tokens {
		perSecond := d.Limit.PerSecond / units
		r.Reason, r.Limit = mcp.RateLimited, trim(perSecond)+"/s"
		what = "the limit of " + trim(perSecond) + " calls a second"
		quota, window := perSecond, 1.0
		if perSecond < 1 { // headers have whole numbers only
			quota, window = 1, 1/perSecond
		}
		wait := max(1, int64(math.Ceil(d.Wait.Seconds())))
		r.RateLimitPolicy = fmt.Sprintf("%q;q=%.0f;w=%.0f", d.Limit.Scope, math.Floor(quota), math.Ceil(window))
		r.RateLimit = fmt.Sprintf("%q;r=0;t=%d", d.Limit.Scope, wait)
	} else {
		r.Reason, r.Limit = mcp.Concurrency, strconv.FormatInt(d.Limit.Concurrency, 10)
		what = fmt.Sprintf("the limit of %d calls at a time", d.Limit.Concurrency)
	}
	r.Message = fmt.Sprintf("refused: %s on %s is reached; try again in %v", what, d.Limit.Scope, d.Wait.Round(10*time.Millisecond)+10*time.Millisecond)
	if d.Outage {
		r.Reason = mcp.Backpressure
		r.Message = fmt.Sprintf("refused: %s on %s can't be counted at the moment; try again in %v", what, d.Limit.Scope, d.Wait.Round(10*time.Millisecond))
	}
	return r
}

func trim(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// Ready tells whether the gate can decide: it always can, if need be by its outage rules.
func (g *Gate) Ready() bool { return true }

// Degraded says what does not work as it should.
func (g *Gate) Degraded() []string {
	if g.governor == nil {
		return nil
	}
	return g.governor.Degraded()
}

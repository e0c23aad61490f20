// Package admission stands before every message: it finds out who calls, what the caller may see and do, and decides by the
// governor's limits whether the call may proceed. A modern request is decided from its headers, before its body is read; a
// legacy one, and each element of a batch, once it is decoded.
package admission

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/policy"
	"example.com/erlmcp/function/internal/tenant"
)

// Rates are counted in quarters of a call, so that a list can cost less than a call.
const (
	units      = 4
	listWeight = 1
)

// Options configure a [Gate].
type Options struct {
	Governor *governor.Governor // nil admits all that the guard does
	Guard    *governor.Guard    // nil admits all
	Catalog  *catalog.Catalog
	Callers  *identity.Authenticator
	Scopes   []string           // that every call needs
	Metadata string             // URL of the protected resource metadata (RFC 9728), "" where no tokens are taken
	Policy   func() *policy.Set // in force; nil for none
	Quotas   bool               // there is a store to keep daily quotas in
	// Entitlements are what tenants have beyond that; nil: all have the same.
	Entitlements *Entitlements
	// What is allowed on all calls together, and to each tenant and client.
	Everything, EachTenant, EachClient, Anonymous Limit
	Journal                                       Journal // nil records nothing
	Now                                           func() time.Time
	Logger                                        *slog.Logger
	Tracer                                        trace.Tracer
}

// A Gate implements [mcp.Gate].
type Gate struct {
	opts    Options
	mu      sync.Mutex
	callers atomic.Pointer[callers]
	told    map[string]time.Time // when the log last heard of a limit in shadow mode
	broken  atomic.Pointer[string]
	ruled   bool // an entry has rules of its own
	packed  bool // an entry is of a pack, and not all tenants have all
	decided decisions

	fingerprints  sync.Map // of principals, by their names
	fingerprinted atomic.Int64
}

// callers remember what the governor is asked for each caller and rule.
type callers struct {
	rules     *rules
	known     sync.Map // caller: *governor.Call
	size      atomic.Int64
	directory *tenant.Directory // nil where there is none
	standings sync.Map          // tenant: *tenant.Standing
	until     atomic.Int64      // in Unix nanoseconds, when the clock changes the first of them
}

type caller struct {
	name string // of the principal
	rule string // a tool, or kindList or kindCall
}

const (
	kindList = "\x00list"
	kindCall = "\x00call"
)

// mostCallers bounds what is remembered of callers.
const mostCallers = 10000

// New returns a gate. Its error lists the faults of the limits.
func New(o Options) (*Gate, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Tracer == nil {
		o.Tracer = noop.NewTracerProvider().Tracer("")
	}
	g := &Gate{opts: o, told: map[string]time.Time{}, ruled: o.Catalog.Ruled(), packed: o.Entitlements != nil && o.Catalog.Packed()}
	r, err := makeRules(&o, &governor.Orders{})
	if o.Governor != nil {
		r.orders = nil // those of the governor are asked for at the first call
	}
	g.callers.Store(newCallers(r, nil))
	return g, err
}

// ask returns what the governor is to be asked for a message.
func (c *callers) ask(g *Gate, p *identity.Principal, method, name string) *governor.Call {
	key := caller{name: p.String(), rule: kindList}
	base, isCall := &c.rules.list.call, false
	switch method {
	case "tools/call":
		if t, ok := c.rules.tools[name]; ok { // an unknown one is answered like a list, and has no key
			key.rule, base, isCall = name, &t.call, true
		}
	case "prompts/get", "resources/read", "completion/complete":
		key.rule, base, isCall = kindCall, &c.rules.call.call, true
	}
	if known, ok := c.known.Load(key); ok {
		return known.(*governor.Call)
	}
	call := c.rules.of(p, c.standing(g, p), base, isCall)
	if c.size.Add(1) > mostCallers {
		c.known.Clear()
		c.size.Store(1)
	}
	c.known.Store(key, call)
	return call
}

// A ticket is what the two decisions share.
type ticket struct {
	gate      *Gate
	head      *mcp.Head
	principal *identity.Principal
	admitted  bool // from the headers
	verdict   verdict
	ctx       context.Context
	hold      hold
	shadow    bool // a limit in shadow mode would have refused
}

// A hold is what an admitted message has to give back.
type hold struct {
	gate     *Gate
	lease    *governor.Lease
	upstream string
}

func (h *hold) release(failed bool) {
	if h.gate == nil {
		return
	}
	if h.lease != nil {
		if failed {
			h.lease.Fail()
		}
		h.lease.Release()
	}
	if h.gate.opts.Guard != nil {
		h.gate.opts.Guard.Leave(h.upstream)
	}
	*h = hold{}
}

func (t *ticket) Caller() string { return t.principal.String() }

func (t *ticket) Tenant() string { return t.principal.Tenant }

// Head authenticates, and decides a modern request.
func (g *Gate) Head(ctx context.Context, h *mcp.Head) (mcp.Ticket, *mcp.Refusal) {
	p, err := g.opts.Callers.Authenticate(ctx, &identity.Request{Header: h.Header, RemoteAddr: h.RemoteAddr, ID: h.RequestID})
	if err != nil {
		return nil, g.refused(ctx, nil, h, h.Method, nil, nil, g.unauthenticated(err, h))
	}
	t := &ticket{gate: g, head: h, principal: p}
	if h.Method == "" {
		return t, nil
	}
	refusal := t.decide(ctx, h.Method, h.Name)
	if t.admitted = refusal == nil; !t.admitted {
		return t, g.refused(ctx, p, h, h.Method, t.verdict.object, nil, refusal)
	}
	return t, nil
}

// decide decides by name and limits.
func (t *ticket) decide(ctx context.Context, method, name string) (refusal *mcp.Refusal) {
	standing, refusal := t.gate.entitled(ctx, t.principal, t.head.RequestID)
	if refusal != nil {
		t.verdict.object = t.gate.opts.Catalog.Object(method, name)
		return refusal
	}
	if t.verdict, refusal = t.gate.authorize(t.principal, standing, t.head.RequestID, method, name); refusal != nil {
		return refusal
	}
	t.ctx, t.hold, t.shadow, refusal = t.gate.admit(ctx, t.principal, t.head.RequestID, method, name, t.verdict.hidden)
	return refusal
}

// Begin decides what Head has not, and puts the principal into the context of the call.
func (g *Gate) Begin(ctx context.Context, mt mcp.Ticket, c *mcp.Call) (context.Context, func(mcp.Ending), *mcp.Refusal) {
	t := mt.(*ticket)
	if !t.admitted { // a legacy message: others of its batch have the ticket too
		own := &ticket{gate: g, head: c.Head, principal: t.principal}
		t = own
		if refusal := t.decide(ctx, c.Method, c.Name); refusal != nil {
			return ctx, nil, g.refused(ctx, t.principal, c.Head, c.Method, t.verdict.object, c, refusal)
		}
	}
	ctx = withSpan(t.ctx, ctx)
	held := t.hold
	t.hold = hold{}
	ctx, refusal := g.enforce(ctx, t.principal, c, &t.verdict)
	var r *record
	if refusal == nil {
		r, refusal = g.admitted(ctx, t.principal, t.verdict.object, c, t.shadow)
	}
	if refusal != nil {
		held.release(false)
		return ctx, nil, g.refused(ctx, t.principal, c.Head, c.Method, t.verdict.object, c, refusal)
	}
	return identity.NewContext(ctx, t.principal), func(e mcp.Ending) {
		r.end(&e)
		held.release(e.Outcome == mcp.Unavailable || e.Outcome == mcp.TimedOut || e.Outcome == mcp.Panicked)
	}, nil
}

// Drop gives back the slot of a request that was admitted from its headers and then came to nothing; its token is spent.
func (g *Gate) Drop(mt mcp.Ticket) {
	t := mt.(*ticket)
	t.dropped()
	t.hold.release(false)
}

// admit asks guard and governor. What the caller can't see is decided as what there is not.
func (g *Gate) admit(ctx context.Context, p *identity.Principal, requestID, method, name string, hidden bool) (_ context.Context, _ hold, shadow bool, _ *mcp.Refusal) {
	if hidden {
		name = ""
	}
	h := hold{gate: g}
	if g.opts.Guard != nil {
		if method == "tools/call" {
			h.upstream = g.callers.Load().rules.tools[name].upstream
		}
		if d := g.opts.Guard.Enter(h.upstream); !d.Admitted() {
			return ctx, hold{}, false, refusal(d, requestID)
		}
	}
	if g.opts.Governor == nil {
		return ctx, h, false, nil
	}
	asking, end := g.traced(ctx)
	admitted, lease, d := g.opts.Governor.Admit(asking, g.generation(g.opts.Governor.Hear(asking), g.callers.Load().directory).ask(g, p, method, name))
	end(d)
	if !d.Admitted() {
		h.release(false)
		return ctx, hold{}, false, refusal(d, requestID)
	}
	for _, l := range d.Shadow {
		g.tell(ctx, "a limit in shadow mode would have refused a call", l.Scope, requestID)
	}
	h.lease = lease
	return withSpan(admitted, ctx), h, len(d.Shadow) > 0, nil
}

// traced opens the span of a decision, where the request is traced.
func (g *Gate) traced(ctx context.Context) (context.Context, func(governor.Decision)) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, func(governor.Decision) {}
	}
	ctx, span := g.opts.Tracer.Start(ctx, "governor admit")
	return ctx, func(d governor.Decision) {
		span.SetAttributes(attribute.String("erlmcp.decision", d.Reason.String()), attribute.Bool("erlmcp.outage", d.Outage))
		if !d.Admitted() {
			span.SetAttributes(attribute.String("erlmcp.refusal.scope", d.Scope))
		}
		span.End()
	}
}

// withSpan returns the first context with the span of the second.
func withSpan(ctx, other context.Context) context.Context {
	if span := trace.SpanFromContext(other); !span.SpanContext().Equal(trace.SpanContextFromContext(ctx)) {
		return trace.ContextWithSpan(ctx, span)
	}
	return ctx
}

// tell says in the log what was decided about a scope, once a second. The scopes are those of limits and rules, never what a
// caller writes.
func (g *Gate) tell(ctx context.Context, what, scope, requestID string, more ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.opts.Now(); now.Sub(g.told[scope]) >= time.Second {
		g.told[scope] = now
		g.opts.Logger.WarnContext(ctx, what, append([]any{"scope", scope, "request_id", requestID}, more...)...)
	}
}

// Ready tells whether the gate can let calls in: not before it is known what operators have ordered, and what tenants are
// entitled to.
func (g *Gate) Ready() bool {
	return (g.opts.Governor == nil || g.opts.Governor.Known()) && (g.opts.Entitlements == nil || g.opts.Entitlements.Known())
}

// Held lists what this instance has leased of the limits, in calls.
func (g *Gate) Held() []governor.HeldLimit {
	if g.opts.Governor == nil {
		return nil
	}
	held := g.opts.Governor.Held()
	for i := range held {
		held[i].Tokens /= units
	}
	return held
}

// Degraded says what does not work as it should.
func (g *Gate) Degraded() []string {
	if g.opts.Governor == nil {
		return nil
	}
	out := g.opts.Governor.Degraded()
	if text := g.broken.Load(); text != nil {
		out = append(out, *text)
	}
	return out
}

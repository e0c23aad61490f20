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
	// What is allowed on all calls together, and to each tenant and client.
	Everything, EachTenant, EachClient, Anonymous Limit
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
	decided decisions
}

// callers remember what the governor is asked for each caller and rule.
type callers struct {
	rules *rules
	known sync.Map // caller: *governor.Call
	size  atomic.Int64
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
	g := &Gate{opts: o, told: map[string]time.Time{}, ruled: o.Catalog.Ruled()}
	r, err := makeRules(&o, &governor.Orders{})
	if o.Governor != nil {
		r.orders = nil // those of the governor are asked for at the first call
	}
	g.callers.Store(&callers{rules: r})
	return g, err
}

// current returns the rules in force: those of the orders that the governor knows.
func (g *Gate) current(orders *governor.Orders) *callers {
	c := g.callers.Load()
	if c.rules.orders == orders {
		return c
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if c = g.callers.Load(); c.rules.orders != orders {
		r, err := makeRules(&g.opts, orders)
		if err != nil {
			g.opts.Logger.Error("not all of the operators' orders can be followed", "error", err)
			text := "orders: " + err.Error()
			g.broken.Store(&text)
		} else {
			g.broken.Store(nil)
		}
		c = &callers{rules: r}
		g.callers.Store(c)
	}
	return c
}

// ask returns what the governor is to be asked for a message.
func (c *callers) ask(p *identity.Principal, method, name string) *governor.Call {
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
	call := c.rules.of(p, base, isCall)
	if c.size.Add(1) > mostCallers {
		c.known.Clear()
		c.size.Store(1)
	}
	c.known.Store(key, call)
	return call
}

// A ticket is what the two decisions share.
type ticket struct {
	principal *identity.Principal
	admitted  bool // from the headers
	verdict   verdict
	ctx       context.Context
	hold      hold
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
		return nil, g.unauthenticated(err, h)
	}
	t := &ticket{principal: p}
	if h.Method == "" {
		return t, nil
	}
	var refusal *mcp.Refusal
	if t.verdict, refusal = g.authorize(p, h.RequestID, h.Method, h.Name); refusal != nil {
		return t, refusal
	}
	t.ctx, t.hold, refusal = g.admit(ctx, p, h.RequestID, h.Method, h.Name, t.verdict.hidden)
	t.admitted = refusal == nil
	return t, refusal
}

// Begin decides what Head has not, and puts the principal into the context of the call.
func (g *Gate) Begin(ctx context.Context, mt mcp.Ticket, c *mcp.Call) (context.Context, func(mcp.Outcome), *mcp.Refusal) {
	t := mt.(*ticket)
	held := t.hold
	if t.admitted {
		ctx, t.hold = withSpan(t.ctx, ctx), hold{}
	} else {
		var refusal *mcp.Refusal
		if t.verdict, refusal = g.authorize(t.principal, c.Head.RequestID, c.Method, c.Name); refusal != nil {
			return ctx, nil, refusal
		}
		if ctx, held, refusal = g.admit(ctx, t.principal, c.Head.RequestID, c.Method, c.Name, t.verdict.hidden); refusal != nil {
			return ctx, nil, refusal
		}
	}
	ctx, refusal := g.enforce(ctx, t.principal, c, &t.verdict)
	if refusal != nil {
		held.release(false)
		return ctx, nil, refusal
	}
	return identity.NewContext(ctx, t.principal), func(o mcp.Outcome) {
		held.release(o == mcp.Unavailable || o == mcp.TimedOut || o == mcp.Panicked)
	}, nil
}

// Drop gives back the slot of a request that was admitted from its headers and then came to nothing; its token is spent.
func (g *Gate) Drop(mt mcp.Ticket) { mt.(*ticket).hold.release(false) }

// admit asks guard and governor. What the caller can't see is decided as what there is not.
func (g *Gate) admit(ctx context.Context, p *identity.Principal, requestID, method, name string, hidden bool) (context.Context, hold, *mcp.Refusal) {
	if hidden {
		name = ""
	}
	h := hold{gate: g}
	if g.opts.Guard != nil {
		if method == "tools/call" {
			h.upstream = g.callers.Load().rules.tools[name].upstream
		}
		if d := g.opts.Guard.Enter(h.upstream); !d.Admitted() {
			return ctx, hold{}, refusal(d, requestID)
		}
	}
	if g.opts.Governor == nil {
		return ctx, h, nil
	}
	asking, end := g.traced(ctx)
	admitted, lease, d := g.opts.Governor.Admit(asking, g.current(g.opts.Governor.Hear(asking)).ask(p, method, name))
	end(d)
	if !d.Admitted() {
		h.release(false)
		return ctx, hold{}, refusal(d, requestID)
	}
	for _, l := range d.Shadow {
		g.tell(ctx, "a limit in shadow mode would have refused a call", l.Scope, requestID)
	}
	h.lease = lease
	return withSpan(admitted, ctx), h, nil
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

// Ready tells whether the gate can let calls in: not before the operators' orders are known.
func (g *Gate) Ready() bool { return g.opts.Governor == nil || g.opts.Governor.Known() }

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

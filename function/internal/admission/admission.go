// Package admission stands before every message: it finds out who calls, what the caller may see and do, and decides by the
// governor's limits whether the call may proceed. A modern request is decided from its headers, before its body is read; a
// legacy one, and each element of a batch, once it is decoded. What is no call, such as a list, a ping or a malformed body, is counted
// apart, so that a client whose calls are refused can connect and list.
package admission

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
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

// Rates are counted in quarters of a call: buckets hold parts of one.
const units = 4

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
	// Believe is told of a request whose caller is known: what it says of its trace counts.
	Believe func(context.Context) context.Context
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
	rule string // a tool, or kindOther or kindCall
}

const (
	kindOther = "\x00other"
	kindCall  = "\x00call"
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
	if o.Believe == nil {
		o.Believe = func(ctx context.Context) context.Context { return ctx }
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
	key := caller{name: p.String(), rule: kindOther}
	base, isCall := &c.rules.other.call, false
	switch method {
	case "tools/call":
		if t, ok := c.rules.tools[name]; ok { // an unknown one is no call, and has no key
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
	known     time.Time // when it was asked who that is
	decided   time.Time // when it was decided last
	admitted  bool      // from the headers
	counted   bool      // by the limits, as a call or as what is none
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

// spare gives it back where nothing was entered.
func (h *hold) spare() {
	if h.lease != nil {
		h.lease.Spare()
	}
	h.release(false)
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

// Believed tells a caller that is known from those who say nothing: of these, calls that are admitted count, since there is a limit on
// them.
func (t *ticket) Believed() bool { return t.principal.Method != identity.Anonymous || t.admitted }

// Head authenticates, and decides a modern request.
func (g *Gate) Head(ctx context.Context, h *mcp.Head) (mcp.Ticket, *mcp.Refusal) {
	t := &ticket{gate: g, head: h}
	if refusal := t.authenticate(ctx); refusal != nil {
		return nil, g.stranger(h, refusal)
	}
	p := t.principal
	if t.Believed() {
		ctx = g.opts.Believe(ctx)
	}
	if h.Method == "" {
		if h.Size < 0 || h.Size > largeBody {
			return t, g.Charge(ctx, t)
		}
		return t, nil
	}
	refusal := t.decide(ctx, h.Method, h.Name)
	t.counted = true
	if t.admitted = refusal == nil; !t.admitted {
		return t, g.refused(ctx, p, h, h.Method, t.verdict.object, nil, refusal)
	}
	g.opts.Believe(ctx)
	return t, nil
}

// mostAge is how old what is known of callers and orders may be when a call is decided, and how long a decision holds for a call that
// has not begun. Time that a frozen process did not see counts.
const mostAge = 2 * time.Second

// passed tells whether so much time has passed by the clock that shows more of it.
func (g *Gate) passed(since time.Time, most time.Duration) bool {
	now := g.opts.Now()
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0))) >= most
}

// authenticate finds out who calls, unless that is known of now.
func (t *ticket) authenticate(ctx context.Context) *mcp.Refusal {
	g, h := t.gate, t.head
	if t.principal != nil && !g.passed(t.known, mostAge) {
		return nil
	}
	t.known = g.opts.Now()
	p, err := g.opts.Callers.Authenticate(ctx, &identity.Request{Header: h.Header, RemoteAddr: h.RemoteAddr, ID: h.RequestID})
	if err != nil {
		return g.unauthenticated(err, h)
	}
	t.principal = p
	return nil
}

// decide decides by name and limits: once more where that took so long that the caller may not be who was asked about.
func (t *ticket) decide(ctx context.Context, method, name string) *mcp.Refusal {
	for range mostAsked {
		if refusal := t.authenticate(ctx); refusal != nil {
			return refusal
		}
		if refusal := t.decideOnce(ctx, method, name); refusal != nil {
			return refusal
		}
		if !t.gate.passed(t.known, mostAge) {
			t.decided = t.gate.opts.Now()
			return nil
		}
		t.hold.spare()
	}
	return t.gate.unheard(t.head.RequestID)
}

// unheard refuses a call since what is known is too old to decide it by.
func (g *Gate) unheard(requestID string) *mcp.Refusal {
	return &mcp.Refusal{
		Reason: mcp.Backpressure, Scope: governor.Everything, Receipt: requestID, RetryAfter: time.Second,
		Message: "refused: deciding took so long that what it was decided by may not hold any more; try again in 1s",
	}
}

// still decides once more, by the orders and by who calls, where a call was admitted a while ago and begins now.
func (t *ticket) still(ctx context.Context, c *mcp.Call) *mcp.Refusal {
	g := t.gate
	if !g.passed(t.decided, mostAge) {
		return nil
	}
	if refusal := t.authenticate(ctx); refusal != nil {
		return refusal
	}
	standing, why := g.entitled(ctx, t.principal, t.head.RequestID)
	if why != nil {
		return why
	}
	if t.verdict, why = g.authorize(t.principal, standing, t.head.RequestID, c.Method, c.Name); why != nil || g.opts.Governor == nil {
		return why
	}
	name := c.Name
	if t.verdict.hidden {
		name = ""
	}
	call := g.generation(g.opts.Governor.Hear(ctx), g.callers.Load().directory).ask(g, t.principal, c.Method, name)
	if d := g.opts.Governor.Check(ctx, call); !d.Admitted() {
		return refusal(d, t.head.RequestID)
	}
	return nil
}

func (t *ticket) decideOnce(ctx context.Context, method, name string) (refusal *mcp.Refusal) {
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
		own := &ticket{gate: g, head: c.Head, principal: t.principal, known: t.known}
		t = own
		if refusal := t.decide(ctx, c.Method, c.Name); refusal != nil {
			return ctx, nil, g.refused(ctx, t.principal, c.Head, c.Method, t.verdict.object, c, refusal)
		}
	} else if c.Name != t.head.Name { // only the body says what it is about
		var refusal *mcp.Refusal
		if t.verdict, refusal = g.authorize(t.principal, t.verdict.standing, c.Head.RequestID, c.Method, c.Name); refusal != nil {
			t.hold.spare()
			return ctx, nil, g.refused(ctx, t.principal, c.Head, c.Method, t.verdict.object, c, refusal)
		}
	}
	ctx = withSpan(t.ctx, ctx)
	held := t.hold
	t.hold = hold{}
	refusal := t.still(ctx, c)
	if refusal == nil {
		ctx, refusal = g.enforce(ctx, t.principal, c, &t.verdict)
	}
	var r *record
	if hidden := c.Concealed(); hidden != nil && refusal == nil {
		g.refused(ctx, t.principal, c.Head, c.Method, t.verdict.object, c, hidden)
	} else if refusal == nil {
		r, refusal = g.admitted(ctx, t.principal, t.verdict.object, c, t.shadow)
	}
	if refusal != nil {
		held.spare()
		return ctx, nil, g.refused(ctx, t.principal, c.Head, c.Method, t.verdict.object, c, refusal)
	}
	return identity.NewContext(ctx, t.principal), func(e mcp.Ending) {
		r.end(&e)
		if !e.Entered {
			held.spare()
			return
		}
		held.release(e.Outcome == mcp.Unavailable || e.Outcome == mcp.TimedOut || e.Outcome == mcp.Panicked)
	}, nil
}

// largeBody is the size in bytes from which a body costs more to read than a decision.
const largeBody = 64 << 10

// Charge counts what is no call.
func (g *Gate) Charge(ctx context.Context, mt mcp.Ticket) *mcp.Refusal {
	t := mt.(*ticket)
	if t.counted {
		return nil
	}
	t.counted = true
	_, held, _, refusal := g.admit(ctx, t.principal, t.head.RequestID, "", "", false)
	if refusal != nil {
		return g.refused(ctx, t.principal, t.head, "", nil, nil, refusal)
	}
	held.release(false)
	return nil
}

// Invalid decides a request that turned out invalid, where it was not admitted from its headers: a legacy one, or one of a batch.
func (g *Gate) Invalid(ctx context.Context, mt mcp.Ticket, c *mcp.Call) *mcp.Refusal {
	t := mt.(*ticket)
	if t.admitted {
		return nil
	}
	head := *c.Head
	head.Method, head.Name = c.Method, c.Name
	own := &ticket{gate: g, head: &head, principal: t.principal, known: t.known}
	if refusal := own.decide(ctx, c.Method, c.Name); refusal != nil {
		return g.refused(ctx, own.principal, c.Head, c.Method, own.verdict.object, c, refusal)
	}
	own.admitted = c.Method != ""
	g.Drop(own)
	return nil
}

// Yield gives back the slot of a request whose body is long in coming, and what it took of daily quotas; its token is spent.
func (g *Gate) Yield(mt mcp.Ticket) {
	t := mt.(*ticket)
	t.admitted = false
	t.hold.spare()
}

// Drop gives back the slot of a request that was admitted from its headers and then came to nothing, and what it took of daily
// quotas; its token is spent.
func (g *Gate) Drop(mt mcp.Ticket) {
	t := mt.(*ticket)
	t.dropped()
	t.hold.spare()
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
	admitted, lease, d := g.ask(asking, p, method, name)
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

// ask asks the governor, by the limits in force when it decides.
func (g *Gate) ask(ctx context.Context, p *identity.Principal, method, name string) (admitted context.Context, lease *governor.Lease, d governor.Decision) {
	for range mostAsked {
		orders := g.opts.Governor.Hear(ctx)
		admitted, lease, d = g.opts.Governor.Admit(ctx, g.generation(orders, g.callers.Load().directory).ask(g, p, method, name))
		if now := g.opts.Governor.InForce(); !d.Admitted() || now == orders || now.Beyond(orders) == nil {
			return admitted, lease, d
		}
		lease.Spare()
		lease.Release() // the limits may be others by now: the orders changed while this was decided
	}
	return ctx, nil, governor.Decision{Reason: governor.Unknown, Scope: governor.Everything, Wait: time.Second}
}

// mostAsked is how often a decision begins anew, where the orders change meanwhile.
const mostAsked = 3

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

// Informed asks for what is not fresh, and tells whether the gate can let calls in: not where it is not known what operators have
// ordered, and what tenants are entitled to.
func (g *Gate) Informed(ctx context.Context) bool {
	known := g.opts.Governor == nil || g.opts.Governor.Informed(ctx)
	if known && g.opts.Entitlements != nil {
		_, known = g.opts.Entitlements.Directory(ctx)
	}
	return known
}

// Ready tells the same as far as calls have found out.
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
	if g.opts.Governor.Known() { // so that what is wrong with the orders is told before the first call
		g.generation(g.opts.Governor.InForce(), g.callers.Load().directory)
	}
	if scopes := g.opts.Governor.Competed(); len(scopes) > 0 && !g.callers.Load().rules.ofTenants() {
		out = append(out, fmt.Sprintf("governor: several tenants asked for more than the limit on %s within the last minute, and took turns: "+
			"give each a limit of its own, by TENANT_RATE_LIMIT_PER_SECOND or by erlmcp limits each-tenant -per-second N", strings.Join(scopes, ", ")))
	}
	if text := g.broken.Load(); text != nil {
		out = append(out, *text)
	}
	return out
}

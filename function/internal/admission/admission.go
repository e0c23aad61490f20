package admission

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/receipt"
)

// An Admission implements [mcp.Admission]: one message from who sends it to how it ended.
type Admission struct {
	gate      *Gate
	head      *mcp.RequestHeader
	method    string // method and name are what is decided; empty until a body has said them
	name      string
	principal *identity.Principal
	known     time.Time // when it was asked who that is
	decided   time.Time // when it was decided last
	admitted  bool      // from the headers
	counted   bool      // by the limits, as a call or as what is none
	verdict   verdict

	// What is to be given back.
	lease    *governor.Lease // nil for none
	slot     bool            // of the load shedder
	upstream string          // whose slot that is, too
	dryRun   bool            // a limit that is tried out would have refused

	// Of a call that has started.
	started  time.Time
	recorded bool
	receipt  receipt.Receipt // what all of the call have in common; not changed, since the timer reads it
	timer    *time.Timer     // writes the receipt of a call that runs for long
}

// Admit authenticates, and decides a modern request.
func (g *Gate) Admit(ctx context.Context, h *mcp.RequestHeader) (mcp.Admission, *mcp.Refusal) {
	a := &Admission{gate: g, head: h, method: h.Method, name: h.Name}
	if refusal := a.authenticate(ctx); refusal != nil {
		return nil, g.stranger(h, refusal)
	}
	if a.Believed() {
		ctx = g.opts.Believe(ctx)
	}
	if h.Method == "" {
		if h.Size < 0 || h.Size > largeBody {
			return a, a.Charge(ctx)
		}
		return a, nil
	}
	refusal := a.decide(ctx)
	a.counted = true
	if a.admitted = refusal == nil; !a.admitted {
		return a, a.refused(ctx, nil, refusal)
	}
	g.opts.Believe(ctx)
	return a, nil
}

// Caller implements [mcp.Admission].
func (a *Admission) Caller() string { return a.principal.String() }

// Tenant implements [mcp.Admission].
func (a *Admission) Tenant() string { return a.principal.Tenant }

// Believed tells a caller that is known from those who say nothing: of these, calls that are admitted count, since there is a limit on
// them.
func (a *Admission) Believed() bool { return a.principal.Method != identity.Anonymous || a.admitted }

// Start decides what Admit has not, and puts the principal into the context of the call.
func (a *Admission) Start(ctx context.Context, c *mcp.Call) (context.Context, mcp.Admission, *mcp.Refusal) {
	if !a.admitted { // a legacy message: others of its batch have this admission too
		a = a.of(c)
		if refusal := a.decide(ctx); refusal != nil {
			return ctx, nil, a.refused(ctx, c, refusal)
		}
	} else if c.Name != a.name { // only the body says what it is about
		if refusal := a.authorize(c.Name); refusal != nil {
			return a.undone(ctx, c, refusal)
		}
	}
	if refusal := a.still(ctx, c); refusal != nil {
		return a.undone(ctx, c, refusal)
	}
	within, refusal := a.enforce(ctx, c)
	if refusal != nil {
		return a.undone(ctx, c, refusal)
	}
	if hidden := c.Concealed(); hidden != nil {
		a.refused(ctx, c, hidden)
	} else if refusal = a.record(ctx, c); refusal != nil {
		return a.undone(ctx, c, refusal)
	}
	if a.lease != nil {
		within = a.lease.Bind(within)
	}
	return identity.NewContext(within, a.principal), a, nil
}

// of is the admission of one message of those that came together.
func (a *Admission) of(c *mcp.Call) *Admission {
	return &Admission{gate: a.gate, head: c.Head, method: c.Method, name: c.Name, principal: a.principal, known: a.known}
}

func (a *Admission) undone(ctx context.Context, c *mcp.Call, why *mcp.Refusal) (context.Context, mcp.Admission, *mcp.Refusal) {
	a.spare()
	return ctx, nil, a.refused(ctx, c, why)
}

// End implements [mcp.Admission].
func (a *Admission) End(e *mcp.Ending) {
	a.recordEnd(e)
	if !e.Entered {
		a.spare()
		return
	}
	a.release(e.Outcome == mcp.Unavailable || e.Outcome == mcp.TimedOut || e.Outcome == mcp.Panicked)
}

// largeBody is the size in bytes from which a body costs more to read than a decision.
const largeBody = 64 << 10

// Charge counts what is no call.
func (a *Admission) Charge(ctx context.Context) *mcp.Refusal {
	if a.counted {
		return nil
	}
	a.counted = true
	if refusal := a.limit(ctx); refusal != nil {
		return a.refused(ctx, nil, refusal)
	}
	a.release(false)
	return nil
}

// Invalid decides a request that turned out invalid, where it was not admitted from its headers: a legacy one, or one of a batch.
func (a *Admission) Invalid(ctx context.Context, c *mcp.Call) *mcp.Refusal {
	if a.admitted {
		return nil
	}
	own := a.of(c)
	if refusal := own.decide(ctx); refusal != nil {
		return own.refused(ctx, c, refusal)
	}
	own.admitted = c.Method != ""
	own.Drop(ctx)
	return nil
}

// Yield gives back the slot of a request whose body is long in coming, and what it took of daily quotas; its token is spent.
func (a *Admission) Yield() {
	a.admitted = false
	a.spare()
}

// Drop gives back the slot of a request that was admitted from its headers and then came to nothing, and what it took of daily
// quotas; its token is spent.
func (a *Admission) Drop(ctx context.Context) {
	a.recordDropped(ctx)
	a.spare()
}

// spare gives back where nothing was entered.
func (a *Admission) spare() {
	if a.lease != nil {
		a.lease.Spare()
	}
	a.release(false)
}

func (a *Admission) release(failed bool) {
	if a.lease != nil {
		if failed {
			a.lease.Fail()
		}
		a.lease.Release()
		a.lease = nil
	}
	if a.slot {
		a.gate.opts.Shedder.Release(a.Tenant(), a.upstream)
		a.slot = false
	}
}

// maxAge is how old what is known of callers and directives may be when a call is decided, and how long a decision holds for a call that
// has not begun. Time that a frozen process did not see counts.
const maxAge = 2 * time.Second

// passed tells whether so much time has passed by the clock that shows more of it.
func (g *Gate) passed(since time.Time, d time.Duration) bool {
	now := g.opts.Now()
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0))) >= d
}

// authenticate finds out who calls, unless that is known of now.
func (a *Admission) authenticate(ctx context.Context) *mcp.Refusal {
	g, h := a.gate, a.head
	if a.principal != nil && !g.passed(a.known, maxAge) {
		return nil
	}
	a.known = g.opts.Now()
	p, err := g.opts.Callers.Authenticate(ctx, &identity.Request{Header: h.Header, RemoteAddr: h.RemoteAddr, ID: h.RequestID, Part: h.Toolset})
	if err != nil {
		return g.unauthenticated(err, h)
	}
	a.principal = p
	return nil
}

// maxDecisions is how often a decision begins anew, where the directives change meanwhile or deciding takes long.
const maxDecisions = 3

// decide decides by name and limits: once more where that took so long that the caller may not be who was asked about.
func (a *Admission) decide(ctx context.Context) *mcp.Refusal {
	for range maxDecisions {
		if refusal := a.authenticate(ctx); refusal != nil {
			return refusal
		}
		if refusal := a.decideOnce(ctx); refusal != nil {
			return refusal
		}
		if !a.gate.passed(a.known, maxAge) {
			a.decided = a.gate.opts.Now()
			return nil
		}
		a.spare()
	}
	return &mcp.Refusal{
		Reason: mcp.Backpressure, Scope: directives.Everything, Receipt: a.head.RequestID, RetryAfter: time.Second,
		Message: "refused: deciding took so long that what it was decided by may not hold any more; try again in 1s",
	}
}

func (a *Admission) decideOnce(ctx context.Context) *mcp.Refusal {
	if refusal := a.permit(ctx, a.name); refusal != nil {
		return refusal
	}
	return a.limit(ctx)
}

// permit decides by what the tenant is entitled to, and by the name of what is called.
func (a *Admission) permit(ctx context.Context, name string) (refusal *mcp.Refusal) {
	if a.verdict.standing, refusal = a.gate.entitled(ctx, a.principal, a.head.RequestID); refusal != nil {
		a.verdict.object = a.gate.opts.Catalog.Object(a.method, name)
		return refusal
	}
	return a.authorize(name)
}

// still decides once more, by the directives and by who calls, where a call was admitted a while ago and begins now.
func (a *Admission) still(ctx context.Context, c *mcp.Call) *mcp.Refusal {
	g := a.gate
	if !g.passed(a.decided, maxAge) {
		return nil
	}
	if refusal := a.authenticate(ctx); refusal != nil {
		return refusal
	}
	if why := a.permit(ctx, c.Name); why != nil || g.opts.Governor == nil {
		return why
	}
	if d := g.opts.Governor.Check(ctx, a.call(g.opts.Governor.Refresh(ctx), c.Name)); !d.Admitted() {
		return refusal(d, a.head.RequestID)
	}
	return nil
}

// call is what the governor is asked. What the caller can't see is decided as what there is not.
func (a *Admission) call(directives *directives.Directives, name string) *governor.Call {
	if a.verdict.hidden {
		name = ""
	}
	return a.gate.generation(directives, a.gate.callers.Load().directory).call(a.gate, a.principal, a.method, name)
}

// limit asks load shedder and governor.
func (a *Admission) limit(ctx context.Context) *mcp.Refusal {
	g := a.gate
	if g.opts.Shedder != nil {
		a.upstream = ""
		if a.method == "tools/call" && !a.verdict.hidden {
			a.upstream = g.callers.Load().rules.tools[a.name].upstream
		}
		d := g.opts.Shedder.Acquire(a.Tenant(), a.upstream)
		if a.slot = d.Admitted(); !a.slot {
			return shed(d, a.head.RequestID)
		}
	}
	if g.opts.Governor == nil {
		return nil
	}
	asking, end := g.traced(ctx)
	d := a.ask(asking)
	end(d)
	if !d.Admitted() {
		a.release(false)
		return refusal(d, a.head.RequestID)
	}
	for _, l := range d.DryRun {
		g.tell(ctx, "a limit in shadow mode would have refused a call", l.Scope, a.head.RequestID)
	}
	a.dryRun = len(d.DryRun) > 0
	return nil
}

// ask asks the governor, by the limits in force when it decides.
func (a *Admission) ask(ctx context.Context) governor.Decision {
	g := a.gate.opts.Governor
	for range maxDecisions {
		directives := g.Refresh(ctx)
		lease, d := g.Admit(ctx, a.call(directives, a.name))
		if now := g.InForce(); !d.Admitted() || now == directives || now.Beyond(directives) == nil {
			a.lease = lease
			return d
		}
		lease.Spare()
		lease.Release() // the limits may be others by now: the directives changed while this was decided
	}
	return governor.Decision{Reason: governor.Unknown, Scope: directives.Everything, Wait: time.Second}
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

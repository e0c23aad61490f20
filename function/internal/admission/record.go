package admission

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"go.opentelemetry.io/otel/trace"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/receipt"
)

const (
	// tellAfter is how long a call may run before the receipt of its admission is written: one that ends sooner has a single
	// receipt, of its end.
	tellAfter = time.Second
	// storeTimeout is how long a strict call waits for the receipt of its intent.
	storeTimeout = 2 * time.Second
)

// draft is what all receipts of a message have in common.
func (a *Admission) draft(ctx context.Context) receipt.Receipt {
	g := a.gate
	r := receipt.Receipt{
		ID: a.head.RequestID, Time: a.head.Began, Catalog: g.opts.Catalog.Version(), Tenant: a.principal.Tenant, Principal: g.fingerprint(a.principal),
	}
	if mcp.Known(a.method) { // others are callers' inventions
		r.Method = a.method
	}
	if o := a.verdict.object; o != nil {
		r.Tool = o.Name
	}
	if g.opts.Policy != nil {
		r.Policy = g.opts.Policy().Version()
	}
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		r.Trace = span.TraceID().String()
	}
	return r
}

// stranger records that someone was not let in: of them there is the method, if it is one, and where they called from, hashed. What else
// they write is theirs to choose.
func (g *Gate) stranger(h *mcp.RequestHeader, why *mcp.Refusal) *mcp.Refusal {
	if g.opts.Journal == nil {
		return why
	}
	r := receipt.Receipt{ID: h.RequestID, Time: h.Began, Kind: receipt.Refused, Decision: receipt.Refuse, Reason: why.Reason.Name, Limit: why.Scope}
	if mcp.Known(h.Method) {
		r.Method = h.Method
	}
	address := g.opts.Journal.Hash("", []byte(g.opts.Callers.Address(h.Header, h.RemoteAddr)))
	r.Detail = receipt.From(address)
	g.opts.Journal.Append(r)
	return why
}

// refused records a refusal, and returns it.
func (a *Admission) refused(ctx context.Context, c *mcp.Call, why *mcp.Refusal) *mcp.Refusal {
	g := a.gate
	if g.opts.Journal == nil {
		return why
	}
	r := a.draft(ctx)
	r.Kind, r.Decision, r.Reason, r.Limit = receipt.Refused, receipt.Refuse, why.Reason.Name, why.Scope
	if why.Limit != "" {
		r.Limit += " " + why.Limit
	}
	if why.Note != "" {
		r.Detail = noteOf(why.Note)
	}
	if c != nil {
		g.describe(&r, c)
	}
	g.opts.Journal.Append(r)
	return why
}

// noteOf is what an operator gave as the reason, as JSON, which details are.
func noteOf(note string) string {
	text, err := json.Marshal(map[string]string{"note": note})
	if err != nil {
		panic(err) // text only
	}
	return string(text)
}

func (g *Gate) describe(r *receipt.Receipt, c *mcp.Call) {
	r.Era = c.Version
	if len(c.Raw) > 0 {
		r.Arguments = g.opts.Journal.Hash(r.Tenant, c.Raw)
	}
}

// record records that a call may proceed: before that, where its entry is strict, and else once it runs for a while.
func (a *Admission) record(ctx context.Context, c *mcp.Call) *mcp.Refusal {
	g, o := a.gate, a.verdict.object
	strict := o != nil && o.Strict
	if g.opts.Journal == nil {
		if strict {
			return g.unrecorded(ctx, errUnrecorded, o, c.Head.RequestID)
		}
		return nil
	}
	a.recorded, a.started, a.receipt = true, g.opts.Now(), a.draft(ctx)
	g.describe(&a.receipt, c)
	a.receipt.Decision = receipt.Allow
	if a.dryRun {
		a.receipt.Decision = receipt.Shadow
	}
	if !strict {
		a.timer = time.AfterFunc(tellAfter, func() { g.opts.Journal.Append(a.intent()) })
		return nil
	}
	waiting, done := context.WithTimeout(ctx, storeTimeout)
	defer done()
	if err := g.opts.Journal.Commit(waiting, a.intent()); err != nil {
		return g.unrecorded(ctx, err, o, c.Head.RequestID)
	}
	return nil
}

func (a *Admission) intent() receipt.Receipt {
	intent := a.receipt
	intent.Kind = receipt.Admitted
	return intent
}

var errUnrecorded = errors.New("nothing is recorded here")

// unrecorded refuses a strict call whose intent could not be stored.
func (g *Gate) unrecorded(ctx context.Context, err error, o *catalog.Object, requestID string) *mcp.Refusal {
	scope := o.Kind + ":" + o.Name
	g.tell(ctx, "a strict call is refused: the receipt of its intent can't be stored", scope, requestID, "error", err)
	why := &mcp.Refusal{
		Reason: mcp.Backpressure, Scope: scope, Receipt: requestID, RetryAfter: time.Second,
		Message: "refused: " + o.Name + " is called only once that is recorded, and the store does not answer; try again in 1s",
	}
	if errors.Is(err, receipt.ErrClosed) {
		why.Reason = mcp.ShuttingDown
	}
	return why
}

// recordEnd records how a call ended.
func (a *Admission) recordEnd(e *mcp.Ending) {
	if !a.recorded {
		return
	}
	if a.timer != nil {
		a.timer.Stop()
	}
	d, g := a.receipt, a.gate
	d.Kind = receipt.Completed
	d.Duration = g.opts.Now().Sub(a.started)
	switch e.Outcome {
	case mcp.Completed:
	case mcp.InputRequired:
		d.Reason = e.Outcome.String()
	default:
		d.Kind, d.Reason = receipt.Failed, e.Outcome.String()
	}
	if len(e.Result) > 0 {
		d.Result = g.opts.Journal.Hash(d.Tenant, e.Result)
	}
	g.opts.Journal.Append(d)
}

// recordDropped records that an admitted request came to nothing: its body was malformed, or unlike its headers.
func (a *Admission) recordDropped(ctx context.Context) {
	g := a.gate
	if !a.admitted || g.opts.Journal == nil {
		return
	}
	if a.verdict.hidden {
		a.refused(ctx, nil, g.hides(&a.verdict, a.head.RequestID))
		return
	}
	r := a.draft(ctx)
	r.Kind, r.Decision, r.Reason = receipt.Failed, receipt.Allow, mcp.Invalid.String()
	g.opts.Journal.Append(r)
}

// fingerprint is the principal as receipts have it.
func (g *Gate) fingerprint(p *identity.Principal) string {
	name := p.String()
	if known, ok := g.fingerprints.Load(name); ok {
		return known.(string)
	}
	text := receipt.Fingerprint(g.opts.Journal.Hash, p.Tenant, name)
	if g.fingerprinted.Add(1) > maxCallers {
		g.fingerprints.Clear()
		g.fingerprinted.Store(1)
	}
	g.fingerprints.Store(name, text)
	return text
}

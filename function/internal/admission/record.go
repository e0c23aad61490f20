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

// A Journal takes receipts. [receipt.Journal] is one.
type Journal interface {
	Append(receipt.Receipt)                        // never waits
	Commit(context.Context, receipt.Receipt) error // waits until it is stored
	Hash(tenant string, raw []byte) receipt.Hash   // of arguments, a result or a name
}

const (
	// tellAfter is how long a call may run before the receipt of its admission is written: one that ends sooner has a single
	// receipt, of its end.
	tellAfter = time.Second
	// storePatience is how long a strict call waits for the receipt of its intent.
	storePatience = 2 * time.Second
)

// draft is what all receipts of a message have in common.
func (g *Gate) draft(ctx context.Context, p *identity.Principal, h *mcp.Head, method string, o *catalog.Object) receipt.Receipt {
	r := receipt.Receipt{ID: h.RequestID, Time: h.Began, Catalog: g.opts.Catalog.Version()}
	if mcp.Known(method) { // others are callers' inventions
		r.Method = method
	}
	if p != nil {
		r.Tenant, r.Principal = p.Tenant, g.fingerprint(p)
	}
	if o != nil {
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
func (g *Gate) stranger(h *mcp.Head, why *mcp.Refusal) *mcp.Refusal {
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
func (g *Gate) refused(ctx context.Context, p *identity.Principal, h *mcp.Head, method string, o *catalog.Object, c *mcp.Call, why *mcp.Refusal) *mcp.Refusal {
	if g.opts.Journal == nil {
		return why
	}
	r := g.draft(ctx, p, h, method, o)
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

// A record is of a call that runs.
type record struct {
	gate  *Gate
	draft receipt.Receipt // not changed: the timer reads it
	timer *time.Timer
	begun time.Time
}

// admitted records that a call may proceed: before that, where its entry is strict, and else once it runs for a while.
func (g *Gate) admitted(ctx context.Context, p *identity.Principal, o *catalog.Object, c *mcp.Call, shadow bool) (*record, *mcp.Refusal) {
	if g.opts.Journal == nil {
		if o != nil && o.Strict {
			return nil, g.unrecorded(ctx, errUnrecorded, o, c.Head.RequestID)
		}
		return nil, nil
	}
	r := &record{gate: g, draft: g.draft(ctx, p, c.Head, c.Method, o), begun: g.opts.Now()}
	g.describe(&r.draft, c)
	r.draft.Decision = receipt.Allow
	if shadow {
		r.draft.Decision = receipt.Shadow
	}
	if o != nil && o.Strict {
		waiting, done := context.WithTimeout(ctx, storePatience)
		defer done()
		if err := g.opts.Journal.Commit(waiting, r.intent()); err != nil {
			return nil, g.unrecorded(ctx, err, o, c.Head.RequestID)
		}
		return r, nil
	}
	r.timer = time.AfterFunc(tellAfter, func() { g.opts.Journal.Append(r.intent()) })
	return r, nil
}

func (r *record) intent() receipt.Receipt {
	intent := r.draft
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

// end records how a call ended.
func (r *record) end(e *mcp.Ending) {
	if r == nil {
		return
	}
	if r.timer != nil {
		r.timer.Stop()
	}
	d := r.draft
	d.Kind = receipt.Completed
	d.Duration = r.gate.opts.Now().Sub(r.begun)
	switch e.Outcome {
	case mcp.Completed:
	case mcp.InputRequired:
		d.Reason = e.Outcome.String()
	default:
		d.Kind, d.Reason = receipt.Failed, e.Outcome.String()
	}
	if len(e.Result) > 0 {
		d.Result = r.gate.opts.Journal.Hash(d.Tenant, e.Result)
	}
	r.gate.opts.Journal.Append(d)
}

// dropped records that an admitted request came to nothing: its body was malformed, or unlike its headers.
func (t *ticket) dropped() {
	g := t.gate
	if !t.admitted || g.opts.Journal == nil {
		return
	}
	if t.verdict.hidden {
		g.refused(t.ctx, t.principal, t.head, t.head.Method, t.verdict.object, nil, g.hides(&t.verdict, t.head.RequestID))
		return
	}
	r := g.draft(t.ctx, t.principal, t.head, t.head.Method, g.opts.Catalog.Object(t.head.Method, t.head.Name))
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
	if g.fingerprinted.Add(1) > mostCallers {
		g.fingerprints.Clear()
		g.fingerprinted.Store(1)
	}
	g.fingerprints.Store(name, text)
	return text
}

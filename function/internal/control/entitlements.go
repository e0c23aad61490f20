package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/tenant"
)

// EntitlementOptions configure [Entitlements]. Tenants and Journal must be there.
type EntitlementOptions struct {
	Tenants    tenant.Store
	Journal    Journal
	Callable   Callable
	Secrets    []WebhookSecret // by which events are signed
	Publishers []Publisher     // as which they are pushed
	Announce   func(ctx context.Context, what string, version int64) error
	Now        func() time.Time
	Logger     *slog.Logger
}

// Entitlements apply what sources say of tenants, and record it.
type Entitlements struct {
	opts   EntitlementOptions
	ledger ledger
	named  bool // a sender of events is bound to a source

	mu    sync.Mutex
	known *tenant.Directory // as the last round of NoteAll read it
}

// NewEntitlements returns them.
func NewEntitlements(o EntitlementOptions) *Entitlements {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Entitlements{opts: o, ledger: ledger{o.Journal, o.Logger}, known: tenant.NewDirectory()}
	for _, s := range o.Secrets {
		e.named = e.named || s.Source != ""
	}
	for _, p := range o.Publishers {
		e.named = e.named || len(p.Sources) > 0
	}
	for _, s := range o.Secrets {
		if s.Source == "" && e.named {
			o.Logger.Warn("events that are signed with this secret are refused: PUBSUB_SERVICE_ACCOUNT names its sources, and so must WEBHOOK_SECRETS, as SOURCE=whsec_…")
		}
	}
	for _, p := range o.Publishers {
		if len(p.Sources) == 0 && e.named {
			o.Logger.Warn("events that are pushed as this account are refused: WEBHOOK_SECRETS names its sources, and so must PUBSUB_SERVICE_ACCOUNT, as SOURCE=ACCOUNT", "account", p.Account)
		}
	}
	return e
}

// maySpeak tells whether a sender that is bound to the sources may send an event of a source. Who is bound to none speaks for any, as
// long as no sender is bound: once one source is known by its name, whoever could speak for any could speak for that one.
func (e *Entitlements) maySpeak(bound []string, source string) bool {
	if len(bound) == 0 {
		return !e.named
	}
	return slices.Contains(bound, source)
}

// A Delivery is how an event came.
type Delivery struct {
	RequestID string // of the receipts
	By        string // the name of who brought it: of a principal, or webhook/ and the source that signed it
	Method    string // for the receipts, such as "POST /v1/events/webhook" or tools/call
	Tool      string
}

// An Outcome is what came of an event.
type Outcome struct {
	Effect   Effect         `json:"effect"`
	Tenant   *tenant.Tenant `json:"-"` // as it is now; nil where the event was seen before
	From     tenant.State   `json:"from,omitempty"`
	To       tenant.State   `json:"to,omitempty"`
	Why      string         `json:"why,omitempty"`
	Receipt  string         `json:"receipt"`
	Warnings []string       `json:"warnings,omitempty"`
}

// An Effect is what became of an event: what [tenant.Tenant.Apply] says, or that it was there before.
type Effect string

// The effects.
const (
	Applied Effect = Effect(tenant.Applied)
	Late    Effect = Effect(tenant.Late)
	Seen    Effect = "seen"
)

// Apply applies an event that is known to be of its source. Its error is a [Problem]: of a status below 500 the event will never
// be applied as it is, and with 503 it may be later.
func (e *Entitlements) Apply(ctx context.Context, event *tenant.Event, d Delivery) (*Outcome, error) {
	now := e.opts.Now()
	draft := receipt.Receipt{ID: d.RequestID, Kind: receipt.Entitled, Tenant: event.Tenant, Principal: e.ledger.principal(d.By), Method: d.Method, Tool: d.Tool}
	told := func(more map[string]any) string { return detail(map[string]any{"event": event}, more) }
	refuse := func(fault *Problem) (*Outcome, error) {
		draft.Kind, draft.Decision, draft.Reason, draft.Limit = receipt.Refused, receipt.Refuse, fault.reason(), "source:"+event.Source
		draft.Detail = told(map[string]any{"error": fault.Error()})
		if tenant.CheckID(event.Tenant) != nil {
			draft.Tenant = ""
		}
		e.opts.Journal.Append(draft)
		return nil, fault
	}
	faults := faultsOf(event.Check(now))
	if event.Source == tenant.Operator {
		faults = append(faults, "source: operator is not for events: operators use the control plane")
	}
	if err := invalid(faults); err != nil {
		return refuse(err.(*Problem))
	}
	plans, err := plans(ctx, e.opts.Tenants)
	if err != nil {
		return refuse(unavailable(err, "the plans can't be read"))
	}
	if event.Type == tenant.Grant && plans[event.Plan] == nil {
		return refuse(problem(http.StatusUnprocessableEntity, "no_plan", "%v: %q; an event of this id can be sent again once there is", tenant.ErrNoPlan, event.Plan))
	}
	out := &Outcome{Receipt: d.RequestID}
	out.Warnings, err = e.ledger.change(ctx, draft, told, func(ctx context.Context, draft *receipt.Receipt) (map[string]any, error) {
		after, err := e.opts.Tenants.ChangeTenant(ctx, event.Tenant, event, func(t *tenant.Tenant) error {
			out.Effect = Effect(t.Apply(event))
			out.From, out.To, out.Why = t.Note(plans, now)
			return nil
		})
		switch {
		case errors.Is(err, tenant.ErrSeen):
			*out = Outcome{Effect: Seen, Receipt: d.RequestID}
		case err != nil:
			return nil, err
		}
		out.Tenant = after
		if out.Effect != Applied {
			draft.Kind, draft.Reason = receipt.Completed, string(out.Effect)
		}
		return transition(after, out.From, out.To, out.Why, map[string]any{"effect": out.Effect}), nil
	})
	if err != nil {
		return nil, asProblem(err)
	}
	out.Warnings = append(out.Warnings, e.uncallable(ctx, event)...)
	if out.Effect == Applied {
		out.Warnings = append(out.Warnings, announce(ctx, &e.opts, tenant.VersionName, out.Tenant.Revision)...)
	}
	return out, nil
}

// transition adds to what a receipt says the tenant's revision, and its state where that is another.
func transition(t *tenant.Tenant, from, to tenant.State, why string, said map[string]any) map[string]any {
	if t != nil {
		said["revision"] = t.Revision
		said["state"] = to
	}
	if from != to {
		said["from"], said["to"] = from, to
	}
	if why != "" {
		said["why"] = why
	}
	return said
}

var errNothing = errors.New("there is nothing to note")

// Note records the transition that the clock, or a changed plan, has brought about for a tenant of the directory, unless that is
// recorded; of many instances that find it, one records it. No instance is told: what a tenant may does not depend on it.
func (e *Entitlements) Note(ctx context.Context, d *tenant.Directory, id, requestID string) (noted bool, err error) {
	switch t := d.Tenants[id]; {
	case t == nil:
		return false, tenant.ErrUnknown
	case !e.due(d, t):
		return false, nil
	}
	t, err := e.opts.Tenants.Tenant(ctx, id) // another instance may have been first
	if err != nil || !e.due(d, t) {
		return false, err
	}
	var from, to tenant.State
	var why string
	draft := receipt.Receipt{ID: requestID, Kind: receipt.Entitled, Tenant: id, Reason: "time"}
	said := func(more map[string]any) string { return detail(map[string]any{}, more) }
	_, err = e.ledger.change(ctx, draft, said, func(ctx context.Context, draft *receipt.Receipt) (map[string]any, error) {
		t, err := e.opts.Tenants.ChangeTenant(ctx, id, nil, func(t *tenant.Tenant) error {
			if t.Revision == 0 {
				return tenant.ErrUnknown
			}
			if !e.due(d, t) {
				return errNothing
			}
			from, to, why = t.Note(d.Plans, e.opts.Now())
			return nil
		})
		switch {
		case errors.Is(err, errNothing):
			draft.Kind, draft.Reason = receipt.Completed, string(Seen)
			return map[string]any{}, nil
		case err != nil:
			return nil, err
		}
		noted = true
		return transition(t, from, to, why, map[string]any{}), nil
	})
	return noted, err
}

// due tells whether there is a transition to record. A tenant that is newer than the directory is not decided on: the plans may be
// newer as well.
func (e *Entitlements) due(d *tenant.Directory, t *tenant.Tenant) bool {
	from, to, _ := t.Transition(d.Plans, e.opts.Now())
	return from != to && t.Revision <= d.Version
}

const (
	notedAtOnce = 8  // the store of receipts takes them together
	mostFaults  = 10 // that are told of one round
)

// NoteAll does so for every tenant, and returns for how many it has recorded one. Of the store it reads what has changed since the
// last round. A tenant that can't be noted does not keep the others from it.
func (e *Entitlements) NoteAll(ctx context.Context, newID func() string) (noted int, err error) {
	d, err := e.read(ctx)
	if err != nil {
		return 0, err
	}
	var mu sync.Mutex
	var faults []error
	var all sync.WaitGroup
	places := make(chan struct{}, notedAtOnce)
	for id, t := range d.Tenants {
		if !e.due(d, t) {
			continue
		}
		if places <- struct{}{}; ctx.Err() != nil {
			break
		}
		all.Go(func() {
			defer func() { <-places }()
			one, err := e.Note(ctx, d, id, newID())
			mu.Lock()
			defer mu.Unlock()
			if one {
				noted++
			}
			if err != nil {
				faults = append(faults, fmt.Errorf("tenant %s: %w", id, err))
			}
		})
	}
	all.Wait()
	if n := len(faults); n > mostFaults {
		faults = append(faults[:mostFaults], fmt.Errorf("and %d more", n-mostFaults))
	}
	return noted, errors.Join(append(faults, ctx.Err())...)
}

// read brings the directory up to date.
func (e *Entitlements) read(ctx context.Context) (*tenant.Directory, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ctx, stop := context.WithTimeout(ctx, readPatience)
	defer stop()
	changes, err := e.opts.Tenants.Changes(ctx, e.known.Version)
	if err != nil {
		return nil, err
	}
	e.known = e.known.With(changes)
	return e.known, nil
}

// plans are the shipped ones and those that were edited.
func plans(ctx context.Context, store tenant.Store) (map[string]*tenant.Plan, error) {
	ctx, stop := context.WithTimeout(ctx, readPatience)
	defer stop()
	edited, err := store.Plans(ctx)
	if err != nil {
		return nil, err
	}
	return tenant.NewDirectory().With(&tenant.Changes{Version: 1, Plans: edited}).Plans, nil
}

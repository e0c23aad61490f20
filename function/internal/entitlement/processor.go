package entitlement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// ProcessorOptions configure [Processor]. Tenants and Recorder must be there.
type ProcessorOptions struct {
	Tenants    Store
	Recorder   receipt.Recorder
	Callable   Callable
	Secrets    []WebhookSecret // by which events are signed
	Publishers []Publisher     // as which they are pushed
	Announce   func(ctx context.Context, what string, version int64) error
	Now        func() time.Time
	Logger     *slog.Logger
}

// A Processor applies what sources say of tenants, and records it.
type Processor struct {
	opts    ProcessorOptions
	changes receipt.Changes
	named   bool // a sender of events is bound to a source

	mu    sync.Mutex
	known *Directory // as the last round of NoteAll read it
}

// NewProcessor returns one.
func NewProcessor(o ProcessorOptions) *Processor {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Processor{opts: o, known: NewDirectory()}
	p.changes = receipt.Changes{Recorder: o.Recorder, Logger: o.Logger, Explain: explain}
	for _, s := range o.Secrets {
		p.named = p.named || s.Source != ""
	}
	for _, account := range o.Publishers {
		p.named = p.named || len(account.Sources) > 0
	}
	for _, s := range o.Secrets {
		if s.Source == "" && p.named {
			o.Logger.Warn("events that are signed with this secret are refused: PUBSUB_SERVICE_ACCOUNT names its sources, and so must WEBHOOK_SECRETS, as SOURCE=whsec_…")
		}
	}
	for _, account := range o.Publishers {
		if len(account.Sources) == 0 && p.named {
			o.Logger.Warn("events that are pushed as this account are refused: WEBHOOK_SECRETS names its sources, and so must PUBSUB_SERVICE_ACCOUNT, as SOURCE=ACCOUNT", "account", account.Account)
		}
	}
	return p
}

// MaySpeak tells whether a sender that is bound to the sources may send an event of a source. Who is bound to none speaks for any, as
// long as no sender is bound: once one source is known by its name, whoever could speak for any could speak for that one.
func (p *Processor) MaySpeak(bound []string, source string) bool {
	if len(bound) == 0 {
		return !p.named
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
	Effect   Effect   `json:"effect"`
	Tenant   *Tenant  `json:"-"` // as it is now; nil where the event was seen before
	From     State    `json:"from,omitempty"`
	To       State    `json:"to,omitempty"`
	Why      string   `json:"why,omitempty"`
	Receipt  string   `json:"receipt"`
	Warnings []string `json:"warnings,omitempty"`
}

// Apply applies an event that is known to be of its source. Its error is a [Fault]: unless that is [ReasonUnavailable], the event will
// never be applied as it is.
func (p *Processor) Apply(ctx context.Context, event *Event, d Delivery) (*Outcome, error) {
	now := p.opts.Now()
	draft := receipt.Receipt{ID: d.RequestID, Kind: receipt.Entitled, Tenant: event.Tenant, Principal: p.changes.Principal(d.By), Method: d.Method, Tool: d.Tool}
	told := func(more map[string]any) string { return receipt.Detail(map[string]any{"event": event}, more) }
	refuse := func(fault *Fault) (*Outcome, error) {
		draft.Kind, draft.Decision, draft.Reason, draft.Limit = receipt.Refused, receipt.Refuse, string(fault.Reason), "source:"+event.Source
		draft.Detail = told(map[string]any{"error": fault.Error()})
		if CheckID(event.Tenant) != nil {
			draft.Tenant = ""
		}
		p.opts.Recorder.Append(draft)
		return nil, fault
	}
	faults := Faults(event.Check(now))
	if event.Source == Operator {
		faults = append(faults, "source: operator is not for events: operators use the control plane")
	}
	if len(faults) > 0 {
		return refuse(Invalid(faults...))
	}
	plans, err := Plans(ctx, p.opts.Tenants)
	if err != nil {
		return refuse(Unavailable(err, "the plans can't be read"))
	}
	if event.Type == Grant && plans[event.Plan] == nil {
		return refuse(fault(ReasonNoPlan, "%v: %q; an event of this id can be sent again once there is", ErrNoPlan, event.Plan))
	}
	out := &Outcome{Receipt: d.RequestID}
	out.Warnings, err = p.changes.Make(ctx, draft, told, func(ctx context.Context, draft *receipt.Receipt) (map[string]any, error) {
		after, err := p.opts.Tenants.ChangeTenant(ctx, event.Tenant, event, func(t *Tenant) error {
			out.Effect = t.Apply(event)
			out.From, out.To, out.Why = t.Note(plans, now)
			return nil
		})
		switch {
		case errors.Is(err, ErrSeen):
			*out = Outcome{Effect: Seen, Receipt: d.RequestID}
		case err != nil:
			return nil, err
		}
		out.Tenant = after
		if out.Effect != Applied {
			draft.Kind, draft.Reason = receipt.Completed, string(out.Effect)
		}
		return Transition(after, out.From, out.To, out.Why, map[string]any{"effect": out.Effect}), nil
	})
	if err != nil {
		return nil, FaultOf(err)
	}
	out.Warnings = append(out.Warnings, p.Uncallable(ctx, event)...)
	if out.Effect == Applied {
		out.Warnings = append(out.Warnings, p.Announce(ctx, VersionName, out.Tenant.Revision)...)
	}
	return out, nil
}

// Transition adds to what a receipt says the tenant's revision, and its state where that is another.
func Transition(t *Tenant, from, to State, why string, said map[string]any) map[string]any {
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
func (p *Processor) Note(ctx context.Context, d *Directory, id, requestID string) (noted bool, err error) {
	switch t := d.Tenants[id]; {
	case t == nil:
		return false, ErrUnknown
	case !p.due(d, t):
		return false, nil
	}
	t, err := p.opts.Tenants.Tenant(ctx, id) // another instance may have been first
	if err != nil || !p.due(d, t) {
		return false, err
	}
	var from, to State
	var why string
	draft := receipt.Receipt{ID: requestID, Kind: receipt.Entitled, Tenant: id, Reason: "time"}
	said := func(more map[string]any) string { return receipt.Detail(map[string]any{}, more) }
	_, err = p.changes.Make(ctx, draft, said, func(ctx context.Context, draft *receipt.Receipt) (map[string]any, error) {
		t, err := p.opts.Tenants.ChangeTenant(ctx, id, nil, func(t *Tenant) error {
			if t.Revision == 0 {
				return ErrUnknown
			}
			if !p.due(d, t) {
				return errNothing
			}
			from, to, why = t.Note(d.Plans, p.opts.Now())
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
		return Transition(t, from, to, why, map[string]any{}), nil
	})
	return noted, err
}

// due tells whether there is a transition to record. A tenant that is newer than the directory is not decided on: the plans may be
// newer as well.
func (p *Processor) due(d *Directory, t *Tenant) bool {
	from, to, _ := t.Transition(d.Plans, p.opts.Now())
	return from != to && t.Revision <= d.Version
}

const (
	notedAtOnce = 8  // the store of receipts takes them together
	maxFaults   = 10 // that are told of one round
)

// NoteAll does so for every tenant, and returns for how many it has recorded one. Of the store it reads what has changed since the
// last round. A tenant that can't be noted does not keep the others from it.
func (p *Processor) NoteAll(ctx context.Context, newID func() string) (noted int, err error) {
	d, err := p.read(ctx)
	if err != nil {
		return 0, err
	}
	var mu sync.Mutex
	var faults []error
	var all sync.WaitGroup
	places := make(chan struct{}, notedAtOnce)
	for id, t := range d.Tenants {
		if !p.due(d, t) {
			continue
		}
		if places <- struct{}{}; ctx.Err() != nil {
			break
		}
		all.Go(func() {
			defer func() { <-places }()
			one, err := p.Note(ctx, d, id, newID())
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
	if n := len(faults); n > maxFaults {
		faults = append(faults[:maxFaults], fmt.Errorf("and %d more", n-maxFaults))
	}
	return noted, errors.Join(append(faults, ctx.Err())...)
}

// read brings the directory up to date.
func (p *Processor) read(ctx context.Context) (*Directory, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, stop := context.WithTimeout(ctx, readTimeout)
	defer stop()
	changes, err := p.opts.Tenants.Changes(ctx, p.known.Version)
	if err != nil {
		return nil, err
	}
	p.known = p.known.With(changes)
	return p.known, nil
}

// Plans are the shipped ones and those that were edited.
func Plans(ctx context.Context, store Store) (map[string]*Plan, error) {
	ctx, stop := context.WithTimeout(ctx, readTimeout)
	defer stop()
	edited, err := store.Plans(ctx)
	if err != nil {
		return nil, err
	}
	return NewDirectory().With(&Changes{Version: 1, Plans: edited}).Plans, nil
}

const (
	// readTimeout bounds a reading of the store.
	readTimeout = 4 * time.Second
	// announceTimeout is for one announcement: instances follow without it.
	announceTimeout = time.Second
)

// Announce tells instances that the store has changed. It returns what they could not be told of, as a warning.
func (p *Processor) Announce(ctx context.Context, what string, version int64) []string {
	if p.opts.Announce == nil {
		return nil
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), announceTimeout)
	defer stop()
	if err := p.opts.Announce(ctx, what, version); err != nil {
		p.opts.Logger.WarnContext(ctx, "instances could not be told of a change", "what", what, "version", version, "error", err)
		return []string{"instances could not be told at once: they follow as they read the store, within 2 s"}
	}
	return nil
}

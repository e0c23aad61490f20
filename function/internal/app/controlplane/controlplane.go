// Package controlplane is taiea, the function by which operators govern the fleet: it puts the control plane's routes on stores, callers and
// record of its own. It shares stores, Redis and sealing keys with the data plane, and neither its callers nor its identity,
// nor the keys by which it keeps its own answers, where it has some.
package controlplane

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/controlapi"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/fleet"
	"example.com/erlmcp/function/internal/seal"
	"example.com/erlmcp/function/internal/store/redis"
)

// A Plane serves the control plane. It is an [http.Handler]; [Plane.Run] serves it.
type Plane struct {
	*app.App
	entries *catalog.Catalog
	fleet   *Fleet
	answers seal.Current // keys by which answers to idempotency keys are kept
	routes  *controlapi.Plane
}

// New assembles the control plane. Its error lists every fault. The context bounds the assembly alone; call [Plane.Close] at the end.
func New(ctx context.Context, o app.Options) (*Plane, error) {
	a, err := app.Begin(ctx, o)
	if err != nil {
		return nil, err
	}
	p := &Plane{App: a}
	p.entries, err = catalog.Build(a.Options.Entries...)
	a.Fault(err)
	a.Observe()
	if opened := a.OpenStores(ctx); opened && a.Stores.Tenants == nil {
		a.Fault(errors.New("GOOGLE_CLOUD_PROJECT: is not set, and taiea keeps in its Firestore what operators decide"))
	}
	a.OpenCallers(nil, nil)
	secrets, publishers := a.Senders()
	p.answers = a.AnswerRing()
	a.OpenRecorder(ctx)
	if !a.Faulty() && a.Recorder == nil {
		a.Fault(errors.New("RECEIPTS: is false, and taiea records every change"))
	}
	if a.Faulty() {
		return nil, a.Failed()
	}
	ctx = a.Complete(ctx)
	if err := p.route(secrets, publishers); err != nil {
		p.Close()
		return nil, err
	}
	a.RegisterCapacity(none, none)
	a.Announce(ctx, fleet.Announcer{Self: p.self})
	a.Background(func() { p.noteStates(ctx) })
	return p, nil
}

func none(func(what, scope string, value float64)) {}

// requestID is that of a request, as the server has set it.
func requestID(r *http.Request) string { return r.Header.Get(app.RequestID) }

// sealedAnswers is what the answers to requests with idempotency keys are sealed for, and keepSealed for how long they can be opened.
const (
	sealedAnswers = "taiea answers"
	keepSealed    = 48 * time.Hour
)

// route makes the routes.
func (p *Plane) route(secrets []entitlement.WebhookSecret, publishers []entitlement.Publisher) (err error) {
	cfg, s := p.Config, p.Stores
	p.fleet = NewFleet(cfg, p.entries, s)
	o := controlapi.Options{
		Operators: p.Callers.Authenticator, Role: roleOf(cfg.Operating.Operators), RequestID: requestID, Secrets: secrets, SignedOnly: cfg.Operating.SignedOnly, Publishers: publishers, Anchor: p.Recorder.AnchorOnce,
		Tenants: s.Tenants, Keys: s.Keys, Directives: p.fleet, Records: p.Records(), Journal: p.Recorder.Logged(), Effects: s.Effects,
		Seal: func(plaintext []byte) []byte {
			return []byte(p.answers.Seal(sealedAnswers, nil, plaintext, time.Now().Add(keepSealed)))
		},
		Open: func(sealed []byte) ([]byte, error) {
			return p.answers.Open(sealedAnswers, nil, string(sealed), time.Now())
		},
		Announce: s.Announce, Known: p.fleet.Known, Believe: p.Observer.Believe, Callable: s.Callable(nil), Logger: p.Logger,
	}
	if s.Redis != nil {
		o.Fleet, o.Writes = p.fleet, slowPath{s.Redis}
	}
	if len(publishers) > 0 {
		o.Push = p.pushCallers()
		o.PushCaller = pushedBy(publishers, cfg.Operating.PushAudience)
	}
	if p.routes, err = controlapi.New(o); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set(app.RequestID, w.Header().Get(app.RequestID)) // and not what the caller says
		p.routes.ServeHTTP(w, r)
	})
	p.Handle(p.Watch(p, mux, mux))
	return nil
}

// Close ends what still runs, and writes and sends what is still to be told, within what is left of DRAIN_TIMEOUT.
func (p *Plane) Close() { p.End(func() {}) }

// Governs implements [serve.Status]: the control plane need not know what operators have ordered.
func (p *Plane) Governs() bool { return true }

// Unready implements [serve.Status].
func (p *Plane) Unready(context.Context) string { return "" }

// Unreachable implements [serve.Status].
func (p *Plane) Unreachable(context.Context) error { return nil }

// Scope implements [serve.Status].
func (p *Plane) Scope() string { return "none" }

// self is what the instance says of itself.
func (p *Plane) self() fleet.Instance {
	i := fleet.Instance{
		Name: p.Instance, Version: p.Options.Info.Version, Began: p.Start.UTC(), Seen: time.Now().UTC(), Ready: !p.Draining(), Degraded: p.Degraded(), Tenants: []string{},
		SealingKeys: p.Ring().IDs(),
	}
	if own := p.answers().IDs(); !slices.Equal(own, i.SealingKeys) {
		i.OwnSealingKeys = own
	}
	return i
}

// noteEvery is how often the control plane looks for tenants whose state the clock has changed and who have not called since.
const noteEvery = time.Minute

func (p *Plane) noteStates(ctx context.Context) {
	tick := time.NewTicker(noteEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		round, done := context.WithTimeout(ctx, noteEvery/2)
		if _, err := p.routes.Entitlements().NoteAll(round, p.Recorder.Journal.NewID); err != nil && ctx.Err() == nil {
			p.Logger.Error("the states of tenants can't be noted", "error", err)
		}
		if p.Stores.Redis != nil {
			fleet.Read(round, p.Stores.Redis) // forgets instances that were killed, and what none serves any more
		}
		done()
	}
}

// slowPath limits changes, in Redis.
type slowPath struct{ counters *redis.Counters }

const (
	changesPerOperator = 120 // a minute
	changesAtOnce      = 40
)

// Allow implements [controlapi.Limiter].
func (p slowPath) Allow(ctx context.Context, key string) (time.Duration, error) {
	return p.counters.Slow("control:"+key, changesPerOperator, changesAtOnce).Allow(ctx)
}

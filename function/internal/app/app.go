package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/fleet"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/seal"
	"example.com/erlmcp/function/internal/serve"
	"example.com/erlmcp/function/internal/telemetry"
)

// An App is what both functions are made of.
type App struct {
	*serve.Server
	Options   *Options
	Config    *config.Config
	Logger    *slog.Logger
	Telemetry *telemetry.Telemetry
	Observer  *Observer
	Instance  string // NODE_NAME and a random part: unlike any other process
	Ring      seal.Current
	Stores    *Stores
	Callers   *Callers
	Recorder  *Recorder // nil where nothing is recorded
	Start     time.Time

	faults     error
	evicts     atomic.Value // string: the policy by which Redis throws keys away, "" for none
	stop       func()       // ends the calls that outlive their connections, and what runs in the background
	background sync.WaitGroup
}

// Begin reads the settings and opens telemetry. What is at fault is kept for [App.Failed], so that all faults are told at once; its
// error is one that nothing can be told without.
func Begin(ctx context.Context, o Options) (*App, error) {
	o.Complete()
	a := &App{Options: &o, Stores: &Stores{close: func() {}}, Callers: &Callers{}, Start: time.Now()}
	a.Config, a.faults = config.Load(o.Getenv, serve.ThisMachine())
	a.Instance = fmt.Sprintf("%s-%08x", a.Config.NodeName, rand.Uint32())
	var err error
	if a.Telemetry, err = openTelemetry(ctx, &o, a.Config, a.Instance); err == nil {
		o.Logger = a.Telemetry.Logger()
		o.files.logger = o.Logger
	}
	o.files.age = a.Config.FileAge()
	var fault error
	a.Ring, fault = ringOf(&o, a.Config)
	a.Fault(fault)
	if err != nil {
		return nil, &serve.StartError{Faults: errors.Join(a.faults, err)}
	}
	a.Logger = o.Logger
	return a, nil
}

// Fault takes note of an error, which stops the start.
func (a *App) Fault(err error) { a.faults = errors.Join(a.faults, err) }

// Faulty tells whether anything stops the start.
func (a *App) Faulty() bool { return a.faults != nil }

// Failed closes what was opened, and returns all faults.
func (a *App) Failed() error {
	a.Recorder.Close(time.Now())
	a.Stores.close()
	closeTelemetry(a.Telemetry, time.Now().Add(maxFlushTimeout))
	return &serve.StartError{Faults: a.faults}
}

// OpenStores connects to what the settings name, and tells whether that went well.
func (a *App) OpenStores(ctx context.Context) bool {
	s, err := OpenStores(ctx, a.Config, a.Options)
	a.Fault(err)
	if stand := a.Options.Stand.Tenants; stand != nil {
		s.Tenants = stand(s.Tenants)
	}
	a.Stores = s
	return err == nil
}

// OpenCallers reads who may call. Entries returns those that rules are about, and may be or return nil where there are none. Entitled has
// the keys of the store, nil where none are taken.
func (a *App) OpenCallers(e *Entitled, entries func() *catalog.Catalog) {
	c, err := newCallers(a, e, entries)
	a.Fault(err)
	a.Callers = c
}

// AnswerRing returns the keys by which answers to idempotency keys are kept: the control plane's own, where it has some.
func (a *App) AnswerRing() seal.Current {
	own := a.Config.Operating
	ring, err := namedRing(a.Options, "TAIEA_SEALING_KEYS", own.Keys, own.KeysFile, a.Ring)
	a.Fault(err)
	return ring
}

// Senders are who may send events of entitlements.
func (a *App) Senders() (secrets []entitlement.WebhookSecret, publishers []entitlement.Publisher) {
	secrets, err := entitlement.ParseWebhookSecrets(string(a.Config.Operating.WebhookSecrets))
	if err != nil {
		a.Fault(fmt.Errorf("WEBHOOK_SECRETS: %w", err))
	}
	if publishers, err = entitlement.ParsePublishers(a.Config.Operating.PushAccounts); err != nil {
		a.Fault(fmt.Errorf("PUBSUB_SERVICE_ACCOUNT: %w", err))
	}
	return secrets, publishers
}

// OpenRecorder opens the record, unless anything stops the start.
func (a *App) OpenRecorder(ctx context.Context) {
	if a.faults != nil {
		return
	}
	if stand := a.Options.Stand.Receipts; stand != nil {
		a.Stores.Receipts = stand(a.Stores.Receipts)
	}
	var err error
	a.Recorder, err = openRecorder(ctx, &recording{config: a.Config, options: a.Options, stores: a.Stores, ring: a.Ring(), instance: a.Instance, logger: a.Logger})
	a.Fault(err)
}

// Complete makes the server. Calls end with the context that it returns, which ends with the server, and not with what tells it to go:
// that must not end running calls.
func (a *App) Complete(ctx context.Context) context.Context {
	ctx, a.stop = context.WithCancel(context.WithoutCancel(ctx))
	a.Server = serve.New(serve.Options{Config: a.Config, Loopback: a.Options.Loopback, Cancel: a.stop, Fatal: a.Stores.Fatal, Logger: a.Logger})
	a.Telemetry.Register(append(a.Recorder.metrics(), a.ends())...)
	return ctx
}

// Background runs something until it ends by itself, by the context of [App.Complete]. [App.End] waits for it.
func (a *App) Background(run func()) { a.background.Go(run) }

// Announce has the fleet know of the instance.
func (a *App) Announce(ctx context.Context, announcer fleet.Announcer) {
	if a.Stores.Redis == nil {
		return
	}
	announcer.Board = a.Stores.Redis
	a.Background(func() { announcer.Run(ctx) })
	a.Background(func() { a.watchEviction(ctx) })
}

// Serving tells the log where the server is reached.
func (a *App) Serving(url string) {
	a.Logger.Info("serving", "url", url, "version", a.Options.Info.Version, "instance", a.Instance)
}

// Reload reads the level of the log again.
func (a *App) Reload() { a.Telemetry.Reload() }

const (
	// minFlushTimeout is how long the end waits for the log and the collector at least, and maxFlushTimeout at most.
	minFlushTimeout = 250 * time.Millisecond
	maxFlushTimeout = 1300 * time.Millisecond
)

// End ends what still runs, and writes and sends what is still to be told. It takes what is left of DRAIN_TIMEOUT at most, and
// [serve.CloseTimeout] where that is less, whatever does not answer. Before the record ends first does, and beside it the others do, by
// the time that they are given.
func (a *App) End(first func(), others ...func(by time.Time)) {
	gone := time.Now().Add(serve.CloseTimeout)
	if at := a.ShutdownAt(); at.Add(-serve.Exit).After(gone) {
		gone = at.Add(-serve.Exit)
	}
	a.stop()
	var ending sync.WaitGroup
	ending.Go(a.background.Wait)
	ending.Go(func() {
		first()
		a.Recorder.Close(gone.Add(-journal.CloseTimeout - minFlushTimeout))
	})
	for _, end := range others {
		ending.Go(func() { end(gone.Add(-minFlushTimeout)) })
	}
	ending.Wait()
	a.Callers.close()
	a.Stores.close()
	closeTelemetry(a.Telemetry, gone)
}

// closeTelemetry sends what waits, until the process has to be gone.
func closeTelemetry(t *telemetry.Telemetry, gone time.Time) {
	ctx, done := context.WithTimeout(context.Background(), min(max(time.Until(gone), minFlushTimeout), maxFlushTimeout))
	defer done()
	t.Close(ctx)
}

// Degraded lists what of this does not work as it should, in words for operators.
func (a *App) Degraded() []string {
	out := []string{}
	if policy, _ := a.evicts.Load().(string); policy != "" {
		out = append(out, evictionWords(policy))
	}
	out = append(out, a.Options.files.degraded()...)
	return append(append(append(out, a.Callers.Authenticator.Degraded()...), a.Recorder.degraded()...), a.Telemetry.Degraded()...)
}

package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/controlapi"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/serve"
)

// Local is the control plane within a command: the same routes through the stores, for an administrator of this machine.
type Local struct {
	*Fleet
	config   *config.Config
	routes   *controlapi.Plane
	recorder *app.Recorder // nil where directives leave no receipt
}

// OpenLocal connects to the store and the Redis that the settings name. Of the options it takes the entries and where the settings are
// from.
func OpenLocal(ctx context.Context, o app.Options) (*Local, error) {
	o.Complete()
	o.Logger = slog.New(slog.DiscardHandler)
	entries, err := catalog.Build(o.Entries...)
	cfg, faults := config.Load(o.Getenv, config.Machine{})
	if faults = errors.Join(faults, err); faults == nil && cfg.Standalone && cfg.Project == "" {
		faults = errors.New("GOOGLE_CLOUD_PROJECT or REDIS_URL: neither is set, and they say which fleet this is about")
	}
	if faults != nil {
		return nil, &serve.StartError{Faults: faults}
	}
	s, err := app.OpenStores(ctx, cfg, &o)
	if err != nil {
		return nil, &serve.StartError{Faults: err}
	}
	l := &Local{Fleet: NewFleet(cfg, entries, s), config: cfg}
	if err := l.open(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Local) open(ctx context.Context) error {
	s, quiet := l.stores, slog.New(slog.DiscardHandler)
	o := controlapi.Options{
		Operators: identity.New(identity.Options{Local: true}), Role: roleOf(nil), RequestID: requestID,
		Tenants: s.Tenants, Keys: s.Keys, Effects: s.Effects, Directives: l, Known: l.Known, Announce: s.Announce, Logger: quiet,
		Seal: func(plaintext []byte) []byte { return plaintext }, Open: func(sealed []byte) ([]byte, error) { return sealed, nil }, // no order here has a key
	}
	if s.Tenants == nil { // nor is one about tenants
		nothing := app.NewMemory()
		o.Tenants, o.Keys, o.Effects = nothing.Store, nothing.Store, nothing.Effects
	}
	if s.Redis != nil {
		o.Fleet = l
	}
	var err error
	if l.recorder, err = app.OpenOperatorsRecorder(ctx, l.config, s, fmt.Sprintf("operator-%08x", rand.Uint32())); err != nil {
		return err
	}
	if o.Journal = receipt.Recorder(app.Unrecorded{}); l.recorder != nil {
		o.Journal = l.recorder.Logged()
	}
	l.routes, err = controlapi.New(o)
	return err
}

// Close writes the receipts that wait, and ends the connections.
func (l *Local) Close() {
	l.recorder.Close(time.Now().Add(app.LastReceipts))
	l.stores.Close()
}

// Order asks the routes, with their checks, warnings and receipts. A change names the ETag that it is about, where there is one.
func (l *Local) Order(ctx context.Context, method, path, etag string, body []byte) (status int, answer []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	if etag != "" {
		r.Header.Set("If-Match", etag)
	}
	r.Header.Set(app.RequestID, l.recorder.NewID())
	w := &written{header: http.Header{}, status: http.StatusOK}
	l.routes.ServeHTTP(w, r)
	return w.status, w.body.Bytes(), nil
}

// Stored tells whether directives go to a store, which outlives Redis.
func (l *Local) Stored() bool { return l.stores.Directives != nil }

// Recorded tells whether directives leave receipts: not where there is no store, or where the settings want none.
func (l *Local) Recorded() bool { return l.stores.Receipts != nil && l.config.Receipts != "false" }

// A written is what a handler answers.
type written struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *written) Header() http.Header         { return w.header }
func (w *written) WriteHeader(status int)      { w.status = status }
func (w *written) Write(b []byte) (int, error) { return w.body.Write(b) }

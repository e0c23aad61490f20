package function

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/admission"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/control"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
)

// What operators order while the fleet runs.
type (
	Orders   = governor.Orders
	Kill     = governor.Kill
	Override = governor.Override
	Limit    = governor.Limit
)

// An Operator shows and changes what holds while the fleet runs, with the control plane or without it.
type Operator struct {
	parts  *parts
	gate   func(*Orders) ([]Limit, error)
	writer *governor.Writer

	config   *config.Config
	entries  *catalog.Catalog
	instance string
	opened   sync.Once
	routes   *control.Plane
	recorder *recorder
	fault    error
}

func newOperator(cfg *config.Config, entries *catalog.Catalog, p *parts) *Operator {
	w := &governor.Writer{Store: p.orders, Now: time.Now}
	if p.redis != nil {
		w.Board = p.redis
	}
	return &Operator{parts: p, writer: w, config: cfg, entries: entries, instance: fmt.Sprintf("operator-%08x", rand.Uint32()), gate: func(orders *Orders) ([]Limit, error) { return limitsOf(cfg, entries, p, orders) }}
}

// OpenOperator connects to the store and the Redis that the settings name. Of the options it takes the tools and where the
// settings are from.
func OpenOperator(ctx context.Context, opts ...Option) (*Operator, error) {
	o := options{getenv: os.Getenv, logger: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		opt(&o)
	}
	entries, err := catalog.Build(o.entries...)
	cfg, faults := config.Load(o.getenv, config.Machine{})
	if faults = errors.Join(faults, err); faults == nil && cfg.Alone && cfg.Project == "" {
		faults = errors.New("GOOGLE_CLOUD_PROJECT or REDIS_URL: neither is set, and they say which fleet this is about")
	}
	if faults != nil {
		return nil, &StartError{faults}
	}
	p, err := openParts(ctx, cfg, &o)
	if err != nil {
		return nil, &StartError{err}
	}
	return newOperator(cfg, entries, p), nil
}

// lastReceipts is how long a command waits at its end for what is still to be stored of its receipts.
const lastReceipts = 5 * time.Second

// Close writes the receipts that wait, and ends the connections.
func (o *Operator) Close() {
	o.recorder.close(time.Now().Add(lastReceipts))
	o.parts.close()
}

// Orders returns the orders in force. An [Apart] comes with orders that are good.
func (o *Operator) Orders(ctx context.Context) (Orders, error) { return o.writer.Orders(ctx) }

// Apart is that orders are in force, and in one place alone: the store or Redis.
type Apart = governor.Apart

// changesPerMinute is how many changes of limits a minute the fleet bears: every instance follows each. Kill switches are not
// counted.
const changesPerMinute = 60

// Change changes the orders and announces them. With an [Apart] they are changed nevertheless.
func (o *Operator) Change(ctx context.Context, change func(*Orders) error) (Orders, error) {
	return o.writer.Change(ctx, func(orders *Orders) error {
		kills, limits := slices.Clone(orders.Kills), slices.Clone(orders.Limits)
		err := change(orders)
		if err == nil && !slices.Equal(limits, orders.Limits) { // what some tool's calls never fit is refused here
			_, faults := o.gate(orders)
			err = orders.Unfit(limits, faults)
		}
		if err != nil || o.parts.redis == nil || !slices.Equal(kills, orders.Kills) {
			return err
		}
		// Where Redis can't say, the change goes through.
		if wait, err := o.parts.redis.Slow("changes", changesPerMinute, 20).Allow(ctx); err == nil && wait > 0 {
			return &control.Busy{Wait: wait.Round(time.Second / 10)}
		}
		return nil
	})
}

// A LimitInUse is a limit in force and what is used of it. -1 is unknown.
type LimitInUse = control.LimitInUse

// running returns the instances of the fleet, and what they serve, nil where that is not known. An error beside it is about what some of
// them serve.
func (o *Operator) running(ctx context.Context) ([]Instance, *served, error) {
	if o.parts.redis == nil {
		return nil, nil, nil
	}
	ctx, done := context.WithTimeout(ctx, lookPatience)
	defer done()
	return running(ctx, o.parts.redis)
}

// lookPatience is for reading what instances say.
const lookPatience = time.Second

// known returns what a scope is called now, "" where there is no such, in what the fleet serves, or in this build where that is not known.
// Tenants may come with any token.
func (o *Operator) known(scope string) string {
	if !strings.HasPrefix(scope, "tool:") && !strings.HasPrefix(scope, "upstream:") {
		return scope
	}
	_, all, err := o.running(context.Background())
	if all == nil || err != nil && !slices.Contains(all.Scopes, scope) {
		all = &served{Scopes: scopesOf(o.entries), Former: formerScopes(o.entries)}
	}
	if slices.Contains(all.Scopes, scope) {
		return scope
	}
	return all.Former[scope]
}

// Limits lists the limits in force on what the fleet serves, and how many instances there are: -1 is unknown. An error that comes with
// limits says what is missing in them.
func (o *Operator) Limits(ctx context.Context) ([]LimitInUse, int, error) {
	orders, err := o.writer.Orders(ctx)
	if _, apart := errors.AsType[*Apart](err); err != nil && !apart {
		return nil, -1, err
	}
	instances, all, err := o.running(ctx)
	var faults error
	switch {
	case err != nil && all != nil:
		faults = fmt.Errorf("limits may be missing: %w", err)
	case err != nil:
		faults = fmt.Errorf("what instances serve can't be read from Redis, and the limits are those of this build: %w", err)
	}
	var limits []Limit
	if all != nil {
		limits = admission.Overridden(all.Limits, all.Scopes, all.Former, &orders)
	} else {
		var wrong error
		limits, wrong = o.gate(&orders)
		faults = errors.Join(faults, wrong)
	}
	present := -1
	var slots map[string]int64
	if o.parts.redis != nil {
		keys := make([]*governor.Limit, len(limits))
		for i := range limits {
			keys[i] = &limits[i]
		}
		if slots, present, err = o.parts.redis.Usage(ctx, keys); err != nil {
			faults = errors.Join(faults, fmt.Errorf("what is in use can't be read from Redis: %w", err))
			present = -1
		}
	}
	used := map[string]int64{}
	for _, i := range instances {
		for _, h := range i.Holdings {
			used[h.Scope] += h.Used
		}
	}
	day := time.Now().UTC().Format(time.DateOnly)
	out := make([]LimitInUse, len(limits))
	for i, l := range limits {
		out[i] = LimitInUse{Limit: l, Slots: -1, Used: -1, Today: -1}
		if present >= 0 && l.Concurrency > 0 && l.Key != "" {
			out[i].Slots = slots[l.Key]
			out[i].Used = min(used[l.Scope], slots[l.Key]) // instances say it every two seconds
		}
		if l.PerDay > 0 && l.Key != "" && o.parts.quotas != nil {
			if out[i].Today, err = o.parts.quotas.Used(ctx, l.Key, day); err != nil {
				faults = errors.Join(faults, fmt.Errorf("what is used of the daily limit on %s: %w", l.Scope, err))
				out[i].Today = -1
			}
		}
	}
	return out, present, faults
}

// Order asks the control plane's routes, as taiea serves them, through the stores: with its checks, warnings and receipts. The caller is
// an administrator of this machine. A change names the ETag that it is about, where there is one. Close ends what records it.
func (o *Operator) Order(ctx context.Context, method, path, etag string, body []byte) (status int, answer []byte, err error) {
	plane, err := o.plane()
	if err != nil {
		return 0, nil, err
	}
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
	id := receipt.NewID(rand.Uint32(), time.Now())
	if o.recorder != nil {
		id = o.recorder.journal.NewID()
	}
	r.Header.Set(requestID, id)
	w := &written{header: http.Header{}, status: http.StatusOK}
	plane.ServeHTTP(w, r)
	return w.status, w.body.Bytes(), nil
}

// plane opens the control plane's routes.
func (o *Operator) plane() (http.Handler, error) {
	o.opened.Do(func() {
		p, quiet := o.parts, slog.New(slog.DiscardHandler)
		plane := control.Options{
			Operators: identity.New(identity.Options{Local: true}), Role: roleOf(nil), RequestID: func(r *http.Request) string { return r.Header.Get(requestID) },
			Tenants: p.tenants, Keys: p.keys, Replays: p.replays, Orders: o, Known: o.known, Announce: p.announce, Logger: quiet,
			Seal: func(plaintext []byte) []byte { return plaintext }, Open: func(sealed []byte) ([]byte, error) { return sealed, nil }, // no order here has a key
		}
		if p.tenants == nil { // nor is one about tenants
			none := NewMemory()
			plane.Tenants, plane.Keys, plane.Replays = none.store, none.store, none.replays
		}
		if p.redis != nil {
			plane.Fleet = o
		}
		opts := &options{logger: quiet}
		ring, err := ringOf(opts, o.config)
		if err == nil {
			o.recorder, err = openRecorder(context.Background(), opts, o.config, recording{p, ring, o.instance})
		}
		if o.fault = err; err != nil {
			return
		}
		if plane.Journal = control.Journal(unrecorded{}); o.recorder != nil {
			plane.Journal = o.recorder.ledger()
		}
		o.routes, o.fault = control.New(plane)
	})
	return o.routes, o.fault
}

// Stored tells whether orders go to a store, which outlives Redis.
func (o *Operator) Stored() bool { return o.parts.orders != nil }

// Recorded tells whether orders leave receipts: not where there is no store, or where the settings want none.
func (o *Operator) Recorded() bool { return o.parts.receipts != nil && o.config.Receipts != "false" }

// unrecorded is a journal where there is no store to keep receipts in.
type unrecorded struct{}

func (unrecorded) Append(receipt.Receipt)                        {}
func (unrecorded) Hash(string, []byte) receipt.Hash              { return receipt.Hash{} }
func (unrecorded) Commit(context.Context, receipt.Receipt) error { return nil }

// A written is what a handler answers.
type written struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *written) Header() http.Header         { return w.header }
func (w *written) WriteHeader(status int)      { w.status = status }
func (w *written) Write(b []byte) (int, error) { return w.body.Write(b) }

package function

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/redisdb"
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
	orders governor.OrderStore
}

// OpenOperator connects to the store and the Redis that the settings name. Of the options it takes the tools and where the
// settings are from.
func OpenOperator(ctx context.Context, opts ...Option) (*Operator, error) {
	o := options{getenv: os.Getenv}
	for _, opt := range opts {
		opt(&o)
	}
	entries, err := catalog.Build(o.entries...)
	cfg, faults := config.Load(o.getenv, 0)
	if faults = errors.Join(faults, err); faults == nil && cfg.Alone && cfg.Project == "" {
		faults = errors.New("GOOGLE_CLOUD_PROJECT or REDIS_URL: neither is set, and they say which fleet this is about")
	}
	if faults != nil {
		return nil, &StartError{faults}
	}
	p, err := openParts(ctx, cfg, nil)
	if err != nil {
		return nil, &StartError{err}
	}
	op := &Operator{parts: p, orders: p.orders}
	if op.orders == nil {
		op.orders = redisdb.Orders{Counters: p.redis, Now: time.Now}
	}
	op.gate = func(orders *Orders) ([]Limit, error) { return limitsOf(cfg, entries, p, orders) }
	return op, nil
}

// Close ends the connections.
func (o *Operator) Close() { o.parts.close() }

// Orders returns the orders in force.
func (o *Operator) Orders(ctx context.Context) (Orders, error) { return o.orders.Orders(ctx) }

// ErrNotTold is that orders are in force, and will reach instances only as they read the store, within a second or two.
var ErrNotTold = errors.New("the order is recorded, and Redis could not be told of it: instances follow as they read the store")

// changesPerMinute is how many changes of limits a minute the fleet bears: every instance follows each. Kill switches are not
// counted.
const changesPerMinute = 60

// Change changes the orders and announces them. With [ErrNotTold] they are changed nevertheless.
func (o *Operator) Change(ctx context.Context, change func(*Orders) error) (Orders, error) {
	orders, err := o.orders.Change(ctx, func(orders *Orders) error {
		kills := slices.Clone(orders.Kills)
		if err := change(orders); err != nil || o.parts.redis == nil || !slices.Equal(kills, orders.Kills) {
			return err
		}
		// Where Redis can't say, the change goes through.
		if wait, err := o.parts.redis.Slow("changes", changesPerMinute, 20).Allow(ctx); err == nil && wait > 0 {
			return fmt.Errorf("more than %d changes of limits in a minute: wait %v", changesPerMinute, wait.Round(time.Second/10))
		}
		return nil
	})
	if err != nil || o.parts.redis == nil || o.parts.orders == nil {
		return orders, err
	}
	if _, err := o.parts.redis.Post(ctx, orders); err != nil {
		return orders, fmt.Errorf("%w: %w", ErrNotTold, err)
	}
	return orders, nil
}

// A LimitInUse is a limit in force and what is used of it. -1 is unknown.
type LimitInUse struct {
	Limit
	Slots int64 // calls at a time that instances hold
	Today int64 // calls of today that instances have drawn
}

// Limits lists the limits in force, and how many instances there are: -1 is unknown. An error that comes with limits says
// what is missing in them.
func (o *Operator) Limits(ctx context.Context) ([]LimitInUse, int, error) {
	orders, err := o.orders.Orders(ctx)
	if err != nil {
		return nil, -1, err
	}
	limits, faults := o.gate(&orders)
	instances := -1
	var slots map[string]int64
	if o.parts.redis != nil {
		keys := make([]*governor.Limit, len(limits))
		for i := range limits {
			keys[i] = &limits[i]
		}
		if slots, instances, err = o.parts.redis.Usage(ctx, keys); err != nil {
			faults = errors.Join(faults, fmt.Errorf("what is in use can't be read from Redis: %w", err))
			instances = -1
		}
	}
	day := time.Now().UTC().Format(time.DateOnly)
	out := make([]LimitInUse, len(limits))
	for i, l := range limits {
		out[i] = LimitInUse{Limit: l, Slots: -1, Today: -1}
		if instances >= 0 && l.Concurrency > 0 && l.Key != "" {
			out[i].Slots = slots[l.Key]
		}
		if l.PerDay > 0 && l.Key != "" && o.parts.quotas != nil {
			if out[i].Today, err = o.parts.quotas.Used(ctx, l.Key, day); err != nil {
				faults = errors.Join(faults, fmt.Errorf("what is used of the daily limit on %s: %w", l.Scope, err))
				out[i].Today = -1
			}
		}
	}
	return out, instances, faults
}

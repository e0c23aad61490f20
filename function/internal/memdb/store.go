// Package memdb keeps in this process what must outlive the counters: for the local run and for tests. It ends with the
// process, and so must the counters, unless it is kept in a file.
package memdb

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/tenant"
)

// A Store implements [governor.Store], [governor.VersionStore], [tenant.Store] and [identity.KeyStore].
type Store struct {
	now  func() time.Time
	file *file // nil: none

	mu      sync.Mutex
	changes int64
	epoch   int64
	orders  governor.Orders
	used    map[quota]int64
	tenants *table[tenant.Tenant]
	plans   *table[tenant.Plan]
	keys    *table[identity.StoredKey]
	events  events
}

type quota struct{ key, day string }

// New returns an empty store.
func New() *Store {
	s := &Store{now: time.Now, used: map[quota]int64{}, events: events{seen: map[string]*event{}}}
	entitlements, keys := new(int64), new(int64)
	s.tenants = newTable(entitlements, (*tenant.Tenant).Clone, func(t *tenant.Tenant) *int64 { return &t.Revision })
	s.plans = newTable(entitlements, (*tenant.Plan).Clone, func(p *tenant.Plan) *int64 { return &p.Revision })
	s.keys = newTable(keys, (*identity.StoredKey).Clone, func(k *identity.StoredKey) *int64 { return &k.Revision })
	return s
}

// Next implements [governor.Epochs].
func (s *Store) Next(context.Context) (epoch int64, first bool, err error) {
	s.mu.Lock()
	s.epoch++
	epoch = s.epoch
	s.touch()
	s.mu.Unlock()
	if s.file != nil { // an epoch that comes twice is worse than one that is left out
		err = s.file.write(s)
	}
	return epoch, epoch == 1, err
}

// Orders implements [governor.OrderStore].
func (s *Store) Orders(context.Context) (governor.Orders, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return clone(s.orders), nil
}

// Change implements [governor.OrderStore].
func (s *Store) Change(_ context.Context, change func(*governor.Orders) error) (governor.Orders, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := clone(s.orders)
	if err := change(&o); err != nil {
		return governor.Orders{}, err
	}
	o.Version = governor.NextVersion(s.orders.Version, s.now())
	s.orders = o
	s.touch()
	return clone(o), nil
}

func clone(o governor.Orders) governor.Orders {
	o.Kills, o.Limits, o.Gone = slices.Clone(o.Kills), slices.Clone(o.Limits), slices.Clone(o.Gone)
	return o
}

// Take implements [governor.QuotaStore]. Days that have passed are forgotten.
func (s *Store) Take(_ context.Context, key, day string, most, want int64) (taken, left int64, err error) {
	if want < 1 {
		return 0, 0, errors.New("a draw of a quota of less than one")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.used, func(q quota, _ int64) bool { return q.key == key && q.day < day })
	q := quota{key, day}
	taken = max(0, min(want, most-s.used[q]))
	if taken > 0 {
		s.used[q] += taken
		s.touch()
	}
	return taken, max(0, most-s.used[q]), nil
}

// Return implements [governor.QuotaStore].
func (s *Store) Return(_ context.Context, key, day string, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := quota{key, day}
	s.used[q] = max(0, s.used[q]-n)
	s.touch()
	return nil
}

// Used implements [governor.QuotaStore].
func (s *Store) Used(_ context.Context, key, day string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used[quota{key, day}], nil
}

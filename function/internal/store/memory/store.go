// Package memory keeps in this process what must outlive the counters: for the local run and for tests. It ends with the
// process, and so must the counters, unless it is kept in a file.
package memory

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
)

// A Store implements [governor.Store], [directives.Store], [directives.VersionStore], [entitlement.Store] and [identity.KeyStore].
type Store struct {
	now  func() time.Time
	file *file // nil: none

	mu         sync.Mutex
	epoch      int64
	directives directives.Directives
	used       map[quota]int64
	tenants    *table[entitlement.Tenant]
	plans      *table[entitlement.Plan]
	keys       *table[identity.StoredKey]
	events     events
}

type quota struct{ key, day string }

func (q quota) row(used any) row { return row{kindQuotas, q.day + " " + q.key, used} }

// New returns an empty store.
func New() *Store {
	s := &Store{now: time.Now, used: map[quota]int64{}, events: events{seen: map[string]*event{}}}
	entitlements, keys := new(int64), new(int64)
	s.tenants = newTable(kindTenants, entitlements, (*entitlement.Tenant).Clone, func(t *entitlement.Tenant) *int64 { return &t.Revision })
	s.plans = newTable(kindPlans, entitlements, (*entitlement.Plan).Clone, func(p *entitlement.Plan) *int64 { return &p.Revision })
	s.keys = newTable(kindKeys, keys, (*identity.StoredKey).Clone, func(k *identity.StoredKey) *int64 { return &k.Revision })
	return s
}

// Next implements [governor.Epochs].
func (s *Store) Next(context.Context) (epoch int64, first bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.file.put(row{kindEpoch, kindEpoch, s.epoch + 1}); err != nil {
		return 0, false, err
	}
	s.epoch++
	return s.epoch, s.epoch == 1, nil
}

// Directives implements [directives.Store].
func (s *Store) Directives(context.Context) (directives.Directives, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return clone(s.directives), nil
}

// Change implements [directives.Store].
func (s *Store) Change(_ context.Context, change func(*directives.Directives) error) (directives.Directives, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := clone(s.directives)
	if err := change(&o); err != nil {
		return directives.Directives{}, err
	}
	o.Version = directives.NextVersion(s.directives.Version, s.now())
	if err := s.file.put(row{kindDirectives, kindDirectives, o}); err != nil {
		return directives.Directives{}, err
	}
	s.directives = o
	return clone(o), nil
}

func clone(o directives.Directives) directives.Directives {
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
	var passed []row
	maps.DeleteFunc(s.used, func(q quota, _ int64) bool {
		old := q.key == key && q.day < day
		if old {
			passed = append(passed, q.row(nil))
		}
		return old
	})
	q := quota{key, day}
	taken = max(0, min(want, most-s.used[q]))
	if err := s.use(q, s.used[q]+taken, passed...); err != nil {
		return 0, 0, err
	}
	return taken, max(0, most-s.used[q]), nil
}

// Return implements [governor.QuotaStore].
func (s *Store) Return(_ context.Context, key, day string, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := quota{key, day}
	return s.use(q, max(0, s.used[q]-n))
}

// use sets how much of a quota is used.
func (s *Store) use(q quota, used int64, more ...row) error {
	if used == s.used[q] && len(more) == 0 {
		return nil
	}
	err := s.file.put(append(more, q.row(used))...)
	if err == nil {
		s.used[q] = used
	}
	return err
}

// Used implements [governor.QuotaStore].
func (s *Store) Used(_ context.Context, key, day string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used[quota{key, day}], nil
}

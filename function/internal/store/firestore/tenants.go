package firestore

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"cloud.google.com/go/firestore"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
)

// events has a document for each event that was applied.
const events = "erlmcp-events"

// Tenant implements [entitlement.Store].
func (s *Store) Tenant(ctx context.Context, id string) (*entitlement.Tenant, error) {
	t, err := s.tenants.get(ctx, id)
	if t == nil && err == nil {
		err = entitlement.ErrUnknown
	}
	return t, err
}

// Tenants implements [entitlement.Store].
func (s *Store) Tenants(ctx context.Context, after string, most int) ([]*entitlement.Tenant, error) {
	return s.tenants.list(ctx, s.control.Collection(tenants).OrderBy("id", firestore.Asc).StartAfter(after), most)
}

// ChangeTenant implements [entitlement.Store].
func (s *Store) ChangeTenant(ctx context.Context, id string, event *entitlement.Event, change func(*entitlement.Tenant) error) (*entitlement.Tenant, error) {
	return s.tenants.change(ctx, id, edit[entitlement.Tenant]{
		fresh: func() (*entitlement.Tenant, error) {
			return &entitlement.Tenant{ID: id, Created: time.Now().UTC().Truncate(time.Microsecond)}, nil
		},
		change: func(t *entitlement.Tenant) error {
			err := change(t)
			t.ID = id
			return err
		},
		event: event,
	})
}

// Plans implements [entitlement.Store].
func (s *Store) Plans(ctx context.Context) ([]*entitlement.Plan, error) {
	return s.plans.list(ctx, s.control.Collection(plans).OrderBy("id", firestore.Asc), math.MaxInt)
}

// ChangePlan implements [entitlement.Store].
func (s *Store) ChangePlan(ctx context.Context, name string, change func(*entitlement.Plan) error) (*entitlement.Plan, error) {
	return s.plans.change(ctx, name, edit[entitlement.Plan]{
		fresh: func() (*entitlement.Plan, error) { return &entitlement.Plan{Name: name}, nil },
		change: func(p *entitlement.Plan) error {
			err := change(p)
			p.Name = name
			return err
		},
	})
}

// Changes implements [entitlement.Store]. Tenants and plans are read as they were at one time: else what is committed between the two
// readings could be missed, and not looked for again.
func (s *Store) Changes(ctx context.Context, since int64) (*entitlement.Changes, error) {
	var c entitlement.Changes
	err := s.control.RunTransaction(ctx, func(_ context.Context, tx *firestore.Transaction) error {
		var oftenants, ofplans int64
		var err1, err2 error
		c.Tenants, oftenants, err1 = s.tenants.since(tx, since, refuse)
		c.Plans, ofplans, err2 = s.plans.since(tx, since, refuse)
		c.Version = max(oftenants, ofplans)
		return errors.Join(err1, err2)
	}, firestore.ReadOnly)
	if err != nil {
		return nil, err
	}
	if c.Version == 0 && since > 0 { // a revision that is not of this store
		c.Version, err = s.Version(ctx)
	}
	return &c, err
}

func refuse[T any](_ *row, err error) (*T, error) { return nil, err }

// Version implements [entitlement.Store].
func (s *Store) Version(ctx context.Context) (int64, error) {
	oftenants, ofplans, err := both(ctx, s.tenants.version, s.plans.version)
	return max(oftenants, ofplans), err
}

// Versions implements [directives.VersionStore].
func (s *Store) Versions(ctx context.Context) (directives.Versions, error) {
	oftenants, ofkeys, err := both(ctx, s.Version, s.keys.version)
	if err != nil {
		return nil, err
	}
	return directives.Versions{entitlement.VersionName: oftenants, identity.VersionName: ofkeys}, nil
}

// both asks for two versions at the same time.
func both(ctx context.Context, first, second func(context.Context) (int64, error)) (a, b int64, err error) {
	var wg sync.WaitGroup
	var err1, err2 error
	wg.Go(func() { a, err1 = first(ctx) })
	b, err2 = second(ctx)
	wg.Wait()
	return a, b, errors.Join(err1, err2)
}

// applied is the document of an event that was applied; kept in: events
type applied struct {
	Format  int64     `firestore:"format"`
	Digest  string    `firestore:"digest"`
	Write   string    `firestore:"write"` // that of the tenant's document
	Expires time.Time `firestore:"expires"`
}

// remembered is for how long events are.
const remembered = 60 * 24 * time.Hour

// A seenEvent is an event that may have been applied.
type seenEvent struct {
	doc    *firestore.DocumentRef
	digest string
}

func (s *Store) seen(e *entitlement.Event) (*seenEvent, error) {
	if e == nil {
		return nil, nil
	}
	digest, err := e.Digest()
	return &seenEvent{s.control.Collection(events).Doc(e.Key()), digest}, err
}

func (e *seenEvent) document(write string) applied {
	return applied{format, e.digest, write, time.Now().Add(remembered)}
}

// check returns an error where the event was applied before, unless that was by this write.
func (e *seenEvent) check(doc *firestore.DocumentSnapshot, write string) (mine bool, err error) {
	if !doc.Exists() {
		return false, nil
	}
	var a applied
	if _, err := read(doc, nil)(&a, &a.Format); err != nil {
		return false, err
	}
	switch {
	case a.Write == write:
		return true, nil
	case a.Digest == e.digest:
		return false, entitlement.ErrSeen
	}
	return false, entitlement.ErrOther
}

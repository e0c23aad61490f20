package firestoredb

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"cloud.google.com/go/firestore"

	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/tenant"
)

// events has a document for each event that was applied.
const events = "erlmcp-events"

// Tenant implements [tenant.Store].
func (s *Store) Tenant(ctx context.Context, id string) (*tenant.Tenant, error) {
	t, err := s.tenants.get(ctx, id)
	if t == nil && err == nil {
		err = tenant.ErrUnknown
	}
	return t, err
}

// Tenants implements [tenant.Store].
func (s *Store) Tenants(ctx context.Context, after string, most int) ([]*tenant.Tenant, error) {
	return s.tenants.list(ctx, s.client.Collection(tenants).OrderBy("id", firestore.Asc).StartAfter(after), most)
}

// ChangeTenant implements [tenant.Store].
func (s *Store) ChangeTenant(ctx context.Context, id string, event *tenant.Event, change func(*tenant.Tenant) error) (*tenant.Tenant, error) {
	return s.tenants.change(ctx, id, edit[tenant.Tenant]{
		fresh: func() (*tenant.Tenant, error) {
			return &tenant.Tenant{ID: id, Created: time.Now().UTC().Truncate(time.Microsecond)}, nil
		},
		change: func(t *tenant.Tenant) error {
			err := change(t)
			t.ID = id
			return err
		},
		event: event,
	})
}

// Plans implements [tenant.Store].
func (s *Store) Plans(ctx context.Context) ([]*tenant.Plan, error) {
	return s.plans.list(ctx, s.client.Collection(plans).OrderBy("id", firestore.Asc), math.MaxInt)
}

// ChangePlan implements [tenant.Store].
func (s *Store) ChangePlan(ctx context.Context, name string, change func(*tenant.Plan) error) (*tenant.Plan, error) {
	return s.plans.change(ctx, name, edit[tenant.Plan]{
		fresh: func() (*tenant.Plan, error) { return &tenant.Plan{Name: name}, nil },
		change: func(p *tenant.Plan) error {
			err := change(p)
			p.Name = name
			return err
		},
	})
}

// Changes implements [tenant.Store]. Tenants and plans are read as they were at one time: else what is committed between the two
// readings could be missed, and not looked for again.
func (s *Store) Changes(ctx context.Context, since int64) (*tenant.Changes, error) {
	var c tenant.Changes
	err := s.client.RunTransaction(ctx, func(_ context.Context, tx *firestore.Transaction) error {
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

// Version implements [tenant.Store].
func (s *Store) Version(ctx context.Context) (int64, error) {
	oftenants, ofplans, err := both(ctx, s.tenants.version, s.plans.version)
	return max(oftenants, ofplans), err
}

// Versions implements [governor.VersionStore].
func (s *Store) Versions(ctx context.Context) (governor.Versions, error) {
	oftenants, ofkeys, err := both(ctx, s.Version, s.keys.version)
	if err != nil {
		return nil, err
	}
	return governor.Versions{tenant.VersionName: oftenants, identity.VersionName: ofkeys}, nil
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

func (s *Store) seen(e *tenant.Event) (*seenEvent, error) {
	if e == nil {
		return nil, nil
	}
	digest, err := e.Digest()
	return &seenEvent{s.client.Collection(events).Doc(e.Key()), digest}, err
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
		return false, tenant.ErrSeen
	}
	return false, tenant.ErrOther
}

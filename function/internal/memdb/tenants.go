package memdb

import (
	"context"
	"time"

	"example.com/erlmcp/function/internal/tenant"
)

// Tenant implements [tenant.Store].
func (s *Store) Tenant(ctx context.Context, id string) (*tenant.Tenant, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tenants.rows[id]
	if t == nil {
		return nil, tenant.ErrUnknown
	}
	return t.Clone(), nil
}

// Tenants implements [tenant.Store].
func (s *Store) Tenants(ctx context.Context, after string, most int) ([]*tenant.Tenant, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tenants.page(after, most, func(*tenant.Tenant) bool { return true }), nil
}

// ChangeTenant implements [tenant.Store].
func (s *Store) ChangeTenant(ctx context.Context, id string, of *tenant.Event, change func(*tenant.Tenant) error) (*tenant.Tenant, error) {
	e, err := eventOf(of)
	if err != nil {
		return nil, err
	}
	return s.tenants.do(ctx, s, id, edit[tenant.Tenant]{
		fresh: func() (*tenant.Tenant, error) {
			return &tenant.Tenant{ID: id, Created: s.now().UTC().Truncate(time.Microsecond)}, nil
		},
		change: func(t *tenant.Tenant) error {
			err := change(t)
			t.ID = id
			return err
		},
		event: e,
	})
}

// Plans implements [tenant.Store].
func (s *Store) Plans(ctx context.Context) ([]*tenant.Plan, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plans.page("", len(s.plans.rows), func(*tenant.Plan) bool { return true }), nil
}

// ChangePlan implements [tenant.Store].
func (s *Store) ChangePlan(ctx context.Context, name string, change func(*tenant.Plan) error) (*tenant.Plan, error) {
	return s.plans.do(ctx, s, name, edit[tenant.Plan]{
		fresh: func() (*tenant.Plan, error) { return &tenant.Plan{Name: name}, nil },
		change: func(p *tenant.Plan) error {
			err := change(p)
			p.Name = name
			return err
		},
	})
}

// Changes implements [tenant.Store].
func (s *Store) Changes(ctx context.Context, since int64) (*tenant.Changes, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &tenant.Changes{Version: *s.tenants.version, Tenants: s.tenants.since(since), Plans: s.plans.since(since)}, nil
}

// Version implements [tenant.Store].
func (s *Store) Version(ctx context.Context) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.tenants.version, nil
}

// remembered is for how long events are.
const remembered = 60 * 24 * time.Hour

// An event is what is remembered of one.
type event struct {
	key, digest string
	at          time.Time
}

func eventOf(e *tenant.Event) (*event, error) {
	if e == nil {
		return nil, nil
	}
	digest, err := e.Digest()
	return &event{key: e.Key(), digest: digest}, err
}

// events are those that were applied.
type events struct {
	seen  map[string]*event
	order []*event // by time
}

func (s *events) check(e *event) error {
	if e == nil {
		return nil
	}
	switch old := s.seen[e.key]; {
	case old == nil:
		return nil
	case old.digest == e.digest:
		return tenant.ErrSeen
	}
	return tenant.ErrOther
}

func (s *events) remember(e *event, now time.Time) {
	if e == nil {
		return
	}
	for len(s.order) > 0 && now.Sub(s.order[0].at) > remembered {
		delete(s.seen, s.order[0].key)
		s.order = s.order[1:]
	}
	e.at = now
	s.seen[e.key] = e
	s.order = append(s.order, e)
}

package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/entitlement"
)

// Tenant implements [entitlement.Store].
func (s *Store) Tenant(ctx context.Context, id string) (*entitlement.Tenant, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tenants.rows[id]
	if t == nil {
		return nil, entitlement.ErrUnknown
	}
	return t.Clone(), nil
}

// Tenants implements [entitlement.Store].
func (s *Store) Tenants(ctx context.Context, after string, most int) ([]*entitlement.Tenant, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tenants.page(after, most, func(*entitlement.Tenant) bool { return true }), nil
}

// ChangeTenant implements [entitlement.Store].
func (s *Store) ChangeTenant(ctx context.Context, id string, of *entitlement.Event, change func(*entitlement.Tenant) error) (*entitlement.Tenant, error) {
	e, err := eventOf(of)
	if err != nil {
		return nil, err
	}
	return s.tenants.do(ctx, s, id, edit[entitlement.Tenant]{
		fresh: func() (*entitlement.Tenant, error) {
			return &entitlement.Tenant{ID: id, Created: s.now().UTC().Truncate(time.Microsecond)}, nil
		},
		change: func(t *entitlement.Tenant) error {
			err := change(t)
			t.ID = id
			return err
		},
		event: e,
	})
}

// Plans implements [entitlement.Store].
func (s *Store) Plans(ctx context.Context) ([]*entitlement.Plan, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plans.page("", len(s.plans.rows), func(*entitlement.Plan) bool { return true }), nil
}

// ChangePlan implements [entitlement.Store].
func (s *Store) ChangePlan(ctx context.Context, name string, change func(*entitlement.Plan) error) (*entitlement.Plan, error) {
	return s.plans.do(ctx, s, name, edit[entitlement.Plan]{
		fresh: func() (*entitlement.Plan, error) { return &entitlement.Plan{Name: name}, nil },
		change: func(p *entitlement.Plan) error {
			err := change(p)
			p.Name = name
			return err
		},
	})
}

// Changes implements [entitlement.Store].
func (s *Store) Changes(ctx context.Context, since int64) (*entitlement.Changes, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &entitlement.Changes{Version: *s.tenants.version, Tenants: s.tenants.since(since), Plans: s.plans.since(since)}, nil
}

// Version implements [entitlement.Store].
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
	key    string
	Digest string    `json:"digest"`
	At     time.Time `json:"at"`
}

func eventOf(e *entitlement.Event) (*event, error) {
	if e == nil {
		return nil, nil
	}
	digest, err := e.Digest()
	return &event{key: e.Key(), Digest: digest}, err
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
	case old.Digest == e.Digest:
		return entitlement.ErrSeen
	}
	return entitlement.ErrOther
}

// next forgets what is old, and returns what to write before an event is added.
func (s *events) next(e *event, now time.Time) (rows []row) {
	if e == nil {
		return nil
	}
	for len(s.order) > 0 && now.Sub(s.order[0].At) > remembered {
		rows = append(rows, row{kindEvents, s.order[0].key, nil})
		delete(s.seen, s.order[0].key)
		s.order = s.order[1:]
	}
	e.At = now
	return append(rows, row{kindEvents, e.key, e})
}

func (s *events) add(e *event) {
	if e != nil {
		s.seen[e.key] = e
		s.order = append(s.order, e)
	}
}

// sort puts those that were read in the order of their times.
func (s *events) sort() {
	slices.SortStableFunc(s.order, func(a, b *event) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.key, b.key)) })
}

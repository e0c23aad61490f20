package memory

import (
	"context"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
)

// AddKey implements [identity.KeyStore].
func (s *Store) AddKey(ctx context.Context, k identity.Key) (*identity.StoredKey, error) {
	return s.keys.do(ctx, s, k.ID, edit[identity.StoredKey]{
		fresh: func() (*identity.StoredKey, error) { return &identity.StoredKey{Key: k}, nil },
		change: func(old *identity.StoredKey) error {
			if old.Revision != 0 {
				return identity.ErrKeyTaken
			}
			return nil
		},
	})
}

// Key implements [identity.KeyStore].
func (s *Store) Key(ctx context.Context, id string) (*identity.StoredKey, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys.rows[id]
	if k == nil {
		return nil, identity.ErrNoKey
	}
	return k.Clone(), nil
}

// Keys implements [identity.KeyStore].
func (s *Store) Keys(ctx context.Context, of, after string, most int) ([]*identity.StoredKey, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys.page(after, most, func(k *identity.StoredKey) bool { return of == "" || k.Tenant == of }), nil
}

// ChangeKey implements [identity.KeyStore].
func (s *Store) ChangeKey(ctx context.Context, id string, change func(*identity.Key) error) (*identity.StoredKey, error) {
	return s.keys.do(ctx, s, id, edit[identity.StoredKey]{
		fresh: func() (*identity.StoredKey, error) { return nil, identity.ErrNoKey },
		change: func(k *identity.StoredKey) error {
			err := change(&k.Key)
			k.ID = id
			return err
		},
	})
}

// KeyChanges implements [identity.KeyStore].
func (s *Store) KeyChanges(ctx context.Context, since int64) (changed []*identity.StoredKey, version int64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys.since(since), *s.keys.version, nil
}

// Versions implements [directives.VersionStore].
func (s *Store) Versions(ctx context.Context) (directives.Versions, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return directives.Versions{entitlement.VersionName: *s.tenants.version, identity.VersionName: *s.keys.version}, nil
}

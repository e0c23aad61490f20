package firestore

import (
	"context"

	"cloud.google.com/go/firestore"

	"example.com/erlmcp/function/internal/identity"
)

// AddKey implements [identity.KeyStore].
func (s *Store) AddKey(ctx context.Context, k identity.Key) (*identity.StoredKey, error) {
	return s.keys.change(ctx, k.ID, edit[identity.StoredKey]{
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
	k, err := s.keys.get(ctx, id)
	if k == nil && err == nil {
		err = identity.ErrNoKey
	}
	return k, err
}

// Keys implements [identity.KeyStore].
func (s *Store) Keys(ctx context.Context, tenant, after string, most int) ([]*identity.StoredKey, error) {
	q := s.control.Collection(keys).OrderBy("id", firestore.Asc).StartAfter(after)
	if tenant != "" {
		q = s.control.Collection(keys).Where("tenant", "==", tenant).OrderBy("id", firestore.Asc).StartAfter(after)
	}
	return s.keys.list(ctx, q, most)
}

// ChangeKey implements [identity.KeyStore].
func (s *Store) ChangeKey(ctx context.Context, id string, change func(*identity.Key) error) (*identity.StoredKey, error) {
	return s.keys.change(ctx, id, edit[identity.StoredKey]{
		fresh: func() (*identity.StoredKey, error) { return nil, identity.ErrNoKey },
		change: func(k *identity.StoredKey) error {
			err := change(&k.Key)
			k.ID = id
			return err
		},
	})
}

// KeyChanges implements [identity.KeyStore]. A key that can't be read is returned with its id alone, which no one authenticates
// with: it must not keep the others from being known.
func (s *Store) KeyChanges(ctx context.Context, since int64) (changed []*identity.StoredKey, version int64, err error) {
	unread := func(r *row, _ error) (*identity.StoredKey, error) {
		return &identity.StoredKey{Key: identity.Key{ID: r.ID}}, nil
	}
	err = s.control.RunTransaction(ctx, func(_ context.Context, tx *firestore.Transaction) error {
		var err error
		changed, version, err = s.keys.since(tx, since, unread)
		return err
	}, firestore.ReadOnly)
	if err == nil && version == 0 && since > 0 { // a revision that is not of this store
		version, err = s.keys.version(ctx)
	}
	return changed, version, err
}

package identity

import (
	"context"
	"errors"
	"slices"
)

// VersionName is the name of a [KeyStore]'s version among those that instances hear of.
const VersionName = "keys"

// A StoredKey is an API key in a store.
type StoredKey struct {
	Key
	Revision int64 `json:"revision"` // grows with each change, microseconds since 1970 or greater; 0 is not stored yet
}

// Clone returns a copy that shares nothing with the key.
func (k *StoredKey) Clone() *StoredKey {
	c := *k
	c.Scopes = slices.Clone(k.Scopes)
	return &c
}

// Errors of a [KeyStore].
var (
	ErrNoKey    = errors.New("there is no such API key")
	ErrKeyTaken = errors.New("there is an API key of this id")
)

// A KeyStore keeps API keys, by their hashes, so that they can be made and revoked while the fleet runs. All that it returns is
// the caller's.
type KeyStore interface {
	// AddKey stores a new key; [ErrKeyTaken] where there is one of its id.
	AddKey(ctx context.Context, k Key) (*StoredKey, error)
	// Key returns a key, or [ErrNoKey].
	Key(ctx context.Context, id string) (*StoredKey, error)
	// Keys returns at most so many keys of a tenant, "" for all, after an id, in the order of their ids.
	Keys(ctx context.Context, tenant, after string, most int) ([]*StoredKey, error)
	// ChangeKey changes a key; change may be called several times, and what it returns as an error is returned.
	ChangeKey(ctx context.Context, id string, change func(*Key) error) (*StoredKey, error)
	// KeyChanges returns the keys that changed since a revision, 0 for all, in the order of their revisions, and the greatest
	// revision in the store. What changed at that revision, and shortly before, may be among it.
	KeyChanges(ctx context.Context, since int64) (changed []*StoredKey, version int64, err error)
}

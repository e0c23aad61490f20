// Package effect has a change happen once, however often it is asked for: what a request with an idempotency key was answered is kept, and
// given again.
package effect

import (
	"context"
	"errors"
	"time"
)

// An IdempotencyRecord is what is kept of a request with an idempotency key.
type IdempotencyRecord struct {
	Claim   string    // by whom it is kept: each attempt has its own
	Request string    // hash of what was asked
	Answer  []byte    // sealed; nil while the request runs, as it was claimed with
	Expires time.Time // after which it is as if it were not there
}

// A Store keeps records, over all instances.
type Store interface {
	// Claim keeps the record under a key and returns nil, unless there is one that has not expired: that is returned. Of many at
	// the same time one gets nil. An answer that is empty is returned as nil.
	Claim(ctx context.Context, key string, mine IdempotencyRecord, now time.Time) (held *IdempotencyRecord, err error)
	// Settle puts an answer, and when it expires, in place of the claim that it names; [ErrNotMine] where another is there.
	Settle(ctx context.Context, key string, mine IdempotencyRecord) error
	// Drop takes a claim away. It is no error where it is not there, or another is.
	Drop(ctx context.Context, key, claim string) error
}

// ErrNotMine is that a claim has expired, and another's may be there.
var ErrNotMine = errors.New("the claim on this key is not there any more")

package firestore

import (
	"context"
	"time"

	"cloud.google.com/go/firestore"

	"example.com/erlmcp/function/internal/effect"
)

const replays = "erlmcp-replays" // a document for each idempotency key; a TTL policy on expires cleans up

// Effects implements [effect.Store].
type Effects struct{ client *firestore.Client }

// Effects returns the answers to requests with idempotency keys that the database keeps.
func (s *Store) Effects() *Effects { return &Effects{s.control} }

// replay is the document of an idempotency key; kept in: replays
type replay struct {
	Format  int64     `firestore:"format"`
	Claim   string    `firestore:"claim"`
	Request string    `firestore:"request"`
	Answer  []byte    `firestore:"answer"`
	Expires time.Time `firestore:"expires"`
}

// in runs do on the document of a key, in a transaction.
func (r *Effects) in(ctx context.Context, key string, do func(tx *firestore.Transaction, doc *firestore.DocumentRef, held *replay) error) error {
	doc := r.client.Collection(replays).Doc(key)
	return r.client.RunTransaction(ctx, func(ctx context.Context, tx *firestore.Transaction) error {
		var held replay
		found, err := read(tx.Get(doc))(&held, &held.Format)
		if err != nil {
			return err
		}
		if !found {
			return do(tx, doc, nil)
		}
		return do(tx, doc, &held)
	})
}

// Claim implements [effect.Store].
func (r *Effects) Claim(ctx context.Context, key string, mine effect.IdempotencyRecord, now time.Time) (other *effect.IdempotencyRecord, err error) {
	err = r.in(ctx, key, func(tx *firestore.Transaction, doc *firestore.DocumentRef, held *replay) error {
		other = nil
		if held != nil && now.Before(held.Expires) {
			other = &effect.IdempotencyRecord{Claim: held.Claim, Request: held.Request, Answer: orNil(held.Answer), Expires: held.Expires}
			return nil
		}
		return tx.Set(doc, replay{format, mine.Claim, mine.Request, mine.Answer, mine.Expires})
	})
	if err != nil {
		return nil, err
	}
	return other, nil
}

// Settle implements [effect.Store].
func (r *Effects) Settle(ctx context.Context, key string, mine effect.IdempotencyRecord) error {
	return r.in(ctx, key, func(tx *firestore.Transaction, doc *firestore.DocumentRef, held *replay) error {
		if held == nil || held.Claim != mine.Claim {
			return effect.ErrNotMine
		}
		return tx.Set(doc, replay{format, mine.Claim, mine.Request, mine.Answer, mine.Expires})
	})
}

// Drop implements [effect.Store].
func (r *Effects) Drop(ctx context.Context, key, claim string) error {
	return r.in(ctx, key, func(tx *firestore.Transaction, doc *firestore.DocumentRef, held *replay) error {
		if held == nil || held.Claim != claim {
			return nil
		}
		return tx.Delete(doc)
	})
}

package memory

import (
	"context"
	"maps"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/effect"
)

// Effects implements [effect.Store].
type Effects struct {
	file *file // nil: none

	mu   sync.Mutex
	kept map[string]effect.IdempotencyRecord
}

// NewEffects returns an empty store.
func NewEffects() *Effects { return &Effects{kept: map[string]effect.IdempotencyRecord{}} }

// maxEffects is how many are kept before those that have expired are looked for.
const maxEffects = 1000

// Claim implements [effect.Store].
func (r *Effects) Claim(ctx context.Context, key string, mine effect.IdempotencyRecord, now time.Time) (*effect.IdempotencyRecord, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if held, ok := r.kept[key]; ok && now.Before(held.Expires) {
		held.Answer = copied(held.Answer)
		return &held, nil
	}
	var gone []row
	if len(r.kept) >= maxEffects {
		maps.DeleteFunc(r.kept, func(key string, old effect.IdempotencyRecord) bool {
			expired := !now.Before(old.Expires)
			if expired {
				gone = append(gone, row{kindEffects, key, nil})
			}
			return expired
		})
	}
	return nil, r.keep(key, mine, gone...)
}

// keep puts a record in place of what is there.
func (r *Effects) keep(key string, mine effect.IdempotencyRecord, more ...row) error {
	mine.Answer = copied(mine.Answer)
	err := r.file.put(append(more, row{kindEffects, key, mine})...)
	if err == nil {
		r.kept[key] = mine
	}
	return err
}

// Settle implements [effect.Store].
func (r *Effects) Settle(ctx context.Context, key string, mine effect.IdempotencyRecord) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if held, ok := r.kept[key]; !ok || held.Claim != mine.Claim {
		return effect.ErrNotMine
	}
	return r.keep(key, mine)
}

// Drop implements [effect.Store].
func (r *Effects) Drop(ctx context.Context, key, claim string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if held, ok := r.kept[key]; !ok || held.Claim != claim {
		return nil
	}
	err := r.file.put(row{kindEffects, key, nil})
	if err == nil {
		delete(r.kept, key)
	}
	return err
}

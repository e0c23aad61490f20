package memdb

import (
	"context"
	"maps"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/control"
)

// Replays implements [control.Replays].
type Replays struct {
	mu   sync.Mutex
	kept map[string]control.Replay
}

// NewReplays returns an empty store.
func NewReplays() *Replays { return &Replays{kept: map[string]control.Replay{}} }

// mostReplays is how many are kept before those that have expired are looked for.
const mostReplays = 1000

// Claim implements [control.Replays].
func (r *Replays) Claim(ctx context.Context, key string, mine control.Replay, now time.Time) (*control.Replay, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if held, ok := r.kept[key]; ok && now.Before(held.Expires) {
		held.Answer = copied(held.Answer)
		return &held, nil
	}
	if len(r.kept) >= mostReplays {
		maps.DeleteFunc(r.kept, func(_ string, old control.Replay) bool { return !now.Before(old.Expires) })
	}
	mine.Answer = copied(mine.Answer)
	r.kept[key] = mine
	return nil, nil
}

// Settle implements [control.Replays].
func (r *Replays) Settle(ctx context.Context, key string, mine control.Replay) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if held, ok := r.kept[key]; !ok || held.Claim != mine.Claim {
		return control.ErrNotMine
	}
	mine.Answer = copied(mine.Answer)
	r.kept[key] = mine
	return nil
}

// Drop implements [control.Replays].
func (r *Replays) Drop(ctx context.Context, key, claim string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if held, ok := r.kept[key]; ok && held.Claim == claim {
		delete(r.kept, key)
	}
	return nil
}

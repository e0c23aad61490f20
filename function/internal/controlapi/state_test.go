package controlapi_test

import (
	"context"
	"encoding/json"
	"sync"

	"example.com/erlmcp/function/internal/effect"
)

// state is all that the stores hold, as text: two that are the same hold the same.
func (f *fixture) state() string {
	f.t.Helper()
	ctx := f.t.Context()
	tenants, err := f.store.Tenants(ctx, "", 1000)
	if err != nil {
		f.t.Fatal(err)
	}
	plans, err := f.store.Plans(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	keys, err := f.store.Keys(ctx, "", "", 1000)
	if err != nil {
		f.t.Fatal(err)
	}
	directives, err := f.store.Directives(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	text, err := json.Marshal([]any{tenants, plans, keys, directives})
	if err != nil {
		f.t.Fatal(err)
	}
	return string(text)
}

// watchedEffects show what is kept.
type watchedEffects struct {
	effect.Store
	mu  sync.Mutex
	all map[string]effect.IdempotencyRecord
}

func (w *watchedEffects) Settle(ctx context.Context, key string, mine effect.IdempotencyRecord) error {
	w.mu.Lock()
	w.all[key] = mine
	w.mu.Unlock()
	return w.Store.Settle(ctx, key, mine)
}

package control_test

import (
	"context"
	"encoding/json"
	"sync"

	"example.com/erlmcp/function/internal/control"
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
	orders, err := f.store.Orders(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	text, err := json.Marshal([]any{tenants, plans, keys, orders})
	if err != nil {
		f.t.Fatal(err)
	}
	return string(text)
}

// watchedReplays show what is kept.
type watchedReplays struct {
	control.Replays
	mu  sync.Mutex
	all map[string]control.Replay
}

func (w *watchedReplays) Settle(ctx context.Context, key string, mine control.Replay) error {
	w.mu.Lock()
	w.all[key] = mine
	w.mu.Unlock()
	return w.Replays.Settle(ctx, key, mine)
}

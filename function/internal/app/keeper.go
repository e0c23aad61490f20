package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/recovery"
	"example.com/erlmcp/function/internal/store/objects"
	"example.com/erlmcp/function/internal/telemetry"
)

// A keeper copies the roots of receipts, and the receipts of changes, to BACKUP_PLACE each time that this instance has made a root. What one
// instance could not copy the next one does. It is safe for concurrent use, and nil keeps nothing.
type keeper struct {
	place string
	store receipt.Store

	turn chan struct{}  // has room for who copies
	to   backup.Objects // once it is open

	mu     sync.Mutex // of what follows, which is asked for while one copies
	copied int64      // roots
	failed int64
	err    error // of the last time
}

func newKeeper(place string, store receipt.Store) *keeper {
	return &keeper{place: place, store: store, turn: make(chan struct{}, 1)}
}

// keep is [journal.Options.Keep].
func (k *keeper) keep(ctx context.Context) error {
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-k.turn }()
	copied, err := k.copy(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.copied += copied
	if errors.Is(ctx.Err(), context.Canceled) { // the instance goes
		return err
	}
	if k.err = err; err != nil {
		k.failed++
	}
	return err
}

func (k *keeper) copy(ctx context.Context) (roots int64, err error) {
	if k.to == nil {
		if k.to, err = objects.Open(ctx, k.place); err != nil {
			return 0, err
		}
	}
	s, err := recovery.Ship(ctx, k.store, k.to, time.Now())
	if s != nil {
		roots = s.Roots
	}
	return roots, err
}

// fault says why the last copy failed.
func (k *keeper) fault() error {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

func (k *keeper) metrics() []telemetry.Metric {
	if k == nil {
		return nil
	}
	return []telemetry.Metric{
		{Name: "erlmcp_roots_copied_total", Help: "Roots of receipts that this instance copied to BACKUP_PLACE: ok; failed, the times that it could not.", Kind: telemetry.Counter, Labels: []string{"outcome"},
			Read: func(emit func(float64, ...string)) {
				k.mu.Lock()
				defer k.mu.Unlock()
				emit(float64(k.copied), "ok")
				emit(float64(k.failed), "failed")
			}},
	}
}

package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/recovery"
	"example.com/erlmcp/function/internal/store/memory"
)

// TestKeeper has a server's journal keep its roots in a folder, then lets the store go back to an earlier state.
func TestKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place := filepath.Join(t.TempDir(), "place")
		record := func(store receipt.Store, minutes int) *keeper {
			k := newKeeper(place, store)
			j, err := journal.Start(journal.Options{Instance: "a", Store: store, Keep: k.keep}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for range minutes {
				j.Append(receipt.Receipt{ID: j.NewID(), Kind: receipt.Completed, Decision: receipt.Allow, Method: "tools/call", Tool: "echo"})
				time.Sleep(time.Minute)
			}
			j.Close(time.Now().Add(time.Second))
			return k
		}
		counts := func(k *keeper) (ok, failed float64) {
			k.metrics()[0].Read(func(v float64, labels ...string) {
				if labels[0] == "ok" {
					ok = v
				} else {
					failed = v
				}
			})
			return ok, failed
		}

		store := memory.NewReceipts(0)
		k := record(store, 5)
		names, err := filepath.Glob(place + "/roots/*/*.json")
		if ok, failed := counts(k); err != nil || k.fault() != nil || len(names) < 4 || int(ok) != len(names) || failed != 0 {
			t.Errorf("%d roots in the folder, %v copied, %v failed: %v %v", len(names), ok, failed, k.fault(), err)
		}
		last, err := store.LastRoot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(slices.Max(names)); err != nil || string(text) != string(last.Text) {
			t.Errorf("the newest root in the folder is %s, %v", text, err)
		}

		k = record(memory.NewReceipts(0), 2)
		var back *recovery.RolledBack
		if err := k.fault(); !errors.As(err, &back) || back.Kept != last.Number {
			t.Errorf("of a store that was rolled back it says %v", err)
		}
		r := &Recorder{keeper: k, Recorder: &journal.Recorder{Journal: &journal.Journal{}}}
		if _, failed := counts(k); failed == 0 || len(r.degraded()) != 1 {
			t.Errorf("%v failed, degraded %q", failed, r.degraded())
		}
	})
}

// silent is a store that does not answer until its caller gives up.
type silent struct{ receipt.Store }

func (silent) LastRoot(ctx context.Context) (*receipt.Root, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestKeeperIsAsked: while a copy waits for its store, how the last one ended is known at once, and who waits for a turn gives up in time.
func TestKeeperIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place := t.TempDir()
		if err := os.MkdirAll(filepath.Join(place, "roots", "2026-11-30"), 0o755); err != nil {
			t.Fatal(err)
		}
		root := receipt.Heads{Number: 1, Time: time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)}
		if err := os.WriteFile(filepath.Join(place, "roots", "2026-11-30", "000000000001.json"), root.Append(nil), 0o644); err != nil {
			t.Fatal(err)
		}
		k := newKeeper(place, silent{})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- k.keep(ctx) }()
		synctest.Wait()
		begin := time.Now()
		if err := k.fault(); err != nil || time.Since(begin) > 0 {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		short, done := context.WithTimeout(t.Context(), time.Second)
		defer done()
		if err := k.keep(short); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) || k.fault() == nil {
			t.Errorf("%v, and then %v", err, k.fault())
		}
	})
}

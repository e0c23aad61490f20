// Package governortest holds the suite that every [governor.Store] must pass.
package governortest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/governor"
)

// TestStore wants of an empty store what the governor relies on.
func TestStore(t *testing.T, s governor.Store) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	t.Run("epochs", func(t *testing.T) { testEpochs(ctx, t, s) })
	t.Run("quotas", func(t *testing.T) { testQuotas(ctx, t, s) })
}

func testEpochs(ctx context.Context, t *testing.T, s governor.Epochs) {
	if epoch, first, err := s.Next(ctx); epoch != 1 || !first || err != nil {
		t.Fatalf("the first epoch: %d %t %v", epoch, first, err)
	}
	// Instances that find the ledger lost together get epochs of their own.
	var mu sync.Mutex
	var got []int64
	together(4, func() {
		epoch, first, err := s.Next(ctx)
		if err != nil || first {
			t.Errorf("a later epoch: %d %t %v", epoch, first, err)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, epoch)
	})
	if slices.Sort(got); !slices.Equal(got, []int64{2, 3, 4, 5}) {
		t.Errorf("epochs %v", got)
	}
}

func testQuotas(ctx context.Context, t *testing.T, s governor.QuotaStore) {
	steps := []struct {
		key, day         string
		most, want, back int64
		taken, left      int64
	}{
		{"a", "2026-11-24", 10, 4, 0, 4, 6},
		{"a", "2026-11-24", 10, 4, 3, 4, 2}, // three of them go back
		{"a", "2026-11-24", 10, 9, 0, 5, 0},
		{"a", "2026-11-24", 10, 1, 0, 0, 0},
		{"a", "2026-11-24", 12, 5, 0, 2, 0}, // the limit was raised
		{"a", "2026-11-24", 3, 5, 0, 0, 0},  // and lowered
		{"b", "2026-11-24", 10, 1, 0, 1, 9},
		{"a", "2026-11-25", 10, 1, 0, 1, 9},
	}
	for i, c := range steps {
		taken, left, err := s.Take(ctx, c.key, c.day, c.most, c.want)
		if err != nil || taken != c.taken || left != c.left {
			t.Errorf("step %d: took %d, left %d, %v; want %d and %d", i, taken, left, err, c.taken, c.left)
		}
		if c.back > 0 {
			if err := s.Return(ctx, c.key, c.day, c.back); err != nil {
				t.Error(err)
			}
		}
	}
	var mu sync.Mutex
	var sum int64
	together(8, func() {
		taken, _, err := s.Take(ctx, "shared", "2026-11-24", 20, 3)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		sum += taken
	})
	if used, err := s.Used(ctx, "shared", "2026-11-24"); used != 20 || err != nil {
		t.Errorf("%d used of 20, %v", used, err)
	}
	if sum != 20 {
		t.Errorf("eight draws of 3 got %d of 20", sum)
	}
	if _, _, err := s.Take(ctx, "a", "2026-11-24", 10, 0); err == nil {
		t.Error("a draw of nothing is no error")
	}
}

func together(n int, do func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(do)
	}
	wg.Wait()
}

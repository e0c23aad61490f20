package verify_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/store/memory"
)

// counted counts the segments that are read backwards.
type counted struct {
	receipt.Store
	read int
}

func (c *counted) Backwards(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return func(yield func(*receipt.Segment, error) bool) {
		for s, err := range c.Store.Backwards(ctx, tenant, from, to) {
			if c.read++; !yield(s, err) {
				return
			}
		}
	}
}

// TestNewest wants the receipts of chains that lie across each other in the order of time, the latest first, and no more read than that takes.
func TestNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &counted{Store: memory.NewReceipts(0)}
		begin := time.Now()
		var journals []*journal.Journal
		for i := range 3 {
			j, err := journal.Open(journal.Options{Instance: fmt.Sprint("i", i), Store: store})
			if err != nil {
				t.Fatal(err)
			}
			journals = append(journals, j)
		}
		for n := range 300 {
			time.Sleep(time.Duration(1+n%7) * 300 * time.Millisecond)
			j := journals[n*n%3]
			j.Append(receipt.Receipt{ID: j.NewID(), Kind: receipt.Completed, Tenant: []string{"acme", "shop"}[n%2]})
		}
		for _, j := range journals {
			if err := j.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, tenant := range []string{"", "acme", "none"} {
			for _, from := range []time.Time{{}, begin.Add(2 * time.Minute)} {
				for _, to := range []time.Time{{}, begin.Add(4 * time.Minute), begin} {
					var want, got []receipt.Hash
					var last time.Time
					for r, err := range verify.Select(t.Context(), store, tenant, from, to) {
						if err != nil {
							t.Fatal(err)
						}
						want = append(want, r.Hash)
					}
					for r, err := range verify.Newest(t.Context(), store, tenant, from, to) {
						if err != nil {
							t.Fatal(err)
						}
						if !last.IsZero() && r.Time.After(last) {
							t.Errorf("%v comes after %v", r.Time, last)
						}
						last = r.Time
						got = append(got, r.Hash)
					}
					sort := func(hashes []receipt.Hash) {
						slices.SortFunc(hashes, func(a, b receipt.Hash) int { return slices.Compare(a[:], b[:]) })
					}
					sort(want)
					sort(got)
					if !slices.Equal(got, want) {
						t.Errorf("of %q from %v to %v: %d receipts, want %d", tenant, from, to, len(got), len(want))
					}
				}
			}
		}
		store.read = 0
		for range verify.Newest(t.Context(), store, "", time.Time{}, time.Time{}) {
			break
		}
		if store.read > 8 {
			t.Errorf("%d segments are read for one receipt", store.read)
		}
	})
}

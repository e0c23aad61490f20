package journal_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/receipt/receipttest"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/store/memory"
)

// TestOperatorsKeyChanges has the operator's key change while receipts come in, the store fails now and then, and the instance ends: what is
// recorded after the change is in a chain for which the new key vouches, nothing is missing, and the record verifies by both keys.
func TestOperatorsKeyChanges(t *testing.T) {
	second := receipt.NewSigner(ed25519.NewKeyFromSeed([]byte("the operator's second key, of 32")))
	both := append(slices.Clone(keys), second.Public())
	for name, c := range map[string]struct {
		before, waiting, after int  // receipts: stored before the change, waiting at it, and after it
		away                   bool // the store, at the change
	}{
		"between two receipts":             {3, 0, 2, false},
		"while receipts wait":              {3, 4, 2, false},
		"while the store is away":          {3, 4, 2, true},
		"before the first receipt":         {0, 0, 2, false},
		"while the first receipts wait":    {0, 4, 0, false},
		"and nothing is recorded after it": {3, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kept := memory.NewReceipts(0)
				var away atomic.Bool
				var key atomic.Pointer[receipt.Signer]
				key.Store(&operator)
				var announced []receipt.Head
				j := open(t, gone{kept, &away}, func(o *journal.Options) {
					o.Signer = func() receipt.Signer { return *key.Load() }
					o.Announce = func(h receipt.Head) {
						announced = slices.DeleteFunc(announced, func(x receipt.Head) bool { return x.Chain == h.Chain })
						announced = append(announced, h)
					}
				})
				record := func(n int) {
					for range n {
						j.Append(call(j, receipt.Completed))
					}
				}
				record(c.before)
				time.Sleep(5 * time.Second)
				record(c.waiting)
				away.Store(c.away)
				key.Store(&second)
				time.Sleep(5 * time.Second)
				away.Store(false)
				record(c.after)
				time.Sleep(30 * time.Second)
				shut(t, j)
				if n := j.Stats(); n.Lost != 0 || n.Late != 0 {
					t.Errorf("%+v", n)
				}
				calls := 0
				for _, r := range stored(t, kept) {
					if r.Kind == receipt.Completed {
						calls++
					}
				}
				if want := c.before + c.waiting + c.after; calls != want {
					t.Errorf("%d calls are recorded, want %d", calls, want)
				}
				vouched := map[string]int{}
				for s, err := range kept.Openings(t.Context(), time.Time{}, time.Now().Add(time.Hour)) {
					if err != nil {
						t.Fatal(err)
					}
					cert, err := receipt.ReadCertificate(s.Certificate)
					if err != nil {
						t.Fatal(err)
					}
					for s, err := range kept.OfChain(t.Context(), s.Chain, 1) {
						if err != nil {
							t.Fatal(err)
						}
						vouched[cert.Operator] += bytes.Count(s.Receipts, []byte(`"kind":"`+receipt.Completed+`"`))
					}
				}
				if n := vouched[receipt.KeyID(operator.Public())]; n != c.before {
					t.Errorf("the first key vouches for %d calls, want %d", n, c.before)
				}
				if n := vouched[receipt.KeyID(second.Public())]; n != c.waiting+c.after {
					t.Errorf("the second key vouches for %d calls, want %d", n, c.waiting+c.after)
				}
				if _, err := journal.Anchor(t.Context(), kept, receipttest.By(second), announced, time.Now()); err != nil {
					t.Fatal(err)
				}
				r, err := verify.Store(t.Context(), kept, verify.Options{Keys: both, Announced: announced, Now: time.Now()})
				if err != nil || len(r.Faults) > 0 || r.Receipts == 0 {
					t.Errorf("%d receipts, %v, %v", r.Receipts, r.Faults, err)
				}
				if r, err = verify.Store(t.Context(), kept, verify.Options{Keys: keys, Announced: announced, Now: time.Now()}); err != nil || len(r.Faults) == 0 {
					t.Errorf("the first key alone proves all: %v", err)
				}
			})
		})
	}
}

// gone is a store that takes no segments now and then.
type gone struct {
	receipt.Store
	away *atomic.Bool
}

func (g gone) PutSegment(ctx context.Context, s *receipt.Segment) error {
	if g.away.Load() {
		return errors.New("away")
	}
	return g.Store.PutSegment(ctx, s)
}

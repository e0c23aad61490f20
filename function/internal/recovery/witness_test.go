package recovery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/backup/backuptest"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/receipttest"
	"example.com/erlmcp/function/internal/recovery"
	"example.com/erlmcp/function/internal/store/memory"
)

// TestShip puts roots and changes in their place, however often it is interrupted, in schedules of a seed each: in the end each root of the
// store is there as it is, and each segment that has a change, and nothing else.
func TestShip(t *testing.T) {
	seeds := uint64(3)
	if *everything {
		seeds = 25
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 3))
			place, s := backuptest.NewObjects(), newShop(t)
			s.open(1)
			for range 20 {
				s.must("PUT", "/v1/kills/tool:x", `{"reason":"incident"}`)
				for range random.IntN(5) {
					s.journal.Append(receipttest.Receipt(s.journal, receipt.Completed))
				}
				time.Sleep(time.Duration(random.IntN(100)) * time.Second)
				s.anchor()
				cut := random.IntN(12)
				var mu sync.Mutex
				place.Meddle = func(string, string) error {
					mu.Lock()
					defer mu.Unlock()
					if cut--; cut < 0 {
						return errCut
					}
					return nil
				}
				var others sync.WaitGroup
				others.Go(func() { recovery.Ship(t.Context(), s.receipts, place, time.Now()) })
				recovery.Ship(t.Context(), s.receipts, place, time.Now()) // either may end in its middle
				others.Wait()
				place.Meddle = nil
			}
			s.close()
			if _, err := recovery.Ship(t.Context(), s.receipts, place, time.Now()); err != nil {
				t.Fatal(err)
			}
			again, err := recovery.Ship(t.Context(), s.receipts, place, time.Now())
			if err != nil || again.Roots+again.Changes > 0 {
				t.Errorf("once more: %+v (%v)", again, err)
			}
			var roots, kept []string
			for r, err := range s.receipts.Roots(t.Context(), time.Time{}, time.Now()) {
				if err != nil {
					t.Fatal(err)
				}
				roots = append(roots, string(r.Text))
			}
			for r, err := range recovery.Roots(t.Context(), place, time.Time{}) {
				if err != nil {
					t.Fatal(err)
				}
				kept = append(kept, string(r.Text))
			}
			if !slices.Equal(roots, kept) || len(roots) < 10 {
				t.Errorf("%d roots are made, and %d kept", len(roots), len(kept))
			}
			changes := map[string]bool{}
			for _, r := range receipttest.Stored(t, s.receipts) {
				if r.Kind == receipt.Killed || r.Kind == receipt.Admitted {
					changes[fmt.Sprint(r.Instance, r.Seq)] = true
				}
			}
			there := map[string]bool{}
			for c, err := range recovery.Changes(t.Context(), place, time.Time{}, receipttest.Keys) {
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range c.Receipts {
					if r.Kind != receipt.Completed && r.Kind != receipt.Closed {
						there[fmt.Sprint(r.Instance, r.Seq)] = true
					}
				}
			}
			if !maps.Equal(changes, there) || len(changes) != 40 {
				t.Errorf("%d receipts of changes are made, and %d kept", len(changes), len(there))
			}
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestRolledBack has a store be rolled back to each of its roots, and go on from there: the next run says so, and changes nothing.
func TestRolledBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, s := backuptest.NewObjects(), newShop(t)
		s.open(1)
		for range 10 {
			s.must("PUT", "/v1/kills/tool:x", `{"reason":"incident"}`)
			time.Sleep(time.Minute)
			s.ship(place)
		}
		s.close()
		s.ship(place)
		var roots []*receipt.Root
		for r, err := range s.receipts.Roots(t.Context(), time.Time{}, time.Now()) {
			if err != nil {
				t.Fatal(err)
			}
			roots = append(roots, r)
		}
		before := place.All()
		for back := range len(roots) {
			for on := range 3 { // roots that are made since: fewer than were lost, as many, more
				old := memory.NewReceipts(0)
				for _, r := range roots[:back] {
					if err := old.PutRoot(t.Context(), r); err != nil {
						t.Fatal(err)
					}
				}
				for i := range on * (len(roots) - back) {
					h := receipt.Heads{Format: receipt.Format, Number: int64(back + i + 1), Time: receipt.Truncate(time.Now())}
					if err := old.PutRoot(t.Context(), &receipt.Root{Number: h.Number, Time: h.Time, Text: h.Append(nil)}); err != nil {
						t.Fatal(err)
					}
				}
				_, err := recovery.Ship(t.Context(), old, place, time.Now())
				var rolled *recovery.RolledBack
				if !errors.As(err, &rolled) || !strings.Contains(err.Error(), "verify -roots memory") {
					t.Errorf("rolled back to root %d, with %d since: %v", back, on*(len(roots)-back), err)
				}
				if !maps.EqualFunc(before, place.All(), bytes.Equal) {
					t.Fatalf("rolled back to root %d: what was kept has changed", back)
				}
			}
		}
	})
}

// TestDrill does a drill, and one of a store whose receipts were tampered with.
func TestDrill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, s := backuptest.NewObjects(), filled(t)
		defer s.close()
		drill := func(into *shop) *recovery.Report {
			t.Helper()
			into.open(9)
			defer into.close()
			d := &recovery.Drill{
				Place: place, Store: s.records, Directives: s.store, Receipts: s.receipts, Restore: into.restore(place), Confirm: into.confirm(place),
				Into: "another", Version: "1.2.3", Keys: receipttest.Keys, Signer: receipttest.Operator, Now: time.Now,
			}
			r, err := d.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		time.Sleep(time.Minute)
		s.must("PUT", "/v1/kills/tool:y", `{"reason":"since"}`)
		if r := drill(newShop(t)); !r.OK || r.InsideSeconds != nil || r.OutsideSeconds != nil || len(r.Steps) != 5 || r.Records[backup.Tenants] != 3 {
			t.Errorf("the first drill: %+v", r)
		}
		s.ship(place)
		time.Sleep(time.Hour)
		s.must("PUT", "/v1/kills/tool:z", `{"reason":"since"}`)
		s.anchor()
		time.Sleep(30 * time.Second)
		r := drill(newShop(t))
		if !r.OK || r.InsideSeconds == nil || *r.InsideSeconds != 30 || r.OutsideSeconds == nil || *r.OutsideSeconds < 3600 || *r.OutsideSeconds > 3700 {
			t.Errorf("the second drill: %+v", r)
		}
		full := newShop(t)
		full.open(5)
		full.must("PUT", "/v1/tenants/x", `{"plan":"enterprise"}`)
		full.close()
		if r := drill(full); r.OK || !strings.Contains(r.Steps[len(r.Steps)-1].Words, "not empty") {
			t.Errorf("a drill into a store that is not empty: %+v", r)
		}
		s.receipts = without(t, s.receipts, 100)
		s.records = memory.NewRecords(s.store, s.receipts)
		time.Sleep(time.Second)
		if r := drill(newShop(t)); r.OK || !strings.Contains(r.Steps[len(r.Steps)-1].Words, "missing") {
			t.Errorf("a drill without a segment: %+v", r)
		}
	})
}

// TestDrillEndsInstances does drills in which all instances are ended: they come back, or some do not end, too few come, they are not well,
// or the store has lost what it had.
func TestDrillEndsInstances(t *testing.T) {
	for _, c := range []struct {
		name         string
		stay, come   int           // of three instances, once they are ended
		comeAfter    time.Duration // from when they were
		healthyAfter time.Duration // from when they came
		loses        bool
		steps        int
		want         string // of the last step
		back         float64
	}{
		{name: "three come back", come: 3, comeAfter: 20 * time.Second, healthyAfter: 5 * time.Second, steps: 9, want: "orders replayed", back: 26},
		{name: "one is not ended", stay: 1, come: 3, steps: 3, want: `of 3 instances these were not ended: ["old 1"]`},
		{name: "nobody comes back", come: 0, steps: 4, want: "after 1m0s: 0 instances came back, and at least 2 are wanted"},
		{name: "too few come back", come: 1, steps: 4, want: "1 instances came back"},
		{name: "they are not healthy", come: 3, healthyAfter: time.Hour, steps: 5, want: "after 1m0s: not well"},
		{name: "the store has lost a segment", come: 3, loses: true, steps: 6, want: "missing"},
	} {
		t.Log("case:", c.name)
		synctest.Test(t, func(t *testing.T) {
			place, s := backuptest.NewObjects(), filled(t)
			defer s.close()
			time.Sleep(time.Minute)
			s.ship(place)
			time.Sleep(time.Minute)
			var ended time.Time
			receipts := &swapped{s.receipts}
			drill := func() *recovery.Report {
				into := newShop(t)
				into.open(9)
				defer into.close()
				d := &recovery.Drill{
					Place: place, Store: s.records, Directives: s.store, Receipts: receipts, Restore: into.restore(place), Confirm: into.confirm(place),
					Into: "another", Version: "1.2.3", Keys: receipttest.Keys, Signer: receipttest.Operator, Now: time.Now,
				}
				d.Ending = &recovery.Ending{
					Least: 2, Within: time.Minute,
					Tell: func(int) {
						if ended = time.Now(); c.loses {
							receipts.Store = without(t, s.receipts, 100)
						}
					},
					Running: func(context.Context) (running []recovery.Instance, _ error) {
						n := c.stay
						if ended.IsZero() || time.Since(ended) < 10*time.Second {
							n = 3
						}
						for i := range n {
							running = append(running, recovery.Instance{Name: fmt.Sprint("old ", i+1), Seen: time.Now()})
						}
						for i := range c.come {
							if !ended.IsZero() && time.Since(ended) >= 10*time.Second+c.comeAfter {
								running = append(running, recovery.Instance{Name: fmt.Sprint("new ", i), Seen: time.Now()})
							}
						}
						return running, nil
					},
					Probe: func(context.Context) error {
						if time.Since(ended) < 10*time.Second+c.comeAfter+c.healthyAfter {
							return errors.New("not well")
						}
						return nil
					},
				}
				r, err := d.Run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			r := drill()
			last := r.Steps[len(r.Steps)-1]
			if r.OK != (c.back > 0) || len(r.Steps) != c.steps || !strings.Contains(last.Words, c.want) || c.back > 0 && r.BackSeconds != c.back {
				t.Errorf("%+v, want %d steps and %q", r, c.steps, c.want)
			}
			if read, err := recovery.ReadReport(r.Text(), receipttest.Keys); err != nil || read.BackSeconds != r.BackSeconds {
				t.Errorf("the report reads as %+v (%v)", read, err)
			}
		})
	}
}

// swapped are receipts in whose place others may come.
type swapped struct{ receipt.Store }

// without are receipts that lack one segment.
func without(t *testing.T, all *memory.Receipts, nth int) *memory.Receipts {
	out := memory.NewReceipts(0)
	n := 0
	for s, err := range all.Between(t.Context(), time.Time{}, time.Now().Add(time.Hour)) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n != nth {
			if err := out.PutSegment(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	for r, err := range all.Roots(t.Context(), time.Time{}, time.Now().Add(time.Hour)) {
		if err == nil {
			err = out.PutRoot(t.Context(), r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

package journal_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
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

// What these tests write and read with.
var (
	operator = receipttest.Operator
	keys     = receipttest.Keys
	open     = receipttest.Open
	always   = receipttest.Always
	call     = receipttest.Receipt
	stored   = receipttest.Stored
	sound    = receipttest.Sound
	shut     = receipttest.Close
)

// A faulty store has faults.
type faulty struct {
	receipt.Store
	mu     sync.Mutex
	err    error         // of writes
	after  bool          // the write is done nevertheless
	delay  time.Duration // of writes
	stuck  chan struct{} // writes wait for it, or for their context
	writes int
}

func (f *faulty) set(change func(*faulty)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *faulty) PutSegment(ctx context.Context, s *receipt.Segment) error {
	f.mu.Lock()
	err, after, delay, stuck := f.err, f.after, f.delay, f.stuck
	f.writes++
	f.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay): // in a bubble
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if stuck != nil {
		select {
		case <-stuck:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err != nil && !after {
		return err
	}
	return errors.Join(f.Store.PutSegment(ctx, s), err)
}

func TestWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReceipts(0)
		j := open(t, store, nil)
		j.Append(call(j, receipt.Admitted))
		time.Sleep(990 * time.Millisecond)
		synctest.Wait()
		if n := len(stored(t, store)); n != 0 {
			t.Errorf("%d receipts are stored before their second is over", n)
		}
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		if n := len(stored(t, store)); n != 1 {
			t.Errorf("%d receipts are stored after a second, want 1", n)
		}
		for range 500 {
			j.Append(call(j, receipt.Admitted))
		}
		time.Sleep(25 * time.Millisecond)
		synctest.Wait()
		if n := len(stored(t, store)); n != 501 {
			t.Errorf("%d receipts are stored of 501", n)
		}
		j.Append(call(j, receipt.Completed))
		shut(t, j)
		got := stored(t, store)
		if n := len(got); n != 503 || got[502].Kind != receipt.Closed || got[0].Instance != "node-1" || got[501].Seq != 502 {
			t.Errorf("%d receipts at the end: %+v", n, got[len(got)-1])
		}
		if s := j.Stats(); s.Writes != 3 || s.Stored != 503 || s.Waiting != 0 || s.Appended != 502 {
			t.Errorf("%+v", s)
		}
		h := j.Head()
		if r := sound(t, store, h); r.Receipts != 503 || r.Segments != 3 || r.Chains != 1 || len(r.Notes) != 0 {
			t.Errorf("%v", r)
		}
		if h.Seq != 503 || h.Appended != 503 || h.Stored != 503 || h.State != receipt.Ended {
			t.Errorf("head %+v", h)
		}
	})
}

// TestNothingRecorded wants no trace of an instance that decided nothing.
func TestNothingRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReceipts(0)
		j := open(t, store, nil)
		shut(t, j)
		if n := len(stored(t, store)); n != 0 || j.Head().Appended != 0 {
			t.Errorf("%d receipts", n)
		}
		j.Append(call(j, receipt.Admitted))
		if err := j.Commit(t.Context(), call(j, receipt.Admitted)); !errors.Is(err, receipt.ErrClosed) {
			t.Error(err)
		}
		if s := j.Stats(); s.Late != 1 || !j.Full() {
			t.Errorf("%+v", s)
		}
		shut(t, j)
	})
}

// TestFrozen stops all timers by a clock that jumps: the next receipt writes what waits.
func TestFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const apart = 25 * time.Millisecond // at least, two writes are
		store := memory.NewReceipts(0)
		var jumped atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(jumped.Load())) }
		j := open(t, store, func(o *journal.Options) { o.Now = now })
		j.Append(call(j, receipt.Admitted))
		jumped.Store(int64(time.Hour))
		j.Append(call(j, receipt.Completed))
		time.Sleep(apart) // what is an hour apart is in two segments; the timer would be a second
		if synctest.Wait(); len(stored(t, store)) < 2 {
			t.Errorf("the receipt after the thaw does not write: %+v", j.Stats())
		}
		// Frozen while the writer waits to try again.
		f := &faulty{Store: store, err: errors.New("away")}
		j2 := open(t, f, func(o *journal.Options) { o.Now = now })
		jumped.Add(int64(time.Hour))
		for range 500 {
			j2.Append(call(j2, receipt.Admitted))
		}
		for j2.Stats().Failures < 5 { // the next try is more than a second away
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		f.set(func(f *faulty) { f.err = nil })
		jumped.Add(int64(time.Hour))
		j2.Append(call(j2, receipt.Admitted))
		time.Sleep(apart)
		if synctest.Wait(); j2.Stats().Stored < 500 {
			t.Error("the writer sleeps on after the thaw")
		}
		shut(t, j)
		shut(t, j2)
		// Nobody had the time to make roots, which a key is for.
		if r, err := verify.Store(t.Context(), store, verify.Options{Now: now()}); err != nil || !r.OK() {
			t.Errorf("%v %v", r, err)
		}
	})
}

func TestRefusalsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReceipts(0)
		j := open(t, store, nil)
		refusal := func(principal, reason, limit string) receipt.Receipt {
			r := call(j, receipt.Refused)
			r.Decision, r.Principal, r.Reason, r.Limit = receipt.Refuse, principal, reason, limit
			return r
		}
		// 3 seconds of 5000 refusals each beside 2000 calls.
		for i := range 30 * 500 {
			j.Append(refusal(fmt.Sprint("caller", i%3), "rate", "tool:search"))
			if i%500 == 0 {
				for range 200 {
					j.Append(call(j, receipt.Admitted))
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		j.Append(refusal("caller0", "concurrency", "tool:search"))
		j.Append(refusal("caller0", "rate", "everything"))
		shut(t, j)
		full, counted := 0, int64(0)
		last := map[string]time.Time{}
		for _, r := range stored(t, store) {
			if r.Kind != receipt.Refused {
				continue
			}
			full++
			counted += r.More
			key := r.Principal + r.Reason + r.Limit
			if apart := r.Time.Sub(last[key]); apart < 900*time.Millisecond {
				t.Errorf("two refusals of %s in full, %v apart", key, apart)
			}
			last[key] = r.Time
		}
		if int64(full)+counted != 15002 || full > 3*4+2 {
			t.Errorf("%d in full and %d counted, of 15002", full, counted)
		}
		if s := j.Stats(); s.Counted != counted || s.Writes > 20 {
			t.Errorf("%+v", s)
		}
		sound(t, store, j.Head())
	})
}

func TestCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReceipts(0)
		f := &faulty{Store: store}
		j := open(t, f, func(o *journal.Options) { o.MaxWaiting = 100 })
		if err := j.Commit(t.Context(), call(j, receipt.Admitted)); err != nil || len(stored(t, store)) != 1 {
			t.Fatalf("%d stored, %v", len(stored(t, store)), err)
		}
		// Those that come together are written together, at most 40 times a second.
		begin := time.Now()
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if err := j.Commit(t.Context(), call(j, receipt.Admitted)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin); j.Stats().Writes > 5 || took > 100*time.Millisecond {
			t.Errorf("%d writes in %v", j.Stats().Writes, took)
		}
		// A store that is away: the caller may not call.
		f.set(func(f *faulty) { f.err = errors.New("away") })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := j.Commit(ctx, call(j, receipt.Admitted)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without the store: %v", err)
		}
		for j.Full() == false {
			j.Append(call(j, receipt.Admitted))
		}
		if err := j.Commit(t.Context(), call(j, receipt.Admitted)); !errors.Is(err, receipt.ErrFull) {
			t.Errorf("with a full queue: %v", err)
		}
		f.set(func(f *faulty) { f.err = nil })
		time.Sleep(7 * time.Second)
		if err := j.Commit(t.Context(), call(j, receipt.Admitted)); err != nil {
			t.Errorf("with the store again: %v", err)
		}
		shut(t, j)
		sound(t, store, j.Head())
	})
}

// TestStoreAway wants that nothing is lost within the bound, and that what is beyond is counted in the chain.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReceipts(0)
		f := &faulty{Store: store, stuck: make(chan struct{})}
		j := open(t, f, func(o *journal.Options) { o.MaxWaiting = 1000 })
		for range 1000 {
			j.Append(call(j, receipt.Admitted))
			time.Sleep(time.Millisecond)
		}
		if j.Stats().Lost > 0 || !j.Full() {
			t.Errorf("%+v", j.Stats())
		}
		for range 300 {
			j.Append(call(j, receipt.Admitted))
			time.Sleep(10 * time.Millisecond)
		}
		if s := j.Stats(); s.Lost != 300 || s.Waiting != 1000 {
			t.Errorf("%+v", s)
		}
		close(f.stuck)
		time.Sleep(10 * time.Second)
		for range 5 {
			j.Append(call(j, receipt.Admitted))
		}
		time.Sleep(2 * time.Second)
		if s := j.Stats(); s.Waiting != 0 || s.Oldest != 0 || s.LastError != nil {
			t.Errorf("%+v", s)
		}
		shut(t, j)
		var lost *receipt.Receipt
		got := stored(t, store)
		for i := range got {
			if got[i].Kind == receipt.Lost {
				lost = &got[i]
			}
		}
		if len(got) != 1000+1+5+1 || lost == nil || lost.More != 300 || lost.Seq != 1001 || lost.Duration < 2900*time.Millisecond {
			t.Errorf("%d receipts, the loss is %+v", len(got), lost)
		}
		if r := sound(t, store, j.Head()); r.Lost != 300 {
			t.Errorf("%v", r)
		}
	})
}

// TestOldest wants that what the writer has, and can't store, still waits.
func TestOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faulty{Store: memory.NewReceipts(0), err: errors.New("away")}
		j := open(t, f, nil)
		waits := func(want time.Duration) {
			t.Helper()
			synctest.Wait()
			if s := j.Stats(); s.Oldest != want {
				t.Errorf("the oldest of %d has waited for %v, want %v", s.Waiting, s.Oldest, want)
			}
		}
		waits(0)
		j.Append(call(j, receipt.Completed))
		time.Sleep(10 * time.Second)
		waits(10 * time.Second) // the writer has it, and no other comes
		j.Append(call(j, receipt.Completed))
		r := call(j, receipt.Refused)
		r.Decision = receipt.Refuse
		j.Append(r)
		time.Sleep(time.Second)
		waits(11 * time.Second)
		f.set(func(f *faulty) { f.err, f.delay = nil, 7*time.Second })
		for begin := time.Now(); j.Stats().Stored == 0; time.Sleep(10 * time.Millisecond) {
			if time.Since(begin) > time.Minute {
				t.Fatal("nothing is stored")
			}
		}
		if s := j.Stats(); s.Oldest < 7*time.Second || s.Oldest > 20*time.Second {
			t.Errorf("the second has waited for %v", s.Oldest)
		}
		f.set(func(f *faulty) { f.delay = 0 })
		time.Sleep(10 * time.Second)
		waits(0)
		shut(t, j)
		waits(0)
	})
}

// TestLossIsToldAtTheEnd is for when no receipt comes after the loss.
func TestLossIsToldAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReceipts(0)
		f := &faulty{Store: store, err: errors.New("away")}
		j := open(t, f, func(o *journal.Options) { o.MaxBytes = 50000 })
		for range 1000 {
			j.Append(call(j, receipt.Admitted))
		}
		lost := j.Stats().Lost
		f.set(func(f *faulty) { f.err = nil })
		time.Sleep(10 * time.Second)
		shut(t, j)
		if r := sound(t, store, j.Head()); r.Lost != lost || lost < 800 || lost > 980 || r.Receipts != 1000-lost+2 {
			t.Errorf("%d lost, told %v", lost, r)
		}
	})
}

// TestLostAnswers is a store that does what it is asked and fails to say so.
func TestLostAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReceipts(0)
		f := &faulty{Store: store, err: errors.New("the answer is lost"), after: true}
		j := open(t, f, nil)
		for range 1700 {
			j.Append(call(j, receipt.Admitted))
		}
		time.Sleep(5 * time.Second)
		if s := j.Stats(); s.Failures < 3 || s.Stored != 0 {
			t.Errorf("%+v", s)
		}
		f.set(func(f *faulty) { f.err = nil })
		time.Sleep(10 * time.Second)
		shut(t, j)
		if r := sound(t, store, j.Head()); r.Receipts != 1701 {
			t.Errorf("%v", r)
		}
	})
}

// TestCopiedProcess is two journals that go on from one state, as the copies of a frozen process do.
func TestCopiedProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReceipts(0)
		f := &faulty{Store: store}
		j := open(t, f, nil)
		j.Append(call(j, receipt.Admitted))
		time.Sleep(2 * time.Second)
		first := j.Head()
		if err := store.PutSegment(t.Context(), &receipt.Segment{Chain: first.Chain, Number: 2, To: time.Now(), Header: []byte("the copy's")}); err != nil {
			t.Fatal(err)
		}
		for range 700 {
			j.Append(call(j, receipt.Admitted))
		}
		time.Sleep(2 * time.Second)
		shut(t, j)
		if h := j.Head(); h.Chain == first.Chain || h.Seq != 701 || h.State != receipt.Ended {
			t.Errorf("the chain after is %+v, the one before was %+v", h, first)
		}
		n := 0
		for s, err := range store.OfChain(t.Context(), j.Head().Chain, 1) {
			if err != nil {
				t.Fatal(err)
			}
			n += strings.Count(string(s.Receipts), "\n")
		}
		if n != 701 {
			t.Errorf("%d receipts in the new chain", n)
		}
	})
}

func TestClose(t *testing.T) {
	for _, c := range []struct {
		name     string
		store    func(*faulty)
		wait     time.Duration
		complete bool
		fault    string
		given    int64
	}{
		{"at once", func(*faulty) {}, 8 * time.Second, true, "", 0},
		{"a store that is back in a moment", func(f *faulty) {
			f.err = errors.New("away")
			time.AfterFunc(2*time.Second, func() { f.set(func(f *faulty) { f.err = nil }) }) // in a bubble
		}, 8 * time.Second, true, "", 0},
		{"a slow store", func(f *faulty) { f.delay = 2 * time.Second }, 8 * time.Second, true, "given up, and the chain says so", 4000},
		{"no store", func(f *faulty) { f.err = errors.New("away") }, 8 * time.Second, false, "away", 0},
		{"a store that hangs", func(f *faulty) { f.stuck = make(chan struct{}) }, 8 * time.Second, false, "not stored", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.NewReceipts(0)
				f := &faulty{Store: store}
				var heads []receipt.Head
				j := open(t, f, func(o *journal.Options) { o.Announce = func(h receipt.Head) { heads = append(heads, h) } })
				j.Append(call(j, receipt.Admitted))
				time.Sleep(2 * time.Second)
				f.set(c.store)
				for range 10000 {
					j.Append(call(j, receipt.Admitted))
				}
				ctx, cancel := context.WithTimeout(t.Context(), c.wait)
				defer cancel()
				begin := time.Now()
				err := j.Close(ctx)
				if (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
					t.Errorf("%v, want %q", err, c.fault)
				}
				if took := time.Since(begin); took > c.wait+time.Second {
					t.Errorf("took %v", took)
				}
				announced := heads[len(heads)-1]
				if _, err := journal.Anchor(t.Context(), store, receipttest.By(operator), []receipt.Head{announced}, time.Now()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute) // the announcements age
				r, err := verify.Store(t.Context(), store, verify.Options{Keys: keys, Announced: []receipt.Head{announced}})
				if err != nil {
					t.Fatal(err)
				}
				if r.OK() != c.complete {
					t.Errorf("%v", r)
				}
				if c.complete {
					if r.Receipts+r.Lost != 10002 || r.Lost < c.given {
						t.Errorf("%d receipts and %d given up of 10002", r.Receipts, r.Lost)
					}
				} else if f := r.Faults[0]; f.Kind != verify.Tail || f.Seq != 2 || f.Last != announced.Appended || announced.Appended < 10001 {
					t.Errorf("%v\n%+v", r, announced)
				}
			})
		})
	}
}

// TestMany has receipts come from many sides, under the race detector.
func TestMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReceipts(0)
		var announced atomic.Int64
		j := open(t, store, func(o *journal.Options) { o.Announce = func(h receipt.Head) { announced.Store(h.Appended) } })
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for n := range 1000 {
					r := call(j, receipt.Admitted)
					r.Tenant = fmt.Sprint("tenant", n%5)
					switch {
					case i == 0 && n%100 == 0:
						if err := j.Commit(t.Context(), r); err != nil {
							t.Error(err)
						}
					case n%10 == 0:
						r.Kind, r.Principal = receipt.Refused, fmt.Sprint(i, n)
						j.Append(r)
					default:
						j.Append(r)
					}
					if n%50 == 0 {
						j.Stats()
						j.Head()
					}
				}
			})
		}
		wg.Wait()
		shut(t, j)
		if r := sound(t, store, j.Head()); r.Receipts != 8001 {
			t.Errorf("%v", r)
		}
		if announced.Load() != 8001 {
			t.Errorf("announced %d", announced.Load())
		}
	})
}

// TestUnsigned is a chain without an operator's key.
func TestUnsigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReceipts(0)
		j := open(t, store, func(o *journal.Options) { o.Signer = nil })
		j.Append(call(j, receipt.Admitted))
		shut(t, j)
		r, err := verify.Store(t.Context(), store, verify.Options{})
		if err != nil || !r.OK() || r.Unsigned != 1 || !strings.Contains(r.String(), "unsigned: integrity only") {
			t.Errorf("without keys: %v %v", r, err)
		}
		r, err = verify.Store(t.Context(), store, verify.Options{Keys: keys})
		if err != nil || len(r.Faults) != 1 || r.Faults[0].Kind != verify.Unsigned {
			t.Errorf("with keys: %v %v", r, err)
		}
	})
}

// TestKeyAway is an operator's key that can't be had for a while.
func TestKeyAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReceipts(0)
		var away atomic.Bool
		away.Store(true)
		j := open(t, store, func(o *journal.Options) { o.Signer = always(absent{operator, &away}) })
		j.Append(call(j, receipt.Admitted))
		time.Sleep(5 * time.Second)
		if s := j.Stats(); s.LastError == nil || s.Waiting != 1 {
			t.Errorf("%+v", s)
		}
		away.Store(false)
		time.Sleep(10 * time.Second)
		shut(t, j)
		sound(t, store, j.Head())
	})
}

type absent struct {
	receipt.Signer
	away *atomic.Bool
}

func (a absent) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if a.away.Load() {
		return nil, errors.New("the key can't be reached")
	}
	return a.Signer.Sign(ctx, message)
}

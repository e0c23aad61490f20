package archive

import (
	"context"
	"fmt"
	"hash/fnv"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/backup/backuptest"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/receipttest"
	"example.com/erlmcp/function/internal/store/memory"
)

// A forgetful store has forgotten some of what was put into it, as a TTL policy does: it refuses to store what it had in another form, as if
// it had not.
type forgetful struct {
	receipt.Store
	gone     func(*receipt.Segment) bool
	goneRoot func(*receipt.Root) bool
}

func kept[T any](all iter.Seq2[*T, error], gone func(*T) bool) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for x, err := range all {
			if err == nil && gone(x) {
				continue
			}
			if !yield(x, err) {
				return
			}
		}
	}
}

func (f *forgetful) OfChain(ctx context.Context, chain string, from int64) iter.Seq2[*receipt.Segment, error] {
	return kept(f.Store.OfChain(ctx, chain, from), f.gone)
}

func (f *forgetful) Between(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return kept(f.Store.Between(ctx, from, to), f.gone)
}

func (f *forgetful) OfTenant(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return kept(f.Store.OfTenant(ctx, tenant, from, to), f.gone)
}

func (f *forgetful) Backwards(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return kept(f.Store.Backwards(ctx, tenant, from, to), f.gone)
}

func (f *forgetful) OfCall(ctx context.Context, call int64) iter.Seq2[*receipt.Segment, error] {
	return kept(f.Store.OfCall(ctx, call), f.gone)
}

func (f *forgetful) Openings(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return kept(f.Store.Openings(ctx, from, to), f.gone)
}

func (f *forgetful) Last(ctx context.Context, chain string) (last *receipt.Segment, err error) {
	for s, err := range f.OfChain(ctx, chain, 0) {
		if err != nil {
			return nil, err
		}
		last = s
	}
	return last, nil
}

func (f *forgetful) Roots(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Root, error] {
	return kept(f.Store.Roots(ctx, from, to), f.goneRoot)
}

func (f *forgetful) LastRoot(ctx context.Context) (last *receipt.Root, err error) {
	for r, err := range f.Roots(ctx, time.Time{}, endOfTime) {
		if err != nil {
			return nil, err
		}
		last = r
	}
	return last, nil
}

// A split store archives, before each reading, what was put into it, and then forgets some of it.
type split struct {
	t *testing.T
	*Store
	all     *memory.Receipts
	objects *backuptest.Objects
	parts   int // in how many runs of its own each day is archived
	dirty   atomic.Bool
}

func (s *split) PutSegment(ctx context.Context, x *receipt.Segment) error {
	s.dirty.Store(true)
	return s.Store.PutSegment(ctx, x)
}

func (s *split) PutRoot(ctx context.Context, r *receipt.Root) error {
	s.dirty.Store(true)
	return s.Store.PutRoot(ctx, r)
}

// archive has several writers archive the same days, each of which sees some of the segments and knows nothing of the others. Together they
// see all, and most of them twice.
func (s *split) archive() {
	if !s.dirty.Swap(false) {
		return
	}
	for i := range s.parts {
		some := &forgetful{s.all, func(x *receipt.Segment) bool { return s.parts > 1 && hashed(x.Chain, x.Number)%s.parts == i }, func(r *receipt.Root) bool { return s.parts > 1 && int(r.Number)%s.parts == i }}
		w := &Writer{Store: some, To: s.objects, Keep: 40 * length, Now: s.Archive.now}
		for at := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC); at.Day() < 26; at = at.Add(length) {
			d := &dayWriter{Writer: w, archive: Open(s.objects, 0, s.Archive.now), begin: at, done: &Done{}}
			if _, err := d.run(context.Background(), s.Archive.now().Add(time.Duration(len(s.objects.All()))*time.Second), true); err != nil {
				s.t.Error(err)
			}
		}
	}
}

func hashed(chain string, number int64) int {
	h := fnv.New32a()
	fmt.Fprint(h, chain, number)
	return int(h.Sum32() >> 8)
}

func (s *split) OfChain(ctx context.Context, chain string, from int64) iter.Seq2[*receipt.Segment, error] {
	s.archive()
	return s.Store.OfChain(ctx, chain, from)
}

func (s *split) Between(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	s.archive()
	return s.Store.Between(ctx, from, to)
}

func (s *split) Last(ctx context.Context, chain string) (*receipt.Segment, error) {
	s.archive()
	return s.Store.Last(ctx, chain)
}

func (s *split) Roots(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Root, error] {
	s.archive()
	return s.Store.Roots(ctx, from, to)
}

func (s *split) LastRoot(ctx context.Context) (*receipt.Root, error) {
	s.archive()
	return s.Store.LastRoot(ctx)
}

// TestStore wants of both together what it wants of every store, wherever the one ends and the other begins.
func TestStore(t *testing.T) {
	now := func() time.Time { return time.Date(2026, 12, 20, 2, 17, 0, 0, time.UTC) }
	forgets := map[string]func(*receipt.Segment) bool{
		"nothing":    func(*receipt.Segment) bool { return false },
		"everything": func(*receipt.Segment) bool { return true },
		"some":       func(s *receipt.Segment) bool { return hashed(s.Chain, s.Number)%3 == 0 },
		"one chain":  func(s *receipt.Segment) bool { return s.Chain == "b" },
	}
	splits := int64(2)
	if *whole {
		splits = 10
	}
	for n := range splits { // a split after every place of the begin, and at some further on
		upTo := n + n*n*n/6
		forgets[fmt.Sprintf("up to %d", upTo)] = func(s *receipt.Segment) bool { return s.Number <= upTo }
		forgets[fmt.Sprintf("after %d", upTo)] = func(s *receipt.Segment) bool { return s.Number > upTo }
	}
	if testing.Short() {
		forgets = map[string]func(*receipt.Segment) bool{"some": forgets["some"]}
	}
	for name, gone := range forgets {
		for _, parts := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s is forgotten, %d writers", name, parts), func(t *testing.T) {
				all, objects := memory.NewReceipts(0), backuptest.NewObjects()
				recent := &forgetful{all, gone, func(r *receipt.Root) bool { return gone(&receipt.Segment{Chain: "root", Number: r.Number}) }}
				receipttest.TestStore(t, &split{t: t, Store: &Store{recent, Open(objects, 0, now)}, all: all, objects: objects, parts: parts})
			})
		}
	}
	t.Run("nothing is archived", func(t *testing.T) {
		receipttest.TestStore(t, &Store{memory.NewReceipts(0), Open(backuptest.NewObjects(), 0, now)})
	})
}

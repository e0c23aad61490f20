package memory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// Receipts implements [receipt.Store].
type Receipts struct {
	most int64
	file *file // nil: none

	mu       sync.Mutex
	segments map[place]*receipt.Segment
	ordered  []*receipt.Segment // by To, chain and number
	roots    []*receipt.Root    // by number
	bytes    int64
}

type place struct {
	chain  string
	number int64
}

func (p place) row(s any) row {
	return row{kindSegments, fmt.Sprintf("%s %020d", p.chain, p.number), s}
}

// NewReceipts returns an empty store, which forgets the oldest segments when they have more than so many bytes; 0 is no limit.
func NewReceipts(most int64) *Receipts {
	return &Receipts{most: most, segments: map[place]*receipt.Segment{}}
}

// PutSegment implements [receipt.Store].
func (r *Receipts) PutSegment(ctx context.Context, s *receipt.Segment) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at := place{s.Chain, s.Number}
	if old := r.segments[at]; old != nil {
		if bytes.Equal(old.Header, s.Header) && bytes.Equal(old.Receipts, s.Receipts) && bytes.Equal(old.Certificate, s.Certificate) {
			return nil
		}
		return fmt.Errorf("segment %d of chain %s: %w", s.Number, s.Chain, receipt.ErrConflict)
	}
	kept := *s
	kept.Certificate, kept.Header, kept.Receipts = copied(s.Certificate), copied(s.Header), copied(s.Receipts)
	kept.Tenants, kept.Calls = copied(s.Tenants), copied(s.Calls)
	var rows []row
	for r.most > 0 && r.bytes+size(&kept) > r.most && len(r.ordered) > 0 {
		oldest := r.ordered[0]
		of := place{oldest.Chain, oldest.Number}
		rows = append(rows, of.row(nil))
		r.bytes -= size(oldest)
		delete(r.segments, of)
		r.ordered = slices.Delete(r.ordered, 0, 1)
	}
	err := r.file.put(append(rows, at.row(&kept))...)
	if err == nil {
		r.add(&kept)
	}
	return err
}

func (r *Receipts) add(s *receipt.Segment) {
	r.segments[place{s.Chain, s.Number}] = s
	i, _ := slices.BinarySearchFunc(r.ordered, s, order)
	r.ordered = slices.Insert(r.ordered, i, s)
	r.bytes += size(s)
}

// copied returns a copy of a list, which is nil where there is nothing in it.
func copied[T any](list []T) []T { return append([]T(nil), list...) }

func size(s *receipt.Segment) int64 {
	return int64(len(s.Certificate) + len(s.Header) + len(s.Receipts))
}

func order(a, b *receipt.Segment) int {
	return cmp.Or(a.To.Compare(b.To), cmp.Compare(a.Chain, b.Chain), cmp.Compare(a.Number, b.Number))
}

// some yields the segments that a filter wants, as they are now.
func (r *Receipts) some(ctx context.Context, want func(*receipt.Segment) bool) iter.Seq2[*receipt.Segment, error] {
	return func(yield func(*receipt.Segment, error) bool) {
		yieldAll(ctx, r.found(want), yield)
	}
}

func (r *Receipts) found(want func(*receipt.Segment) bool) []*receipt.Segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := make([]*receipt.Segment, 0, len(r.ordered))
	for _, s := range r.ordered {
		if want(s) {
			found = append(found, s)
		}
	}
	return found
}

func yieldAll(ctx context.Context, found []*receipt.Segment, yield func(*receipt.Segment, error) bool) {
	for _, s := range found {
		if err := ctx.Err(); err != nil {
			yield(nil, err)
			return
		}
		if !yield(s, nil) {
			return
		}
	}
}

// OfChain implements [receipt.Store].
func (r *Receipts) OfChain(ctx context.Context, chain string, from int64) iter.Seq2[*receipt.Segment, error] {
	return r.some(ctx, func(s *receipt.Segment) bool { return s.Chain == chain && s.Number >= from })
}

// Last implements [receipt.Store].
func (r *Receipts) Last(ctx context.Context, chain string) (last *receipt.Segment, err error) {
	for s, err := range r.OfChain(ctx, chain, 0) {
		if err != nil {
			return nil, err
		}
		last = s
	}
	return last, nil
}

func within(at, from, to time.Time) bool { return !at.Before(from) && !at.After(to) }

// Between implements [receipt.Store].
func (r *Receipts) Between(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return r.some(ctx, func(s *receipt.Segment) bool { return within(s.To, from, to) })
}

// OfTenant implements [receipt.Store].
func (r *Receipts) OfTenant(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return r.some(ctx, func(s *receipt.Segment) bool { return within(s.To, from, to) && slices.Contains(s.Tenants, tenant) })
}

// Backwards implements [receipt.Store].
func (r *Receipts) Backwards(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return func(yield func(*receipt.Segment, error) bool) {
		found := r.found(func(s *receipt.Segment) bool {
			return within(s.To, from, to) && (tenant == "" || slices.Contains(s.Tenants, tenant))
		})
		slices.Reverse(found)
		yieldAll(ctx, found, yield)
	}
}

// OfCall implements [receipt.Store].
func (r *Receipts) OfCall(ctx context.Context, call int64) iter.Seq2[*receipt.Segment, error] {
	return r.some(ctx, func(s *receipt.Segment) bool { return slices.Contains(s.Calls, call) })
}

// Openings implements [receipt.Store].
func (r *Receipts) Openings(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return r.some(ctx, func(s *receipt.Segment) bool { return s.Number == 1 && within(s.To, from, to) })
}

// PutRoot implements [receipt.Store].
func (r *Receipts) PutRoot(ctx context.Context, root *receipt.Root) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i, found := slices.BinarySearchFunc(r.roots, root, func(a, b *receipt.Root) int { return cmp.Compare(a.Number, b.Number) })
	if found {
		if bytes.Equal(r.roots[i].Text, root.Text) {
			return nil
		}
		return fmt.Errorf("root %d: %w", root.Number, receipt.ErrConflict)
	}
	kept := &receipt.Root{Number: root.Number, Time: root.Time, Text: copied(root.Text)}
	err := r.file.put(row{kindRoots, fmt.Sprintf("%020d", root.Number), kept}) // by which they are in order
	if err == nil {
		r.roots = slices.Insert(r.roots, i, kept)
	}
	return err
}

// Roots implements [receipt.Store].
func (r *Receipts) Roots(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Root, error] {
	return func(yield func(*receipt.Root, error) bool) {
		r.mu.Lock()
		all := slices.Clone(r.roots)
		r.mu.Unlock()
		for _, root := range all {
			if within(root.Time, from, to) && !yield(root, ctx.Err()) {
				return
			}
		}
	}
}

// LastRoot implements [receipt.Store].
func (r *Receipts) LastRoot(context.Context) (*receipt.Root, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.roots) == 0 {
		return nil, nil
	}
	return r.roots[len(r.roots)-1], nil
}

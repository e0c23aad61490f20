package verify

import (
	"bytes"
	"container/heap"
	"context"
	"fmt"
	"iter"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// Newest yields what [Select] does, the latest first, and of the same time in the order of their hashes: receipts that come later change
// nothing in the order of those that are there. It reads no more segments than it takes.
func Newest(ctx context.Context, store receipt.Store, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error] {
	if to.IsZero() {
		to = endOfTime
	}
	return func(yield func(receipt.Receipt, error) bool) {
		var some latest
		// What is later than the end of a segment is in none that comes after it.
		later := func(end time.Time) (more bool) {
			for len(some) > 0 && some[0].Time.After(end) {
				if !yield(heap.Pop(&some).(receipt.Receipt), nil) {
					return false
				}
			}
			return true
		}
		for s, err := range store.Backwards(ctx, tenant, from, to.Add(receipt.Span)) { // one that ends after the range may have begun in it
			if err != nil {
				yield(receipt.Receipt{}, err)
				return
			}
			if s.From.After(to) {
				continue
			}
			if !later(s.To) {
				return
			}
			for line := range bytes.Lines(s.Receipts) {
				r, err := receipt.Parse(bytes.TrimSuffix(line, newline))
				if err != nil {
					yield(r, fmt.Errorf("a receipt in segment %d of chain %s: %w", s.Number, s.Chain, err))
					return
				}
				if !r.Time.Before(from) && !r.Time.After(to) && (tenant == "" || r.Tenant == tenant) {
					heap.Push(&some, r)
				}
			}
		}
		later(time.Time{})
	}
}

// latest is a heap of receipts with the latest on top.
type latest []receipt.Receipt

func (l latest) Len() int { return len(l) }

func (l latest) Less(i, j int) bool {
	if c := l[i].Time.Compare(l[j].Time); c != 0 {
		return c > 0
	}
	return bytes.Compare(l[i].Hash[:], l[j].Hash[:]) > 0
}

func (l latest) Swap(i, j int) { l[i], l[j] = l[j], l[i] }
func (l *latest) Push(r any)   { *l = append(*l, r.(receipt.Receipt)) }

func (l *latest) Pop() any {
	last := len(*l) - 1
	r := (*l)[last]
	*l = (*l)[:last]
	return r
}

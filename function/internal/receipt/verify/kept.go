package verify

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"example.com/erlmcp/function/internal/receipt"
)

// Kept are roots where whoever writes to the store can't change them, by their numbers. What they name must be in the store, whatever roots
// the store has.
type Kept struct {
	Place string                          // where they are
	Roots iter.Seq2[*receipt.Root, error] // nil: there is no such place
}

// readRoots reads the roots of a store, and those that were kept, together.
func (v *verifier) readRoots(ctx context.Context, store receipt.Store) error {
	all := v.opts.Kept.Roots
	if all == nil {
		all = func(func(*receipt.Root, error) bool) {}
	}
	next, stop := iter.Pull2(all)
	defer stop()
	var kept *receipt.Root // the one at hand, nil at the end
	advance := func() error {
		for {
			r, err, more := next()
			switch {
			case err != nil:
				return fmt.Errorf("the roots in %s can't be read: %w", v.opts.Kept.Place, err)
			case !more:
				kept = nil
				return nil
			case !r.Time.Before(v.from) && !r.Time.After(v.to):
				kept = r
				return nil
			}
		}
	}
	if err := advance(); err != nil {
		return err
	}
	var lost gap
	for r, err := range store.Roots(ctx, v.from, v.to) {
		if err != nil {
			return fmt.Errorf("roots can't be read: %w", err)
		}
		for kept != nil && kept.Number < r.Number {
			v.lostRoot(kept, &lost)
			if err := advance(); err != nil {
				return err
			}
		}
		v.lostRoots(&lost)
		if kept != nil && kept.Number == r.Number {
			v.holdRoot(r, kept)
			if err := advance(); err != nil {
				return err
			}
		}
		v.root(r.Text, 0)
		if h := v.lastRoot; h != nil && (h.Number != r.Number || !h.Time.Equal(r.Time)) {
			v.report.fault(Fault{Kind: Misfiled, Words: fmt.Sprintf("root %d of %s is filed as root %d of %s", h.Number, receipt.FormatTime(h.Time), r.Number, receipt.FormatTime(r.Time))})
		}
	}
	for kept != nil {
		v.lostRoot(kept, &lost)
		if err := advance(); err != nil {
			return err
		}
	}
	v.lostRoots(&lost)
	return nil
}

// lostRoot takes a root that was kept, and that the store does not have, as one of the store's.
func (v *verifier) lostRoot(kept *receipt.Root, lost *gap) {
	if lost.from == 0 || lost.to+1 != kept.Number {
		v.lostRoots(lost)
		lost.from = kept.Number
	}
	lost.to = kept.Number
	v.root(kept.Text, 0)
}

// lostRoots reports those in a row that the store does not have.
func (v *verifier) lostRoots(lost *gap) {
	if lost.from > 0 {
		v.report.fault(Fault{Kind: Missing, Words: fmt.Sprintf("%s kept in %s, and missing in the store", span("root", lost.from, lost.to)+are(lost.to-lost.from+1), v.opts.Kept.Place)})
	}
	*lost = gap{}
}

// holdRoot holds a root of the store against the one of its number that was kept, and expects what that one says.
func (v *verifier) holdRoot(stored, kept *receipt.Root) {
	if bytes.Equal(stored.Text, kept.Text) {
		return
	}
	v.report.fault(Fault{Kind: Replaced, Words: fmt.Sprintf("root %d is another one than is kept in %s", stored.Number, v.opts.Kept.Place)})
	if h, err := receipt.ReadHeads(kept.Text); err == nil {
		v.expect(h.Heads, fmt.Sprintf("root %d in %s", h.Number, v.opts.Kept.Place))
	}
}

package receipt

import (
	"context"
	"errors"
	"iter"
	"time"
)

// A Store keeps segments and roots. What is written is never changed; a store may forget what is older than the operator wants to
// keep it. The sequences end with the first error.
type Store interface {
	// PutSegment stores a segment unless there is one of the same chain and number. To store the same one again is no error,
	// since the answer may have been lost; another one is [ErrConflict]. The store does not hold on to the segment. Lists and texts
	// of it that are empty are nil when it is read.
	PutSegment(context.Context, *Segment) error
	// OfChain yields the segments of a chain from a number on, by number.
	OfChain(ctx context.Context, chain string, from int64) iter.Seq2[*Segment, error]
	// Last returns the last segment of a chain, nil where there is none.
	Last(ctx context.Context, chain string) (*Segment, error)
	// Between yields the segments whose To lies within a range, ends included, by To; those of a chain by number.
	Between(ctx context.Context, from, to time.Time) iter.Seq2[*Segment, error]
	// OfTenant yields those of them that have receipts of a tenant.
	OfTenant(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[*Segment, error]
	// Backwards yields those that Between does, or OfTenant for a tenant other than "", the latest first.
	Backwards(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[*Segment, error]
	// OfCall yields the segments that may have receipts of an id, by the key that [Call] makes of it.
	OfCall(ctx context.Context, call int64) iter.Seq2[*Segment, error]
	// Openings yields the first segments of chains whose To lies within a range, by To.
	Openings(ctx context.Context, from, to time.Time) iter.Seq2[*Segment, error]

	// PutRoot stores a root unless there is one of the same number; the same one is no error, another is [ErrConflict].
	PutRoot(context.Context, *Root) error
	// Roots yields the roots whose time lies within a range, ends included, by number.
	Roots(ctx context.Context, from, to time.Time) iter.Seq2[*Root, error]
	// LastRoot returns the root with the greatest number, nil where there is none.
	LastRoot(context.Context) (*Root, error)
}

// ErrConflict is that something else is stored in this place.
var ErrConflict = errors.New("something else is stored in this place")

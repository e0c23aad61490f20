package directives

import (
	"context"
	"time"
)

// A Store keeps the directives where they outlive the counters.
type Store interface {
	// Directives returns what is in force; of a new store it is nothing, at version 0. What a writer that does not merge has written
	// is [Rewritten].
	Directives(context.Context) (Directives, error)
	// Change changes the directives in one transaction, raises their version and returns them. An error of the function
	// changes nothing and is returned.
	Change(context.Context, func(*Directives) error) (Directives, error)
}

// A Board is where directives are announced to the instances: the counters are one.
type Board interface {
	// Snapshot returns what was announced last.
	Snapshot(context.Context) (Snapshot, error)
	// Publish announces directives in place of those of a version; it tells whether those were there.
	Publish(ctx context.Context, before int64, d Directives) (published bool, err error)
}

// A Snapshot is what the instances tell each other beside the counts.
type Snapshot struct {
	Epoch, Revision int64 // of the reply that belongs to it
	Directives      Directives
	Before          *Directives // that a writer which does not merge has written over; nil: none has
	Versions        Versions
	Trips           []Trip
}

// A Trip says that the breaker on a scope is open.
type Trip struct {
	Scope string
	Left  time.Duration // until a call may try again; not positive where one may now
}

// NextVersion is the version of changed directives: later than the one before, and than any that a store which was lost or restored
// has given before.
func NextVersion(before int64, now time.Time) int64 { return max(before+1, now.UnixMilli()) }

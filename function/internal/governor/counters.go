package governor

import (
	"context"
	"sync"
	"time"
)

// Counters keep the fleet's ledger. Implementations answer as [Ledger] does, by a clock of their own that all instances
// share; a suite holds each against it.
type Counters interface {
	// Draw takes one message.
	Draw(context.Context, *Draw) (Reply, error)
	// Open begins an epoch unless one has begun, and returns the one in force.
	Open(ctx context.Context, epoch int64, first bool, lease time.Duration) (int64, error)
	Board
	// Announce announces the versions that are greater than those announced before.
	Announce(context.Context, Versions) error
	// Trip announces that the breaker on a scope is open for so long, or closed.
	Trip(ctx context.Context, scope string, open time.Duration) error
}

// A Bulletin is what the instances tell each other beside the counts.
type Bulletin struct {
	Epoch, News int64 // of the reply that belongs to it
	Orders      Orders
	Before      *Orders // that a writer which does not merge has written over; nil: none has
	Versions    Versions
	Trips       []Trip
}

// A Trip says that the breaker on a scope is open.
type Trip struct {
	Scope string
	Left  time.Duration // until a call may try again; not positive where one may now
}

// Epochs is the store that outlives the counters: it knows whether they are new or lost.
type Epochs interface {
	// Next returns the epoch that follows the last one recorded, and records it; first tells that none was.
	Next(context.Context) (epoch int64, first bool, err error)
}

// OrderStore keeps the orders where they outlive the counters.
type OrderStore interface {
	// Orders returns what is in force; of a new store it is nothing, at version 0. What a writer that does not merge has written
	// is [Rewritten].
	Orders(context.Context) (Orders, error)
	// Change changes the orders in one transaction, raises their version and returns them. An error of the function
	// changes nothing and is returned.
	Change(context.Context, func(*Orders) error) (Orders, error)
}

// QuotaStore keeps what was drawn of each quota in a UTC day, such as "2026-11-24".
type QuotaStore interface {
	// Take draws up to want of what is left of a limit of most in a day, and returns how many that were, and how many are
	// left for others then.
	Take(ctx context.Context, key, day string, most, want int64) (taken, left int64, err error)
	// Return gives back what was drawn and not used.
	Return(ctx context.Context, key, day string, n int64) error
	// Used is how many are drawn in a day.
	Used(ctx context.Context, key, day string) (int64, error)
}

// NextVersion is the version of changed orders: later than the one before, and than any that a store which was lost or restored
// has given before.
func NextVersion(before int64, now time.Time) int64 { return max(before+1, now.UnixMilli()) }

// A Store outlives the counters.
type Store interface {
	Epochs
	OrderStore
	QuotaStore
}

// Standalone are the counters of a server that counts for itself alone.
type Standalone struct {
	now      func() time.Time
	mu       sync.Mutex
	ledger   *Ledger
	orders   Orders
	versions Versions
	trips    map[string]time.Time
}

// NewStandalone returns counters in this process; what they count ends with it.
func NewStandalone(now func() time.Time) *Standalone {
	return &Standalone{now: now, ledger: NewLedger(), trips: map[string]time.Time{}}
}

// Draw implements [Counters].
func (s *Standalone) Draw(_ context.Context, d *Draw) (Reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.Draw(s.now().UnixMicro(), d), nil
}

// Open implements [Counters].
func (s *Standalone) Open(_ context.Context, epoch int64, first bool, lease time.Duration) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.Open(s.now().UnixMicro(), epoch, first, lease.Microseconds()), nil
}

// Bulletin implements [Counters].
func (s *Standalone) Bulletin(context.Context) (Bulletin, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := Bulletin{Epoch: s.ledger.epoch, News: s.ledger.news, Orders: s.orders, Versions: s.versions}
	for scope, ends := range s.trips {
		b.Trips = append(b.Trips, Trip{scope, ends.Sub(s.now())})
	}
	return b, nil
}

// Post implements [Counters].
func (s *Standalone) Post(_ context.Context, before int64, o Orders) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.orders.Version != before || o.Version <= before {
		return false, nil
	}
	s.orders = o
	s.ledger.Announce()
	return true, nil
}

// Announce implements [Counters].
func (s *Standalone) Announce(_ context.Context, v Versions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Beyond(s.versions) != nil {
		s.versions = s.versions.with(v)
		s.ledger.Announce()
	}
	return nil
}

// Trip implements [Counters].
func (s *Standalone) Trip(_ context.Context, scope string, open time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.trips, scope); open > 0 {
		s.trips[scope] = s.now().Add(open)
	}
	s.ledger.Announce()
	return nil
}

// Next implements [Epochs]: a process that counts for itself is always at its first.
func (s *Standalone) Next(context.Context) (int64, bool, error) { return 1, true, nil }

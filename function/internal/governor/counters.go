package governor

import (
	"context"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/directives"
)

// Counters keep the fleet's account of every limit. Implementations answer as [ReferenceCounters] does, by a clock of their own that all instances
// share; a suite holds each against it.
type Counters interface {
	// Lease takes one message.
	Lease(context.Context, *LeaseRequest) (LeaseResponse, error)
	// Open begins an epoch unless one has begun, and returns the one in force.
	Open(ctx context.Context, epoch int64, first bool, lease time.Duration) (int64, error)
	directives.Board
	// Announce announces the versions that are greater than those announced before.
	Announce(context.Context, directives.Versions) error
	// Trip announces that the breaker on a scope is open for so long, or closed.
	Trip(ctx context.Context, scope string, open time.Duration) error
}

// Epochs is the store that outlives the counters: it knows whether they are new or lost.
type Epochs interface {
	// Next returns the epoch that follows the last one recorded, and records it; first tells that none was.
	Next(context.Context) (epoch int64, first bool, err error)
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

// A Store outlives the counters.
type Store interface {
	Epochs
	QuotaStore
}

// Standalone are the counters of a server that counts for itself alone.
type Standalone struct {
	now        func() time.Time
	mu         sync.Mutex
	reference  *ReferenceCounters
	directives directives.Directives
	versions   directives.Versions
	trips      map[string]time.Time
}

// NewStandalone returns counters in this process; what they count ends with it.
func NewStandalone(now func() time.Time) *Standalone {
	return &Standalone{now: now, reference: NewReferenceCounters(), trips: map[string]time.Time{}}
}

// Lease implements [Counters].
func (s *Standalone) Lease(_ context.Context, d *LeaseRequest) (LeaseResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reference.Lease(s.now().UnixMicro(), d), nil
}

// Open implements [Counters].
func (s *Standalone) Open(_ context.Context, epoch int64, first bool, lease time.Duration) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reference.Open(s.now().UnixMicro(), epoch, first, lease.Microseconds()), nil
}

// Snapshot implements [Counters].
func (s *Standalone) Snapshot(context.Context) (directives.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := directives.Snapshot{Epoch: s.reference.epoch, Revision: s.reference.revision, Directives: s.directives, Versions: s.versions}
	for scope, ends := range s.trips {
		b.Trips = append(b.Trips, directives.Trip{Scope: scope, Left: ends.Sub(s.now())})
	}
	return b, nil
}

// Publish implements [Counters].
func (s *Standalone) Publish(_ context.Context, before int64, o directives.Directives) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.directives.Version != before || o.Version <= before {
		return false, nil
	}
	s.directives = o
	s.reference.Announce()
	return true, nil
}

// Announce implements [Counters].
func (s *Standalone) Announce(_ context.Context, v directives.Versions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Beyond(s.versions) != nil {
		s.versions = s.versions.With(v)
		s.reference.Announce()
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
	s.reference.Announce()
	return nil
}

// Next implements [Epochs]: a process that counts for itself is always at its first.
func (s *Standalone) Next(context.Context) (int64, bool, error) { return 1, true, nil }

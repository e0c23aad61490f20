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
}

// Epochs is the store that outlives the counters: it knows whether they are new or lost.
type Epochs interface {
	// Next returns the epoch that follows the last one recorded, and records it; first tells that none was.
	Next(context.Context) (epoch int64, first bool, err error)
}

// Standalone are the counters of a server that counts for itself alone.
type Standalone struct {
	now    func() time.Time
	mu     sync.Mutex
	ledger *Ledger
}

// NewStandalone returns counters in this process; what they count ends with it.
func NewStandalone(now func() time.Time) *Standalone {
	return &Standalone{now: now, ledger: NewLedger()}
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

// Next implements [Epochs]: a process that counts for itself is always at its first.
func (s *Standalone) Next(context.Context) (int64, bool, error) { return 1, true, nil }

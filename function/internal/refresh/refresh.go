// Package refresh keeps in an instance what was read elsewhere, and reads it again when it is used, so that an instance that was frozen in
// between learns of a change first. A [Value] is of a store and never older than two seconds: what can't be had so fresh is not known, and
// who asks waits for it up to a second and must refuse then. A [File] is of a file, and what it said before stays in force.
package refresh

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure a [Value]. What and Read must be there.
type Options[T any] struct {
	What string // is read, for the log
	// Read reads what has changed since the value before, nil at first. It returns the version that the value is of. A value
	// is not changed once it was returned; it may be the one before.
	Read func(ctx context.Context, before *T) (value *T, version int64, err error)
	// Heard returns the version that was announced last, and whether that is known of the last two seconds. Without it the store
	// is asked at most once a second.
	Announced func(context.Context) (version int64, known bool)
	Now       func() time.Time
	// Logger is told when reading fails, and when it works again.
	Logger *slog.Logger
}

// A Value is safe for concurrent use.
type Value[T any] struct {
	opts       Options[T]
	held       atomic.Pointer[held[T]]
	waitFailed atomic.Bool  // the last call waited in vain
	unheard    atomic.Int64 // calls that did

	mu         sync.Mutex
	reading    chan struct{} // closed when what is being read was read
	retryAt    time.Time     // until then reading is in vain
	hurryUntil time.Time     // until then no call waits for it
	fault      error
	ctx        context.Context // ends with the value
	end        context.CancelFunc
	background sync.WaitGroup
}

type held[T any] struct {
	value     *T
	announced int64 // what had been announced when the reading began, or the version that it found
	read      time.Time
}

const (
	askAge      = time.Second             // at which the store is asked beside the call, where nothing is announced
	waitAge     = 1500 * time.Millisecond // at which a call waits for that
	maxAge      = 2 * time.Second         // at which what was read is not known any more
	timeout     = time.Second             // how long a call waits
	readTimeout = 5 * time.Second         // of a reading
	retry       = time.Second             // after one that failed, and after one that a call waited for in vain
)

// New returns a value. Nothing is read before it is asked for.
func New[T any](o Options[T]) *Value[T] {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	v := &Value[T]{opts: o}
	v.ctx, v.end = context.WithCancel(context.Background())
	return v
}

// Get returns the value, and whether it is known of the last two seconds. Where it is not, nobody may be let in by it, and nobody
// turned away for good.
func (v *Value[T]) Get(ctx context.Context, now time.Time) (value *T, known bool) {
	h := v.held.Load()
	var heard int64
	if v.opts.Announced != nil {
		var known bool
		if heard, known = v.opts.Announced(ctx); !known {
			return v.missed(ctx)
		}
	}
	if f := v.freshness(h, now, heard); f == current {
		return v.got(h)
	} else if f == aging {
		v.mu.Lock()
		v.read(now, heard)
		v.mu.Unlock()
	}
	// What is being read already may have begun too early.
	for deadline := now.Add(timeout); v.freshness(h, v.opts.Now(), heard) == old; h = v.held.Load() {
		v.mu.Lock()
		now = v.opts.Now()
		v.read(now, heard)
		done, hurry := v.reading, now.Before(v.hurryUntil)
		v.mu.Unlock()
		if done == nil || hurry {
			return v.missed(ctx)
		}
		switch Await(ctx, done, deadline.Sub(now)) {
		case Late:
			v.mu.Lock()
			v.hurryUntil = v.opts.Now().Add(retry) // the next calls need not wait for it as well
			v.mu.Unlock()
			return v.missed(ctx)
		case Gone:
			return v.missed(ctx)
		}
	}
	return v.got(h)
}

func (v *Value[T]) got(h *held[T]) (*T, bool) {
	if v.waitFailed.Load() {
		v.waitFailed.Store(false)
	}
	return h.value, true
}

// missed returns what was read once, which may be just good enough. A caller that has left could not wait.
func (v *Value[T]) missed(ctx context.Context) (*T, bool) {
	if h := v.held.Load(); h != nil && v.opts.Announced == nil && since(v.opts.Now(), h.read) < maxAge {
		return v.got(h)
	}
	if ctx.Err() == nil {
		v.waitFailed.Store(true)
		v.unheard.Add(1)
	}
	return v.Last(), false
}

type freshness int

const (
	current freshness = iota
	aging
	old
)

func (v *Value[T]) freshness(h *held[T], now time.Time, heard int64) freshness {
	if h == nil {
		return old
	}
	if v.opts.Announced != nil {
		if heard > h.announced {
			return old
		}
		return current
	}
	switch age := since(now, h.read); {
	case age < askAge:
		return current
	case age < waitAge:
		return aging
	}
	return old
}

// Last returns the value as it was read last, however long ago, or nil.
func (v *Value[T]) Last() *T {
	if h := v.held.Load(); h != nil {
		return h.value
	}
	return nil
}

// Known tells whether the value is known, as far as calls have found out.
func (v *Value[T]) Known() bool { return v.held.Load() != nil && !v.waitFailed.Load() }

// Unheard is how many calls could not know the value.
func (v *Value[T]) Unheard() int64 { return v.unheard.Load() }

// since is the time that has passed by the clock that shows more of it: one of them may have stood still with the process.
func since(now, then time.Time) time.Duration {
	return max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
}

// read reads beside the call, unless someone does.
func (v *Value[T]) read(now time.Time, heard int64) {
	if v.reading != nil || now.Before(v.retryAt) || v.ctx.Err() != nil {
		return
	}
	done := make(chan struct{})
	v.reading = done
	v.background.Go(func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(v.ctx, readTimeout)
		defer cancel()
		value, version, err := v.opts.Read(ctx, v.Last())
		v.mu.Lock()
		defer v.mu.Unlock()
		v.reading = nil
		switch {
		case v.ctx.Err() != nil:
			return
		case err != nil && v.fault == nil:
			v.opts.Logger.Error(v.opts.What+" can't be read: nobody is let in by what is older than two seconds", "error", err)
		case err == nil && v.fault != nil:
			v.opts.Logger.Info(v.opts.What + " can be read again")
		}
		if v.fault = err; err != nil {
			v.retryAt = v.opts.Now().Add(retry)
			return
		}
		v.held.Store(&held[T]{value: value, announced: max(heard, version), read: now})
	})
}

// Fault is why the last reading failed, or nil.
func (v *Value[T]) Fault() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.fault
}

// Close ends the reading that is under way, and waits a moment for it. Nothing is read afterwards.
func (v *Value[T]) Close() {
	v.mu.Lock()
	v.end()
	v.mu.Unlock()
	ended := make(chan struct{})
	go func() { v.background.Wait(); close(ended) }()
	Await(context.Background(), ended, closeTimeout)
}

// closeTimeout is how long the end waits for a reading that does not heed its context.
const closeTimeout = 100 * time.Millisecond

// Awaited is how waiting ended.
type Awaited int

// The ends.
const (
	Came Awaited = iota
	Late
	Gone // who waited
)

// Await waits until done is closed, no longer than timeout.
func Await(ctx context.Context, done <-chan struct{}, timeout time.Duration) Awaited {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
		return Came
	case <-timer.C:
		return Late
	case <-ctx.Done():
		return Gone
	}
}

package identity

import (
	"context"
	"sync"
	"time"
)

// Attempts count failures to authenticate on a key, over all instances.
type Attempts interface {
	// Failed counts one more of at most so many a minute, and returns 0, or for how long there were too many.
	Failed(ctx context.Context, key string, perMinute int) (wait time.Duration, err error)
}

// How many failures a minute are answered in full. Good credentials pass in any case: callers share addresses, and who
// knows a key's id must not be able to lock its owner out.
const (
	perAddress      = 60
	perKey          = 10
	attemptsTimeout = 50 * time.Millisecond
	maxRemembered   = 10000
)

// failures decide whether there were too many.
type failures struct {
	shared Attempts
	local  *localAttempts
	now    func() time.Time
	asking chan struct{} // holds one while the others are asked

	mu    sync.Mutex
	until map[string]time.Time // what is known to be too many
}

func (f *failures) add(ctx context.Context, keyID, address string) time.Duration {
	wait := f.one(ctx, "address:"+hashed(address), perAddress)
	if keyID != "" {
		wait = max(wait, f.one(ctx, "key:"+hashed(keyID), perKey))
	}
	return wait
}

func (f *failures) one(ctx context.Context, key string, perMinute int) time.Duration {
	now := f.now()
	f.mu.Lock()
	wait := f.until[key].Sub(now)
	f.mu.Unlock()
	if wait > 0 {
		return wait // a flood is not passed on
	}
	var counted bool
	if wait, counted = f.ask(ctx, key, perMinute); !counted {
		wait = f.local.failed(key, perMinute)
	}
	if wait > 0 {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.until) >= maxRemembered {
			clear(f.until)
		}
		f.until[key] = now.Add(wait)
	}
	return max(wait, 0)
}

// ask counts over all instances, one failure at a time: a flood from many addresses must not take up the connections that
// calls are decided over.
func (f *failures) ask(ctx context.Context, key string, perMinute int) (wait time.Duration, counted bool) {
	if f.shared == nil {
		return 0, false
	}
	select {
	case f.asking <- struct{}{}:
	default:
		return 0, false
	}
	defer func() { <-f.asking }()
	ctx, cancel := context.WithTimeout(ctx, attemptsTimeout)
	defer cancel()
	wait, err := f.shared.Failed(ctx, key, perMinute)
	return wait, err == nil
}

// localAttempts count in this process (GCRA).
type localAttempts struct {
	now  func() time.Time
	mu   sync.Mutex
	free map[string]time.Time // when as if nothing had failed
}

func newLocalAttempts(now func() time.Time) *localAttempts {
	return &localAttempts{now: now, free: map[string]time.Time{}}
}

func (l *localAttempts) failed(key string, perMinute int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, each := l.now(), time.Minute/time.Duration(perMinute)
	free := l.free[key]
	if free.Before(now) {
		free = now
	}
	if free = free.Add(each); free.Sub(now) > time.Minute {
		return free.Sub(now) - time.Minute
	}
	if len(l.free) >= maxRemembered {
		clear(l.free)
	}
	l.free[key] = free
	return 0
}

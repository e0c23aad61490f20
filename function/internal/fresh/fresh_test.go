package fresh

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A source is a store of one number, which may be away, or slow.
type source struct {
	mu    sync.Mutex
	at    int64
	fault error
	slow  time.Duration
	reads int
}

func (s *source) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *source) read(ctx context.Context, _ *int64) (*int64, int64, error) {
	s.mu.Lock()
	s.reads++
	at, fault, slow := s.at, s.fault, s.slow
	s.mu.Unlock()
	select {
	case <-time.After(10*time.Millisecond + slow):
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	if fault != nil {
		return nil, 0, fault
	}
	return &at, at, nil
}

func (s *source) heard(context.Context) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// get asks for the value, and fails where it waits longer than most.
func get(t *testing.T, v *Value[int64], most time.Duration) int64 {
	t.Helper()
	begin := time.Now()
	p := v.Get(t.Context(), time.Now())
	if took := time.Since(begin); took > most {
		t.Errorf("it took %v", took)
	}
	if p == nil {
		return -1
	}
	return *p
}

func TestNeverOlderThanTwoSeconds(t *testing.T) {
	for name, announced := range map[string]bool{"asked": false, "announced": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{at: 1}
				o := Options[int64]{Read: s.read}
				if announced {
					o.Heard = s.heard
				}
				v := New(o)
				for pause := time.Duration(0); pause < 4*time.Second; pause += 37 * time.Millisecond {
					if got := get(t, v, patience); got != s.at {
						t.Fatalf("%d, want %d", got, s.at)
					}
					s.set(func() { s.at++ })
					changed := time.Now()
					time.Sleep(pause)
					for get(t, v, patience) != s.at {
						if time.Since(changed) > 2*time.Second {
							t.Fatalf("after a pause of %v the value is older than 2 s", pause)
						}
						time.Sleep(10 * time.Millisecond)
					}
				}
			})
		})
	}
}

func TestReadsOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		v := New(Options[int64]{Read: s.read})
		for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(time.Millisecond) {
			get(t, v, patience)
		}
		if s.reads > 61 || s.reads < 55 {
			t.Errorf("%d readings in a minute", s.reads)
		}
		// Announced, it is read when it has changed alone.
		s = &source{at: 1}
		v = New(Options[int64]{Read: s.read, Heard: s.heard})
		for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(time.Millisecond) {
			get(t, v, patience)
		}
		if s.reads != 1 {
			t.Errorf("%d readings of what has not changed", s.reads)
		}
	})
}

func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{at: 1, fault: errors.New("away")}
		v := New(Options[int64]{Read: s.read})
		if got := get(t, v, firstPatience); got != -1 || v.Fault() == nil {
			t.Errorf("read %d, fault %v", got, v.Fault())
		}
		if got := get(t, v, 0); got != -1 {
			t.Errorf("read %d", got)
		}
		s.set(func() { s.fault = nil })
		time.Sleep(retry)
		if got := get(t, v, patience); got != 1 || v.Fault() != nil {
			t.Errorf("read %d, fault %v", got, v.Fault())
		}
		s.set(func() { s.fault, s.at = errors.New("away"), 2 })
		reads := s.reads
		for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(time.Millisecond) {
			if got := get(t, v, patience); got != 1 {
				t.Fatalf("read %d", got)
			}
		}
		if n := s.reads - reads; n > 61 {
			t.Errorf("%d readings in a minute of a store that is away", n)
		}
		s.set(func() { s.fault = nil })
		time.Sleep(retry)
		if got := get(t, v, patience); got != 2 {
			t.Errorf("read %d", got)
		}
	})
}

// TestStoreHangs wants few calls to wait for a store that does not answer, and none for long.
func TestStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{at: 1}
		v := New(Options[int64]{Read: s.read})
		get(t, v, firstPatience)
		s.set(func() { s.slow = time.Hour })
		waited := 0
		for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(10 * time.Millisecond) {
			asked := time.Now()
			if got := get(t, v, patience); got != 1 {
				t.Fatalf("read %d", got)
			}
			if time.Since(asked) > 0 {
				waited++
			}
		}
		if waited > 60 {
			t.Errorf("%d calls of some 5000 waited", waited)
		}
		v.Close()
	})
}

// TestCallerThatLeaves must not keep others from waiting.
func TestCallerThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{at: 1, slow: 100 * time.Millisecond}
		v := New(Options[int64]{Read: s.read})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if p := v.Get(ctx, time.Now()); p != nil {
			t.Errorf("read %d", *p)
		}
		if got := get(t, v, firstPatience); got != 1 {
			t.Errorf("read %d", got)
		}
	})
}

// TestReadingThatBeganTooEarly is followed by another one.
func TestReadingThatBeganTooEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{at: 1, slow: 50 * time.Millisecond}
		v := New(Options[int64]{Read: s.read, Heard: s.heard})
		var wg sync.WaitGroup
		wg.Go(func() { get(t, v, firstPatience) })
		time.Sleep(20 * time.Millisecond)
		s.set(func() { s.at = 2 })
		if got := get(t, v, firstPatience); got != 2 {
			t.Errorf("read %d", got)
		}
		wg.Wait()
	})
}

package refresh

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

	silent bool // it is not heard what was announced
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
	case <-time.After(10*time.Millisecond + slow): // in a bubble
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	if fault != nil {
		return nil, 0, fault
	}
	return &at, at, nil
}

func (s *source) heard(context.Context) (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at, !s.silent
}

// get asks for the value, and fails where it waits longer than most. -1 is not known.
func get(t *testing.T, v *Value[int64], most time.Duration) int64 {
	t.Helper()
	begin := time.Now()
	p, known := v.Get(t.Context(), time.Now())
	if took := time.Since(begin); took > most {
		t.Errorf("it took %v", took)
	}
	if known != v.Known() {
		t.Errorf("a call knows it %t, and the next is said to %t", known, v.Known())
	}
	if !known {
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
					o.Announced = s.heard
				}
				v := New(o)
				for pause := time.Duration(0); pause < 4*time.Second; pause += 37 * time.Millisecond {
					if got := get(t, v, timeout); got != s.at {
						t.Fatalf("%d, want %d", got, s.at)
					}
					s.set(func() { s.at++ })
					changed := time.Now()
					time.Sleep(pause)
					for get(t, v, timeout) != s.at {
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
		for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(7 * time.Millisecond) {
			get(t, v, timeout)
		}
		if s.reads > 61 || s.reads < 55 {
			t.Errorf("%d readings in a minute", s.reads)
		}
		// Announced, it is read when it has changed alone.
		s = &source{at: 1}
		v = New(Options[int64]{Read: s.read, Announced: s.heard})
		for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(7 * time.Millisecond) {
			get(t, v, timeout)
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
		if got := get(t, v, timeout); got != -1 || v.Fault() == nil {
			t.Errorf("read %d, fault %v", got, v.Fault())
		}
		if got := get(t, v, 0); got != -1 {
			t.Errorf("read %d", got)
		}
		s.set(func() { s.fault = nil })
		time.Sleep(retry)
		if got := get(t, v, timeout); got != 1 || v.Fault() != nil {
			t.Errorf("read %d, fault %v", got, v.Fault())
		}
		s.set(func() { s.fault, s.at = errors.New("away"), 2 })
		reads := s.reads
		for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(7 * time.Millisecond) {
			old := time.Since(begin) >= maxAge
			if got := get(t, v, timeout); got != 1 && !(got == -1 && time.Since(begin) >= waitAge) || got != -1 && old {
				t.Fatalf("read %d after %v", got, time.Since(begin))
			}
		}
		if v.Unheard() == 0 || v.Last() == nil || *v.Last() != 1 {
			t.Errorf("%d calls did not know it, and it was %v", v.Unheard(), v.Last())
		}
		if n := s.reads - reads; n > 61 {
			t.Errorf("%d readings in a minute of a store that is away", n)
		}
		s.set(func() { s.fault = nil })
		time.Sleep(retry)
		if got := get(t, v, timeout); got != 2 {
			t.Errorf("read %d", got)
		}
	})
}

// TestStoreHangs wants few calls to wait for a store that does not answer, and none for long.
func TestStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{at: 1}
		v := New(Options[int64]{Read: s.read})
		get(t, v, timeout)
		s.set(func() { s.slow = time.Hour })
		waited := 0
		for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(10 * time.Millisecond) {
			asked := time.Now()
			if got := get(t, v, timeout); (got != 1) != (time.Since(begin) >= maxAge) {
				t.Fatalf("read %d after %v", got, time.Since(begin))
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
		if p, known := v.Get(ctx, time.Now()); known || p != nil || v.Unheard() != 0 {
			t.Errorf("read %v, known %t, %d could not", p, known, v.Unheard())
		}
		if got := get(t, v, timeout); got != 1 {
			t.Errorf("read %d", got)
		}
	})
}

// TestReadingThatBeganTooEarly is followed by another one.
func TestReadingThatBeganTooEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{at: 1, slow: 50 * time.Millisecond}
		v := New(Options[int64]{Read: s.read, Announced: s.heard})
		var wg sync.WaitGroup
		wg.Go(func() { get(t, v, timeout) })
		time.Sleep(20 * time.Millisecond)
		s.set(func() { s.at = 2 })
		if got := get(t, v, timeout); got != 2 {
			t.Errorf("read %d", got)
		}
		wg.Wait()
	})
}

// TestWhatIsOldIsNotKnown asks after a sleep, by each clock, where the source does what it does then.
func TestWhatIsOldIsNotKnown(t *testing.T) {
	away := errors.New("away")
	for _, c := range []struct {
		name          string
		steady, wall  time.Duration // of which each clock says it has passed
		fault         error
		slow          time.Duration
		announced     bool
		silent        bool
		want, waiting int64 // -1 is not known; in milliseconds
	}{
		{"a moment, and the store is away", time.Second, time.Second, away, 0, false, false, 1, 0},
		{"old, and the store answers", time.Hour, time.Hour, nil, 0, false, false, 2, 10},
		{"old, and the store is slow", time.Hour, time.Hour, nil, 900 * time.Millisecond, false, false, 2, 910},
		{"old, and the store is too slow", time.Hour, time.Hour, nil, 2 * time.Second, false, false, -1, 1000},
		{"old, and the store is away", time.Hour, time.Hour, away, 0, false, false, -1, 10},
		{"just old, and the store is away", 2 * time.Second, 2 * time.Second, away, 0, false, false, -1, 10},
		{"the steady clock stood still", 0, time.Hour, away, 0, false, false, -1, 10},
		{"announced, and the store is away", time.Hour, time.Hour, away, 0, true, false, -1, 10},
		{"announced, and it is not heard of", time.Hour, time.Hour, nil, 0, true, true, -1, 0},
		{"announced, and the store answers", time.Hour, time.Hour, nil, 0, true, false, 2, 10},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &source{at: 1}
			begin := time.Now()
			var shift time.Duration // of the wall clock against the steady one
			now := func() time.Time {
				at := time.Now()
				if shift == 0 {
					return at
				}
				return at.Round(0).Add(shift) // without the steady clock, which the bubble has moved on by as much
			}
			o := Options[int64]{Read: s.read, Now: now}
			if c.announced {
				o.Announced = s.heard
			}
			v := New(o)
			if got := get(t, v, timeout); got != 1 {
				t.Fatalf("%s: read %d", c.name, got)
			}
			time.Sleep(c.steady)
			shift = c.wall - c.steady
			s.set(func() { s.at, s.fault, s.slow, s.silent = 2, c.fault, c.slow, c.silent })
			asked := time.Now()
			p, known := v.Get(t.Context(), now())
			got := int64(-1)
			if known {
				got = *p
			}
			if took := time.Since(asked).Milliseconds(); got != c.want || took != c.waiting {
				t.Errorf("%s: read %d after %d ms, want %d after %d ms; it began %v ago", c.name, got, took, c.want, c.waiting, time.Since(begin))
			}
			v.Close()
			time.Sleep(time.Minute)
		})
	}
}

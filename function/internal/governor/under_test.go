package governor

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// An ideal is one exact limiter that sees every call at once.
type ideal struct {
	limit    *Limit
	arrival  float64
	live     int64
	admitted int
}

// offer admits a call, and tells whether it holds a slot.
func (i *ideal) offer(now int64) bool { return i.offerAs(now, 1) }

// offerAs is offer for a call of some weight.
func (i *ideal) offerAs(now, weight int64) bool {
	if i.limit.PerSecond > 0 {
		period := second / i.limit.PerSecond
		if i.arrival-float64(now) > (i.limit.MaxBurst()-float64(weight))*period {
			return false
		}
		i.arrival = max(i.arrival, float64(now)) + float64(weight)*period
	}
	if i.limit.Concurrency > 0 {
		if i.live == i.limit.Concurrency {
			return false
		}
		i.live++
	}
	i.admitted += int(weight)
	return true
}

// TestNotUnder offers a fleet twice its limit over a network without faults, and wants nearly all admitted that one exact
// limiter would admit, in fair shares.
func TestNotUnder(t *testing.T) {
	collectRarely(t)
	for _, c := range []struct {
		limit Limit
		nodes int
		least float64 // of what one exact limiter admits
	}{
		{Limit{PerSecond: 5}, 8, 0.95},
		{Limit{PerSecond: 20}, 8, 0.95},
		{Limit{PerSecond: 100}, 8, 0.95},
		{Limit{PerSecond: 1000}, 8, 0.95},
		{Limit{PerSecond: 4000}, 8, 0.95},
		{Limit{PerSecond: 1000}, 64, 0.95},
		{Limit{Concurrency: 8}, 8, 0.95},
		{Limit{Concurrency: 40}, 8, 0.95},
		{Limit{Concurrency: 400}, 8, 0.95},
		// Each slot changes hands for calls of 30 ms, and the way through the counters and back takes about one of them.
		{Limit{Concurrency: 400}, 64, 0.93},
	} {
		limit := c.limit
		limit.Scope, limit.Key = "all", "all"
		name := fmt.Sprintf("%v/s or %d at a time over %d", limit.PerSecond, limit.Concurrency, c.nodes)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &sim{rng: rand.New(rand.NewPCG(1, 2)), reference: NewReferenceCounters(), entered: map[*Limit]*window{}, granted: map[string]int64{}, limits: []*Limit{&limit}, calm: true, ideal: &ideal{limit: &limit}}
			for range c.nodes {
				s.spawn()
			}
			s.reference.Open(0, 1, true, simLease.Microseconds())
			const callTime = 30 * ms // on average, as the simulation's calls take
			capacity := limit.PerSecond
			if limit.Concurrency > 0 {
				capacity = float64(limit.Concurrency) * second / float64(callTime)
			}
			gap := int64(second / (2 * capacity))
			total := max(10*int64(second), int64(600*second/capacity))
			var offer func()
			offer = func() {
				s.callOn(s.nodes[s.rng.IntN(len(s.nodes))], s.limits)
				s.after(1+s.rng.Int64N(2*gap), offer)
			}
			s.after(100*ms, offer)
			if err := s.runUntil(total); err != nil {
				t.Fatal(err)
			}
			want := float64(s.ideal.admitted)
			share := float64(s.admitted) / want
			var sum, squares float64
			for _, n := range s.nodes {
				sum += float64(n.admitted)
				squares += float64(n.admitted) * float64(n.admitted)
			}
			jain := sum * sum / (float64(len(s.nodes)) * squares)
			t.Logf("%.1f %% of what one exact limiter admits, Jain %.4f, %.2f messages for each call offered", 100*share, jain, float64(s.messages)/float64(s.offered))
			if share < c.least {
				t.Errorf("%.1f %% of what one exact limiter admits", 100*share)
			}
			sum, squares = 0, 0
			for _, n := range s.clients {
				sum += float64(n)
				squares += float64(n) * float64(n)
			}
			if fair := sum * sum / (float64(len(s.clients)) * squares); fair < 0.98-4*float64(len(s.clients))/want {
				t.Errorf("Jain %.4f among equal clients", fair)
			}
			// Chance alone spreads n calls over the instances by about √(n/instances) each.
			if expect := 0.99 - 4*float64(c.nodes)/want; jain < expect {
				t.Errorf("Jain %.4f among the instances, want %.4f", jain, expect)
			}
		})
	}
}

package redisdb

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"

	"example.com/erlmcp/function/internal/governor"
)

// exact asks for one token by the script, without anything that is leased ahead.
type exact struct {
	counters *Counters
	need     governor.Need
	seq      int64
}

func newExact(t *testing.T, client *redis.Client, key string, rate, burst int) *exact {
	t.Helper()
	c := NewCounters(client)
	if _, err := c.Open(t.Context(), 1, true, time.Second); err != nil {
		t.Fatal(err)
	}
	period := int64(1_000_000 / rate)
	return &exact{counters: c, need: governor.Need{
		Key: "r:" + key, Kind: governor.Tokens, Period: period, Slack: int64(burst-1) * period, Least: 1, Most: 1,
	}}
}

func (e *exact) allow(t *testing.T) bool {
	t.Helper()
	e.seq++
	r, err := e.counters.Draw(t.Context(), &governor.Draw{Instance: e.need.Key, Seq: e.seq, Epoch: 1, Lease: 1e6, Full: true, Groups: []governor.Group{{e.need}}})
	if err != nil || r.Status != governor.Done {
		t.Fatalf("%+v, %v", r, err)
	}
	return r.Granted[0].Amounts != nil
}

// TestRatesAgreeWithRedisRate holds the arithmetic of rates against redis_rate's: the same arrivals, at the same times, are
// admitted and refused alike.
func TestRatesAgreeWithRedisRate(t *testing.T) {
	m := miniredis.RunT(t)
	client := connect(t, m.Addr())
	limiter := redis_rate.NewLimiter(client)
	for _, c := range []struct{ rate, burst int }{{1, 1}, {5, 1}, {5, 3}, {10, 10}, {100, 20}, {1000, 100}} {
		t.Run(fmt.Sprintf("%d per s, %d at once", c.rate, c.burst), func(t *testing.T) {
			ours := newExact(t, client, t.Name(), c.rate, c.burst)
			rng := rand.New(rand.NewPCG(uint64(c.rate), uint64(c.burst)))
			at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
			admitted, refused := 0, 0
			for i := range 600 {
				gap := rng.Int64N(1_200_000 / int64(c.rate))
				if i%300 == 299 {
					gap += int64(c.burst) * 1_000_000 / int64(c.rate) // a rest, after which the burst is there again
				}
				at = at.Add(time.Duration(gap) * time.Microsecond)
				m.SetTime(at)
				r, err := limiter.Allow(t.Context(), t.Name(), redis_rate.Limit{Rate: c.rate, Burst: c.burst, Period: time.Second})
				if err != nil {
					t.Fatal(err)
				}
				got := ours.allow(t)
				if got != (r.Allowed == 1) {
					t.Fatalf("arrival %d, %v after the one before: %t, and redis_rate says %+v", i, time.Duration(gap)*time.Microsecond, got, r)
				}
				if got {
					admitted++
				} else {
					refused++
				}
			}
			if admitted < 50 || refused < 50 {
				t.Errorf("too little was exercised: %d admitted, %d refused", admitted, refused)
			}
		})
	}
}

// TestRatesAgreeWithRedisRateOnARealRedis has no clock to set: the sums must agree but for the calls at the edges.
func TestRatesAgreeWithRedisRateOnARealRedis(t *testing.T) {
	client := connect(t, realRedis(t))
	limiter := redis_rate.NewLimiter(client)
	ours := newExact(t, client, "k", 100, 20)
	n, theirs := 0, 0
	for begin := time.Now(); time.Since(begin) < time.Second; {
		if ours.allow(t) {
			n++
		}
		r, err := limiter.Allow(t.Context(), "k", redis_rate.Limit{Rate: 100, Burst: 20, Period: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		theirs += r.Allowed
	}
	if n-theirs > 1 || theirs-n > 1 || n < 115 {
		t.Errorf("%d admitted in a second under 100/s with 20 at once, %d by redis_rate", n, theirs)
	}
}

func TestSlow(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client) {
		s := NewCounters(client).Slow("changes", 60, 3)
		for i := range 5 {
			wait, err := s.Allow(t.Context())
			if err != nil || (wait > 0) != (i >= 3) || wait > time.Second {
				t.Errorf("call %d of 3 at once: wait %v, %v", i+1, wait, err)
			}
		}
	})
}

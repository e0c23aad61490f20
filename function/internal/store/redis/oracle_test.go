package redis

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

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
		Key: "r:" + key, Kind: governor.Tokens, Period: float64(period), Cap: 1000 * int64(burst), Min: 1, Max: 1,
	}}
}

func (e *exact) next() *governor.LeaseRequest {
	e.seq++
	return &governor.LeaseRequest{Instance: e.need.Key, Seq: e.seq, Epoch: 1, Lease: 1e6, Full: true, Groups: []governor.Group{{e.need}}}
}

func (e *exact) allow(t *testing.T) bool {
	t.Helper()
	r, err := e.counters.Lease(t.Context(), e.next())
	return allowed(t, r, err)
}

func allowed(t *testing.T, r governor.LeaseResponse, err error) bool {
	t.Helper()
	if err != nil || r.Status != governor.Done {
		t.Fatalf("%+v, %v", r, err)
	}
	return r.Granted[0].Amounts != nil
}

// TestRatesAgreeWithRedisRate holds the arithmetic of rates against redis_rate's: the same arrivals, at the same times, are
// admitted and refused alike.
func TestRatesAgreeWithRedisRate(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client, _ bool) {
		for _, c := range []struct{ rate, burst int }{{1, 1}, {5, 1}, {5, 3}, {10, 10}, {100, 20}, {1000, 100}} {
			client.FlushAll(t.Context())
			theirs := scriptOf(t, client, redis_rate.Limit{Rate: c.rate, Burst: c.burst, Period: time.Second})
			client.FlushAll(t.Context())
			ours := newExact(t, client, "ours", c.rate, c.burst)
			rng := rand.New(rand.NewPCG(uint64(c.rate), uint64(c.burst)))
			at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC).UnixMicro()
			var steps []step
			var draws []*governor.LeaseRequest
			for i := range 600 {
				at += rng.Int64N(1_200_000 / int64(c.rate))
				if i%300 == 299 {
					at += int64(c.burst) * 1_000_000 / int64(c.rate) // a rest, after which the burst is there again
				}
				d := ours.next()
				draws = append(draws, d)
				theirs.at = at
				steps = append(steps, theirs, step{at, drawSource, prefix, arguments(d)})
			}
			answers := replay(t, client, steps)
			admitted, refused := 0, 0
			for i, d := range draws {
				r, err := read(answers[2*i+1].([]any), d)
				got, want := allowed(t, r, err), answers[2*i].([]any)
				if got != (want[0] == int64(1)) {
					t.Fatalf("%d per s, %d at once: arrival %d, %d µs after the one before: %t, and redis_rate answers %v",
						c.rate, c.burst, i, steps[2*i].at-steps[max(0, 2*i-2)].at, got, want)
				}
				if got {
					admitted++
				} else {
					refused++
				}
			}
			if admitted < 50 || refused < 50 {
				t.Errorf("%d per s, %d at once: too little was exercised: %d admitted, %d refused", c.rate, c.burst, admitted, refused)
			}
		}
	})
}

// scriptOf returns what redis_rate sends to Redis to ask for one.
func scriptOf(t *testing.T, client *redis.Client, l redis_rate.Limit) step {
	t.Helper()
	if err := client.ScriptFlush(t.Context()).Err(); err != nil { // what Redis does not know is sent in full
		t.Fatal(err)
	}
	var h lastEval
	client.AddHook(&h)
	if r, err := redis_rate.NewLimiter(client).Allow(t.Context(), "theirs", l); err != nil || r.Allowed != 1 || len(h.args) < 4 {
		t.Fatalf("%+v, %v, sent %v", r, err, h.args)
	}
	return step{script: h.args[1].(string), key: h.args[3].(string), args: h.args[4:]} // EVAL script 1 key argument…
}

// lastEval is a hook that notes it.
type lastEval struct{ args []any }

// DialHook implements [redis.Hook].
func (*lastEval) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements [redis.Hook].
func (*lastEval) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook implements [redis.Hook].
func (h *lastEval) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "eval" {
			h.args = cmd.Args()
		}
		return next(ctx, cmd)
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
	if n-theirs > 1 || theirs-n > 1 || n <= 20 {
		t.Errorf("%d admitted in a second under 100/s with 20 at once, %d by redis_rate", n, theirs)
	}
}

func TestSlow(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client, exact bool) {
		perMinute := 60
		if !exact { // none comes back while a busy machine pauses
			perMinute = 1
		}
		most := time.Minute / time.Duration(perMinute)
		s := NewCounters(client).Slow("changes", perMinute, 3)
		var wait time.Duration
		for i := range 5 {
			var err error
			wait, err = s.Allow(t.Context())
			if err != nil || (wait > 0) != (i >= 3) || wait > most {
				t.Errorf("call %d of 3 at once: wait %v, %v", i+1, wait, err)
			}
		}
		if !exact {
			return
		}
		time.Sleep(wait) // in a bubble, but for a real Redis
		if wait, err := s.Allow(t.Context()); err != nil || wait > 0 {
			t.Errorf("after the wait: wait %v, %v", wait, err)
		}
	})
}

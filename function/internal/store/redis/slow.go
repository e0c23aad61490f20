package redis

import (
	"context"
	"time"

	"github.com/go-redis/redis_rate/v10"
)

// A Slow limit guards what happens seldom and may cost a round trip, such as changes by operators. A call asks for it each
// time.
type Slow struct {
	limiter *redis_rate.Limiter
	key     string
	limit   redis_rate.Limit
}

// Slow returns a limit of so many a minute, and so many at once, on a key.
func (c *Counters) Slow(key string, perMinute, burst int) *Slow {
	return &Slow{redis_rate.NewLimiter(c.client), prefix + key, redis_rate.Limit{Rate: perMinute, Burst: burst, Period: time.Minute}}
}

// Allow returns 0, or for how long it is in vain to ask again.
func (s *Slow) Allow(ctx context.Context) (wait time.Duration, err error) {
	r, err := s.limiter.Allow(ctx, s.key, s.limit)
	if err != nil || r.Allowed > 0 {
		return 0, err
	}
	return max(r.RetryAfter, time.Millisecond), nil
}

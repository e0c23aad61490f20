package dataplane

import (
	"context"
	"errors"
	"time"

	"example.com/erlmcp/function/internal/store/memory"
	"example.com/erlmcp/function/internal/store/redis"
)

// answers implement [mcp.Answers] over all instances by Redis, and where that is away or there is none by what this one has seen.
type answers struct {
	own   *memory.Answers
	redis *redis.Counters
	alone bool // no other process opens what this one has sealed
}

func newAnswers(redis *redis.Counters, alone bool) *answers {
	return &answers{memory.NewAnswers(), redis, alone}
}

var (
	errRedisAway = errors.New("redis does not answer")
	errNoRedis   = errors.New("other instances may have used it, and there is no Redis to know: the operator must set REDIS_URL")
)

// answerTimeout is how long a call with an answer waits for Redis.
const answerTimeout = time.Second

func (a *answers) First(ctx context.Context, id string, validity time.Duration, certain bool) (bool, error) {
	if !a.own.First(id, validity) {
		return false, nil
	}
	first, err := a.ask(ctx, id, validity)
	if err == nil {
		return first, nil
	}
	if certain {
		a.own.Forget(id)
		return false, err
	}
	return true, nil
}

func (a *answers) ask(ctx context.Context, id string, validity time.Duration) (bool, error) {
	switch {
	case a.redis != nil:
		ctx, done := context.WithTimeout(ctx, answerTimeout)
		defer done()
		first, err := a.redis.First(ctx, id, validity)
		if err != nil {
			return false, errRedisAway
		}
		return first, nil
	case a.alone:
		return true, nil
	}
	return false, errNoRedis
}

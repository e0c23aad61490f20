package redis

import (
	"context"
	"time"
)

// First tells whether the id of an answer is seen for the first time, by any instance. It is remembered as long as the answer is valid.
func (c *Counters) First(ctx context.Context, id string, validity time.Duration) (bool, error) {
	return c.client.SetNX(ctx, prefix+"answer:"+id, "", validity).Result()
}

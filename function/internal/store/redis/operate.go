package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"example.com/erlmcp/function/internal/fleet"
	"example.com/erlmcp/function/internal/governor"
)

// Usage returns how many slots of each limit are held, by the keys of the limits, and by how many instances.
func (c *Counters) Usage(ctx context.Context, limits []*governor.Limit) (slots map[string]int64, instances int, err error) {
	pipe := c.client.Pipeline()
	now := pipe.Time(ctx)
	leases := pipe.HGetAll(ctx, prefix+"instances")
	holders := make([]*redis.MapStringStringCmd, len(limits))
	for i, l := range limits {
		holders[i] = pipe.HGetAll(ctx, prefix+"c:"+l.Key)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, 0, err
	}
	present := map[string]bool{}
	for name, lease := range leases.Val() {
		if name == "" {
			continue // no instance: see draw.lua
		}
		ends, _, _ := strings.Cut(lease, " ")
		if until, err := strconv.ParseInt(ends, 10, 64); err != nil {
			return nil, 0, fmt.Errorf("the lease of instance %q is %q", name, lease)
		} else if until > now.Val().UnixMicro() {
			present[name] = true
		}
	}
	slots = map[string]int64{}
	for i, l := range limits {
		for name, held := range holders[i].Val() {
			if n, err := strconv.ParseInt(held, 10, 64); err == nil && present[name] {
				slots[l.Key] += n
			}
		}
	}
	return slots, len(present), nil
}

// PutUp implements [fleet.Board].
func (c *Counters) PutUp(ctx context.Context, list fleet.List, name string, note []byte) error {
	return c.client.HSet(ctx, prefix+string(list), name, note).Err()
}

// TakeDown implements [fleet.Board].
func (c *Counters) TakeDown(ctx context.Context, list fleet.List, names ...string) error {
	return c.client.HDel(ctx, prefix+string(list), names...).Err()
}

// Notes implements [fleet.Board].
func (c *Counters) Notes(ctx context.Context, list fleet.List) (map[string][]byte, error) {
	all, err := c.client.HGetAll(ctx, prefix+string(list)).Result()
	out := make(map[string][]byte, len(all))
	for name, note := range all {
		out[name] = []byte(note)
	}
	return out, err
}

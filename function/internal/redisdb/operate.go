package redisdb

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/erlmcp/function/internal/governor"
)

// Orders keep the orders in the counters alone, for a fleet without a store: they are lost with Redis. They implement
// [governor.OrderStore].
type Orders struct {
	Counters *Counters
	Now      func() time.Time
}

// Orders implements [governor.OrderStore].
func (o Orders) Orders(ctx context.Context) (governor.Orders, error) {
	b, err := o.Counters.Bulletin(ctx)
	return b.Orders, err
}

// Change implements [governor.OrderStore].
func (o Orders) Change(ctx context.Context, change func(*governor.Orders) error) (governor.Orders, error) {
	for range 10 {
		orders, err := o.Orders(ctx)
		if err != nil {
			return governor.Orders{}, err
		}
		before := orders.Version
		if err := change(&orders); err != nil {
			return governor.Orders{}, err
		}
		orders.Version = governor.NextVersion(before, o.Now())
		if posted, err := o.Counters.postAfter(ctx, before, orders); err != nil || posted {
			return orders, err
		}
	}
	return governor.Orders{}, errors.New("others changed the orders at the same time, ten times in a row: try again")
}

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

// A Board is where instances put up what others are to know of them.
type Board string

// The boards.
const (
	Heads     Board = "heads" // how far chains of receipts have come, by chain
	Instances Board = "fleet" // how instances are, by instance
)

// PutUp puts up a note in place of the one before.
func (c *Counters) PutUp(ctx context.Context, b Board, name string, note []byte) error {
	return c.client.HSet(ctx, prefix+string(b), name, note).Err()
}

// TakeDown removes notes.
func (c *Counters) TakeDown(ctx context.Context, b Board, names ...string) error {
	return c.client.HDel(ctx, prefix+string(b), names...).Err()
}

// Notes returns those of all instances.
func (c *Counters) Notes(ctx context.Context, b Board) (map[string][]byte, error) {
	all, err := c.client.HGetAll(ctx, prefix+string(b)).Result()
	out := make(map[string][]byte, len(all))
	for name, note := range all {
		out[name] = []byte(note)
	}
	return out, err
}

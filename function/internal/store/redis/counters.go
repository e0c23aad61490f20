// Package redis keeps the governor's counters in Redis 6.2 or later, shared by all instances: each message is one script,
// which checks everything and then writes everything.
//
// Keys carry a hash tag, so that all of them lie on one shard of a cluster. None expires, since a limit that is forgotten
// would begin with a full budget, but those of rates that each caller has, long after they say that all of it is there, and which
// answers of people were used. A Redis that throws keys away all the same is found out: slots are given again once all instances have
// declared what they hold.
//
// Neighbouring versions of the server count together, each by its own scripts, as long as the format that is written beside the
// epoch is one that both know; a newer one is refused rather than guessed at. Of a rate the version before reads the arrival alone,
// and writes it alone: then this one goes by the first bound of two (see rate.go of package governor). While both run, a rate of more
// than 5 calls a second may so be exceeded once after each pause, by what flows in the hold of its tokens, at most half of the burst;
// a slower one by three parts in a hundred of its burst. The version before goes on to hold back half of a fast burst. It does not notice
// that Redis has thrown slots away, but bears with those that do; and it replaces the directives, where this one merges them: see
// [directives.Rewritten].
package redis

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
)

var (
	//go:embed draw.lua
	drawSource string
	//go:embed open.lua
	openSource string

	//go:embed snapshot.lua
	snapshotSource string
	//go:embed publish.lua
	publishSource string
	//go:embed announce.lua
	announceSource string
	//go:embed trip.lua
	tripSource string

	drawScript     = redis.NewScript(drawSource)
	openScript     = redis.NewScript(openSource)
	snapshotScript = redis.NewScript(snapshotSource)
	publishScript  = redis.NewScript(publishSource)
	announceScript = redis.NewScript(announceSource)
	tripScript     = redis.NewScript(tripSource)
)

const prefix = "{erlmcp}:"

// Counters implement [governor.Counters].
type Counters struct {
	client *redis.Client
	moves  *moves // nil where the client is another's
}

// NewCounters returns counters on a client.
func NewCounters(client *redis.Client) *Counters { return &Counters{client: client} }

// Ping makes a round trip.
func (c *Counters) Ping(ctx context.Context) error { return c.client.Ping(ctx).Err() }

// Open implements [governor.Counters].
func (c *Counters) Open(ctx context.Context, epoch int64, first bool, lease time.Duration) (int64, error) {
	flag := 0
	if first {
		flag = 1
	}
	return openScript.Run(ctx, c.client, []string{prefix}, epoch, flag, lease.Microseconds()).Int64()
}

// Lease implements [governor.Counters].
func (c *Counters) Lease(ctx context.Context, request *governor.LeaseRequest) (governor.LeaseResponse, error) {
	raw, err := drawScript.Run(ctx, c.client, []string{prefix}, arguments(request)...).Slice()
	if err != nil {
		return governor.LeaseResponse{}, err
	}
	return read(raw, request)
}

// sees ends the names of instances whose scripts write when they saw slots of a key: draw.lua says why.
const sees = "+"

func arguments(request *governor.LeaseRequest) []any {
	args := make([]any, 0, 7+2*len(request.Holdings)+9*len(request.Groups))
	args = append(args, request.Instance+sees, request.Seq, request.Epoch, request.Lease, len(request.Holdings))
	for _, h := range request.Holdings {
		args = append(args, h.Key, h.Slots)
	}
	args = append(args, len(request.Groups))
	for _, g := range request.Groups {
		args = append(args, len(g))
		for _, n := range g {
			args = append(args, n.Key, int(n.Kind), n.Period, n.Hold, n.Cap, n.Min, n.Max, n.Tenant)
		}
	}
	if request.Full {
		return append(args, "full")
	}
	return append(args, "")
}

var errAnswer = errors.New("the counters' script answered in another form: another version wrote it")

func read(raw []any, request *governor.LeaseRequest) (governor.LeaseResponse, error) {
	var head [5]int64
	if len(raw) < len(head) {
		return governor.LeaseResponse{}, errAnswer
	}
	for i := range head {
		n, ok := raw[i].(int64)
		if !ok {
			return governor.LeaseResponse{}, errAnswer
		}
		head[i] = n
	}
	r := governor.LeaseResponse{Status: governor.Status(head[0]), Epoch: head[1], Instances: head[2], Revision: head[3], ReadStore: head[4]&1 != 0, Lapsed: head[4]&2 != 0}
	if r.Status != governor.Done {
		return r, nil
	}
	if len(raw) != len(head)+len(request.Groups) {
		return governor.LeaseResponse{}, errAnswer
	}
	r.Granted = make([]governor.Grant, len(request.Groups))
	for i, g := range request.Groups {
		values, ok := raw[len(head)+i].([]any)
		if !ok || len(values) < 2 {
			return governor.LeaseResponse{}, errAnswer
		}
		numbers := make([]int64, len(values))
		for j, v := range values {
			if numbers[j], ok = v.(int64); !ok {
				return governor.LeaseResponse{}, fmt.Errorf("%w: %T", errAnswer, v)
			}
		}
		grant := governor.Grant{Refused: int(numbers[0])}
		if grant.Refused >= 0 {
			if len(numbers) != 4 {
				return governor.LeaseResponse{}, errAnswer
			}
			grant.Wait, grant.Learning, grant.Turn = numbers[1], numbers[2] == 1, numbers[3] == 1
		} else {
			if len(numbers) != 2+2*len(g) {
				return governor.LeaseResponse{}, errAnswer
			}
			grant.Shared = numbers[1] == 1
			grant.Amounts, grant.Left = numbers[2:2+len(g)], numbers[2+len(g):]
		}
		r.Granted[i] = grant
	}
	return r, nil
}

// Snapshot implements [directives.Board].
func (c *Counters) Snapshot(ctx context.Context) (directives.Snapshot, error) {
	raw, err := snapshotScript.Run(ctx, c.client, []string{prefix}).Slice()
	if err != nil {
		return directives.Snapshot{}, err
	}
	if len(raw) < 6 {
		return directives.Snapshot{}, errAnswer
	}
	epoch, ok1 := raw[0].(int64)
	revision, ok2 := raw[1].(int64)
	version, ok3 := raw[2].(int64)
	text, ok4 := raw[3].(string)
	versions, ok5 := raw[4].([]any)
	before, ok6 := raw[5].(string)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 {
		return directives.Snapshot{}, errAnswer
	}
	b := directives.Snapshot{Epoch: epoch, Revision: revision}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &b.Directives); err != nil {
			return directives.Snapshot{}, fmt.Errorf("the orders in the counters: %w", err)
		}
	}
	b.Directives.Version = version
	if before != "" {
		b.Before = new(directives.Directives)
		if err := json.Unmarshal([]byte(before), b.Before); err != nil {
			return directives.Snapshot{}, fmt.Errorf("the orders that were kept in the counters: %w", err)
		}
	}
	for i := 0; i+1 < len(versions); i += 2 {
		name, ok1 := versions[i].(string)
		v, ok2 := versions[i+1].(int64)
		if !ok1 || !ok2 {
			return directives.Snapshot{}, errAnswer
		}
		if b.Versions == nil {
			b.Versions = directives.Versions{}
		}
		b.Versions[name] = v
	}
	for _, v := range raw[6:] {
		pair, ok := v.([]any)
		if !ok || len(pair) != 2 {
			return directives.Snapshot{}, errAnswer
		}
		scope, ok1 := pair[0].(string)
		left, ok2 := pair[1].(int64)
		if !ok1 || !ok2 {
			return directives.Snapshot{}, errAnswer
		}
		b.Trips = append(b.Trips, directives.Trip{Scope: scope, Left: time.Duration(left) * time.Microsecond})
	}
	return b, nil
}

// Publish implements [directives.Board].
func (c *Counters) Publish(ctx context.Context, before int64, o directives.Directives) (bool, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return false, err
	}
	n, err := publishScript.Run(ctx, c.client, []string{prefix}, o.Version, text, before).Int()
	return n == 1, err
}

// Announce implements [governor.Counters].
func (c *Counters) Announce(ctx context.Context, v directives.Versions) error {
	args := make([]any, 0, 2*len(v))
	for name, version := range v {
		args = append(args, name, version)
	}
	return announceScript.Run(ctx, c.client, []string{prefix}, args...).Err()
}

// Trip implements [governor.Counters].
func (c *Counters) Trip(ctx context.Context, scope string, open time.Duration) error {
	return tripScript.Run(ctx, c.client, []string{prefix}, scope, open.Microseconds()).Err()
}

// Storeless are epochs without a store: each opening counts as one after a loss, which is the safe side. The first calls on
// a new Redis then wait for one lease.
type Storeless struct{ Now func() time.Time }

// Next implements [governor.Epochs].
func (c Storeless) Next(context.Context) (int64, bool, error) { return c.Now().UnixMicro(), false, nil }

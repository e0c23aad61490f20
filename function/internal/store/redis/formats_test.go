package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/store/memory"
)

// previous are the counters of the version before, with its scripts as they were: of a rate they know the arrival alone.
type previous struct {
	*Counters
	draw, open, post, bulletin *redis.Script
}

func newPrevious(t *testing.T, client *redis.Client) *previous {
	script := func(name string) *redis.Script {
		b, err := os.ReadFile("testdata/format1/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return redis.NewScript(string(b))
	}
	return &previous{NewCounters(client), script("draw.lua"), script("open.lua"), script("post.lua"), script("bulletin.lua")}
}

// Publish replaces the directives by any that are later, without what that version does not know.
func (p *previous) Publish(ctx context.Context, _ int64, o directives.Directives) (bool, error) {
	text, err := json.Marshal(directives.Directives{Version: o.Version, Kills: o.Kills})
	if err != nil {
		return false, err
	}
	n, err := p.post.Run(ctx, p.client, []string{prefix}, o.Version, text, -1).Int()
	return n == 1, err
}

// kills reads how many kill switches that version reads.
func (p *previous) kills(ctx context.Context) (int, error) {
	raw, err := p.bulletin.Run(ctx, p.client, []string{prefix}).Slice()
	if err != nil || len(raw) < 5 {
		return 0, fmt.Errorf("%v %w", raw, err)
	}
	var o directives.Directives
	err = json.Unmarshal([]byte(raw[3].(string)), &o)
	return len(o.Kills), err
}

func (p *previous) Lease(ctx context.Context, d *governor.LeaseRequest) (governor.LeaseResponse, error) {
	raw, err := p.draw.Run(ctx, p.client, []string{prefix}, previousArguments(d)...).Slice()
	if err != nil {
		return governor.LeaseResponse{}, err
	}
	for i, granted := range raw {
		if g, ok := granted.([]any); ok && len(g) == 3 { // it knows no turns
			raw[i] = append(g, int64(0))
		}
	}
	return read(raw, d)
}

// previousArguments are what the version before sent: a period in whole microseconds, and a slack that leaves room for the hold.
func previousArguments(d *governor.LeaseRequest) []any {
	args := []any{d.Instance, d.Seq, d.Epoch, d.Lease, len(d.Holdings)}
	for _, h := range d.Holdings {
		args = append(args, h.Key, h.Slots)
	}
	args = append(args, len(d.Groups))
	for _, g := range d.Groups {
		args = append(args, len(g))
		for _, n := range g {
			period, hold := int64(math.Ceil(n.Period)), int64(min(float64(n.Cap/1000-1)*n.Period/2, 100e3))
			if n.Period*0.03 >= 1500 {
				period, hold = int64(math.Ceil(n.Period*1.03)), 0
			}
			args = append(args, n.Key, int(n.Kind), period, (n.Cap/1000-1)*period-hold, n.Cap, n.Min, n.Max)
		}
	}
	if d.Full {
		return append(args, "full")
	}
	return append(args, "")
}

func (p *previous) Open(ctx context.Context, epoch int64, first bool, lease time.Duration) (int64, error) {
	flag := 0
	if first {
		flag = 1
	}
	return p.open.Run(ctx, p.client, []string{prefix}, epoch, flag, lease.Microseconds()).Int64()
}

// TestPreviousVersionSideBySide has two instances of each version on one Redis, as in a canary, and loses it once.
func TestPreviousVersionSideBySide(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client, exact bool) {
		limits := []*governor.Limit{{Key: "slots", Scope: "slots", Concurrency: 12}, {Key: "rate", Scope: "rate", PerSecond: 400}}
		var fleet []*governor.Governor
		epochs := memory.New()
		for i := range 4 {
			counters := governor.Counters(NewCounters(client))
			if i%2 == 1 {
				counters = newPrevious(t, client)
			}
			if exact {
				counters = distant{counters}
			}
			g := governor.New(governor.Options{Instance: fmt.Sprint("n", i), Counters: counters, Epochs: epochs, Timeout: 200 * time.Millisecond, Logger: logTo(t)})
			defer g.Close()
			g.Warm()
			fleet = append(fleet, g)
		}
		var live, most atomic.Int64
		var each [4]atomic.Int64
		var mu sync.Mutex
		var entries []time.Time
		begin := time.Now()
		end := begin.Add(4500 * time.Millisecond)
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				for time.Now().Before(end) {
					l, d := fleet[i%4].Admit(context.Background(), &governor.Call{Weight: 1, Limits: limits})
					if !d.Admitted() {
						time.Sleep(min(max(d.Wait, time.Millisecond), 10*time.Millisecond)) // in a bubble, but for a real Redis
						continue
					}
					ctx := l.Bind(context.Background())
					mu.Lock()
					entries = append(entries, time.Now())
					mu.Unlock()
					if n := live.Add(1); n > most.Load() {
						most.Store(n)
					}
					each[i%4].Add(1)
					select {
					case <-time.After(8 * time.Millisecond): // in a bubble, but for a real Redis
					case <-ctx.Done():
					}
					live.Add(-1)
					l.Release()
				}
			})
		}
		time.Sleep(time.Second) // in a bubble, but for a real Redis
		client.FlushAll(context.Background())
		wg.Wait()
		if most.Load() > 12 {
			t.Errorf("%d calls were live, the cap is 12", most.Load())
		}
		for j := range entries {
			for i := 0; i < j; i += 1 + (j-i)/8 { // every short window, and some of the long ones
				if n, w := float64(j-i+1), entries[j].Sub(entries[i]).Seconds(); n > 40+400*w+2 {
					t.Fatalf("%v calls in %v s under 400/s and 40 at once", n, w)
				}
			}
		}
		least := int64(50)
		if !exact { // a busy machine takes its time
			least = 5
		}
		for i := range each {
			if each[i].Load() < least {
				t.Errorf("instance %d admitted %d of %d", i, each[i].Load(), len(entries))
			}
		}
	})
}

// TestKeysThatThePreviousVersionEmpties has an instance of each version hold slots. That the last of them go with the version before is
// no loss, and a loss is one for both.
func TestKeysThatThePreviousVersionEmpties(t *testing.T) {
	const key, limit = "c:slots", 5
	eachRedis(t, func(t *testing.T, client *redis.Client, _ bool) {
		c := NewCounters(client)
		if _, err := c.Open(t.Context(), 1, true, 2*time.Second); err != nil {
			t.Fatal(err)
		}
		mine, old := &draws{t: t, counters: c, name: "mine"}, &draws{t: t, counters: newPrevious(t, client), name: "old"}
		slots := func(n int64) governor.Holding { return governor.Holding{Key: key, Slots: n} }
		for range 3 {
			if mine.draw(key, limit, 1, true).Amounts == nil || old.draw(key, limit, 1, true).Amounts == nil {
				t.Fatal("a slot of a free cap is refused")
			}
			mine.draw(key, limit, 0, true, slots(1))
			mine.draw(key, limit, 0, true, slots(0))
			old.draw(key, limit, 0, true, slots(0))
			if g := mine.draw(key, limit, 1, true); g.Amounts == nil {
				t.Fatalf("once all are free: %+v", g)
			}
			mine.draw(key, limit, 0, true, slots(0))
		}
		if mine.draw(key, limit, 2, true).Amounts == nil || old.draw(key, limit, 2, true).Amounts == nil {
			t.Fatal("slots of a free cap are refused")
		}
		client.Del(t.Context(), prefix+key)
		if g := mine.draw(key, limit, 3, false); g.Amounts != nil || !g.Learning {
			t.Errorf("what others hold was thrown away, and slots are given: %+v", g)
		}
		other := &draws{t: t, counters: old.counters, name: "other"}
		if g := other.draw(key, limit, 1, true); g.Amounts != nil {
			t.Errorf("the version before gives slots meanwhile: %+v", g)
		}
		if g := mine.draw(key, limit, 1, false); g.Amounts != nil || !g.Learning {
			t.Errorf("it is forgotten that some are lost: %+v", g)
		}
		used, instances, err := NewCounters(client).Usage(t.Context(), []*governor.Limit{{Key: "slots"}})
		if err != nil || used["slots"] != 0 || instances != 3 {
			t.Errorf("%v slots of %d instances, %v", used, instances, err)
		}
		old.draw(key, limit, 0, true, slots(2))
		time.Sleep(1200 * time.Millisecond) // in a bubble, but for a real Redis
		mine.draw(key, limit, 0, true, slots(2))
		old.draw(key, limit, 0, true, slots(2))
		time.Sleep(1200 * time.Millisecond) // in a bubble, but for a real Redis
		if other.draw(key, limit, 1, true).Amounts == nil {
			t.Error("once all is known, what is free is not given")
		}
		if g := mine.draw(key, limit, 1, true, slots(2)); g.Amounts != nil || g.Learning {
			t.Errorf("once all is known, more is given than there is: %+v", g)
		}
	})
}

func TestNewerFormatIsRefused(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client, _ bool) {
		ctx := t.Context()
		g := governor.New(governor.Options{Instance: "n", Counters: NewCounters(client), Epochs: firstEpoch{}, Logger: logTo(t)})
		defer g.Close()
		if err := g.Warm(); err != nil {
			t.Fatal(err)
		}
		client.HSet(ctx, prefix+"epoch", "format", 2)
		if err := g.Warm(); !errors.Is(err, governor.ErrNewer) {
			t.Errorf("%v", err)
		}
		_, d := g.Admit(ctx, &governor.Call{Weight: 1, Limits: []*governor.Limit{{Key: "k", Scope: "k", Concurrency: 1}}})
		if d.Admitted() || !d.Outage {
			t.Errorf("%+v", d)
		}
	})
}

func TestBulletin(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client, _ bool) {
		ctx := t.Context()
		c := NewCounters(client)
		if b, err := c.Snapshot(ctx); err != nil || !reflect.DeepEqual(b, directives.Snapshot{}) {
			t.Fatalf("of an empty Redis: %+v, %v", b, err)
		}
		if _, err := c.Open(ctx, 3, true, time.Second); err != nil {
			t.Fatal(err)
		}
		var seq int64
		revision := func() int64 {
			seq++
			r, err := c.Lease(ctx, &governor.LeaseRequest{Instance: "n", Seq: seq, Epoch: 3, Lease: 1e6, Full: true})
			if err != nil || r.Status != governor.Done {
				t.Fatalf("%+v, %v", r, err)
			}
			return r.Revision
		}
		before := revision()
		store := &directives.Writer{Board: c, Now: time.Now}
		if err := change(ctx, store, "tool:a"); err != nil {
			t.Fatal(err)
		}
		b, err := c.Snapshot(ctx)
		if err != nil || b.Epoch != 3 || len(b.Directives.Kills) != 1 || b.Revision != before+1 || revision() != b.Revision {
			t.Errorf("%+v, %v, news %d before and %d after", b, err, before, revision())
		}
		for _, post := range []struct{ before, version int64 }{
			{b.Directives.Version, b.Directives.Version - 1}, {b.Directives.Version, b.Directives.Version}, {b.Directives.Version - 1, b.Directives.Version + 1}, {0, b.Directives.Version + 1},
		} {
			other := b.Directives
			other.Version = post.version
			if posted, err := c.Publish(ctx, post.before, other); posted || err != nil {
				t.Errorf("orders of version %d were posted in place of %d, where %d is: %t, %v", post.version, post.before, b.Directives.Version, posted, err)
			}
		}
		// Changes at the same time all count.
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				if err := change(ctx, store, fmt.Sprint("tool:", i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if o, err := store.Directives(ctx); err != nil || len(o.Kills) != 5 {
			t.Errorf("%+v, %v", o, err)
		}
		if err := c.Trip(ctx, "tool:a", time.Hour); err != nil {
			t.Fatal(err)
		}
		b, err = c.Snapshot(ctx)
		if err != nil || len(b.Trips) != 1 || b.Trips[0].Scope != "tool:a" || b.Trips[0].Left < 59*time.Minute || b.Trips[0].Left > time.Hour {
			t.Errorf("%+v, %v", b.Trips, err)
		}
		if err := c.Trip(ctx, "tool:a", 0); err != nil {
			t.Fatal(err)
		}
		if b, err = c.Snapshot(ctx); err != nil || len(b.Trips) != 0 {
			t.Errorf("%+v, %v", b.Trips, err)
		}
		before = revision()
		for _, step := range []struct {
			announce, want directives.Versions
			revisions      int64
		}{
			{directives.Versions{"tenants": 1_790_000_000_123, "keys": 2}, directives.Versions{"tenants": 1_790_000_000_123, "keys": 2}, 1},
			{directives.Versions{"tenants": 5, "keys": 3}, directives.Versions{"tenants": 1_790_000_000_123, "keys": 3}, 1},
			{directives.Versions{"tenants": 1_790_000_000_123, "keys": 1}, directives.Versions{"tenants": 1_790_000_000_123, "keys": 3}, 0},
			{nil, directives.Versions{"tenants": 1_790_000_000_123, "keys": 3}, 0},
		} {
			if err := c.Announce(ctx, step.announce); err != nil {
				t.Fatal(err)
			}
			b, err := c.Snapshot(ctx)
			if before += step.revisions; err != nil || !reflect.DeepEqual(b.Versions, step.want) || revision() != before {
				t.Errorf("announced %v: %v, %v, news %d, want %d", step.announce, b.Versions, err, revision(), before)
			}
		}
	})
}

// TestDirectivesWrittenOver has the version before write over the directives of this one, which are kept for who reads what it wrote, until
// this one writes.
func TestDirectivesWrittenOver(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client, _ bool) {
		ctx := t.Context()
		c, old := NewCounters(client), newPrevious(t, client)
		w := &directives.Writer{Board: c, Storeless: true, Now: time.Now}
		for _, scope := range []string{"tool:a", "tool:b"} {
			if err := change(ctx, w, scope); err != nil {
				t.Fatal(err)
			}
		}
		b, err := c.Snapshot(ctx)
		if err != nil || b.Before != nil || !b.Directives.Merged || len(b.Directives.Kills) != 2 {
			t.Fatalf("%+v %v", b, err)
		}
		if n, err := old.kills(ctx); n != 2 || err != nil {
			t.Errorf("the version before reads %d kill switches, %v", n, err)
		}
		mine := b.Directives
		for i := range 2 { // as often as it likes
			if posted, err := old.Publish(ctx, 0, directives.Directives{Version: mine.Version + 1 + int64(i), Kills: mine.Kills[1:]}); !posted || err != nil {
				t.Fatal(posted, err)
			}
			b, err = c.Snapshot(ctx)
			if err != nil || b.Directives.Merged || len(b.Directives.Kills) != 1 || b.Before == nil || b.Before.Version != mine.Version || len(b.Before.Kills) != 2 {
				t.Fatalf("%+v %v", b, err)
			}
		}
		if o, err := w.Directives(ctx); err != nil || len(o.Kills) != 1 || len(o.Gone) != 1 {
			t.Errorf("in force are %+v, %v", o, err)
		}
		if err := change(ctx, w, "tool:c"); err != nil {
			t.Fatal(err)
		}
		if b, err = c.Snapshot(ctx); err != nil || b.Before != nil || !b.Directives.Merged || len(b.Directives.Kills) != 2 || len(b.Directives.Gone) != 1 {
			t.Errorf("%+v %v", b, err)
		}
	})
}

func change(ctx context.Context, s directives.Store, scope string) error {
	_, err := s.Change(ctx, func(o *directives.Directives) error {
		return o.Kill(directives.Kill{Scope: scope, Reason: "r", At: time.Now()})
	})
	return err
}

func TestUsage(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client, _ bool) {
		ctx := t.Context()
		c := NewCounters(client)
		limit := &governor.Limit{Key: "k", Scope: "k", Concurrency: 5}
		for _, name := range []string{"a", "b"} {
			g := governor.New(governor.Options{Instance: name, Counters: c, Epochs: firstEpoch{}, Logger: logTo(t)})
			defer g.Close()
			l, d := g.Admit(ctx, &governor.Call{Weight: 1, Limits: []*governor.Limit{limit}})
			if !d.Admitted() {
				t.Fatalf("%+v", d)
			}
			defer l.Release()
		}
		slots, instances, err := c.Usage(ctx, []*governor.Limit{limit, {Key: "other", Concurrency: 1}})
		if err != nil || instances != 2 || slots["k"] != 2 || slots["other"] != 0 {
			t.Errorf("%v, %d instances, %v", slots, instances, err)
		}
	})
}

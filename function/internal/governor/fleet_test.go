package governor_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/memdb"
)

// A fleet shares counters and a store, both of which can fail.
type fleet struct {
	*memdb.Store
	mu       sync.Mutex
	counters governor.Counters
	down     bool // the counters
	lost     bool // the store
}

var errDown = errors.New("down")

func newFleet() *fleet {
	return &fleet{Store: memdb.New(), counters: governor.NewStandalone(time.Now)}
}

func (f *fleet) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// restartEmpty loses what was counted.
func (f *fleet) restartEmpty() { f.set(func() { f.counters = governor.NewStandalone(time.Now) }) }

func (f *fleet) reach() (governor.Counters, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, errDown
	}
	return f.counters, nil
}

func (f *fleet) Draw(ctx context.Context, d *governor.Draw) (governor.Reply, error) {
	c, err := f.reach()
	if err != nil {
		return governor.Reply{}, err
	}
	return c.Draw(ctx, d)
}

func (f *fleet) Open(ctx context.Context, epoch int64, first bool, lease time.Duration) (int64, error) {
	c, err := f.reach()
	if err != nil {
		return 0, err
	}
	return c.Open(ctx, epoch, first, lease)
}

func (f *fleet) Bulletin(ctx context.Context) (governor.Bulletin, error) {
	c, err := f.reach()
	if err != nil {
		return governor.Bulletin{}, err
	}
	return c.Bulletin(ctx)
}

func (f *fleet) Post(ctx context.Context, o governor.Orders) (bool, error) {
	c, err := f.reach()
	if err != nil {
		return false, err
	}
	return c.Post(ctx, o)
}

func (f *fleet) Announce(ctx context.Context, v governor.Versions) error {
	c, err := f.reach()
	if err != nil {
		return err
	}
	return c.Announce(ctx, v)
}

func (f *fleet) Trip(ctx context.Context, scope string, open time.Duration) error {
	c, err := f.reach()
	if err != nil {
		return err
	}
	return c.Trip(ctx, scope, open)
}

func (f *fleet) stored() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost {
		return errDown
	}
	return nil
}

func (f *fleet) Orders(ctx context.Context) (governor.Orders, error) {
	if err := f.stored(); err != nil {
		return governor.Orders{}, err
	}
	return f.Store.Orders(ctx)
}

func (f *fleet) Take(ctx context.Context, key, day string, most, want int64) (int64, int64, error) {
	if err := f.stored(); err != nil {
		return 0, 0, err
	}
	time.Sleep(10 * time.Millisecond) // a store takes its time
	return f.Store.Take(ctx, key, day, most, want)
}

func (f *fleet) governor(t *testing.T, name string) *governor.Governor {
	g := governor.New(governor.Options{Instance: name, Counters: f, Epochs: f, Orders: f, Quotas: f})
	t.Cleanup(g.Close)
	return g
}

func admit(t *testing.T, g *governor.Governor, c *governor.Call) governor.Decision {
	t.Helper()
	_, l, d := g.Admit(t.Context(), c)
	if (l != nil) != d.Admitted() {
		t.Errorf("a lease %t with the decision %+v", l != nil, d)
	}
	if l != nil {
		l.Release()
	}
	return d
}

func kill(t *testing.T, f *fleet, k governor.Kill) {
	t.Helper()
	if _, err := f.Change(t.Context(), func(o *governor.Orders) error { return o.Kill(k) }); err != nil {
		t.Fatal(err)
	}
}

var search = &governor.Call{Weight: 1, Scopes: []string{"tool:search"}, Limits: []*governor.Limit{{Scope: "everything", Key: "all", PerSecond: 1000, Concurrency: 100}}}
var other = &governor.Call{Weight: 1, Scopes: []string{"tool:other"}, Limits: search.Limits}

// within calls until the decision has the reason, and returns how long that took.
func within(t *testing.T, g *governor.Governor, c *governor.Call, why governor.Reason) time.Duration {
	t.Helper()
	begin := time.Now()
	for time.Since(begin) < 10*time.Second {
		if admit(t, g, c).Reason == why {
			return time.Since(begin)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("no decision with reason %d within 10 s", why)
	return 0
}

func TestKillSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		var fleet []*governor.Governor
		for i := range 5 {
			fleet = append(fleet, f.governor(t, fmt.Sprint("n", i)))
		}
		for _, g := range fleet {
			if d := admit(t, g, search); !d.Admitted() {
				t.Fatalf("%+v", d)
			}
		}
		inForce := func(c *governor.Call, why governor.Reason) {
			t.Helper()
			var wg sync.WaitGroup
			for i, g := range fleet {
				wg.Go(func() {
					if took := within(t, g, c, why); took > 2*time.Second {
						t.Errorf("in force on instance %d after %v", i, took)
					}
				})
			}
			wg.Wait()
		}
		kill(t, f, governor.Kill{Scope: "tool:search", Reason: "it leaks", At: time.Now(), Until: time.Now().Add(time.Hour)})
		inForce(search, governor.Killed)
		d := admit(t, fleet[0], search)
		if d.Scope != "tool:search" || d.Note != "it leaks" || d.Wait <= 0 || d.Wait > time.Hour {
			t.Errorf("%+v", d)
		}
		if d := admit(t, fleet[0], other); !d.Admitted() {
			t.Errorf("another tool is refused: %+v", d)
		}

		f.restartEmpty()
		for range 100 { // it must stay so all the while
			for _, g := range append(fleet, f.governor(t, fmt.Sprint("late", time.Now().UnixNano()))) {
				if d := admit(t, g, search); d.Reason != governor.Killed && d.Reason != governor.SlotsTaken {
					t.Fatalf("after the counters were lost: %+v", d)
				}
			}
			time.Sleep(30 * time.Millisecond)
		}
		if d := admit(t, fleet[0], other); !d.Admitted() {
			t.Errorf("another tool is refused once the counters have learned: %+v", d)
		}

		time.Sleep(time.Hour)
		inForce(search, governor.Admitted)

		f.set(func() { f.down = true }) // the store alone
		kill(t, f, governor.Kill{Scope: governor.Everything, Reason: "all of it", At: time.Now()})
		inForce(other, governor.Killed)
		f.set(func() { f.down = false })
		if _, err := f.Change(t.Context(), func(o *governor.Orders) error { return o.Lift(governor.Everything) }); err != nil {
			t.Fatal(err)
		}
		inForce(other, governor.Admitted)
	})
}

// TestSleepersHearFirst wants an instance that got no processor for a while to ask before it decides.
func TestSleepersHearFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		awake, asleep := f.governor(t, "awake"), f.governor(t, "asleep")
		admit(t, awake, search)
		admit(t, asleep, search)
		kill(t, f, governor.Kill{Scope: "tool:search", Reason: "r", At: time.Now()})
		within(t, awake, search, governor.Killed)
		time.Sleep(10 * time.Second)
		if d := admit(t, asleep, search); d.Reason != governor.Killed {
			t.Errorf("the first call after a sleep: %+v", d)
		}
		f.set(func() { f.down = true })
		admit(t, asleep, other)
		kill(t, f, governor.Kill{Scope: "tool:other", Reason: "r", At: time.Now()})
		time.Sleep(10 * time.Second)
		if o := asleep.Hear(t.Context()); len(o.Kills) != 2 {
			t.Errorf("after a sleep without the counters the orders are %+v", o)
		}
		if d := admit(t, asleep, other); d.Reason != governor.Killed {
			t.Errorf("the first call after a sleep without the counters: %+v", d)
		}
	})
}

// TestNothingIsOpenBeforeOrdersAreKnown starts instances while the counters, the store, or both are away.
func TestNothingIsOpenBeforeOrdersAreKnown(t *testing.T) {
	for _, c := range []struct{ down, lost bool }{{true, false}, {false, true}, {true, true}} {
		t.Run(fmt.Sprintf("down %t lost %t", c.down, c.lost), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				kill(t, f, governor.Kill{Scope: "tool:search", Reason: "r", At: time.Now()})
				within(t, f.governor(t, "first"), search, governor.Killed)
				f.set(func() { f.down, f.lost = c.down, c.lost })
				g := f.governor(t, "n")
				for range 50 {
					begin := time.Now()
					if d := admit(t, g, search); d.Reason != governor.Killed && d.Reason != governor.Unknown {
						t.Fatalf("%+v", d)
					} else if d.Reason == governor.Unknown && (!d.Outage || d.Wait <= 0) {
						t.Fatalf("%+v", d)
					}
					if took := time.Since(begin); took > 1100*time.Millisecond {
						t.Errorf("a decision took %v", took)
					}
					time.Sleep(10 * time.Millisecond)
				}
				f.set(func() { f.down, f.lost = false, false })
				within(t, g, search, governor.Killed)
				if took := within(t, g, other, governor.Admitted); took > 3*time.Second {
					t.Errorf("another tool goes on after %v", took)
				}
			})
		})
	}
}

// TestFleetThatStartsTogether wants the full budget at once from instances that find new counters at the same time.
func TestFleetThatStartsTogether(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet()
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					g := f.governor(t, fmt.Sprint("n", i))
					go g.Warm()
					if d := admit(t, g, search); !d.Admitted() {
						t.Errorf("the first call is refused: %+v", d)
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestStoreAwayAtTheStart wants a late instance to learn from the counters that there are no orders.
func TestStoreAwayAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		within(t, f.governor(t, "first"), search, governor.Admitted)
		f.set(func() { f.lost = true })
		if d := admit(t, f.governor(t, "late"), search); !d.Admitted() {
			t.Errorf("%+v", d)
		}
	})
}

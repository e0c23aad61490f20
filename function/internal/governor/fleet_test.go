package governor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/store/memory"
)

// A fleet shares counters and a store, both of which can fail.
type fleet struct {
	*memory.Store
	mu       sync.Mutex
	counters governor.Counters
	down     bool // the counters
	lost     bool // the store
}

var errDown = errors.New("down")

func newFleet() *fleet {
	return &fleet{Store: memory.New(), counters: governor.NewStandalone(time.Now)}
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

func (f *fleet) Lease(ctx context.Context, d *governor.LeaseRequest) (governor.LeaseResponse, error) {
	c, err := f.reach()
	if err != nil {
		return governor.LeaseResponse{}, err
	}
	return c.Lease(ctx, d)
}

func (f *fleet) Open(ctx context.Context, epoch int64, first bool, lease time.Duration) (int64, error) {
	c, err := f.reach()
	if err != nil {
		return 0, err
	}
	return c.Open(ctx, epoch, first, lease)
}

func (f *fleet) Snapshot(ctx context.Context) (directives.Snapshot, error) {
	c, err := f.reach()
	if err != nil {
		return directives.Snapshot{}, err
	}
	return c.Snapshot(ctx)
}

func (f *fleet) Publish(ctx context.Context, before int64, o directives.Directives) (bool, error) {
	c, err := f.reach()
	if err != nil {
		return false, err
	}
	return c.Publish(ctx, before, o)
}

func (f *fleet) Announce(ctx context.Context, v directives.Versions) error {
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

func (f *fleet) Directives(ctx context.Context) (directives.Directives, error) {
	if err := f.stored(); err != nil {
		return directives.Directives{}, err
	}
	return f.Store.Directives(ctx)
}

func (f *fleet) Change(ctx context.Context, change func(*directives.Directives) error) (directives.Directives, error) {
	if err := f.stored(); err != nil {
		return directives.Directives{}, err
	}
	return f.Store.Change(ctx, change)
}

func (f *fleet) Take(ctx context.Context, key, day string, most, want int64) (int64, int64, error) {
	if err := f.stored(); err != nil {
		return 0, 0, err
	}
	time.Sleep(10 * time.Millisecond) // in a bubble: a store takes its time
	return f.Store.Take(ctx, key, day, most, want)
}

func (f *fleet) governor(t *testing.T, name string) *governor.Governor { return f.with(t, name, nil) }

// with returns a governor that reads versions too, unless they are nil. It logs to the test, and ends with it.
func (f *fleet) with(t *testing.T, name string, v directives.VersionStore) *governor.Governor {
	logger := slog.New(slog.NewTextHandler(t.Output(), nil)).With("instance", name)
	g := governor.New(governor.Options{Instance: name, Counters: f, Epochs: f, Directives: f, Versions: v, Quotas: f, Logger: logger})
	t.Cleanup(g.Close)
	return g
}

func admit(t *testing.T, g *governor.Governor, c *governor.Call) governor.Decision {
	t.Helper()
	l, d := g.Admit(t.Context(), c)
	if (l != nil) != d.Admitted() {
		t.Errorf("a lease %t with the decision %+v", l != nil, d)
	}
	if l != nil {
		l.Release()
	}
	return d
}

func kill(t *testing.T, f *fleet, k directives.Kill) {
	t.Helper()
	if _, err := f.Change(t.Context(), func(o *directives.Directives) error { return o.Kill(k) }); err != nil {
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
		time.Sleep(20 * time.Millisecond) // in a bubble
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
		kill(t, f, directives.Kill{Scope: "tool:search", Reason: "it leaks", At: time.Now(), Until: time.Now().Add(time.Hour)})
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
		kill(t, f, directives.Kill{Scope: directives.Everything, Reason: "all of it", At: time.Now()})
		inForce(other, governor.Killed)
		f.set(func() { f.down = false })
		if _, err := f.Change(t.Context(), func(o *directives.Directives) error { return o.Lift(directives.Everything) }); err != nil {
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
		kill(t, f, directives.Kill{Scope: "tool:search", Reason: "r", At: time.Now()})
		within(t, awake, search, governor.Killed)
		time.Sleep(10 * time.Second)
		if d := admit(t, asleep, search); d.Reason != governor.Killed {
			t.Errorf("the first call after a sleep: %+v", d)
		}
		f.set(func() { f.down = true })
		admit(t, asleep, other)
		kill(t, f, directives.Kill{Scope: "tool:other", Reason: "r", At: time.Now()})
		time.Sleep(10 * time.Second)
		if o := asleep.Refresh(t.Context()); len(o.Kills) != 2 {
			t.Errorf("after a sleep without the counters the orders are %+v", o)
		}
		if d := admit(t, asleep, other); d.Reason != governor.Killed {
			t.Errorf("the first call after a sleep without the counters: %+v", d)
		}
	})
}

// TestNothingIsOpenBeforeDirectivesAreKnown starts instances while the counters, the store, or both are away.
func TestNothingIsOpenBeforeDirectivesAreKnown(t *testing.T) {
	for _, c := range []struct{ down, lost bool }{{true, false}, {false, true}, {true, true}} {
		t.Run(fmt.Sprintf("down %t lost %t", c.down, c.lost), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				kill(t, f, directives.Kill{Scope: "tool:search", Reason: "r", At: time.Now()})
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

// TestEpochKnownWhileOneIsOpened wants a call to wait for a message that is still about to open an epoch, though another message has
// learned by then that someone else opened it.
func TestEpochKnownWhileOneIsOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		epoch, first, err := f.Next(t.Context())
		if err != nil || !first {
			t.Fatal(epoch, first, err)
		}
		g := f.governor(t, "second")
		var wg sync.WaitGroup
		wg.Go(func() {
			if d := admit(t, g, search); !d.Admitted() {
				t.Errorf("the first call is refused: %+v", d)
			}
		})
		time.Sleep(30 * time.Millisecond)
		if _, err := f.Open(t.Context(), epoch, first, time.Second); err != nil {
			t.Fatal(err)
		}
		if err := g.Warm(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	})
}

// TestStoreAwayAtTheStart wants a late instance to learn from the counters that there are no directives.
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

// TestCloseGivesFreeSlotsBack wants another instance to have at once what one that goes had kept.
func TestCloseGivesFreeSlotsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		leaves, stays := f.governor(t, "leaves"), f.governor(t, "stays")
		const most = 64
		call := &governor.Call{Weight: 1, Limits: []*governor.Limit{{Scope: "slots", Key: "slots", Concurrency: most}}}
		admit(t, stays, call)
		var leases []*governor.Lease
		for range 5 {
			l, d := leaves.Admit(t.Context(), call)
			if !d.Admitted() {
				t.Fatalf("%+v", d)
			}
			leases = append(leases, l)
		}
		for _, l := range leases {
			l.Release()
		}
		synctest.Wait()
		if s := leaves.Stats(); s.Held == 0 || s.Used != 0 {
			t.Fatalf("%d slots are held and %d used: there is nothing to test", s.Held, s.Used)
		}
		leaves.Close()
		for i := range most {
			l, d := stays.Admit(t.Context(), call)
			if !d.Admitted() {
				t.Fatalf("call %d of %d: %+v", i+1, most, d)
			}
			defer l.Release()
		}
	})
}

// TestWhatOnePlaceHasReachesTheOther gives directives where one of store and counters is away, or not known to the writer. Instances say so,
// and bring the directive to the other place.
func TestWhatOnePlaceHasReachesTheOther(t *testing.T) {
	limits := []*governor.Limit{{Scope: "everything", Key: "all", PerSecond: 1000}} // no slots, which shut
	search := &governor.Call{Weight: 1, Scopes: []string{"tool:search"}, Limits: limits}
	other := &governor.Call{Weight: 1, Scopes: []string{"tool:other"}, Limits: limits}
	for _, c := range []struct {
		name       string
		lost, down bool // the store, the counters
		storeless  bool // the writer knows no store
		says       string
	}{
		{"both are there", false, false, false, ""},
		{"the writer knows Redis alone", false, false, true, ""},
		{"the store is away", true, false, false, "in Redis alone, and are lost with it until the store takes them: tool:search"},
		{"the store is away, and the writer does not know it", true, false, true, "in Redis alone, and are lost with it until the store takes them: tool:search"},
		{"the counters are away", false, true, false, "in the store alone, until Redis takes them: tool:search"},
	} {
		for _, lift := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, lift %t", c.name, lift), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFleet()
					w := &directives.Writer{Store: f, Board: f, Now: time.Now}
					order := func(change func(*directives.Directives) error) {
						t.Helper()
						if _, err := w.Change(t.Context(), change); err != nil && !errors.As(err, new(*directives.Apart)) {
							t.Fatal(err)
						}
					}
					kill := func(o *directives.Directives) error {
						return o.Kill(directives.Kill{Scope: "tool:search", Reason: "r", At: time.Now()})
					}
					if order(func(o *directives.Directives) error {
						return o.Kill(directives.Kill{Scope: "tool:gone", Reason: "r", At: time.Now()})
					}); lift {
						order(kill)
					}
					fleet := []*governor.Governor{f.governor(t, "one"), f.governor(t, "two")}
					for _, g := range fleet {
						within(t, g, other, governor.Admitted)
						time.Sleep(1200 * time.Millisecond) // each reads the store once
						within(t, g, other, governor.Admitted)
					}
					f.set(func() { f.down, f.lost = c.down, c.lost })
					if c.storeless {
						w.Store = nil
					}
					why, count := governor.Killed, 2
					if lift {
						order(func(o *directives.Directives) error { return o.Lift("tool:search") })
						why, count = governor.Admitted, 1
					} else {
						order(kill)
					}
					for _, g := range fleet {
						if took := within(t, g, search, why); took > 2*time.Second {
							t.Errorf("in force after %v", took)
						}
						synctest.Wait() // what one place lacks is on its way to it
						says := strings.Join(g.Degraded(), "\n")
						if want := c.says; lift && want != "" {
							if want = strings.Replace(want, "tool:search", directives.Lifted, 1); !strings.Contains(says, want) {
								t.Errorf("it says %q, want %q", says, want)
							}
						} else if !strings.Contains(says, want) || want == "" && says != "" {
							t.Errorf("it says %q, want %q", says, want)
						}
					}
					f.set(func() { f.down, f.lost = false, false })
					for range 40 {
						for _, g := range fleet {
							admit(t, g, other)
						}
						time.Sleep(50 * time.Millisecond)
					}
					stored, err1 := f.Directives(t.Context())
					published, err2 := f.Snapshot(t.Context())
					if err1 != nil || err2 != nil || len(stored.Kills) != count || len(published.Directives.Kills) != count {
						t.Errorf("the store has %+v, %v, and Redis %+v, %v", stored, err1, published.Directives, err2)
					}
					for _, g := range fleet {
						if says := g.Degraded(); len(says) > 0 {
							t.Errorf("once all is well: %q", says)
						}
					}
				})
			})
		}
	}
}

// TestWhatIsOldDoesNotCount has an instance sleep, and then asks it for a call: it hears of what was ordered meanwhile, or refuses.
func TestWhatIsOldDoesNotCount(t *testing.T) {
	limits := []*governor.Limit{{Scope: "everything", Key: "all", PerSecond: 1000}} // no slots, which shut
	search := &governor.Call{Weight: 1, Scopes: []string{"tool:search"}, Limits: limits}
	never := time.Duration(-1)
	for _, c := range []struct {
		name               string
		sleeps, wall       time.Duration // by the steady clock, and how much more by the wall clock
		counters, store    time.Duration // after which they answer again
		storeless          bool
		embedded           bool
		killed             bool // meanwhile
		want               governor.Reason
		waits, waitsAtMost time.Duration
	}{
		{name: "all is well", sleeps: time.Hour, killed: true, want: governor.Killed},
		{name: "nothing is ordered", sleeps: time.Hour, want: governor.Admitted},
		{name: "Redis is away", sleeps: time.Hour, counters: never, killed: true, want: governor.Killed},
		{name: "the store is away", sleeps: time.Hour, store: never, want: governor.Admitted},
		{name: "both are away", sleeps: time.Hour, counters: never, store: never, want: governor.Unknown, waits: time.Second, waitsAtMost: time.Second},
		{name: "both are away for just too long", sleeps: 2 * time.Second, counters: never, store: never, want: governor.Unknown, waits: time.Second, waitsAtMost: time.Second},
		{name: "both are away for a moment", sleeps: time.Second, counters: never, store: never, want: governor.Admitted},
		{name: "the steady clock stood still", sleeps: 0, wall: time.Minute, counters: never, store: never, want: governor.Unknown, waits: time.Second, waitsAtMost: time.Second},
		{name: "the steady clock stood still, and all is well", sleeps: 0, wall: time.Minute, killed: true, want: governor.Killed},
		{name: "Redis comes back", sleeps: time.Hour, counters: 600 * time.Millisecond, store: never, want: governor.Admitted, waits: 600 * time.Millisecond, waitsAtMost: 900 * time.Millisecond},
		{name: "the store comes back", sleeps: time.Hour, counters: never, store: 20 * time.Millisecond, killed: true, want: governor.Killed, waitsAtMost: time.Second},
		{name: "Redis is away, and there is no store", sleeps: time.Hour, counters: never, storeless: true, want: governor.Unknown, waits: time.Second, waitsAtMost: time.Second},
		{name: "Redis is away for a moment, and there is no store", sleeps: time.Second, counters: never, storeless: true, want: governor.Admitted},
		{name: "Redis is there, and there is no store", sleeps: time.Hour, storeless: true, killed: true, want: governor.Killed},
		{name: "what is embedded", sleeps: time.Hour, counters: never, store: never, embedded: true, want: governor.Admitted, waits: time.Second, waitsAtMost: time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				var shift atomic.Int64
				now := func() time.Time {
					if by := time.Duration(shift.Load()); by > 0 {
						return time.Now().Round(0).Add(by)
					}
					return time.Now()
				}
				o := governor.Options{Instance: "n", Counters: f, Epochs: f, Directives: f, Now: now, Embedded: c.embedded, Timeout: 20 * time.Millisecond}
				w := &directives.Writer{Store: f, Board: f, Now: now}
				if c.storeless {
					o.Directives, w.Store = nil, nil
				}
				g := governor.New(o)
				t.Cleanup(g.Close)
				within(t, g, search, governor.Admitted)
				if c.killed {
					if _, err := w.Change(t.Context(), func(o *directives.Directives) error {
						return o.Kill(directives.Kill{Scope: "tool:search", Reason: "r", At: now()})
					}); err != nil {
						t.Fatal(err)
					}
				}
				f.set(func() { f.down, f.lost = c.counters != 0, c.store != 0 })
				time.Sleep(c.sleeps)
				shift.Store(int64(c.wall))
				for after, back := range map[time.Duration]func(){c.counters: func() { f.down = false }, c.store: func() { f.lost = false }} {
					if after > 0 {
						time.AfterFunc(after, func() { f.set(back) }) // in a bubble
					}
				}
				unheard := g.Stats().Unheard
				begin := time.Now()
				if d := admit(t, g, search); d.Reason != c.want {
					t.Errorf("the first call after it: %+v", d)
				}
				if took := time.Since(begin); took < c.waits || took > max(c.waitsAtMost, c.waits) {
					t.Errorf("it took %v, want %v to %v", took, c.waits, c.waitsAtMost)
				}
				if n := g.Stats().Unheard - unheard; (n == 1) != (c.want == governor.Unknown) {
					t.Errorf("%d calls are counted that could not know", n)
				}
				if known := g.Known(); known != (c.want != governor.Unknown) {
					t.Errorf("it is said to know: %t", known)
				}
			})
		})
	}
}

// TestTheDecisionIsItsEnd has the store take so long for a quota that what was known at first is old by then, or is not.
func TestTheDecisionIsItsEnd(t *testing.T) {
	search := &governor.Call{Weight: 1, Scopes: []string{"tool:search"}, Limits: []*governor.Limit{{Scope: "everything", Key: "all", PerDay: 10}}}
	for _, c := range []struct {
		known, slow time.Duration
		want        governor.Reason
	}{
		{0, 0, governor.Admitted},
		{400 * time.Millisecond, 0, governor.Admitted},
		{400 * time.Millisecond, 1900 * time.Millisecond, governor.Killed},
		{450 * time.Millisecond, 1800 * time.Millisecond, governor.Killed},
		{490 * time.Millisecond, 1700 * time.Millisecond, governor.Killed},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &slowQuotas{fleet: newFleet(), slow: c.slow}
			g := governor.New(governor.Options{Instance: "n", Counters: f, Epochs: f, Directives: f, Quotas: f})
			t.Cleanup(g.Close)
			within(t, g, &governor.Call{Weight: 1}, governor.Admitted) // that holds nothing, so that no heart beats
			begin := time.Now()
			time.Sleep(c.known)
			if c.slow > 0 {
				time.AfterFunc(c.slow/2, func() { // in a bubble
					kill(t, f.fleet, directives.Kill{Scope: "tool:search", Reason: "r", At: time.Now()})
				})
			}
			d := admit(t, g, search)
			fresh := g.Stats().DirectivesAge < 2*time.Second // the call at its beginning may have asked beside
			if d.Reason != c.want && !(fresh && d.Admitted()) {
				t.Errorf("known for %v, and %v until the quota is drawn: %+v after %v", c.known, c.slow, d, time.Since(begin))
			}
			if left, _, err := f.Store.Take(t.Context(), "all", time.Now().UTC().Format(time.DateOnly), 10, 10); !d.Admitted() && (left == 0 || err != nil) {
				t.Errorf("a call that is refused at last keeps its quota: %d left, %v", left, err)
			}
		})
	}
}

type slowQuotas struct {
	*fleet
	slow time.Duration
}

func (f *slowQuotas) Take(ctx context.Context, key, day string, most, want int64) (int64, int64, error) {
	time.Sleep(f.slow) // in a bubble
	return f.fleet.Store.Take(ctx, key, day, most, want)
}

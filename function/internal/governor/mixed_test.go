package governor_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
)

// mixed is a fleet whose store and counters writers of the version before change too: those replace the directives, and what this version
// has written is kept beside.
type mixed struct {
	*fleet
	keeps             sync.Mutex
	stored, published directives.Directives // as a writer that merges has written them
}

func (f *mixed) Directives(ctx context.Context) (directives.Directives, error) {
	o, err := f.fleet.Directives(ctx)
	return f.made(o), err
}

func (f *mixed) made(o directives.Directives) directives.Directives {
	f.keeps.Lock()
	defer f.keeps.Unlock()
	if o.Merged || f.stored.Version == 0 {
		return o
	}
	return directives.Rewritten(f.stored, o, time.Now())
}

func (f *mixed) Change(ctx context.Context, change func(*directives.Directives) error) (directives.Directives, error) {
	after, err := f.fleet.Change(ctx, func(o *directives.Directives) error {
		*o = f.made(*o)
		return change(o)
	})
	f.keeps.Lock()
	defer f.keeps.Unlock()
	if err == nil && after.Version > f.stored.Version {
		f.stored = after
	}
	return after, err
}

func (f *mixed) Snapshot(ctx context.Context) (directives.Snapshot, error) {
	b, err := f.fleet.Snapshot(ctx)
	f.keeps.Lock()
	defer f.keeps.Unlock()
	if before := f.published; err == nil && before.Version > 0 && before.Version < b.Directives.Version {
		b.Before = &before
	}
	return b, err
}

func (f *mixed) Publish(ctx context.Context, before int64, o directives.Directives) (bool, error) {
	published, err := f.fleet.Publish(ctx, before, o)
	f.keeps.Lock()
	defer f.keeps.Unlock()
	if published {
		f.published = o
	}
	return published, err
}

// old has a writer of the version before change the directives in the store, if there is one, and in Redis.
func (f *mixed) old(t *testing.T, storeless bool, change func(*directives.Directives)) {
	t.Helper()
	rewrite := func(o *directives.Directives) {
		*o = directives.Directives{Version: o.Version, Kills: slices.Clone(o.Kills), Limits: slices.Clone(o.Limits)}
		for i := range o.Limits {
			o.Limits[i].At = time.Time{}
		}
		change(o)
	}
	b, gone := f.fleet.Snapshot(t.Context())
	after := b.Directives
	if storeless {
		rewrite(&after)
		after.Version = directives.NextVersion(after.Version, time.Now())
	} else {
		var err error
		if after, err = f.fleet.Change(t.Context(), func(o *directives.Directives) error { rewrite(o); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if gone == nil && after.Version > b.Directives.Version {
		if published, err := f.fleet.Publish(t.Context(), b.Directives.Version, after); !published || err != nil {
			t.Fatal(published, err)
		}
	}
}

func lift(scope string) func(*directives.Directives) {
	return func(o *directives.Directives) {
		o.Kills = slices.DeleteFunc(o.Kills, func(k directives.Kill) bool { return k.Scope == scope })
	}
}

// TestDirectivesOfTheVersionBefore has a writer of the version before lift, kill and change limits, while instances of this version have older
// copies: what it orders holds, and what it could not know stays.
func TestDirectivesOfTheVersionBefore(t *testing.T) {
	limits := []*governor.Limit{{Scope: "everything", Key: "all", PerSecond: 1000}} // no slots, which shut
	call := func(tool string) *governor.Call {
		return &governor.Call{Weight: 1, Scopes: []string{"tool:" + tool}, Limits: limits}
	}
	for _, c := range []struct {
		name            string
		down, storeless bool // Redis is away from the writer, there is no store
	}{{"in both places", false, false}, {"in the store alone", true, false}, {"without a store", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &mixed{fleet: newFleet()}
				w := &directives.Writer{Store: f, Board: f, Now: time.Now}
				o := governor.Options{Counters: f, Epochs: f, Directives: f}
				if c.storeless {
					w.Store, w.Storeless, o.Directives = nil, true, nil
				}
				order := func(change func(*directives.Directives) error) {
					t.Helper()
					if _, err := w.Change(t.Context(), change); err != nil && !errors.As(err, new(*directives.Apart)) {
						t.Fatal(err)
					}
				}
				kill := func(tool string) func(*directives.Directives) error {
					return func(o *directives.Directives) error {
						return o.Kill(directives.Kill{Scope: "tool:" + tool, Reason: "r", At: time.Now()})
					}
				}
				old := func(change func(*directives.Directives)) {
					t.Helper()
					f.set(func() { f.down = c.down })
					f.old(t, c.storeless, change)
					f.set(func() { f.down = false })
				}
				var fleet []*governor.Governor
				for i := range 3 {
					o.Instance = fmt.Sprint("n", i)
					g := governor.New(o)
					t.Cleanup(g.Close)
					fleet = append(fleet, g)
				}
				inForce := func(when, tool string, why governor.Reason) {
					t.Helper()
					for _, g := range fleet {
						if took := within(t, g, call(tool), why); took > 2*time.Second {
							t.Errorf("%s: in force after %v", when, took)
						}
					}
					for range 100 { // it stays so
						for i, g := range fleet {
							if d := admit(t, g, call(tool)); d.Reason != why {
								t.Fatalf("%s: instance %d: %+v", when, i, d)
							}
						}
						time.Sleep(50 * time.Millisecond)
					}
				}
				override := func(g *governor.Governor) (perDay int64) {
					if v := g.Refresh(t.Context()).OverrideOn("tool:a"); v != nil {
						perDay = *v.PerDay
					}
					return perDay
				}
				limit := func(when string, want int64) {
					t.Helper()
					for begin, right := time.Now(), 0; right < len(fleet); time.Sleep(20 * time.Millisecond) {
						right = 0
						for _, g := range fleet {
							if override(g) == want {
								right++
							}
						}
						if time.Since(begin) > 2*time.Second {
							t.Fatalf("%s: the override is %d, want %d", when, override(fleet[0]), want)
						}
					}
					time.Sleep(5 * time.Second)
					for i, g := range fleet {
						if v := override(g); v != want {
							t.Errorf("%s: on instance %d the override is %d, want %d", when, i, v, want)
						}
					}
				}
				five, six := int64(5), int64(6)
				inForce("at first", "a", governor.Admitted)
				order(kill("a"))
				order(func(o *directives.Directives) error {
					return o.Override(directives.Override{Scope: "tool:a", Limits: directives.Limits{PerDay: &five}, At: time.Now()})
				})
				inForce("killed", "a", governor.Killed)
				limit("ordered", 5)
				old(lift("tool:a"))
				inForce("lifted by the version before", "a", governor.Admitted)
				limit("and not touched by it", 5)
				order(kill("b"))
				inForce("after another order", "a", governor.Admitted)
				inForce("another order", "b", governor.Killed)
				old(func(o *directives.Directives) {
					o.Kills = append(o.Kills, directives.Kill{Scope: "tool:c", Reason: "r", At: time.Now()})
				})
				inForce("killed by the version before", "c", governor.Killed)
				old(lift("tool:c"))
				inForce("and lifted by it", "c", governor.Admitted)
				inForce("all the while", "b", governor.Killed)
				old(func(o *directives.Directives) { o.Limits[0].PerDay = &six })
				limit("overridden by the version before", 6)
				old(func(o *directives.Directives) { o.Limits = nil })
				limit("reset by it", 0)

				if !c.storeless {
					// What is in Redis alone is not known to the version before, which writes over it.
					f.set(func() { f.lost = true })
					order(kill("d"))
					inForce("the store is away", "d", governor.Killed)
					f.set(func() { f.lost = false })
					old(lift("tool:b"))
					inForce("written over", "d", governor.Killed)
					inForce("lifted at the same time", "b", governor.Admitted)
				} else {
					order(kill("d"))
				}
				time.Sleep(3 * time.Second)
				for _, g := range fleet {
					g.Refresh(t.Context())
				}
				synctest.Wait()
				b, err := f.Snapshot(t.Context())
				if err != nil || b.Before != nil || !b.Directives.Merged || b.Directives.KillOn("tool:d", time.Now()) == nil || b.Directives.KillOn("tool:a", time.Now()) != nil {
					t.Errorf("at last Redis has %+v, %v", b, err)
				}
				if stored, err := f.fleet.Directives(t.Context()); !c.storeless && (err != nil || !stored.Merged || stored.Beyond(&b.Directives) != nil || b.Directives.Beyond(&stored) != nil) {
					t.Errorf("at last the store has %+v, %v", stored, err)
				}
			})
		})
	}
}

package governor_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
)

// TestLongSleep has an instance sleep until what it knew is older than what is remembered of lifts. It revives nothing of that when it
// wakes, and loses nothing that holds.
func TestLongSleep(t *testing.T) {
	limits := []*governor.Limit{{Scope: "everything", Key: "all", PerSecond: 1000}} // no slots, which shut
	call := func(tool string) *governor.Call {
		return &governor.Call{Weight: 1, Scopes: []string{"tool:" + tool}, Limits: limits}
	}
	for _, c := range []struct {
		name             string
		sleeps           time.Duration // after the lift
		lifts            int           // of other kill switches, before it wakes
		storeless, alone bool
		down, lost       bool // when it wakes the counters, or the store, are away for a while
	}{
		{"for long", 31 * 24 * time.Hour, 0, false, false, false, false},
		{"for long, and the store is away", 31 * 24 * time.Hour, 0, false, false, false, true},
		{"for long, and the counters are away", 31 * 24 * time.Hour, 0, false, false, true, false},
		{"for long, without a store", 31 * 24 * time.Hour, 0, true, false, false, false},
		{"for long, with counters of its own", 31 * 24 * time.Hour, 0, false, true, false, false},
		{"while much is lifted", time.Hour, 1100, false, false, false, false},
		{"while much is lifted, and the store is away", time.Hour, 1100, false, false, false, true},
		{"while much is lifted, and the counters are away", time.Hour, 1100, false, false, true, false},
		{"while much is lifted, without a store", time.Hour, 1100, true, false, false, false},
		{"while much is lifted, with counters of its own", time.Hour, 1100, false, true, false, false},
		{"for a while", time.Hour, 5, false, false, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				w := &directives.Writer{Store: f, Board: f, Now: time.Now}
				o := governor.Options{Counters: f, Epochs: f, Directives: f}
				switch {
				case c.storeless:
					w.Store, w.Storeless, o.Directives = nil, true, nil
				case c.alone:
					w.Board, o.Standalone = nil, true
				}
				start := func(name string) *governor.Governor {
					o.Instance = name
					if c.alone {
						own := governor.NewStandalone(time.Now)
						o.Counters, o.Epochs = own, own
					}
					g := governor.New(o)
					t.Cleanup(g.Close)
					return g
				}
				change := func(change func(*directives.Directives) error) {
					t.Helper()
					if _, err := w.Change(t.Context(), change); err != nil && !errors.As(err, new(*directives.Apart)) {
						t.Fatal(err)
					}
				}
				kill := func(tool string) {
					t.Helper()
					change(func(o *directives.Directives) error {
						return o.Kill(directives.Kill{Scope: "tool:" + tool, Reason: "r", At: time.Now()})
					})
				}
				lift := func(tool string) {
					t.Helper()
					change(func(o *directives.Directives) error { return o.Lift("tool:" + tool) })
				}
				awake, asleep := start("awake"), start("asleep")
				kill("lifted")
				kill("killed")
				for _, g := range []*governor.Governor{awake, asleep} {
					within(t, g, call("lifted"), governor.Killed)
					time.Sleep(2 * time.Second)
					within(t, g, call("other"), governor.Admitted)
				}
				lift("lifted")
				time.Sleep(c.sleeps)
				change(func(o *directives.Directives) error {
					for i := range c.lifts {
						o.Gone = append(o.Gone, directives.Gone{Of: fmt.Sprint("lift ", i), At: time.Now()})
					}
					return nil
				})
				within(t, awake, call("lifted"), governor.Admitted)
				if !c.alone {
					board := &directives.Writer{Board: f, Now: time.Now}
					if _, err := board.Change(t.Context(), func(o *directives.Directives) error {
						return o.Kill(directives.Kill{Scope: "tool:new", Reason: "in Redis alone", At: time.Now()})
					}); err != nil {
						t.Fatal(err)
					}
				}
				f.set(func() { f.down, f.lost = c.down, c.lost })
				for range 20 {
					for tool, free := range map[string]bool{"other": true, "killed": false, "new": c.alone || c.down} {
						if d := admit(t, asleep, call(tool)); d.Admitted() != free {
							t.Errorf("it wakes: %s: %+v", tool, d)
						}
					}
					time.Sleep(100 * time.Millisecond)
				}
				f.set(func() { f.down, f.lost = false, false })
				if took := within(t, asleep, call("lifted"), governor.Admitted); took > 2*time.Second {
					t.Errorf("what was lifted is admitted after %v", took)
				}
				for range 50 {
					for _, g := range []*governor.Governor{awake, asleep} {
						for tool, free := range map[string]bool{"lifted": true, "killed": false, "new": c.alone} {
							if d := admit(t, g, call(tool)); d.Admitted() != free {
								t.Fatalf("%s: %+v", tool, d)
							}
						}
					}
					time.Sleep(100 * time.Millisecond)
				}
				for name, g := range map[string]*governor.Governor{"awake": awake, "asleep": asleep} {
					if says := g.Degraded(); len(says) > 0 {
						t.Errorf("%s: %q", name, says)
					}
				}
				after, err := w.Directives(t.Context())
				if want := fmt.Sprint(2 - map[bool]int{true: 1}[c.alone]); err != nil || fmt.Sprint(len(after.Kills)) != want {
					t.Errorf("%d kill switches, want %s; %v", len(after.Kills), want, err)
				}
			})
		})
	}
}

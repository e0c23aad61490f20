package directives

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// unmerged are directives as the version before reads them: it drops what it does not know.
func unmerged(o Directives) Directives {
	out := Directives{Version: o.Version, Kills: slices.Clone(o.Kills), Limits: slices.Clone(o.Limits)}
	for i := range out.Limits {
		out.Limits[i].At = time.Time{}
	}
	return out
}

// The changes of directives in the version before.
type unmerging struct{ *Directives }

func (o unmerging) kill(k Kill) error {
	o.Kills = slices.DeleteFunc(o.Kills, func(old Kill) bool { return old.Scope == k.Scope || old.ended(k.At) })
	o.Kills = append(o.Kills, k)
	return nil
}

func (o unmerging) lift(scope string) error {
	n := len(o.Kills)
	if o.Kills = slices.DeleteFunc(o.Kills, func(k Kill) bool { return k.Scope == scope }); len(o.Kills) == n {
		return errors.New("there is none")
	}
	return nil
}

func (o unmerging) override(v Override) error {
	v.At = time.Time{}
	i := slices.IndexFunc(o.Limits, func(old Override) bool { return old.Scope == v.Scope })
	if i < 0 {
		o.Limits = append(o.Limits, v)
	} else {
		o.Limits[i] = v
	}
	return nil
}

func (o unmerging) reset(scope string) error {
	n := len(o.Limits)
	if o.Limits = slices.DeleteFunc(o.Limits, func(v Override) bool { return v.Scope == scope }); len(o.Limits) == n {
		return errors.New("there is none")
	}
	return nil
}

// copyOld does as an instance of the version before, which replaces what Redis has by what the store has.
func (w *world) copyOld() {
	if !w.store.down && !w.board.down && w.store.directives.Version > w.board.directives.Version {
		w.board.directives = unmerged(w.store.directives)
		w.board.revision++
	}
}

// orderOld has a writer of the version before give a directive, or lift those on a scope: in the store, and with it in Redis.
func (w *world) orderOld() {
	if w.rng.IntN(3) == 0 {
		w.copyOld()
		return
	}
	if w.store.down {
		return
	}
	w.names++
	w.at = w.at.Add(time.Microsecond)
	scope, limit, lifts := fmt.Sprint("tool:", w.rng.IntN(4)), w.rng.IntN(3) == 0, w.rng.IntN(3) > 0
	number := int64(w.names)
	o := unmerged(w.store.directives)
	seen := named(&o, scope, limit)
	name := fmt.Sprint("kill", number)
	var err error
	switch {
	case limit && lifts:
		err = unmerging{&o}.reset(scope)
	case limit:
		name = fmt.Sprint("limit", number)
		err = unmerging{&o}.override(Override{Scope: scope, Limits: Limits{PerDay: &number}})
	case lifts:
		err = unmerging{&o}.lift(scope)
	default:
		err = unmerging{&o}.kill(Kill{Scope: scope, Reason: name, At: w.at})
	}
	if err != nil {
		return
	}
	o.Version = NextVersion(w.store.directives.Version, w.at)
	w.store.directives = o
	kept := named(&w.store.kept, scope, limit)
	for _, name := range seen {
		if w.gone[name] = true; !slices.Contains(kept, name) {
			w.doubtful[name] = true // it came and went before a writer that merges has seen it
		}
	}
	if !lifts {
		w.accepted[name] = ordered{scope: scope, at: w.at, limit: limit}
	}
	// Until one that merges has written an override, nobody knows when it was ordered, but by which version it was.
	made := w.store.made()
	for _, v := range made.Limits {
		name := fmt.Sprint("limit", *v.PerDay)
		if a := w.accepted[name]; !a.at.Equal(v.At) {
			w.doubtful[name] = w.doubtful[name] || a.at.Before(w.at)
			a.at = v.At
			w.accepted[name] = a
		}
	}
	if w.rng.IntN(4) > 0 {
		w.copyOld()
	}
}

// TestRewritten has a writer that does not merge change what one that does has written.
func TestRewritten(t *testing.T) {
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	now := at.Add(time.Hour)
	five, six := int64(5), int64(6)
	before := Directives{Version: at.UnixMilli(), Merged: true,
		Kills:  []Kill{{Scope: "tool:a", Reason: "r", At: at}, {Scope: "tool:b", Reason: "r", At: at, Until: at.Add(time.Minute)}, {Scope: "tool:c", Reason: "r", At: at}},
		Limits: []Override{{Scope: "tool:a", Limits: Limits{PerDay: &five}, At: at}, {Scope: "tool:b", Limits: Limits{PerDay: &five}, At: at}},
		Gone:   []Gone{{Of: "x", At: at}},
	}
	for _, c := range []struct {
		name   string
		change func(unmerging) error
		kills  int
		gone   int // beside that before
		limits map[string]int64
		later  bool // the override on tool:a
	}{
		{"nothing", func(unmerging) error { return nil }, 3, 0, map[string]int64{"tool:a": 5, "tool:b": 5}, false},
		{"a lift", func(o unmerging) error { return o.lift("tool:a") }, 2, 1, map[string]int64{"tool:a": 5, "tool:b": 5}, false},
		{"a lift of what has ended", func(o unmerging) error { return o.lift("tool:b") }, 2, 0, map[string]int64{"tool:a": 5, "tool:b": 5}, false},
		{"another kill, by which what has ended is left out", func(o unmerging) error { return o.kill(Kill{Scope: "tool:a", Reason: "s", At: now}) }, 2, 1, map[string]int64{"tool:a": 5, "tool:b": 5}, false},
		{"another override", func(o unmerging) error { return o.override(Override{Scope: "tool:a", Limits: Limits{PerDay: &six}}) }, 3, 0, map[string]int64{"tool:a": 6, "tool:b": 5}, true},
		{"the same override", func(o unmerging) error { return o.override(Override{Scope: "tool:a", Limits: Limits{PerDay: &five}}) }, 3, 0, map[string]int64{"tool:a": 5, "tool:b": 5}, false},
		{"an override on another", func(o unmerging) error { return o.override(Override{Scope: "tool:c", Limits: Limits{PerDay: &six}}) }, 3, 0, map[string]int64{"tool:a": 5, "tool:b": 5, "tool:c": 6}, false},
		{"a reset", func(o unmerging) error { return o.reset("tool:a") }, 3, 1, map[string]int64{"tool:b": 5}, false},
		{"all goes", func(o unmerging) error {
			return errors.Join(o.lift("tool:a"), o.lift("tool:b"), o.lift("tool:c"), o.reset("tool:a"), o.reset("tool:b"))
		}, 0, 4, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := unmerged(before)
			if err := c.change(unmerging{&o}); err != nil {
				t.Fatal(err)
			}
			o.Version++
			made := Rewritten(before, o, now)
			if made.Version != o.Version || made.Settled() || len(made.Kills) != c.kills || len(made.Gone) != 1+c.gone {
				t.Errorf("%+v", made)
			}
			all := Merge(before, made, now)
			for _, scope := range []string{"tool:a", "tool:b", "tool:c"} {
				if v := all.OverrideOn(scope); (v == nil) != (c.limits[scope] == 0) || v != nil && *v.PerDay != c.limits[scope] {
					t.Errorf("%s: %+v, want %d", scope, v, c.limits[scope])
				}
			}
			if v := all.OverrideOn("tool:a"); v != nil && v.At.After(at) != c.later {
				t.Errorf("it was ordered at %v", v.At)
			}
			if again := Rewritten(before, o, now); again.Beyond(&made) != nil || made.Beyond(&again) != nil {
				t.Errorf("who reads them again reads %+v", again)
			}
			if len(all.Kills) > c.kills+1 || all.KillOn("tool:a", now) != nil != (o.KillOn("tool:a", now) != nil) {
				t.Errorf("merged with what was before: %+v", all)
			}
		})
	}
}

// TestResetWithoutItsTime resets an override that has lost its time, in Redis alone: it lifts what was ordered up to then, and not what the
// store has since.
func TestResetWithoutItsTime(t *testing.T) {
	w := newWorld(t, 0)
	order := func(writer int, change func(*Directives) error) {
		t.Helper()
		w.at = w.at.Add(time.Minute + 565*time.Microsecond)
		if _, err := w.writers[writer].Change(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	override := func(n int64) func(*Directives) error {
		return func(o *Directives) error {
			return o.Override(Override{Scope: "tool:x", Limits: Limits{PerDay: &n}, At: w.at})
		}
	}
	reset := func(o *Directives) error { return o.Reset("tool:x") }
	for _, later := range []bool{false, true} {
		w.board.directives, w.board.kept = Directives{}, Directives{}
		order(2, override(1))
		w.copyOld()
		if later {
			order(2, override(2))
		}
		order(1, reset)
		w.agree()
		for name, o := range map[string]*Directives{"the store": &w.store.directives, "the board": &w.board.directives} {
			if v := o.OverrideOn("tool:x"); (v != nil) != later || later && *v.PerDay != 2 {
				t.Errorf("later %t: %s has %+v", later, name, v)
			}
		}
	}
}

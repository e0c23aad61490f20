package directives

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// A place keeps directives for the tests: it is a store and a board. It can be out of reach, or do what it is asked and lose the answer.
type place struct {
	directives Directives
	kept       Directives // as a writer that merges has written them
	revision   int64
	now        func() time.Time
	down       bool
	mute       bool
	before     func() // is called before each write: what others do meanwhile
}

var errAway = errors.New("away")

func (p *place) Directives(context.Context) (Directives, error) {
	if p.down {
		return Directives{}, errAway
	}
	return p.made(), nil
}

// made are the directives as a store has them that knows of writers which do not merge.
func (p *place) made() Directives {
	if o := p.copied(); o.Settled() || p.kept.Version == 0 {
		return o
	}
	return Rewritten(p.kept, p.copied(), p.now())
}

func (p *place) copied() Directives {
	o := p.directives
	o.Kills, o.Limits, o.Gone = slices.Clone(o.Kills), slices.Clone(o.Limits), slices.Clone(o.Gone)
	return o
}

func (p *place) meanwhile() {
	if do := p.before; do != nil {
		p.before = nil
		do()
	}
}

func (p *place) Change(_ context.Context, change func(*Directives) error) (Directives, error) {
	if p.meanwhile(); p.down {
		return Directives{}, errAway
	}
	o := p.made()
	if err := change(&o); err != nil {
		return Directives{}, err
	}
	o.Version = NextVersion(p.directives.Version, p.now())
	p.directives, p.kept = o, o
	if p.mute {
		return Directives{}, errAway
	}
	return p.copied(), nil
}

func (p *place) Snapshot(ctx context.Context) (Snapshot, error) {
	if p.down {
		return Snapshot{}, errAway
	}
	b := Snapshot{Revision: p.revision, Directives: p.copied()}
	if kept := p.kept; kept.Version > 0 && kept.Version != p.directives.Version {
		b.Before = &kept
	}
	return b, nil
}

func (p *place) Publish(_ context.Context, before int64, o Directives) (bool, error) {
	if p.meanwhile(); p.down {
		return false, errAway
	}
	if p.directives.Version != before || o.Version <= before {
		return false, nil
	}
	p.directives = o
	p.directives = p.copied()
	p.kept = p.directives
	p.revision++
	if p.mute {
		return false, errAway
	}
	return true, nil
}

// A world has a store, a board, two writers, and instances, which know what they have read.
type world struct {
	t         *testing.T
	rng       *rand.Rand
	at        time.Time
	store     *place
	board     *place
	writers   []*Writer
	instances []Directives
	names     int
	mixed     bool               // there are writers and instances of the version before, too
	accepted  map[string]ordered // by their names
	gone      map[string]bool
	doubtful  map[string]bool // nobody knows whether they are in force
}

type ordered struct {
	scope string
	at    time.Time
	until time.Time
	limit bool
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 14)), mixed: seed%2 == 1, at: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), instances: make([]Directives, 3),
		accepted: map[string]ordered{}, gone: map[string]bool{}, doubtful: map[string]bool{},
	}
	now := func() time.Time { return w.at }
	w.store, w.board = &place{now: now}, &place{now: now}
	w.writers = []*Writer{{Store: w.store, Board: w.board, Now: now}, {Board: w.board, Now: now}, {Store: w.store, Now: now}}
	if w.mixed { // an instance that merges marks what is there as soon as it starts
		w.writers[2].Change(t.Context(), func(*Directives) error { return nil })
	}
	return w
}

// named are the directives on a scope, by their names.
func named(o *Directives, scope string, limit bool) (names []string) {
	for _, k := range o.Kills {
		if k.Scope == scope && !limit {
			names = append(names, k.Reason)
		}
	}
	for _, v := range o.Limits {
		if v.Scope == scope && limit {
			names = append(names, fmt.Sprint("limit", *v.PerDay))
		}
	}
	return names
}

// order has a writer give a directive, or lift those on a scope.
func (w *world) order() {
	w.names++
	w.at = w.at.Add(time.Microsecond)
	scope, limit, lifts := fmt.Sprint("tool:", w.rng.IntN(4)), w.rng.IntN(3) == 0, w.rng.IntN(3) == 0
	number, at := int64(w.names), w.at
	kill := Kill{Scope: scope, Reason: fmt.Sprint("kill", number), At: w.at}
	if w.rng.IntN(3) == 0 {
		kill.Until = w.at.Add(time.Duration(w.rng.IntN(7200)+1) * time.Second)
	}
	var seen [][]string // of each attempt
	mute := w.store.mute || w.board.mute
	_, err := w.writers[w.rng.IntN(len(w.writers))].Change(w.t.Context(), func(o *Directives) error {
		seen = append(seen, named(o, scope, limit))
		switch {
		case limit && lifts:
			return o.Reset(scope)
		case limit:
			err := o.Override(Override{Scope: scope, Limits: Limits{PerDay: &number}, At: kill.At})
			at = o.OverrideOn(scope).At // later than that of what it has seen
			return err
		case lifts:
			return o.Lift(scope)
		}
		return o.Kill(kill)
	})
	mute = mute || w.store.mute || w.board.mute
	made := err == nil || errors.As(err, new(*Apart))
	for i, names := range seen {
		for _, name := range names {
			if made && i == len(seen)-1 {
				w.gone[name] = true
			} else if made || mute {
				w.doubtful[name] = true
			}
		}
	}
	if name := kill.Reason; !lifts {
		if limit {
			name = fmt.Sprint("limit", number)
		}
		if w.accepted[name] = (ordered{scope, at, kill.Until, limit}); limit {
			w.accepted[name] = ordered{scope: scope, at: at, limit: true}
		}
		if !made && mute {
			w.doubtful[name] = true
		} else if !made {
			delete(w.accepted, name) // it never came
		}
	}
}

// meet has an instance read what it can reach, and bring what one place lacks to the other.
func (w *world) meet(i int) {
	writer := w.writers[0]
	b, err := w.board.Snapshot(w.t.Context())
	if err == nil {
		w.instances[i] = Merge(w.instances[i], writer.Published(b, nil), w.at)
	}
	if w.rng.IntN(2) == 0 || b.Before != nil {
		if stored, err := w.store.Directives(w.t.Context()); err == nil {
			w.instances[i] = Merge(Merge(w.instances[i], stored, w.at), writer.Published(b, &stored), w.at)
			writer.Save(w.t.Context(), stored, w.instances[i])
		}
	}
	if w.rng.IntN(2) == 0 {
		writer.Publish(w.t.Context(), b, w.instances[i])
	}
}

func (w *world) step() {
	w.at = w.at.Add(time.Duration(w.rng.IntN(60_000_000)) * time.Microsecond)
	switch w.rng.IntN(12) {
	case 0:
		w.store.down = w.rng.IntN(3) == 0
	case 1:
		w.board.down = w.rng.IntN(3) == 0
	case 2:
		w.store.mute = w.rng.IntN(5) == 0
	case 3:
		w.board.mute = w.rng.IntN(5) == 0
	case 4: // one is lost, where nobody would miss anything
		stored, b := w.store.made(), Snapshot{Directives: w.board.copied(), Before: &w.board.kept}
		if published := w.writers[0].Published(b, nil); published.Beyond(&stored) == nil {
			w.board.directives, w.board.kept = Directives{}, Directives{}
		}
	case 5:
		w.instances[w.rng.IntN(len(w.instances))] = Directives{} // it starts anew
	case 6:
		w.at = w.at.Add(time.Duration(w.rng.IntN(7200)) * time.Second)
	case 7, 8, 9:
		w.meet(w.rng.IntN(len(w.instances)))
	default:
		if w.mixed && w.rng.IntN(2) == 0 {
			w.orderOld()
			return
		}
		if w.rng.IntN(4) == 0 { // another comes in between
			side := []*place{w.store, w.board}[w.rng.IntN(2)]
			side.before = w.order
		}
		w.order()
	}
}

// agree brings everything back, and has all instances meet.
func (w *world) agree() {
	for _, p := range []*place{w.store, w.board} {
		p.down, p.mute, p.before = false, false, nil
	}
	for range 2 {
		for i := range w.instances {
			b, _ := w.board.Snapshot(w.t.Context())
			there := w.store.made()
			all := Merge(Merge(w.instances[i], w.writers[0].Published(b, &there), w.at), there, w.at)
			stored, err := w.writers[0].Save(w.t.Context(), there, all)
			if err != nil {
				w.t.Fatal(err)
			}
			if w.instances[i], err = w.writers[0].Publish(w.t.Context(), b, Merge(all, stored, w.at)); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// check wants of directives what was ordered and not lifted, and nothing else.
func (w *world) check(where string, o *Directives) {
	w.t.Helper()
	there := map[string]bool{}
	for i := range 4 {
		scope := fmt.Sprint("tool:", i)
		for _, k := range o.Kills {
			if k.Scope == scope && !k.ended(w.at) {
				there[k.Reason] = true
			}
		}
		if v := o.OverrideOn(scope); v != nil {
			there[fmt.Sprint("limit", *v.PerDay)] = true
		}
	}
	// An override takes the place of each that was ordered earlier, whether it was lifted since or not.
	replaced := func(a ordered) (is, maybe bool) {
		for name, b := range w.accepted {
			if a.limit && b.limit && a.scope == b.scope && b.at.After(a.at) {
				is, maybe = is || !w.doubtful[name], true
			}
		}
		return is, maybe
	}
	for name, a := range w.accepted {
		ended := !a.until.IsZero() && !w.at.Before(a.until)
		is, maybe := replaced(a)
		want := !w.gone[name] && !ended && !is
		switch {
		case w.doubtful[name]:
		case want && !there[name] && maybe:
		case want && !there[name]:
			w.t.Errorf("%s: %s is lost", where, name)
		case !want && there[name]:
			w.t.Errorf("%s: %s is revived", where, name)
		}
	}
}

var schedulesRun = flag.Int("schedules", 2000, "schedules of directives; make simulate runs 10000")

// TestNoDirectiveIsLostOrRevived runs random schedules of directives, lifts, outages of either side, lost answers, restarts and writers that
// come in between. In the end each directive is in force everywhere that was not lifted by a lift which had seen it, and no other.
func TestNoDirectiveIsLostOrRevived(t *testing.T) {
	schedules := uint64(*schedulesRun)
	if testing.Short() {
		schedules /= 4
	}
	orders, lifted, doubtful := 0, 0, 0
	for seed := range schedules {
		w := newWorld(t, seed)
		for range 20 + w.rng.IntN(40) {
			w.step()
		}
		w.agree()
		w.check("the store", &w.store.directives)
		w.check("the board", &w.board.directives)
		for i := range w.instances {
			w.check(fmt.Sprint("instance ", i), &w.instances[i])
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		orders += len(w.accepted)
		lifted += len(w.gone)
		doubtful += len(w.doubtful)
	}
	t.Logf("%d orders, %d of them lifted, %d whose fate nobody knows", orders, lifted, doubtful)
	if lifted*10 < orders || doubtful*4 > orders {
		t.Error("too little was exercised")
	}
}

// TestMerge holds that it does not matter who merges what first, or how often.
func TestMerge(t *testing.T) {
	for seed := range uint64(300) {
		w := newWorld(t, seed)
		var all []Directives
		for range 30 {
			w.step()
			all = append(all, w.store.copied(), w.board.copied())
		}
		content := func(o Directives) Directives { o.Version = 0; return o }
		in := func(list []Directives) (out Directives) {
			for _, o := range list {
				out = Merge(out, o, w.at)
			}
			return content(out)
		}
		want := in(all)
		for range 5 {
			w.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			if got := in(append(slices.Clone(all), all[:10]...)); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d: in another order they merge to\n%+v, want\n%+v", seed, got, want)
			}
		}
	}
}

// TestWhatIsRemembered bounds what was lifted, by number and by age.
func TestWhatIsRemembered(t *testing.T) {
	w := newWorld(t, 1)
	writer := w.writers[0]
	for i := range maxGone - 10 {
		w.store.directives.Gone = append(w.store.directives.Gone, Gone{Of: fmt.Sprint(i), At: w.at})
	}
	for i := range 50 {
		w.at = w.at.Add(time.Minute)
		for _, change := range []func(*Directives) error{
			func(o *Directives) error { return o.Kill(Kill{Scope: "tool:x", Reason: fmt.Sprint(i), At: w.at}) },
			func(o *Directives) error { return o.Lift("tool:x") },
		} {
			if _, err := writer.Change(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(w.store.directives.Gone); n != maxGone || !w.store.directives.Gone[0].At.Equal(w.at) {
		t.Errorf("%d lifts are remembered, the last of %v, want %d and the last of %v", n, w.store.directives.Gone[0].At, maxGone, w.at)
	}
	w.at = w.at.Add(goneKept + time.Hour)
	after, err := writer.Change(t.Context(), func(o *Directives) error { return o.Kill(Kill{Scope: "tool:y", Reason: "r", At: w.at}) })
	if err != nil || len(after.Gone) != 0 || len(after.Kills) != 1 {
		t.Errorf("after %v: %d lifts, %d kills, %v", goneKept, len(after.Gone), len(after.Kills), err)
	}
}

// TestReplacedOverrides changes a limit more often than lifts are remembered: what was lifted before that stays so, and of the override no
// older copy comes back, neither one that was replaced nor one that was lifted.
func TestReplacedOverrides(t *testing.T) {
	w := newWorld(t, 1)
	change := func(change func(*Directives) error) {
		t.Helper()
		w.at = w.at.Add(time.Second)
		if _, err := w.writers[0].Change(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	override := func(n int64) {
		change(func(o *Directives) error {
			return o.Override(Override{Scope: "tool:x", Limits: Limits{PerDay: &n}, At: w.at})
		})
	}
	change(func(o *Directives) error { return o.Kill(Kill{Scope: "tool:x", Reason: "r", At: w.at}) })
	override(1)
	var copies []Directives
	copies = append(copies, w.store.copied())
	change(func(o *Directives) error { return o.Lift("tool:x") })
	for i := range int64(2 * maxGone) {
		if override(2 + i); i%100 == 0 {
			copies = append(copies, w.store.copied())
		}
	}
	last := w.store.copied()
	if len(last.Gone) != 1 || len(last.Limits) != 1 {
		t.Fatalf("%d lifts and %d overrides are kept", len(last.Gone), len(last.Limits))
	}
	for i := range copies {
		all := Merge(copies[i], last, w.at)
		if v := all.OverrideOn("tool:x"); len(all.Kills) != 0 || len(all.Limits) != 1 || v.digest() != last.Limits[0].digest() {
			t.Errorf("copy %d: %d kills, %+v", i, len(all.Kills), v)
		}
		if copies[i].Beyond(&last) != nil && i > 0 || last.Beyond(&copies[i]) == nil {
			t.Errorf("copy %d: %v and %v", i, copies[i].Beyond(&last), last.Beyond(&copies[i]))
		}
	}
	change(func(o *Directives) error { return o.Reset("tool:x") })
	reset := w.store.copied()
	for i := range copies {
		if all := Merge(copies[i], reset, w.at); len(all.Limits) != 0 || copies[i].Beyond(&reset) != nil {
			t.Errorf("copy %d: it is back: %+v, %v", i, all.Limits, copies[i].Beyond(&reset))
		}
	}
	override(1)
	if all := Merge(w.store.copied(), reset, w.at); len(all.Limits) != 1 || len(all.Gone) != 2 {
		t.Errorf("ordered anew: %+v", all)
	}
	for range 3 {
		change(func(o *Directives) error { return o.Reset("tool:x") })
		override(1)
	}
	if n := len(w.store.directives.Gone); n != 2 {
		t.Errorf("%d lifts are remembered of one kill switch and of one scope's overrides", n)
	}
}

// TestWhatIsInOnePlace wants a directive to say where it is, and a reading too.
func TestWhatIsInOnePlace(t *testing.T) {
	kill := func(o *Directives) error { return o.Kill(Kill{Scope: "tool:x", Reason: "r", At: time.Now()}) }
	lift := func(o *Directives) error { return o.Lift("tool:x") }
	for _, c := range []struct {
		name        string
		store, down bool // what is away
		writer      int
		change      func(*Directives) error
		made        bool
		says        []string // of the change
		reads       []string // later, when both answer
	}{
		{"both answer", false, false, 0, kill, true, nil, nil},
		{"the store is away", true, false, 0, kill, true, []string{"the store can't be reached"}, []string{"in Redis alone: tool:x"}},
		{"Redis is away", false, true, 0, kill, true, []string{"Redis can't be reached"}, []string{"in the store alone: tool:x"}},
		{"both are away", true, true, 0, kill, false, nil, nil},
		{"a writer that knows Redis alone", false, false, 1, kill, true, nil, []string{"in Redis alone: tool:x"}},
		{"a writer that knows the store alone", false, false, 2, kill, true, nil, []string{"in the store alone: tool:x"}},
		{"a lift of what there is not", false, false, 0, lift, false, nil, nil},
		{"a lift where the store can't be asked", true, false, 0, lift, false, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.store.down, w.board.down = c.store, c.down
			says := func(err error) (out []string) {
				if a := (*Apart)(nil); errors.As(err, &a) {
					out = append(out, a.Warnings()...)
				}
				return out
			}
			matches := func(got, want []string) bool {
				return slices.EqualFunc(got, want, func(text, begins string) bool { return len(text) >= len(begins) && text[:len(begins)] == begins })
			}
			after, err := w.writers[c.writer].Change(t.Context(), c.change)
			if made := len(after.Kills) > 0; made != c.made || (err == nil) != (c.made && c.says == nil) || !matches(says(err), c.says) {
				t.Errorf("made %t, %v", made, err)
			}
			if (c.store || c.down) && !c.made && !errors.Is(err, errAway) {
				t.Errorf("it is not said what can't be asked: %v", err)
			}
			w.store.down, w.board.down = false, false
			o, err := w.writers[0].Directives(t.Context())
			if (len(o.Kills) > 0) != c.made || !matches(says(err), c.reads) {
				t.Errorf("read %+v, %v", o, err)
			}
		})
	}
}

// TestDirectivesOfBefore reads what a version wrote that did not merge.
func TestDirectivesOfBefore(t *testing.T) {
	w := newWorld(t, 1)
	n := int64(5)
	w.store.directives = Directives{Version: 7, Kills: []Kill{{Scope: "tool:x", Reason: "old", At: w.at}}, Limits: []Override{{Scope: "tool:y", Limits: Limits{PerDay: &n}}}}
	w.board.directives = w.store.copied()
	m := int64(6)
	for _, change := range []func(*Directives) error{
		func(o *Directives) error { return o.Override(Override{Scope: "tool:y", Limits: Limits{PerDay: &m}}) },
		func(o *Directives) error { return o.Lift("tool:x") },
	} {
		if _, err := w.writers[0].Change(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	for name, o := range map[string]*Directives{"store": &w.store.directives, "board": &w.board.directives} {
		if v := o.OverrideOn("tool:y"); len(o.Kills) != 0 || len(o.Limits) != 1 || *v.PerDay != 6 {
			t.Errorf("%s: %+v", name, o)
		}
	}
	if len(w.store.directives.Gone) != 1 {
		t.Error("what was lifted is not remembered")
	}
}

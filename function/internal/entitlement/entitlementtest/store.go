// Package entitlementtest holds the suite that every [entitlement.Store] must pass.
package entitlementtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC)

// TestStore wants of an empty store what instances and the control plane rely on.
func TestStore(t *testing.T, s entitlement.Store) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	t.Run("empty", func(t *testing.T) { testEmpty(ctx, t, s) })
	t.Run("tenants", func(t *testing.T) { testTenants(ctx, t, s) })
	t.Run("plans", func(t *testing.T) { testPlans(ctx, t, s) })
	t.Run("changes", func(t *testing.T) { testChanges(ctx, t, s) })
	t.Run("events", func(t *testing.T) { testEvents(ctx, t, s) })
	t.Run("pages", func(t *testing.T) { testPages(ctx, t, s) })
	t.Run("together", func(t *testing.T) { testTogether(ctx, t, s) })
	t.Run("contexts", func(t *testing.T) { testContexts(ctx, t, s) })
	t.Run("empty lists", func(t *testing.T) { testEmptyLists(ctx, t, s) })
}

func testEmpty(ctx context.Context, t *testing.T, s entitlement.Store) {
	if _, err := s.Tenant(ctx, "acme"); !errors.Is(err, entitlement.ErrUnknown) {
		t.Errorf("a tenant of an empty store: %v", err)
	}
	if all, err := s.Tenants(ctx, "", 10); len(all) > 0 || err != nil {
		t.Errorf("an empty store has %v, %v", all, err)
	}
	if plans, err := s.Plans(ctx); len(plans) > 0 || err != nil {
		t.Errorf("an empty store has the plans %v, %v", plans, err)
	}
	if v, err := s.Version(ctx); v != 0 || err != nil {
		t.Errorf("an empty store has version %d, %v", v, err)
	}
	if c, err := s.Changes(ctx, 0); err != nil || c.Version != 0 || len(c.Tenants)+len(c.Plans) > 0 {
		t.Errorf("changes of an empty store: %+v, %v", c, err)
	}
}

func grant(id string, after time.Duration, plan string) *entitlement.Event {
	return &entitlement.Event{ID: id, Source: "market", Type: entitlement.Grant, Tenant: "acme", Time: noon.Add(after), Plan: plan}
}

// full is a source with something in every field.
func full() entitlement.Source {
	rate, burst, live, day, shadow := 2.5, 7.0, int64(3), int64(1<<40), false
	return entitlement.Source{
		Granted: entitlement.Mark{On: true, At: noon}, Suspended: entitlement.Mark{At: noon.Add(time.Nanosecond)}, Plan: "base", Packs: []string{"a", "b"},
		Limits:  directives.Limits{PerSecond: &rate, Burst: &burst, Concurrency: &live, PerDay: &day, DryRun: &shadow},
		Expires: noon.Add(time.Hour), Reason: "ré\"ason\n", Suspense: strings.Repeat("s", 500),
	}
}

func testTenants(ctx context.Context, t *testing.T, s entitlement.Store) {
	fault := errors.New("no")
	if _, err := s.ChangeTenant(ctx, "acme", nil, func(*entitlement.Tenant) error { return fault }); !errors.Is(err, fault) {
		t.Errorf("a change that fails: %v", err)
	}
	if _, err := s.Tenant(ctx, "acme"); !errors.Is(err, entitlement.ErrUnknown) {
		t.Errorf("a change that failed has made one: %v", err)
	}
	begin := time.Now().Add(-time.Minute)
	made, err := s.ChangeTenant(ctx, "acme", nil, func(x *entitlement.Tenant) error {
		if x.Revision != 0 || x.ID != "acme" || len(x.Sources) > 0 || x.Created.Before(begin) || x.Created.After(begin.Add(2*time.Minute)) {
			return fmt.Errorf("a new tenant is %+v", x)
		}
		x.Sources, x.Noted = map[string]entitlement.Source{"market.x_y-z": full(), entitlement.Operator: {}}, entitlement.Stable
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if made.Revision < 1 || made.Noted != entitlement.Stable || !reflect.DeepEqual(made.Sources["market.x_y-z"], full()) {
		t.Errorf("made %+v", made)
	}
	read, err := s.Tenant(ctx, "acme")
	if err != nil || !reflect.DeepEqual(read, made) {
		t.Errorf("read %+v, %v, want %+v", read, err, made)
	}
	// What is returned is the caller's, and so is what change was given.
	spoil := func(x *entitlement.Tenant) {
		src := x.Sources["market.x_y-z"]
		src.Packs[0], *src.Limits.PerSecond = "spoilt", 99
		x.Sources["another"] = entitlement.Source{}
		x.ID, x.Noted = "spoilt", "spoilt"
	}
	spoil(read)
	var kept *entitlement.Tenant
	if _, err := s.ChangeTenant(ctx, "acme", nil, func(x *entitlement.Tenant) error { spoil(x); return fault }); !errors.Is(err, fault) {
		t.Errorf("a change that fails: %v", err)
	}
	again, err := s.Tenant(ctx, "acme")
	if err != nil || !reflect.DeepEqual(again, made) {
		t.Errorf("read %+v, %v, want %+v", again, err, made)
	}
	changed, err := s.ChangeTenant(ctx, "acme", nil, func(x *entitlement.Tenant) error {
		kept = x
		if !reflect.DeepEqual(x, made) {
			return fmt.Errorf("change was given %+v, want %+v", x, made)
		}
		x.Noted = entitlement.Warning
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	spoil(kept)
	made.Noted = entitlement.Warning
	if changed.Revision <= made.Revision {
		t.Errorf("revision %d after %d", changed.Revision, made.Revision)
	}
	if made.Revision = changed.Revision; !reflect.DeepEqual(changed, made) {
		t.Errorf("changed to %+v, want %+v", changed, made)
	}
	spoil(changed)
	if read, err := s.Tenant(ctx, "acme"); err != nil || !reflect.DeepEqual(read, made) {
		t.Errorf("read %+v, %v, want %+v", read, err, made)
	}
}

// testEmptyLists wants nil for what is empty, whether it comes from a change or is read.
func testEmptyLists(ctx context.Context, t *testing.T, s entitlement.Store) {
	for name, sources := range map[string]map[string]entitlement.Source{"empty1": nil, "empty2": {}, "empty3": {"market": {Packs: []string{}}}} {
		bare, err := s.ChangeTenant(ctx, name, nil, func(x *entitlement.Tenant) error { x.Sources = sources; return nil })
		if err != nil {
			t.Fatal(err)
		}
		read, err := s.Tenant(ctx, name)
		if err != nil || !reflect.DeepEqual(read, bare) {
			t.Errorf("%s: read %#v, %v, changed to %#v", name, read, err, bare)
		}
		if len(bare.Sources) == 0 && bare.Sources != nil || bare.Sources["market"].Packs != nil {
			t.Errorf("%s: %#v", name, bare)
		}
	}
}

func testPlans(ctx context.Context, t *testing.T, s entitlement.Store) {
	fault := errors.New("no")
	if _, err := s.ChangePlan(ctx, "gold", func(*entitlement.Plan) error { return fault }); !errors.Is(err, fault) {
		t.Errorf("a change that fails: %v", err)
	}
	rate := 3.0
	made, err := s.ChangePlan(ctx, "gold", func(p *entitlement.Plan) error {
		if p.Revision != 0 || p.Name != "gold" {
			return fmt.Errorf("a new plan is %+v", p)
		}
		p.Title, p.Packs, p.Limits.PerSecond = "Gold", []string{"a", "*"}, &rate
		p.Intervening.PerSecond, p.Notice, p.Grace = &rate, entitlement.Duration(time.Hour), entitlement.Duration(time.Nanosecond)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &entitlement.Plan{
		Name: "gold", Revision: made.Revision, Title: "Gold", Packs: []string{"a", "*"}, Limits: directives.Limits{PerSecond: &rate},
		Intervening: directives.Limits{PerSecond: &rate}, Notice: entitlement.Duration(time.Hour), Grace: 1,
	}
	if made.Revision < 1 || !reflect.DeepEqual(made, want) {
		t.Errorf("made %+v, want %+v", made, want)
	}
	made.Packs[0], *made.Limits.PerSecond = "spoilt", 99
	rate = 3
	base, err := s.ChangePlan(ctx, "base", func(p *entitlement.Plan) error { p.Title = "Cheap"; return nil })
	if err != nil || base.Revision <= want.Revision {
		t.Fatalf("a plan was changed to %+v, %v", base, err)
	}
	plans, err := s.Plans(ctx)
	if err != nil || len(plans) != 2 || plans[0].Name != "base" || !reflect.DeepEqual(plans[1], want) {
		t.Errorf("plans %+v, %v", plans, err)
	}
	changed, err := s.ChangePlan(ctx, "gold", func(p *entitlement.Plan) error {
		if !reflect.DeepEqual(p, want) {
			return fmt.Errorf("change was given %+v, want %+v", p, want)
		}
		p.Packs = nil
		return nil
	})
	if err != nil || changed.Revision <= base.Revision || changed.Packs != nil {
		t.Errorf("changed to %+v, %v", changed, err)
	}
}

// ids lists what a change brings.
func ids(c *entitlement.Changes) (out []string) {
	for _, x := range c.Tenants {
		out = append(out, x.ID)
	}
	for _, x := range c.Plans {
		out = append(out, "plan "+x.Name)
	}
	return out
}

func testChanges(ctx context.Context, t *testing.T, s entitlement.Store) {
	before, err := s.Changes(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := ids(before); !slices.Equal(got, []string{"acme", "plan base", "plan gold"}) {
		t.Errorf("everything is %v", got)
	}
	revision := before.Version
	follow := func(what string, changed int64) {
		t.Helper()
		if changed <= revision {
			t.Errorf("%s: revision %d after %d", what, changed, revision)
		}
		v, err := s.Version(ctx)
		if v != changed || err != nil {
			t.Errorf("%s: version %d, %v, want %d", what, v, err, changed)
		}
		c, err := s.Changes(ctx, revision)
		if err != nil || c.Version != changed || !slices.Contains(ids(c), what) {
			t.Errorf("%s: changes since %d: %v at %d, %v, want it at %d", what, revision, ids(c), c.Version, err, changed)
		}
		if !slices.IsSortedFunc(c.Tenants, func(a, b *entitlement.Tenant) int { return int(a.Revision - b.Revision) }) {
			t.Errorf("%s: not in the order of revisions: %v", what, ids(c))
		}
		revision = changed
	}
	for _, id := range []string{"b", "acme", "c"} {
		x, err := s.ChangeTenant(ctx, id, nil, func(x *entitlement.Tenant) error { x.Noted = entitlement.Boot; return nil })
		if err != nil {
			t.Fatal(err)
		}
		follow(id, x.Revision)
	}
	p, err := s.ChangePlan(ctx, "gold", func(p *entitlement.Plan) error { p.Title = "Silver"; return nil })
	if err != nil {
		t.Fatal(err)
	}
	follow("plan gold", p.Revision)
	if c, err := s.Changes(ctx, revision); err != nil || c.Version != revision {
		t.Errorf("changes since the last one are at %d, %v", c.Version, err)
	}
	if c, err := s.Changes(ctx, 0); err != nil || c.Version != revision || len(c.Tenants) != 3 || len(c.Plans) != 2 {
		t.Errorf("everything is %v at %d, %v", ids(c), c.Version, err)
	}
	// An instance that follows knows what the store does.
	d := entitlement.NewDirectory().With(before)
	c, err := s.Changes(ctx, before.Version)
	if err != nil {
		t.Fatal(err)
	}
	d = d.With(c)
	for id := range d.Tenants {
		if want, err := s.Tenant(ctx, id); err != nil || !reflect.DeepEqual(d.Tenants[id], want) {
			t.Errorf("known as %+v, stored %+v, %v", d.Tenants[id], want, err)
		}
	}
	if d.Version != revision || d.Plans["gold"].Title != "Silver" || d.Plans["base"].Title != "Cheap" || d.Plans["enterprise"].Revision != 0 {
		t.Errorf("the directory is %+v", d)
	}
}

func testEvents(ctx context.Context, t *testing.T, s entitlement.Store) {
	apply := func(e *entitlement.Event) (*entitlement.Tenant, error) {
		return s.ChangeTenant(ctx, e.Tenant, e, func(x *entitlement.Tenant) error { x.Apply(e); return nil })
	}
	fault := errors.New("no")
	e := grant("1", 0, "base")
	e.Tenant = "events"
	for range 2 {
		if _, err := s.ChangeTenant(ctx, e.Tenant, e, func(*entitlement.Tenant) error { return fault }); !errors.Is(err, fault) {
			t.Errorf("an event whose change fails: %v", err)
		}
	}
	first, err := apply(e)
	if err != nil {
		t.Fatal(err)
	}
	if src := first.Sources["market"]; src.Plan != "base" || !src.Granted.At.Equal(e.Time) {
		t.Errorf("after an event: %+v", first)
	}
	same := *e
	same.Time = e.Time.In(time.FixedZone("", 3600))
	for range 2 {
		if _, err := s.ChangeTenant(ctx, e.Tenant, &same, func(*entitlement.Tenant) error { t.Error("an event that was seen changes"); return nil }); !errors.Is(err, entitlement.ErrSeen) {
			t.Errorf("the same event again: %v", err)
		}
	}
	for what, alter := range map[string]func(*entitlement.Event){
		"plan":   func(e *entitlement.Event) { e.Plan = "enterprise" },
		"time":   func(e *entitlement.Event) { e.Time = e.Time.Add(1) },
		"type":   func(e *entitlement.Event) { e.Type = entitlement.Revoke },
		"tenant": func(e *entitlement.Event) { e.Tenant = "others" },
	} {
		other := *e
		alter(&other)
		if _, err := apply(&other); !errors.Is(err, entitlement.ErrOther) {
			t.Errorf("another %s under the same id: %v", what, err)
		}
	}
	if x, err := s.Tenant(ctx, "events"); err != nil || !reflect.DeepEqual(x, first) {
		t.Errorf("after the same events again: %+v, %v, want %+v", x, err, first)
	}
	if _, err := s.Tenant(ctx, "others"); !errors.Is(err, entitlement.ErrUnknown) {
		t.Errorf("an event that was refused made a tenant: %v", err)
	}
	// Ids are those of their source, whatever is in them.
	for _, id := range []string{"1", "__1__", ".", "..", "a/b", "/", "%2F", strings.Repeat("~", 128)} {
		for _, source := range []string{"another", "one.more"} {
			if _, err := apply(&entitlement.Event{ID: id, Source: source, Type: entitlement.Grant, Tenant: "events", Time: noon, Plan: "base"}); err != nil {
				t.Errorf("event %q of %s: %v", id, source, err)
			}
		}
	}
	// One event that comes eight times at once is applied once.
	var mu sync.Mutex
	results := map[error]int{}
	once := grant("once", 0, "base")
	once.Tenant = "once"
	together(8, func(int) {
		_, err := s.ChangeTenant(ctx, "once", once, func(x *entitlement.Tenant) error { return count(x) })
		mu.Lock()
		defer mu.Unlock()
		if errors.Is(err, entitlement.ErrSeen) {
			err = entitlement.ErrSeen
		}
		results[err]++
	})
	if results[nil] != 1 || results[entitlement.ErrSeen] != 7 {
		t.Errorf("one event eight times: %v", results)
	}
	if x, err := s.Tenant(ctx, "once"); err != nil || len(x.Sources) != 1 {
		t.Errorf("one event eight times: %+v, %v", x, err)
	}
}

// count adds a source, so that a change that is lost or doubled shows.
func count(x *entitlement.Tenant) error {
	if x.Sources == nil {
		x.Sources = map[string]entitlement.Source{}
	}
	x.Sources[fmt.Sprint("n", len(x.Sources))] = entitlement.Source{}
	return nil
}

func testPages(ctx context.Context, t *testing.T, s entitlement.Store) {
	all, err := s.Tenants(ctx, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"!", "%2F", "...", "__x__", "a%", "a.b:c@d", "B", "~"}
	for i := range 50 {
		want = append(want, fmt.Sprintf("page-%02d", i))
	}
	together(len(want), func(i int) {
		if _, err := s.ChangeTenant(ctx, want[i], nil, func(*entitlement.Tenant) error { return nil }); err != nil {
			t.Errorf("%s: %v", want[i], err)
		}
	})
	for _, x := range all {
		want = append(want, x.ID)
	}
	slices.Sort(want)
	for _, most := range []int{1, 7, 1000} {
		var got []string
		after := ""
		for {
			page, err := s.Tenants(ctx, after, most)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) > most {
				t.Fatalf("a page of %d has %d", most, len(page))
			}
			if len(page) == 0 {
				break
			}
			for _, x := range page {
				got = append(got, x.ID)
			}
			after = got[len(got)-1]
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d:\n%v, want\n%v", most, got, want)
		}
	}
	if page, err := s.Tenants(ctx, "page-10x", 1); err != nil || len(page) != 1 || page[0].ID != "page-11" {
		t.Errorf("after an id that is not there: %v, %v", page, err)
	}
	if page, err := s.Tenants(ctx, "", 0); err != nil || len(page) != 0 {
		t.Errorf("a page of none: %v, %v", page, err)
	}
	if x, err := s.Tenant(ctx, "__x__"); err != nil || x.ID != "__x__" {
		t.Errorf("a tenant with a name that a database may keep for itself: %v, %v", x, err)
	}
}

// testTogether changes one tenant and one plan from many sides.
func testTogether(ctx context.Context, t *testing.T, s entitlement.Store) {
	const changes = 64
	var mu sync.Mutex
	revisions := map[int64]bool{}
	together(changes, func(i int) {
		e := grant(fmt.Sprint("together-", i), 0, "base")
		e.Tenant = "together"
		x, err := s.ChangeTenant(ctx, "together", e, count)
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if revisions[x.Revision] {
			t.Errorf("revision %d was given twice", x.Revision)
		}
		revisions[x.Revision] = true
	})
	x, err := s.Tenant(ctx, "together")
	if err != nil || len(x.Sources) != changes {
		t.Fatalf("%d changes of %d are there, %v", len(x.Sources), changes, err)
	}
	for r := range revisions {
		if r > x.Revision {
			t.Errorf("revision %d is behind %d", x.Revision, r)
		}
	}
	together(8, func(int) {
		if _, err := s.ChangePlan(ctx, "together", func(p *entitlement.Plan) error { p.Title += "x"; return nil }); err != nil {
			t.Error(err)
		}
	})
	if plans, err := s.Plans(ctx); err != nil || !slices.ContainsFunc(plans, func(p *entitlement.Plan) bool { return p.Title == "xxxxxxxx" }) {
		t.Errorf("after eight changes of a plan: %+v, %v", plans, err)
	}
}

func testContexts(ctx context.Context, t *testing.T, s entitlement.Store) {
	gone, cancel := context.WithCancel(ctx)
	cancel()
	change := func(*entitlement.Tenant) error { return nil }
	for what, do := range map[string]func() error{
		"Tenant":       func() error { _, err := s.Tenant(gone, "acme"); return err },
		"Tenants":      func() error { _, err := s.Tenants(gone, "", 10); return err },
		"ChangeTenant": func() error { _, err := s.ChangeTenant(gone, "gone", nil, change); return err },
		"Plans":        func() error { _, err := s.Plans(gone); return err },
		"ChangePlan": func() error {
			_, err := s.ChangePlan(gone, "gone", func(*entitlement.Plan) error { return nil })
			return err
		},
		"Changes": func() error { _, err := s.Changes(gone, 0); return err },
		"Version": func() error { _, err := s.Version(gone); return err },
	} {
		if do() == nil {
			t.Errorf("%s goes on without its context", what)
		}
	}
	if _, err := s.Tenant(ctx, "gone"); !errors.Is(err, entitlement.ErrUnknown) {
		t.Errorf("a change without its context made a tenant: %v", err)
	}
}

func together(n int, do func(int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

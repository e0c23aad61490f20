package entitlement_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/governor"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

// plans has one with notice and grace, and one without.
var plans = map[string]*entitlement.Plan{
	"gold": {
		Name: "gold", Packs: []string{"search", "pay"}, Limits: directives.Limits{PerSecond: ptr(50.0), Burst: ptr(200.0), Concurrency: ptr(int64(20))},
		Intervening: directives.Limits{PerSecond: ptr(1.0)}, Notice: entitlement.Duration(48 * time.Hour), Grace: entitlement.Duration(24 * time.Hour),
	},
	"bare": {Name: "bare", Packs: []string{"search"}},
}

func said(on bool, after time.Duration) entitlement.Mark {
	return entitlement.Mark{On: on, At: noon.Add(after)}
}

func TestStanding(t *testing.T) {
	expires := noon.Add(240 * time.Hour)
	gold := entitlement.Source{Granted: said(true, 0), Plan: "gold"}
	with := func(s entitlement.Source, change func(*entitlement.Source)) entitlement.Source { change(&s); return s }
	ends := with(gold, func(s *entitlement.Source) { s.Expires = expires })
	bare := with(ends, func(s *entitlement.Source) { s.Plan = "bare" })
	suspended := with(gold, func(s *entitlement.Source) { s.Suspended, s.Suspense = said(true, 1), "unpaid" })
	revoked := entitlement.Source{Granted: said(false, 1), Reason: "fraud"}
	full := plans["gold"].Limits
	lesser := directives.Limits{PerSecond: ptr(1.0), Concurrency: ptr(int64(20))}
	both := []string{"pay", "search"}
	const on = "on 2026-12-04T12:00:00Z"

	for _, c := range []struct {
		name    string
		sources map[string]entitlement.Source
		now     time.Time
		want    entitlement.Standing
	}{
		{"nothing said", nil, noon, entitlement.Standing{State: entitlement.Boot, Why: "nothing has been granted to it yet"}},
		{"resumed alone", map[string]entitlement.Source{"m": {Suspended: said(false, 1)}}, noon, entitlement.Standing{State: entitlement.Boot, Why: "nothing has been granted to it yet"}},
		{"suspended alone", map[string]entitlement.Source{"m": {Suspended: said(true, 1)}}, noon, entitlement.Standing{State: entitlement.Refusing, Why: "suspended by m"}},
		{"revoked alone", map[string]entitlement.Source{"m": revoked}, noon, entitlement.Standing{State: entitlement.Refusing, Why: "revoked by m: fraud"}},
		{"granted", map[string]entitlement.Source{"m": gold}, noon, entitlement.Standing{State: entitlement.Stable, Plan: "gold", Packs: both, Limits: full}},
		{"granted and suspended", map[string]entitlement.Source{"m": suspended}, noon,
			entitlement.Standing{State: entitlement.Refusing, Why: "suspended by m: unpaid", Plan: "gold", Packs: both, Limits: full}},

		{"long before it expires", map[string]entitlement.Source{"m": ends}, noon,
			entitlement.Standing{State: entitlement.Stable, Until: expires.Add(-48 * time.Hour), Plan: "gold", Packs: both, Limits: full}},
		{"a nanosecond before notice", map[string]entitlement.Source{"m": ends}, expires.Add(-48*time.Hour - 1),
			entitlement.Standing{State: entitlement.Stable, Until: expires.Add(-48 * time.Hour), Plan: "gold", Packs: both, Limits: full}},
		{"at notice", map[string]entitlement.Source{"m": ends}, expires.Add(-48 * time.Hour),
			entitlement.Standing{State: entitlement.Warning, Why: "expires " + on, Until: expires, Plan: "gold", Packs: both, Limits: full}},
		{"a nanosecond before it expires", map[string]entitlement.Source{"m": ends}, expires.Add(-1),
			entitlement.Standing{State: entitlement.Warning, Why: "expires " + on, Until: expires, Plan: "gold", Packs: both, Limits: full}},
		{"expired", map[string]entitlement.Source{"m": ends}, expires,
			entitlement.Standing{State: entitlement.Intervening, Why: "expired " + on + ", in grace until 2026-12-05T12:00:00Z", Until: expires.Add(24 * time.Hour), Plan: "gold", Packs: both, Limits: lesser}},
		{"a nanosecond before grace ends", map[string]entitlement.Source{"m": ends}, expires.Add(24*time.Hour - 1),
			entitlement.Standing{State: entitlement.Intervening, Why: "expired " + on + ", in grace until 2026-12-05T12:00:00Z", Until: expires.Add(24 * time.Hour), Plan: "gold", Packs: both, Limits: lesser}},
		{"grace has ended", map[string]entitlement.Source{"m": ends}, expires.Add(24 * time.Hour),
			entitlement.Standing{State: entitlement.Refusing, Why: "expired " + on, Plan: "gold", Packs: both, Limits: full}},
		{"no notice", map[string]entitlement.Source{"m": bare}, expires.Add(-1),
			entitlement.Standing{State: entitlement.Stable, Until: expires, Plan: "bare", Packs: []string{"search"}}},
		{"no grace", map[string]entitlement.Source{"m": bare}, expires,
			entitlement.Standing{State: entitlement.Refusing, Why: "expired " + on, Plan: "bare", Packs: []string{"search"}}},
		{"suspended in its grace", map[string]entitlement.Source{"m": with(ends, func(s *entitlement.Source) { s.Suspended = said(true, 1) })}, expires,
			entitlement.Standing{State: entitlement.Refusing, Why: "suspended by m", Plan: "gold", Packs: both, Limits: lesser}},

		{"one of two revokes", map[string]entitlement.Source{"a": revoked, "b": gold}, noon,
			entitlement.Standing{State: entitlement.Refusing, Why: "revoked by a: fraud", Plan: "gold", Packs: both, Limits: full}},
		{"one of two suspends, the other has not granted", map[string]entitlement.Source{"a": gold, "b": {Suspended: said(true, 1)}}, noon,
			entitlement.Standing{State: entitlement.Refusing, Why: "suspended by b", Plan: "gold", Packs: both, Limits: full}},
		{"suspended by one and revoked by another", map[string]entitlement.Source{"a": revoked, "b": suspended}, noon,
			entitlement.Standing{State: entitlement.Refusing, Why: "suspended by b: unpaid", Plan: "gold", Packs: both, Limits: full}},
		{"the earliest expiry of two, under the later plan", map[string]entitlement.Source{"a": bare, "b": with(ends, func(s *entitlement.Source) {
			s.Granted, s.Expires = said(true, 1), expires.Add(time.Hour)
		})}, expires.Add(-1), entitlement.Standing{State: entitlement.Warning, Why: "expires " + on, Until: expires, Plan: "gold", Packs: both, Limits: full}},
		{"the later grant's plan", map[string]entitlement.Source{"a": {Granted: said(true, 1), Plan: "bare"}, "b": gold}, noon,
			entitlement.Standing{State: entitlement.Stable, Plan: "bare", Packs: []string{"search"}}},
		{"two grants of the same time", map[string]entitlement.Source{"b": gold, "a": {Granted: said(true, 0), Plan: "bare"}}, noon,
			entitlement.Standing{State: entitlement.Stable, Plan: "bare", Packs: []string{"search"}}},
		{"the operator's plan, though it is older", map[string]entitlement.Source{"z": {Granted: said(true, 1), Plan: "bare"}, entitlement.Operator: gold}, noon,
			entitlement.Standing{State: entitlement.Stable, Plan: "gold", Packs: both, Limits: full}},
		{"the operator's plan, before a name that comes first", map[string]entitlement.Source{"a": {Granted: said(true, 1), Plan: "bare"}, entitlement.Operator: gold}, noon,
			entitlement.Standing{State: entitlement.Stable, Plan: "gold", Packs: both, Limits: full}},
		{"an operator who has only resumed", map[string]entitlement.Source{"a": gold, entitlement.Operator: {Suspended: said(false, 1)}}, noon,
			entitlement.Standing{State: entitlement.Stable, Plan: "gold", Packs: both, Limits: full}},

		{"an unknown plan", map[string]entitlement.Source{"m": {Granted: said(true, 0), Plan: "tin", Packs: []string{"own"}, Expires: expires}}, noon,
			entitlement.Standing{State: entitlement.Refusing, Why: `there is no plan "tin"`, Plan: "tin", Packs: []string{"own"}}},
		{"an unknown plan of a tenant that is suspended", map[string]entitlement.Source{"m": {Granted: said(true, 0), Plan: "tin", Suspended: said(true, 1)}}, noon,
			entitlement.Standing{State: entitlement.Refusing, Why: "suspended by m", Plan: "tin"}},
		{"packs and limits of its own", map[string]entitlement.Source{"m": with(gold, func(s *entitlement.Source) {
			s.Packs, s.Limits = []string{"own", "pay"}, directives.Limits{PerSecond: ptr(7.0), PerDay: ptr(int64(0)), DryRun: ptr(true)}
		})}, noon, entitlement.Standing{State: entitlement.Stable, Plan: "gold", Packs: []string{"own", "pay", "search"},
			Limits: directives.Limits{PerSecond: ptr(7.0), Concurrency: ptr(int64(20)), PerDay: ptr(int64(0)), DryRun: ptr(true)}}},
	} {
		x := &entitlement.Tenant{ID: "acme", Sources: c.sources}
		before := x.Clone()
		got := x.Standing(plans, c.now)
		if len(got.Packs) == 0 {
			got.Packs = nil
		}
		if !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s:\n%s, want\n%s", c.name, text(got), text(c.want))
		}
		if !reflect.DeepEqual(x, before) {
			t.Errorf("%s: the tenant has changed", c.name)
		}
		if got.State.Serves() != (got.State != entitlement.Boot && got.State != entitlement.Refusing) {
			t.Errorf("%s: served is %t", c.name, got.State.Serves())
		}
		// Nothing changes before the time at which it is said to.
		if !got.Until.IsZero() {
			if s := x.Standing(plans, got.Until.Add(-1)); s.State != got.State {
				t.Errorf("%s: %s before %v", c.name, s.State, got.Until)
			}
			if s := x.Standing(plans, got.Until); s.State == got.State {
				t.Errorf("%s: still %s at %v", c.name, s.State, got.Until)
			}
		}
	}
}

func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func TestEnables(t *testing.T) {
	for _, c := range []struct {
		packs []string
		pack  string
		want  bool
	}{
		{nil, "", true}, {nil, "a", false}, {[]string{"a"}, "a", true}, {[]string{"a"}, "b", false}, {[]string{"a"}, "", true},
		{[]string{"*"}, "b", true}, {[]string{"b", "*"}, "a", true},
	} {
		if got := (&entitlement.Standing{Packs: c.packs}).Enables(c.pack); got != c.want {
			t.Errorf("%v enables %q: %t", c.packs, c.pack, got)
		}
	}
}

// TestLimitsOver holds what limits in place of others come to for the governor.
func TestLimitsOver(t *testing.T) {
	below := directives.Limits{PerSecond: ptr(100.0), Burst: ptr(500.0), Concurrency: ptr(int64(10)), PerDay: ptr(int64(1000)), DryRun: ptr(true)}
	for _, c := range []struct {
		name string
		over directives.Limits
		want governor.Limit
	}{
		{"nothing", directives.Limits{}, governor.Limit{PerSecond: 100, Burst: 500, Concurrency: 10, PerDay: 1000, DryRun: true}},
		{"a rate has its own burst", directives.Limits{PerSecond: ptr(5.0)}, governor.Limit{PerSecond: 5, Concurrency: 10, PerDay: 1000, DryRun: true}},
		{"a rate with a burst", directives.Limits{PerSecond: ptr(5.0), Burst: ptr(2.0)}, governor.Limit{PerSecond: 5, Burst: 2, Concurrency: 10, PerDay: 1000, DryRun: true}},
		{"a burst alone", directives.Limits{Burst: ptr(2.0)}, governor.Limit{PerSecond: 100, Burst: 2, Concurrency: 10, PerDay: 1000, DryRun: true}},
		{"none of a kind", directives.Limits{PerSecond: ptr(0.0), Concurrency: ptr(int64(0)), PerDay: ptr(int64(0)), DryRun: ptr(false)}, governor.Limit{}},
	} {
		now := time.Now()
		acme := &entitlement.Tenant{Sources: map[string]entitlement.Source{"m": {Granted: entitlement.Mark{On: true, At: now}, Plan: "p", Limits: c.over}}}
		standing := acme.Standing(map[string]*entitlement.Plan{"p": {Limits: below}}, now)
		got := governor.Limit{Scope: "tenant:acme", PerSecond: 1, Burst: 9, Concurrency: 1, PerDay: 1}.With(standing.Limits)
		if c.want.Scope = "tenant:acme"; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	if *below.Burst != 500 {
		t.Error("the limits below have changed")
	}
}

func TestShippedPlans(t *testing.T) {
	var names []string
	for _, p := range entitlement.Shipped() {
		names = append(names, p.Name)
		if err := p.Check(); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		if p.Revision != 0 || p.Notice == 0 || p.Grace == 0 || p.Intervening == (directives.Limits{}) {
			t.Errorf("%+v", p)
		}
		var again entitlement.Plan
		if err := json.Unmarshal([]byte(text(p)), &again); err != nil || !reflect.DeepEqual(&again, p) {
			t.Errorf("%s is read back as %+v, %v", text(p), again, err)
		}
	}
	if !slices.Equal(names, []string{"base", "professional", "enterprise"}) {
		t.Errorf("shipped are %v", names)
	}
	if a, b := entitlement.Shipped()[0], entitlement.Shipped()[0]; a == b || a.Limits.PerSecond == b.Limits.PerSecond {
		t.Error("plans that are shipped are shared")
	}
}

func TestDirectory(t *testing.T) {
	empty := entitlement.NewDirectory()
	if empty.Standing("acme", noon) != nil || len(empty.Plans) != 3 || empty.Version != 0 {
		t.Errorf("a new directory is %+v", empty)
	}
	if empty.With(&entitlement.Changes{}) != empty {
		t.Error("no change makes another directory")
	}
	grant := entitlement.Source{Granted: said(true, 0), Plan: "base"}
	one := empty.With(&entitlement.Changes{Version: 5, Tenants: []*entitlement.Tenant{{ID: "acme", Revision: 5, Sources: map[string]entitlement.Source{"m": grant}}}})
	if s := one.Standing("acme", noon); s == nil || s.State != entitlement.Stable || *s.Limits.PerSecond != 5 {
		t.Errorf("stands %+v", s)
	}
	two := one.With(&entitlement.Changes{
		Version: 7, Plans: []*entitlement.Plan{{Name: "base", Revision: 6, Limits: directives.Limits{PerSecond: ptr(9.0)}}, {Name: "new", Revision: 7}},
		Tenants: []*entitlement.Tenant{{ID: "acme", Revision: 4}},
	})
	if s := two.Standing("acme", noon); s.State != entitlement.Stable || *s.Limits.PerSecond != 9 {
		t.Errorf("after an edited plan and what is older: %+v", s)
	}
	three := two.With(&entitlement.Changes{Version: 6, Plans: []*entitlement.Plan{{Name: "base", Revision: 5}}})
	if three.Version != 7 || three.Plans["base"].Revision != 6 {
		t.Errorf("what is older takes the place of what is there: %+v", three)
	}
	if later := three.With(&entitlement.Changes{Version: 8}); later.Version != 8 || later.Tenants["acme"] != three.Tenants["acme"] {
		t.Errorf("a greater version alone: %+v", later)
	}
	if empty.Tenants["acme"] != nil || one.Plans["new"] != nil || one.Version != 5 || *one.Standing("acme", noon).Limits.PerSecond != 5 {
		t.Error("a directory has changed")
	}
}

func TestPlanCheck(t *testing.T) {
	good := entitlement.Plan{Name: "gold-2.x_y", Packs: []string{"*", "a.b"}, Notice: entitlement.Duration(time.Hour)}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		name  string
		spoil func(*entitlement.Plan)
		want  string
	}{
		{"no name", func(p *entitlement.Plan) { p.Name = "" }, `name: "" is not one of`},
		{"a name with a slash", func(p *entitlement.Plan) { p.Name = "a/b" }, `name: "a/b" is not one of`},
		{"a long title", func(p *entitlement.Plan) { p.Title = string(make([]byte, 501)) }, "title: is longer than 500 bytes"},
		{"a pack with a space", func(p *entitlement.Plan) { p.Packs = []string{"a b"} }, `packs: "a b" is not a pack`},
		{"too many packs", func(p *entitlement.Plan) { p.Packs = slices.Repeat([]string{"a"}, 101) }, "packs: there are more than 100"},
		{"a rate below nothing", func(p *entitlement.Plan) { p.Limits.PerSecond = ptr(-1.0) }, "limits: a rate of -1 a second"},
		{"a cap below nothing in the grace", func(p *entitlement.Plan) { p.Intervening.Concurrency = ptr(int64(-1)) }, "intervening: -1 calls at a time"},
		{"a notice below nothing", func(p *entitlement.Plan) { p.Notice = -1 }, "notice: is not from 0"},
		{"a grace for ever", func(p *entitlement.Plan) { p.Grace = 1 << 62 }, "grace: is not from 0"},
	} {
		p := good
		c.spoil(&p)
		one(t, c.name, p.Check(), c.want)
	}
	all := entitlement.Plan{Packs: []string{"!"}, Notice: -1, Grace: -1, Limits: directives.Limits{PerDay: ptr(int64(-1))}}
	if n := lines(all.Check()); n != 5 {
		t.Errorf("%d faults of 5: %v", n, all.Check())
	}
}

package tenant_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/tenant"
)

// one wants an error of one line that begins with the words.
func one(t *testing.T, what string, err error, want string) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), want) || lines(err) != 1 {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

func lines(err error) int {
	if err == nil {
		return 0
	}
	return 1 + strings.Count(err.Error(), "\n")
}

func event(kind tenant.Type, after time.Duration) *tenant.Event {
	e := &tenant.Event{ID: fmt.Sprint(kind, after), Source: "market", Type: kind, Tenant: "acme", Time: noon.Add(after)}
	if kind == tenant.Grant {
		e.Plan = "gold"
	} else {
		e.Reason = fmt.Sprint("reason of ", kind, after)
	}
	return e
}

func TestCheckEvent(t *testing.T) {
	for _, e := range []*tenant.Event{
		event(tenant.Grant, 0), event(tenant.Suspend, 0), event(tenant.Resume, 0), event(tenant.Revoke, 0), event(tenant.Grant, 5*time.Minute),
		{ID: strings.Repeat("~", 128), Source: "m.a-r_k3t", Type: tenant.Grant, Tenant: "a:b@c.d_e-f%g", Time: noon, Plan: "x", Packs: []string{"*"},
			Limits: tenant.Limits{PerSecond: ptr(0.5), Shadow: ptr(true)}, Expires: noon.Add(-time.Hour), Reason: strings.Repeat("r", 500)},
	} {
		if err := e.Check(noon); err != nil {
			t.Errorf("%+v: %v", e, err)
		}
	}
	for _, c := range []struct {
		name  string
		kind  tenant.Type
		spoil func(*tenant.Event)
		want  string
	}{
		{"no id", tenant.Grant, func(e *tenant.Event) { e.ID = "" }, `id: "" is not 1 to 128`},
		{"a long id", tenant.Grant, func(e *tenant.Event) { e.ID = strings.Repeat("i", 129) }, "id: "},
		{"an id with a space", tenant.Grant, func(e *tenant.Event) { e.ID = "a b" }, `id: "a b"`},
		{"an id with a letter beyond ASCII", tenant.Grant, func(e *tenant.Event) { e.ID = "é" }, `id: "é"`},
		{"no source", tenant.Grant, func(e *tenant.Event) { e.Source = "" }, `source: "" is not`},
		{"a source in capitals", tenant.Grant, func(e *tenant.Event) { e.Source = "Market" }, `source: "Market"`},
		{"no type", tenant.Grant, func(e *tenant.Event) { *e = *event(tenant.Revoke, 0); e.Type = "" }, `type: "" is not one of grant`},
		{"another type", tenant.Grant, func(e *tenant.Event) { *e = *event(tenant.Revoke, 0); e.Type = "GRANT" }, `type: "GRANT"`},
		{"no tenant", tenant.Grant, func(e *tenant.Event) { e.Tenant = "" }, `tenant: "" is not 1 to 128`},
		{"a tenant with a slash", tenant.Grant, func(e *tenant.Event) { e.Tenant = "a/b" }, `tenant: "a/b"`},
		{"a tenant that is a directory", tenant.Grant, func(e *tenant.Event) { e.Tenant = ".." }, `tenant: ".."`},
		{"a tenant with a new line", tenant.Grant, func(e *tenant.Event) { e.Tenant = "a\nb" }, `tenant: "a\nb"`},
		{"no time", tenant.Grant, func(e *tenant.Event) { e.Time = time.Time{} }, "time: is missing"},
		{"a time ahead", tenant.Grant, func(e *tenant.Event) { e.Time = noon.Add(5*time.Minute + 1) }, "time: 2026-11-24T12:05:00Z is ahead of the clock here by more than 5m"},
		{"a time before there were clocks", tenant.Grant, func(e *tenant.Event) { e.Time = time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC) }, "time: 1969-12-31T00:00:00Z is before 1970"},
		{"a long reason", tenant.Suspend, func(e *tenant.Event) { e.Reason = strings.Repeat("r", 501) }, "reason: is longer than 500 bytes"},
		{"no plan", tenant.Grant, func(e *tenant.Event) { e.Plan = "" }, "plan: is missing in a grant"},
		{"no name of a plan", tenant.Grant, func(e *tenant.Event) { e.Plan = "a/b" }, `plan: "a/b" is not one of`},
		{"limits below nothing", tenant.Grant, func(e *tenant.Event) { e.Limits.PerDay = ptr(int64(-1)) }, "limits: -1 calls a day"},
		{"no pack", tenant.Grant, func(e *tenant.Event) { e.Packs = []string{""} }, `packs: "" is not a pack`},
		{"too many packs", tenant.Grant, func(e *tenant.Event) { e.Packs = make([]string, 101) }, "packs: there are more than 100"},
		{"an expiry that can't be written", tenant.Grant, func(e *tenant.Event) { e.Expires = time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -3600*5)) }, "expires: "},
		{"an expiry long ago", tenant.Grant, func(e *tenant.Event) { e.Expires = time.Date(3, 1, 1, 0, 0, 0, 0, time.UTC) }, "expires: "},
		{"a plan to suspend", tenant.Suspend, func(e *tenant.Event) { e.Plan = "gold" }, `plan, packs, limits and expires: belong to a grant, not to "suspend"`},
		{"packs to resume", tenant.Resume, func(e *tenant.Event) { e.Packs = []string{"a"} }, "plan, packs"},
		{"limits to revoke", tenant.Revoke, func(e *tenant.Event) { e.Limits.Shadow = ptr(false) }, "plan, packs"},
		{"an expiry to revoke", tenant.Revoke, func(e *tenant.Event) { e.Expires = noon }, "plan, packs"},
	} {
		e := event(c.kind, 0)
		c.spoil(e)
		one(t, c.name, e.Check(noon), c.want)
	}
	if err := (&tenant.Event{Type: tenant.Grant}).Check(noon); lines(err) != 5 {
		t.Errorf("five faults: %v", err)
	}
}

func TestParseEvent(t *testing.T) {
	e, err := tenant.ParseEvent([]byte(`{"id":"1","source":"market","type":"grant","tenant":"acme","time":"2026-11-24T13:00:00.000000001+01:00",
		"plan":"gold","packs":["a"],"limits":{"perSecond":0,"shadow":false},"expires":"2027-01-01T00:00:00Z"}` + "\n"))
	want := &tenant.Event{ID: "1", Source: "market", Type: tenant.Grant, Tenant: "acme", Time: noon.Add(1), Plan: "gold", Packs: []string{"a"},
		Limits: tenant.Limits{PerSecond: ptr(0.0), Shadow: ptr(false)}, Expires: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	if err != nil || !e.Time.Equal(want.Time) {
		t.Fatalf("%+v, %v", e, err)
	}
	if e.Time = want.Time; !reflect.DeepEqual(e, want) {
		t.Errorf("%+v, want %+v", e, want)
	}
	for _, text := range []string{
		``, `null x`, `[]`, `"x"`, `{`, `{}}`, `{}{}`, `{} ]`, `{"id":1}`, `{"ID2":"x"}`, `{"time":"noon"}`, `{"time":1732449600}`,
		`{"limits":{"perSecond":"5"}}`, `{"limits":{"perDay":1.5}}`, `{"packs":"a"}`, `{"expires":""}`,
	} {
		if e, err := tenant.ParseEvent([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "not an event: ") {
			t.Errorf("%s: %+v, %v", text, e, err)
		}
	}
}

func TestKeyAndDigest(t *testing.T) {
	digest := func(e tenant.Event) string {
		d, err := e.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	e := *event(tenant.Grant, 0)
	same := e
	same.Time = e.Time.In(time.FixedZone("", 7200))
	if e.Key() != same.Key() || digest(e) != digest(same) || len(e.Key()) != 64 {
		t.Error("the same event has another key or digest")
	}
	split := e
	split.Source, split.ID = e.Source+e.ID[:1], e.ID[1:]
	if split.Key() == e.Key() {
		t.Error("two events have one key")
	}
	for what, alter := range map[string]func(*tenant.Event){
		"type": func(e *tenant.Event) { e.Type = tenant.Revoke }, "tenant": func(e *tenant.Event) { e.Tenant = "x" }, "time": func(e *tenant.Event) { e.Time = e.Time.Add(1) },
		"plan": func(e *tenant.Event) { e.Plan = "x" }, "packs": func(e *tenant.Event) { e.Packs = []string{"x"} }, "reason": func(e *tenant.Event) { e.Reason = "x" },
		"limits": func(e *tenant.Event) { e.Limits.Shadow = ptr(false) }, "expires": func(e *tenant.Event) { e.Expires = noon },
	} {
		other := e
		alter(&other)
		if digest(other) == digest(e) {
			t.Errorf("another %s has the same digest", what)
		}
	}
}

func TestApply(t *testing.T) {
	early, late := noon.Add(time.Hour), noon.Add(2*time.Hour)
	grants := func(after time.Duration, plan string, expires time.Time) *tenant.Event {
		e := event(tenant.Grant, after)
		e.Plan, e.Expires = plan, expires
		return e
	}
	for _, c := range []struct {
		name   string
		events []*tenant.Event
		want   tenant.Source
	}{
		{"the later grant", []*tenant.Event{grants(0, "gold", early), grants(1, "bare", time.Time{})}, tenant.Source{Granted: said(true, 1), Plan: "bare"}},
		{"a revocation after a grant", []*tenant.Event{grants(0, "gold", early), event(tenant.Revoke, 1)}, tenant.Source{Granted: said(false, 1), Reason: "reason of revoke1ns"}},
		{"a grant after a revocation", []*tenant.Event{event(tenant.Revoke, 0), grants(1, "gold", early)}, tenant.Source{Granted: said(true, 1), Plan: "gold", Expires: early}},
		{"both at once", []*tenant.Event{grants(0, "gold", early), event(tenant.Revoke, 0)}, tenant.Source{Granted: said(false, 0), Reason: "reason of revoke0s"}},
		{"two grants at once: the earlier expiry", []*tenant.Event{grants(0, "gold", late), grants(0, "bare", early), grants(0, "x", time.Time{})},
			tenant.Source{Granted: said(true, 0), Plan: "bare", Expires: early}},
		{"suspended and resumed", []*tenant.Event{event(tenant.Suspend, 0), event(tenant.Resume, 1)}, tenant.Source{Suspended: said(false, 1)}},
		{"resumed and suspended", []*tenant.Event{event(tenant.Resume, 0), event(tenant.Suspend, 1)}, tenant.Source{Suspended: said(true, 1), Suspense: "reason of suspend1ns"}},
		{"suspended and resumed at once", []*tenant.Event{event(tenant.Suspend, 0), event(tenant.Resume, 0)}, tenant.Source{Suspended: said(true, 0), Suspense: "reason of suspend0s"}},
		{"a suspension leaves the grant alone", []*tenant.Event{grants(0, "gold", early), event(tenant.Suspend, 9), event(tenant.Resume, 3)},
			tenant.Source{Granted: said(true, 0), Plan: "gold", Expires: early, Suspended: said(true, 9), Suspense: "reason of suspend9ns"}},
	} {
		for range 2 * len(c.events) * len(c.events) {
			x := &tenant.Tenant{}
			rand.Shuffle(len(c.events), func(i, j int) { c.events[i], c.events[j] = c.events[j], c.events[i] })
			for _, e := range c.events {
				x.Apply(e)
			}
			if !reflect.DeepEqual(x.Sources["market"], c.want) {
				t.Errorf("%s: %s, want %s", c.name, text(x.Sources["market"]), text(c.want))
				break
			}
			for _, e := range c.events {
				if x.Apply(e) != tenant.Late {
					t.Errorf("%s: an event again has an effect", c.name)
				}
			}
		}
	}
	x := &tenant.Tenant{}
	for _, c := range []struct {
		e    *tenant.Event
		want tenant.Effect
	}{
		{event(tenant.Grant, 5), tenant.Applied}, {event(tenant.Grant, 4), tenant.Late}, {event(tenant.Revoke, 4), tenant.Late}, {event(tenant.Suspend, 1), tenant.Applied},
		{event(tenant.Resume, 1), tenant.Late}, {event(tenant.Revoke, 5), tenant.Applied}, {event(tenant.Grant, 5), tenant.Late}, {event(tenant.Grant, 6), tenant.Applied},
	} {
		if got := x.Apply(c.e); got != c.want {
			t.Errorf("%s: %s, want %s", c.e.ID, got, c.want)
		}
	}
}

// random makes an event out of few choices, so that many are made at the same time.
func random(r *rand.Rand, i int) *tenant.Event {
	e := event([]tenant.Type{tenant.Grant, tenant.Grant, tenant.Revoke, tenant.Suspend, tenant.Resume}[r.IntN(5)], time.Duration(r.IntN(3)))
	e.ID, e.Source = fmt.Sprint(i), []string{"market", "operator"}[r.IntN(2)]
	if e.Reason != "" {
		e.Reason = []string{"", "a", "b"}[r.IntN(3)]
		return e
	}
	e.Plan = []string{"gold", "bare"}[r.IntN(2)]
	e.Packs = [][]string{nil, {}, {"a"}, {"a", "b"}}[r.IntN(4)]
	e.Expires = []time.Time{{}, noon, noon.Add(1)}[r.IntN(3)]
	if r.IntN(2) == 0 {
		e.Limits.PerSecond, e.Limits.PerDay = ptr(float64(r.IntN(2))), ptr(int64(r.IntN(2)))
	}
	if r.IntN(2) == 0 {
		e.Time = e.Time.In(time.FixedZone("", 3600))
	}
	return e
}

// TestApplyInAnyOrder wants the same tenant of a set of events, however they are shuffled and repeated, and if it is stored between.
func TestApplyInAnyOrder(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 0))
		var events []*tenant.Event
		for i := range 1 + r.IntN(8) {
			events = append(events, random(r, i))
		}
		want := ""
		for round := range 10 {
			order := append([]*tenant.Event{}, events...)
			for range r.IntN(4) {
				order = append(order, events[r.IntN(len(events))])
			}
			r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			x := &tenant.Tenant{ID: "acme"}
			for _, e := range order {
				before := text(x)
				if effect := x.Apply(e); (effect == tenant.Late) != (text(x) == before) {
					t.Fatalf("seed %d: %s is %s: from %s to %s", seed, text(e), effect, before, text(x))
				}
				if r.IntN(3) == 0 {
					stored := &tenant.Tenant{}
					if err := json.Unmarshal([]byte(text(x)), stored); err != nil {
						t.Fatal(err)
					}
					x = stored
				}
			}
			if got := text(x); round == 0 {
				want = got
			} else if got != want {
				t.Fatalf("seed %d: %s, and in another order\n%s\n%s", seed, text(events), got, want)
			}
		}
	}
}

// TestApplyTakesCopies changes an event after it was applied.
func TestApplyTakesCopies(t *testing.T) {
	e := event(tenant.Grant, 0)
	e.Packs, e.Limits.PerSecond = []string{"a"}, ptr(5.0)
	x := &tenant.Tenant{}
	x.Apply(e)
	e.Packs[0], *e.Limits.PerSecond = "spoilt", 99
	c := x.Clone()
	src := c.Sources["market"]
	src.Packs[0], *src.Limits.PerSecond = "spoilt", 99
	if src := x.Sources["market"]; src.Packs[0] != "a" || *src.Limits.PerSecond != 5 {
		t.Errorf("the tenant has changed: %s", text(x))
	}
}

func TestNote(t *testing.T) {
	x := &tenant.Tenant{}
	e := event(tenant.Grant, 0)
	e.Expires = noon.Add(time.Hour)
	steps := []struct {
		what     string
		do       func()
		now      time.Time
		from, to tenant.State
		why      string
	}{
		{"new", func() {}, noon, tenant.Boot, tenant.Boot, "nothing has been granted to it yet"},
		{"granted", func() { x.Apply(e) }, noon.Add(-50 * time.Hour), tenant.Boot, tenant.Stable, ""},
		{"again", func() {}, noon.Add(-50 * time.Hour), tenant.Stable, tenant.Stable, ""},
		{"time passes", func() {}, noon, tenant.Stable, tenant.Warning, "expires on 2026-11-24T13:00:00Z"},
		{"a clock that is behind", func() {}, noon.Add(-50 * time.Hour), tenant.Warning, tenant.Warning, "expires on 2026-11-24T13:00:00Z"},
		{"and more", func() {}, noon.Add(2 * time.Hour), tenant.Warning, tenant.Intervening, "expired on 2026-11-24T13:00:00Z, in grace until 2026-11-25T13:00:00Z"},
		{"suspended", func() { x.Apply(event(tenant.Suspend, 1)) }, noon.Add(2 * time.Hour), tenant.Intervening, tenant.Refusing, "suspended by market: reason of suspend1ns"},
		{"resumed", func() { x.Apply(event(tenant.Resume, 2)) }, noon, tenant.Refusing, tenant.Warning, "expires on 2026-11-24T13:00:00Z"},
	}
	for _, s := range steps {
		s.do()
		from, to, why := x.Note(plans, s.now)
		if from != s.from || to != s.to || why != s.why || x.Noted != s.to {
			t.Errorf("%s: from %s to %s, %q; noted %s", s.what, from, to, why, x.Noted)
		}
	}
}

// FuzzEvent reads what anyone may send. What passes the check is applied and stored, and the tenant stands somehow at any time.
func FuzzEvent(f *testing.F) {
	for _, e := range []*tenant.Event{event(tenant.Grant, 0), event(tenant.Suspend, 0), event(tenant.Resume, 0), event(tenant.Revoke, 0)} {
		f.Add([]byte(text(e)))
	}
	f.Add([]byte(`{"id":"1","source":"market","type":"grant","tenant":"acme","time":"2026-11-24T13:00:00.000000001+01:00","plan":"gold","packs":["a","*"],
		"limits":{"perSecond":0.5,"burst":2,"concurrency":3,"perDay":4,"shadow":false},"expires":"8999-12-31T23:59:59+23:59"}`))
	f.Add([]byte(`{"id":"1","source":"m","type":"grant","tenant":"a","time":"0000-01-01T00:00:00+23:59","plan":"p","expires":"9999-12-31T23:59:59-23:59"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := tenant.ParseEvent(data)
		if err != nil {
			return
		}
		if e.Check(noon) != nil {
			return
		}
		digest, err := e.Digest()
		if err != nil {
			t.Fatal(err)
		}
		again, err := tenant.ParseEvent([]byte(text(e)))
		if err != nil {
			t.Fatalf("%s can't be read again: %v", text(e), err)
		}
		if d, _ := again.Digest(); d != digest || again.Key() != e.Key() {
			t.Errorf("%s says something else when it is read again: %s", data, text(e))
		}
		x := &tenant.Tenant{ID: e.Tenant}
		x.Apply(event(tenant.Grant, -time.Hour))
		x.Apply(e)
		if effect := x.Apply(again); effect != tenant.Late {
			t.Errorf("%s again is %s", data, effect)
		}
		stored := &tenant.Tenant{}
		b, err := json.Marshal(x)
		if err == nil {
			err = json.Unmarshal(b, stored)
		}
		if err != nil || text(stored) != string(b) {
			t.Fatalf("%s can't be stored: %v", text(x), err)
		}
		known := map[string]*tenant.Plan{e.Plan: plans["gold"]}
		for _, now := range []time.Time{{}, noon, e.Time, e.Expires, e.Expires.Add(1), e.Expires.Add(24 * time.Hour), e.Expires.Add(-48 * time.Hour)} {
			for _, plans := range []map[string]*tenant.Plan{nil, known} {
				s, same := x.Standing(plans, now), stored.Standing(plans, now)
				switch s.State {
				case tenant.Boot, tenant.Stable, tenant.Warning, tenant.Intervening, tenant.Refusing:
				default:
					t.Errorf("%s stands %+v", data, s)
				}
				if err := s.Limits.Check(); err != nil {
					t.Errorf("%s: limits that the governor can't hold: %v", data, err)
				}
				if s.State != same.State || s.Why != same.Why || !s.Until.Equal(same.Until) {
					t.Errorf("%s stands %+v, and stored %+v", data, s, same)
				}
			}
		}
	})
}

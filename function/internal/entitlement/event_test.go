package entitlement_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
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

func event(kind entitlement.Type, after time.Duration) *entitlement.Event {
	e := &entitlement.Event{ID: fmt.Sprint(kind, after), Source: "market", Type: kind, Tenant: "acme", Time: noon.Add(after)}
	if kind == entitlement.Grant {
		e.Plan = "gold"
	} else {
		e.Reason = fmt.Sprint("reason of ", kind, after)
	}
	return e
}

func TestCheckEvent(t *testing.T) {
	for _, e := range []*entitlement.Event{
		event(entitlement.Grant, 0), event(entitlement.Suspend, 0), event(entitlement.Resume, 0), event(entitlement.Revoke, 0), event(entitlement.Grant, 5*time.Minute),
		{ID: strings.Repeat("~", 128), Source: "m.a-r_k3t", Type: entitlement.Grant, Tenant: "a:b@c.d_e-f%g", Time: noon, Plan: "x", Packs: []string{"*"},
			Limits: directives.Limits{PerSecond: ptr(0.5), DryRun: ptr(true)}, Expires: noon.Add(-time.Hour), Reason: strings.Repeat("r", 500)},
	} {
		if err := e.Check(noon); err != nil {
			t.Errorf("%+v: %v", e, err)
		}
	}
	for _, c := range []struct {
		name  string
		kind  entitlement.Type
		spoil func(*entitlement.Event)
		want  string
	}{
		{"no id", entitlement.Grant, func(e *entitlement.Event) { e.ID = "" }, `id: "" is not 1 to 128`},
		{"a long id", entitlement.Grant, func(e *entitlement.Event) { e.ID = strings.Repeat("i", 129) }, "id: "},
		{"an id with a space", entitlement.Grant, func(e *entitlement.Event) { e.ID = "a b" }, `id: "a b"`},
		{"an id with a letter beyond ASCII", entitlement.Grant, func(e *entitlement.Event) { e.ID = "é" }, `id: "é"`},
		{"no source", entitlement.Grant, func(e *entitlement.Event) { e.Source = "" }, `source: "" is not`},
		{"a source in capitals", entitlement.Grant, func(e *entitlement.Event) { e.Source = "Market" }, `source: "Market"`},
		{"no type", entitlement.Grant, func(e *entitlement.Event) { *e = *event(entitlement.Revoke, 0); e.Type = "" }, `type: "" is not one of grant`},
		{"another type", entitlement.Grant, func(e *entitlement.Event) { *e = *event(entitlement.Revoke, 0); e.Type = "GRANT" }, `type: "GRANT"`},
		{"no tenant", entitlement.Grant, func(e *entitlement.Event) { e.Tenant = "" }, `tenant: "" is not 1 to 128`},
		{"a tenant with a slash", entitlement.Grant, func(e *entitlement.Event) { e.Tenant = "a/b" }, `tenant: "a/b"`},
		{"a tenant that is a directory", entitlement.Grant, func(e *entitlement.Event) { e.Tenant = ".." }, `tenant: ".."`},
		{"a tenant with a new line", entitlement.Grant, func(e *entitlement.Event) { e.Tenant = "a\nb" }, `tenant: "a\nb"`},
		{"no time", entitlement.Grant, func(e *entitlement.Event) { e.Time = time.Time{} }, "time: is missing"},
		{"a time ahead", entitlement.Grant, func(e *entitlement.Event) { e.Time = noon.Add(5*time.Minute + 1) }, "time: 2026-11-24T12:05:00Z is ahead of the clock here by more than 5m"},
		{"a time before there were clocks", entitlement.Grant, func(e *entitlement.Event) { e.Time = time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC) }, "time: 1969-12-31T00:00:00Z is before 1970"},
		{"a long reason", entitlement.Suspend, func(e *entitlement.Event) { e.Reason = strings.Repeat("r", 501) }, "reason: is longer than 500 bytes"},
		{"no plan", entitlement.Grant, func(e *entitlement.Event) { e.Plan = "" }, "plan: is missing in a grant"},
		{"no name of a plan", entitlement.Grant, func(e *entitlement.Event) { e.Plan = "a/b" }, `plan: "a/b" is not one of`},
		{"limits below nothing", entitlement.Grant, func(e *entitlement.Event) { e.Limits.PerDay = ptr(int64(-1)) }, "limits: -1 calls a day"},
		{"no pack", entitlement.Grant, func(e *entitlement.Event) { e.Packs = []string{""} }, `packs: "" is not a pack`},
		{"too many packs", entitlement.Grant, func(e *entitlement.Event) { e.Packs = make([]string, 101) }, "packs: there are more than 100"},
		{"an expiry that can't be written", entitlement.Grant, func(e *entitlement.Event) {
			e.Expires = time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -3600*5))
		}, "expires: "},
		{"an expiry long ago", entitlement.Grant, func(e *entitlement.Event) { e.Expires = time.Date(3, 1, 1, 0, 0, 0, 0, time.UTC) }, "expires: "},
		{"a plan to suspend", entitlement.Suspend, func(e *entitlement.Event) { e.Plan = "gold" }, `plan, packs, limits and expires: belong to a grant, not to "suspend"`},
		{"packs to resume", entitlement.Resume, func(e *entitlement.Event) { e.Packs = []string{"a"} }, "plan, packs"},
		{"limits to revoke", entitlement.Revoke, func(e *entitlement.Event) { e.Limits.DryRun = ptr(false) }, "plan, packs"},
		{"an expiry to revoke", entitlement.Revoke, func(e *entitlement.Event) { e.Expires = noon }, "plan, packs"},
	} {
		e := event(c.kind, 0)
		c.spoil(e)
		one(t, c.name, e.Check(noon), c.want)
	}
	if err := (&entitlement.Event{Type: entitlement.Grant}).Check(noon); lines(err) != 5 {
		t.Errorf("five faults: %v", err)
	}
}

func TestParseEvent(t *testing.T) {
	e, err := entitlement.ParseEvent([]byte(`{"id":"1","source":"market","type":"grant","tenant":"acme","time":"2026-11-24T13:00:00.000000001+01:00",
		"plan":"gold","packs":["a"],"limits":{"perSecond":0,"shadow":false},"expires":"2027-01-01T00:00:00Z"}` + "\n"))
	want := &entitlement.Event{ID: "1", Source: "market", Type: entitlement.Grant, Tenant: "acme", Time: noon.Add(1), Plan: "gold", Packs: []string{"a"},
		Limits: directives.Limits{PerSecond: ptr(0.0), DryRun: ptr(false)}, Expires: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
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
		if e, err := entitlement.ParseEvent([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "not an event: ") {
			t.Errorf("%s: %+v, %v", text, e, err)
		}
	}
}

func TestKeyAndDigest(t *testing.T) {
	digest := func(e entitlement.Event) string {
		d, err := e.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	e := *event(entitlement.Grant, 0)
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
	for what, alter := range map[string]func(*entitlement.Event){
		"type": func(e *entitlement.Event) { e.Type = entitlement.Revoke }, "tenant": func(e *entitlement.Event) { e.Tenant = "x" }, "time": func(e *entitlement.Event) { e.Time = e.Time.Add(1) },
		"plan": func(e *entitlement.Event) { e.Plan = "x" }, "packs": func(e *entitlement.Event) { e.Packs = []string{"x"} }, "reason": func(e *entitlement.Event) { e.Reason = "x" },
		"limits": func(e *entitlement.Event) { e.Limits.DryRun = ptr(false) }, "expires": func(e *entitlement.Event) { e.Expires = noon },
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
	grants := func(after time.Duration, plan string, expires time.Time) *entitlement.Event {
		e := event(entitlement.Grant, after)
		e.Plan, e.Expires = plan, expires
		return e
	}
	for _, c := range []struct {
		name   string
		events []*entitlement.Event
		want   entitlement.Source
	}{
		{"the later grant", []*entitlement.Event{grants(0, "gold", early), grants(1, "bare", time.Time{})}, entitlement.Source{Granted: said(true, 1), Plan: "bare"}},
		{"a revocation after a grant", []*entitlement.Event{grants(0, "gold", early), event(entitlement.Revoke, 1)}, entitlement.Source{Granted: said(false, 1), Reason: "reason of revoke1ns"}},
		{"a grant after a revocation", []*entitlement.Event{event(entitlement.Revoke, 0), grants(1, "gold", early)}, entitlement.Source{Granted: said(true, 1), Plan: "gold", Expires: early}},
		{"both at once", []*entitlement.Event{grants(0, "gold", early), event(entitlement.Revoke, 0)}, entitlement.Source{Granted: said(false, 0), Reason: "reason of revoke0s"}},
		{"two grants at once: the earlier expiry", []*entitlement.Event{grants(0, "gold", late), grants(0, "bare", early), grants(0, "x", time.Time{})},
			entitlement.Source{Granted: said(true, 0), Plan: "bare", Expires: early}},
		{"suspended and resumed", []*entitlement.Event{event(entitlement.Suspend, 0), event(entitlement.Resume, 1)}, entitlement.Source{Suspended: said(false, 1)}},
		{"resumed and suspended", []*entitlement.Event{event(entitlement.Resume, 0), event(entitlement.Suspend, 1)}, entitlement.Source{Suspended: said(true, 1), Suspense: "reason of suspend1ns"}},
		{"suspended and resumed at once", []*entitlement.Event{event(entitlement.Suspend, 0), event(entitlement.Resume, 0)}, entitlement.Source{Suspended: said(true, 0), Suspense: "reason of suspend0s"}},
		{"a suspension leaves the grant alone", []*entitlement.Event{grants(0, "gold", early), event(entitlement.Suspend, 9), event(entitlement.Resume, 3)},
			entitlement.Source{Granted: said(true, 0), Plan: "gold", Expires: early, Suspended: said(true, 9), Suspense: "reason of suspend9ns"}},
	} {
		for range 2 * len(c.events) * len(c.events) {
			x := &entitlement.Tenant{}
			rand.Shuffle(len(c.events), func(i, j int) { c.events[i], c.events[j] = c.events[j], c.events[i] })
			for _, e := range c.events {
				x.Apply(e)
			}
			if !reflect.DeepEqual(x.Sources["market"], c.want) {
				t.Errorf("%s: %s, want %s", c.name, text(x.Sources["market"]), text(c.want))
				break
			}
			for _, e := range c.events {
				if x.Apply(e) != entitlement.Late {
					t.Errorf("%s: an event again has an effect", c.name)
				}
			}
		}
	}
	x := &entitlement.Tenant{}
	for _, c := range []struct {
		e    *entitlement.Event
		want entitlement.Effect
	}{
		{event(entitlement.Grant, 5), entitlement.Applied}, {event(entitlement.Grant, 4), entitlement.Late}, {event(entitlement.Revoke, 4), entitlement.Late}, {event(entitlement.Suspend, 1), entitlement.Applied},
		{event(entitlement.Resume, 1), entitlement.Late}, {event(entitlement.Revoke, 5), entitlement.Applied}, {event(entitlement.Grant, 5), entitlement.Late}, {event(entitlement.Grant, 6), entitlement.Applied},
	} {
		if got := x.Apply(c.e); got != c.want {
			t.Errorf("%s: %s, want %s", c.e.ID, got, c.want)
		}
	}
}

// random makes an event out of few choices, so that many are made at the same time.
func random(r *rand.Rand, i int) *entitlement.Event {
	e := event([]entitlement.Type{entitlement.Grant, entitlement.Grant, entitlement.Revoke, entitlement.Suspend, entitlement.Resume}[r.IntN(5)], time.Duration(r.IntN(3)))
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
		var events []*entitlement.Event
		for i := range 1 + r.IntN(8) {
			events = append(events, random(r, i))
		}
		want := ""
		for round := range 10 {
			order := append([]*entitlement.Event{}, events...)
			for range r.IntN(4) {
				order = append(order, events[r.IntN(len(events))])
			}
			r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			x := &entitlement.Tenant{ID: "acme"}
			for _, e := range order {
				before := text(x)
				if effect := x.Apply(e); (effect == entitlement.Late) != (text(x) == before) {
					t.Fatalf("seed %d: %s is %s: from %s to %s", seed, text(e), effect, before, text(x))
				}
				if r.IntN(3) == 0 {
					stored := &entitlement.Tenant{}
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
	e := event(entitlement.Grant, 0)
	e.Packs, e.Limits.PerSecond = []string{"a"}, ptr(5.0)
	x := &entitlement.Tenant{}
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
	x := &entitlement.Tenant{}
	e := event(entitlement.Grant, 0)
	e.Expires = noon.Add(time.Hour)
	steps := []struct {
		what     string
		do       func()
		now      time.Time
		from, to entitlement.State
		why      string
	}{
		{"new", func() {}, noon, entitlement.Boot, entitlement.Boot, "nothing has been granted to it yet"},
		{"granted", func() { x.Apply(e) }, noon.Add(-50 * time.Hour), entitlement.Boot, entitlement.Stable, ""},
		{"again", func() {}, noon.Add(-50 * time.Hour), entitlement.Stable, entitlement.Stable, ""},
		{"time passes", func() {}, noon, entitlement.Stable, entitlement.Warning, "expires on 2026-11-24T13:00:00Z"},
		{"a clock that is behind", func() {}, noon.Add(-50 * time.Hour), entitlement.Warning, entitlement.Warning, "expires on 2026-11-24T13:00:00Z"},
		{"and more", func() {}, noon.Add(2 * time.Hour), entitlement.Warning, entitlement.Intervening, "expired on 2026-11-24T13:00:00Z, in grace until 2026-11-25T13:00:00Z"},
		{"suspended", func() { x.Apply(event(entitlement.Suspend, 1)) }, noon.Add(2 * time.Hour), entitlement.Intervening, entitlement.Refusing, "suspended by market: reason of suspend1ns"},
		{"resumed", func() { x.Apply(event(entitlement.Resume, 2)) }, noon, entitlement.Refusing, entitlement.Warning, "expires on 2026-11-24T13:00:00Z"},
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
	for _, e := range []*entitlement.Event{event(entitlement.Grant, 0), event(entitlement.Suspend, 0), event(entitlement.Resume, 0), event(entitlement.Revoke, 0)} {
		f.Add([]byte(text(e)))
	}
	f.Add([]byte(`{"id":"1","source":"market","type":"grant","tenant":"acme","time":"2026-11-24T13:00:00.000000001+01:00","plan":"gold","packs":["a","*"],
		"limits":{"perSecond":0.5,"burst":2,"concurrency":3,"perDay":4,"shadow":false},"expires":"8999-12-31T23:59:59+23:59"}`))
	f.Add([]byte(`{"id":"1","source":"m","type":"grant","tenant":"a","time":"0000-01-01T00:00:00+23:59","plan":"p","expires":"9999-12-31T23:59:59-23:59"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := entitlement.ParseEvent(data)
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
		again, err := entitlement.ParseEvent([]byte(text(e)))
		if err != nil {
			t.Fatalf("%s can't be read again: %v", text(e), err)
		}
		if d, _ := again.Digest(); d != digest || again.Key() != e.Key() {
			t.Errorf("%s says something else when it is read again: %s", data, text(e))
		}
		x := &entitlement.Tenant{ID: e.Tenant}
		x.Apply(event(entitlement.Grant, -time.Hour))
		x.Apply(e)
		if effect := x.Apply(again); effect != entitlement.Late {
			t.Errorf("%s again is %s", data, effect)
		}
		stored := &entitlement.Tenant{}
		b, err := json.Marshal(x)
		if err == nil {
			err = json.Unmarshal(b, stored)
		}
		if err != nil || text(stored) != string(b) {
			t.Fatalf("%s can't be stored: %v", text(x), err)
		}
		known := map[string]*entitlement.Plan{e.Plan: plans["gold"]}
		for _, now := range []time.Time{{}, noon, e.Time, e.Expires, e.Expires.Add(1), e.Expires.Add(24 * time.Hour), e.Expires.Add(-48 * time.Hour)} {
			for _, plans := range []map[string]*entitlement.Plan{nil, known} {
				s, same := x.Standing(plans, now), stored.Standing(plans, now)
				switch s.State {
				case entitlement.Boot, entitlement.Stable, entitlement.Warning, entitlement.Intervening, entitlement.Refusing:
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

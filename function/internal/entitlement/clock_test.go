package entitlement_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/receipt"
)

// granted makes a tenant of the plan base, as an event of an hour ago.
func (d *desk) granted(t *testing.T, id string, expires time.Time) {
	t.Helper()
	e := &entitlement.Event{ID: "of " + id, Source: "market", Type: entitlement.Grant, Tenant: id, Time: d.clock().Add(-time.Hour), Plan: "base", Expires: expires}
	e.ID = strings.ReplaceAll(e.ID, " ", "-")
	if _, err := d.processor.Apply(t.Context(), e, delivery); err != nil {
		t.Fatal(err)
	}
}

// TestTransitionsOfTheClock are recorded once, whoever finds them.
func TestTransitionsOfTheClock(t *testing.T) {
	d := newDesk()
	d.granted(t, "shop", noon.Add(8*24*time.Hour))
	newID := func() string { return receipt.NewID(1, d.clock()) }
	for _, c := range []struct {
		pass  time.Duration
		noted int
		to    string
	}{{0, 0, ""}, {2 * 24 * time.Hour, 1, "stable warning"}, {time.Hour, 0, ""}, {6 * 24 * time.Hour, 1, "warning intervening"}, {24 * time.Hour, 1, "intervening refusing"}, {time.Hour, 0, ""}} {
		d.mu.Lock()
		d.now = d.now.Add(c.pass)
		d.mu.Unlock()
		d.take()
		var noted atomic.Int64
		var all sync.WaitGroup
		for range 4 { // as instances do
			all.Go(func() {
				n, err := d.processor.NoteAll(t.Context(), newID)
				if err != nil {
					t.Error(err)
				}
				noted.Add(int64(n))
			})
		}
		if all.Wait(); noted.Load() != int64(c.noted) {
			t.Errorf("%d noted, want %d", noted.Load(), c.noted)
		}
		if again, err := d.processor.Note(t.Context(), d.directory(t), "shop", newID()); again || err != nil {
			t.Errorf("noted again: %t %v", again, err)
		}
		r := transitions(t, d.take())
		if len(r) != c.noted {
			t.Fatalf("%d receipts, want %d", len(r), c.noted)
		}
		if len(r) == 0 {
			continue
		}
		var said struct{ From, To, Why string }
		if err := json.Unmarshal([]byte(r[0].Detail), &said); err != nil || said.From+" "+said.To != c.to || said.Why == "" || r[0].Kind != receipt.Entitled || r[0].Tenant != "shop" {
			t.Errorf("%+v", r[0])
		}
	}
	if told := d.told; len(told) != 1 {
		t.Errorf("of the grant and what was noted instances were told %d, want the grant alone", told)
	}
	if noted, err := d.processor.Note(t.Context(), d.directory(t), "nobody", newID()); noted || !errors.Is(err, entitlement.ErrUnknown) {
		t.Errorf("a tenant that is not there: %t %v", noted, err)
	}
}

// transitions are the receipts of those that were noted. Each comes after that of its intent.
func transitions(t *testing.T, all []receipt.Receipt) (out []receipt.Receipt) {
	t.Helper()
	intended := map[string]bool{}
	for _, r := range all {
		switch {
		case r.Kind == receipt.Admitted:
			intended[r.ID] = true
		case !intended[r.ID]:
			t.Errorf("no intent was recorded before %+v", r)
		case r.Kind == receipt.Entitled:
			out = append(out, r)
		case r.Kind != receipt.Completed || r.Reason != "seen":
			t.Errorf("%+v", r)
		}
	}
	return out
}

// TestClocksApart has two instances, one of them some milliseconds behind, find a transition in turns.
func TestClocksApart(t *testing.T) {
	d := newDesk()
	ends := noon.Add(8 * 24 * time.Hour)
	d.granted(t, "shop", ends)
	d.take()
	instance := func(behind time.Duration) *entitlement.Processor {
		return entitlement.NewProcessor(entitlement.ProcessorOptions{
			Tenants: d, Recorder: d, Now: func() time.Time { return ends.Add(5*time.Millisecond - behind) },
		})
	}
	for range 10 {
		for _, behind := range []time.Duration{0, 7 * time.Millisecond} {
			id := receipt.NewID(1, d.clock())
			if _, err := instance(behind).Note(t.Context(), d.directory(t), "shop", id); err != nil {
				t.Error(err)
			}
		}
	}
	if r := transitions(t, d.take()); len(r) != 1 {
		t.Errorf("one transition has %d receipts: %+v", len(r), r)
	}
	stored, err := d.Tenant(t.Context(), "shop")
	if err != nil || stored.Noted != entitlement.Intervening {
		t.Errorf("noted %+v, %v", stored, err)
	}
}

// TestNotesGoOn where one tenant can't be noted, and each round reads what has changed since the last alone.
func TestNotesGoOn(t *testing.T) {
	d := newDesk()
	for i := range 5 {
		id := fmt.Sprint("shop", i)
		if _, err := d.Store.ChangeTenant(t.Context(), id, nil, func(x *entitlement.Tenant) error {
			x.Apply(&entitlement.Event{Source: "market", Type: entitlement.Grant, Time: noon, Plan: "base"})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	newID := func() string { return receipt.NewID(1, noon) }
	d.down["changes"] = errAway
	if noted, err := d.processor.NoteAll(t.Context(), newID); noted != 0 || !errors.Is(err, errAway) {
		t.Errorf("noted %d, %v", noted, err)
	}
	d.down = map[string]error{"change shop2": errAway}
	if noted, err := d.processor.NoteAll(t.Context(), newID); noted != 4 || err == nil || !strings.Contains(err.Error(), "tenant shop2: ") {
		t.Errorf("noted %d, %v", noted, err)
	}
	d.down = nil
	d.take()
	if noted, err := d.processor.NoteAll(t.Context(), newID); noted != 1 || err != nil {
		t.Errorf("noted %d, %v", noted, err)
	}
	if r := transitions(t, d.take()); len(r) != 1 || r[0].Tenant != "shop2" {
		t.Errorf("%+v", r)
	}
	if s := d.since; len(s) != 3 || s[0] != 0 || s[1] != 0 || s[2] == 0 {
		t.Errorf("what has changed was read since %d", s)
	}
}

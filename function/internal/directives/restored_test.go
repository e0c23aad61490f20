package directives

import (
	"strings"
	"testing"
	"time"
)

// TestRestoredStays has whatever operators order beside it, in whatever place, leave the kill switch of a restored store in force, until it
// is confirmed; then no older copy brings it back.
func TestRestoredStays(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	const backup = "20261130T110000.000000Z"
	other := func(reason string) func(*Directives) error {
		return func(d *Directives) error { return d.Kill(Kill{Scope: Everything, Reason: reason, At: now}) }
	}
	lift := func(d *Directives) error { return d.Lift(Everything) }
	restore := func(complete bool) func(*Directives) error {
		return func(d *Directives) error {
			d.Restore(Restoring(backup, complete, now))
			return nil
		}
	}
	redis := Directives{Version: 99, Kills: []Kill{{Scope: Everything, Reason: "in Redis", At: now}}, Merged: true}
	for _, c := range []struct {
		name     string
		changes  []func(*Directives) error
		backup   string
		complete bool
		fails    string
	}{
		{name: "under way", changes: []func(*Directives) error{restore(false)}, backup: backup},
		{name: "complete", changes: []func(*Directives) error{restore(false), restore(true)}, backup: backup, complete: true},
		{name: "lifted by its scope", changes: []func(*Directives) error{restore(true), lift}, backup: backup, complete: true, fails: "erlmcp restore -confirm"},
		{name: "replaced", changes: []func(*Directives) error{restore(true), other("incident")}, backup: backup, complete: true},
		{name: "replaced and lifted", changes: []func(*Directives) error{restore(true), other("incident"), lift}, backup: backup, complete: true},
		{name: "another was there", changes: []func(*Directives) error{other("incident"), restore(true), lift}, backup: backup, complete: true},
		{name: "lifted twice", changes: []func(*Directives) error{other("incident"), restore(true), lift, lift}, backup: backup, complete: true, fails: backup},
		{name: "of the same words", changes: []func(*Directives) error{other("the store was restored, and no operator has confirmed it"), lift}},
		{name: "nothing", changes: nil},
	} {
		var d Directives
		var err error
		for _, change := range c.changes {
			after := d
			if err = change(&after); err != nil {
				break
			}
			d = after
			for i := range d.Gone {
				d.Gone[i].At = now
			}
		}
		if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.fails)
		}
		for place, in := range map[string]Directives{"alone": d, "merged": Merge(d, redis, now), "merged the other way": Merge(redis, d, now), "with nothing": Merge(d, Directives{}, now)} {
			got, complete := in.Restored()
			if got != c.backup || complete != c.complete {
				t.Errorf("%s, %s: backup %q, complete %v; want %q, %v", c.name, place, got, complete, c.backup, c.complete)
			}
			if got != "" && in.Killed(now, nil) == nil {
				t.Errorf("%s, %s: no call is refused", c.name, place)
			}
		}
		before := d
		d.Confirm()
		for i := range d.Gone {
			d.Gone[i].At = now
		}
		merged := Merge(d, before, now)
		if got, _ := merged.Restored(); got != "" {
			t.Errorf("%s: confirmed, and an older copy brings %q back", c.name, got)
		}
	}
}

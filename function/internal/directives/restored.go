package directives

import (
	"fmt"
	"regexp"
	"time"
)

// A store that is restored from a backup refuses every call, by a kill switch on everything, until an operator has confirmed what was
// ordered since the backup. It is told from others by its reason alone, so that what is stored has the form that it always had. No other
// kill switch takes its place, and no lift of everything takes it away: [Directives.Confirm] does.

// Restoring is the kill switch of a store that is being restored from a backup, or that was: complete says that all of it is there.
func Restoring(backup string, complete bool, at time.Time) Kill {
	state := "is being restored"
	if complete {
		state = "was restored"
	}
	return Kill{Scope: Everything, Reason: fmt.Sprintf("the store %s from backup %s, and no operator has confirmed it", state, backup), At: at.UTC().Truncate(time.Microsecond)}
}

var restoring = regexp.MustCompile(`^the store (is being|was) restored from backup ([0-9TZ.]+), and no operator has confirmed it$`)

// Restored returns the backup that a kill switch of [Restoring] names, "" of any other one.
func (k *Kill) Restored() (backup string, complete bool) {
	if k.Scope != Everything {
		return "", false
	}
	m := restoring.FindStringSubmatch(k.Reason)
	if m == nil {
		return "", false
	}
	return m[2], m[1] == "was"
}

// Restored returns the backup that the store is being restored from, or was: "" where there is none that waits to be confirmed. One that
// is not complete comes before one that is.
func (d *Directives) Restored() (backup string, complete bool) {
	for i := range d.Kills {
		name, whole := d.Kills[i].Restored()
		if name != "" && (backup == "" || complete && !whole) {
			backup, complete = name, whole
		}
	}
	return backup, complete
}

// Restore has a kill switch of [Restoring] in place of those that are there.
func (d *Directives) Restore(k Kill) {
	d.Confirm()
	d.Kills = append(d.Kills, k)
	d.sort()
}

// Confirm takes the kill switches of a restored store away.
func (d *Directives) Confirm() {
	d.Kills = keep(d.Kills, func(k *Kill) bool {
		name, _ := k.Restored()
		if name != "" {
			d.Gone = append(d.Gone, Gone{Of: k.digest()})
		}
		return name == ""
	})
	d.sort()
}

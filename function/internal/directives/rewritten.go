package directives

import (
	"slices"
	"time"
)

// The version before this one does not merge. Who changes the directives there reads those of one place, and replaces them by its own with
// a greater version; its instances copy what the store has over what Redis has. They drop what they do not know: what was lifted, when
// overrides were ordered, and the mark that the directives were merged. So what this version writes is kept a second time, where that one
// does not write. Where directives come without the mark they are compared with what was kept: an older copy of what is missing in them
// must not bring it back.

// Rewritten returns the directives that a writer which does not merge made of others, as one that merges would have written them: what is
// missing was lifted, now. The order in which such writers came does not matter, as long as each began with what was there. Where those
// before are the later ones, since they were written when the others had been read, they are returned.
func Rewritten(before, d Directives, now time.Time) Directives {
	if before.Version >= d.Version {
		return before
	}
	out := Directives{Version: d.Version, Kills: d.Kills, Limits: slices.Clone(d.Limits), Gone: slices.Concat(before.Gone, d.Gone)}
	for i := range out.Limits {
		if v := &out.Limits[i]; v.At.IsZero() {
			v.At = before.orderedAt(v, d.Version)
		}
	}
	gone, there := out.removed(), map[string]bool{}
	for i := range d.Kills {
		there[d.Kills[i].digest()] = true
	}
	for i := range before.Kills {
		if k := &before.Kills[i]; !there[k.digest()] && !gone.kill(k) && !k.ended(now) {
			out.Gone = append(out.Gone, Gone{Of: k.digest(), At: now})
		}
	}
	for i := range before.Limits {
		if v := &before.Limits[i]; !gone.override(v) && out.OverrideOn(v.Scope) == nil {
			out.Gone = append(out.Gone, before.liftOf(v, now))
		}
	}
	out.clean(now)
	return out
}

// orderedAt is when an override was ordered that has lost its time: as before where it is the same, and else later than that one, at the
// time of the version, which all who read it know.
func (d *Directives) orderedAt(v *Override, version int64) time.Time {
	at := time.UnixMilli(version).UTC()
	old := d.OverrideOn(v.Scope)
	if old == nil {
		return at
	}
	same := *v
	if same.At = old.At; same.digest() == old.digest() {
		return old.At
	}
	if later := old.At.Add(time.Microsecond); later.After(at) {
		return later
	}
	return at
}

// Settled tells that these directives, if there are any, were written by who merges: what is missing in later ones can be told.
func (d *Directives) Settled() bool { return d.Merged || d.Version == 0 }

// Published returns the directives on the board; stored are those of the store, if that has been read since. Where a writer that does not merge
// wrote over those of one that does, it may have made its own of what the store has: then what is missing may be new to the store, and
// does not count as lifted, and when overrides were ordered only the store can tell. Only where there is no store, or directives are later
// than the store's, they were made of what the board had.
func (w *Writer) Published(b Snapshot, stored *Directives) Directives {
	if b.Before == nil {
		return b.Directives
	}
	if w.Storeless || stored != nil && b.Directives.Version > stored.Version {
		return Rewritten(*b.Before, b.Directives, w.Now())
	}
	added := b.Directives
	added.Limits = keep(added.Limits, func(v *Override) bool { return !v.At.IsZero() })
	return Merge(*b.Before, added, w.Now())
}

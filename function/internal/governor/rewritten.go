package governor

import (
	"slices"
	"time"
)

// The version before this one does not merge. Who changes the orders there reads those of one place, and replaces them by its own with
// a greater version; its instances copy what the store has over what Redis has. They drop what they do not know: what was lifted, when
// overrides were ordered, and the mark that the orders were merged. So what this version writes is kept a second time, where that one
// does not write. Where orders come without the mark they are compared with what was kept: an older copy of what is missing in them
// must not bring it back.

// Rewritten returns the orders that a writer which does not merge made of others, as one that merges would have written them: what is
// missing was lifted, now. The order in which such writers came does not matter, as long as each began with what was there. Where those
// before are the later ones, since they were written when the others had been read, they are returned.
func Rewritten(before, o Orders, now time.Time) Orders {
	if before.Version >= o.Version {
		return before
	}
	out := Orders{Version: o.Version, Kills: o.Kills, Limits: slices.Clone(o.Limits), Gone: slices.Concat(before.Gone, o.Gone)}
	for i := range out.Limits {
		if v := &out.Limits[i]; v.At.IsZero() {
			v.At = before.orderedAt(v, o.Version)
		}
	}
	gone, there := out.removed(), map[string]bool{}
	for i := range o.Kills {
		there[o.Kills[i].digest()] = true
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
func (o *Orders) orderedAt(v *Override, version int64) time.Time {
	at := time.UnixMilli(version).UTC()
	old := o.OverrideOn(v.Scope)
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

// settled tells that these orders, if there are any, were written by who merges: what is missing in later ones can be told.
func (o *Orders) settled() bool { return o.Merged || o.Version == 0 }

// posted returns the orders on the board; stored are those of the store, if that has been read since. Where a writer that does not merge
// wrote over those of one that does, it may have made its own of what the store has: then what is missing may be new to the store, and
// does not count as lifted, and when overrides were ordered only the store can tell. Only where there is no store, or orders are later
// than the store's, they were made of what the board had.
func (w *Writer) posted(b Bulletin, stored *Orders) Orders {
	if b.Before == nil {
		return b.Orders
	}
	if w.Storeless || stored != nil && b.Orders.Version > stored.Version {
		return Rewritten(*b.Before, b.Orders, w.Now())
	}
	added := b.Orders
	added.Limits = keep(added.Limits, func(v *Override) bool { return !v.At.IsZero() })
	return Merge(*b.Before, added, w.Now())
}

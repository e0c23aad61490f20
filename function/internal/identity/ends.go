package identity

import "time"

const (
	// briefly is how long a key must be good for to be one whose end is looked at: who makes keys for days makes the next one in time.
	briefly = 28 * 24 * time.Hour
	// missed is how long after its end a key is missed. Whoever has not asked for another one by then needs none.
	missed = 7 * 24 * time.Hour
)

// FirstEnd returns when the first of the callers is left without a key, and false where none is. A caller is a subject of a tenant, and goes
// by the key that is good for longest, so that one that was rotated does not count. The end may have passed, by a week at most. Keys that
// were revoked, and those that were made for less than four weeks, do not count. Of two keys of one id the one in the earlier set does.
func FirstEnd(now time.Time, sets ...*Keys) (first time.Time, ok bool) {
	type caller struct{ tenant, subject string }
	ends := map[caller]time.Time{} // zero is never
	for i, set := range sets {
		if set == nil {
			continue
		}
		for id, k := range set.byID {
			if k.principal == nil || k.State(now) == "revoked" || k.brief() || taken(id, sets[:i]) {
				continue
			}
			who := caller{k.Tenant, k.Subject}
			if before, known := ends[who]; !known || !before.IsZero() && (k.Expires.IsZero() || k.Expires.After(before)) {
				ends[who] = k.Expires
			}
		}
	}
	for _, end := range ends {
		if !end.IsZero() && now.Sub(end) < missed && (!ok || end.Before(first)) {
			first, ok = end, true
		}
	}
	return first, ok
}

// brief tells whether the key was made for less than four weeks, where that is known.
func (k *Key) brief() bool {
	begins := k.begins()
	return !begins.IsZero() && !k.Expires.IsZero() && k.Expires.Sub(begins) < briefly
}

func taken(id string, earlier []*Keys) bool {
	for _, set := range earlier {
		if set.entry(id) != nil {
			return true
		}
	}
	return false
}

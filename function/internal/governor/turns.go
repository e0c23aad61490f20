package governor

import "slices"

// A limit that several tenants share is given to them in turns once it is used up: or else whoever asks most often has all of it. A
// tenant that was refused is given one turn, behind those that were given before, and no one else gets what the turns before the own
// one will need. A tenant has one turn at a time, however often it asks, so that what there is goes round: each active tenant has the
// same share, and what one leaves the others have (max-min fairness, as fair queueing with one call in each queue: Nagle, RFC 970).
//
// The counters know of turns only while there are calls refused, and for turnSeen after: until then a need with a tenant costs one key
// more in the same message. A call that was given a turn waits for it in its instance, for turnTimeout at most. A turn whose
// tenant does not come back for it ends soon after it was due.
const (
	turnTimeout = int64(1000 * 1000) // µs for which a call waits for its turn
	turnSeen    = int64(2000 * 1000) // µs for which a tenant counts as one of several after it asked
	turnGrace   = int64(250 * 1000)  // µs for which a turn stays after it was due, where its call waits for it
	turnReturn  = int64(1500 * 1000) // µs for which it stays where its caller was told to come again, in whole seconds
	fewTurns    = 8                  // turns that are given however late they are due
)

// MaxAsking is how many tenants a limit remembers that ask for more than there is, and so how many calls wait for their turn at most.
const MaxAsking = 64

// competed is for how long it is remembered that tenants took turns, for operators.
const competed = 60 * turnSeen / 2

// turns are the tenants that ask for more than there is, those with a turn in the order of their turns.
type turns []asking

type asking struct {
	tenant string
	seen   int64 // when it asked last
	ends   int64 // of its turn; 0 for none
	units  int64 // that its turn is for
}

func (a *asking) waits(now int64) bool { return a.ends > now }

// ahead sums what goes to turns before the tenant's own, and tells whether it is one of several.
func (q turns) ahead(now int64, tenant string) (units int64, several bool) {
	behind := false
	for i := range q {
		a := &q[i]
		switch waits := a.waits(now); {
		case a.tenant == tenant:
			behind = waits
		case waits:
			if several = true; !behind {
				units += a.units
			}
		case a.seen+turnSeen > now:
			several = true
		}
	}
	return units, several
}

// served ends the turn of a tenant that has got what it asked for.
func (q turns) served(now int64, tenant string) turns {
	return append(q.without(now, tenant), asking{tenant: tenant, seen: now})
}

// refused gives the tenant a turn where it is one of several, or leaves it the one that it has. The wait is until it is due.
func (q turns) refused(now int64, n *Need, wait int64) (_ turns, turn bool) {
	_, several := q.ahead(now, n.Tenant)
	grace := turnGrace
	if n.Kind == Slots || wait > turnTimeout {
		grace = turnReturn
	}
	ends := now + wait + grace
	given := 0
	for i := range q {
		if a := &q[i]; a.waits(now) {
			if a.tenant == n.Tenant {
				a.seen, a.ends, a.units = now, max(a.ends, ends), n.Min
				return q, true
			}
			given++
		}
	}
	a := asking{tenant: n.Tenant, seen: now}
	if several && (wait <= turnTimeout || given < fewTurns) {
		a.ends, a.units = ends, n.Min
	}
	return append(q.without(now, n.Tenant), a), a.ends > 0
}

// live leaves out who has no turn and has not asked lately; turns of such are none, so that counters may forget it. After now is who
// asked before the clock was set back.
func (q turns) live(now int64) turns {
	q = slices.DeleteFunc(slices.Clone(q), func(a asking) bool { return a.seen > now || !a.waits(now) && a.seen+turnSeen <= now })
	if len(q) == 0 {
		return nil
	}
	return q
}

// without leaves out a tenant, and where there are too many, the first without a turn or of all.
func (q turns) without(now int64, tenant string) turns {
	q = slices.DeleteFunc(slices.Clone(q), func(a asking) bool { return a.tenant == tenant })
	if len(q) >= MaxAsking {
		i := max(slices.IndexFunc(q, func(a asking) bool { return !a.waits(now) }), 0)
		q = slices.Delete(q, i, i+1)
	}
	return q
}

// turnsOf returns who asks for more than there is of a need's limit, nil where the need has no tenant or no one was refused lately.
func (c *ReferenceCounters) turnsOf(now int64, n *Need) turns {
	if n.Tenant == "" {
		return nil
	}
	return c.turns[n.Key].live(now)
}

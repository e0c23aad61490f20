package governor

import (
	"maps"
	"time"
)

// A LeaseCache is one instance's side of the lease protocol: what it holds, what it has used, and what it must ask for. It is a
// pure state machine: times are microseconds of the instance's own monotonic clock. It is not safe for concurrent use.
type LeaseCache struct {
	instance     string
	lease        int64
	seq          int64
	epoch        int64
	poll         bool  // send a message all the same, to learn of directives
	renewed      int64 // when the last message was sent that the counters took
	lastBeat     int64
	lastDeclared int64 // when all holdings were last declared
	instances    int64
	accounts     map[string]*account
	waiting      []*Reservation
	sent         *sent
	immediate    bool  // the counters answer at once: what they grant is used then
	slowest      int64 // how long messages take of late, rather too long
}

// An account is what the instance holds of one key.
type account struct {
	key         string
	kind        Kind
	limit       *Limit             // that was asked about last
	refusals    map[string]refusal // of tenants that were refused, "" for all where it is given to whoever asks
	scarceUntil int64              // until then at least one refusal holds
	sharedUntil int64              // until then tenants take turns
	batches     []batch            // of tokens, the first to end first
	taken       demand
	held        int64 // slots
	used        int64
	peak        int64 // most slots used since the last beat
	declared    int64 // slots that the counters know of; unknown after a lost message
	spare       int64 // free slots worth keeping
}

const unknown = -1

// A refusal says that asking is in vain, or was done so lately that it can wait.
type refusal struct {
	retryAt  int64
	amount   int64 // of tokens: how many that is about
	wait     int64 // what callers were told, of slots
	learning bool  // the counters were lost, and learn what is held
}

// maxRefusals is from how many on those that have ended are forgotten.
const maxRefusals = 64

func (a *account) refuse(now int64, tenant string, r refusal) {
	if len(a.refusals) >= maxRefusals {
		maps.DeleteFunc(a.refusals, func(_ string, r refusal) bool { return r.retryAt <= now })
	}
	if a.refusals == nil {
		a.refusals = map[string]refusal{}
	}
	a.refusals[tenant] = r
	a.scarceUntil = max(a.scarceUntil, r.retryAt)
}

// forgetRefusals lets all ask.
func (a *account) forgetRefusals() {
	clear(a.refusals)
	a.scarceUntil = 0
}

type batch struct{ tokens, until int64 }

// demand counts what was taken in this period and the one before.
type demand struct{ since, now, before int64 }

func (d *demand) add(at, period, n int64) {
	if age := at - d.since; age >= period {
		d.before = d.now
		if age >= 2*period {
			d.before = 0
		}
		d.since, d.now = at, 0
	}
	d.now += n
}

// lately is what was taken in the last period that has ended, and nothing where that ended long ago.
func (d *demand) lately(at, period int64) int64 {
	switch age := at - d.since; {
	case age < period:
		return d.before
	case age < 2*period:
		return d.now
	}
	return 0
}

// NewLeaseCache returns the lease cache of an instance. A lease is how long the counters keep its slots without a message.
func NewLeaseCache(instance string, lease time.Duration) *LeaseCache {
	return &LeaseCache{instance: instance, lease: lease.Microseconds(), accounts: map[string]*account{}, instances: 1, slowest: maxHold}
}

// Leased tells whether slots may be used: the lease, counted from when it was asked for, has a tenth left.
func (c *LeaseCache) Leased(now int64) bool { return c.epoch != 0 && now < c.ends() }

// ends is until when slots may be used, unless a message renews them.
func (c *LeaseCache) ends() int64 { return c.renewed + c.lease*9/10 }

func (c *LeaseCache) account(kind Kind, l *Limit) *account {
	key := [...]string{Tokens: "r:", Slots: "c:"}[kind] + l.Key
	if l.Many && kind == Tokens {
		key = Forgettable + l.Key
	}
	a := c.accounts[key]
	if a == nil {
		a = &account{key: key, kind: kind}
		c.accounts[key] = a
	}
	if before := a.limit; before != l {
		if a.limit = l; before != nil && (before.PerSecond != l.PerSecond || before.Burst != l.Burst || before.Concurrency != l.Concurrency) {
			a.forgetRefusals() // they were of another limit
		}
	}
	return a
}

// returnIdle shrinks what was not needed since the last beat and forgets what is nothing.
func (c *LeaseCache) returnIdle(now int64) {
	for key, a := range c.accounts {
		idle := a.free(now) == 0 && now-a.taken.since > c.lease
		if a.kind == Slots {
			a.held = max(a.used, min(a.held, a.peak))
			a.peak = a.used
			idle = a.held == 0 && a.declared == 0
		}
		if idle && a.scarceUntil <= now && a.sharedUntil+competed <= now {
			delete(c.accounts, key)
		}
	}
	// An account that a reservation still waits with must stay the one in the map.
	for _, r := range c.waiting {
		for _, p := range r.parts {
			c.accounts[p.account.key] = p.account
		}
	}
}

// Adopt takes the epoch in force, where none is known.
func (c *LeaseCache) Adopt(epoch int64) {
	if c.epoch == 0 {
		c.epoch = epoch
	}
}

// Resign shrinks to what is in use: the instance goes.
func (c *LeaseCache) Resign() {
	for _, a := range c.accounts {
		if a.kind == Slots {
			a.held = a.used
		}
	}
}

// Poll demands a message even where there is nothing to say.
func (c *LeaseCache) Poll() { c.poll = true }

// Epoch is the epoch that the cache knows, 0 before the first answer.
func (c *LeaseCache) Epoch() int64 { return c.epoch }

// Holdings sums what is held and used of slots, and the tokens that wait to be used, for the metrics and for tests.
func (c *LeaseCache) Holdings(now int64) (held, used, tokens int64) {
	for _, a := range c.accounts {
		if a.kind == Slots {
			held += a.held
			used += a.used
		} else {
			tokens += a.free(now)
		}
	}
	return held, used, tokens
}

package governor

import (
	"slices"
	"time"
)

// A Reservation is what one call asks for and has got, of tokens and slots.
type Reservation struct {
	Verdict   Verdict // once it is decided
	Decided   bool
	parts     []part
	abandoned bool // its caller gave up while the message was under way
}

type part struct {
	limit    *Limit
	account  *account
	tenant   string // with which others share the limit, empty for none
	needed   int64  // what the call needs
	reserved int64  // of what is held already
	until    int64  // when the first of the reserved tokens ends
	exceeded bool   // of a limit in dry run: there is not enough, and the call goes on without
}

func (p *part) satisfied() bool { return p.reserved == p.needed || p.exceeded }

// A Verdict is the decision on a reservation.
type Verdict struct {
	Admitted bool
	Limit    *Limit // that refused
	Kind     Kind   // of the need that was refused
	Heavy    bool   // the call weighs more than the limit's burst: it is never admitted
	Wait     time.Duration
	Lost     bool     // the counters did not answer: the limits' outage rules decide
	Learning bool     // the counters were lost, and learn what is held
	Turn     bool     // the call's tenant has a turn when the wait is over
	DryRun   []*Limit // that would have refused an admitted call
}

// Reserve asks for a call. It is decided at once where what is held suffices, or where asking is
// known to be in vain; otherwise when the counters have answered.
func (c *LeaseCache) Reserve(now int64, call *Call) *Reservation {
	r := &Reservation{parts: make([]part, 0, 2*len(call.Limits))}
	for _, l := range call.Limits {
		tenant := call.Tenant
		if !l.Common || l.DryRun {
			tenant = ""
		}
		if l.PerSecond > 0 {
			r.parts = append(r.parts, part{limit: l, account: c.account(Tokens, l), tenant: tenant, needed: call.Weight * tokensPerCall})
		}
		if l.Concurrency > 0 {
			r.parts = append(r.parts, part{limit: l, account: c.account(Slots, l), tenant: tenant, needed: 1})
		}
	}
	for i := range r.parts {
		p := &r.parts[i]
		a := p.account
		before := p.refused()
		wait := before.retryAt - now
		switch {
		case a.kind == Tokens && float64(p.needed) > p.limit.pace().burst:
			if !p.limit.DryRun {
				r.Decided, r.Verdict = true, Verdict{Limit: p.limit, Heavy: true}
				return r
			}
			p.exceeded = true
		case wait <= 0 || a.free(now) >= p.needed:
		case p.limit.DryRun:
			p.exceeded = true
		default:
			r.refuse(*p, max(wait, before.wait))
			r.Verdict.Learning = before.learning
			return r
		}
	}
	c.take(now, r)
	return r
}

// refused returns the refusal that holds for the part: fewer tokens than were refused are there earlier.
func (p *part) refused() refusal {
	a := p.account
	r := a.refusals[p.tenant]
	if a.kind == Tokens && p.needed < r.amount {
		r.retryAt -= int64(float64(r.amount-p.needed) * p.limit.pace().period)
	}
	return r
}

// take takes what is held, and lets the reservation wait where that is not enough.
func (c *LeaseCache) take(now int64, r *Reservation) {
	enough := true
	leased := c.Leased(now)
	for i := range r.parts {
		p := &r.parts[i]
		switch {
		case p.exceeded:
		case p.account.kind == Tokens:
			p.takeTokens(now)
		case !leased:
			p.dropSlot() // what was granted may be another's by now
		case p.reserved == 0 && p.account.used < p.account.held:
			p.reserved = 1
			p.account.use()
		}
		enough = enough && p.satisfied()
	}
	if enough {
		r.admit(now)
		return
	}
	c.waiting = append(c.waiting, r)
}

func (p *part) dropSlot() {
	if p.account.kind == Slots && p.reserved == 1 {
		p.reserved = 0
		p.account.used--
	}
}

func (p *part) takeTokens(now int64) {
	a := p.account
	for p.reserved < p.needed && len(a.batches) > 0 {
		first := &a.batches[0]
		if first.until < now {
			a.batches = a.batches[1:]
			continue
		}
		n := min(p.needed-p.reserved, first.tokens)
		if p.reserved == 0 || first.until < p.until {
			p.until = first.until
		}
		p.reserved += n
		if first.tokens -= n; first.tokens == 0 {
			a.batches = a.batches[1:]
		}
	}
}

func (a *account) use() {
	a.used++
	a.peak = max(a.peak, a.used)
}

func (a *account) free(now int64) (n int64) {
	if a.kind == Slots {
		return a.held - a.used
	}
	for _, l := range a.batches {
		if l.until >= now {
			n += l.tokens
		}
	}
	return n
}

func (r *Reservation) holdsSlots() bool {
	return slices.ContainsFunc(r.parts, func(p part) bool { return p.account.kind == Slots && !p.limit.DryRun })
}

func (r *Reservation) admit(now int64) {
	r.Decided, r.Verdict = true, Verdict{Admitted: true}
	for i := range r.parts {
		p := &r.parts[i]
		if p.exceeded {
			p.giveBack()
			r.Verdict.DryRun = append(r.Verdict.DryRun, p.limit)
		} else if p.account.kind == Tokens {
			p.account.taken.add(now, p.limit.pace().keep, p.needed)
		}
	}
}

func (r *Reservation) refuse(by part, wait int64) {
	r.Decided, r.Verdict = true, Verdict{Limit: by.limit, Kind: by.account.kind, Wait: time.Duration(max(wait, 1)) * time.Microsecond}
}

// giveBack returns what was reserved: a refused call consumes nothing.
func (r *Reservation) giveBack() {
	for i := range r.parts {
		r.parts[i].giveBack()
	}
}

func (p *part) giveBack() {
	a := p.account
	switch {
	case p.reserved == 0:
	case a.kind == Slots:
		p.dropSlot()
	default:
		a.batches = append([]batch{{p.reserved, p.until}}, a.batches...) // the end of the first: never too late
		slices.SortFunc(a.batches, func(x, y batch) int { return int(x.until - y.until) })
	}
	p.reserved = 0
}

// Release gives back the slots of an admitted reservation, once its call has returned. It tells whether others may be waiting for
// them, so that a message is worth it now.
func (c *LeaseCache) Release(r *Reservation) (urgent bool) {
	for _, p := range r.parts {
		a := p.account
		if a.kind != Slots || p.reserved == 0 {
			continue
		}
		a.used--
		a.forgetRefusals() // one is free: it is worth asking
		if a.held > a.used+a.spare {
			a.held = a.used + a.spare // shrunk here before the counters are told
			urgent = true
		}
	}
	return urgent
}

// Abandon gives up a reservation that waits: its caller did.
func (c *LeaseCache) Abandon(r *Reservation) {
	if r.Decided {
		return
	}
	r.Decided, r.Verdict = true, Verdict{Lost: true}
	if i := slices.Index(c.waiting, r); i >= 0 {
		c.waiting = slices.Delete(c.waiting, i, i+1)
		r.giveBack()
		return
	}
	r.abandoned = true // what the message under way brings goes back
}

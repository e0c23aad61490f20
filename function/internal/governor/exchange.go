package governor

import (
	"cmp"
	"slices"
	"time"
)

type sent struct {
	request      LeaseRequest
	at           int64
	reservations []*Reservation
}

// maxGroups bounds one message, and so the time that the counters are busy with it.
const maxGroups = 64

// Next returns the message that should be sent now, or nil: one is under way, or there is nothing to say.
func (c *LeaseCache) Next(now int64) *LeaseRequest {
	if c.sent != nil {
		return nil
	}
	beat := now-c.lastBeat >= c.lease/4
	all := beat && now-c.lastDeclared >= c.lease/2 // now and then, since the counters may have lost a part of it
	if beat {
		c.lastBeat = now
		c.returnIdle(now)
	}
	if all {
		c.lastDeclared = now
	}
	if c.epoch != 0 && !c.Leased(now) {
		c.dropUnused()
	}
	request := LeaseRequest{Instance: c.instance, Seq: c.seq + 1, Epoch: c.epoch, Lease: c.lease}
	holds := c.declare(&request, all)
	n := min(len(c.waiting), maxGroups)
	if n == 0 && len(request.Holdings) == 0 && !(beat && holds) && !c.poll {
		return nil
	}
	c.poll = false
	request.Groups = c.groups(now, n)
	c.seq++
	c.sent = &sent{request: request, at: now, reservations: slices.Clone(c.waiting[:n])}
	c.waiting = append(c.waiting[:0], c.waiting[n:]...)
	return &c.sent.request
}

// dropUnused gives up all slots but those of calls that run: the lease has ended, and the counters may have given away the others.
func (c *LeaseCache) dropUnused() {
	for _, r := range c.waiting {
		for i := range r.parts {
			r.parts[i].dropSlot()
		}
	}
	for _, a := range c.accounts {
		if a.kind == Slots {
			a.held, a.declared = a.used, unknown
		}
	}
}

// declare puts the slots into the request that the counters do not know of, or all of them, and tells whether any are held.
func (c *LeaseCache) declare(request *LeaseRequest, all bool) (holds bool) {
	request.Full = true
	for _, a := range c.accounts {
		if a.kind == Slots {
			declare := a.held != a.declared || all && a.held > 0
			request.Full = request.Full && (a.held == 0 || declare)
			holds = holds || a.held > 0
			if declare {
				request.Holdings = append(request.Holdings, Holding{a.key, a.held})
			}
		}
	}
	slices.SortFunc(request.Holdings, func(x, y Holding) int { return cmp.Compare(x.Key, y.Key) })
	return holds
}

// groups returns what the first n reservations that wait still need.
func (c *LeaseCache) groups(now int64, n int) (groups []Group) {
	asked := map[*account]bool{}
	for _, r := range c.waiting[:n] {
		var g Group
		for _, p := range r.parts {
			if p.satisfied() {
				continue
			}
			var slice int64
			// A slice to keep is asked for once, and no tokens ahead while calls wait for the next message.
			if !asked[p.account] && (p.account.kind == Slots || len(c.waiting) == n) {
				slice = c.slice(now, p)
				asked[p.account] = true
			}
			g = append(g, c.need(p, slice))
		}
		groups = append(groups, g)
	}
	return groups
}

// need returns what a part still needs, and a slice beyond it.
func (c *LeaseCache) need(p part, slice int64) Need {
	missing := p.needed - p.reserved
	n := Need{Key: p.account.key, Tenant: p.tenant, Kind: p.account.kind, Min: missing, Max: missing + slice, Cap: p.limit.Concurrency}
	if p.limit.DryRun {
		n.Min = 0
	}
	if n.Kind == Tokens {
		pace := p.limit.pace()
		n.Period, n.Cap, n.Hold = pace.period, int64(pace.burst*milli), c.hold(pace, p.needed)
		if slice > 0 {
			n.Hold = pace.keep
		}
	}
	return n
}

// slice is how much to ask for beyond a call's need: what is used while tokens are kept, and an instance's small share of slots.
func (c *LeaseCache) slice(now int64, p part) int64 {
	if now < p.account.sharedUntil {
		return 0 // what one tenant left over another would have
	}
	if p.account.kind == Slots {
		return p.limit.Concurrency / (16 * max(c.instances, 1))
	}
	pace := p.limit.pace()
	if pace.keep <= c.hold(pace, p.needed) {
		return 0
	}
	// What was taken in the period before: a burst that comes after a pause leaves all of it to whoever is called.
	n := min(p.account.taken.lately(now, pace.keep), int64(pace.burst)/(4*max(c.instances, 1)))
	if now-p.account.scarceUntil < 4*pace.keep && n < 4*p.needed {
		return 0 // where there is too little, none may be left over
	}
	return n - n%p.needed // less than a whole call would only grow old
}

// Apply takes the answer to the message of a number. Closed demands that an epoch is opened first.
func (c *LeaseCache) Apply(now, seq int64, response LeaseResponse) {
	s := c.sent
	if s == nil || s.request.Seq != seq {
		return // given up before: the counters will be told in absolute terms what is held
	}
	c.sent = nil
	switch {
	case response.Status == Stale && (response.Epoch != s.request.Epoch || response.Lapsed):
		if c.epoch = response.Epoch; s.request.Epoch == 0 {
			c.noteFirstRoundTrip(now - s.at)
		}
		c.redeclare()
		c.waiting = append(s.reservations, c.waiting...)
		c.poll = true
		return
	case response.Status != Done:
		c.lose(s)
		return
	}
	c.renewed = s.at
	c.noteRoundTrip(now - s.at)
	if response.Instances > 0 {
		c.instances = response.Instances
	}
	for _, h := range s.request.Holdings {
		if a := c.accounts[h.Key]; a != nil {
			a.declared = h.Slots
		}
	}
	for i, r := range s.reservations {
		c.settle(now, s, r, s.request.Groups[i], response.Granted[i])
	}
}

// settle takes the grant of what a reservation still needed.
func (c *LeaseCache) settle(now int64, s *sent, r *Reservation, g Group, grant Grant) {
	open := make([]*part, 0, len(g))
	for i := range r.parts {
		if p := &r.parts[i]; !p.satisfied() {
			open = append(open, p)
		}
	}
	if grant.Amounts == nil {
		r.refused(now, open[grant.Refused], grant)
		return
	}
	for i, p := range open {
		if grant.Shared && p.tenant != "" {
			p.account.sharedUntil = now + turnSeen
		}
		if p.account.kind == Slots {
			c.addSlots(now, p, grant.Amounts[i], grant.Left[i])
		} else {
			p.addTokens(now, grant.Amounts[i], s.at+g[i].Hold)
		}
	}
	for i := range r.parts {
		if p := &r.parts[i]; p.account.kind == Tokens && !p.exceeded && p.until < now {
			p.reserved = 0 // came too late to be used
		}
	}
	if r.abandoned {
		r.giveBack()
		return
	}
	c.take(now, r)
}

// refused takes note that the counters refused a part.
func (r *Reservation) refused(now int64, p *part, grant Grant) {
	wait := grant.Wait
	if p.account.kind == Tokens {
		wait = max(wait, p.limit.pace().keep/16)
		p.account.refuse(now, p.tenant, refusal{retryAt: now + wait, amount: p.needed})
	} else {
		p.account.refuse(now, p.tenant, refusal{retryAt: now + slotPause, wait: wait, learning: grant.Learning})
	}
	if grant.Turn {
		p.account.sharedUntil = now + turnSeen
	}
	r.giveBack()
	r.refuse(*p, wait)
	r.Verdict.Learning, r.Verdict.Turn = grant.Learning, grant.Turn
}

// addSlots takes slots that were granted, none only in dry run. Left are those that no one holds.
func (c *LeaseCache) addSlots(now int64, p *part, amount, left int64) {
	a := p.account
	if amount == 0 {
		p.exceeded = true
		a.refuse(now, p.tenant, refusal{retryAt: now + slotPause})
		return
	}
	a.held += amount
	a.declared += amount
	a.spare = min(c.slice(now, *p), max(left, 0)/(4*max(c.instances, 1)))
	p.reserved = 1
	a.use()
}

// addTokens takes tokens that were granted, fewer than needed only in dry run.
func (p *part) addTokens(now, amount, until int64) {
	a, left := p.account, amount-(p.needed-p.reserved)
	if left < 0 {
		p.exceeded = true
		a.refuse(now, p.tenant, refusal{retryAt: now + p.limit.pace().keep/16, amount: p.needed})
		left = amount
	} else {
		if p.reserved == 0 || until < p.until {
			p.until = until
		}
		p.reserved = p.needed
	}
	if left > 0 {
		a.batches = append(a.batches, batch{left, until})
	}
}

// slotPause is how long an instance that was refused a slot does not ask again: what another one frees waits at most so long.
const slotPause = int64(200 * time.Microsecond / time.Microsecond)

// Lose gives up on the message of a number: it did not go out, or no answer came in time. Whether the counters took it is
// not known, nor whether those that answer next are the same, so all that is held is declared again.
func (c *LeaseCache) Lose(seq int64) {
	if s := c.sent; s != nil && s.request.Seq == seq {
		c.sent = nil
		c.lose(s)
	}
}

func (c *LeaseCache) lose(s *sent) {
	c.redeclare()
	for _, r := range s.reservations {
		r.giveBack()
		if !r.abandoned {
			r.Decided, r.Verdict = true, Verdict{Lost: true}
		}
	}
}

// redeclare takes nothing of what the counters know for granted.
func (c *LeaseCache) redeclare() {
	for _, a := range c.accounts {
		a.declared = unknown
	}
}

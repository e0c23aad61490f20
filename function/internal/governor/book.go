package governor

import (
	"maps"
	"slices"
	"time"
)

// A Book is one instance's side of the lease protocol: what it holds, what it has used, and what it must ask for. It is a
// pure state machine: times are microseconds of the instance's own monotonic clock. It is not safe for concurrent use.
type Book struct {
	instance  string
	lease     int64
	seq       int64
	epoch     int64
	ask       bool  // send something, to hear the news
	renewed   int64 // when the last message was sent that the counters took
	beaten    int64
	told      int64 // when all holdings were last declared
	instances int64
	accounts  map[string]*account
	waiting   []*Claim
	sent      *sent
	prompt    bool  // the counters answer at once: what they grant is used then
	slowest   int64 // how long messages take of late, rather too long
}

// An account is what the instance holds of one key.
type account struct {
	key      string
	kind     Kind
	limit    *Limit         // that was asked about last
	bars     map[string]bar // of tenants that were refused, "" for all where it is given to whoever asks
	scarce   int64          // until then at least one of them holds
	several  int64          // until then tenants take turns
	lots     []lot          // of tokens, the first to end first
	taken    demand
	held     int64 // slots
	used     int64
	peak     int64 // most slots used since the last beat
	declared int64 // slots that the counters know of; unknown after a lost message
	keep     int64 // free slots worth keeping
}

const unknown = -1

// A bar says that asking is in vain, or was done so lately that it can wait.
type bar struct {
	until int64
	least int64 // of tokens: how many that is about
	wait  int64 // what callers were told, of slots
	learn bool  // the counters were lost, and learn what is held
}

// mostBars is from how many on bars that have ended are forgotten.
const mostBars = 64

func (a *account) bar(now int64, tenant string, b bar) {
	if len(a.bars) >= mostBars {
		maps.DeleteFunc(a.bars, func(_ string, b bar) bool { return b.until <= now })
	}
	if a.bars == nil {
		a.bars = map[string]bar{}
	}
	a.bars[tenant] = b
	a.scarce = max(a.scarce, b.until)
}

// unbar lets all ask.
func (a *account) unbar() {
	clear(a.bars)
	a.scarce = 0
}

type lot struct{ tokens, until int64 }

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

// A Claim is one call's wish for tokens and slots.
type Claim struct {
	Verdict Verdict // once it is decided
	Decided bool
	parts   []part
	gone    bool // its caller gave up while the message was under way
}

type part struct {
	limit   *Limit
	account *account
	tenant  string // with which others share the limit, empty for none
	least   int64  // what the call needs
	got     int64  // reserved of what is held already
	until   int64  // when the first of the reserved tokens ends
	over    bool   // of a limit in shadow mode: there is not enough, and the call goes on without
}

func (p *part) settled() bool { return p.got == p.least || p.over }

type sent struct {
	draw   Draw
	at     int64
	claims []*Claim
}

// A Verdict is the decision on a claim.
type Verdict struct {
	Admitted bool
	Limit    *Limit // that refused
	Kind     Kind   // of the need that was refused
	Heavy    bool   // the call weighs more than the limit's burst: it is never admitted
	Wait     time.Duration
	Lost     bool     // the counters did not answer: the limits' outage rules decide
	Learns   bool     // the counters were lost, and learn what is held
	Turn     bool     // the call's tenant has a turn when the wait is over
	Shadow   []*Limit // that would have refused an admitted call
}

// NewBook returns the book of an instance. A lease is how long the counters keep its slots without a message.
func NewBook(instance string, lease time.Duration) *Book {
	return &Book{instance: instance, lease: lease.Microseconds(), accounts: map[string]*account{}, instances: 1, slowest: maxHold}
}

// Leased tells whether slots may be used: the lease, counted from when it was asked for, has a tenth left.
func (b *Book) Leased(now int64) bool { return b.epoch != 0 && now < b.ends() }

// ends is until when slots may be used, unless a message renews them.
func (b *Book) ends() int64 { return b.renewed + b.lease*9/10 }

func (b *Book) account(kind Kind, l *Limit) *account {
	key := [...]string{Tokens: "r:", Slots: "c:"}[kind] + l.Key
	if l.Many && kind == Tokens {
		key = Forgettable + l.Key
	}
	a := b.accounts[key]
	if a == nil {
		a = &account{key: key, kind: kind}
		b.accounts[key] = a
	}
	if before := a.limit; before != l {
		if a.limit = l; before != nil && (before.PerSecond != l.PerSecond || before.Burst != l.Burst || before.Concurrency != l.Concurrency) {
			a.unbar() // what barred it was another limit
		}
	}
	return a
}

// Claim asks for a call. It is decided at once where what is held suffices, or where asking is
// known to be in vain; otherwise when the counters have answered.
func (b *Book) Claim(now int64, call *Call) *Claim {
	c := &Claim{parts: make([]part, 0, 2*len(call.Limits))}
	for _, l := range call.Limits {
		tenant := call.Tenant
		if !l.Common || l.Shadow {
			tenant = ""
		}
		if l.PerSecond > 0 {
			c.parts = append(c.parts, part{limit: l, account: b.account(Tokens, l), tenant: tenant, least: call.Weight})
		}
		if l.Concurrency > 0 {
			c.parts = append(c.parts, part{limit: l, account: b.account(Slots, l), tenant: tenant, least: 1})
		}
	}
	for i := range c.parts {
		p := &c.parts[i]
		a := p.account
		bar := p.barred()
		barred := bar.until - now
		switch {
		case a.kind == Tokens && float64(p.least) > p.limit.MaxBurst():
			if !p.limit.Shadow {
				c.Decided, c.Verdict = true, Verdict{Limit: p.limit, Heavy: true}
				return c
			}
			p.over = true
		case barred <= 0 || a.free(now) >= p.least:
		case p.limit.Shadow:
			p.over = true
		default:
			c.refuse(*p, max(barred, bar.wait))
			c.Verdict.Learns = bar.learn
			return c
		}
	}
	b.reserve(now, c)
	return c
}

// barred is until when asking is in vain: fewer tokens than were refused are there earlier.
func (p *part) barred() bar {
	a := p.account
	b := a.bars[p.tenant]
	if a.kind == Tokens && p.least < b.least {
		b.until -= int64(float64(b.least-p.least) * second / p.limit.PerSecond)
	}
	return b
}

// reserve takes what is held, and lets the claim wait where that is not enough.
func (b *Book) reserve(now int64, c *Claim) {
	enough := true
	leased := b.Leased(now)
	for i := range c.parts {
		p := &c.parts[i]
		switch {
		case p.over:
		case p.account.kind == Tokens:
			p.takeTokens(now)
		case !leased:
			p.dropSlot() // what was granted may be another's by now
		case p.got == 0 && p.account.used < p.account.held:
			p.got = 1
			p.account.use()
		}
		enough = enough && p.settled()
	}
	if enough {
		c.admit(now)
		return
	}
	b.waiting = append(b.waiting, c)
}

func (p *part) dropSlot() {
	if p.account.kind == Slots && p.got == 1 {
		p.got = 0
		p.account.used--
	}
}

func (p *part) takeTokens(now int64) {
	a := p.account
	for p.got < p.least && len(a.lots) > 0 {
		first := &a.lots[0]
		if first.until < now {
			a.lots = a.lots[1:]
			continue
		}
		n := min(p.least-p.got, first.tokens)
		if p.got == 0 || first.until < p.until {
			p.until = first.until
		}
		p.got += n
		if first.tokens -= n; first.tokens == 0 {
			a.lots = a.lots[1:]
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
	for _, l := range a.lots {
		if l.until >= now {
			n += l.tokens
		}
	}
	return n
}

func (c *Claim) holdsSlots() bool {
	return slices.ContainsFunc(c.parts, func(p part) bool { return p.account.kind == Slots && !p.limit.Shadow })
}

func (c *Claim) admit(now int64) {
	c.Decided, c.Verdict = true, Verdict{Admitted: true}
	for i := range c.parts {
		p := &c.parts[i]
		if p.over {
			p.giveBack()
			c.Verdict.Shadow = append(c.Verdict.Shadow, p.limit)
		} else if p.account.kind == Tokens {
			p.account.taken.add(now, p.limit.pace().keep, p.least)
		}
	}
}

func (c *Claim) refuse(by part, wait int64) {
	c.Decided, c.Verdict = true, Verdict{Limit: by.limit, Kind: by.account.kind, Wait: time.Duration(max(wait, 1)) * time.Microsecond}
}

// giveBack returns what a claim had reserved: a refused call consumes nothing.
func (c *Claim) giveBack() {
	for i := range c.parts {
		c.parts[i].giveBack()
	}
}

func (p *part) giveBack() {
	a := p.account
	switch {
	case p.got == 0:
	case a.kind == Slots:
		p.dropSlot()
	default:
		a.lots = append([]lot{{p.got, p.until}}, a.lots...) // the end of the first: never too late
		slices.SortFunc(a.lots, func(x, y lot) int { return int(x.until - y.until) })
	}
	p.got = 0
}

// Release gives back the slots of an admitted claim, once its call has returned. It tells whether others may be waiting for
// them, so that a message is worth it now.
func (b *Book) Release(c *Claim) (urgent bool) {
	for _, p := range c.parts {
		a := p.account
		if a.kind != Slots || p.got == 0 {
			continue
		}
		a.used--
		a.unbar() // one is free: it is worth asking
		if a.held > a.used+a.keep {
			a.held = a.used + a.keep // shrunk here before the counters hear of it
			urgent = true
		}
	}
	return urgent
}

// mostGroups bounds one message, and so the time that the counters are busy with it.
const mostGroups = 64

// Next returns the message that should be sent now, or nil: there is one under way, or nothing to say.
func (b *Book) Next(now int64) *Draw {
	if b.sent != nil {
		return nil
	}
	beat := now-b.beaten >= b.lease/4
	// Now and then everything is declared: the counters may have lost a part of it.
	all := false
	if beat {
		b.beaten = now
		b.returnIdle(now)
		if all = now-b.told >= b.lease/2; all {
			b.told = now
		}
	}
	if b.epoch != 0 && !b.Leased(now) {
		// The counters may have given away all but what runs.
		for _, c := range b.waiting {
			for i := range c.parts {
				c.parts[i].dropSlot()
			}
		}
		for _, a := range b.accounts {
			if a.kind == Slots {
				a.held, a.declared = a.used, unknown
			}
		}
	}
	d := Draw{Instance: b.instance, Seq: b.seq + 1, Epoch: b.epoch, Lease: b.lease}
	holds := false
	d.Full = true
	for _, a := range b.accounts {
		if a.kind == Slots {
			declare := a.held != a.declared || all && a.held > 0
			d.Full = d.Full && (a.held == 0 || declare)
			holds = holds || a.held > 0
			if declare {
				d.Holdings = append(d.Holdings, Holding{a.key, a.held})
			}
		}
	}
	n := min(len(b.waiting), mostGroups)
	if n == 0 && len(d.Holdings) == 0 && !(beat && holds) && !b.ask {
		return nil
	}
	b.ask = false
	asked := map[*account]bool{}
	for _, c := range b.waiting[:n] {
		var g Group
		for _, p := range c.parts {
			if p.settled() {
				continue
			}
			need := Need{Key: p.account.key, Tenant: p.tenant, Kind: p.account.kind, Least: p.least - p.got}
			need.Most = need.Least
			if p.limit.Shadow {
				need.Least = 0
			}
			var more int64
			// The slice to keep is asked for once, and no tokens ahead while calls wait for the next message.
			if !asked[p.account] && (p.account.kind == Slots || len(b.waiting) == n) {
				more = b.slice(now, p)
				asked[p.account] = true
			}
			need.Most += more
			if p.account.kind == Tokens {
				pace := p.limit.pace()
				need.Period, need.Cap, need.Hold = pace.period, int64(pace.burst*milli), b.hold(pace, p.least)
				if more > 0 {
					need.Hold = pace.keep
				}
			} else {
				need.Cap = p.limit.Concurrency
			}
			g = append(g, need)
		}
		d.Groups = append(d.Groups, g)
	}
	slices.SortFunc(d.Holdings, func(x, y Holding) int { return int(boolOrder(x.Key < y.Key)) })
	b.seq++
	b.sent = &sent{draw: d, at: now, claims: slices.Clone(b.waiting[:n])}
	b.waiting = append(b.waiting[:0], b.waiting[n:]...)
	return &b.sent.draw
}

func boolOrder(less bool) int {
	if less {
		return -1
	}
	return 1
}

// slice is how much to ask for beyond a claim's need: what is used while tokens are kept, and an instance's small share of slots.
func (b *Book) slice(now int64, p part) int64 {
	if now < p.account.several {
		return 0 // what one tenant left over another would have
	}
	if p.account.kind == Slots {
		return p.limit.Concurrency / (16 * max(b.instances, 1))
	}
	pace := p.limit.pace()
	if pace.keep <= b.hold(pace, p.least) {
		return 0
	}
	// What was taken in the period before: a burst that comes after a pause leaves all of it to whoever is called.
	n := min(p.account.taken.lately(now, pace.keep), int64(pace.burst)/(4*max(b.instances, 1)))
	if now-p.account.scarce < 4*pace.keep && n < 4*p.least {
		return 0 // where there is too little, none may be left over
	}
	return n - n%p.least // less than a whole call would only grow old
}

// returnIdle shrinks what was not needed since the last beat and forgets what is nothing.
func (b *Book) returnIdle(now int64) {
	for key, a := range b.accounts {
		if a.kind == Slots {
			a.held = max(a.used, min(a.held, a.peak))
			a.peak = a.used
			if a.held == 0 && a.declared == 0 && a.scarce <= now && a.several+competed <= now {
				delete(b.accounts, key)
			}
		} else if a.free(now) == 0 && a.scarce <= now && a.several+competed <= now && now-a.taken.since > b.lease {
			delete(b.accounts, key)
		}
	}
	// An account that a claim still waits with must stay the one in the map.
	for _, c := range b.waiting {
		for _, p := range c.parts {
			b.accounts[p.account.key] = p.account
		}
	}
}

// Apply takes the answer to the message of a number. Closed demands that an epoch is opened first.
func (b *Book) Apply(now, seq int64, r Reply) {
	s := b.sent
	if s == nil || s.draw.Seq != seq {
		return // given up before: the counters will hear in absolute terms what is held
	}
	b.sent = nil
	switch {
	case r.Status == Stale && (r.Epoch != s.draw.Epoch || r.Lapsed):
		if b.epoch = r.Epoch; s.draw.Epoch == 0 {
			b.met(now - s.at)
		}
		b.redeclare()
		b.waiting = append(s.claims, b.waiting...)
		b.ask = true
		return
	case r.Status != Done:
		b.lose(s)
		return
	}
	b.renewed = s.at
	b.took(now - s.at)
	if r.Instances > 0 {
		b.instances = r.Instances
	}
	for _, h := range s.draw.Holdings {
		if a := b.accounts[h.Key]; a != nil {
			a.declared = h.Slots
		}
	}
	for i, c := range s.claims {
		b.settle(now, s, c, s.draw.Groups[i], r.Granted[i])
	}
}

func (b *Book) settle(now int64, s *sent, c *Claim, g Group, grant Grant) {
	open := make([]*part, 0, len(g))
	for i := range c.parts {
		if p := &c.parts[i]; !p.settled() {
			open = append(open, p)
		}
	}
	if grant.Amounts == nil {
		p, wait := open[grant.Refused], grant.Wait
		if p.account.kind == Tokens {
			wait = max(wait, p.limit.pace().keep/16)
			p.account.bar(now, p.tenant, bar{until: now + wait, least: p.least})
		} else {
			p.account.bar(now, p.tenant, bar{until: now + slotPause, wait: wait, learn: grant.Learns})
		}
		if grant.Turn {
			p.account.several = now + turnSeen
		}
		by := *p
		c.giveBack()
		c.refuse(by, wait)
		c.Verdict.Learns, c.Verdict.Turn = grant.Learns, grant.Turn
		return
	}
	for i, p := range open {
		a, amount := p.account, grant.Amounts[i]
		if grant.Several && p.tenant != "" {
			a.several = now + turnSeen
		}
		if a.kind == Slots {
			a.held += amount
			a.declared += amount
			if amount == 0 { // in shadow mode
				p.over = true
				a.bar(now, p.tenant, bar{until: now + slotPause})
				continue
			}
			a.keep = min(b.slice(now, *p), max(grant.Left[i], 0)/(4*max(b.instances, 1)))
			p.got = 1
			a.use()
			continue
		}
		until := s.at + g[i].Hold
		need := p.least - p.got
		if amount < need { // in shadow mode
			p.over = true
			a.bar(now, p.tenant, bar{until: now + p.limit.pace().keep/16, least: p.least})
			if amount > 0 {
				a.lots = append(a.lots, lot{amount, until})
			}
			continue
		}
		if p.got == 0 || until < p.until {
			p.until = until
		}
		p.got = p.least
		if amount > need {
			a.lots = append(a.lots, lot{amount - need, until})
		}
	}
	for i := range c.parts {
		if p := &c.parts[i]; p.account.kind == Tokens && !p.over && p.until < now {
			p.got = 0 // came too late to be used
		}
	}
	if c.gone {
		c.giveBack()
		return
	}
	b.reserve(now, c)
}

// slotPause is how long an instance that was refused a slot does not ask again: what another one frees waits at most so long.
const slotPause = int64(200 * time.Microsecond / time.Microsecond)

// Lose gives up on the message of a number: it did not go out, or no answer came in time. Whether the counters took it is
// not known, nor whether those that answer next are the same, so all that is held is declared again.
func (b *Book) Lose(seq int64) {
	if s := b.sent; s != nil && s.draw.Seq == seq {
		b.sent = nil
		b.lose(s)
	}
}

func (b *Book) lose(s *sent) {
	b.redeclare()
	for _, c := range s.claims {
		c.giveBack()
		if !c.gone {
			c.Decided, c.Verdict = true, Verdict{Lost: true}
		}
	}
}

// redeclare takes nothing of what the counters know for granted.
func (b *Book) redeclare() {
	for _, a := range b.accounts {
		a.declared = unknown
	}
}

// Adopt takes the epoch in force, where none is known.
func (b *Book) Adopt(epoch int64) {
	if b.epoch == 0 {
		b.epoch = epoch
	}
}

// Resign shrinks to what is in use: the instance goes.
func (b *Book) Resign() {
	for _, a := range b.accounts {
		if a.kind == Slots {
			a.held = a.used
		}
	}
}

// Abandon gives up a claim that waits: its caller did.
func (b *Book) Abandon(c *Claim) {
	if c.Decided {
		return
	}
	c.Decided, c.Verdict = true, Verdict{Lost: true}
	if i := slices.Index(b.waiting, c); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
		c.giveBack()
		return
	}
	c.gone = true // what the message under way brings goes back
}

// Ask demands a message even where there is nothing to say.
func (b *Book) Ask() { b.ask = true }

// Epoch is the epoch that the book knows, 0 before the first answer.
func (b *Book) Epoch() int64 { return b.epoch }

// Holdings sums what is held and used of slots, and the tokens that wait to be used, for the metrics and for tests.
func (b *Book) Holdings(now int64) (held, used, tokens int64) {
	for _, a := range b.accounts {
		if a.kind == Slots {
			held += a.held
			used += a.used
		} else {
			tokens += a.free(now)
		}
	}
	return held, used, tokens
}

package governor

import (
	"context"
	"time"
)

// news is what the instance knows of the orders and of breakers elsewhere, and how fresh that is. Every reply of the counters
// says whether the bulletin has changed since; once a second one instance of the fleet reads both it and the store, and brings what only
// one of the two has to the other. An instance that slept asks before it decides the next call.
type news struct {
	known    bool
	deaf     bool // the last call that waited for news waited in vain
	bulletin Bulletin
	heard    moment // when the counters' word was asked for, that what is known is current
	read     int64  // when the store was asked last
	stored   moment // when it was asked the last time that it answered
	store    *Orders
	fault    error   // of the last reading of the store
	unread   trouble // reading the bulletin, of counters that answer
	behind   trouble // writing to the store, or to the board
	vain     int64   // until then no call waits
	outdated bool    // what is known is older than what is remembered of lifts: it is what can be read that counts
	catching bool
	turn     bool // it is this instance's turn to read the store, once it has caught up
	settling bool
	again    bool          // settle once more
	changed  chan struct{} // closed when something has come, or failed
}

// A trouble is a fault that may last. It is told of when it has come twice in a row: what came before it is known that the counters, or
// the store, are away goes without saying.
type trouble struct {
	err   error // of the last attempt
	times int   // in a row
}

func (t *trouble) note(err error) (begins, ends bool) {
	if t.err = err; err == nil {
		ends = t.lasts()
		t.times = 0
		return false, ends
	}
	t.times++
	return t.times == 2, false
}

func (t *trouble) lasts() bool { return t.times >= 2 }

// A moment is a time by two clocks, in microseconds: one may stand still while the process or its machine is frozen, and the other may
// be set back.
type moment struct{ steady, wall int64 }

func (g *Governor) moment() moment {
	now := g.opts.Now()
	return moment{now.Sub(g.start).Microseconds(), now.UnixMicro()}
}

// since is the time that has passed by the clock that shows more of it.
func (m moment) since(then moment) int64 { return max(m.steady-then.steady, m.wall-then.wall) }

// Ages of the news, in microseconds.
const (
	askAge  = int64(500 * time.Millisecond / time.Microsecond)  // from where on an instance asks without waiting
	waitAge = int64(1500 * time.Millisecond / time.Microsecond) // and waits for the answer
	mostAge = int64(2 * time.Second / time.Microsecond)         // and what is known is nothing
)

const (
	// firstPatience is how long a call waits for news: without, it is refused.
	firstPatience = time.Second
	// inVain is for how long no call waits, in microseconds, after one has waited for nothing.
	inVain = int64(time.Second / time.Microsecond)
	// readAgain is how soon the store is read again for calls that wait, in microseconds, where it could not be read.
	readAgain = int64(200 * time.Millisecond / time.Microsecond)
	// storeTimeout bounds an exchange with the store.
	storeTimeout = 2 * time.Second
)

// Hear makes sure that the orders are fresh, as far as that can be had within the patience, and returns those known;
// another pointer than before says that they have changed. They must not be changed.
func (g *Governor) Hear(ctx context.Context) *Orders {
	g.listen(ctx)
	return g.orders.Load()
}

// InForce returns the orders that were heard of last. They must not be changed.
func (g *Governor) InForce() *Orders { return g.orders.Load() }

// listen makes sure that the news is fresh, without the lock where it is, and tells whether what is known is good for a decision.
func (g *Governor) listen(ctx context.Context) bool {
	if now := g.moment(); now.steady < g.current.steady.Load() && now.wall < g.current.wall.Load() {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hear(ctx)
	return g.informed(g.moment())
}

// Informed asks for the news where that is not fresh, and tells whether it is known what operators have ordered.
func (g *Governor) Informed(ctx context.Context) bool { return g.listen(ctx) }

// Check decides by the orders alone, for a call that was admitted a while ago and has not begun yet.
func (g *Governor) Check(ctx context.Context, call *Call) Decision {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hear(ctx)
	d := g.ordered(call.Scopes)
	if !d.Admitted() {
		g.count(d)
	}
	return d
}

// Known tells whether it is known what operators have ordered, as far as calls have found out: until then every call is refused.
func (g *Governor) Known() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.news.known && !g.news.deaf
}

// age is that of what is known.
func (g *Governor) age(now moment) int64 {
	n := &g.news
	age := now.since(n.heard)
	if g.storeDecides() {
		age = now.since(n.stored)
	} else if g.untold() {
		age = min(age, now.since(n.stored))
	}
	return age
}

// untold tells that the counters do not tell what was ordered, though they may count: what the store has is all there is to know.
func (g *Governor) untold() bool { return g.outage != nil || g.news.unread.err != nil }

// storeDecides tells that the store alone has what others order: the counters are this process's own.
func (g *Governor) storeDecides() bool { return g.opts.Alone && g.opts.Orders != nil }

// informed tells whether what is known is good for a decision now. What is embedded has no one else to hear of.
func (g *Governor) informed(now moment) bool {
	return g.news.known && (g.opts.Embedded || g.solitary() || g.age(now) < mostAge)
}

// solitary tells that there is nothing to hear of.
func (g *Governor) solitary() bool { return g.opts.Alone && g.opts.Orders == nil }

// hear asks for news where it is not fresh, and waits for it where it is old, with the lock released.
func (g *Governor) hear(ctx context.Context) {
	n := &g.news
	now := g.moment()
	age := g.age(now)
	if n.known && (age < askAge || g.solitary()) {
		return
	}
	g.ask(now.steady)
	if n.known && age < waitAge || now.steady < n.vain {
		return
	}
	timer := time.NewTimer(firstPatience)
	defer timer.Stop()
	for {
		if now = g.moment(); n.known && g.age(now) < waitAge {
			return
		}
		g.ask(now.steady)
		switch late, gone := g.awaitNews(ctx, timer.C); {
		case gone:
			return
		case late:
			now = g.moment()
			n.vain = now.steady + inVain // others need not wait as long
			n.deaf = !g.informed(now)
			return
		}
	}
}

// ask has whatever can tell the news asked, unless it is being asked.
func (g *Governor) ask(now int64) {
	switch {
	case g.storeDecides():
		g.readStore(now)
	case g.opts.Alone:
		g.book.Ask()
		g.deliver()
	default:
		if g.untold() || !g.news.known {
			g.readStore(now)
		}
		if now >= g.down {
			if g.outage != nil {
				g.catchUp() // counters that take no messages, for want of memory or of time, may still tell
			}
			g.book.Ask()
			g.send()
		}
	}
}

// awaitNews waits for something to come, or a moment, with the lock released.
func (g *Governor) awaitNews(ctx context.Context, up <-chan time.Time) (late, gone bool) {
	changed := g.news.changed
	g.mu.Unlock()
	defer g.mu.Lock()
	again := time.NewTimer(retry)
	defer again.Stop()
	select {
	case <-changed:
	case <-again.C:
	case <-up:
		return true, false
	case <-ctx.Done():
		return false, true
	}
	return false, false
}

// heed takes what a reply says of the news. What it says was so when it was asked for: it may have waited for this process since.
func (g *Governor) heed(at moment, r Reply) {
	n := &g.news
	if r.Status != Done {
		return
	}
	current := n.known && r.News == n.bulletin.News && r.Epoch == n.bulletin.Epoch && !n.outdated
	if current {
		g.heardAt(at)
	}
	if !current || r.Read && !g.opts.Alone { // what Redis has thrown away is no news
		g.catchUp()
	}
	if r.Read || (n.fault != nil || n.behind.err != nil) && g.now()-n.read >= readEvery {
		if n.turn = n.catching; !n.turn {
			g.settle(true)
		}
	}
}

// heardAt notes that what is known was current then.
func (g *Governor) heardAt(at moment) {
	n := &g.news
	if at.steady > n.heard.steady || n.heard == (moment{}) {
		n.heard = at
	}
	g.publish()
}

// publish lets calls know until when the news needs no asking, and that there may be some.
func (g *Governor) publish() {
	n := &g.news
	if n.known {
		n.deaf = n.deaf && !g.informed(g.moment())
		at := n.heard
		if g.storeDecides() {
			at = n.stored
		}
		g.current.steady.Store(at.steady + askAge)
		g.current.wall.Store(at.wall + askAge)
	}
	g.tellNews()
}

// await waits with the lock released, and tells whether what it waits for came before the time was up or the caller gone.
func (g *Governor) await(ctx context.Context, done <-chan struct{}, up *time.Timer) bool {
	g.mu.Unlock()
	defer g.mu.Lock()
	select {
	case <-done:
		return true
	case <-up.C:
	case <-ctx.Done():
	}
	return false
}

func (g *Governor) tellNews() {
	close(g.news.changed)
	g.news.changed = make(chan struct{})
}

// adopt takes orders in, beside those that are known.
func (g *Governor) adopt(o Orders) {
	mine := g.orders.Load()
	if o.Version <= mine.Version && o.Beyond(mine) == nil {
		return
	}
	all := Merge(*mine, o, g.opts.Now())
	if all.Version == mine.Version && all.Beyond(mine) == nil {
		return
	}
	g.orders.Store(&all)
	if all.Version > nothing {
		g.opts.Logger.Info("operators' orders are in force", "version", all.Version, "kills", len(all.Kills), "limits", len(all.Limits))
	}
}

// tellReading takes note of how the bulletin was read. That counters which are away can't be read goes without saying.
func (g *Governor) tellReading(err error) {
	if err != nil && g.outage != nil {
		return
	}
	if begins, ends := g.news.unread.note(err); begins {
		g.opts.Logger.Error("what Redis has of operators' orders can't be read: those that the store has are in force", "error", err)
	} else if ends {
		g.opts.Logger.Info("what Redis has of operators' orders can be read again")
	}
}

// catchUp reads the bulletin.
func (g *Governor) catchUp() {
	n := &g.news
	if n.catching || g.closed {
		return
	}
	n.catching = true
	g.senders.Go(func() {
		asked := g.moment()
		ctx, cancel := context.WithTimeout(g.life, max(messagePatience, g.opts.Patience))
		defer cancel()
		b, err := g.opts.Counters.Bulletin(ctx)
		g.mu.Lock()
		defer g.mu.Unlock()
		n.catching = false
		turn := n.turn
		n.turn = false
		if g.closed {
			return
		}
		g.tellReading(err)
		if err != nil {
			if turn || g.outage == nil && g.now()-n.read >= readEvery {
				g.settle(true)
			}
			return // the next reply leads here again, and calls that wait ask for it
		}
		news := b.News != n.bulletin.News || b.Epoch != n.bulletin.Epoch
		n.bulletin = b
		posted := g.writer().posted(b, nil)
		g.compare(&posted)
		g.adopt(posted)
		g.learn(b.Versions)
		if news {
			g.adoptTrips(g.now(), b.Trips)
		}
		if n.known = n.known || b.Orders.Version > 0 || g.opts.Orders == nil; n.known {
			g.heardAt(asked)
		}
		if missing := g.missing() || turn; missing || g.ahead() {
			g.settle(missing)
		}
	})
}

// ordered decides by the orders: kill switches.
func (g *Governor) ordered(scopes []string) Decision {
	if !g.informed(g.moment()) {
		g.unheard++
		return Decision{Reason: Unknown, Scope: Everything, Wait: time.Second, Outage: true, Rule: Shut}
	}
	orders := g.orders.Load()
	if len(orders.Kills) == 0 {
		return Decision{}
	}
	now := g.opts.Now()
	k := orders.killed(now, scopes)
	if k == nil {
		return Decision{}
	}
	d := Decision{Reason: Killed, Scope: k.Scope, Note: k.Reason}
	if !k.Until.IsZero() {
		d.Wait = k.Until.Sub(now)
	}
	return d
}

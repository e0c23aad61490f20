package governor

import (
	"context"
	"time"

	"example.com/erlmcp/function/internal/directives"
)

// knowledge is what the instance knows of the directives and of breakers elsewhere, and how fresh that is. Every response of the counters
// says whether the snapshot has changed since; once a second one instance of the fleet reads both it and the store, and brings what only
// one of the two has to the other. An instance that slept asks before it decides the next call.
type knowledge struct {
	known           bool
	waitFailed      bool // the last call that waited for a refresh waited in vain
	snapshot        directives.Snapshot
	currentAt       moment // when the counters' word was asked for, that what is known is current
	storeAskedAt    int64  // when the store was asked last
	storeReadAt     moment // when it was asked the last time that it answered
	store           *directives.Directives
	storeErr        error   // of the last reading of the store
	snapshotTrouble trouble // reading the snapshot, of counters that answer
	writeTrouble    trouble // writing to the store, or to the board
	noWaitUntil     int64   // until then no call waits
	outdated        bool    // what is known is older than what is remembered of lifts: it is what can be read that counts
	readingSnapshot bool
	storeTurn       bool // it is this instance's turn to read the store, once it has caught up
	reconciling     bool
	reconcileAgain  bool          // settle once more
	changed         chan struct{} // closed when something has come, or failed
}

// A trouble is a fault that may last. It is logged when it has come twice in a row: what came before it is known that the counters, or
// the store, are away goes without saying.
type trouble struct {
	err   error // of the last attempt
	times int   // in a row
}

// note takes note of an attempt, and logs that the trouble begins or ends.
func (g *Governor) note(t *trouble, err error, begins, ends string) {
	lasted := t.lasts()
	if t.err, t.times = err, t.times+1; err == nil {
		t.times = 0
	}
	if lasts := t.lasts(); lasts && !lasted {
		g.opts.Logger.Error(begins, "error", err)
	} else if lasted && !lasts {
		g.opts.Logger.Info(ends)
	}
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

// Ages of what is known, in microseconds.
const (
	askAge  = int64(500 * time.Millisecond / time.Microsecond)  // from where on an instance asks without waiting
	waitAge = int64(1500 * time.Millisecond / time.Microsecond) // and waits for the answer
	maxAge  = int64(2 * time.Second / time.Microsecond)         // and what is known is nothing
)

const (
	// refreshTimeout is how long a call waits for a refresh: without, it is refused.
	refreshTimeout = time.Second
	// noWait is for how long no call waits, in microseconds, after one has waited for nothing.
	noWait = int64(time.Second / time.Microsecond)
	// readRetry is how soon the store is read again for calls that wait, in microseconds, where it could not be read.
	readRetry = int64(200 * time.Millisecond / time.Microsecond)
	// storeTimeout bounds an exchange with the store.
	storeTimeout = 2 * time.Second
)

// Refresh makes sure that the directives are fresh, as far as that can be had in time, and returns those known;
// another pointer than before says that they have changed. They must not be changed.
func (g *Governor) Refresh(ctx context.Context) *directives.Directives {
	g.Informed(ctx)
	return g.directives.Load()
}

// Version makes sure that what is known is fresh, as far as that can be had in time, and returns the version that was
// announced last under the name, 0 for none, and whether that is known of the last two seconds.
func (g *Governor) Version(ctx context.Context, name string) (version int64, known bool) {
	known = g.Informed(ctx)
	return (*g.versions.Load())[name], known
}

// InForce returns the directives that were read last. They must not be changed.
func (g *Governor) InForce() *directives.Directives { return g.directives.Load() }

// Informed makes sure that what is known is fresh, without the lock where it is, and tells whether it is good for a decision.
func (g *Governor) Informed(ctx context.Context) bool {
	if now := g.moment(); now.steady < g.current.steady.Load() && now.wall < g.current.wall.Load() {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refresh(ctx)
	return g.informed(g.moment())
}

// Check decides by the directives alone, for a call that was admitted a while ago and has not begun yet.
func (g *Governor) Check(ctx context.Context, call *Call) Decision {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refresh(ctx)
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
	return g.directivesState.known && !g.directivesState.waitFailed
}

// age is that of what is known.
func (g *Governor) age(now moment) int64 {
	n := &g.directivesState
	age := now.since(n.currentAt)
	if g.storeDecides() {
		age = now.since(n.storeReadAt)
	} else if g.storeKnowsBest() {
		age = min(age, now.since(n.storeReadAt))
	}
	return age
}

// storeKnowsBest tells that the counters do not tell what was ordered, though they may count: what the store has is all there is to know.
func (g *Governor) storeKnowsBest() bool {
	return g.outage != nil || g.directivesState.snapshotTrouble.err != nil
}

// storeDecides tells that the store alone has what others order: the counters are this process's own.
func (g *Governor) storeDecides() bool { return g.opts.Standalone && g.opts.Directives != nil }

// informed tells whether what is known is good for a decision now. No one else changes what is embedded.
func (g *Governor) informed(now moment) bool {
	return g.directivesState.known && (g.opts.Embedded || g.solitary() || g.age(now) < maxAge)
}

// solitary tells that there is nothing to refresh from.
func (g *Governor) solitary() bool { return g.opts.Standalone && g.opts.Directives == nil }

// refresh asks for what is not fresh, and waits for it where it is old, with the lock released.
func (g *Governor) refresh(ctx context.Context) {
	n := &g.directivesState
	now := g.moment()
	age := g.age(now)
	if n.known && (age < askAge || g.solitary()) {
		return
	}
	g.requestRefresh(now.steady)
	if n.known && age < waitAge || now.steady < n.noWaitUntil {
		return
	}
	timer := time.NewTimer(refreshTimeout)
	defer timer.Stop()
	for {
		if now = g.moment(); n.known && g.age(now) < waitAge {
			return
		}
		g.requestRefresh(now.steady)
		switch late, gone := g.awaitChange(ctx, timer.C); {
		case gone:
			return
		case late:
			now = g.moment()
			n.noWaitUntil = now.steady + noWait // others need not wait as long
			n.waitFailed = !g.informed(now)
			return
		}
	}
}

// requestRefresh asks the counters or the store, unless they are being asked.
func (g *Governor) requestRefresh(now int64) {
	switch {
	case g.storeDecides():
		g.readStore(now)
	case g.opts.Standalone:
		g.leases.Poll()
		g.deliver()
	default:
		if g.storeKnowsBest() || !g.directivesState.known {
			g.readStore(now)
		}
		if now >= g.downUntil {
			if g.outage != nil {
				g.readSnapshot() // counters that take no messages, for want of memory or of time, may still tell
			}
			g.leases.Poll()
			g.send()
		}
	}
}

// awaitChange waits for something to come, or a moment, with the lock released.
func (g *Governor) awaitChange(ctx context.Context, up <-chan time.Time) (late, gone bool) {
	changed := g.directivesState.changed
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

// applyRevision takes what a response says of the revision of the directives. What it says was so when it was asked for: it may have waited for this process since.
func (g *Governor) applyRevision(at moment, r LeaseResponse) {
	n := &g.directivesState
	if r.Status != Done {
		return
	}
	current := n.known && r.Revision == n.snapshot.Revision && r.Epoch == n.snapshot.Epoch && !n.outdated
	if current {
		g.markCurrent(at)
	}
	if !current || r.ReadStore && !g.opts.Standalone { // what Redis has thrown away has no new revision
		g.readSnapshot()
	}
	if r.ReadStore || (n.storeErr != nil || n.writeTrouble.err != nil) && g.now()-n.storeAskedAt >= readEvery {
		if n.storeTurn = n.readingSnapshot; !n.storeTurn {
			g.reconcile(true)
		}
	}
}

// markCurrent notes that what is known was current then.
func (g *Governor) markCurrent(at moment) {
	n := &g.directivesState
	if at.steady > n.currentAt.steady || n.currentAt == (moment{}) {
		n.currentAt = at
	}
	g.publish()
}

// publish lets calls know until when what is known needs no refresh, and that there may be something new.
func (g *Governor) publish() {
	n := &g.directivesState
	if n.known {
		n.waitFailed = n.waitFailed && !g.informed(g.moment())
		at := n.currentAt
		if g.storeDecides() {
			at = n.storeReadAt
		}
		g.current.steady.Store(at.steady + askAge)
		g.current.wall.Store(at.wall + askAge)
	}
	g.notifyChange()
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

func (g *Governor) notifyChange() {
	close(g.directivesState.changed)
	g.directivesState.changed = make(chan struct{})
}

// adopt takes directives in, beside those that are known.
func (g *Governor) adopt(o directives.Directives) {
	mine := g.directives.Load()
	if o.Version <= mine.Version && o.Beyond(mine) == nil {
		return
	}
	all := directives.Merge(*mine, o, g.opts.Now())
	if all.Version == mine.Version && all.Beyond(mine) == nil {
		return
	}
	g.directives.Store(&all)
	if all.Version > emptyVersion {
		g.opts.Logger.Info("operators' orders are in force", "version", all.Version, "kills", len(all.Kills), "limits", len(all.Limits))
	}
}

// readSnapshot reads the snapshot.
func (g *Governor) readSnapshot() {
	n := &g.directivesState
	if n.readingSnapshot || g.closed {
		return
	}
	n.readingSnapshot = true
	g.senders.Go(func() {
		asked := g.moment()
		ctx, cancel := context.WithTimeout(g.life, max(messageTimeout, g.opts.Timeout))
		defer cancel()
		b, err := g.opts.Counters.Snapshot(ctx)
		g.mu.Lock()
		defer g.mu.Unlock()
		n.readingSnapshot = false
		turn := n.storeTurn
		n.storeTurn = false
		if g.closed {
			return
		}
		if err == nil || g.outage == nil { // that counters which are away can't be read goes without saying
			g.note(&n.snapshotTrouble, err, "what Redis has of operators' orders can't be read: those that the store has are in force",
				"what Redis has of operators' orders can be read again")
		}
		if err != nil {
			if turn || g.outage == nil && g.now()-n.storeAskedAt >= readEvery {
				g.reconcile(true)
			}
			return // the next response leads here again, and calls that wait ask for it
		}
		changed := b.Revision != n.snapshot.Revision || b.Epoch != n.snapshot.Epoch
		n.snapshot = b
		published := g.writer().Published(b, nil)
		g.checkOutdated(&published)
		g.adopt(published)
		g.learnVersions(b.Versions)
		if changed {
			g.adoptTrips(g.now(), b.Trips)
		}
		if n.known = n.known || b.Directives.Version > 0 || g.opts.Directives == nil; n.known {
			g.markCurrent(asked)
		}
		if missing := g.missing() || turn; missing || g.ahead() {
			g.reconcile(missing)
		}
	})
}

// ordered decides by the directives: kill switches.
func (g *Governor) ordered(scopes []string) Decision {
	if !g.informed(g.moment()) {
		g.unheard++
		return Decision{Reason: Unknown, Scope: directives.Everything, Wait: time.Second, Outage: true, Rule: FailClosed}
	}
	directives := g.directives.Load()
	if len(directives.Kills) == 0 {
		return Decision{}
	}
	now := g.opts.Now()
	k := directives.Killed(now, scopes)
	if k == nil {
		return Decision{}
	}
	d := Decision{Reason: Killed, Scope: k.Scope, Note: k.Reason}
	if !k.Until.IsZero() {
		d.Wait = k.Until.Sub(now)
	}
	return d
}

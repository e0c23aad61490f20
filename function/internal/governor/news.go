package governor

import (
	"context"
	"time"
)

// news is what the instance knows of the orders and of breakers elsewhere, and how fresh that is. Every reply of the counters
// says whether the bulletin has changed since; once a second one instance of the fleet reads the store and announces what it
// finds there. An instance that slept asks before it decides the next call.
type news struct {
	known    bool
	epoch    int64 // of the reply that the bulletin belongs to
	number   int64
	heard    int64 // when it was last known to be current
	read     int64 // when the store was read last
	fault    error // of the last reading of the store
	barred   int64 // until then catching up is in vain, where nothing is known yet
	vain     int64 // until then no call waits for it, where something is
	catching bool
	changed  chan struct{} // closed at the next catching up
}

// Ages of the news, in microseconds, at which an instance asks for it without waiting, and waits for it.
const (
	askAge  = int64(500 * time.Millisecond / time.Microsecond)
	waitAge = int64(1500 * time.Millisecond / time.Microsecond)
)

// Hear makes sure that the orders are fresh, as far as that can be had within the patience, and returns those in force;
// another pointer than before says that they have changed. They must not be changed.
func (g *Governor) Hear(ctx context.Context) *Orders {
	g.listen(ctx)
	return g.orders.Load()
}

// listen makes sure that the news is fresh, without the lock where it is.
func (g *Governor) listen(ctx context.Context) {
	if g.now() < g.current.Load() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hear(ctx, g.now())
}

// Known tells whether it is known what operators have ordered: until then every call is refused.
func (g *Governor) Known() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.news.known
}

func (g *Governor) hear(ctx context.Context, now int64) {
	n := &g.news
	age := now - n.heard
	if n.known && age < askAge || !n.known && now < n.barred {
		return
	}
	alone := g.outage != nil && (n.known || now < g.down) // the counters tell nothing
	switch {
	case alone:
		if now-n.read >= readEvery {
			g.catchUp(true, true)
		}
	case !n.known && g.book.Epoch() == 0 && !g.opts.Alone:
		g.catchUp(true, false) // before the first message
	default:
		g.book.Ask()
		if g.opts.Alone {
			g.deliver()
		} else if now >= g.down {
			g.send()
		}
	}
	patience := g.opts.Patience
	switch {
	case !n.known:
		patience = firstPatience
	case age < waitAge || now < n.vain:
		return
	case alone:
		patience = storePatience
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	// Whoever catches up tells, and so does a fault.
	for n.catching || g.outage == nil && (!n.known || g.now()-n.heard >= waitAge) {
		if !g.await(ctx, n.changed, timer) {
			switch { // others need not wait as long
			case ctx.Err() != nil:
			case !n.known:
				n.barred = g.now() + firstPatience.Microseconds()
			default:
				n.vain = g.now() + inVain
			}
			return
		}
	}
}

// storePatience is how long a call waits for the store's orders where the counters are out of reach, once in a while.
const storePatience = 100 * time.Millisecond

// inVain is for how long no call waits, in microseconds, after one has waited for nothing.
const inVain = int64(250 * time.Millisecond / time.Microsecond)

// firstPatience is how long a call may wait where nothing is known yet.
const firstPatience = time.Second

// heed takes what a reply says of the news.
func (g *Governor) heed(now int64, r Reply) {
	n := &g.news
	if r.Status != Done {
		return
	}
	current := n.known && r.News == n.number && r.Epoch == n.epoch
	if current {
		n.heard = now
		g.current.Store(n.heard + askAge)
		g.tellNews()
	}
	if !current || r.Read {
		g.catchUp(r.Read || !n.known || r.Epoch != n.epoch, false)
	}
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

// catchUp reads the bulletin, and the store where it is told to, and makes them agree. The counters are left out where they
// can't be reached.
func (g *Governor) catchUp(fromStore, storeOnly bool) {
	n := &g.news
	if n.catching || g.closed {
		return
	}
	n.catching = true
	if fromStore = fromStore && g.opts.Orders != nil; fromStore {
		n.read = g.now()
	}
	if storeOnly && !fromStore {
		n.catching = false
		return
	}
	known, mine, versions := n.known, *g.orders.Load(), *g.versions.Load()
	g.senders.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), g.opts.Lease)
		defer cancel()
		asked := g.now()
		var bulletin Bulletin
		var countersFault, storeFault error
		if !storeOnly {
			short, cancel := context.WithTimeout(ctx, 5*g.opts.Patience)
			bulletin, countersFault = g.opts.Counters.Bulletin(short)
			cancel()
		}
		latest, ok := mine, known
		if !storeOnly && countersFault == nil && bulletin.Orders.Version >= latest.Version {
			latest, ok = bulletin.Orders, known || bulletin.Orders.Version > 0
		}
		versions = versions.with(bulletin.Versions)
		if fromStore {
			var stored Orders
			if stored, storeFault = g.opts.Orders.Orders(ctx); storeFault == nil {
				stored.Version = max(stored.Version, nothing)
				if ok = true; stored.Version > latest.Version {
					latest = stored
				}
			}
			if storeFault == nil && g.opts.Versions != nil {
				var v Versions
				v, storeFault = g.opts.Versions.Versions(ctx)
				versions = versions.with(v)
			}
		}
		if ok && !storeOnly && countersFault == nil && latest.Version > bulletin.Orders.Version {
			_, countersFault = g.opts.Counters.Post(ctx, latest)
		}
		if news := versions.Beyond(bulletin.Versions); news != nil && !storeOnly && countersFault == nil {
			countersFault = g.opts.Counters.Announce(ctx, news)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.versions.Store(&versions)
		n.catching = false
		if fromStore {
			if storeFault != nil && n.fault == nil {
				g.opts.Logger.Error("the store can't be read: kill switches and overridden limits are those known before", "error", storeFault)
			}
			n.fault = storeFault
		}
		if ok {
			if latest.Version != g.orders.Load().Version {
				g.orders.Store(&latest)
				if latest.Version > nothing {
					g.opts.Logger.Info("operators' orders are in force", "version", latest.Version, "kills", len(latest.Kills), "limits", len(latest.Limits))
				}
			}
			n.known = true
		} else {
			n.barred = g.now() + retry.Microseconds()
		}
		if !storeOnly && countersFault == nil {
			n.epoch, n.number = bulletin.Epoch, bulletin.News // a post of our own counts as news: it is read once more
			if ok {
				n.heard = asked
			}
			g.adoptTrips(g.now(), bulletin.Trips)
		} else if fromStore && storeFault == nil {
			n.heard = asked
		}
		if n.known {
			g.current.Store(n.heard + askAge)
		}
		g.tellNews()
	})
}

// nothing is the version of the orders of a store that has none: so that who can't read the store learns of that too.
const nothing = 1

// ordered decides by the orders: kill switches.
func (g *Governor) ordered(scopes []string) Decision {
	if !g.news.known {
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

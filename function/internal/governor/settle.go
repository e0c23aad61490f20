package governor

import (
	"cmp"
	"context"
	"time"
)

func (g *Governor) writer() *Writer {
	return &Writer{Store: g.opts.Orders, Board: g.opts.Counters, Storeless: g.opts.Orders == nil, Now: g.opts.Now}
}

// missing tells that the store may not have all that is known, or has what is not known, as far as it can be asked. What was written
// over the orders on the board may have come from it, or have been lifted there.
func (g *Governor) missing() bool {
	n := &g.news
	switch {
	case g.opts.Orders == nil:
		return n.outdated
	case n.fault != nil:
		return false
	}
	return !n.known || n.outdated || n.store == nil || n.bulletin.Before != nil || g.orders.Load().Beyond(n.store) != nil
}

// ahead tells that more is known than was announced.
func (g *Governor) ahead() bool {
	b := &g.news.bulletin
	return g.news.known && g.opts.Orders != nil && b.Orders.Version == 0 || !b.Orders.settled() || g.orders.Load().Beyond(&b.Orders) != nil || g.versions.Load().Beyond(b.Versions) != nil
}

func (g *Governor) learn(v Versions) {
	versions := g.versions.Load().with(v)
	g.versions.Store(&versions)
}

// readStore reads the store once in a while, where the counters tell nothing.
func (g *Governor) readStore(now int64) {
	every := readEvery
	if g.news.fault != nil {
		every = readAgain
	}
	if g.opts.Orders != nil && (now-g.news.read >= every || g.news.read == 0) {
		g.settle(true)
	}
}

// settle reads the store where it is told to, and brings what only one place has to the other. The board is left out where it can't
// be reached.
func (g *Governor) settle(fromStore bool) {
	n := &g.news
	if g.closed {
		return
	}
	if n.settling {
		n.again = true // what has come since may be unknown to it
		return
	}
	if fromStore = fromStore && g.opts.Orders != nil; fromStore {
		n.read = max(g.now(), 1)
	}
	n.settling = true
	s := &settlement{fromStore: fromStore, toBoard: g.outage == nil, board: n.bulletin}
	g.senders.Go(func() {
		g.exchange(s)
		g.mu.Lock()
		defer g.mu.Unlock()
		n.settling = false
		if g.closed {
			g.tellNews()
			return // what was cut short is no fault
		}
		g.adopt(s.mine)
		if s.fromStore && s.fault == nil && s.behind == nil {
			n.store = &s.stored
		}
		if s.announced && n.bulletin.News == s.board.News && n.bulletin.Epoch == s.board.Epoch {
			n.bulletin.Orders, n.bulletin.Before = s.mine, nil // until it is read again, since this is news
		}
		if s.fromStore || s.behind != nil || g.opts.Orders == nil { // the board alone does not tell of the store
			g.tellBehind(s.behind)
		}
		if n.again {
			n.again = false
			if missing := g.missing(); missing || g.ahead() {
				g.settle(missing)
			}
		}
	})
}

// tellBehind takes note of how it went to bring what one place has to the other.
func (g *Governor) tellBehind(err error) {
	if begins, ends := g.news.behind.note(err); begins {
		g.opts.Logger.Error("what one of the store and Redis has of operators' orders, or of what has changed, can't be brought to the other: it is lost with that one", "error", err)
	} else if ends {
		g.opts.Logger.Info("the store and Redis have the same of operators' orders again")
	}
}

// A settlement is what comes of one time that both places are brought together.
type settlement struct {
	fromStore, toBoard bool
	board              Bulletin // as it was read
	stored             Orders   // in the store at last
	mine               Orders   // all that is known
	announced          bool     // on the board, too
	fault, behind      error    // of reading the store, and of what follows
}

func (g *Governor) exchange(s *settlement) {
	ctx, cancel := context.WithTimeout(g.life, storeTimeout)
	defer cancel()
	w := g.writer()
	if asked := g.moment(); s.fromStore {
		var versions Versions
		if s.stored, s.fault = g.opts.Orders.Orders(ctx); s.fault == nil && g.opts.Versions != nil {
			versions, s.fault = g.opts.Versions.Versions(ctx)
		}
		g.readDone(asked, s.stored, versions, s.fault)
	}
	if !g.upToDate(ctx, w, s) {
		return
	}
	if s.fromStore && s.fault == nil {
		s.mine = Merge(s.mine, w.posted(s.board, &s.stored), g.opts.Now())
		if s.stored, s.behind = w.save(ctx, s.stored, s.mine); s.behind == nil {
			s.mine = Merge(s.mine, s.stored, g.opts.Now())
		}
	}
	if !s.toBoard || g.opts.Orders == nil && s.mine.Version == 0 {
		return
	}
	s.mine.Version = max(s.mine.Version, nothing)
	var err error
	if s.mine, err = w.post(ctx, s.board, s.mine); err == nil {
		if news := g.versions.Load().Beyond(s.board.Versions); news != nil {
			err = g.opts.Counters.Announce(ctx, news)
		}
	}
	s.announced, s.behind = err == nil, cmp.Or(s.behind, err)
}

// upToDate tells whether what is known may be brought anywhere, and returns it in the settlement. What is outdated is first replaced by
// what the places have, as far as both tell.
func (g *Governor) upToDate(ctx context.Context, w *Writer, s *settlement) bool {
	g.mu.Lock()
	s.mine = *g.orders.Load()
	outdated := g.news.outdated
	g.mu.Unlock()
	if !outdated {
		return true
	}
	if s.fault != nil || !s.toBoard || !s.fromStore && w.Store != nil {
		return false
	}
	s.behind = g.relearn(ctx, w, s)
	return s.behind == nil
}

// relearn takes what both places have for what is known: what is in neither was lifted, and that is not remembered any more. Where Redis
// is all there is and has nothing, it was lost, and is given what is known.
func (g *Governor) relearn(ctx context.Context, w *Writer, s *settlement) (err error) {
	if s.board, err = w.bulletin(ctx); err != nil {
		return err
	}
	all := Merge(s.stored, w.posted(s.board, &s.stored), w.Now())
	if g.opts.Alone { // the counters are this process's own, and have what it knew
		all = s.stored
		all.Version = max(all.Version, s.board.Orders.Version+1)
		if _, err := w.Board.Post(ctx, s.board.Orders.Version, all); err != nil {
			return err
		}
		s.board.Orders = all
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.news.bulletin, g.news.outdated = s.board, false
	if w.Store == nil && s.board.Orders.Version == 0 {
		return nil
	}
	s.mine = all
	g.orders.Store(&all)
	g.opts.Logger.Warn("what was known here of operators' orders is older than what is remembered of lifts: they were read anew",
		"version", all.Version, "kills", len(all.Kills), "limits", len(all.Limits))
	return nil
}

// compare finds out whether what is known is outdated, before it is brought together with what was read.
func (g *Governor) compare(o *Orders) {
	n, now := &g.news, g.moment()
	age := g.age(now)
	if !g.storeDecides() {
		age = min(age, now.since(n.stored))
	}
	mine := g.orders.Load()
	known := g.opts.Now().Add(-time.Duration(age) * time.Microsecond)
	n.outdated = n.outdated || len(mine.Kills)+len(mine.Limits) > 0 && !o.remembers(known, g.opts.Now())
}

// readDone takes in what was read of the store.
func (g *Governor) readDone(asked moment, stored Orders, versions Versions, fault error) {
	n := &g.news
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return // what was cut short is no fault
	}
	if fault != nil && n.fault == nil {
		g.opts.Logger.Error("the store can't be read: kill switches and overridden limits are those that Redis knows", "error", fault)
	}
	if n.fault = fault; fault != nil {
		return
	}
	g.compare(&stored)
	g.adopt(stored)
	g.learn(versions)
	n.store, n.known, n.stored = &stored, true, asked
	g.publish()
}

// apart says what of the orders is in one place alone, and whether that is known.
func (g *Governor) apart() (out []string) {
	n, o := &g.news, g.orders.Load()
	unread := n.unread.lasts() && g.outage == nil
	if unread {
		out = append(out, "governor: what Redis has of kill switches and overridden limits can't be read; those that the store has are in force")
	}
	if g.opts.Orders == nil {
		return out
	}
	if n.fault != nil {
		out = append(out, "governor: the store can't be read; kill switches and overridden limits are those that Redis knows")
	}
	if n.store != nil {
		if only := o.Beyond(n.store); only != nil {
			out = append(out, "governor: orders are in Redis alone, and are lost with it until the store takes them: "+some(only))
		}
	}
	if only := o.Beyond(&n.bulletin.Orders); only != nil && !g.opts.Alone && !unread {
		out = append(out, "governor: orders are in the store alone, until Redis takes them: "+some(only))
	}
	if n.behind.lasts() && len(out) == 0 {
		out = append(out, "governor: what one of the store and Redis has can't be brought to the other")
	}
	return out
}

// nothing is the version of the orders of a store that has none: so that who can't read the store learns of that too.
const nothing = 1

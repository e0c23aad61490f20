package governor

import (
	"cmp"
	"context"
	"time"

	"example.com/erlmcp/function/internal/directives"
)

func (g *Governor) writer() *directives.Writer {
	return &directives.Writer{Store: g.opts.Directives, Board: g.opts.Counters, Storeless: g.opts.Directives == nil, Now: g.opts.Now}
}

// missing tells that the store may not have all that is known, or has what is not known, as far as it can be asked. What was written
// over the directives on the board may have come from it, or have been lifted there.
func (g *Governor) missing() bool {
	n := &g.directivesState
	switch {
	case g.opts.Directives == nil:
		return n.outdated
	case n.storeErr != nil:
		return false
	}
	return !n.known || n.outdated || n.store == nil || n.snapshot.Before != nil || g.directives.Load().Beyond(n.store) != nil
}

// ahead tells that more is known than was announced.
func (g *Governor) ahead() bool {
	b := &g.directivesState.snapshot
	return g.directivesState.known && g.opts.Directives != nil && b.Directives.Version == 0 || !b.Directives.Settled() || g.directives.Load().Beyond(&b.Directives) != nil || g.versions.Load().Beyond(b.Versions) != nil
}

func (g *Governor) learnVersions(v directives.Versions) {
	versions := g.versions.Load().With(v)
	g.versions.Store(&versions)
}

// readStore reads the store once in a while, where the counters tell nothing.
func (g *Governor) readStore(now int64) {
	every := readEvery
	if g.directivesState.storeErr != nil {
		every = readRetry
	}
	if g.opts.Directives != nil && (now-g.directivesState.storeAskedAt >= every || g.directivesState.storeAskedAt == 0) {
		g.reconcile(true)
	}
}

// reconcile reads the store where it is told to, and brings what only one place has to the other. The board is left out where it can't
// be reached.
func (g *Governor) reconcile(fromStore bool) {
	n := &g.directivesState
	if g.closed {
		return
	}
	if n.reconciling {
		n.reconcileAgain = true // what has come since may be unknown to it
		return
	}
	if fromStore = fromStore && g.opts.Directives != nil; fromStore {
		n.storeAskedAt = max(g.now(), 1)
	}
	n.reconciling = true
	s := &reconciliation{fromStore: fromStore, toBoard: g.outage == nil, board: n.snapshot}
	g.senders.Go(func() {
		g.exchange(s)
		g.mu.Lock()
		defer g.mu.Unlock()
		n.reconciling = false
		if g.closed {
			g.notifyChange()
			return // what was cut short is no fault
		}
		g.adopt(s.mine)
		if s.fromStore && s.readErr == nil && s.writeErr == nil {
			n.store = &s.stored
		}
		if s.announced && n.snapshot.Revision == s.board.Revision && n.snapshot.Epoch == s.board.Epoch {
			n.snapshot.Directives, n.snapshot.Before = s.mine, nil // until it is read again, since the revision is another
		}
		if s.fromStore || s.writeErr != nil || g.opts.Directives == nil { // the board alone does not tell of the store
			g.note(&n.writeTrouble, s.writeErr,
				"what one of the store and Redis has of operators' orders, or of what has changed, can't be brought to the other: it is lost with that one",
				"the store and Redis have the same of operators' orders again")
		}
		if n.reconcileAgain {
			n.reconcileAgain = false
			if missing := g.missing(); missing || g.ahead() {
				g.reconcile(missing)
			}
		}
	})
}

// A reconciliation is what comes of one time that both places are brought together.
type reconciliation struct {
	fromStore, toBoard bool
	board              directives.Snapshot   // as it was read
	stored             directives.Directives // in the store at last
	mine               directives.Directives // all that is known
	announced          bool                  // on the board, too
	readErr, writeErr  error                 // of reading the store, and of what follows
}

func (g *Governor) exchange(s *reconciliation) {
	ctx, cancel := context.WithTimeout(g.life, storeTimeout)
	defer cancel()
	w := g.writer()
	if asked := g.moment(); s.fromStore {
		var versions directives.Versions
		if s.stored, s.readErr = g.opts.Directives.Directives(ctx); s.readErr == nil && g.opts.Versions != nil {
			versions, s.readErr = g.opts.Versions.Versions(ctx)
		}
		g.noteStoreRead(asked, s.stored, versions, s.readErr)
	}
	if !g.upToDate(ctx, w, s) {
		return
	}
	if s.fromStore && s.readErr == nil {
		s.mine = directives.Merge(s.mine, w.Published(s.board, &s.stored), g.opts.Now())
		if s.stored, s.writeErr = w.Save(ctx, s.stored, s.mine); s.writeErr == nil {
			s.mine = directives.Merge(s.mine, s.stored, g.opts.Now())
		}
	}
	if !s.toBoard || g.opts.Directives == nil && s.mine.Version == 0 {
		return
	}
	s.mine.Version = max(s.mine.Version, emptyVersion)
	var err error
	if s.mine, err = w.Publish(ctx, s.board, s.mine); err == nil {
		if changed := g.versions.Load().Beyond(s.board.Versions); changed != nil {
			err = g.opts.Counters.Announce(ctx, changed)
		}
	}
	s.announced, s.writeErr = err == nil, cmp.Or(s.writeErr, err)
}

// upToDate tells whether what is known may be brought anywhere, and returns it in the reconciliation. What is outdated is first replaced by
// what the places have, as far as both tell.
func (g *Governor) upToDate(ctx context.Context, w *directives.Writer, s *reconciliation) bool {
	g.mu.Lock()
	s.mine = *g.directives.Load()
	outdated := g.directivesState.outdated
	g.mu.Unlock()
	if !outdated {
		return true
	}
	if s.readErr != nil || !s.toBoard || !s.fromStore && w.Store != nil {
		return false
	}
	s.writeErr = g.relearn(ctx, w, s)
	return s.writeErr == nil
}

// relearn takes what both places have for what is known: what is in neither was lifted, and that is not remembered any more. Where Redis
// is all there is and has nothing, it was lost, and is given what is known.
func (g *Governor) relearn(ctx context.Context, w *directives.Writer, s *reconciliation) (err error) {
	if s.board, err = w.Snapshot(ctx); err != nil {
		return err
	}
	all := directives.Merge(s.stored, w.Published(s.board, &s.stored), w.Now())
	if g.opts.Standalone { // the counters are this process's own, and have what it knew
		all = s.stored
		all.Version = max(all.Version, s.board.Directives.Version+1)
		if _, err := w.Board.Publish(ctx, s.board.Directives.Version, all); err != nil {
			return err
		}
		s.board.Directives = all
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.directivesState.snapshot, g.directivesState.outdated = s.board, false
	if w.Store == nil && s.board.Directives.Version == 0 {
		return nil
	}
	s.mine = all
	g.directives.Store(&all)
	g.opts.Logger.Warn("what was known here of operators' orders is older than what is remembered of lifts: they were read anew",
		"version", all.Version, "kills", len(all.Kills), "limits", len(all.Limits))
	return nil
}

// checkOutdated finds out whether what is known is outdated, before it is brought together with what was read.
func (g *Governor) checkOutdated(o *directives.Directives) {
	n, now := &g.directivesState, g.moment()
	age := g.age(now)
	if !g.storeDecides() {
		age = min(age, now.since(n.storeReadAt))
	}
	mine := g.directives.Load()
	known := g.opts.Now().Add(-time.Duration(age) * time.Microsecond)
	n.outdated = n.outdated || len(mine.Kills)+len(mine.Limits) > 0 && !o.Remembers(known, g.opts.Now())
}

// noteStoreRead takes in what was read of the store.
func (g *Governor) noteStoreRead(asked moment, stored directives.Directives, versions directives.Versions, fault error) {
	n := &g.directivesState
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return // what was cut short is no fault
	}
	if fault != nil && n.storeErr == nil {
		g.opts.Logger.Error("the store can't be read: kill switches and overridden limits are those that "+g.knower(), "error", fault)
	}
	if n.storeErr = fault; fault != nil {
		return
	}
	g.checkOutdated(&stored)
	g.adopt(stored)
	g.learnVersions(versions)
	n.store, n.known, n.storeReadAt = &stored, true, asked
	g.publish()
}

// knower is who knows what is in force while the store can't be read, in words.
func (g *Governor) knower() string {
	if g.opts.Standalone {
		return "this instance has heard last"
	}
	return "Redis knows"
}

// divergence says what of the directives is in one place alone, and whether that is known.
func (g *Governor) divergence() (out []string) {
	n, o := &g.directivesState, g.directives.Load()
	unread := n.snapshotTrouble.lasts() && g.outage == nil
	if unread {
		out = append(out, "governor: what Redis has of kill switches and overridden limits can't be read; those that the store has are in force")
	}
	if g.opts.Directives == nil {
		return out
	}
	if n.storeErr != nil {
		out = append(out, "governor: the store can't be read; kill switches and overridden limits are those that "+g.knower())
	}
	if n.store != nil {
		if only := o.Beyond(n.store); only != nil {
			out = append(out, "governor: orders are in Redis alone, and are lost with it until the store takes them: "+directives.ListScopes(only))
		}
	}
	if only := o.Beyond(&n.snapshot.Directives); only != nil && !g.opts.Standalone && !unread {
		out = append(out, "governor: orders are in the store alone, until Redis takes them: "+directives.ListScopes(only))
	}
	if n.writeTrouble.lasts() && len(out) == 0 {
		out = append(out, "governor: what one of the store and Redis has can't be brought to the other")
	}
	return out
}

// emptyVersion is the version of the directives of a store that has none: so that who can't read the store learns of that too.
const emptyVersion = 1

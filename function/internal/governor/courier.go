package governor

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// wait lets the claim wait for the counters, with the lock released in between.
func (g *Governor) wait(ctx context.Context, claim *Claim) {
	if g.opts.Alone {
		g.deliver()
		g.book.Abandon(claim) // unless it is decided, as it is
		return
	}
	done := make(chan struct{})
	g.waiting[claim] = done
	if g.asker == nil {
		g.asker = ctx
	}
	g.send()
	patience := g.patience()
	if patience > g.opts.Patience || g.opens {
		patience = firstPatience // an epoch may have to be opened too
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	g.await(ctx, done, timer)
	if !claim.Decided {
		g.book.Abandon(claim)
		delete(g.waiting, claim)
	}
}

// patience is how long to wait for the counters: longer where they have neither answered nor failed yet, since connecting
// takes its time.
func (g *Governor) patience() time.Duration {
	if g.book.Epoch() == 0 && g.outage == nil {
		return max(connectPatience, g.opts.Patience)
	}
	return g.opts.Patience
}

// away tells whether the counters are not worth waiting for: they have just failed, or the message that is under way in an outage
// is late.
func (g *Governor) away(now int64) bool {
	return now < g.down || g.outage != nil && g.sending && now >= g.late
}

// connectPatience is how long a decision waits for the first message of all.
const connectPatience = 250 * time.Millisecond

// messagePatience is how long a message may take. It is more than a decision waits for it: on a busy machine, where messages are
// late, giving them up would close connections that take still longer to make anew.
const messagePatience = 250 * time.Millisecond

// send starts sending unless it goes on already: what comes meanwhile goes along with the next message.
func (g *Governor) send() {
	if !g.sending && !g.closed {
		g.sending = true
		g.late = g.now() + g.patience().Microseconds()
		g.senders.Go(func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.deliver()
		})
	}
}

// deliver sends messages until there is nothing to say, with the lock released on the way to counters that are shared.
func (g *Governor) deliver() {
	for {
		asked := g.moment()
		at := asked.steady
		d := g.book.Next(at)
		if d == nil {
			g.sending = false
			return
		}
		// Alone, the lock is kept: the answer is a computation, and whoever waited for it with a time limit could lose to the
		// scheduler alone.
		g.late = g.now() + g.patience().Microseconds()
		g.opens = g.book.Epoch() == 0
		asker := context.Background()
		if g.asker != nil {
			asker, g.asker = context.WithoutCancel(g.asker), nil
		}
		if !g.opts.Alone {
			g.mu.Unlock()
		}
		reply, err := g.draw(asker, d)
		if !g.opts.Alone {
			g.mu.Lock()
		}
		g.opens = false
		now := g.now()
		if err == nil && (g.opts.Alone || g.opts.Embedded) {
			now = at // an answer that was only computed is not late, however long the machine paused
		}
		g.roundTrips++
		if err != nil {
			g.lostTrips++
			g.book.Lose(d.Seq)
			g.lost(now, err)
		} else {
			g.book.Apply(now, d.Seq, reply)
			g.answered(now)
			g.heed(asked, reply)
		}
		for claim, done := range g.waiting {
			if claim.Decided {
				delete(g.waiting, claim)
				close(done)
			}
		}
		if err != nil {
			g.sending = false
			g.arm()
			return
		}
	}
}

// draw makes one round trip, and opens an epoch where the counters have none.
func (g *Governor) draw(ctx context.Context, d *Draw) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, max(messagePatience, g.opts.Patience))
	defer cancel()
	reply, err := g.opts.Counters.Draw(ctx, d)
	switch {
	case err != nil:
		return reply, err
	case reply.Status == Newer:
		return reply, ErrNewer
	case reply.Status != Closed:
		return reply, nil
	}
	return g.open(d)
}

// open begins an epoch, and may take longer than a decision may: the claims of the message are decided without it.
func (g *Governor) open(d *Draw) (Reply, error) {
	ctx, cancel := context.WithTimeout(g.life, storeTimeout)
	defer cancel()
	select {
	case g.opening <- struct{}{}: // two at once would take each other for the one that was lost
		defer func() { <-g.opening }()
	case <-ctx.Done():
		return Reply{}, ctx.Err()
	}
	if reply, err := g.opts.Counters.Draw(ctx, d); err != nil || reply.Status != Closed {
		return reply, err
	}
	epoch, first, err := g.opts.Epochs.Next(ctx)
	if err != nil {
		return Reply{}, fmt.Errorf("%w: %w", ErrEpoch, err)
	}
	if !first { // another instance may be about to open the first
		time.Sleep(startTogether)
	}
	opened, err := g.opts.Counters.Open(ctx, epoch, first, g.opts.Lease)
	if err != nil {
		return Reply{}, err
	}
	if opened == epoch && !first {
		g.opts.Logger.Warn("the counters were lost and begin anew: for one lease only slots that are held count", "epoch", epoch)
	}
	return Reply{Status: Stale, Epoch: opened}, nil
}

// startTogether is how long instances that find the counters new, and another before them, leave to that one.
const startTogether = 100 * time.Millisecond

// ErrNewer is the fault of counters that a newer version of the server keeps.
var ErrNewer = errors.New("a newer version of the server keeps the counters in a form that this one does not know: deploy the newer version")

// ErrEpoch is the fault of a store that can't say whether the counters are new or lost.
var ErrEpoch = errors.New("the store can't be asked for the epoch of the counters")

// retry is how long the counters are left alone after a fault.
const retry = 100 * time.Millisecond

func (g *Governor) lost(now int64, err error) {
	g.down = now + retry.Microseconds()
	g.suffer(err)
	g.tellNews() // none will come
}

func (g *Governor) suffer(err error) {
	told := g.outage != nil
	g.outage = err
	if !told && !g.closed { // what was cut short at the end is no fault
		g.opts.Logger.Error(g.rule(), "error", err)
	}
}

// ErrLate is the fault of counters that answer, and later than decisions can wait.
var ErrLate = errors.New("the counters answer too late")

// answered takes note of an answer to the message that was under way.
func (g *Governor) answered(now int64) {
	if now > g.late {
		g.down = 0
		g.suffer(ErrLate)
		return
	}
	g.found()
}

// rule is what holds while the counters are out of reach.
func (g *Governor) rule() string {
	if errors.Is(g.outage, ErrNewer) {
		return ErrNewer.Error()
	}
	return fmt.Sprintf("the counters can't be reached: rates are %v, slots are %v (closed: only what is leased already; local: this instance's share; open: no limit)",
		g.opts.RateOutage, g.opts.SlotOutage)
}

func (g *Governor) found() {
	if g.outage != nil {
		g.opts.Logger.Info("the counters answer again")
		g.outage = nil
		clear(g.shares)
	}
	g.down = 0
}

// Warm learns the epoch, or opens the first one, and the orders, so that the first call needs not wait for them.
func (g *Governor) Warm() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	g.senders.Add(1)
	away := g.outage != nil
	g.mu.Unlock()
	defer g.senders.Done()
	var took int64
	ask := func() (_ Reply, late bool, _ error) {
		begin := g.now()
		reply, err := g.draw(context.Background(), &Draw{Instance: g.opts.Instance}) // number 0: taken for an old message, and told the epoch
		took = g.now() - begin
		return reply, time.Duration(took)*time.Microsecond > g.opts.Patience, err
	}
	reply, late, err := ask()
	if away && err == nil && late {
		reply, late, err = ask() // the first may have had to connect
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.lost(g.now(), err)
		g.settle(true)
		return err
	}
	if g.outage == nil || !late {
		g.found()
	}
	g.book.met(took)
	g.book.Adopt(reply.Epoch)
	g.catchUp()
	g.settle(true)
	return nil
}

// arm keeps the heart beating while there is something to renew. No beat comes later than the end of what is leased, where
// calls are fenced.
func (g *Governor) arm() {
	if g.beat != nil || g.closed {
		return
	}
	next := g.opts.Lease / 8
	if left := time.Duration(g.book.ends()-g.now()) * time.Microsecond; left > 0 {
		next = min(next, left)
	}
	g.beat = time.AfterFunc(next, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.beat = nil
		now := g.now()
		g.fence(now)
		if now >= g.down {
			g.send()
		}
		if held, used, _ := g.book.Holdings(now); held+used > 0 || g.outage != nil {
			g.arm()
		}
	})
}

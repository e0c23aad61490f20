package governor

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// wait lets the reservation wait for the counters, with the lock released in between.
func (g *Governor) wait(ctx context.Context, reservation *Reservation) {
	if g.opts.Standalone {
		g.deliver()
		g.leases.Abandon(reservation) // unless it is decided, as it is
		return
	}
	done := make(chan struct{})
	g.waiting[reservation] = done
	if g.asker == nil {
		g.asker = ctx
	}
	g.send()
	timeout := g.timeout()
	if timeout > g.opts.Timeout || g.mayOpen {
		timeout = refreshTimeout // an epoch may have to be opened too
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	g.await(ctx, done, timer)
	if !reservation.Decided {
		g.leases.Abandon(reservation)
		delete(g.waiting, reservation)
	}
}

// timeout is how long to wait for the counters: longer where they have neither answered nor failed yet, since connecting
// takes its time.
func (g *Governor) timeout() time.Duration {
	if g.leases.Epoch() == 0 && g.outage == nil {
		return max(connectTimeout, g.opts.Timeout)
	}
	return g.opts.Timeout
}

// unavailable tells whether the counters are not worth waiting for: they have just failed, or the message that is under way in an outage
// is late.
func (g *Governor) unavailable(now int64) bool {
	return now < g.downUntil || g.outage != nil && g.sending && now >= g.lateAt
}

// connectTimeout is how long a decision waits for the first message of all.
const connectTimeout = 250 * time.Millisecond

// messageTimeout is how long a message may take. It is more than a decision waits for it: on a busy machine, where messages are
// late, giving them up would close connections that take still longer to make anew.
const messageTimeout = 250 * time.Millisecond

// send starts sending unless it goes on already: what comes meanwhile goes along with the next message.
func (g *Governor) send() {
	if !g.sending && !g.closed {
		g.sending = true
		g.lateAt = g.now() + g.timeout().Microseconds()
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
		request := g.leases.Next(at)
		if request == nil {
			g.sending = false
			return
		}
		// Alone, the lock is kept: the answer is a computation, and whoever waited for it with a time limit could lose to the
		// scheduler alone.
		g.lateAt = g.now() + g.timeout().Microseconds()
		g.mayOpen = g.leases.Epoch() == 0
		asker := context.Background()
		if g.asker != nil {
			asker, g.asker = context.WithoutCancel(g.asker), nil
		}
		if !g.opts.Standalone {
			g.mu.Unlock()
		}
		response, err := g.lease(asker, request)
		if !g.opts.Standalone {
			g.mu.Lock()
		}
		g.mayOpen = false
		now := g.now()
		if err == nil && (g.opts.Standalone || g.opts.Embedded) {
			now = at // an answer that was only computed is not late, however long the machine paused
		}
		g.roundTrips++
		if err != nil {
			g.lostTrips++
			g.leases.Lose(request.Seq)
			g.lost(now, err)
		} else {
			g.leases.Apply(now, request.Seq, response)
			g.answered(now)
			g.applyRevision(asked, response)
		}
		for reservation, done := range g.waiting {
			if reservation.Decided {
				delete(g.waiting, reservation)
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

// lease makes one round trip, and opens an epoch where the counters have none.
func (g *Governor) lease(ctx context.Context, request *LeaseRequest) (LeaseResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, max(messageTimeout, g.opts.Timeout))
	defer cancel()
	response, err := g.opts.Counters.Lease(ctx, request)
	switch {
	case err != nil:
		return response, err
	case response.Status == Newer:
		return response, ErrNewer
	case response.Status != Closed:
		return response, nil
	}
	return g.open(request)
}

// open begins an epoch, and may take longer than a decision may: the reservations of the message are decided without it.
func (g *Governor) open(request *LeaseRequest) (LeaseResponse, error) {
	ctx, cancel := context.WithTimeout(g.life, storeTimeout)
	defer cancel()
	select {
	case g.opening <- struct{}{}: // two at once would take each other for the one that was lost
		defer func() { <-g.opening }()
	case <-ctx.Done():
		return LeaseResponse{}, ctx.Err()
	}
	if response, err := g.opts.Counters.Lease(ctx, request); err != nil || response.Status != Closed {
		return response, err
	}
	epoch, first, err := g.opts.Epochs.Next(ctx)
	if err != nil {
		return LeaseResponse{}, fmt.Errorf("%w: %w", ErrEpoch, err)
	}
	if !first { // another instance may be about to open the first
		time.Sleep(startTogether)
	}
	opened, err := g.opts.Counters.Open(ctx, epoch, first, g.opts.Lease)
	if err != nil {
		return LeaseResponse{}, err
	}
	if opened == epoch && !first {
		g.opts.Logger.Warn("the counters were lost and begin anew: for one lease only slots that are held count", "epoch", epoch)
	}
	return LeaseResponse{Status: Stale, Epoch: opened}, nil
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
	g.downUntil = now + retry.Microseconds()
	g.noteOutage(err)
	g.notifyChange() // none will come
}

func (g *Governor) noteOutage(err error) {
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
	if now > g.lateAt {
		g.downUntil = 0
		g.noteOutage(ErrLate)
		return
	}
	g.noteRecovery()
}

// rule is what holds while the counters are out of reach.
func (g *Governor) rule() string {
	if errors.Is(g.outage, ErrNewer) {
		return ErrNewer.Error()
	}
	return fmt.Sprintf("the counters can't be reached: rates are %v, slots are %v (closed: only what is leased already; local: this instance's share; open: no limit)",
		g.opts.RateOutage, g.opts.SlotOutage)
}

func (g *Governor) noteRecovery() {
	if g.outage != nil {
		g.opts.Logger.Info("the counters answer again")
		g.outage = nil
		clear(g.shares)
	}
	g.downUntil = 0
}

// Warm learns the epoch, or opens the first one, and the directives, so that the first call needs not wait for them.
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
	ask := func() (_ LeaseResponse, late bool, _ error) {
		begin := g.now()
		response, err := g.lease(context.Background(), &LeaseRequest{Instance: g.opts.Instance}) // number 0: taken for an old message, and told the epoch
		took = g.now() - begin
		return response, time.Duration(took)*time.Microsecond > g.opts.Timeout, err
	}
	response, late, err := ask()
	if away && err == nil && late {
		response, late, err = ask() // the first may have had to connect
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.lost(g.now(), err)
		g.reconcile(true)
		return err
	}
	if g.outage == nil || !late {
		g.noteRecovery()
	}
	g.leases.noteFirstRoundTrip(took)
	g.leases.Adopt(response.Epoch)
	g.readSnapshot()
	g.reconcile(true)
	return nil
}

// arm keeps the heartbeat going while there is something to renew. No beat comes later than the end of what is leased, where
// calls are fenced.
func (g *Governor) arm() {
	if g.beat != nil || g.closed {
		return
	}
	next := g.opts.Lease / 8
	if left := time.Duration(g.leases.ends()-g.now()) * time.Microsecond; left > 0 {
		next = min(next, left)
	}
	g.beat = time.AfterFunc(next, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.beat = nil
		now := g.now()
		g.fence(now)
		if now >= g.downUntil {
			g.send()
		}
		if held, used, _ := g.leases.Holdings(now); held+used > 0 || g.outage != nil {
			g.arm()
		}
	})
}

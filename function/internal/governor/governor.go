package governor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"
)

// Options configure a [Governor]. Instance, Counters and Epochs must be there.
type Options struct {
	Instance string // unlike any other process's
	Counters Counters
	Epochs   Epochs
	Alone    bool          // the counters are this process's own: they answer at once, and no one else takes its slots
	Lease    time.Duration // how long the slots of an instance outlive it; default 2 s
	Patience time.Duration // how long a decision may wait for the counters; default 20 ms
	Now      func() time.Time
	Logger   *slog.Logger
}

// A Governor decides for one instance. It is safe for concurrent use.
type Governor struct {
	opts  Options
	start time.Time

	mu      sync.Mutex
	book    *Book
	waiting map[*Claim]chan struct{}
	running map[*Lease]struct{}
	sending bool
	down    int64 // until then the counters are not asked
	outage  error // the last fault of the counters, nil while they answer
	shares  map[*Limit]*share
	beat    *time.Timer
	closed  bool
	senders sync.WaitGroup
}

// ErrFenced is the cause of the end of a call whose slot could not be renewed.
var ErrFenced = errors.New("the counters could not be reached to renew the call's slot")

// A Lease is an admitted call's hold on its slots.
type Lease struct {
	governor *Governor
	claim    *Claim
	counted  bool     // the claim was admitted by the book
	local    []*share // slots of this instance's share, in an outage
	cancel   context.CancelCauseFunc
}

// A Decision is what the governor says to a call. Its zero value admits.
type Decision struct {
	Limit  *Limit        // that refused, nil for an admitted call
	Kind   Kind          // whether the rate or the slots of the limit refused
	Wait   time.Duration // until it is worth trying again
	Outage bool          // decided without the counters
}

// Admitted tells whether the call may proceed.
func (d Decision) Admitted() bool { return d.Limit == nil }

// New returns a governor. It asks nothing of the counters before the first call.
func New(o Options) *Governor {
	if o.Lease == 0 {
		o.Lease = 2 * time.Second
		if o.Alone {
			o.Lease = 24 * time.Hour
		}
	}
	if o.Patience == 0 {
		o.Patience = 20 * time.Millisecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Governor{
		opts: o, start: o.Now(), book: NewBook(o.Instance, o.Lease), waiting: map[*Claim]chan struct{}{},
		running: map[*Lease]struct{}{}, shares: map[*Limit]*share{},
	}
}

func (g *Governor) now() int64 { return g.opts.Now().Sub(g.start).Microseconds() }

// Admit decides a call of some weight under limits, all or nothing. The context that it returns ends when the call's slot is
// lost; the lease must be released when the call has returned. Neither is there for a refused call.
func (g *Governor) Admit(ctx context.Context, weight int64, limits []*Limit) (context.Context, *Lease, Decision) {
	g.mu.Lock()
	now := g.now()
	g.fence(now)
	claim := g.book.Claim(now, weight, limits)
	if !claim.Decided {
		if now < g.down {
			g.book.Abandon(claim)
		} else {
			g.wait(ctx, claim)
		}
	}
	defer g.mu.Unlock()
	l := &Lease{governor: g, claim: claim}
	v := claim.Verdict
	switch {
	case v.Lost:
		if d := g.withoutCounters(now, weight, limits, l); !d.Admitted() {
			return ctx, nil, d
		}
		return ctx, l, Decision{Outage: true}
	case !v.Admitted:
		return ctx, nil, Decision{Limit: v.Limit, Kind: v.Kind, Wait: v.Wait}
	}
	l.counted = true
	if !g.opts.Alone && claim.holdsSlots() {
		ctx, l.cancel = context.WithCancelCause(ctx)
		g.running[l] = struct{}{}
		g.arm()
	}
	return ctx, l, Decision{}
}

// wait lets the claim wait for the counters, with the lock released in between.
func (g *Governor) wait(ctx context.Context, claim *Claim) {
	if g.opts.Alone {
		g.deliver()
		g.book.Abandon(claim) // unless it is decided, as it is
		return
	}
	done := make(chan struct{})
	g.waiting[claim] = done
	g.send()
	g.mu.Unlock()
	timer := time.NewTimer(g.opts.Patience)
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
	timer.Stop()
	g.mu.Lock()
	if !claim.Decided {
		g.book.Abandon(claim)
		delete(g.waiting, claim)
	}
}

// send starts sending unless it goes on already: what comes meanwhile goes along with the next message.
func (g *Governor) send() {
	if !g.sending && !g.closed {
		g.sending = true
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
		d := g.book.Next(g.now())
		if d == nil {
			g.sending = false
			return
		}
		// Alone, the lock is kept: the answer is a computation, and whoever waited for it with a time limit could lose to the
		// scheduler alone.
		if !g.opts.Alone {
			g.mu.Unlock()
		}
		reply, err := g.draw(d)
		if !g.opts.Alone {
			g.mu.Lock()
		}
		now := g.now()
		if err != nil {
			g.book.Lose(d.Seq)
			g.lost(now, err)
		} else {
			g.book.Apply(now, d.Seq, reply)
			g.found()
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
func (g *Governor) draw(d *Draw) (Reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), g.opts.Patience)
	defer cancel()
	reply, err := g.opts.Counters.Draw(ctx, d)
	if err != nil || reply.Status != Closed {
		return reply, err
	}
	// This may take longer than a decision may: the claims of this message are decided without it.
	ctx, cancel = context.WithTimeout(context.Background(), g.opts.Lease)
	defer cancel()
	epoch, first, err := g.opts.Epochs.Next(ctx)
	if err != nil {
		return Reply{}, fmt.Errorf("the epoch of the counters: %w", err)
	}
	if epoch, err = g.opts.Counters.Open(ctx, epoch, first, g.opts.Lease); err != nil {
		return Reply{}, err
	}
	if !first {
		g.opts.Logger.Warn("the counters were lost and begin anew: for one lease only slots that are held count", "epoch", epoch)
	}
	return Reply{Status: Stale, Epoch: epoch}, nil
}

// retry is how long the counters are left alone after a fault.
const retry = 100 * time.Millisecond

func (g *Governor) lost(now int64, err error) {
	g.down = now + retry.Microseconds()
	if g.outage == nil {
		g.opts.Logger.Error("the counters can't be reached: calls are decided by each limit's outage rule", "error", err)
	}
	g.outage = err
}

func (g *Governor) found() {
	if g.outage != nil {
		g.opts.Logger.Info("the counters answer again")
		g.outage = nil
		clear(g.shares)
	}
	g.down = 0
}

// Warm learns the epoch, or opens the first one, so that the first call needs not wait for it.
func (g *Governor) Warm() {
	reply, err := g.draw(&Draw{Instance: g.opts.Instance}) // number 0: taken for an old message, and told the epoch
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.lost(g.now(), err)
		return
	}
	g.book.Adopt(reply.Epoch)
}

// Release gives back the slots of a call that has returned.
func (l *Lease) Release() {
	g := l.governor
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range l.local {
		s.used--
	}
	if l.cancel != nil {
		l.cancel(nil)
		delete(g.running, l)
	}
	// What a server alone frees, it finds again at its next draw.
	if l.counted && g.book.Release(l.claim) && !g.opts.Alone && g.now() >= g.down {
		g.send()
	}
}

// fence ends the calls whose slots the counters may have given to others.
func (g *Governor) fence(now int64) {
	if len(g.running) == 0 || g.book.Leased(now) {
		return
	}
	for l := range g.running {
		l.cancel(ErrFenced)
	}
}

// arm keeps the heart beating while there is something to renew.
func (g *Governor) arm() {
	if g.beat != nil || g.closed {
		return
	}
	g.beat = time.AfterFunc(g.opts.Lease/8, func() {
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

// Close stops the heartbeat and gives back the slots that no call uses, so that others need not wait for the lease's end. No
// message goes out once it has returned.
func (g *Governor) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.closed = true
	if g.beat != nil {
		g.beat.Stop()
	}
	g.mu.Unlock()
	g.senders.Wait() // each message has a deadline
	g.mu.Lock()
	if !g.opts.Alone && !g.sending && g.now() >= g.down {
		g.book.Resign()
		g.sending = true
		g.deliver()
	}
}

// Accounts is how many keys this instance has accounts of.
func (g *Governor) Accounts() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.book.accounts)
}

// Degraded says what does not work as it should; nil is all well.
func (g *Governor) Degraded() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.outage == nil {
		return nil
	}
	return []string{"governor: the counters can't be reached; rates are held by this instance's share, slots only as far as they are leased"}
}

// A share is this instance's part of a limit while the counters are out of reach.
type share struct {
	arrival int64
	used    int64
}

// withoutCounters decides by the outage rules, all or nothing.
func (g *Governor) withoutCounters(now, weight int64, limits []*Limit, l *Lease) Decision {
	type taking struct {
		share   *share
		arrival int64
		slot    bool
	}
	var takings []taking
	for _, limit := range limits {
		s := g.shares[limit]
		if s == nil {
			s = &share{}
			g.shares[limit] = s
		}
		t := taking{share: s, arrival: s.arrival}
		if limit.PerSecond > 0 {
			switch limit.outage(Tokens) {
			case Shut:
				return Decision{Limit: limit, Kind: Tokens, Wait: time.Second, Outage: true}
			case Local:
				parts := float64(max(g.book.instances, 1))
				period := second * parts / limit.PerSecond
				slack := (max(1, limit.MaxBurst()/parts) - 1) * period
				cost := int64(math.Ceil(float64(min(weight, int64(limit.MaxBurst()))) * period))
				if wait := s.arrival - now - int64(slack); wait > 0 {
					return Decision{Limit: limit, Kind: Tokens, Wait: time.Duration(wait) * time.Microsecond, Outage: true}
				}
				t.arrival = max(s.arrival, now) + cost
			}
		}
		if limit.Concurrency > 0 {
			switch limit.outage(Slots) {
			case Shut:
				return Decision{Limit: limit, Kind: Slots, Wait: time.Second, Outage: true}
			case Local:
				if s.used >= max(1, limit.Concurrency/max(g.book.instances, 1)) {
					return Decision{Limit: limit, Kind: Slots, Wait: time.Second, Outage: true}
				}
				t.slot = true
			}
		}
		takings = append(takings, t)
	}
	for _, t := range takings {
		t.share.arrival = t.arrival
		if t.slot {
			t.share.used++
			l.local = append(l.local, t.share)
		}
	}
	return Decision{}
}

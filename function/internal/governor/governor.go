package governor

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure a [Governor]. Instance, Counters and Epochs must be there.
type Options struct {
	Instance string // unlike any other process's
	Counters Counters
	Epochs   Epochs
	Orders   OrderStore    // nil: orders are in the counters alone, and are lost with them
	Versions VersionStore  // nil: there is nothing else to hear of; read with the orders
	Quotas   QuotaStore    // nil: limits of calls a day refuse
	Alone    bool          // the counters are this process's own: they answer at once, and no one else takes its slots
	Embedded bool          // the counters are in this process, behind a connection: what takes long is the machine, no network
	Lease    time.Duration // how long the slots of an instance outlive it; default 2 s
	Patience time.Duration // how long a decision may wait for the counters; default 20 ms, and 1 s for those that are embedded
	// What limits do while the counters are out of reach, unless they say otherwise: by default Local and Shut.
	RateOutage, SlotOutage Outage

	Now    func() time.Time
	Logger *slog.Logger
}

// A Governor decides for one instance. It is safe for concurrent use.
type Governor struct {
	opts  Options
	start time.Time

	mu       sync.Mutex
	book     *Book
	waiting  map[*Claim]chan struct{}
	running  map[*Lease]struct{}
	sending  bool
	down     int64           // until then the counters are not asked
	outage   error           // the last fault of the counters, nil while they answer
	late     int64           // when the message that is under way is
	opens    bool            // the message that is under way was sent without an epoch, and may have to open one
	asker    context.Context // of the first call that waits for the next message, for its trace
	shares   map[string]*share
	beat     *time.Timer
	closed   bool
	senders  sync.WaitGroup
	life     context.Context // ends with the governor, and with it what is being read
	end      context.CancelFunc
	opening  chan struct{}
	news     news
	quotas   map[string]*quota
	today    today
	breakers map[string]*breaker
	orders   atomic.Pointer[Orders]
	versions atomic.Pointer[Versions]
	current  struct{ steady, wall atomic.Int64 } // until when the news needs no asking

	admitted              int64
	decisions             map[Decided]int64 // but for the calls admitted by the counters
	waited                time.Duration
	unheard               int64 // calls refused since it was not known what operators have ordered
	roundTrips, lostTrips int64
}

// ErrFenced is the cause of the end of a call whose slot could not be renewed.
var ErrFenced = errors.New("the counters could not be reached to renew the call's slot")

// A Call is what is asked of the governor. It is not changed, and may be used for any number of calls.
type Call struct {
	Tenant   string   // hashed; those of several tenants take turns at limits that are common to them
	Weight   int64    // what it costs against a rate
	Scopes   []string // that a kill switch may name, beside everything
	Limits   []*Limit
	Breakers []*Breaker
}

// A Lease is an admitted call's hold on its slots.
type Lease struct {
	governor *Governor
	call     *Call
	claim    *Claim
	counted  bool     // the claim was admitted by the book
	local    []*share // slots of this instance's share, in an outage
	trials   uint64   // on which of the breakers it is a trial
	quotas   *taken   // nil for none
	failed   bool
	spared   bool
	cancel   context.CancelCauseFunc
}

// A Reason is why a call was refused.
type Reason int

// Reasons of a [Decision].
const (
	Admitted    Reason = iota
	RateReached        // of the limit
	SlotsTaken
	QuotaUsed
	Killed      // by an operator
	BreakerOpen // what the call needs has failed too often
	Unknown     // it is not known what operators have ordered
	Saturated   // this instance is, by its [Guard]
	TooHeavy    // the call weighs more than the limit's burst: it is never admitted
)

// A Decision is what the governor says to a call. Its zero value admits.
type Decision struct {
	Reason Reason
	Limit  *Limit        // that refused
	Scope  string        // of the limit, kill switch or breaker that refused
	Note   string        // the operator's reason for a kill switch
	Wait   time.Duration // until it is worth trying again; 0 is unknown
	Outage bool          // decided without the counters or the store
	Rule   Outage        // by which, in an outage
	Shadow []*Limit      // in shadow mode, that would have refused
}

// Admitted tells whether the call may proceed.
func (d Decision) Admitted() bool { return d.Reason == Admitted }

func refused(l *Limit, why Reason, wait time.Duration) Decision {
	return Decision{Reason: why, Limit: l, Scope: l.Scope, Wait: wait}
}

// New returns a governor. It asks nothing of the counters before the first call.
func New(o Options) *Governor {
	if o.Lease == 0 {
		o.Lease = 2 * time.Second
		if o.Alone {
			o.Lease = 24 * time.Hour
		}
	}
	if o.Patience == 0 {
		o.Patience = networkPatience
		if o.Embedded {
			o.Patience = localPatience
		}
	}
	if o.RateOutage == ByKind {
		o.RateOutage = Local
	}
	if o.SlotOutage == ByKind {
		o.SlotOutage = Shut
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Governor{
		opts: o, start: o.Now(), book: NewBook(o.Instance, o.Lease), waiting: map[*Claim]chan struct{}{},
		running: map[*Lease]struct{}{}, shares: map[string]*share{}, quotas: map[string]*quota{}, breakers: map[string]*breaker{},
		decisions: map[Decided]int64{}, opening: make(chan struct{}, 1),
	}
	g.book.prompt = o.Alone
	g.life, g.end = context.WithCancel(context.Background())
	g.news.changed = make(chan struct{})
	g.orders.Store(&Orders{})
	g.versions.Store(&Versions{})
	g.news.known = o.Orders == nil && o.Alone // there is nothing that could have been ordered
	return g
}

const (
	// networkPatience is how long a decision waits for counters elsewhere: longer than they take, and less than callers notice.
	networkPatience = 20 * time.Millisecond
	// localPatience is for counters of the process itself, which do not fail alone: a decision without them would refuse what no
	// limit refuses.
	localPatience = time.Second
)

func (g *Governor) now() int64 { return g.opts.Now().Sub(g.start).Microseconds() }

// Admit decides a call, all or nothing. The context that it returns ends when the call's slot is lost; the lease must be
// released when the call has returned. Neither is there for a refused call.
func (g *Governor) Admit(ctx context.Context, call *Call) (context.Context, *Lease, Decision) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ctx, l, d := g.admit(ctx, call)
	g.count(d)
	return ctx, l, d
}

func (g *Governor) admit(ctx context.Context, call *Call) (context.Context, *Lease, Decision) {
	now := g.now()
	g.fence(now)
	g.hear(ctx)
	orders := g.orders.Load()
	if d := g.ordered(call.Scopes); !d.Admitted() {
		return ctx, nil, d
	}
	quotas, d := g.takeQuotas(ctx, call.Limits)
	if !d.Admitted() {
		return ctx, nil, d
	}
	now = g.now()
	trials, d := g.tryBreakers(now, call.Breakers)
	if !d.Admitted() {
		g.returnQuotas(quotas)
		return ctx, nil, d
	}
	l := &Lease{governor: g, call: call, trials: trials}
	if len(quotas.from) > 0 {
		took := quotas // so that no other call pays for it
		l.quotas = &took
	}
	if d = g.claim(ctx, now, l); !d.Admitted() {
		g.returnQuotas(quotas)
		g.leaveBreakers(call.Breakers, trials)
		return ctx, nil, d
	}
	d.Shadow = append(quotas.shadow, d.Shadow...)
	if late := g.heardSince(ctx, orders, call.Scopes); !late.Admitted() {
		g.undo(l)
		g.returnQuotas(quotas)
		return ctx, nil, late
	}
	if l.counted && !g.opts.Alone && l.claim.holdsSlots() {
		ctx, l.cancel = context.WithCancelCause(ctx)
		g.running[l] = struct{}{}
		g.arm()
	}
	return ctx, l, d
}

// heardSince decides by the orders once more where deciding took so long that they may be others by now: the time of the decision is
// its end.
func (g *Governor) heardSince(ctx context.Context, before *Orders, scopes []string) Decision {
	if g.informed(g.moment()) && g.orders.Load() == before {
		return Decision{}
	}
	g.hear(ctx)
	return g.ordered(scopes)
}

// undo gives back all that a call had been given that is refused at last.
func (g *Governor) undo(l *Lease) {
	g.leaveBreakers(l.call.Breakers, l.trials)
	for _, s := range l.local {
		s.used--
	}
	if l.counted {
		l.claim.giveBack()
	}
}

// claim decides by rates and slots. A call whose tenant is given a turn waits for it, and takes it though its caller may have gone: what
// is kept for it no one else can use.
func (g *Governor) claim(ctx context.Context, now int64, l *Lease) Decision {
	for last := now + turnPatience; ; now = g.now() {
		d := g.decide(ctx, now, l)
		v := l.claim.Verdict
		if !v.Turn || g.now()+v.Wait.Microseconds() > last || !g.pause(v.Wait) {
			return d
		}
		ctx = context.WithoutCancel(ctx)
	}
}

// pause lets time pass with the lock released, unless the governor ends.
func (g *Governor) pause(d time.Duration) bool {
	g.mu.Unlock()
	defer g.mu.Lock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-g.life.Done():
		return false
	}
}

func (g *Governor) decide(ctx context.Context, now int64, l *Lease) Decision {
	l.claim = g.book.Claim(now, l.call)
	if !l.claim.Decided {
		if g.away(now) {
			g.book.Abandon(l.claim)
		} else {
			g.wait(ctx, l.claim)
			g.waited += time.Duration(g.now()-now) * time.Microsecond
		}
	}
	v := l.claim.Verdict
	switch {
	case v.Lost:
		d := g.withoutCounters(now, l.call.Weight, l.call.Limits, l)
		d.Outage = true
		return d
	case v.Heavy:
		return refused(v.Limit, TooHeavy, 0)
	case !v.Admitted:
		why := RateReached
		if v.Kind == Slots {
			why = SlotsTaken
		}
		if v.Learns {
			return without(v.Limit, why, Shut, v.Wait)
		}
		return refused(v.Limit, why, v.Wait)
	}
	l.counted = true
	return Decision{Shadow: v.Shadow}
}

// Fail says before the release that what the call needs did not work: its breakers count that.
func (l *Lease) Fail() { l.failed = true }

// Spare says before the release that the call came to nothing before its function was entered: what it took of daily quotas goes
// back, and breakers learn nothing from it. Its tokens are spent.
func (l *Lease) Spare() { l.spared = true }

// Release gives back the slots of a call that has returned.
func (l *Lease) Release() {
	g := l.governor
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.spared {
		g.leaveBreakers(l.call.Breakers, l.trials)
		if l.quotas != nil {
			g.returnQuotas(*l.quotas)
		}
	} else {
		g.ended(l)
	}
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

// closeTimeout is how long the end of a governor takes at most, beside one more message, where it is not said.
const closeTimeout = 500 * time.Millisecond

// Close stops the heartbeat and gives back the slots that no call uses, so that others need not wait for the lease's end, and what is
// left of quotas. No message goes out once it has returned.
func (g *Governor) Close() { g.CloseBy(time.Now().Add(closeTimeout)) }

// CloseBy is Close, which may take until then, beside one more message.
func (g *Governor) CloseBy(until time.Time) {
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.closed = true
	if g.beat != nil {
		g.beat.Stop()
	}
	g.end()
	g.mu.Unlock()
	sent := make(chan struct{})
	go func() { g.senders.Wait(); close(sent) }()
	enough := time.NewTimer(min(time.Until(until)/2, closeTimeout))
	defer enough.Stop()
	select {
	case <-sent:
	case <-enough.C: // a draw of a quota from a store that is away
	}
	g.mu.Lock()
	if !g.opts.Alone && !g.sending && g.now() >= g.down {
		g.book.Resign()
		g.sending = true
		g.deliver()
	}
	g.closeQuotas(ctx)
}

// Accounts is how many keys this instance has accounts of.
func (g *Governor) Accounts() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.book.accounts)
}

// Fault is why the counters are out of reach, nil while they answer.
func (g *Governor) Fault() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.outage
}

// Degraded says what does not work as it should; nil is all well.
func (g *Governor) Degraded() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	if g.outage != nil {
		out = append(out, "governor: "+g.rule())
	}
	return append(out, g.apart()...)
}

package governor

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"example.com/erlmcp/function/internal/directives"
)

// Options configure a [Governor]. Instance, Counters and Epochs must be there.
type Options struct {
	Instance   string // unlike any other process's
	Counters   Counters
	Epochs     Epochs
	Directives directives.Store        // nil: directives are in the counters alone, and are lost with them
	Versions   directives.VersionStore // nil: nothing else is announced; read with the directives
	Quotas     QuotaStore              // nil: limits of calls a day refuse
	Standalone bool                    // the counters are this process's own: they answer at once, and no one else takes its slots
	Embedded   bool                    // the counters are in this process, behind a connection: what takes long is the machine, no network
	Lease      time.Duration           // how long the slots of an instance outlive it; default 2 s
	Timeout    time.Duration           // how long a decision may wait for the counters; default 20 ms, and 1 s for those that are embedded
	// What limits do while the counters are out of reach, unless they say otherwise: by default Local and Shut.
	RateOutage, SlotOutage Outage

	Now    func() time.Time
	Logger *slog.Logger
}

// A Governor decides for one instance. It is safe for concurrent use.
type Governor struct {
	opts  Options
	start time.Time

	mu              sync.Mutex
	leases          *LeaseCache
	waiting         map[*Reservation]chan struct{}
	running         map[*Lease]struct{}
	sending         bool
	downUntil       int64           // until then the counters are not asked
	outage          error           // the last fault of the counters, nil while they answer
	lateAt          int64           // when the message that is under way is
	mayOpen         bool            // the message that is under way was sent without an epoch, and may have to open one
	asker           context.Context // of the first call that waits for the next message, for its trace
	shares          map[string]*share
	beat            *time.Timer
	closed          bool
	senders         sync.WaitGroup
	life            context.Context // ends with the governor, and with it what is being read
	end             context.CancelFunc
	opening         chan struct{}
	directivesState knowledge
	quotas          map[string]*quota
	today           today
	breakers        map[string]*breaker
	directives      atomic.Pointer[directives.Directives]
	versions        atomic.Pointer[directives.Versions]
	current         struct{ steady, wall atomic.Int64 } // until when what is known needs no refresh

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
	Tenant  string   // hashed; those of several tenants take turns at limits that are common to them
	Weight  int64    // how many calls it counts as against a rate
	Scopes  []string // that a kill switch may name, beside everything
	Limits  []*Limit
	Breaker *Breaker // nil for none
}

// A Lease is an admitted call's hold on its slots.
type Lease struct {
	governor    *Governor
	call        *Call
	reservation *Reservation
	counted     bool     // the reservation was admitted by the counters
	local       []*share // slots of this instance's share, in an outage
	trial       bool     // of its breaker
	quotas      *taken   // nil for none
	failed      bool
	spared      bool
	renewed     bool // its slots are the counters', which may give them to others
	lost        bool // they may have
	cancel      context.CancelCauseFunc
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
	DryRun []*Limit      // in dry run, that would have refused
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
		if o.Standalone {
			o.Lease = 24 * time.Hour
		}
	}
	if o.Timeout == 0 {
		o.Timeout = networkTimeout
		if o.Embedded {
			o.Timeout = embeddedTimeout
		}
	}
	o.RateOutage, o.SlotOutage = cmp.Or(o.RateOutage, FailLocal), cmp.Or(o.SlotOutage, FailClosed)
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	g := &Governor{
		opts: o, start: o.Now(), leases: NewLeaseCache(o.Instance, o.Lease), waiting: map[*Reservation]chan struct{}{},
		running: map[*Lease]struct{}{}, shares: map[string]*share{}, quotas: map[string]*quota{}, breakers: map[string]*breaker{},
		decisions: map[Decided]int64{}, opening: make(chan struct{}, 1),
	}
	g.leases.immediate = o.Standalone
	g.life, g.end = context.WithCancel(context.Background())
	g.directivesState.changed = make(chan struct{})
	g.directivesState.known = o.Directives == nil && o.Standalone // there is nothing that could have been ordered
	g.directives.Store(&directives.Directives{})
	g.versions.Store(&directives.Versions{})
	return g
}

const (
	// networkTimeout is how long a decision waits for counters elsewhere: longer than they take, and less than callers notice.
	networkTimeout = 20 * time.Millisecond
	// embeddedTimeout is for counters of the process itself, which do not fail alone: a decision without them would refuse what no
	// limit refuses.
	embeddedTimeout = time.Second
)

func (g *Governor) now() int64 { return g.opts.Now().Sub(g.start).Microseconds() }

// Admit decides a call, all or nothing. The lease must be released when the call has returned; there is none for a refused call.
func (g *Governor) Admit(ctx context.Context, call *Call) (*Lease, Decision) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l, d := g.admit(ctx, call)
	g.count(d)
	return l, d
}

func (g *Governor) admit(ctx context.Context, call *Call) (*Lease, Decision) {
	now := g.now()
	g.fence(now)
	g.refresh(ctx)
	directives := g.directives.Load()
	if d := g.ordered(call.Scopes); !d.Admitted() {
		return nil, d
	}
	quotas, d := g.takeQuotas(ctx, call.Limits)
	if !d.Admitted() {
		return nil, d
	}
	now = g.now()
	trial, d := g.tryBreaker(now, call.Breaker)
	if !d.Admitted() {
		g.returnQuotas(quotas)
		return nil, d
	}
	l := &Lease{governor: g, call: call, trial: trial}
	if len(quotas.from) > 0 {
		took := quotas // so that no other call pays for it
		l.quotas = &took
	}
	if d = g.reserve(ctx, now, l); !d.Admitted() {
		g.returnQuotas(quotas)
		g.cancelTrial(call.Breaker, trial)
		return nil, d
	}
	d.DryRun = append(quotas.dryRun, d.DryRun...)
	if late := g.recheck(ctx, directives, call.Scopes); !late.Admitted() {
		g.undo(l)
		g.returnQuotas(quotas)
		return nil, late
	}
	if l.counted && !g.opts.Standalone && l.reservation.holdsSlots() {
		l.renewed = true
		g.running[l] = struct{}{}
		g.arm()
	}
	return l, d
}

// recheck decides by the directives once more where deciding took so long that they may be others by now: the time of the decision is
// its end.
func (g *Governor) recheck(ctx context.Context, before *directives.Directives, scopes []string) Decision {
	if g.informed(g.moment()) && g.directives.Load() == before {
		return Decision{}
	}
	g.refresh(ctx)
	return g.ordered(scopes)
}

// undo gives back all that a call had been given that is refused at last.
func (g *Governor) undo(l *Lease) {
	g.cancelTrial(l.call.Breaker, l.trial)
	for _, s := range l.local {
		s.used--
	}
	if l.counted {
		l.reservation.giveBack()
	}
}

// reserve decides by rates and slots. A call whose tenant is given a turn waits for it, and takes it though its caller may have gone: what
// is kept for it no one else can use.
func (g *Governor) reserve(ctx context.Context, now int64, l *Lease) Decision {
	for last := now + turnTimeout; ; now = g.now() {
		d := g.decide(ctx, now, l)
		v := l.reservation.Verdict
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
	l.reservation = g.leases.Reserve(now, l.call)
	if !l.reservation.Decided {
		if g.unavailable(now) {
			g.leases.Abandon(l.reservation)
		} else {
			g.wait(ctx, l.reservation)
			g.waited += time.Duration(g.now()-now) * time.Microsecond
		}
	}
	v := l.reservation.Verdict
	switch {
	case v.Lost:
		d := g.withoutCounters(now, l.call, l)
		d.Outage = true
		return d
	case v.Heavy:
		return refused(v.Limit, TooHeavy, 0)
	case !v.Admitted:
		why := RateReached
		if v.Kind == Slots {
			why = SlotsTaken
		}
		if v.Learning {
			return without(v.Limit, why, FailClosed, v.Wait)
		}
		return refused(v.Limit, why, v.Wait)
	}
	l.counted = true
	return Decision{DryRun: v.DryRun}
}

// Fail says before the release that what the call needs did not work: its breakers count that.
func (l *Lease) Fail() { l.failed = true }

// Spare says before the release that the call came to nothing before its function was entered: what it took of daily quotas goes
// back, and breakers learn nothing from it. Its tokens are spent.
func (l *Lease) Spare() { l.spared = true }

// Bind returns a context that ends when the slots are lost.
func (l *Lease) Bind(ctx context.Context) context.Context {
	if !l.renewed {
		return ctx
	}
	l.governor.mu.Lock()
	defer l.governor.mu.Unlock()
	ctx, l.cancel = context.WithCancelCause(ctx)
	if l.lost {
		l.cancel(ErrFenced)
	}
	return ctx
}

// Release gives back the slots of a call that has returned.
func (l *Lease) Release() {
	g := l.governor
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.spared {
		g.cancelTrial(l.call.Breaker, l.trial)
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
	}
	delete(g.running, l)
	// What a server alone frees, it finds again with its next message.
	if l.counted && g.leases.Release(l.reservation) && !g.opts.Standalone && g.now() >= g.downUntil {
		g.send()
	}
}

// fence ends the calls whose slots the counters may have given to others.
func (g *Governor) fence(now int64) {
	if len(g.running) == 0 || g.leases.Leased(now) {
		return
	}
	for l := range g.running {
		if l.lost = true; l.cancel != nil {
			l.cancel(ErrFenced)
		}
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
	if !g.opts.Standalone && !g.sending && g.now() >= g.downUntil {
		g.leases.Resign()
		g.sending = true
		g.deliver()
	}
	g.closeQuotas(ctx)
}

// Accounts is how many keys this instance has accounts of.
func (g *Governor) Accounts() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.leases.accounts)
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
	return append(out, g.divergence()...)
}

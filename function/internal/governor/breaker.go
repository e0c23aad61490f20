package governor

import (
	"context"
	"time"
)

// A Breaker stops calls to what fails: after Failures in a row at one instance no instance calls it for Rest, then each
// tries one call at a time until one succeeds. Only transitions are shared, so a call costs no round trip.
type Breaker struct {
	Scope    string // such as "upstream:crm"
	Failures int
	Rest     time.Duration
}

// mostRest bounds how many times as long as at first a breaker rests: it doubles with each trial that fails.
const mostRest = 16

type breaker struct {
	failures int
	open     bool
	until    int64 // of the rest
	rest     time.Duration
	trying   bool
	own      bool // the transition is not announced yet
}

func (g *Governor) breaker(scope string) *breaker {
	s := g.breakers[scope]
	if s == nil {
		s = &breaker{}
		g.breakers[scope] = s
	}
	return s
}

// tryBreakers decides by breakers: all must let the call through. The bits of trials say on which of them it is a trial.
func (g *Governor) tryBreakers(now int64, breakers []*Breaker) (trials uint64, d Decision) {
	for i, b := range breakers {
		s := g.breaker(b.Scope)
		if !s.open {
			continue
		}
		if now < s.until || s.trying {
			g.leaveBreakers(breakers, trials)
			wait := time.Duration(s.until-now) * time.Microsecond
			return 0, Decision{Reason: BreakerOpen, Scope: b.Scope, Wait: max(wait, 100*time.Millisecond)}
		}
		s.trying = true
		trials |= 1 << i
	}
	return trials, Decision{}
}

// leaveBreakers takes back the trials of a call that is refused after all.
func (g *Governor) leaveBreakers(breakers []*Breaker, trials uint64) {
	for i, b := range breakers {
		if trials&(1<<i) != 0 {
			g.breaker(b.Scope).trying = false
		}
	}
}

// ended counts how an admitted call went.
func (g *Governor) ended(l *Lease) {
	for i, b := range l.call.Breakers {
		s := g.breaker(b.Scope)
		trial := l.trials&(1<<i) != 0
		if trial {
			s.trying = false
		}
		switch {
		case l.failed && trial:
			s.rest = min(2*s.rest, mostRest*b.Rest)
			g.trip(b, s)
		case l.failed:
			if s.failures++; s.failures >= b.Failures && !s.open {
				s.rest = b.Rest
				g.trip(b, s)
			}
		case trial:
			s.open, s.failures = false, 0
			g.announce(b.Scope, s, 0)
			g.opts.Logger.Info("a breaker closes", "scope", b.Scope)
		case !s.open:
			s.failures = 0
		}
	}
}

func (g *Governor) trip(b *Breaker, s *breaker) {
	s.open, s.failures = true, 0
	s.until = g.now() + s.rest.Microseconds()
	g.announce(b.Scope, s, s.rest)
	g.opts.Logger.Warn("a breaker opens", "scope", b.Scope, "for", s.rest)
}

// announce tells the other instances of a transition; where they can't be told, each finds out for itself.
func (g *Governor) announce(scope string, s *breaker, open time.Duration) {
	if g.opts.Alone || g.closed || g.now() < g.down {
		return
	}
	s.own = true
	g.senders.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), messagePatience)
		defer cancel()
		err := g.opts.Counters.Trip(ctx, scope, open)
		g.mu.Lock()
		defer g.mu.Unlock()
		s.own = false
		if err != nil {
			g.opts.Logger.Warn("a breaker's state could not be announced", "scope", scope, "error", err)
		}
	})
}

// adoptTrips takes over what others announced.
func (g *Governor) adoptTrips(now int64, trips []Trip) {
	announced := map[string]bool{}
	for _, t := range trips {
		announced[t.Scope] = true
		s := g.breaker(t.Scope)
		if until := now + t.Left.Microseconds(); !s.own && t.Left > 0 && (!s.open || until > s.until) {
			s.open, s.until, s.rest = true, until, max(s.rest, t.Left)
		}
	}
	for scope, s := range g.breakers {
		if !announced[scope] && s.open && !s.own && !s.trying {
			s.open, s.failures = false, 0 // closed by another's trial
		}
	}
}

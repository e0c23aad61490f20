package governor

import (
	"context"
	"maps"
	"time"

	"example.com/erlmcp/function/internal/directives"
)

// A Breaker stops calls to what fails: after Failures in a row at one instance no instance calls it for Rest, then each
// tries one call at a time until one succeeds. Only transitions are shared, so a call costs no round trip.
type Breaker struct {
	Scope    string // such as "upstream:crm"
	Failures int
	Rest     time.Duration
}

// maxRest bounds how many times as long as at first a breaker rests: it doubles with each trial that fails.
const maxRest = 16

// maxBreakers is from how many that have failed those are forgotten that nobody tries any more: what they are of may not be served any more.
const maxBreakers = 1000

type breaker struct {
	failures int
	open     bool
	until    int64 // of the rest
	rest     time.Duration
	trying   bool
	own      bool // the transition is not announced yet
	told     bool // others know that it is open: where they do not tell of it any more, one of them has closed it
}

func (g *Governor) breaker(scope string) *breaker {
	s := g.breakers[scope]
	if s == nil {
		if len(g.breakers) >= maxBreakers {
			now := g.now()
			maps.DeleteFunc(g.breakers, func(_ string, s *breaker) bool {
				return !s.own && !s.trying && now-s.until > maxRest*s.rest.Microseconds()
			})
		}
		s = &breaker{}
		g.breakers[scope] = s
	}
	return s
}

// tryBreaker decides by a call's breaker, if it has one. Trial tells that the call tries what is broken.
func (g *Governor) tryBreaker(now int64, b *Breaker) (trial bool, d Decision) {
	if b == nil {
		return false, Decision{}
	}
	s := g.breakers[b.Scope]
	if s == nil {
		return false, Decision{}
	}
	if s.open && (now < s.until || s.trying) {
		wait := time.Duration(s.until-now) * time.Microsecond
		return false, Decision{Reason: BreakerOpen, Scope: b.Scope, Wait: max(wait, 100*time.Millisecond)}
	}
	if s.open {
		s.trying = true
	}
	return s.open, Decision{}
}

// cancelTrial takes back the trial of a call that is refused after all.
func (g *Governor) cancelTrial(b *Breaker, trial bool) {
	if trial {
		g.breaker(b.Scope).trying = false
	}
}

// ended counts how an admitted call went.
func (g *Governor) ended(l *Lease) {
	b := l.call.Breaker
	if b == nil {
		return
	}
	s := g.breakers[b.Scope]
	if s == nil {
		if !l.failed {
			return // as most calls do
		}
		s = g.breaker(b.Scope)
	}
	if l.trial {
		s.trying = false
	}
	switch {
	case l.failed && l.trial:
		s.rest = min(2*s.rest, maxRest*b.Rest)
		g.trip(b, s)
	case l.failed:
		if s.failures++; s.failures >= b.Failures && !s.open {
			s.rest = b.Rest
			g.trip(b, s)
		}
	case l.trial:
		s.open, s.failures = false, 0
		g.announce(b.Scope, s, 0)
		g.opts.Logger.Info("a breaker closes", "scope", b.Scope)
	case !s.open && !s.own: // it is as if it had never failed
		delete(g.breakers, b.Scope)
	case !s.open:
		s.failures = 0
	}
}

func (g *Governor) trip(b *Breaker, s *breaker) {
	s.open, s.failures = true, 0
	s.until = g.now() + s.rest.Microseconds()
	s.told = false
	g.announce(b.Scope, s, s.rest)
	g.opts.Logger.Warn("a breaker opens", "scope", b.Scope, "for", s.rest)
}

// announce tells the other instances of a transition; where they can't be told, each finds out for itself.
func (g *Governor) announce(scope string, s *breaker, open time.Duration) {
	if g.opts.Standalone || g.closed || g.now() < g.downUntil {
		return
	}
	s.own = true
	g.senders.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), messageTimeout)
		defer cancel()
		err := g.opts.Counters.Trip(ctx, scope, open)
		g.mu.Lock()
		defer g.mu.Unlock()
		s.own, s.told = false, err == nil
		if err != nil {
			g.opts.Logger.Warn("a breaker's state could not be announced", "scope", scope, "error", err)
		}
	})
}

// adoptTrips takes over what others announced.
func (g *Governor) adoptTrips(now int64, trips []directives.Trip) {
	announced := map[string]bool{}
	for _, t := range trips {
		announced[t.Scope] = true
		s := g.breaker(t.Scope)
		if until := now + t.Left.Microseconds(); !s.own && t.Left > 0 && (!s.open || until > s.until) {
			s.open, s.told, s.until, s.rest = true, true, until, max(s.rest, t.Left)
		}
	}
	for scope, s := range g.breakers {
		if !announced[scope] && s.open && s.told && !s.own && !s.trying {
			s.open, s.failures = false, 0 // closed by another's trial
		}
	}
}

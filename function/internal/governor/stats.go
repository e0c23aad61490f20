package governor

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Stats are what a governor has done so far, and how things are.
type Stats struct {
	Decisions         map[Decided]int64
	Waited            time.Duration // for the counters and the store, of all decisions together
	RoundTrips        int64         // messages to the counters
	Lost              int64         // of them without an answer
	InFlight          int           // calls that hold slots of the counters'
	Held, Used        int64         // slots, of all limits
	Tokens            float64       // leased and not used, in calls
	Waiting           int           // calls that wait for the counters
	Instances         int64         // of the fleet, when they were last counted
	Degraded          bool          // the counters are out of reach: the rules are in force
	RateOutage        Outage
	SlotOutage        Outage
	StoreFault        bool
	DirectivesAge     time.Duration // since the directives were known to be current
	Unheard           int64         // calls refused since that was too long ago
	DirectivesVersion int64         // their version
}

// Decided is a kind of decision: by whom it was refused, where it was, and whether that was without the counters.
type Decided struct {
	Reason Reason
	Scope  string // of limits that every caller has for itself, only "tenant" or "client"
	Outage bool
}

// String is the reason as refusals, receipts, logs and metrics have it.
func (r Reason) String() string {
	return [...]string{"admitted", "rate", "concurrency", "quota", "kill_switch", "breaker_open", "backpressure", "rate"}[r]
}

// maxDecided is from how many kinds of decisions on new scopes are counted together with those of their kind: catalogs that take each other's
// place have ever other names.
const maxDecided = 2000

func (g *Governor) count(d Decision) {
	if d.Admitted() && !d.Outage {
		g.admitted++
		return
	}
	scope := d.Scope
	if d.Limit != nil && d.Limit.Many || strings.HasPrefix(scope, "tenant:") {
		scope, _, _ = strings.Cut(scope, ":")
	}
	key := Decided{d.Reason, scope, d.Outage}
	if _, known := g.decisions[key]; !known && len(g.decisions) >= maxDecided {
		key.Scope, _, _ = strings.Cut(scope, ":")
	}
	g.decisions[key]++
}

// Stats returns what there is to know.
func (g *Governor) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	s := Stats{
		Decisions: map[Decided]int64{{Reason: Admitted}: g.admitted}, Waited: g.waited, RoundTrips: g.roundTrips, Lost: g.lostTrips,
		InFlight: len(g.running), Waiting: len(g.waiting), Instances: g.leases.instances, Degraded: g.outage != nil,
		RateOutage: g.opts.RateOutage, SlotOutage: g.opts.SlotOutage, StoreFault: g.directivesState.storeErr != nil,
		DirectivesAge: time.Duration(g.age(g.moment())) * time.Microsecond, Unheard: g.unheard, DirectivesVersion: g.directives.Load().Version,
	}
	var tokens int64
	s.Held, s.Used, tokens = g.leases.Holdings(now)
	s.Tokens = float64(tokens) / tokensPerCall
	for d, n := range g.decisions {
		s.Decisions[d] += n
	}
	return s
}

// Competed lists the scopes of the limits that several tenants asked more of than there was within the last minute.
func (g *Governor) Competed() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	now := g.now()
	for _, a := range g.leases.accounts {
		if a.sharedUntil > 0 && a.sharedUntil+competed > now && !slices.Contains(out, a.limit.Scope) {
			out = append(out, a.limit.Scope)
		}
	}
	slices.Sort(out)
	return out
}

// A HeldLimit is what this instance has leased of a limit, or of all limits of one scope, as clients have.
type HeldLimit struct {
	Scope  string
	Slots  int64 // of calls at a time
	Used   int64 // of them, by calls that run
	Tokens int64 // of a rate, not used yet, in whole calls
}

// maxHeld bounds how many limits [Governor.Held] lists.
const maxHeld = 100

// Held lists what is leased, most slots and tokens first.
func (g *Governor) Held() []HeldLimit {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	byScope := map[string]*HeldLimit{}
	var out []*HeldLimit
	for _, a := range g.leases.accounts {
		slots, used, tokens := a.held, a.used, int64(0)
		if a.kind == Tokens {
			slots, used, tokens = 0, 0, a.free(now)
		}
		if a.limit == nil || slots+tokens == 0 {
			continue
		}
		h := byScope[a.limit.Scope]
		if h == nil {
			h = &HeldLimit{Scope: a.limit.Scope}
			byScope[h.Scope] = h
			out = append(out, h)
		}
		h.Slots += slots
		h.Used += used
		h.Tokens += tokens
	}
	slices.SortFunc(out, func(x, y *HeldLimit) int {
		return cmp.Or(cmp.Compare(y.Slots, x.Slots), cmp.Compare(y.Tokens, x.Tokens), cmp.Compare(x.Scope, y.Scope))
	})
	held := make([]HeldLimit, 0, len(out))
	for _, h := range out[:min(len(out), maxHeld)] {
		h.Tokens /= tokensPerCall
		held = append(held, *h)
	}
	return held
}

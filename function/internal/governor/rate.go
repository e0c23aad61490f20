package governor

import (
	"math"
	"strings"
)

// An account of a rate. The counters know of each token when it was granted and by when it must be used, and not when it is
// used. What may have been used and has not flowed back yet, the debt, has two upper bounds, and the smaller one counts.
//
// The first takes every token for used at the end of its hold: GCRA's theoretical arrival time (ITU-T I.371), moved on from
// there. It is exact in the long run, and after a burst it is too high by what flows in a hold.
//
// The second counts tokens: since the rate was last idle, used have been granted, all to be used by ends. Until then none
// flows back, from then on they do. It is exact for a burst, and grows too high under a load that goes on. It is kept for as
// long as it is the smaller one.
//
// Both hold in every window [a, b], whenever within its hold each token is used: those used in it were granted by b with a
// hold that ends at a or later, and when the last of them was granted they were in the debt, but for at most r·(b-a).
type rate struct {
	arrival int64 // µs, earlier by the need's lag
	ends    int64 // µs; 0: the second bound is not kept
	used    int64 // thousandths of a token
}

// maxHold bounds how long after its grant a token may be used.
const maxHold = 300 * 1000

const milli = 1000

// lag is how much earlier than by the first bound the arrival is kept, µs: as the version before keeps it, which took it for
// granted that tokens are used within half of the time of a fast burst. It and this one so read each other's.
func (n *Need) lag() int64 {
	if n.Period*0.03 >= 1500 {
		return 0
	}
	return int64(min(float64(n.Cap-milli)*n.Period/2000, 100_000))
}

// room is how far the arrival may lie ahead, with each token's time rounded up.
func (n *Need) room() int64 {
	return int64(math.Ceil(float64(n.Cap)*(n.Period+1)/milli)) + maxHold - n.lag()
}

// rate returns the account that a need is on. Of a rate that this epoch has not seen it is that of one used up as the epoch
// began, unless nothing was before it. One that lies further ahead than it could, because the clock was set back or the limit was
// another, is that of a rate used up now.
func (c *ReferenceCounters) rate(now int64, n *Need) rate {
	r, ok := c.rates[n.Key]
	switch {
	case ok:
	case c.first:
		r.arrival = math.MinInt64 / 4
	default:
		r.arrival = c.opened + n.room()
	}
	if most := now + n.room(); r.arrival > most {
		r = rate{arrival: most - maxHold} // or else it would stay ahead until the clock is where it was
		c.rates[n.Key] = r
	}
	return r
}

// debt is the smaller bound, in thousandths of a token.
func (r *rate) debt(now int64, n *Need) float64 {
	late := r.arrival + n.lag() - now
	if late <= 0 {
		return 0
	}
	d := float64(late) * milli / n.Period
	if r.ends > 0 {
		d = max(min(d, float64(r.used)-float64(max(now-r.ends, 0))*milli/n.Period), 0)
	}
	return d
}

// tokens returns how many the need can have once others have had some, and where those are too few, when there will be more.
func (r *rate) tokens(now int64, n *Need, ahead int64) (amount, wait int64) {
	if amount = min(n.Max, int64(math.Floor((float64(n.Cap)-r.debt(now, n))/milli))-ahead); amount >= n.Min {
		return max(amount, 0), 0
	}
	over := float64((n.Min+ahead)*milli-n.Cap) * n.Period / milli // µs until so much of the debt has flowed back, with the need's
	at := float64(r.arrival+n.lag()) + over
	if r.ends > 0 {
		at = min(at, float64(r.ends)+float64(r.used)*n.Period/milli+over)
	}
	return max(amount, 0), max(int64(at)-now, 0) + 1
}

// grant notes that the need was granted an amount.
func (r *rate) grant(now int64, n *Need, amount int64) {
	lag := n.lag()
	kept := r.arrival+lag <= now || r.ends > 0
	used := int64(math.Ceil(r.debt(now, n))) + amount*milli
	r.arrival = max(r.arrival, now+n.Hold-lag) + int64(math.Ceil(float64(amount)*n.Period))
	if kept && float64(used)*n.Period < float64((r.arrival+lag-now)*milli) {
		r.ends, r.used = max(r.ends, now+n.Hold), used
	} else {
		r.ends, r.used = 0, 0
	}
}

// forgotten tells whether an account says no more than none would, and has for long.
func (c *ReferenceCounters) forgotten(now int64) func(string, rate) bool {
	return func(key string, r rate) bool {
		return strings.HasPrefix(key, Forgettable) && max(r.arrival, c.opened)+forget < now
	}
}

const second = 1e6 // µs

// tokensPerCall is how many tokens a call of weight 1 takes: a burst need not be a whole number of calls.
const tokensPerCall = 4

// A pace is a limit's rate in the counters' terms.
type pace struct {
	period float64 // µs from one token to the next
	burst  float64 // tokens at once
	keep   int64   // µs for which a slice is leased ahead
}

func (l *Limit) pace() pace {
	p := pace{period: second / (tokensPerCall * l.PerSecond), burst: tokensPerCall * l.MaxBurst()}
	full := math.Floor(p.burst) * p.period
	p.keep = int64(min(full/2, 100e3))
	return p
}

// hold is how long after a message the tokens that it brings for a call are used at the latest. It must cover the way of the message
// and back, and what comes too late is lost. So it is long where that costs nothing, since the burst has room for other calls
// meanwhile, and short where the call needs all of the burst, and holds up the next one.
func (c *LeaseCache) hold(p pace, tokens int64) int64 {
	if c.immediate {
		return 0
	}
	spare := max(p.burst*p.period/16, (p.burst-float64(tokens))*p.period/4)
	return min(max(2*c.slowest, int64(min(spare, 25e3)), shortHold), maxHold)
}

// shortHold leaves time for what a busy machine does between the answer and the call.
const shortHold = 1000

// noteRoundTrip notes how long a message took. Nothing is known before the first.
func (c *LeaseCache) noteRoundTrip(d int64) {
	if c.slowest < maxHold {
		d = max(d, c.slowest-c.slowest/16)
	}
	c.slowest = min(d, maxHold)
}

// noteFirstRoundTrip notes how long a message took that may have had to open an epoch.
func (c *LeaseCache) noteFirstRoundTrip(d int64) {
	if d < startTogether.Microseconds() {
		c.noteRoundTrip(d)
	}
}

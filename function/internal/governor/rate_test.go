package governor

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/directives"
)

// A rig is a fleet of caches on one reference, whose messages take some time each way, under one limit.
type rig struct {
	now       int64
	reference *ReferenceCounters
	caches    []*LeaseCache
	limit     *Limit
	latency   int64 // there and back
	entered   window
	fault     error
}

func newRig(l *Limit, instances int, latency int64) *rig {
	r := &rig{reference: NewReferenceCounters(), limit: l, latency: latency, entered: window{limit: l}}
	r.reference.Open(0, 1, true, 2_000_000)
	for i := range instances {
		r.caches = append(r.caches, NewLeaseCache(fmt.Sprint("n", i), 2*time.Second))
	}
	return r
}

// call has an instance called by so many at once, and so on for the next instances, and returns how many were admitted.
func (r *rig) call(weight int64, times ...int) (admitted int) {
	var open []*Reservation
	enter := func() {
		var left []*Reservation
		for _, c := range open {
			switch {
			case !c.Decided:
				left = append(left, c)
			case c.Verdict.Admitted:
				admitted++
				if excess := r.entered.enterAs(r.now, weight); excess > 1e-6 {
					r.fault = fmt.Errorf("%.3f tokens too many in a window that ends at %d µs", excess, r.now)
				}
			case c.Verdict.Wait <= 0:
				r.fault = fmt.Errorf("a refusal without a wait: %+v", c.Verdict)
			}
		}
		open = left
	}
	for i, n := range times {
		for range n {
			open = append(open, r.caches[i].Reserve(r.now, &Call{Weight: weight, Limits: []*Limit{r.limit}}))
		}
	}
	for enter(); len(open) > 0; enter() {
		responses := make([]func(), len(r.caches))
		for i, b := range r.caches {
			if d := b.Next(r.now); d != nil {
				response := r.reference.Lease(r.now+r.latency/2, d)
				responses[i] = func() { b.Apply(r.now, d.Seq, response) }
			}
		}
		r.now += r.latency
		for _, apply := range responses {
			if apply != nil {
				apply()
			}
		}
	}
	return admitted
}

// spread deals out calls to the instances.
func (r *rig) spread(rng *rand.Rand, n int) []int {
	times := make([]int, len(r.caches))
	for range n {
		times[rng.IntN(len(times))]++
	}
	return times
}

// hold is for how long a call may hold up others, at the most.
func (r *rig) hold() (h int64) {
	for _, b := range r.caches {
		h = max(h, b.hold(r.limit.pace(), 1))
	}
	return h
}

// A rated limit is one that is accepted, with a weight that its burst allows, in a fleet.
type rated struct {
	limit     Limit
	weight    int64
	instances int
	latency   int64 // µs
}

func (c rated) String() string {
	return fmt.Sprintf("%v/s, burst %v, weight %d, %d instances, %v away", c.limit.PerSecond, c.limit.MaxBurst(), c.weight, c.instances, time.Duration(c.latency)*time.Microsecond)
}

// ratedLimits are all rates with all bursts, in an order of chance.
func ratedLimits(rng *rand.Rand) []rated {
	var rates []float64
	for r := 1; r <= 200; r++ {
		rates = append(rates, float64(r))
	}
	for r := 0.1; r < 100_001; r *= math.Pow(10, 1.0/12) {
		rates = append(rates, r)
	}
	var all []rated
	for _, r := range rates {
		for burst := range 51 {
			c := rated{limit: Limit{Scope: "x", Key: "x", PerSecond: r, Burst: float64(burst)}}
			for _, c.weight = range []int64{1, 1 + rng.Int64N(int64(c.limit.MaxBurst())), int64(c.limit.MaxBurst())} {
				c.instances = 1 + rng.IntN(16)
				c.latency = []int64{0, 200, 1000, 7000, 18_000, 100_000, 249_000}[rng.IntN(7)]
				all = append(all, c)
			}
		}
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// TestSimulationOfLimits holds limits that are accepted to what they promise: the burst at once, whichever instances are called,
// each call up to it after a pause, nearly the rate under twice the load, and never more in any window.
func TestSimulationOfLimits(t *testing.T) {
	rng := rand.New(rand.NewPCG(max(*simSeed, 1), 7))
	all := ratedLimits(rng)
	all = all[:min(len(all), 5**simSeeds)]
	var wg sync.WaitGroup
	for part := range 2 {
		wg.Go(func() {
			for i := part; i < len(all); i += 2 {
				if err := all[i].hold(rand.New(rand.NewPCG(uint64(i), 1))); err != nil {
					t.Errorf("%v: %v", all[i], err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d limits", len(all))
}

func (c rated) hold(rng *rand.Rand) error {
	r := newRig(&c.limit, c.instances, c.latency)
	period, burst := second/c.limit.PerSecond, int64(c.limit.MaxBurst())
	atOnce := min(int(burst/c.weight), maxGroups*int(max(1, 20*ms/max(c.latency, 1)))) // no more than calls wait for messages
	if got := r.call(c.weight, r.spread(rng, atOnce)...); got != atOnce {
		return fmt.Errorf("%d of a burst of %d are admitted at first", got, atOnce)
	}
	r.call(1, r.spread(rng, int(burst%c.weight))...) // and what is left over
	// From here on the instances know how long messages take.
	rest := func(tokens int64) {
		r.now += int64(math.Ceil(float64(tokens)*period)) + r.hold() + c.limit.pace().keep/16 + 2
	}
	r.now += maxHold
	for range 3 {
		for range c.instances {
			rest(burst)
			r.call(1, r.spread(rng, 1)...)
		}
	}
	rest(burst)
	for _, times := range [][]int{r.spread(rng, atOnce), {atOnce}, r.spread(rng, atOnce)} {
		if got := r.call(c.weight, times...); got != atOnce {
			return fmt.Errorf("%d of a burst of %d are admitted after a pause, called %v times", got, atOnce, times)
		}
		rest(burst)
	}
	for i, weight := range []int64{burst, c.weight, 1, burst, c.weight, 1 + rng.Int64N(burst)} {
		rest(weight)
		if got := r.call(weight, r.spread(rng, 1)...); got != 1 {
			return fmt.Errorf("call %d, of weight %d, is refused after a pause for it", i, weight)
		}
	}
	if v := r.caches[0].Reserve(r.now, &Call{Weight: burst + 1, Limits: []*Limit{&c.limit}}).Verdict; v.Admitted || !v.Heavy {
		return fmt.Errorf("a call that is too heavy: %+v", v)
	}
	rest(burst)
	return cmp.Or(r.fault, c.notUnder(r, rng))
}

// notUnder offers twice the rate, once the burst is used up, and wants nearly all of what one exact limiter admits, but for the
// time in which calls hold each other up. A burst that flows back while a few messages are under way is not always used in full.
func (c rated) notUnder(r *rig, rng *rand.Rand) error {
	period, burst := second/c.limit.PerSecond, c.limit.MaxBurst()
	full := burst * period
	if full < 8*float64(r.hold()) {
		return nil
	}
	exact := ideal{limit: &c.limit}
	due := float64(r.now)
	step := func() {
		n := 0
		for ; due <= float64(r.now); due += float64(c.weight) * period * rng.Float64() {
			if n < 32*c.instances { // one message bears no more, and the rest would wait for the next
				exact.offerAs(int64(due), c.weight)
				n++
			}
		}
		r.call(c.weight, r.spread(rng, n)...)
		r.now = max(r.now, int64(math.Ceil(due)))
	}
	for float64(exact.admitted) < 2*burst {
		step()
	}
	exact.admitted = 0
	before := r.entered.calls
	for range 400 {
		step()
	}
	got, want := float64(r.entered.calls-before), float64(exact.admitted)
	if share := full / (full + 2*float64(r.hold())); got < (0.95*want-2*float64(c.weight))*share {
		return fmt.Errorf("%v tokens under twice the load, %v by one exact limiter, and %.1f %% are wanted", got, want, 95*share)
	}
	return r.fault
}

// TestBurstThatCountersBear wants a limit that the counters bear of an override over a rate that it was not made for.
func TestBurstThatCountersBear(t *testing.T) {
	burst := 1e6
	over := Limit{PerSecond: 1.0 / 86400}.With(directives.Limits{Burst: &burst})
	if b := over.MaxBurst(); b != 3650 {
		t.Errorf("a burst of %v", b)
	}
	if err := over.Check(); err == nil {
		t.Error("and nothing is said of it")
	}
}

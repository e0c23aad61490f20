package governor

import (
	"testing"
	"time"
)

// A pair is two instances on one reference, whose messages the test carries.
type pair struct {
	t         *testing.T
	now       int64
	set       int64 // by how much the reference's clock is ahead
	reference *ReferenceCounters
	a, b      *LeaseCache
}

func newPair(t *testing.T) *pair {
	p := &pair{t: t, reference: NewReferenceCounters(), a: NewLeaseCache("a", 2*time.Second), b: NewLeaseCache("b", 2*time.Second)}
	p.reference.Open(0, 1, true, 2_000_000)
	p.a.Adopt(1)
	p.b.Adopt(1)
	p.a.noteRoundTrip(0) // messages take no time here
	p.b.noteRoundTrip(0)
	return p
}

// carry takes the cache's messages to the reference and back until there are none.
func (p *pair) carry(b *LeaseCache) {
	for range 100 {
		d := b.Next(p.now)
		if d == nil {
			return
		}
		b.Apply(p.now, d.Seq, p.reference.Lease(p.now+p.set, d))
	}
	p.t.Fatal("a cache that always has something to say")
}

// admitted reservations and carries, so many times, and returns how many were admitted.
func (p *pair) admitted(b *LeaseCache, times int, limits ...*Limit) (n int) {
	for range times {
		c := b.Reserve(p.now, &Call{Weight: 1, Limits: limits})
		p.carry(b)
		if c.Verdict.Admitted {
			n++
		}
		p.now += 300 // past the pause after a refusal
	}
	return n
}

var few = &Limit{Scope: "few", Key: "few", Concurrency: 64}

// withFreeSlots lets a hold free slots beside one in use, then sleep beyond its lease while b takes all of them.
func (p *pair) withFreeSlots() {
	var reservations []*Reservation
	for range 5 {
		reservations = append(reservations, p.a.Reserve(p.now, &Call{Weight: 1, Limits: []*Limit{few}}))
		p.carry(p.a)
	}
	for _, c := range reservations[1:] {
		p.a.Release(c)
	}
	p.carry(p.a)
	if held, used, _ := p.a.Holdings(p.now); held <= used {
		p.t.Fatalf("holds %d and uses %d: there is nothing to test", held, used)
	}
	p.now += 3_000_000
	if n := p.admitted(p.b, 64, few); n != 64 {
		p.t.Fatalf("b was admitted %d times of 64", n)
	}
}

func TestFreeSlotsEndWithTheLease(t *testing.T) {
	p := newPair(t)
	p.withFreeSlots()
	p.carry(p.a) // it renews, and must not take back what is b's
	if n := p.admitted(p.a, 5, few); n != 0 {
		t.Errorf("%d calls admitted by slots of a lease that had ended", n)
	}
}

func TestReservedSlotEndsWithTheLease(t *testing.T) {
	p := newPair(t)
	if p.admitted(p.a, 1, few) != 1 {
		t.Fatal("not admitted")
	}
	rate := &Limit{Scope: "rate", Key: "rate", PerSecond: 1000}
	c := p.a.Reserve(p.now, &Call{Weight: 1, Limits: []*Limit{few, rate}}) // has its slot, and waits for a token
	if c.Decided || c.parts[0].reserved != 1 {
		t.Fatalf("%+v", c)
	}
	p.now += 3_000_000
	if n := p.admitted(p.b, 64, few); n != 64 {
		t.Fatalf("b was admitted %d times of 64", n)
	}
	if p.carry(p.a); c.Verdict.Admitted {
		t.Error("admitted by a slot of a lease that had ended")
	}
}

func TestLateGrantIsNotUsed(t *testing.T) {
	p := newPair(t)
	c := p.a.Reserve(p.now, &Call{Weight: 1, Limits: []*Limit{few}})
	d := p.a.Next(p.now)
	response := p.reference.Lease(p.now, d)
	p.now += 3_000_000
	if n := p.admitted(p.b, 64, few); n != 64 {
		t.Fatalf("b was admitted %d times of 64", n)
	}
	p.a.Apply(p.now, d.Seq, response)
	if p.carry(p.a); c.Verdict.Admitted {
		t.Error("admitted by a grant whose lease had ended when it came")
	}
}

func TestLeaseCountsFromTheSending(t *testing.T) {
	p := newPair(t)
	c := p.a.Reserve(p.now, &Call{Weight: 1, Limits: []*Limit{few}})
	d := p.a.Next(p.now)
	response := p.reference.Lease(p.now, d)
	p.now += 1_000_000
	p.a.Apply(p.now, d.Seq, response)
	if !c.Verdict.Admitted || !p.a.Leased(p.now) {
		t.Fatal("an answer within the lease is not taken")
	}
	if p.now += 900_000; p.a.Leased(p.now) {
		t.Error("leased for longer than the counters know")
	}
}

// TestRefusedWhileCountersLearn wants each call that is refused since the counters were lost to be told so, also one that comes when it is
// not worth asking again yet.
func TestRefusedWhileCountersLearn(t *testing.T) {
	p := newPair(t)
	p.reference = NewReferenceCounters()
	p.reference.Open(p.now, 2, false, 2_000_000)
	first := p.a.Reserve(p.now, &Call{Weight: 1, Limits: []*Limit{few}})
	for !first.Decided {
		p.carry(p.a)
	}
	second := p.a.Reserve(p.now, &Call{Weight: 1, Limits: []*Limit{few}})
	for i, c := range []*Reservation{first, second} {
		if v := c.Verdict; !c.Decided || v.Admitted || !v.Learning || v.Wait <= time.Second {
			t.Errorf("call %d: %+v", i, v)
		}
	}
}

// TestRefusedCallGivesItsTokensBack has a call take tokens that are held already, and be refused for want of a slot.
func TestRefusedCallGivesItsTokensBack(t *testing.T) {
	p := newPair(t)
	rate, one := &Limit{Scope: "rate", Key: "rate", PerSecond: 1000}, &Limit{Scope: "one", Key: "one", Concurrency: 1}
	if p.admitted(p.b, 1, one) != 1 {
		t.Fatal("not admitted")
	}
	for range 2 { // what was used for a while is leased ahead
		p.admitted(p.a, 10, rate)
		p.now += 23_000
	}
	p.admitted(p.a, 2, rate)
	_, _, before := p.a.Holdings(p.now)
	c := p.a.Reserve(p.now, &Call{Weight: 1, Limits: []*Limit{rate, one}})
	if before == 0 || c.Decided || c.parts[0].reserved != tokensPerCall {
		t.Fatalf("%d tokens held before %+v", before, c)
	}
	p.carry(p.a)
	if _, _, after := p.a.Holdings(p.now); !c.Decided || c.Verdict.Admitted || after != before {
		t.Errorf("%d tokens held, %d after %+v", before, after, c.Verdict)
	}
}

// TestClockSetForth has the counters' clock jump over every lease: what is held must count again as soon as its holder is
// heard of.
func TestClockSetForth(t *testing.T) {
	p := newPair(t)
	if n := p.admitted(p.a, 40, few); n != 40 {
		t.Fatalf("a was admitted %d times of 40", n)
	}
	p.set = 5_000_000
	p.admitted(p.b, 1, few) // forgets a's slots
	p.now += 500_000
	p.carry(p.a) // its beat
	if n := p.admitted(p.b, 64, few); n > 24 {
		t.Errorf("b was admitted %d times while a holds 40 of 64", n)
	}
	p.now += 500_000
	p.carry(p.a)
	if !p.a.Leased(p.now) {
		t.Error("a has lost its lease")
	}
}

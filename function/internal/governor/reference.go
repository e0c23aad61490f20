package governor

import (
	"maps"
	"time"
)

// ReferenceCounters are the fleet's account of every limit: the reference for what [Counters] do, wherever they are kept, and itself
// the counters of a server that stands alone. It is a pure state machine: time comes in as microseconds of one clock.
//
// A rate is kept as two bounds of what may have been used of it, slots as the absolute holding of each instance. Every message
// is checked whole before anything is written.
type ReferenceCounters struct {
	epoch     int64
	opened    int64 // when this epoch began
	first     bool  // no epoch was before it: nothing can be out there
	learnEnds int64 // until then only declared holdings count
	rates     map[string]rate
	slots     map[string]map[string]int64 // key, instance
	instances map[string]presence
	turns     map[string]turns // key
	revision  int64            // counts announcements
	read      int64            // when an instance was last sent to read the store
}

type presence struct {
	ends int64 // of its lease
	seq  int64 // of its last message
}

// NewReferenceCounters returns empty counters without an epoch: see [ReferenceCounters.Open].
func NewReferenceCounters() *ReferenceCounters {
	return &ReferenceCounters{rates: map[string]rate{}, slots: map[string]map[string]int64{}, instances: map[string]presence{}, turns: map[string]turns{}}
}

// Forgettable begins the keys of rates that counters may forget once they are as if they had not been used.
const Forgettable = "t:"

// A Kind is what a need is for.
type Kind int

// Kinds of needs.
const (
	Tokens Kind = iota // of a rate
	Slots              // of a concurrency limit
)

// A Need is what one limit must grant.
type Need struct {
	Key    string
	Tenant string // with which others share the limit: it is given in turns once it is used up; empty for none
	Kind   Kind
	Period float64 // of tokens: µs from one to the next
	Cap    int64   // of tokens: thousandths of so many at once; of slots: so many at a time
	Min    int64   // without so many the whole group is refused
	Max    int64   // so many if there are
	Hold   int64   // of tokens: µs after the message by which they are used
}

// A Group is all or nothing.
type Group []Need

// A Holding is how many slots an instance holds, by its own account.
type Holding struct {
	Key   string
	Slots int64
}

// A LeaseRequest is one message of an instance to the counters.
type LeaseRequest struct {
	Instance string
	Seq      int64 // greater than in any message before: an older one that comes late changes nothing
	Epoch    int64 // that the instance knows
	Lease    int64 // µs for which the holdings stay without another message
	Holdings []Holding
	Full     bool // the holdings are all that the instance has
	Groups   []Group
}

// A Status says how a request was taken.
type Status int

// Statuses of a [LeaseResponse].
const (
	Done   Status = iota
	Closed        // the counters have no epoch: they are new, or were lost
	Stale         // an older message than the last one, or another epoch; nothing was done
	Newer         // a newer version keeps the counters, in a form that this one does not know; nothing was done
)

// A LeaseResponse answers a request.
type LeaseResponse struct {
	Status    Status
	Epoch     int64
	Instances int64   // present now; 0 where they were not counted
	Revision  int64   // announcements in this epoch: another number than the last one says that the [Snapshot] has changed
	ReadStore bool    // it is this instance's turn to read the directives from the store
	Lapsed    bool    // with Stale: by the counters' clock the instance's lease had ended, and it must declare all that it holds
	Granted   []Grant // one for each group
}

// A Grant answers a group.
type Grant struct {
	Amounts  []int64 // one for each need; nil where the group is refused
	Left     []int64 // one for each need: slots that no one holds
	Refused  int     // which need refused
	Wait     int64   // µs after which it is worth asking again
	Learning bool    // it is refused because the counters were lost and learn what is held
	Turn     bool    // it is refused, and its tenant has a turn when the wait is over
	Shared   bool    // several tenants ask for more of one of the limits than there is
}

// Open begins an epoch unless one has begun, and returns the one in force. In the first one of all the full budget is there
// at once; after a loss what was granted before is still out there, so for one lease holdings are only declared, and every
// rate starts empty.
func (c *ReferenceCounters) Open(now, epoch int64, first bool, lease int64) int64 {
	if c.epoch == 0 {
		c.epoch, c.opened, c.first = epoch, now, first
		if !first {
			c.learnEnds = now + lease
		}
	}
	return c.epoch
}

// Lease takes one message.
func (c *ReferenceCounters) Lease(now int64, request *LeaseRequest) LeaseResponse {
	if c.epoch == 0 {
		return LeaseResponse{Status: Closed}
	}
	before := c.instances[request.Instance]
	if request.Epoch != c.epoch || request.Seq <= before.seq {
		return LeaseResponse{Status: Stale, Epoch: c.epoch}
	}
	if before.seq > 0 && before.ends <= now && !request.Full {
		return LeaseResponse{Status: Stale, Epoch: c.epoch, Lapsed: true} // what it held may count for nothing by now
	}
	c.instances[request.Instance] = presence{now + request.Lease, request.Seq}
	for _, h := range request.Holdings {
		c.hold(h.Key, request.Instance, h.Slots)
	}
	r := LeaseResponse{Epoch: c.epoch, Revision: c.revision, ReadStore: now-c.read >= readEvery || now < c.read, Granted: make([]Grant, len(request.Groups))}
	if r.ReadStore {
		c.read = now
	}
	for i, g := range request.Groups {
		r.Granted[i] = c.grant(now, request.Instance, g)
	}
	if len(request.Groups) == 0 || request.Seq%16 == 1 { // counting costs, and can wait
		for name, p := range c.instances {
			if p.ends > now {
				r.Instances++
			} else if p.ends+forget < now {
				delete(c.instances, name)
			}
		}
	}
	if request.Seq%1024 == 0 {
		maps.DeleteFunc(c.turns, func(_ string, q turns) bool { return q.live(now) == nil })
	}
	if len(c.rates) > maxRates && request.Seq%1024 == 0 {
		maps.DeleteFunc(c.rates, c.forgotten(now))
	}
	return r
}

// maxRates is from how many on rates are forgotten that may be.
const maxRates = 10000

// Announce tells every instance with its next response that the snapshot has changed.
func (c *ReferenceCounters) Announce() { c.revision++ }

// readEvery is how often the store is read for directives, by one instance for all.
const readEvery = int64(time.Second / time.Microsecond)

// forget is how long the sequence of an instance that went silent is remembered, so that no message of it can come later.
const forget = int64(10 * time.Minute / time.Microsecond)

func (c *ReferenceCounters) grant(now int64, instance string, g Group) Grant {
	amounts, left := make([]int64, len(g)), make([]int64, len(g))
	for i := range g {
		n := &g[i]
		var wait int64
		if amounts[i], wait = c.available(now, n); amounts[i] < n.Min {
			out := Grant{Refused: i, Wait: wait, Learning: n.Kind == Slots && now < c.learnEnds}
			if n.Tenant != "" && !out.Learning {
				c.turns[n.Key], out.Turn = c.turnsOf(now, n).refused(now, n, wait)
			}
			return out
		}
	}
	several := false
	for i := range g {
		n := &g[i]
		if q := c.turnsOf(now, n); q != nil {
			_, among := q.ahead(now, n.Tenant)
			several = several || among
			c.turns[n.Key] = q.served(now, n.Tenant)
		}
		switch n.Kind {
		case Tokens:
			if amounts[i] > 0 {
				r := c.rate(now, n)
				r.grant(now, n, amounts[i])
				c.rates[n.Key] = r
			}
		case Slots:
			left[i] = n.Cap - c.held(now, n.Key) - amounts[i]
			c.hold(n.Key, instance, c.slots[n.Key][instance]+amounts[i])
		}
	}
	return Grant{Amounts: amounts, Left: left, Refused: -1, Shared: several}
}

// available returns how much of the need can be granted, and where that is too little, when more can be.
func (c *ReferenceCounters) available(now int64, n *Need) (amount, wait int64) {
	ahead, _ := c.turnsOf(now, n).ahead(now, n.Tenant)
	if n.Kind == Slots {
		if now < c.learnEnds {
			return 0, c.learnEnds - now
		}
		return max(0, min(n.Max, n.Cap-c.held(now, n.Key)-ahead)), slotWait
	}
	r := c.rate(now, n)
	return r.tokens(now, n, ahead)
}

// held sums the holdings of the instances whose lease has not ended, and forgets those of the others.
func (c *ReferenceCounters) held(now int64, key string) (sum int64) {
	for instance, slots := range c.slots[key] {
		if c.instances[instance].ends > now {
			sum += slots
		} else {
			delete(c.slots[key], instance)
		}
	}
	return sum
}

// slotWait is when to ask again for a slot: no one knows when a call ends.
const slotWait = int64(50 * time.Millisecond / time.Microsecond)

func (c *ReferenceCounters) hold(key, instance string, slots int64) {
	if slots == 0 {
		delete(c.slots[key], instance)
		if len(c.slots[key]) == 0 {
			delete(c.slots, key)
		}
		return
	}
	if c.slots[key] == nil {
		c.slots[key] = map[string]int64{}
	}
	c.slots[key][instance] = slots
}

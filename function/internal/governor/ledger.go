package governor

import (
	"maps"
	"time"
)

// A Ledger is the fleet's account of every limit: the reference for what [Counters] do, wherever they are kept, and itself
// the counters of a server that stands alone. It is a pure state machine: time comes in as microseconds of one clock.
//
// A rate is kept as two bounds of what may have been used of it, slots as the absolute holding of each instance. Every draw
// is checked whole before anything is written.
type Ledger struct {
	epoch     int64
	opened    int64 // when this epoch began
	first     bool  // no epoch was before it: nothing can be out there
	learnEnds int64 // until then only declared holdings count
	rates     map[string]rate
	slots     map[string]map[string]int64 // key, instance
	instances map[string]presence
	turns     map[string]turns // key
	news      int64            // counts announcements
	read      int64            // when an instance was last sent to read the store
}

type presence struct {
	ends int64 // of its lease
	seq  int64 // of its last message
}

// NewLedger returns an empty ledger without an epoch: see [Ledger.Open].
func NewLedger() *Ledger {
	return &Ledger{rates: map[string]rate{}, slots: map[string]map[string]int64{}, instances: map[string]presence{}, turns: map[string]turns{}}
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
	Least  int64   // without so many the whole group is refused
	Most   int64   // so many if there are
	Hold   int64   // of tokens: µs after the message by which they are used
}

// A Group is all or nothing.
type Group []Need

// A Holding is how many slots an instance holds, by its own account.
type Holding struct {
	Key   string
	Slots int64
}

// A Draw is one message of an instance to the counters.
type Draw struct {
	Instance string
	Seq      int64 // greater than in any message before: an older one that comes late changes nothing
	Epoch    int64 // that the instance knows
	Lease    int64 // µs for which the holdings stay without another message
	Holdings []Holding
	Full     bool // the holdings are all that the instance has
	Groups   []Group
}

// A Status says how a draw was taken.
type Status int

// Statuses of a [Reply].
const (
	Done   Status = iota
	Closed        // the ledger has no epoch: it is new, or was lost
	Stale         // an older message than the last one, or another epoch; nothing was done
	Newer         // a newer version keeps the ledger, in a form that this one does not know; nothing was done
)

// A Reply answers a draw.
type Reply struct {
	Status    Status
	Epoch     int64
	Instances int64   // present now; 0 where they were not counted
	News      int64   // announcements in this epoch: another number than the last one says that the [Bulletin] has changed
	Read      bool    // it is this instance's turn to read the orders from the store
	Lapsed    bool    // with Stale: by the counters' clock the instance's lease had ended, and it must declare all that it holds
	Granted   []Grant // one for each group
}

// A Grant answers a group.
type Grant struct {
	Amounts []int64 // one for each need; nil where the group is refused
	Left    []int64 // one for each need: slots that no one holds
	Refused int     // which need refused
	Wait    int64   // µs after which it is worth asking again
	Learns  bool    // it is refused because the ledger was lost and learns what is held
	Turn    bool    // it is refused, and its tenant has a turn when the wait is over
	Several bool    // several tenants ask for more of one of the limits than there is
}

// Open begins an epoch unless one has begun, and returns the one in force. In the first one of all the full budget is there
// at once; after a loss what was granted before is still out there, so for one lease holdings are only declared, and every
// rate starts empty.
func (l *Ledger) Open(now, epoch int64, first bool, lease int64) int64 {
	if l.epoch == 0 {
		l.epoch, l.opened, l.first = epoch, now, first
		if !first {
			l.learnEnds = now + lease
		}
	}
	return l.epoch
}

// Draw takes one message.
func (l *Ledger) Draw(now int64, d *Draw) Reply {
	if l.epoch == 0 {
		return Reply{Status: Closed}
	}
	before := l.instances[d.Instance]
	if d.Epoch != l.epoch || d.Seq <= before.seq {
		return Reply{Status: Stale, Epoch: l.epoch}
	}
	if before.seq > 0 && before.ends <= now && !d.Full {
		return Reply{Status: Stale, Epoch: l.epoch, Lapsed: true} // what it held may count for nothing by now
	}
	l.instances[d.Instance] = presence{now + d.Lease, d.Seq}
	for _, h := range d.Holdings {
		l.hold(h.Key, d.Instance, h.Slots)
	}
	r := Reply{Epoch: l.epoch, News: l.news, Read: now-l.read >= readEvery || now < l.read, Granted: make([]Grant, len(d.Groups))}
	if r.Read {
		l.read = now
	}
	for i, g := range d.Groups {
		r.Granted[i] = l.grant(now, d.Instance, g)
	}
	if len(d.Groups) == 0 || d.Seq%16 == 1 { // counting costs, and can wait
		for name, p := range l.instances {
			if p.ends > now {
				r.Instances++
			} else if p.ends+forget < now {
				delete(l.instances, name)
			}
		}
	}
	if d.Seq%1024 == 0 {
		maps.DeleteFunc(l.turns, func(_ string, q turns) bool { return q.live(now) == nil })
	}
	if len(l.rates) > mostRates && d.Seq%1024 == 0 {
		maps.DeleteFunc(l.rates, l.forgotten(now))
	}
	return r
}

// mostRates is from how many on rates are forgotten that may be.
const mostRates = 10000

// Announce tells every instance with its next reply that the bulletin has changed.
func (l *Ledger) Announce() { l.news++ }

// readEvery is how often the store is read for orders, by one instance for all.
const readEvery = int64(time.Second / time.Microsecond)

// forget is how long the sequence of an instance that went silent is remembered, so that no message of it can come later.
const forget = int64(10 * time.Minute / time.Microsecond)

func (l *Ledger) grant(now int64, instance string, g Group) Grant {
	amounts, left := make([]int64, len(g)), make([]int64, len(g))
	for i := range g {
		n := &g[i]
		var wait int64
		if amounts[i], wait = l.available(now, n); amounts[i] < n.Least {
			out := Grant{Refused: i, Wait: wait, Learns: n.Kind == Slots && now < l.learnEnds}
			if n.Tenant != "" && !out.Learns {
				l.turns[n.Key], out.Turn = l.turnsOf(now, n).refused(now, n, wait)
			}
			return out
		}
	}
	several := false
	for i := range g {
		n := &g[i]
		if q := l.turnsOf(now, n); q != nil {
			_, among := q.ahead(now, n.Tenant)
			several = several || among
			l.turns[n.Key] = q.served(now, n.Tenant)
		}
		switch n.Kind {
		case Tokens:
			if amounts[i] > 0 {
				r := l.rate(now, n)
				r.grant(now, n, amounts[i])
				l.rates[n.Key] = r
			}
		case Slots:
			left[i] = n.Cap - l.held(now, n.Key) - amounts[i]
			l.hold(n.Key, instance, l.slots[n.Key][instance]+amounts[i])
		}
	}
	return Grant{Amounts: amounts, Left: left, Refused: -1, Several: several}
}

// available returns how much of the need can be granted, and where that is too little, when more can be.
func (l *Ledger) available(now int64, n *Need) (amount, wait int64) {
	ahead, _ := l.turnsOf(now, n).ahead(now, n.Tenant)
	if n.Kind == Slots {
		if now < l.learnEnds {
			return 0, l.learnEnds - now
		}
		return max(0, min(n.Most, n.Cap-l.held(now, n.Key)-ahead)), slotWait
	}
	r := l.rate(now, n)
	return r.tokens(now, n, ahead)
}

// held sums the holdings of the instances whose lease has not ended, and forgets those of the others.
func (l *Ledger) held(now int64, key string) (sum int64) {
	for instance, slots := range l.slots[key] {
		if l.instances[instance].ends > now {
			sum += slots
		} else {
			delete(l.slots[key], instance)
		}
	}
	return sum
}

// slotWait is when to ask again for a slot: no one knows when a call ends.
const slotWait = int64(50 * time.Millisecond / time.Microsecond)

func (l *Ledger) hold(key, instance string, slots int64) {
	if slots == 0 {
		delete(l.slots[key], instance)
		if len(l.slots[key]) == 0 {
			delete(l.slots, key)
		}
		return
	}
	if l.slots[key] == nil {
		l.slots[key] = map[string]int64{}
	}
	l.slots[key][instance] = slots
}

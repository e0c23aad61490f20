package governor

import (
	"maps"
	"strings"
	"time"
)

// A Ledger is the fleet's account of every limit: the reference for what [Counters] do, wherever they are kept, and itself
// the counters of a server that stands alone. It is a pure state machine: time comes in as microseconds of one clock.
//
// A rate is kept as GCRA's theoretical arrival time (ITU-T I.371), slots as the absolute holding of each instance. Every
// draw is checked whole before anything is written.
type Ledger struct {
	epoch     int64
	opened    int64 // when this epoch began
	first     bool  // no epoch was before it: nothing can be out there
	learnEnds int64 // until then only declared holdings count
	arrivals  map[string]int64
	slots     map[string]map[string]int64 // key, instance
	instances map[string]presence
	news      int64 // counts announcements
	read      int64 // when an instance was last sent to read the store
}

type presence struct {
	ends int64 // of its lease
	seq  int64 // of its last message
}

// NewLedger returns an empty ledger without an epoch: see [Ledger.Open].
func NewLedger() *Ledger {
	return &Ledger{arrivals: map[string]int64{}, slots: map[string]map[string]int64{}, instances: map[string]presence{}}
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
	Kind   Kind
	Period int64 // of tokens: µs from one to the next
	Slack  int64 // of tokens: µs that the arrival may lie ahead of its theoretical time
	Cap    int64 // of slots
	Least  int64 // without so many the whole group is refused
	Most   int64 // so many if there are
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
	if len(l.arrivals) > mostArrivals && d.Seq%1024 == 0 {
		maps.DeleteFunc(l.arrivals, func(key string, t int64) bool {
			return strings.HasPrefix(key, Forgettable) && max(t, l.opened)+forget < now
		})
	}
	return r
}

// mostArrivals is from how many on rates are forgotten that may be.
const mostArrivals = 10000

// Announce tells every instance with its next reply that the bulletin has changed.
func (l *Ledger) Announce() { l.news++ }

// readEvery is how often the store is read for orders, by one instance for all.
const readEvery = int64(time.Second / time.Microsecond)

// forget is how long the sequence of an instance that went silent is remembered, so that no message of it can come later.
const forget = int64(10 * time.Minute / time.Microsecond)

func (l *Ledger) grant(now int64, instance string, g Group) Grant {
	amounts, left := make([]int64, len(g)), make([]int64, len(g))
	for i, n := range g {
		var wait int64
		if amounts[i], wait = l.available(now, n); amounts[i] < n.Least {
			return Grant{Refused: i, Wait: wait, Learns: n.Kind == Slots && now < l.learnEnds}
		}
	}
	for i, n := range g {
		switch n.Kind {
		case Tokens:
			l.arrivals[n.Key] = max(l.arrival(now, n), now) + amounts[i]*n.Period
		case Slots:
			left[i] = n.Cap - l.held(now, n.Key) - amounts[i]
			l.hold(n.Key, instance, l.slots[n.Key][instance]+amounts[i])
		}
	}
	return Grant{Amounts: amounts, Left: left, Refused: -1}
}

// available returns how much of the need can be granted, and where that is too little, when more can be.
func (l *Ledger) available(now int64, n Need) (amount, wait int64) {
	if n.Kind == Slots {
		if now < l.learnEnds {
			return 0, l.learnEnds - now
		}
		return max(0, min(n.Most, n.Cap-l.held(now, n.Key))), slotWait
	}
	// k tokens conform if the arrival of the last of them is at most Slack ahead.
	ahead := max(l.arrival(now, n)-now, 0)
	if room := n.Slack - ahead; room >= 0 {
		amount = min(n.Most, room/n.Period+1)
	}
	return amount, ahead + (n.Least-1)*n.Period - n.Slack
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

// arrival is the theoretical arrival time of the next token. Of a rate that this epoch has not seen it is that of one used
// up as the epoch began, unless nothing was before it. It lies no further ahead than that of a rate used up now, unless the
// clock was set back.
func (l *Ledger) arrival(now int64, n Need) int64 {
	t, ok := l.arrivals[n.Key]
	if !ok && !l.first {
		t = l.opened + n.Slack + n.Period
	}
	if most := now + n.Slack + n.Period; t > most {
		l.arrivals[n.Key] = most // or else it would stay ahead until the clock is where it was
		return most
	}
	return t
}

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

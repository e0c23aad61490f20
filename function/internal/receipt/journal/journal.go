// Package journal writes the record. A [Journal] writes the chain of one instance, and [Anchor] a root over the chains of all. A [Recorder]
// does both for as long as an instance runs.
package journal

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// Options configure a [Journal]. Instance and Store must be there.
type Options struct {
	Instance string // unlike any other process's
	Tag      uint32 // with which the instance's ids are made; a random one where it is 0
	Store    receipt.Store
	// Signer returns the operator's key, as it is now; nil leaves the chain unsigned. Where it is another one, the chain ends, and the next
	// is vouched for by that.
	Signer     func() receipt.Signer
	Roots      RootSigner                  // who vouches for roots; nil: who vouches for the chain
	Hasher     *receipt.Hasher             // of arguments and results; nil hashes without a key
	MaxWaiting int                         // receipts that may wait for the store; default 20 000
	MaxBytes   int64                       // memory that they may take; default 32 MiB
	Announce   func(receipt.Head)          // is told how far the chain has come, four times a second at most beside each write; must not block
	Keep       func(context.Context) error // puts the newest roots where the store's owner can't change them; nil: nowhere
	Now        func() time.Time
	Logger     *slog.Logger
}

// A Journal writes the chain of one instance. Receipts are buffered for a second, or until there are 500, and then stored together
// while the next ones come in. No timer is needed for that: an instance that was frozen in between writes at its next receipt.
// It is safe for concurrent use.
type Journal struct {
	opts Options
	ctx  context.Context // of the writes
	stop context.CancelFunc

	mu        sync.Mutex
	waiting   queue // not yet with the writer
	held      held  // refusals, which more may be counted in
	free      pool
	oldest    time.Time // when the first of them came
	timer     *time.Timer
	room      int       // receipts that may still come
	bytes     int64     // that those which are not stored take
	missing   loss      // that the chain does not tell yet
	told      int64     // of what was lost, by the chains before
	unsealed  int64     // receipts that are in no segment yet
	appended  int64     // receipts that were pushed to waiting, ever
	stored    int64     // of those
	arrivals  []arrival // of what the writer has, and is not stored
	commits   []commit
	head      receipt.Head
	announced time.Time
	writing   bool      // the writer runs
	asleep    bool      // it waits to try again
	retry     time.Time // until then
	wake      chan struct{}
	tell      sync.Mutex // one announcement at a time
	closing   bool
	deadline  time.Time     // of closing, by the machine's clock; zero is none
	reserve   time.Duration // before it, for the end of the chain
	finished  chan struct{}
	last      *receipt.Receipt // the closing one
	stats     Stats

	// The writer's own.
	chain   *chain
	signer  receipt.Signer // who vouches for it
	ending  bool           // what is made is its end, as the operator has another key
	taken   queue
	sealed  *receipt.Segment // made and not known to be stored
	many    int              // receipts that are in it
	wrote   time.Time
	took    time.Duration // the last write
	faults  int
	dropped int64
}

// A loss is what the queue had no room for.
type loss struct {
	n           int64
	first, last time.Time
}

// An arrival is when the first of a run of receipts came, up to the number of the last.
type arrival struct {
	upTo  int64
	since time.Time
}

type commit struct {
	upTo int64
	done chan error
}

const (
	batch        = 500
	window       = time.Second            // how long a receipt is buffered
	writesApart  = 25 * time.Millisecond  // so that no instance writes more than 40 times a second
	writeTimeout = 10 * time.Second       // for one write
	firstBackoff = 100 * time.Millisecond // after a write that failed
	maxBackoff   = 5 * time.Second
	headsApart   = 250 * time.Millisecond
)

// Open returns a journal. It asks nothing of the store before there is a receipt.
func Open(o Options) (*Journal, error) {
	if o.Instance == "" || o.Store == nil {
		return nil, errors.New("a journal needs the name of the instance and a store")
	}
	for o.Tag == 0 {
		o.Tag = rand.Uint32()
	}
	if o.MaxWaiting == 0 {
		o.MaxWaiting = 20000
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 32 << 20
	}
	if o.Signer == nil {
		o.Signer = func() receipt.Signer { return nil }
	}
	if o.Roots == nil {
		o.Roots = func(time.Time) (receipt.Signer, bool) { return o.Signer(), true }
	}
	if o.Announce == nil {
		o.Announce = func(receipt.Head) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	j := &Journal{opts: o, room: o.MaxWaiting, wake: make(chan struct{}, 1), finished: make(chan struct{})}
	j.ctx, j.stop = context.WithCancel(context.Background())
	if err := j.start(); err != nil {
		return nil, err
	}
	return j, nil
}

// start starts a chain.
func (j *Journal) start() error {
	signer := j.opts.Signer()
	c, err := newChain(j.opts.Instance, j.opts.Tag, idOf(signer), j.opts.Hasher.ID(), j.opts.Now())
	if err != nil {
		return err
	}
	j.chain, j.signer = c, signer
	j.told = j.stats.Lost - j.missing.n
	for _, q := range []*queue{&j.taken, &j.waiting} {
		for r := range q.all() {
			if r.Kind == receipt.Lost { // which this chain will tell
				j.told -= r.More
			}
		}
	}
	j.head = receipt.Head{Chain: c.name, Instance: j.opts.Instance, Hash: c.genesis, To: c.to}
	return nil
}

// idOf names the operator's key, "" for none.
func idOf(s receipt.Signer) string {
	if s == nil {
		return ""
	}
	return receipt.KeyID(s.Public())
}

// NewID makes the id of a request: the id of its receipts.
func (j *Journal) NewID() string { return receipt.NewID(j.opts.Tag, j.opts.Now()) }

// Hash hashes arguments or a result of a tenant, as they were on the wire, for a receipt of this journal.
func (j *Journal) Hash(tenant string, raw []byte) receipt.Hash {
	return j.opts.Hasher.Hash(tenant, raw)
}

// Append records a receipt. Of refusals the first of each tenant, principal, reason and limit is kept until the next write that
// time brings about, at most for a second, and the others are counted in it. If there is no room, the receipt is lost, and the
// chain tells how many were.
func (j *Journal) Append(r receipt.Receipt) {
	now := j.opts.Now()
	r.Clip()
	if r.Time.IsZero() {
		r.Time = now
	}
	j.mu.Lock()
	if r.Kind != receipt.Refused || !j.held.count(&r) {
		j.add(now, &r)
	}
	j.attend(now, false)
	head, ok := j.news(now)
	j.mu.Unlock()
	if ok {
		j.announce(head)
	}
}

// Commit records a receipt and waits until it is stored: a strict tool may be called when there is no error. With the context's
// error the receipt may be stored later. [ErrFull] and [ErrClosed] say that it will not be.
func (j *Journal) Commit(ctx context.Context, r receipt.Receipt) error {
	now := j.opts.Now()
	r.Clip()
	if r.Time.IsZero() {
		r.Time = now
	}
	j.mu.Lock()
	if j.closing || !j.fits(sizeOf(&r)) {
		err := receipt.ErrFull
		if j.closing {
			err = receipt.ErrClosed
		}
		j.mu.Unlock()
		return err
	}
	j.tellLoss(now)
	j.push(now, &r)
	c := commit{j.appended, make(chan error, 1)}
	j.commits = append(j.commits, c)
	j.attend(now, true)
	head, ok := j.news(now)
	j.mu.Unlock()
	if ok {
		j.announce(head)
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// MaxWaiting is how many receipts may wait for the store.
func (j *Journal) MaxWaiting() int { return j.opts.MaxWaiting }

func (j *Journal) fits(size int64) bool { return j.room > 0 && j.bytes+size <= j.opts.MaxBytes }

// add takes a receipt into the queue, or a refusal among those that others may be counted in.
func (j *Journal) add(now time.Time, r *receipt.Receipt) {
	size := sizeOf(r)
	switch {
	case j.closing:
		j.stats.Late++
	case !j.fits(size):
		if j.missing.n == 0 {
			j.missing.first = now
			j.opts.Logger.Error("receipts are being lost: the store does not take them, and the queue is full", "waiting", j.opts.MaxWaiting-j.room)
		}
		j.missing.n++
		j.missing.last = now
		j.stats.Lost++
	case r.Kind == receipt.Refused:
		j.tellLoss(now)
		j.held.add(now, r)
		j.count(now, size)
	default:
		j.tellLoss(now)
		j.push(now, r)
	}
}

func (j *Journal) push(now time.Time, r *receipt.Receipt) {
	j.waiting.push(r, &j.free)
	j.appended++
	j.count(now, sizeOf(r))
}

func (j *Journal) count(now time.Time, size int64) {
	j.room--
	j.bytes += size
	j.unsealed++
	j.stats.Appended++
	if j.oldest.IsZero() {
		j.oldest = now
	}
}

// tellLoss lets the chain say what was lost, where there is room again.
func (j *Journal) tellLoss(now time.Time) {
	if j.missing.n == 0 {
		return
	}
	j.push(now, &receipt.Receipt{
		ID: receipt.NewID(j.opts.Tag, now), Time: j.missing.first, Kind: receipt.Lost, More: j.missing.n, Duration: j.missing.last.Sub(j.missing.first),
	})
	j.missing = loss{}
}

// attend sees to it that what is due is written.
func (j *Journal) attend(now time.Time, urgent bool) {
	switch {
	case j.writing:
		if j.asleep && !now.Before(j.retry) {
			j.nudge()
		}
	case urgent || j.due(now):
		j.writing = true
		go j.write()
	case j.timer == nil && !j.oldest.IsZero():
		// A convenience for instances that run: one that is frozen writes at its next receipt.
		j.timer = time.AfterFunc(window-now.Sub(j.oldest), j.tick)
	}
}

// news tells whether the head is to be announced.
func (j *Journal) news(now time.Time) (h receipt.Head, ok bool) {
	if now.Sub(j.announced) < headsApart {
		return h, false
	}
	j.announced = now
	return j.current(now), true
}

// due tells whether to write: there is a batch, or something waits for so long.
func (j *Journal) due(now time.Time) bool { return j.waiting.n >= batch || j.late(now) }

func (j *Journal) late(now time.Time) bool {
	return !j.oldest.IsZero() && now.Sub(j.oldest) >= window
}

func (j *Journal) tick() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.timer = nil
	now := j.opts.Now()
	if !j.late(now) && !j.oldest.IsZero() && !j.writing {
		j.timer = time.AfterFunc(max(window-now.Sub(j.oldest), window/100), j.tick)
		return
	}
	j.attend(now, false)
}

func (j *Journal) nudge() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Head returns how far the chain has come.
func (j *Journal) Head() receipt.Head {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.current(j.opts.Now())
}

func (j *Journal) current(now time.Time) receipt.Head {
	h := j.head
	h.Appended, h.Lost, h.Time = h.Seq+j.unsealed, j.stats.Lost-j.told, receipt.Truncate(now)
	return h
}

func (j *Journal) announce(h receipt.Head) {
	j.tell.Lock()
	defer j.tell.Unlock()
	j.opts.Announce(h)
}

// Stats are figures of a journal.
type Stats struct {
	Appended  int64         // receipts taken
	Counted   int64         // refusals that were counted in others
	Stored    int64         // receipts in the store, those of the chain itself among them
	Waiting   int           // receipts that are not, at most [Options.MaxWaiting]
	Oldest    time.Duration // for how long the first of them has waited
	Lost      int64         // receipts for which there was no room
	Late      int64         // receipts that came after the end of the chain, and are in none
	Writes    int64         // of segments that the store took
	Failures  int64         // writes that failed
	LastError error         // of the last write, nil once one succeeds
}

// Stats returns the figures.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.stats
	s.Counted, s.Waiting = j.held.counted, j.opts.MaxWaiting-j.room
	oldest := j.oldest
	if len(j.arrivals) > 0 {
		oldest = j.arrivals[0].since
	}
	if !oldest.IsZero() {
		s.Oldest = j.opts.Now().Sub(oldest)
	}
	return s
}

package journal

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// write is the writer. It runs while there is something to write, and there is one at a time: what comes in meanwhile goes into
// the next segment, so that a slow store gets greater ones.
func (j *Journal) write() {
	for {
		hurry, ok := j.gather()
		if !ok {
			return
		}
		err := j.put(hurry)
		if wait, again := j.settle(err); again {
			j.sleep(wait)
		}
	}
}

// gather takes what is due from the queue; without anything to write it ends the writer.
func (j *Journal) gather() (hurry, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.opts.Now()
	if j.ctx.Err() != nil {
		j.finish()
		return false, false
	}
	if j.sealed != nil {
		return j.closing, true
	}
	if j.closing || j.late(now) {
		for i := range j.held.receipts {
			j.waiting.push(&j.held.receipts[i], &j.free)
			j.appended++
		}
		j.held.clear()
	}
	if j.closing {
		j.tellLoss(now)
		// Two writes may still be to come: one that is on its way, and the end.
		if !j.deadline.IsZero() && time.Until(j.deadline) < max(j.reserve, j.took*5/2) {
			j.giveUp()
		}
	}
	if j.closing || j.due(now) || len(j.commits) > 0 || j.taken.n > 0 {
		if j.waiting.n > 0 {
			j.arrivals = append(j.arrivals, arrival{j.appended, j.oldest})
		}
		j.taken.move(&j.waiting)
		j.oldest = j.held.since
	}
	switch {
	case j.taken.n > 0:
		return j.closing, true
	case !j.closing:
		j.writing = false
		j.attend(now, false)
		return false, false
	case j.head.Seq > 0 || j.dropped > 0: // all is stored but the end
		return true, true
	}
	j.finish()
	return false, false
}

// giveUp drops what is in no segment yet: the rest of the time is for saying how much that was.
func (j *Journal) giveUp() {
	n := j.taken.n + j.waiting.n
	if n == 0 {
		return
	}
	for _, q := range []*queue{&j.taken, &j.waiting} {
		for r := range q.all() {
			if r.Kind == receipt.Lost { // for which there was no room before
				j.dropped += r.More
			} else {
				j.dropped++
				j.stats.Lost++
			}
		}
		*q = queue{}
	}
	j.arrivals = nil
	j.unsealed -= int64(n)
	j.room += n
	j.bytes = 0
	j.last.More = j.dropped
	j.answer(j.appended, receipt.ErrClosed)
	j.opts.Logger.Error("receipts are given up: the instance stops and the store is too slow or away", "receipts", n)
}

// put makes the next segment, unless one is waiting to be stored, and stores it.
func (j *Journal) put(hurry bool) error {
	ctx, cancel := context.WithTimeout(j.ctx, writeTimeout)
	defer cancel()
	if j.sealed == nil && !hurry && idOf(j.opts.Signer()) != j.chain.certificate.Operator {
		j.ending = true
	}
	if err := j.chain.open(ctx, j.signer); err != nil {
		return err
	}
	if j.sealed == nil {
		from, closing := &j.taken, (*receipt.Receipt)(nil)
		switch {
		case j.ending:
			from, closing = &queue{}, j.closed()
		case hurry:
			closing = j.last
		}
		sealed, many := j.chain.seal(from, closing)
		j.mu.Lock()
		j.sealed, j.many = sealed, many
		h := &j.chain.header
		j.head.Seq, j.head.Hash, j.head.To = h.Last, h.Head, h.To
		if h.Closed {
			j.head.State = receipt.Ended
		}
		j.unsealed -= int64(many)
		head := j.current(j.opts.Now())
		j.announced = head.Time
		j.mu.Unlock()
		j.announce(head)
	}
	if apart := writesApart - time.Since(j.wrote); apart > 0 && !hurry {
		time.Sleep(apart)
	}
	j.wrote = time.Now()
	err := j.opts.Store.PutSegment(ctx, j.sealed)
	j.took = time.Since(j.wrote)
	return err
}

// closed is the receipt that ends a chain.
func (j *Journal) closed() *receipt.Receipt {
	now := j.opts.Now()
	return &receipt.Receipt{ID: receipt.NewID(j.opts.Tag, now), Time: now, Kind: receipt.Closed}
}

// settle notes how a write went, and how long to wait before it is tried again.
func (j *Journal) settle(err error) (wait time.Duration, again bool) {
	if err == nil {
		size := int64(0)
		left := j.many
		for r := range j.taken.all() {
			if left--; left < 0 {
				break
			}
			size += sizeOf(r)
		}
		freed := j.taken.drop(j.many)
		j.mu.Lock()
		defer j.mu.Unlock()
		j.free.put(freed)
		h := &j.chain.header
		j.room += j.many
		j.bytes -= size
		j.stored += int64(j.many)
		for len(j.arrivals) > 0 && j.arrivals[0].upTo <= j.stored {
			j.arrivals = j.arrivals[1:]
		}
		j.stats.Stored += h.Last - h.First + 1
		j.stats.Writes++
		j.head.Stored = h.Last
		j.stats.LastError = nil
		j.answer(j.stored, nil)
		if j.faults > 0 {
			j.opts.Logger.Info("receipts are stored again", "waiting", j.opts.MaxWaiting-j.room)
		}
		j.sealed, j.many, j.faults = nil, 0, 0
		switch {
		case j.ending:
			return j.succeed()
		case h.Closed:
			j.finish()
			j.stop() // the writer ends at its next look
		}
		return 0, false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ctx.Err() != nil {
		return 0, false
	}
	j.stats.Failures++
	j.stats.LastError = err
	if errors.Is(err, receipt.ErrConflict) {
		j.fork()
	} else if j.faults == 0 {
		j.opts.Logger.Error("receipts can't be stored, and wait", "error", err)
	}
	wait = min(firstBackoff<<min(j.faults, 10), maxBackoff)
	if j.closing {
		wait = firstBackoff
	}
	j.faults++
	wait = time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64()))
	j.asleep, j.retry = true, j.opts.Now().Add(wait)
	return wait, true
}

// succeed goes on with the next chain once the end of the one before is stored.
func (j *Journal) succeed() (wait time.Duration, again bool) {
	j.ending = false
	old := j.chain
	if err := j.start(); err != nil {
		j.stats.LastError = err
		return firstBackoff, true
	}
	j.opts.Logger.Info("the operator's key has changed, and receipts go on in a new chain for which it vouches",
		"chain", old.name, "operator", old.certificate.Operator, "new", j.chain.name, "now", j.chain.certificate.Operator)
	return 0, false
}

// fork goes on with a new chain, where another process has written a segment into this one, as the copy of a frozen process
// would: what is not stored begins the new one.
func (j *Journal) fork() {
	old := j.chain.name
	if err := j.start(); err != nil {
		j.stats.LastError = err
		return
	}
	j.unsealed += int64(j.many)
	j.sealed, j.many, j.ending = nil, 0, false
	j.opts.Logger.Error("another process has written into the chain of this one, which goes on with a new chain", "chain", old, "new", j.chain.name)
}

// sleep waits, unless it is woken because the time has passed by the journal's clock, or because the instance stops.
func (j *Journal) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-j.wake:
	case <-j.ctx.Done():
	}
	j.mu.Lock()
	j.asleep = false
	j.mu.Unlock()
}

// answer tells those who wait for receipts up to a number.
func (j *Journal) answer(upTo int64, err error) {
	n := 0
	for n < len(j.commits) && j.commits[n].upTo <= upTo {
		j.commits[n].done <- err
		n++
	}
	j.commits = append(j.commits[:0], j.commits[n:]...)
}

// finish ends the journal.
func (j *Journal) finish() {
	select {
	case <-j.finished:
		return
	default:
	}
	j.writing = false
	j.answer(j.appended, receipt.ErrClosed)
	close(j.finished)
}

// Close stores what waits, and ends the chain. While there is time for little more than that, at the latest when a quarter of the
// context's time is left, it gives up what is not in a segment yet, so that the chain can still say how much that was. The error
// tells how many receipts are not stored.
func (j *Journal) Close(ctx context.Context) error {
	j.mu.Lock()
	if !j.closing {
		j.closing = true
		j.last = j.closed()
		if deadline, ok := ctx.Deadline(); ok {
			j.deadline, j.reserve = deadline, time.Until(deadline)/4
		}
		if j.timer != nil {
			j.timer.Stop()
		}
		if !j.writing {
			j.writing = true
			go j.write()
		}
		j.nudge()
	}
	head := j.current(j.opts.Now())
	j.mu.Unlock()
	j.announce(head)

	select {
	case <-j.finished:
	case <-ctx.Done():
		j.stop()
		select {
		case <-j.finished:
		case <-time.After(100 * time.Millisecond): // a store that does not heed its context
		}
	}
	return j.outcome()
}

func (j *Journal) outcome() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	left := int64(j.opts.MaxWaiting - j.room)
	switch {
	case left > 0:
		return fmt.Errorf("%d receipts are not stored, and %d were given up: %w", left, j.dropped, errors.Join(j.stats.LastError, receipt.ErrClosed))
	case j.dropped > 0:
		return fmt.Errorf("%d receipts were given up, and the chain says so", j.dropped)
	case j.head.Seq > 0 && j.head.State != receipt.Ended || j.sealed != nil:
		return fmt.Errorf("all receipts are stored, but not the end of the chain: %w", errors.Join(j.stats.LastError, receipt.ErrClosed))
	}
	return nil
}

package telemetry

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// maxQueued is how much a queue holds, in bytes, before it drops.
const maxQueued = 4 << 20

// A queue writes lines to something that may be slow, beside those who have something to say: a pipe that nobody empties costs
// lines and no time.
type queue struct {
	out  io.Writer
	lost atomic.Int64

	mu      sync.Mutex
	waiting []byte
	spare   []byte
	closed  bool
	wake    chan struct{}
	closing chan struct{}
	idle    chan struct{} // closed when the writer has ended
}

func newQueue(out io.Writer) *queue {
	q := &queue{out: out, wake: make(chan struct{}, 1), closing: make(chan struct{}), idle: make(chan struct{})}
	go q.run()
	return q
}

// add takes one line.
func (q *queue) add(line []byte) {
	q.mu.Lock()
	if q.closed || len(q.waiting)+len(line) > maxQueued {
		q.mu.Unlock()
		q.lost.Add(1)
		return
	}
	first := len(q.waiting) == 0
	q.waiting = append(q.waiting, line...)
	q.mu.Unlock()
	if first {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

func (q *queue) run() {
	defer close(q.idle)
	for open := true; open; {
		select {
		case <-q.wake:
		case <-q.closing:
			open = false
		}
		q.mu.Lock()
		lines := q.waiting
		q.waiting, q.spare = q.spare[:0], nil
		q.mu.Unlock()
		if len(lines) > 0 {
			if n, err := q.out.Write(lines); err != nil {
				q.lost.Add(int64(countLines(lines[n:])))
			}
		}
		if cap(lines) > 256<<10 {
			lines = nil // a flood is no reason to keep its memory
		}
		q.mu.Lock()
		q.spare = lines[:0]
		q.mu.Unlock()
		if open {
			select {
			case <-time.After(pace):
			case <-q.closing:
			}
		}
	}
}

// pace is how long lines gather after others were written: one system call for each would cost more than all the rest of a
// record.
const pace = 5 * time.Millisecond

func countLines(b []byte) (n int) {
	for _, c := range b {
		if c == '\n' {
			n++
		}
	}
	return n
}

// close writes what waits, as far as the context's time allows.
func (q *queue) close(ctx context.Context) error {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.closing)
	}
	q.mu.Unlock()
	select {
	case <-q.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(closeTimeout):
		return context.DeadlineExceeded
	}
}

// closeTimeout bounds the end where the context does not.
const closeTimeout = 5 * time.Second

package streamhttp

import (
	"net/http"
	"sync"
	"time"
)

// events are a stream of server-sent events. A goroutine of its own writes them, so that a client that does not read holds up no tool:
// what such a client has no room for is dropped, but for the answer, which is the last event.
type events struct {
	exchange *exchange
	wake     chan struct{} // has one when there is something to do
	done     chan struct{} // closed when nothing writes any more

	mu      sync.Mutex
	pending [][]byte
	size    int // bytes of pending
	ended   bool
	alive   *time.Timer // for a sign of life
}

// maxPending bounds what waits for a client, in bytes.
const maxPending = 256 << 10

func newEvents(x *exchange) *events {
	e := &events{exchange: x, wake: make(chan struct{}, 1), done: make(chan struct{})}
	e.alive = time.AfterFunc(x.handler.opts.KeepAlive, func() { e.add(nil) })
	go e.write()
	return e
}

// add has an event written, or dropped; one of no data is a comment.
func (e *events) add(data []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.ended && e.size+len(data) <= maxPending {
		e.push(data)
	}
}

// last has the answer written, and returns when it is.
func (e *events) last(data []byte) {
	e.mu.Lock()
	if !e.ended {
		e.push(data)
	}
	e.mu.Unlock()
	e.close()
}

// push needs the lock.
func (e *events) push(data []byte) {
	e.pending = append(e.pending, data)
	e.size += len(data)
	e.poke()
}

func (e *events) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// close ends the stream: it returns when nothing writes any more.
func (e *events) close() {
	e.mu.Lock()
	e.ended = true
	e.alive.Stop()
	e.mu.Unlock()
	e.poke()
	<-e.done
}

// next takes what is pending, and tells whether more may come.
func (e *events) next() (data [][]byte, more bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	data, e.pending, e.size = e.pending, nil, 0
	if !e.ended {
		e.alive.Reset(e.exchange.handler.opts.KeepAlive)
	}
	return data, !e.ended
}

func (e *events) write() {
	defer close(e.done)
	w := e.exchange.w
	header := w.Header()
	header["Content-Type"] = typeEvents
	header["X-Accel-Buffering"] = noBuffering
	w.WriteHeader(http.StatusOK)
	broken := false
	for range e.wake {
		data, more := e.next()
		for _, d := range data {
			broken = broken || writeEvent(w, d) != nil
		}
		if !more {
			return
		}
	}
}

// writeEvent writes one server-sent event, or a comment where there is none.
func writeEvent(w http.ResponseWriter, data []byte) error {
	b := make([]byte, 0, len(data)+32)
	if data == nil {
		b = append(b, ':')
	} else {
		b = append(b, "event: message\ndata: "...)
		for _, c := range data {
			if c == '\n' || c == '\r' { // white space between JSON tokens; inside strings it is escaped
				c = ' '
			}
			b = append(b, c)
		}
	}
	b = append(b, "\n\n"...)
	rc := http.NewResponseController(w)
	rc.SetWriteDeadline(time.Now().Add(WriteTime(len(b))))
	if _, err := w.Write(b); err != nil {
		return err
	}
	err := rc.Flush()
	rc.SetWriteDeadline(time.Time{}) // the connection outlives this event, and this request
	return err
}

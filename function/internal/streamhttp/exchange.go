package streamhttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/mcp"
)

// An exchange is one request and its answer, as the engine sees it.
type exchange struct {
	w        http.ResponseWriter
	r        *http.Request
	handler  *Handler
	observed *Exchange
	owner    string // whose memory is taken
	taken    int64
	events   *events // nil while nothing is streamed
	mu       sync.Mutex
}

const (
	// peekSize is where an id is looked for, if the body is not to be read: at its begin, and for as long as peekTimeout.
	peekSize    = 16 << 10
	peekTimeout = time.Second

	// lateBody is after how long a body is late: it gives back then what was taken for its call.
	lateBody = time.Second
	// A body may take its time for bodyGrace. Then it must come at slowestBody bytes a second, within BodyTimeout.
	bodyGrace   = 5 * time.Second
	slowestBody = 16 << 10

	// uncounted is the size of a body or an answer that takes nothing of the budget: connections bound those.
	uncounted = 16 << 10
	// decoded is how many bytes the decoded form of a byte of JSON may take, as of [0,0,…] or [{},{},…].
	decoded = 16
)

// Body reads the body within the limits of size, time and memory. The memory for it grows with what arrives, not with what is
// announced.
func (x *exchange) Body(owner string, late mcp.Late) ([]byte, error) {
	if x.r.ContentLength == 0 {
		return nil, nil
	}
	x.owner = owner
	overdue := x.handler.startOverdue(late)
	defer x.handler.stopOverdue(overdue)
	begin := time.Now()
	rc := http.NewResponseController(x.w)
	timed := rc.SetReadDeadline(begin.Add(min(bodyGrace, x.handler.opts.BodyTimeout))) == nil
	body, err := newBody(x.r, x.handler.opts.MaxBody), error(nil)
	for whole := false; ; {
		if body, whole, err = x.read(body, x.handler.opts.MaxBody); err != nil {
			return body, err
		}
		if whole {
			break
		}
		if timed { // a writer without a connection has no deadlines, and needs none
			allowed := bodyGrace + time.Duration(len(body))*time.Second/slowestBody
			rc.SetReadDeadline(begin.Add(min(allowed, x.handler.opts.BodyTimeout)))
		}
		if len(body) < cap(body) {
			continue
		}
		if len(body) >= uncounted {
			if err := x.takeUpTo(2 * int64(len(body))); err != nil {
				return body, err
			}
		}
		body = append(body, 0)[:len(body)]
	}
	if timed {
		rc.SetReadDeadline(time.Time{}) // the call may take longer
	}
	if len(body) > uncounted {
		err = x.takeUpTo(decoded * int64(len(body)))
	}
	return body, err
}

// Peek reads the begin of a body that comes at once.
func (x *exchange) Peek() []byte {
	if x.r.ContentLength == 0 {
		return nil
	}
	http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(min(peekTimeout, x.handler.opts.BodyTimeout)))
	body := newBody(x.r, peekSize)
	for {
		var whole bool
		var err error
		if body, whole, err = x.read(body, peekSize); whole {
			return body
		} else if err != nil {
			x.w.Header()["Connection"] = []string{"close"} // the rest of the body is not read
			return body
		}
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
	}
}

// newBody has room for what is announced, within reason, and for one byte more, so that the end is met without growing.
func newBody(r *http.Request, limit int64) []byte {
	if r.ContentLength < 0 {
		return make([]byte, 0, 512)
	}
	return make([]byte, 0, min(r.ContentLength, uncounted, limit)+1)
}

// read reads what there is of the body, and tells whether that was all.
func (x *exchange) read(body []byte, limit int64) (_ []byte, whole bool, _ error) {
	for {
		n, err := x.r.Body.Read(body[len(body):min(int64(cap(body)), limit+1)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return body, false, &mcp.BodyError{Reason: mcp.TooLarge, Message: "the request's body is too large", Limit: fmt.Sprintf("%d bytes", limit)}
		case err == io.EOF:
			return body, true, nil
		case err != nil:
			return body, false, errors.New("the connection failed or was too slow")
		case int64(len(body)) != x.r.ContentLength:
			return body, false, nil
		}
	}
}

// overdue calls late when a body takes too long. Most bodies are there at once, so that these are kept for the next.
type overdue struct {
	timer *time.Timer
	late  mcp.Late
}

func (h *Handler) startOverdue(late mcp.Late) *overdue {
	o, _ := h.overdue.Get().(*overdue)
	if o == nil {
		o = &overdue{late: late}
		o.timer = time.AfterFunc(lateBody, func() { o.late.Late() })
		return o
	}
	o.late = late
	o.timer.Reset(lateBody)
	return o
}

func (h *Handler) stopOverdue(o *overdue) {
	if o.timer.Stop() { // else it is being used
		o.late = nil
		h.overdue.Put(o)
	}
}

// takeUpTo takes what is missing from so many bytes.
func (x *exchange) takeUpTo(n int64) error {
	if n <= x.taken {
		return nil
	}
	return x.take(n - x.taken)
}

// take takes memory for as long as the exchange lasts.
func (x *exchange) take(n int64) error {
	if err := x.handler.memory.take(x.owner, n); err != nil {
		return err
	}
	x.taken += n
	return nil
}

// Reply implements [mcp.Exchange].
func (x *exchange) Reply(status int, body []byte) error {
	if len(body) > uncounted {
		if err := x.take(int64(len(body))); err != nil {
			return err
		}
	}
	if x.r.ProtoMajor == 2 { // where a client's window can hold up an answer while its connection is fine
		http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(WriteTime(len(body))))
	}
	if e := x.stream(status == http.StatusOK && !accepts(x.r.Header, "application/json")); e != nil {
		e.last(body)
	} else {
		write(x.w, status, body)
	}
	return nil
}

// stream returns the events of the answer, made if they are wanted; nil where there are none.
func (x *exchange) stream(wanted bool) *events {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.events == nil && wanted {
		x.events = newEvents(x)
	}
	return x.events
}

// Observe implements [mcp.Exchange].
func (x *exchange) Observe(ctx context.Context, m *mcp.Message) {
	x.observed.Messages++
	x.observed.observer.Message(ctx, x.observed, m)
}

func (x *exchange) Accept() { x.w.WriteHeader(http.StatusAccepted) }

func (x *exchange) Refuse(r *mcp.Refusal, status int, body []byte) {
	if r.RetryAfter > 0 {
		// Jitter, so that those who were refused together don't come back together.
		wait := r.RetryAfter.Seconds() * (1 + 0.03*rand.Float64())
		x.w.Header()["Retry-After"] = []string{strconv.Itoa(max(1, int(math.Ceil(wait))))}
	}
	if r.RateLimit != "" {
		x.w.Header()["Ratelimit"] = []string{r.RateLimit}
		x.w.Header()["Ratelimit-Policy"] = []string{r.RateLimitPolicy}
	}
	if r.Challenge != "" {
		x.w.Header()["Www-Authenticate"] = []string{r.Challenge}
	}
	if r.Unread {
		x.w.Header()["Connection"] = []string{"close"}
	}
	x.Reply(status, body)
}

func (x *exchange) Stream(event []byte) {
	if accepts(x.r.Header, "text/event-stream") {
		x.stream(true).add(event)
	}
}

// close ends what the exchange holds: after it nothing writes.
func (x *exchange) close() {
	if e := x.stream(false); e != nil {
		e.close()
	}
	if x.taken > 0 {
		x.handler.memory.give(x.owner, x.taken)
	}
}

const (
	// A write may take writeGrace, and longer by what it would at slowestWrite bytes a second.
	writeGrace   = 10 * time.Second
	slowestWrite = 64 << 10
)

// WriteTime is how long a client may take to read so many bytes.
func WriteTime(n int) time.Duration {
	return writeGrace + time.Duration(n)*time.Second/slowestWrite
}

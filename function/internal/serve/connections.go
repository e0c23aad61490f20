package serve

import (
	"cmp"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/erlmcp/function/internal/streamhttp"
)

// Connections are those that are open, at most so many. Where there is no room for one more, those go that have waited for the rest of
// a request for the longest, and then those that are idle: a client that opens many and sends little shuts nobody out. One whose request
// has come, and which only this machine is late to serve, goes after them all.
type Connections struct {
	max     int
	evicted atomic.Int64
	refused atomic.Int64

	mu   sync.Mutex
	open map[*connection]struct{}
}

// Closed is how many were closed to make room, and how many were not let in as all served requests.
func (c *Connections) Closed() (evicted, refused int64) { return c.evicted.Load(), c.refused.Load() }

func newConnections(max int) *Connections {
	return &Connections{max: max, open: map[*connection]struct{}{}}
}

// Open is how many there are.
func (c *Connections) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// A connection knows since when it has no request that is being served, and none that begins.
type connection struct {
	net.Conn
	of      *Connections
	serving atomic.Int64 // requests; HTTP/2 has several
	since   atomic.Int64 // in Unix nanoseconds, when it was opened, the last request ended, or the next one began
	writeBy atomic.Int64 // the write deadline in force, in Unix nanoseconds; 0 for none
	idle    atomic.Bool  // nothing has come since the last request, whose body was read
	reading atomic.Bool  // the server waits for what the client sends
	ending  atomic.Bool  // the last request was read whole, and its answer is on its way out
	once    sync.Once
}

type connectionKey struct{}

// inConnection puts the connection into the contexts of its requests.
func inConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}

// changed follows the states of a connection.
func changed(c net.Conn, to http.ConnState) {
	if held, ok := c.(*connection); ok {
		if to == http.StateActive { // a request begins: the time before was idle, and not one without a whole request
			held.since.Store(time.Now().UnixNano())
		}
		held.idle.Store(to == http.StateIdle)
		held.ending.Store(false)
	}
}

// serve marks the connections of the requests that a handler serves.
func (c *Connections) serve(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == http.NoBody { // the deadline of a body would end a long answer
			http.NewResponseController(w).SetReadDeadline(time.Time{})
		}
		if held, ok := r.Context().Value(connectionKey{}).(*connection); ok {
			held.serving.Add(1)
			defer held.served()
		}
		next.ServeHTTP(w, r)
	})
}

// served is called when a handler returns. If something is being read by then, it is net/http that watches for the next request, as the
// body of this one has ended.
func (c *connection) served() {
	c.ending.Store(c.reading.Load())
	c.since.Store(time.Now().UnixNano())
	c.serving.Add(-1)
}

func (c *connection) Read(b []byte) (int, error) {
	c.reading.Store(true)
	defer c.reading.Store(false)
	return c.Conn.Read(b)
}

// late is whether the next step is this machine's: to serve what has come, or to write the end of an answer.
func (c *connection) late(now time.Time) bool {
	ending := c.ending.Load() && now.UnixNano()-c.since.Load() < int64(time.Second)
	return ending || !c.reading.Load() || pending(c.Conn)
}

// Write bounds how long a client may take to read, whatever is written.
func (c *connection) Write(b []byte) (int, error) {
	c.SetWriteDeadline(time.Now().Add(streamhttp.WriteTime(len(b))))
	return c.Conn.Write(b)
}

// deadlineSlack is how far the deadline in force may be from one that is wanted: to set it costs as much as a tenth of a small call does.
const deadlineSlack = time.Second

// SetWriteDeadline implements [net.Conn], and leaves a deadline in force that is near enough.
func (c *connection) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		c.writeBy.Store(0)
		return c.Conn.SetWriteDeadline(t)
	}
	if at := t.UnixNano(); time.Duration(at-c.writeBy.Load()).Abs() > deadlineSlack {
		c.writeBy.Store(at)
		return c.Conn.SetWriteDeadline(t)
	}
	return nil
}

func (c *connection) Close() error {
	c.once.Do(func() {
		c.of.mu.Lock()
		delete(c.of.open, c)
		c.of.mu.Unlock()
	})
	return c.Conn.Close()
}

// grace is what a connection has to send its first bytes, and this machine to be done with an answer, before it makes room for another.
const grace = 100 * time.Millisecond

// admit takes a connection in, or nil where all that are open serve requests. It waits for the grace where that spares one: who comes
// too fast waits for that, in the kernel's queue.
func (c *Connections) admit(conn net.Conn) *connection {
	held, spared := c.tryAdmit(conn, true)
	for begin := time.Now(); spared; {
		time.Sleep(grace / 4) // to look at all is work, where there are many
		held, spared = c.tryAdmit(conn, time.Since(begin) < grace)
	}
	if held == nil {
		c.refused.Add(1)
	}
	return held
}

// tryAdmit takes a connection in where it may. If it is to spare, it does not where room would cost a connection that may be of use yet.
func (c *Connections) tryAdmit(conn net.Conn, spare bool) (held *connection, spared bool) {
	c.mu.Lock()
	var victims []*connection
	if len(c.open) >= c.max {
		var useful bool
		if victims, useful = c.longestUnused(); useful && spare {
			c.mu.Unlock()
			return nil, true
		}
	}
	if len(c.open)-len(victims) < c.max {
		held = &connection{Conn: conn, of: c}
		held.since.Store(time.Now().UnixNano())
		c.open[held] = struct{}{}
	}
	c.mu.Unlock()
	for _, v := range victims {
		v.Close()
	}
	c.evicted.Add(int64(len(victims)))
	return held, false
}

// In the order in which connections make room.
const (
	incomplete = iota // the rest of a request has not come
	idle
	late
)

// longestUnused are those that make room, a few at a time, as all must be looked at for that. It says whether the first of them may be of
// use yet: it is young, or none is incomplete while some are late. It needs the lock.
func (c *Connections) longestUnused() (victims []*connection, useful bool) {
	ranks, now, count := map[*connection]int{}, time.Now(), [3]int{}
	for conn := range c.open {
		if conn.serving.Load() > 0 {
			continue
		}
		rank := incomplete
		switch {
		case conn.late(now):
			rank = late
		case conn.idle.Load():
			rank = idle
		}
		ranks[conn] = rank
		count[rank]++
	}
	unused := slices.SortedFunc(maps.Keys(ranks), func(a, b *connection) int {
		return cmp.Or(cmp.Compare(ranks[a], ranks[b]), cmp.Compare(a.since.Load(), b.since.Load()))
	})
	most := min(len(unused), max(1, c.max/32))
	if count[incomplete] > 0 {
		return unused[:min(most, count[incomplete])], now.UnixNano()-unused[0].since.Load() < int64(grace)
	}
	return unused[:most], count[late] > 0
}

// A cappedListener accepts what there is room for. One connection more gets a clear answer and is closed: a full backlog would leave
// the client to guess.
type cappedListener struct {
	net.Listener
	connections *Connections
}

const tooManyConnections = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 106\r\n" +
	"Retry-After: 1\r\nConnection: close\r\n\r\n" +
	`{"jsonrpc":"2.0","error":{"code":1005,"message":"too many connections","data":{"reason":"backpressure"}}}` + "\n"

func (l *cappedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if held := l.connections.admit(c); held != nil {
			return held, nil
		}
		go func() {
			c.SetDeadline(time.Now().Add(time.Second))
			c.Write([]byte(tooManyConnections))
			// What the client has sent is read first: closing over unread data would reset the connection and lose the answer.
			if half, ok := c.(interface{ CloseWrite() error }); ok {
				half.CloseWrite()
			}
			io.Copy(io.Discard, io.LimitReader(c, 64<<10))
			c.Close()
		}()
	}
}

package function

import (
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/erlmcp/function/internal/edge"
)

// connections are those that are open, at most so many. Where there is no room for one more, those go that have been without a whole
// request for the longest, and then those that are idle: a client that opens many and sends little shuts nobody out.
type connections struct {
	most    int
	evicted atomic.Int64
	refused atomic.Int64

	mu   sync.Mutex
	open map[*connection]struct{}
}

func newConnections(most int) *connections {
	return &connections{most: most, open: map[*connection]struct{}{}}
}

func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// A connection knows since when it has no request that is being served, and none that begins.
type connection struct {
	net.Conn
	of      *connections
	serving atomic.Int64 // requests; HTTP/2 has several
	since   atomic.Int64 // in Unix nanoseconds, when it was opened, the last request ended, or the next one began
	idle    atomic.Bool  // nothing has come since the last request, whose body was read
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
	}
}

// serve marks the connections of the requests that a handler serves.
func (c *connections) serve(next http.Handler) http.Handler {
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

func (c *connection) served() {
	c.since.Store(time.Now().UnixNano())
	c.serving.Add(-1)
}

// Write bounds how long a client may take to read, whatever is written.
func (c *connection) Write(b []byte) (int, error) {
	c.SetWriteDeadline(time.Now().Add(edge.WriteTime(len(b))))
	return c.Conn.Write(b)
}

func (c *connection) Close() error {
	c.once.Do(func() {
		c.of.mu.Lock()
		delete(c.of.open, c)
		c.of.mu.Unlock()
	})
	return c.Conn.Close()
}

// admit takes a connection in, or nil where all that are open serve requests.
func (c *connections) admit(conn net.Conn) *connection {
	c.mu.Lock()
	var victims []*connection
	if len(c.open) >= c.most {
		victims = c.longestUnused()
	}
	var held *connection
	if len(c.open)-len(victims) < c.most {
		held = &connection{Conn: conn, of: c}
		held.since.Store(time.Now().UnixNano())
		c.open[held] = struct{}{}
	}
	c.mu.Unlock()
	for _, v := range victims {
		v.Close()
	}
	c.evicted.Add(int64(len(victims)))
	if held == nil {
		c.refused.Add(1)
	}
	return held
}

// longestUnused are those that make room, a few at a time, as all must be looked at for that. It needs the lock.
func (c *connections) longestUnused() []*connection {
	var unused []*connection
	for conn := range c.open {
		if conn.serving.Load() == 0 {
			unused = append(unused, conn)
		}
	}
	slices.SortFunc(unused, func(a, b *connection) int {
		if a, b := a.idle.Load(), b.idle.Load(); a != b {
			return map[bool]int{false: -1, true: 1}[a]
		}
		return cmp.Compare(a.since.Load(), b.since.Load())
	})
	return unused[:min(len(unused), max(1, c.most/32))]
}

// A cappedListener accepts what there is room for. One connection more gets a clear answer and is closed: a full backlog would leave
// the client to guess.
type cappedListener struct {
	net.Listener
	connections *connections
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

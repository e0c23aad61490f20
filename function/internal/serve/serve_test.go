package serve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/memnet"
)

var network memnet.Network

func settings() *config.Config {
	return &config.Config{MaxConnections: 100, ConnectionTimeout: 30 * time.Second, HeaderTimeout: 10 * time.Second, DrainTimeout: 8 * time.Second, Health: "/health", Ready: "/ready"}
}

// A running server, as a test has it.
type running struct {
	*Server
	at    string             // host and port
	term  func()             // tells it to go
	ended chan error         // gets what Serve returns
	asked chan *http.Request // gets each request for /wait
	done  chan struct{}      // closed, it lets those go
}

// newServer returns one with the probes and a handler of /wait, which waits for done or the request's end.
func newServer(t *testing.T, o Options) *running {
	t.Helper()
	r := &running{asked: make(chan *http.Request, 100), done: make(chan struct{}), ended: make(chan error, 1)}
	if o.Config == nil {
		o.Config = settings()
	}
	if o.Cancel == nil {
		o.Cancel = func() {}
	}
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	r.Server = New(o)
	mux := http.NewServeMux()
	(&Probes{Server: r.Server, Status: &status{}, Version: "1", Start: time.Now(), Explain: func(error) string { return "" }}).Register(mux, o.Config)
	mux.HandleFunc("/wait", func(w http.ResponseWriter, req *http.Request) {
		r.asked <- req
		select {
		case <-r.done:
			io.WriteString(w, "waited")
		case <-req.Context().Done():
		}
	})
	r.Handle(mux)
	return r
}

// served is newServer that listens on the network until the test ends.
func served(t *testing.T, o Options) *running {
	t.Helper()
	r := newServer(t, o)
	ctx, term := context.WithCancel(t.Context())
	r.term = term
	ln := network.Listen()
	r.at = ln.Addr().String()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		r.ended <- r.Serve(ctx, ln)
	}()
	t.Cleanup(func() { term(); <-gone })
	return r
}

// A client is one connection, on which requests come one after another.
type client struct {
	net.Conn
	*bufio.Reader
	t *testing.T
}

func (r *running) dial(t *testing.T) *client {
	t.Helper()
	conn, err := network.Dial(t.Context(), "tcp", r.at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{conn, bufio.NewReader(conn), t}
}

func (c *client) Read(b []byte) (int, error) { return c.Reader.Read(b) }

func (c *client) ask(path string) {
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
}

// answer reads one. Where there is none, the status is 0 and the text is the error.
func (c *client) answer() (status int, body string, last bool) {
	resp, err := http.ReadResponse(c.Reader, nil)
	if err != nil {
		return 0, err.Error(), true
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error(), true
	}
	return resp.StatusCode, strings.TrimSpace(string(b)), resp.Close
}

// wantAnswer asks and wants an answer of the status that holds the words.
func (c *client) wantAnswer(path string, status int, words string) {
	c.t.Helper()
	c.ask(path)
	if got, body, _ := c.answer(); got != status || !strings.Contains(body, words) {
		c.t.Errorf("%s: %d %s, want %d %s", path, got, body, status, words)
	}
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := served(t, Options{Cancel: func() { t.Error("calls are cancelled that finish in time") }})
		running, idle := s.dial(t), s.dial(t)
		running.ask("/wait")
		<-s.asked
		idle.ask("/health") // as a balancer keeps connections, one that is about to be used
		if status, body, last := idle.answer(); status != 200 || last {
			t.Fatalf("before the drain: %d %s", status, body)
		}
		if !s.ShutdownAt().IsZero() || s.Draining() {
			t.Error("it is to go before it was told so")
		}
		begin := time.Now()
		s.term()
		synctest.Wait()
		if got := s.ShutdownAt().Sub(begin); got != 8*time.Second {
			t.Errorf("it is to be gone after %v", got)
		}
		for _, later := range []time.Duration{0, LameDuck - time.Nanosecond} { // the lame duck still answers, and says that it goes
			time.Sleep(later) // in a bubble
			s.dial(t).wantAnswer("/ready", 503, `{"status":"draining"}`)
			s.dial(t).wantAnswer("/health", 200, `"erlmcp_ready":false`)
		}
		idle.ask("/health")
		if status, body, last := idle.answer(); status != 200 || !last {
			t.Errorf("on an idle connection while draining: %d %s, the last: %t", status, body, last)
		}
		time.Sleep(time.Nanosecond) // in a bubble
		synctest.Wait()
		if _, err := network.Dial(t.Context(), "tcp", s.at); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("after the lame duck: %v", err)
		}
		time.Sleep(8*time.Second - LameDuck - Reserve - time.Millisecond) // in a bubble: what runs still finishes, until the end
		select {
		case err := <-s.ended:
			t.Fatalf("the server ended with a call running: %v", err)
		default:
		}
		close(s.done)
		if status, body, _ := running.answer(); status != 200 || body != "waited" {
			t.Errorf("a running call got %d %s", status, body)
		}
		if err := <-s.ended; err != nil {
			t.Errorf("after a drain in time: %v", err)
		}
	})
}

// TestDrainCancels has a request that does not end: it is cancelled so that the process is gone in time, however short that is.
func TestDrainCancels(t *testing.T) {
	for timeout, cancelled := range map[time.Duration]time.Duration{8 * time.Second: 6650 * time.Millisecond, 400 * time.Millisecond: 300 * time.Millisecond} {
		t.Run(timeout.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := settings()
				c.DrainTimeout = timeout
				others := make(chan time.Time, 1)
				s := served(t, Options{Config: c, Cancel: func() { others <- time.Now() }})
				s.dial(t).ask("/wait")
				req := <-s.asked
				s.term()
				begin := time.Now()
				<-req.Context().Done()
				if d := time.Since(begin); d != cancelled {
					t.Errorf("the request is cancelled after %v, want %v", d, cancelled)
				}
				if d := (<-others).Sub(begin); d != cancelled {
					t.Errorf("what outlives connections is cancelled after %v, want %v", d, cancelled)
				}
				if err := <-s.ended; !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a drain that had to cancel calls returns %v", err)
				}
				if d := time.Since(begin); d > timeout {
					t.Errorf("the server ended after %v", d)
				}
			})
		})
	}
}

// TestFatal has something go wrong without which the process can't go on.
func TestFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fatal := make(chan error, 1)
		s := served(t, Options{Fatal: fatal})
		fatal <- errors.New("an unknown format")
		err := <-s.ended
		if start, ok := errors.AsType[*StartError](err); !ok || !strings.Contains(start.Error(), "REDIS_URL: an unknown format") {
			t.Errorf("%v", err)
		}
	})
	err := &StartError{errors.Join(errors.New("PORT: one"), errors.New("KEYS: two"))}
	if got := err.Error(); got != "erlmcp can't start:\n  PORT: one\n  KEYS: two" || errors.Unwrap(err) == nil {
		t.Errorf("%q", got)
	}
}

// TestFinish is the end of a process whose listener is another's: a request finishes, or is cancelled in time.
func TestFinish(t *testing.T) {
	for _, takes := range []time.Duration{0, 3 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			ctx, cancel := context.WithCancel(t.Context())
			s := New(Options{Config: settings(), Cancel: cancel})
			s.Handle(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				select {
				case <-time.After(takes): // in a bubble
				case <-ctx.Done():
				}
			}))
			go s.ServeHTTP(nil, &http.Request{})
			synctest.Wait()
			s.Finish()
			want := max(LameDuck, takes)
			if takes > time.Second*8 {
				want = 8*time.Second - Reserve
			}
			if d := time.Since(begin); d < want || d > want+10*time.Millisecond || ctx.Err() == nil {
				t.Errorf("a request of %v: finished after %v, want %v; cancelled: %v", takes, d, want, ctx.Err())
			}
		})
	}
}

func TestConnectionCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settings()
		c.MaxConnections = 2
		s := served(t, Options{Config: c})
		first, second := s.dial(t), s.dial(t)
		for _, c := range []*client{first, second} {
			c.wantAnswer("/health", 200, "up")
			time.Sleep(time.Second) // in a bubble
		}
		third := s.dial(t)
		third.wantAnswer("/health", 200, "up")
		if n, err := first.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the one that was unused for the longest is there: %d %v", n, err)
		}

		// Where all serve requests, one more is refused.
		for _, c := range []*client{second, third} {
			c.ask("/wait")
			<-s.asked
		}
		over := s.dial(t)
		over.ask("/health")
		wantTooMany(t, over)
		begin := time.Now()
		if n, err := over.Read(make([]byte, 1)); err != io.EOF || time.Since(begin) > time.Second {
			t.Errorf("a connection over the cap is there after %v: %d %v", time.Since(begin), n, err)
		}
		if evicted, refused := s.Connections().Closed(); evicted != 1 || refused != 1 || s.Connections().Open() != 2 {
			t.Errorf("%d made room, %d were refused, %d are open", evicted, refused, s.Connections().Open())
		}
		close(s.done)
		synctest.Wait()
		s.dial(t).wantAnswer("/health", 200, "up")
	})
}

func wantTooMany(t *testing.T, c *client) {
	t.Helper()
	status, body, last := c.answer()
	var a struct{ Error struct{ Code int } }
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != 503 || a.Error.Code != 1005 || !last {
		t.Errorf("over the cap: %d %s %v", status, body, err)
	}
}

// TestWhatAClientHolds is for how long a client keeps a connection by each thing that it leaves undone.
func TestWhatAClientHolds(t *testing.T) {
	for _, c := range []struct {
		name     string
		send     string
		read     bool
		from, to time.Duration
	}{
		{"nothing is sent", "", false, 10 * time.Second, 11 * time.Second},
		{"half a request line", "GET /hea", false, 10 * time.Second, 11 * time.Second},
		{"headers without an end", "GET /health HTTP/1.1\r\nHost: localhost\r\n", false, 10 * time.Second, 11 * time.Second},
		{"a body that does not come", "POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300\r\n\r\n", true, 0, 12 * time.Second},
		{"nothing more after an answer", "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", true, 30 * time.Second, 31 * time.Second},
		{"headers beyond what platforms pass on", "GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 48<<10) + "\r\n\r\n", true, 0, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := served(t, Options{})
			conn, begin := s.dial(t), time.Now()
			io.WriteString(conn, c.send)
			if c.read {
				conn.answer()
			}
			io.Copy(io.Discard, conn)
			if d := time.Since(begin); d < c.from || d > c.to {
				t.Errorf("%s: closed after %v, want %v to %v", c.name, d, c.from, c.to)
			}
		})
	}
}

// TestLongAnswer has a request without a body be answered after the time that a body has.
func TestLongAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := served(t, Options{})
		conn := s.dial(t)
		conn.ask("/wait")
		<-s.asked
		time.Sleep(5 * time.Minute) // in a bubble
		close(s.done)
		if status, body, _ := conn.answer(); status != 200 || body != "waited" {
			t.Errorf("%d %s", status, body)
		}
	})
}

// TestListens has the sockets of the machine: a server of this machine alone answers at both of its addresses, in both versions of
// HTTP, and a connection too many too; and no other server has its port.
func TestListens(t *testing.T) {
	hosts := []string{"127.0.0.1"}
	if ln, err := net.Listen("tcp", "[::1]:0"); err == nil {
		ln.Close()
		hosts = append(hosts, "::1")
	}
	c := settings()
	c.MaxConnections, c.DrainTimeout = 2*len(hosts), 100*time.Millisecond
	s := newServer(t, Options{Config: c, Loopback: true})
	ctx, term := context.WithCancel(t.Context())
	urls, gone := make(chan string, 1), make(chan struct{})
	var fault error
	go func() {
		defer close(gone)
		fault = s.Run(ctx, func(url string) { urls <- url })
	}()
	t.Cleanup(func() { term(); <-gone }) // whether that is a drain in time is up to the pace of the machine
	var at *url.URL
	select {
	case text := <-urls:
		if at, _ = url.Parse(text); at == nil || at.Hostname() != "localhost" || at.Path != "/mcp" {
			t.Fatalf("the server's URL is %s", text)
		}
	case <-gone:
		t.Fatal(fault)
	}
	for _, host := range hosts {
		for _, major := range []int{1, 2} {
			var protocols http.Protocols
			protocols.SetHTTP1(major == 1)
			protocols.SetUnencryptedHTTP2(major == 2)
			transport := &http.Transport{Protocols: &protocols}
			t.Cleanup(transport.CloseIdleConnections) // until then each counts
			resp, err := (&http.Client{Transport: transport}).Get("http://" + net.JoinHostPort(host, at.Port()) + "/health")
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.ProtoMajor != major || resp.StatusCode != 200 {
				t.Errorf("at %s: %s %s", host, resp.Proto, resp.Status)
			}
		}
	}
	open := func() *client {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", at.Port()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return &client{conn, bufio.NewReader(conn), t}
	}
	for range 2 * len(hosts) { // they take the place of the unused ones
		open().ask("/wait")
		<-s.asked
	}
	over := open()
	over.ask("/health")
	wantTooMany(t, over)
	c.Port, _ = strconv.Atoi(at.Port())
	for _, loopback := range []bool{true, false} {
		err := newServer(t, Options{Config: c, Loopback: loopback}).Run(ctx, nil)
		if start, ok := errors.AsType[*StartError](err); !ok || !strings.Contains(start.Error(), "something else listens on port "+at.Port()) {
			t.Errorf("a second server: %v", err)
		}
	}
}

// TestSignals has the process get the signals that platforms and terminals send.
func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		ctx, stop := UntilTold()
		if err := syscall.Kill(os.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		stop()
	}
	got := make(chan bool, 10)
	stop := OnSignal(syscall.SIGHUP, func() { got <- true })
	for range 2 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		<-got
	}
	stop()
}

// TestMachine compares what the process may use, and uses, with what the system's own tools and files say.
func TestMachine(t *testing.T) {
	ulimit, err := exec.CommandContext(t.Context(), "sh", "-c", "ulimit -n").Output()
	if err != nil {
		t.Skip(err)
	}
	if want, err := strconv.ParseUint(strings.TrimSpace(string(ulimit)), 10, 64); err == nil && MaxOpenFiles() < want { // Go raises it
		t.Errorf("%d files may be open, a shell says %d", MaxOpenFiles(), want)
	}
	before, known := OpenFiles()
	if !known {
		t.Skip("no /proc here")
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if after, _ := OpenFiles(); after != before+1 {
		t.Errorf("%d files are open, and with one more %d", before, after)
	}
	f.Close()
	block := bytes.Repeat([]byte{1}, 64<<20)
	if used := MemoryUsed(); used < 64<<20 || used > 1<<40 {
		t.Errorf("with %d bytes, %d are used", len(block), used)
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	debug.SetMemoryLimit(math.MaxInt64)
	if m := ThisMachine(); m.Memory != 0 || m.OpenFiles != MaxOpenFiles() {
		t.Errorf("without a limit: %+v", m)
	}
	debug.SetMemoryLimit(1 << 40)
	if m := ThisMachine(); m.Memory != 1<<40 {
		t.Errorf("with a limit: %+v", m)
	}
	LimitMemory(func(string) string { return "1TiB" })
	if got := debug.SetMemoryLimit(-1); got != 1<<40 {
		t.Errorf("GOMEMLIMIT is set, and the limit is %d", got)
	}
	LimitMemory(func(string) string { return "" })
	got, want := debug.SetMemoryLimit(-1), int64(1<<40)
	for _, file := range []string{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"} {
		if b, err := os.ReadFile(file); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n < 1<<50 {
				want = n - n/10
			} else {
				want = 1 << 40
			}
		}
	}
	if apart := got - want; apart < -20 || apart > 20 {
		t.Errorf("the limit is %d, want nine tenths of the container's: %d", got, want)
	}
}

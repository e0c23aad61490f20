// Package hostile attacks a server that is a process of its own, on loopback, for a bounded time, with what a client can send or leave
// out. Meanwhile another tenant calls, and the platform probes: both must be served as if nothing was, in bounded memory.
package hostile

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	length = flag.Duration("for", 8*time.Second, "how long each attack goes on")
	strict = flag.Bool("strict", false, "hold the times of the other tenant as they are promised, not with the leeway of a busy machine")
)

const (
	memoryLimit = 920 << 20 // GOMEMLIMIT of an instance of 1 GiB
	maxMemory   = 600 << 20
)

// slowest is what one in a hundred of the other tenant's calls may take.
func slowest() time.Duration {
	if *strict {
		return 250 * time.Millisecond
	}
	return time.Second
}

// An attack is what a hostile client does, in one of several workers, until the context ends. It waits for itself between two tries.
type attack struct {
	name    string
	workers int
	env     []string
	do      func(ctx context.Context, s *server) error // an error ends the worker: the attack is at fault
	counter string                                     // of /metrics, which shows the attack
	growth  float64                                    // of the counter, at least
}

var attacks = []attack{
	{"a body that never comes, to a path that reads none", 400, []string{"MAX_CONNECTIONS=100"}, silentBody,
		`erlmcp_connections_closed_total{why="unused"}`, 10},
	{"headers without an end", 400, []string{"MAX_CONNECTIONS=300"}, endlessHeader,
		`erlmcp_connections_closed_total{why="unused"}`, 10},
	{"calls of a tool of few slots, without their bodies", 30, nil, slotsWithoutBodies, `erlmcp_requests_total`, 5},
	{"bodies that trickle", 280, nil, trickle, `erlmcp_capacity_used{scope="instance",what="request_bytes"}`, 1 << 20},
	{"batches of a million numbers", 8, nil, millionNumbers, `erlmcp_requests_total`, 20},
	{"arguments that decode to much", 8, nil, muchDecoded, `erlmcp_requests_total`, 5},
	{"answers that nobody reads", 100, nil, unreadAnswers, `erlmcp_capacity_used{scope="instance",what="request_bytes"}`, 1 << 20},
	{"answers on HTTP/2 without a window", 10, nil, noWindow, `erlmcp_capacity_used{scope="instance",what="request_bytes"}`, 1 << 20},
	{"progress that nobody reads", 50, nil, unreadProgress, `tools_called_total`, 1},
}

func TestHostile(t *testing.T) {
	binaries := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", binaries+"/", "example.com/erlmcp/local/checks/hostile/fixture", "example.com/erlmcp/function/cmd/erlmcp").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			s := start(t, binaries, a.env...)
			before := s.counters(t)
			ctx, done := context.WithTimeout(t.Context(), *length)
			defer done()
			var workers sync.WaitGroup
			var tries atomic.Int64
			for range a.workers {
				workers.Go(func() {
					for ctx.Err() == nil {
						tries.Add(1)
						if err := a.do(ctx, s); err != nil && ctx.Err() == nil {
							t.Error(err)
							return
						}
						pause(ctx, 100*time.Millisecond)
					}
				})
			}
			time.Sleep(500 * time.Millisecond) // real time: the attack gets under way
			v := s.watch(ctx, t)
			grown := 0.0
			for _, c := range v.counters {
				grown = max(grown, sum(c, a.counter)-sum(before, a.counter))
			}
			workers.Wait()
			t.Logf("%d tries; %d calls of another tenant, one in a hundred over %v, the slowest %v; %d probes, the slowest %v; %d MB; %s grew by %.0f",
				tries.Load(), len(v.calls), at(v.calls, 0.99), at(v.calls, 1), len(v.probes), at(v.probes, 1), v.memory>>20, a.counter, grown)
			if n := len(v.calls); n < int(length.Seconds()) {
				t.Errorf("only %d calls of another tenant", n)
			}
			if p := at(v.calls, 0.99); p > slowest() {
				t.Errorf("one in a hundred of another tenant's calls took over %v", p)
			}
			if v.memory > maxMemory {
				t.Errorf("%d MB of memory, %d allowed", v.memory>>20, maxMemory>>20)
			}
			if grown < a.growth {
				t.Errorf("%s grew by %v under the attack, wanted %v", a.counter, grown, a.growth)
			}
		})
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d): // real time: an attacker's pace
	}
}

// A server is the process under attack.
type server struct {
	addr          string
	pid           int
	mallory, anna string // keys of the attacker and of another tenant
}

func start(t *testing.T, binaries string, env ...string) *server {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: ln.Addr().String()}
	ln.Close()
	keys := filepath.Join(t.TempDir(), "keys.json")
	key := func(tenant string) string {
		cmd := exec.Command(filepath.Join(binaries, "erlmcp"), "keys", "add", "-file", keys, "-tenant", tenant, "-scopes", "*")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
		}
		return regexp.MustCompile(`erlmcp_\S+`).FindString(string(out))
	}
	s.mallory, s.anna = key("mallory"), key("anna")
	_, port, _ := net.SplitHostPort(s.addr)
	cmd := exec.Command(filepath.Join(binaries, "fixture"))
	cmd.Env = append(append(os.Environ(), "PORT="+port, "GOMEMLIMIT="+strconv.Itoa(memoryLimit), "AUTHENTICATION=keys", "API_KEYS_FILE="+keys, "LOG_OUTPUT=stderr", "LOG_SAMPLE=0.001", "LOG_LEVEL=error"), env...)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.pid = cmd.Process.Pid
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("its log ends with:\n%s", log.Bytes()[max(0, log.Len()-2000):])
		}
	})
	for range 500 {
		if resp, err := http.Get("http://" + s.addr + "/health"); err == nil {
			resp.Body.Close()
			return s
		}
		time.Sleep(20 * time.Millisecond) // real time: a process starts
	}
	t.Fatal("it does not start")
	return nil
}

// A view is what others saw during an attack.
type view struct {
	calls, probes []time.Duration
	memory        int64
	counters      []map[string]float64
}

// watch calls as another tenant, probes and measures until the context ends.
func (s *server) watch(ctx context.Context, t *testing.T) *view {
	v := &view{}
	var mu sync.Mutex
	var all sync.WaitGroup
	every := func(d time.Duration, do func()) {
		all.Go(func() {
			for ctx.Err() == nil {
				do()
				pause(ctx, d)
			}
		})
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	for range 2 {
		every(50*time.Millisecond, func() {
			begin := time.Now()
			if err := s.call(client); err != nil && ctx.Err() == nil {
				t.Errorf("another tenant's call: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			v.calls = append(v.calls, time.Since(begin))
		})
	}
	probe := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	every(250*time.Millisecond, func() {
		begin := time.Now()
		resp, err := probe.Get("http://" + s.addr + "/health")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %d", resp.StatusCode)
			}
		}
		if err != nil && ctx.Err() == nil {
			t.Errorf("a probe: %v", err)
		}
		v.probes = append(v.probes, time.Since(begin))
	})
	every(50*time.Millisecond, func() { v.memory = max(v.memory, s.memory()) })
	every(time.Second, func() { v.counters = append(v.counters, s.counters(t)) })
	all.Wait()
	return v
}

func (s *server) call(client *http.Client) error {
	req, _ := http.NewRequest("POST", "http://"+s.addr+"/mcp", strings.NewReader(modernBody("echo", `{"a":1}`)))
	setModern(req.Header, "echo", s.anna)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"result"`)) || bytes.Contains(body, []byte(`"erlmcp/refusal"`))) {
		err = fmt.Errorf("%d %.300s", resp.StatusCode, body)
	}
	return err
}

// memory is the resident memory of the process in bytes.
func (s *server) memory() int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.pid))
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

var sample = regexp.MustCompile(`(?m)^(\w+(?:\{.*\})?) (\S+)$`)

func (s *server) counters(t *testing.T) map[string]float64 {
	out := map[string]float64{}
	resp, err := (&http.Client{Timeout: 3 * time.Second}).Get("http://" + s.addr + "/metrics")
	if err != nil {
		return out
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	for _, m := range sample.FindAllStringSubmatch(string(text), -1) {
		out[m[1]], _ = strconv.ParseFloat(m[2], 64)
	}
	return out
}

// sum adds up the series of a name, or is the one series that is named with its labels.
func sum(counters map[string]float64, name string) (total float64) {
	for series, n := range counters {
		if series == name || strings.HasPrefix(series, name+"{") {
			total += n
		}
	}
	return total
}

func at(d []time.Duration, part float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Sorted(slices.Values(d))
	return d[min(len(d)-1, int(part*float64(len(d))))].Round(100 * time.Microsecond)
}

func modernBody(tool, arguments string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":` + arguments +
		`,"_meta":{"progressToken":1,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
}

func setModern(h http.Header, tool, key string) {
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json, text/event-stream")
	h.Set("MCP-Protocol-Version", "2026-07-28")
	h.Set("Mcp-Method", "tools/call")
	h.Set("Mcp-Name", tool)
	h.Set("Authorization", "Bearer "+key)
}

// head is a request's head as text, for a body of so many bytes.
func (s *server) head(tool string, size int) string {
	h := http.Header{}
	setModern(h, tool, s.mallory)
	var b strings.Builder
	fmt.Fprintf(&b, "POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", s.addr, size)
	h.Write(&b)
	return b.String() + "\r\n"
}

// hold opens a connection, writes and then waits until the server ends it.
func (s *server) hold(ctx context.Context, write func(net.Conn)) error {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil // the server may be that full
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	write(conn)
	io.Copy(io.Discard, bufio.NewReader(conn))
	return nil
}

func silentBody(ctx context.Context, s *server) error {
	return s.hold(ctx, func(conn net.Conn) {
		fmt.Fprintf(conn, "GET /health HTTP/1.1\r\nHost: %s\r\nContent-Length: 300\r\n\r\n", s.addr)
	})
}

func endlessHeader(ctx context.Context, s *server) error {
	return s.hold(ctx, func(conn net.Conn) {
		fmt.Fprintf(conn, "GET /health HTTP/1.1\r\nHost: %s\r\nX-A: %s", s.addr, strings.Repeat("a", 30<<10))
	})
}

func slotsWithoutBodies(ctx context.Context, s *server) error {
	return s.hold(ctx, func(conn net.Conn) { io.WriteString(conn, s.head("three", 300)) })
}

func trickle(ctx context.Context, s *server) error {
	return s.hold(ctx, func(conn net.Conn) {
		body := modernBody("echo", `{"a":"`+strings.Repeat("a", 1<<20-1000)+`"}`)
		io.WriteString(conn, s.head("echo", len(body)))
		for i := 0; i < len(body); i += 128 << 10 {
			if _, err := io.WriteString(conn, body[i:min(len(body), i+128<<10)]); err != nil {
				return
			}
			pause(ctx, time.Second)
		}
	})
}

// exchange sends a whole request with a body and reads the answer.
func (s *server) exchange(ctx context.Context, head, body string) error {
	return s.hold(ctx, func(conn net.Conn) {
		io.WriteString(conn, strings.Replace(head, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
		io.WriteString(conn, body)
	})
}

var ones = "[" + strings.Repeat("1,", (1<<20-10)/2) + "1]"

func millionNumbers(ctx context.Context, s *server) error {
	head := fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", s.addr, s.mallory, len(ones))
	return s.exchange(ctx, head, ones)
}

var nested = `{"a":[` + strings.Repeat("{},", (1<<20-1000)/3) + `{}]}`

func muchDecoded(ctx context.Context, s *server) error {
	body := modernBody("echo", nested)
	return s.exchange(ctx, s.head("echo", len(body)), body)
}

// unread sends a call and reads nothing until the attack is over.
func (s *server) unread(ctx context.Context, tool string) error {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	body := modernBody(tool, "{}")
	io.WriteString(conn, s.head(tool, len(body))+body)
	pause(ctx, 15*time.Second)
	return nil
}

func unreadAnswers(ctx context.Context, s *server) error { return s.unread(ctx, "wide") }

func unreadProgress(ctx context.Context, s *server) error { return s.unread(ctx, "ticking") }

// noWindow asks for wide answers on all streams of a connection of HTTP/2, whose client never opens its window.
func noWindow(ctx context.Context, s *server) error {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := openStreams(conn, s, 100); err != nil {
		return nil // the server may end it
	}
	pause(ctx, 15*time.Second)
	return nil
}

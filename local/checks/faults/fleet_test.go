// Package faults breaks things under four server processes that share their counters in a real Redis, while calls come in
// from outside, and measures what the limits are worth then. Everything stays on this machine and ends by itself.
package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

const (
	atATime   = 40
	perSecond = 100
	burst     = 10
	nodes     = 4
	lease     = 2 * time.Second
)

// A meter counts the calls that are live, by node, and the entries under a rate, as the handlers report them.
type meter struct {
	mu      sync.Mutex
	live    map[string]int
	asleep  map[string]bool // stopped processes run nothing
	most    int
	entered int
	ticks   []int64 // ns of the machine's monotonic clock
}

func (m *meter) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := r.URL.Query().Get("node")
	switch r.URL.Path {
	case "/enter":
		m.live[node]++
		m.entered++
	case "/leave":
		m.live[node] = max(m.live[node]-1, 0)
	case "/tick":
		at, _ := strconv.ParseInt(r.URL.Query().Get("at"), 10, 64)
		m.ticks = append(m.ticks, at)
	}
	m.most = max(m.most, m.sum())
}

func (m *meter) sum() (n int) {
	for node, live := range m.live {
		if !m.asleep[node] {
			n += live
		}
	}
	return n
}

func (m *meter) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// at returns how many calls of a node are live, and how many calls have entered in all.
func (m *meter) at(node string) (live, entered int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.live[node], m.entered
}

// since returns the most live calls since the last time, and now.
func (m *meter) since() (most, now int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	most, now = m.most, m.sum()
	m.most = now
	return most, now
}

type process struct {
	cmd  *exec.Cmd
	url  string
	done chan struct{}
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// degraded is what /ready says, and whether it said anything.
func (p *process) degraded() (list []string, ok bool) {
	client := http.Client{Timeout: time.Second}
	resp, err := client.Get(strings.TrimSuffix(p.url, "/mcp") + "/ready")
	if err != nil {
		return nil, false
	}
	defer resp.Body.Close()
	var body struct{ Degraded []string }
	err = json.NewDecoder(resp.Body).Decode(&body)
	return body.Degraded, err == nil && resp.StatusCode == http.StatusOK
}

// A fleet is four servers, their Redis behind a proxy that can misbehave, and the meter.
type fleet struct {
	t      *testing.T
	binary string
	env    []string // of the servers
	ports  []string // of the servers, where they must stay the same
	redis  *redisServer
	proxy  *toxiproxy.Proxy
	meter  *meter
	at     string // of the meter
	mu     sync.Mutex
	nodes  []*process
}

type redisServer struct {
	cmd  *exec.Cmd
	port string
}

func (r *redisServer) cli(args ...string) (string, error) {
	out, err := exec.Command("redis-cli", append([]string{"-p", r.port}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (r *redisServer) kill() {
	r.cmd.Process.Signal(syscall.SIGCONT)
	r.cmd.Process.Kill()
	r.cmd.Wait()
}

// newFleet starts a fleet, its Redis with more of an environment, its servers too, and on these ports, if any.
func newFleet(t *testing.T, redisEnv, env []string, ports ...string) *fleet {
	f := &fleet{t: t, env: env, ports: ports, binary: filepath.Join(t.TempDir(), "fixture"), meter: &meter{live: map[string]int{}, asleep: map[string]bool{}}}
	if out, err := exec.Command("go", "build", "-o", f.binary, "./fixture").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	srv := httptest.NewServer(f.meter)
	t.Cleanup(srv.Close)
	f.at = srv.URL
	f.redis = startRedis(t, freePort(t), redisEnv)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	f.proxy = toxiproxy.NewProxy(server, "redis", "127.0.0.1:"+freePort(t), "127.0.0.1:"+f.redis.port)
	if err := f.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range f.nodes {
			p.cmd.Process.Signal(syscall.SIGCONT)
			p.cmd.Process.Kill()
			<-p.done
		}
		f.proxy.Stop()
		f.redis.kill()
	})
	for i := range nodes {
		f.nodes = append(f.nodes, f.start(i))
	}
	return f
}

func freePort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

func startRedis(t *testing.T, port string, env []string, args ...string) *redisServer {
	t.Helper()
	cmd := exec.Command("redis-server", append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir()}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: apt-get install redis-server", err)
	}
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			conn.Close()
			return &redisServer{cmd, port}
		}
		if time.Since(begin) > 5*time.Second {
			t.Fatal("redis-server does not listen")
		}
	}
}

func (f *fleet) start(i int) *process {
	f.t.Helper()
	cmd := exec.Command(f.binary)
	cmd.Env = append(os.Environ(), "LOG_OUTPUT=stderr", "PORT=0", "REDIS_URL=redis://"+f.proxy.Listen, "METER="+f.at, fmt.Sprint("NODE_NAME=n", i), "DRAIN_TIMEOUT=0s", "LOG_LEVEL=info")
	cmd.Env = append(cmd.Env, f.env...)
	if i < len(f.ports) {
		cmd.Env = append(cmd.Env, "PORT="+f.ports[i])
	}
	log, err := cmd.StderrPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	lines := json.NewDecoder(log)
	for p.url == "" {
		var line struct{ URL string }
		if err := lines.Decode(&line); err != nil {
			f.t.Fatal(err)
		}
		p.url = line.URL
	}
	go func() {
		io.Copy(io.Discard, log)
		cmd.Wait()
		close(p.done)
	}()
	return p
}

func (f *fleet) node(i int) *process {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[i]
}

// restart puts a new process in the place of one.
func (f *fleet) restart(i int) {
	next := f.start(i)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes[i] = next
}

// toxic makes the way to Redis bad for some time.
func (f *fleet) toxic(kind, attributes string, d time.Duration) {
	body := fmt.Sprintf(`{"name":"t","type":%q,"stream":"downstream","attributes":%s}`, kind, attributes)
	if _, err := f.proxy.Toxics.AddToxicJson(bytes.NewReader([]byte(body))); err != nil {
		f.t.Fatal(err)
	}
	time.Sleep(d)
	if err := f.proxy.Toxics.RemoveToxic(context.Background(), "t"); err != nil {
		f.t.Fatal(err)
	}
}

// recovery is how long it takes until the fleet is as busy again as the cap allows, give or take a fifth.
func (f *fleet) recovery(busy int, limit time.Duration) (time.Duration, bool) {
	begin := time.Now()
	for time.Since(begin) < limit {
		if _, now := f.meter.since(); now >= busy*8/10 {
			return time.Since(begin), true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return limit, false
}

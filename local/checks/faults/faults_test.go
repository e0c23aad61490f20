// Package faults breaks things under four server processes that share their counters in a real Redis, while calls come in
// from outside, and measures what the limit is worth then. Everything stays on this machine and ends by itself.
package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	atATime = 40
	nodes   = 4
	lease   = 2 * time.Second
)

// A meter counts the calls that are live, by node, as the handlers report them.
type meter struct {
	mu   sync.Mutex
	live map[string]int
	most int
}

func (m *meter) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := r.URL.Query().Get("node")
	if r.URL.Path == "/enter" {
		m.live[node]++
	} else if m.live[node] > 0 {
		m.live[node]--
	}
	m.most = max(m.most, m.sum())
}

func (m *meter) sum() (n int) {
	for _, live := range m.live {
		n += live
	}
	return n
}

// dead forgets a node that was killed: nothing of it runs.
func (m *meter) dead(node string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.live, node)
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
	cmd *exec.Cmd
	url string
}

type fleet struct {
	t      *testing.T
	binary string
	redis  *exec.Cmd
	port   string
	meter  *meter
	at     string // of the meter
	mu     sync.Mutex
	nodes  []*process

	refused, answered, failed atomic.Int64
	waits                     []time.Duration
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{t: t, binary: filepath.Join(t.TempDir(), "fixture"), meter: &meter{live: map[string]int{}}}
	if out, err := exec.Command("go", "build", "-o", f.binary, "./fixture").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	srv := httptest.NewServer(f.meter)
	t.Cleanup(srv.Close)
	f.at = srv.URL
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, f.port, _ = net.SplitHostPort(ln.Addr().String())
	ln.Close()
	f.startRedis()
	for i := range nodes {
		f.nodes = append(f.nodes, f.start(i))
	}
	t.Cleanup(func() {
		for _, p := range f.nodes {
			p.cmd.Process.Signal(syscall.SIGCONT)
			p.cmd.Process.Kill()
			p.cmd.Wait()
		}
		f.redis.Process.Kill()
		f.redis.Wait()
	})
	return f
}

func (f *fleet) startRedis() {
	f.t.Helper()
	f.redis = exec.Command("redis-server", "--port", f.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", f.t.TempDir())
	if err := f.redis.Start(); err != nil {
		f.t.Fatalf("%v: apt-get install redis-server", err)
	}
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+f.port); err == nil {
			conn.Close()
			return
		}
		if time.Since(begin) > 5*time.Second {
			f.t.Fatal("redis-server does not listen")
		}
	}
}

func (f *fleet) start(i int) *process {
	f.t.Helper()
	cmd := exec.Command(f.binary)
	cmd.Env = append(os.Environ(), "PORT=0", "REDIS_URL=redis://127.0.0.1:"+f.port, "METER="+f.at, fmt.Sprint("NODE_NAME=n", i), "DRAIN_TIMEOUT=0s", "LOG_LEVEL=info")
	log, err := cmd.StderrPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	lines := json.NewDecoder(log)
	var line struct{ URL string }
	if err := lines.Decode(&line); err != nil {
		f.t.Fatal(err)
	}
	go io.Copy(io.Discard, log)
	return &process{cmd, line.URL}
}

func (f *fleet) url(i int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[i].url
}

// load keeps callers calling until stop is closed.
func (f *fleet) load(callers int, stop chan struct{}) *sync.WaitGroup {
	var wg sync.WaitGroup
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	for c := range callers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				begin := time.Now()
				refused, err := call(client, f.url(c%nodes), 5+rand.IntN(60))
				switch {
				case err != nil:
					f.failed.Add(1)
					time.Sleep(20 * time.Millisecond)
				case refused:
					f.refused.Add(1)
					f.mu.Lock()
					f.waits = append(f.waits, time.Since(begin))
					f.mu.Unlock()
					time.Sleep(10 * time.Millisecond)
				default:
					f.answered.Add(1)
				}
			}
		})
	}
	return &wg
}

func call(client *http.Client, url string, ms int) (refused bool, err error) {
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"work","arguments":{"ms":%d}}}`, ms)
	resp, err := client.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, err
	}
	var a struct {
		Error *struct {
			Code int
			Data struct{ RetryAfterMs int }
		}
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return false, fmt.Errorf("%s: %w", b, err)
	}
	if a.Error == nil {
		return false, nil
	}
	if a.Error.Code != 1060 && a.Error.Code != 1005 || a.Error.Data.RetryAfterMs <= 0 {
		return false, fmt.Errorf("%s", b)
	}
	return true, nil
}

// recovery is how long it takes until the fleet is as busy again as the cap allows, give or take a tenth.
func (f *fleet) recovery(limit time.Duration) (time.Duration, bool) {
	begin := time.Now()
	for time.Since(begin) < limit {
		if _, now := f.meter.since(); now >= atATime*8/10 {
			return time.Since(begin), true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return limit, false
}

func TestFaults(t *testing.T) {
	f := newFleet(t)
	stop := make(chan struct{})
	done := f.load(120, stop)
	defer func() { close(stop); done.Wait() }()
	if _, ok := f.recovery(10 * time.Second); !ok {
		t.Fatal("the fleet never got busy")
	}
	fmt.Printf("%-42s %8s %8s %9s %9s %8s %12s\n", "fault", "most", "excess", "answered", "refused", "failed", "recovery")
	worst := 0
	step := func(name string, fault func(), recoversWithin time.Duration) {
		f.meter.since()
		before := [3]int64{f.answered.Load(), f.refused.Load(), f.failed.Load()}
		fault()
		most, _ := f.meter.since()
		took, ok := f.recovery(recoversWithin + 3*time.Second)
		after, _ := f.meter.since()
		most = max(most, after)
		worst = max(worst, most-atATime)
		fmt.Printf("%-42s %8d %8d %9d %9d %8d %12v\n", name, most, max(most-atATime, 0), f.answered.Load()-before[0], f.refused.Load()-before[1], f.failed.Load()-before[2], took.Round(time.Millisecond))
		if most > atATime {
			t.Errorf("%s: %d calls were live, the cap is %d", name, most, atATime)
		}
		if !ok || took > recoversWithin {
			t.Errorf("%s: busy again after %v, want %v", name, took, recoversWithin)
		}
	}
	step("none", func() { time.Sleep(3 * time.Second) }, 500*time.Millisecond)
	step("an instance killed", func() {
		p := f.nodes[0]
		p.cmd.Process.Kill()
		p.cmd.Wait()
		f.meter.dead("n0")
		time.Sleep(lease / 2)
		next := f.start(0)
		f.mu.Lock()
		f.nodes[0] = next
		f.mu.Unlock()
	}, lease+500*time.Millisecond)
	step("scripts flushed again and again", func() {
		for range 100 {
			exec.Command("redis-cli", "-p", f.port, "script", "flush").Run()
			time.Sleep(10 * time.Millisecond)
		}
	}, 500*time.Millisecond)
	step("Redis stopped for less than a lease", func() {
		f.redis.Process.Signal(syscall.SIGSTOP)
		time.Sleep(lease / 2)
		f.redis.Process.Signal(syscall.SIGCONT)
	}, time.Second)
	step("Redis stopped for longer than a lease", func() {
		f.redis.Process.Signal(syscall.SIGSTOP)
		time.Sleep(lease * 2)
		f.redis.Process.Signal(syscall.SIGCONT)
	}, lease+time.Second)
	step("Redis killed and restarted empty", func() {
		f.redis.Process.Kill()
		f.redis.Wait()
		time.Sleep(200 * time.Millisecond)
		f.startRedis()
	}, lease+time.Second)

	f.mu.Lock()
	defer f.mu.Unlock()
	slices.Sort(f.waits)
	at := func(q float64) time.Duration {
		return f.waits[min(int(q*float64(len(f.waits))), len(f.waits)-1)].Round(10 * time.Microsecond)
	}
	fmt.Printf("refusals, over HTTP: median %v, p99 %v, p99.9 %v of %d\n", at(0.5), at(0.99), at(0.999), len(f.waits))
}

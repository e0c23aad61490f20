// Command bench measures what one tools/call costs a server: this one, a bare net/http handler, and the stateless handlers
// of two other Go implementations, all in one run, with the same call over loopback.
//
// Each server is a process of its own, and one of them has its limits in a real Redis. What counts is its user and system time (getrusage) and its allocations
// (runtime.MemStats), so that neither the load generator nor the machine's other work is in the figures; wall time is not
// measured. The rounds of the servers alternate, and medians are printed: of what a call took, and of how many times that of the bare
// handler it was in the same round. Arguments differ from call to call, and each
// server's counter proves that its handler ran every time.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	serve := flag.String("serve", "", "be the server of this name instead (used by the command itself)")
	var p plan
	flag.IntVar(&p.calls, "calls", 20000, "calls a round")
	flag.IntVar(&p.rounds, "rounds", 7, "rounds for each server and era")
	flag.IntVar(&p.conns, "conns", 4, "connections at a time")
	flag.StringVar(&p.only, "only", "", "measure this server alone")
	flag.Float64Var(&p.most, "most", 0, "exit with 1 when this server takes more than so many times the CPU of the bare handler, or some allocations more than it did")
	flag.Float64Var(&p.together, "together", 0, "the same for this server with limits in Redis, tokens and ten rules")
	flag.Float64Var(&p.observed, "observed", 0, "exit with 1 when log, metrics and traces add more than so much to the CPU of a call, as 1.15, or 2 KB to its memory")
	flag.Float64Var(&p.recorded, "recorded", 0, "exit with 1 when a call takes more than so many times the CPU of one that leaves no receipt")
	flag.Float64Var(&p.governed, "governed", 0, "exit with 1 when a governed call takes more than so many times the CPU of an ungoverned one")
	flag.Float64Var(&p.proxied, "proxied", 0, "exit with 1 when a call of a declared tool takes more than so many times the CPU of a reverse proxy to the same backend")
	flag.Parse()
	if *serve != "" {
		serveOne(*serve)
		return
	}
	if err := measure(p); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type server struct {
	name string
	what string
	url  string
	info string
	stop func()

	counter *server // that has the handler: itself or the backend
}

// allocations are how many more than the bare handler's a call may make: some more than it does. Unlike CPU time they are the same on each
// machine.
var allocations = map[string]float64{"erlmcp": 20, "callers": 60}

// A cost is what a round cost one call.
type cost struct {
	cpu    float64 // µs
	bytes  float64
	allocs float64
}

// A plan is what is measured, and the limits that it must keep, 0 for none.
type plan struct {
	calls, rounds, conns                                  int
	only                                                  string
	most, together, governed, observed, recorded, proxied float64
}

func measure(p plan) error {
	redis, stop, err := startRedis()
	if err != nil {
		return err
	}
	defer stop()
	os.Setenv("REDIS_URL", redis)
	token, stopIssuer, err := callers()
	if err != nil {
		return err
	}
	defer stopIssuer()
	stopCollector, err := collector()
	if err != nil {
		return err
	}
	defer stopCollector()
	backend, err := start(peer{name: "backend"})
	if err != nil {
		return fmt.Errorf("backend: %w", err)
	}
	defer backend.stop()
	os.Setenv("BENCH_BACKEND", strings.TrimSuffix(backend.url, "/mcp"))
	var servers []*server
	for _, peer := range peers {
		if p.only != "" && peer.name != p.only && peer.name != "bare" && !(p.only == "declared" && peer.name == "proxy") {
			continue
		}
		s, err := start(peer)
		if err != nil {
			return fmt.Errorf("%s: %w", peer.name, err)
		}
		defer s.stop()
		if s.counter = s; peer.calls {
			s.counter = backend
		}
		servers = append(servers, s)
	}
	fmt.Printf("One tools/call over loopback, %d calls a round, %d connections, medians of %d rounds in alternation, and of the rounds' own ratios\n\n", p.calls, p.conns, p.rounds)
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "era\tserver\tCPU µs/call\tbest\tworst\ttimes bare\tKB/call\tallocs/call\t")
	for _, era := range eras {
		costs := map[string][]cost{}
		for round := -1; round < p.rounds; round++ { // the first warms up
			for _, s := range servers {
				c, err := s.round(era, token, max(round, 0)*p.calls, p.calls, p.conns)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", s.name, era.name, err)
				}
				if round >= 0 {
					costs[s.name] = append(costs[s.name], c)
				}
			}
		}
		memory := map[string]float64{}
		for _, s := range servers {
			cs := costs[s.name]
			byCPU := slices.SortedFunc(slices.Values(cs), func(a, b cost) int { return cmp.Compare(a.cpu, b.cpu) })
			memory[s.name] = median(cs, func(c cost) float64 { return c.bytes })
			bare := times(cs, costs["bare"])
			fmt.Fprintf(t, "%s\t%s\t%.1f\t%.1f\t%.1f\t%.2f\t%.1f\t%.0f\t\n", era.name, s.what, byCPU[len(cs)/2].cpu, byCPU[0].cpu, byCPU[len(cs)-1].cpu, bare,
				memory[s.name]/1000, median(cs, func(c cost) float64 { return c.allocs }))
			if limit := map[string]float64{"erlmcp": p.most, "callers": p.together}[s.name]; limit > 0 && bare > limit {
				err = fmt.Errorf("%s: %s takes %.2f times the bare handler's CPU, the limit is %.2f", era.name, s.what, bare, limit)
			}
			more := median(cs, func(c cost) float64 { return c.allocs }) - median(costs["bare"], func(c cost) float64 { return c.allocs })
			if limit := allocations[s.name]; p.only == "" && p.most > 0 && limit > 0 && more > limit {
				err = fmt.Errorf("%s: a call of %s makes %.0f allocations more than of the bare handler, the limit is %.0f", era.name, s.what, more, limit)
			}
		}
		for _, name := range []string{"erlmcp", "traced"} {
			observed := times(costs[name], costs["unobserved"])
			more := memory[name] - memory["unobserved"]
			if p.only == "" && p.observed > 0 && (observed > p.observed || more > 2000) {
				err = fmt.Errorf("%s: a call of %s takes %.2f times the CPU of an unobserved one and %.0f bytes more, the limits are %.2f and 2000", era.name, name, observed, more, p.observed)
			}
		}
		if recorded := times(costs["erlmcp"], costs["unrecorded"]); p.only == "" && p.recorded > 0 && recorded > p.recorded {
			err = fmt.Errorf("%s: a call takes %.2f times the CPU of one that leaves no receipt, the limit is %.2f", era.name, recorded, p.recorded)
		}
		if proxied := times(costs["declared"], costs["proxy"]); p.proxied > 0 && proxied > p.proxied {
			err = fmt.Errorf("%s: a call of a declared tool takes %.2f times the CPU of a reverse proxy, the limit is %.2f", era.name, proxied, p.proxied)
		}
		for _, name := range []string{"erlmcp", "fleet"} {
			if governed := times(costs[name], costs["ungoverned"]); p.only == "" && p.governed > 0 && governed > p.governed {
				err = fmt.Errorf("%s: a call of %s takes %.2f times the CPU of an ungoverned one, the limit is %.2f", era.name, name, governed, p.governed)
			}
		}
	}
	t.Flush()
	fmt.Println("\nEvery handler ran once for each call, by the servers' own counters.")
	return err
}

// collector takes what is exported, as an OpenTelemetry collector does.
func collector() (stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	os.Setenv("BENCH_COLLECTOR", "http://"+ln.Addr().String())
	return func() { ln.Close() }, nil
}

// startRedis starts a Redis for the server whose limits are there.
func startRedis() (url string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr := ln.Addr().String()
	ln.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("%w: apt-get install redis-server", err)
	}
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return "redis://" + addr, func() { cmd.Process.Kill(); cmd.Wait() }, nil
		}
		if time.Since(begin) > 5*time.Second {
			return "", nil, errors.New("redis-server does not listen")
		}
	}
}

// times tells how much more CPU one server takes than another: the median of what the rounds say. Servers that are compared within a
// round had the machine at its speed of the same seconds, so that its ups and downs are not in the result.
func times(cs, others []cost) float64 {
	var v []float64
	for i := range min(len(cs), len(others)) {
		v = append(v, cs[i].cpu/others[i].cpu)
	}
	slices.Sort(v)
	if len(v) == 0 {
		return 0
	}
	return v[len(v)/2]
}

func median(cs []cost, of func(cost) float64) float64 {
	var v []float64
	for _, c := range cs {
		v = append(v, of(c))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

func start(p peer) (*server, error) {
	cmd := exec.Command(os.Args[0], "-serve", p.name)
	cmd.Stderr = os.Stderr
	out, announce, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{announce}
	// As a platform does: it reads the log, at the cost of another process.
	log, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	announce.Close()
	go io.Copy(io.Discard, log)
	s := &server{name: p.name, what: p.what, stop: func() { cmd.Process.Kill(); cmd.Wait() }}
	if _, err := fmt.Fscan(out, &s.url, &s.info); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// usage is what a server tells of itself.
type usage struct {
	CPU    int64 // ns
	Bytes  uint64
	Allocs uint64
	Calls  int64
}

func (s *server) usage() (u usage, err error) {
	resp, err := http.Get(s.info)
	if err != nil {
		return u, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return u, err
	}
	return u, json.Unmarshal(b, &u)
}

func (s *server) round(e era, token string, first, calls, conns int) (cost, error) {
	u, err := url.Parse(s.url)
	if err != nil {
		return cost{}, err
	}
	to := &target{host: u.Host, path: u.Path, token: token, tool: "add"}
	if s.name == "declared" {
		to.tool = "api_add"
	}
	ran, err := s.counter.usage()
	if err != nil {
		return cost{}, err
	}
	before, err := s.usage()
	if err != nil {
		return cost{}, err
	}
	if err := load(to, e, first, calls, conns); err != nil {
		return cost{}, err
	}
	after, err := s.usage()
	if err != nil {
		return cost{}, err
	}
	handled, err := s.counter.usage()
	if err != nil {
		return cost{}, err
	}
	if got := handled.Calls - ran.Calls; got != int64(calls) {
		return cost{}, fmt.Errorf("the handler ran %d times for %d calls", got, calls)
	}
	n := float64(calls)
	return cost{float64(after.CPU-before.CPU) / n / 1000, float64(after.Bytes-before.Bytes) / n, float64(after.Allocs-before.Allocs) / n}, nil
}

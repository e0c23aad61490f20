// Command suite runs the official MCP conformance suite against two instances of the conformance server behind a proxy that
// sends no two consecutive requests to the same instance, so that a server which remembered anything would fail. It prints
// a table of scenarios and exits with 1 where fewer pass than should.
package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"
)

// A requirement is a frozen set of scenarios, and which of them are known to fail and why.
type requirement struct {
	revision string
	scored   int
	known    map[string]string
	beyond   []string // scenarios outside of the set that pass all the same
}

const askLegacy = "the server can't ask a client of a legacy revision yet"

var requirements = []requirement{
	{revision: "2026-07-28", scored: 37, beyond: []string{"http-header-validation", "http-custom-header-server-validation", "json-schema-2020-12"}},
	{revision: "2025-11-25", scored: 30, known: map[string]string{
		"tools-call-sampling": askLegacy, "tools-call-elicitation": askLegacy,
		"elicitation-sep1034-defaults": askLegacy, "elicitation-sep1330-enums": askLegacy,
	}},
}

func main() {
	server := flag.String("server", "", "binary of the conformance server")
	modules := flag.String("modules", "", "folder that holds node_modules with the suite")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := run(ctx, *server, *modules); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, server, modules string) error {
	node, err := findNode(ctx, modules)
	if err != nil {
		return err
	}
	key := make([]byte, 32)
	rand.Read(key)
	keys := base64.StdEncoding.EncodeToString(key)
	var targets []*url.URL
	for range 2 {
		target, stop, err := start(ctx, server, keys)
		if err != nil {
			return err
		}
		defer stop()
		targets = append(targets, target)
	}
	balancer := &roundRobin{targets: targets, met: make([]int, len(targets))}
	front := httptest.NewServer(balancer.handler())
	defer front.Close()

	var faults []error
	for _, r := range requirements {
		faults = append(faults, r.check(ctx, node, modules, front.URL+"/mcp"))
	}
	fmt.Printf("\nRequests met by the two instances: %d and %d, strictly in turn.\n", balancer.met[0], balancer.met[1])
	if d := balancer.met[0] - balancer.met[1]; d < -1 || d > 1 || balancer.met[0] == 0 {
		faults = append(faults, errors.New("the proxy did not alternate"))
	}
	return errors.Join(faults...)
}

// findNode prefers the Node of the modules: the suite needs 22 or later.
func findNode(ctx context.Context, modules string) (string, error) {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	for _, path := range []string{filepath.Join(modules, "node_modules", "node-"+runtime.GOOS+"-"+arch, "bin", "node"), "node"} {
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		if err != nil {
			continue
		}
		major, _, _ := strings.Cut(strings.TrimPrefix(string(out), "v"), ".")
		if n, _ := strconv.Atoi(major); n >= 22 {
			return path, nil
		}
	}
	return "", errors.New("no Node 22 or later: run make conformance, which installs one")
}

// start runs an instance on a free port and waits until it says where it listens.
func start(ctx context.Context, binary, keys string) (*url.URL, func(), error) {
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = append(os.Environ(), "LOG_OUTPUT=stderr", "PORT=0", "SEALING_KEYS="+keys)
	log, err := cmd.StderrPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	lines := json.NewDecoder(log)
	var line struct{ URL string }
	for err == nil && line.URL == "" { // warnings come before
		err = lines.Decode(&line)
	}
	if err != nil {
		cmd.Process.Kill()
		return nil, nil, fmt.Errorf("%s did not start: %v", binary, err)
	}
	go func() { // what it logs later is a defect's trace
		for {
			var record map[string]any
			if lines.Decode(&record) != nil {
				return
			}
			if record["severity"] == "ERROR" {
				fmt.Fprintln(os.Stderr, "server:", record)
			}
		}
	}()
	target, err := url.Parse(line.URL)
	if err != nil {
		return nil, nil, err
	}
	target.Path = ""
	return target, func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() }, nil
}

type roundRobin struct {
	targets []*url.URL
	mu      sync.Mutex
	next    int
	met     []int
}

func (r *roundRobin) handler() http.Handler {
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1, // events go through as they come
		Rewrite: func(p *httputil.ProxyRequest) {
			r.mu.Lock()
			i := r.next
			r.next = (i + 1) % len(r.targets)
			r.met[i]++
			r.mu.Unlock()
			host := p.In.Host
			p.SetURL(r.targets[i])
			p.Out.Host = host // the check against DNS rebinding sees what the client sent
		},
		Transport: &http.Transport{
			DialContext:     (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			IdleConnTimeout: 5 * time.Second, // well before the server's own, or a request may meet a connection that is being closed
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Without it an answer's begin closes the request's body, and where the proxy has not met the body's end by then, it drops the
		// connection to the server in mid-answer: https://github.com/golang/go/issues/40747.
		http.NewResponseController(w).EnableFullDuplex()
		defer r.Body.Close() // or a failed round trip leaves it to two readers: https://github.com/golang/go/issues/68560
		proxy.ServeHTTP(w, r)
	})
}

type result struct {
	passed, failed, warned, skipped int
	faults                          []string // of what failed, in the suite's words
}

func (r result) ok() bool { return r.failed == 0 }

// check runs one set of requirements, prints its table and reports what should have passed and did not.
func (r requirement) check(ctx context.Context, node, modules, url string) error {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	script := filepath.Join(modules, "node_modules", "@modelcontextprotocol", "conformance", "dist", "index.js")
	cmd := exec.CommandContext(ctx, node, script, "server", "--url", url, "--requirements", r.revision, "-o", dir)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) { // it exits with 1 for failures that are not scored too
		return fmt.Errorf("%w\n%s", err, out)
	}
	results, err := read(dir)
	if err != nil {
		return err
	}
	unscored := notScored(string(out))

	fmt.Printf("\nOfficial suite, --requirements %s\n\n", r.revision)
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "scenario\tresult\tpassed\tfailed\twarnings\tskipped\tnote")
	var faults []error
	scored, passed := 0, 0
	names := make([]string, 0, len(results))
	for name := range results {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if x, y := unscored[a] != "", unscored[b] != ""; x != y {
			if x {
				return 1
			}
			return -1
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		res := results[name]
		verdict, note := "pass", ""
		if !res.ok() {
			verdict = "FAIL"
		} else if res.passed == 0 {
			verdict = "none" // nothing failed, and nothing was checked
		}
		reason, known := r.known[name]
		switch {
		case unscored[name] != "":
			note = "not scored: " + unscored[name]
			if slices.Contains(r.beyond, name) {
				note += ", demanded here"
				if verdict != "pass" {
					faults = append(faults, fmt.Errorf("%s: %s: %s", r.revision, name, strings.Join(res.faults, "; ")))
				}
			}
		default:
			scored++
			if res.ok() {
				passed++
			}
			if known {
				note = reason
			}
			if !res.ok() && !known {
				faults = append(faults, fmt.Errorf("%s: %s: %s", r.revision, name, strings.Join(res.faults, "; ")))
			}
			if res.ok() && known {
				faults = append(faults, fmt.Errorf("%s: %s passes now: take it off the list of known failures", r.revision, name))
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%s\n", name, verdict, res.passed, res.failed, res.warned, res.skipped, note)
	}
	t.Flush()
	fmt.Printf("\n%s: %d of %d scored scenarios without a failure\n", r.revision, passed, scored)
	if scored != r.scored {
		faults = append(faults, fmt.Errorf("%s: %d scenarios were scored, want %d\n%s", r.revision, scored, r.scored, out))
	}
	return errors.Join(faults...)
}

// read sums up the checks of each scenario, which the suite leaves in server-NAME-TIME/checks.json.
func read(dir string) (map[string]result, error) {
	files, err := filepath.Glob(filepath.Join(dir, "server-*", "checks.json"))
	if err != nil {
		return nil, err
	}
	results := map[string]result{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var checks []struct{ Status, Name, ErrorMessage string }
		if err := json.Unmarshal(b, &checks); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		name := strings.TrimPrefix(filepath.Base(filepath.Dir(file)), "server-")
		name = name[:len(name)-len("-2006-01-02T15-04-05-000Z")]
		var r result
		for _, c := range checks {
			switch c.Status {
			case "SUCCESS":
				r.passed++
			case "FAILURE":
				r.failed++
				r.faults = append(r.faults, c.Name+": "+c.ErrorMessage)
			case "WARNING":
				r.warned++
			case "SKIPPED":
				r.skipped++
			}
		}
		results[name] = r
	}
	return results, nil
}

// notScored reads the suite's own list of scenarios that do not count, with the reasons.
func notScored(out string) map[string]string {
	reasons := map[string]string{}
	_, list, _ := strings.Cut(out, "Not scored for")
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) == 3 && strings.HasPrefix(fields[2], "(") {
			reasons[fields[1]] = strings.Trim(fields[2], "()")
		}
	}
	return reasons
}

// Package judge holds erlmcp judge against versions that are bad, each in one way, and against healthy ones: behind a real balancer that
// gives the canary a tenth of the traffic, and by a real Prometheus.
package judge

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/world"
)

var long = flag.Bool("long", false, "bake 20 healthy canaries in place of 3")

// programs is where the fixture and erlmcp are.
var programs string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "erlmcp-check-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs = dir
	if out, err := exec.Command("go", "build", "-o", dir+"/", "example.com/erlmcp/local/checks/judge/fixture", "example.com/erlmcp/function/cmd/erlmcp").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// start runs a program until the test ends.
func start(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: make packages installs it", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("the end of what %s says: %s", filepath.Base(name), text[max(0, len(text)-500):])
		}
	})
}

// answers waits until something answers there.
func answers(t *testing.T, url string) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if resp, err := http.Get(url); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Since(begin) > time.Minute {
			t.Fatalf("nothing answers at %s", url)
		}
	}
}

const (
	baseline = "1.0.0"
	canary   = "1.1.0"
)

// serve starts the fixture and returns its port.
func serve(t *testing.T, variant, version string) string {
	t.Helper()
	port := world.FreePort(t)
	env := append(world.Anonymous(), "PORT="+port, "VARIANT="+variant, "VERSION="+version, "LOG_OUTPUT=stderr", "LOG_SAMPLE=0.001", "LOG_LEVEL=error", "REDIS_URL=", "GOOGLE_CLOUD_PROJECT=")
	if variant == "sheds" {
		env = append(env, "WORKERS=1")
	}
	start(t, env, filepath.Join(programs, "fixture"))
	return port
}

// balance runs haproxy with the configuration of local/compose.yaml, with nine tenths for one and one for the other.
func balance(t *testing.T, nine, one string) (url string) {
	t.Helper()
	text, err := os.ReadFile("../../haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	bind := world.FreePort(t)
	servers := fmt.Sprintf("  server baseline 127.0.0.1:%s weight 90\n  server canary 127.0.0.1:%s weight 10\n", nine, one)
	config := regexp.MustCompile(`(?m)(^  server .*\n)+`).ReplaceAllString(string(text), servers)
	config = strings.Replace(config, "bind :8080", "bind 127.0.0.1:"+bind, 1)
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, nil, "haproxy", "-q", "-db", "-f", file)
	answers(t, "http://127.0.0.1:"+bind+"/health")
	return "http://127.0.0.1:" + bind + "/mcp"
}

// scrape runs Prometheus, which finds what it scrapes every second in files of the folder that is returned.
func scrape(t *testing.T) (url, targets string) {
	t.Helper()
	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n- job_name: fixtures\n  file_sd_configs: [{files: [%q], refresh_interval: 1s}]\n", dir+"/*.json")
	return world.StartPrometheus(t, config), dir
}

// watch has Prometheus scrape both of a pair as a job of their own.
func watch(t *testing.T, dir, job string, ports ...string) {
	t.Helper()
	var targets []string
	for _, port := range ports {
		targets = append(targets, "127.0.0.1:"+port)
	}
	text, _ := json.Marshal([]map[string]any{{"targets": targets, "labels": map[string]string{"job": job}}})
	// It is there as a whole or not at all.
	if err := os.WriteFile(filepath.Join(dir, job+".new"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, job+".new"), filepath.Join(dir, job+".json")); err != nil {
		t.Fatal(err)
	}
}

// call sends calls of the tools, by clients of both eras, at uneven times, until it is stopped.
func call(url string, perSecond float64) (stop func()) {
	ended := make(chan struct{})
	var wg sync.WaitGroup
	client := &http.Client{Timeout: 10 * time.Second}
	wg.Go(func() {
		for {
			select {
			case <-ended:
				return
			case <-time.After(time.Duration(rand.ExpFloat64() / perSecond * float64(time.Second))):
			}
			wg.Go(func() { one(client, url, fmt.Sprint("tool", rand.IntN(10)), rand.IntN(5) == 0) })
		}
	})
	return func() { close(ended); wg.Wait() }
}

func one(client *http.Client, url, tool string, legacy bool) {
	const meta = `,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"check","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
	version, more := "2026-07-28", meta
	if legacy {
		version, more = "2025-11-25", ""
	}
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`"`+more+`}}`))
	if err != nil {
		return
	}
	for name, value := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": version} {
		req.Header.Set(name, value)
	}
	if !legacy {
		req.Header.Set("Mcp-Method", "tools/call")
		req.Header.Set("Mcp-Name", tool)
	}
	if resp, err := client.Do(req); err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

// judge runs erlmcp judge, and returns what it says.
func judge(t *testing.T, prometheus, job string, args ...string) (status int, text string) {
	t.Helper()
	args = append([]string{"judge", "-prometheus", prometheus, "-canary", fmt.Sprintf("job=%q,version=%q", job, canary), "-baseline", fmt.Sprintf("job=%q,version=%q", job, baseline)}, args...)
	cmd := exec.Command(filepath.Join(programs, "erlmcp"), args...)
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

// A bake is a pair of versions and what is to be said of the canary.
type bake struct {
	name, variant string
	perSecond     float64
	status        int
	says          string
	args          []string
}

func bakes() []bake {
	all := []bake{
		{"panics", "panics", 40, 1, "of type panic", nil},
		{"tool", "tool", 60, 1, "calls of the tool tool3 that failed", nil},
		{"sheds", "sheds", 40, 1, "backpressure", nil},
		{"slow", "slow", 40, 1, "slow ", nil},
		{"leaks", "leaks", 40, 1, "memory of 127.0.0.1:", nil},
		{"legacy", "legacy", 40, 1, "requests in protocol revision 2025-11-25", nil},
	}
	healthy := 3
	if *long {
		healthy = 20
	}
	for i := range healthy {
		b := bake{fmt.Sprint("healthy", i), "healthy", 40, 0, "No comparison of ", []string{"-least", "50"}}
		switch i % 3 {
		case 1:
			b.perSecond = 15
		case 2: // nobody calls but the judge
			b.perSecond, b.args = 0, append(b.args, "-load-per-second", "20")
		}
		all = append(all, b)
	}
	return all
}

// TestJudge bakes each canary for a minute. They go on beside each other, as many as nine at a time.
func TestJudge(t *testing.T) {
	prometheus, targets := scrape(t)
	places := make(chan struct{}, 9)
	for _, b := range bakes() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			places <- struct{}{}
			defer func() { <-places }()
			old, young := serve(t, "healthy", baseline), serve(t, b.variant, canary)
			for _, port := range []string{old, young} {
				answers(t, "http://127.0.0.1:"+port+"/health")
			}
			url := balance(t, old, young)
			watch(t, targets, b.name, old, young)
			if b.perSecond > 0 {
				defer call(url, b.perSecond)()
			} else {
				b.args = append(b.args, "-load", url)
			}
			there(t, prometheus, b.name)
			begin := time.Now()
			status, text := judge(t, prometheus, b.name, append([]string{"-bake", "1m", "-every", "1s"}, b.args...)...)
			t.Logf("after %s:\n%s", time.Since(begin).Round(time.Second), text)
			if status != b.status || !strings.Contains(text, b.says) {
				t.Errorf("status %d, want %d and %q", status, b.status, b.says)
			}
		})
	}
}

// there waits until Prometheus has scraped both, twice.
func there(t *testing.T, prometheus, job string) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		resp, err := http.PostForm(prometheus+"/api/v1/query", map[string][]string{"query": {fmt.Sprintf("count(count_over_time(erlmcp_build_info{job=%q}[1m]) >= 4)", job)}})
		if err == nil {
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if strings.Contains(string(text), `"2"]`) {
				return
			}
		}
		if time.Since(begin) > time.Minute {
			t.Fatalf("Prometheus does not scrape both of %s", job)
		}
	}
}

// TestNoVerdict: without a Prometheus, without a canary, or with too few calls there is none.
func TestNoVerdict(t *testing.T) {
	prometheus, targets := scrape(t)
	port := serve(t, "healthy", baseline)
	answers(t, "http://127.0.0.1:"+port+"/health")
	watch(t, targets, "alone", port)
	for _, c := range []struct {
		name, at string
		args     []string
		status   int
		says     string
	}{
		{"nobody answers", "http://127.0.0.1:1", nil, 3, "undecided: Prometheus could not be asked in the whole bake"},
		{"no canary", prometheus, nil, 3, "undecided: There is no canary: no series erlmcp_build_info{"},
		{"no canary passes", prometheus, []string{"-undecided", "pass"}, 0, "counts as pass"},
		{"no matcher", prometheus, []string{"-canary", "version"}, 2, "does not take the query"},
		{"both the same processes", prometheus, []string{"-canary", `job="alone"`, "-baseline", `job=~"alone"`}, 2, "is both canary and baseline"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.name == "both the same processes" {
				for begin := time.Now(); time.Since(begin) < 5*time.Second; time.Sleep(time.Second) {
				} // until it is scraped
			}
			status, text := judge(t, c.at, "alone", append([]string{"-bake", "4s"}, c.args...)...)
			if status != c.status || !strings.Contains(text, c.says) {
				t.Errorf("status %d, want %d and %q\n%s", status, c.status, c.says, text)
			}
		})
	}
}

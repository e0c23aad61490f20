// Package receipts holds the record of decisions against what breaks: server processes on a real Redis and Firestore's emulator are
// killed and cut off from their store, and the operator's own commands say what is missing.
package receipts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A world is what the processes share.
type world struct {
	t        *testing.T
	dir      string
	env      []string
	emulator *os.Process
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir()}
	sdk, err := exec.Command("gcloud", "info", "--format=value(installation.sdk_root)").Output()
	jar := strings.TrimSpace(string(sdk)) + "/platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
	if err == nil {
		_, err = os.Stat(jar)
	}
	if err != nil {
		t.Skip("NOT TESTED: there is no Firestore emulator here (gcloud components install cloud-firestore-emulator)")
	}
	firestore, redis := freePort(t), freePort(t)
	w.emulator = w.daemon(firestore, "java", "-Xmx512m", "-Duser.language=en", "-cp", jar, "com.google.cloud.datastore.emulator.firestore.CloudFirestore",
		"start", "--host=127.0.0.1", "--port="+firestore)
	w.daemon(redis, "redis-server", "--port", redis, "--bind", "127.0.0.1", "--save", "", "--dir", w.dir)
	for _, name := range []string{"fixture", "erlmcp"} {
		from := map[string]string{"fixture": "./fixture", "erlmcp": "example.com/erlmcp/function/cmd/erlmcp"}[name]
		w.run(0, "go", "build", "-o", filepath.Join(w.dir, name), from)
	}
	key := filepath.Join(w.dir, "key.pem")
	w.run(0, "openssl", "genpkey", "-algorithm", "ed25519", "-out", key)
	w.run(0, "openssl", "pkey", "-in", key, "-pubout", "-out", filepath.Join(w.dir, "public.pem"))
	w.env = append(os.Environ(), "GOOGLE_CLOUD_PROJECT=receipts", "FIRESTORE_EMULATOR_HOST=127.0.0.1:"+firestore, "REDIS_URL=redis://127.0.0.1:"+redis,
		"AUTHENTICATION=anonymous", "ANONYMOUS_RATE_LIMIT_PER_SECOND=0", "ANONYMOUS_MAX_CONCURRENT_CALLS=0", "RECEIPT_KEY_FILE="+key, "LOG_OUTPUT=stderr", "LOG_SAMPLE=0.001")
	return w
}

func freePort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

// daemon runs a program until the test ends, and returns once it listens.
func (w *world) daemon(port, name string, args ...string) *os.Process {
	w.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = w.env
	if err := cmd.Start(); err != nil {
		w.t.Fatalf("%s: %v", name, err)
	}
	w.t.Cleanup(func() { cmd.Process.Signal(syscall.SIGCONT); cmd.Process.Kill(); cmd.Wait() })
	w.listens(port)
	return cmd.Process
}

func (w *world) listens(port string) {
	w.t.Helper()
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			conn.Close()
			return
		}
		if time.Since(begin) > time.Minute {
			w.t.Fatalf("nothing listens on port %s", port)
		}
	}
}

// run runs a command to its end and returns what it printed; the exit status must be as is wanted.
func (w *world) run(status int, name string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = w.env
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != status {
		w.t.Fatalf("%s %q: status %d, want %d\n%s", name, args, got, status, out)
	}
	return string(out)
}

// erlmcp runs a command of the operator's.
func (w *world) erlmcp(status int, args ...string) string {
	w.t.Helper()
	return w.run(status, filepath.Join(w.dir, "erlmcp"), args...)
}

// A server is a process that serves the fixture.
type server struct {
	url  string
	cmd  *exec.Cmd
	done chan struct{}
	log  bytes.Buffer
}

func (w *world) serve(name string) *server {
	w.t.Helper()
	port := freePort(w.t)
	s := &server{url: "http://127.0.0.1:" + port, cmd: exec.Command(filepath.Join(w.dir, "fixture")), done: make(chan struct{})}
	s.cmd.Env = append(w.env, "PORT="+port, "NODE_NAME="+name)
	s.cmd.Stderr = &s.log
	if err := s.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() { s.cmd.Wait(); close(s.done) }()
	w.t.Cleanup(func() { s.cmd.Process.Kill(); <-s.done })
	w.listens(port)
	return s
}

// call calls a tool; the code is 0 where it ran.
func (s *server) call(client *http.Client, tool string) (id string, code int, err error) {
	resp, err := client.Post(s.url+"/mcp", "application/json", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`"}}`))
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", 0, err
	}
	var answer struct{ Error *struct{ Code int } }
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", 0, fmt.Errorf("%s: %w", body, err)
	}
	if answer.Error != nil {
		code = answer.Error.Code
	}
	return resp.Header.Get("X-Request-Id"), code, nil
}

// runs calls a tool until it runs: a machine that is busy refuses some calls (1005).
func (s *server) runs(t *testing.T, client *http.Client, tool string) {
	t.Helper()
	code, err := 0, error(nil)
	for begin := time.Now(); time.Since(begin) < 10*time.Second; time.Sleep(50 * time.Millisecond) {
		if _, code, err = s.call(client, tool); err != nil || code != 1005 {
			break
		}
	}
	if err != nil || code != 0 {
		t.Fatal(code, err)
	}
}

// A load calls a tool over and over, and keeps what became of each call.
type load struct {
	stop         chan struct{}
	wg           sync.WaitGroup
	ran, refused atomic.Int64
	mu           sync.Mutex
	ids          []string // of calls that ran
}

func (s *server) load(tool string, callers int, pause time.Duration) *load {
	l := &load{stop: make(chan struct{})}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	for range callers {
		l.wg.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				case <-time.After(pause):
				}
				id, code, err := s.call(client, tool)
				switch {
				case err != nil:
				case code != 0:
					l.refused.Add(1)
				default:
					l.ran.Add(1)
					l.mu.Lock()
					l.ids = append(l.ids, id)
					l.mu.Unlock()
				}
			}
		})
	}
	return l
}

func (l *load) end() { close(l.stop); l.wg.Wait() }

// TestKilled kills a process under load: at most what its last second had is lost, and verification says which receipts are missing.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	s := w.serve("victim")
	l := s.load("note", 8, 4*time.Millisecond)
	time.Sleep(5 * time.Second)
	s.cmd.Process.Kill()
	killed := time.Now()
	<-s.done
	l.end()
	perSecond := float64(l.ran.Load()) / 5

	exported := filepath.Join(w.dir, "all.jsonl")
	w.erlmcp(0, "receipts", "export", "-out", exported)
	text, err := os.ReadFile(exported)
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for _, id := range l.ids {
		if !bytes.Contains(text, []byte(`"id":"`+id+`"`)) {
			lost++
		}
	}
	if l.ran.Load() < 500 || float64(lost) > 1.5*perSecond {
		t.Errorf("%d calls ran, %.0f a second, and the receipts of %d are lost: at most those of the last second may be", l.ran.Load(), perSecond, lost)
	}

	t.Logf("killed at %.0f calls a second: the receipts of %d of %d calls are not stored", perSecond, lost, l.ran.Load())
	time.Sleep(time.Until(killed.Add(16 * time.Second))) // an announcement that is younger may be of one that lives
	said := w.erlmcp(1, "verify")
	m := regexp.MustCompile(`(?m)^LOST TAIL: .*receipts? (\d+)–(\d+)`).FindStringSubmatch(said)
	if m == nil || !strings.Contains(said, "victim-") {
		t.Fatalf("the lost tail is not named:\n%s", said)
	}
	from, _ := strconv.Atoi(m[1])
	to, _ := strconv.Atoi(m[2])
	t.Logf("verify names %d to %d:\n%s", from, to, said)
	if named := to - from + 1; named > lost+8 || float64(named) < float64(lost)-0.5*perSecond {
		t.Errorf("%d receipts are named missing, and %d are", named, lost)
	}
}

// TestStoreAway takes the store away for half a minute: strict tools are refused, the others go on, and all receipts are there after.
func TestStoreAway(t *testing.T) {
	w := newWorld(t)
	s := w.serve("n")
	strict, buffered := s.load("pay", 1, 200*time.Millisecond), s.load("note", 4, 20*time.Millisecond)
	time.Sleep(3 * time.Second)
	if strict.ran.Load() == 0 || strict.refused.Load() > 0 {
		t.Fatalf("before: %d strict calls ran, %d were refused\n%s", strict.ran.Load(), strict.refused.Load(), s.log.String())
	}
	w.emulator.Signal(syscall.SIGSTOP)
	time.Sleep(3 * time.Second) // calls that were on their way
	ran, noted := strict.ran.Load(), buffered.ran.Load()
	time.Sleep(27 * time.Second)
	if n := strict.ran.Load() - ran; n > 0 {
		t.Errorf("%d strict calls ran while the store was away", n)
	}
	if strict.refused.Load() < 5 {
		t.Errorf("%d strict calls were refused", strict.refused.Load())
	}
	if n := buffered.ran.Load() - noted; n < 500 {
		t.Errorf("only %d other calls ran while the store was away", n)
	}
	resp, err := http.Get(s.url + "/ready")
	if err != nil {
		t.Fatal(err)
	}
	said, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 || !bytes.Contains(said, []byte("receipts: the store does not take them")) {
		t.Errorf("/ready: %d %s", resp.StatusCode, said)
	}
	w.emulator.Signal(syscall.SIGCONT)
	back := time.Now()
	for ran = strict.ran.Load(); strict.ran.Load() == ran; time.Sleep(50 * time.Millisecond) {
		if time.Since(back) > 30*time.Second {
			t.Fatal("strict calls are not taken again")
		}
	}
	t.Logf("strict calls ran again %v after the store was back", time.Since(back).Round(100*time.Millisecond))
	strict.end()
	buffered.end()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(11 * time.Second):
		t.Fatal("the server does not end")
	}
	exported := filepath.Join(w.dir, "all.jsonl")
	w.erlmcp(0, "receipts", "export", "-out", exported)
	text, err := os.ReadFile(exported)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*load{strict, buffered} {
		for _, id := range l.ids {
			if !bytes.Contains(text, []byte(`"id":"`+id+`"`)) {
				t.Fatalf("the receipt of %s is lost, of %d calls that ran", id, len(l.ids))
			}
		}
	}
	t.Log(w.erlmcp(0, "verify"))

	public := filepath.Join(w.dir, "public.pem")
	t.Log(w.erlmcp(0, "verify", "-offline", exported, "-keys", public))
	forged := filepath.Join(w.dir, "forged.jsonl")
	edited := bytes.Replace(text, []byte(`"kind":"completed"`), []byte(`"kind":"failed"`), 1)
	if bytes.Equal(edited, text) {
		t.Fatal("nothing to edit")
	}
	if err := os.WriteFile(forged, edited, 0o600); err != nil {
		t.Fatal(err)
	}
	if said := w.erlmcp(1, "verify", "-offline", forged, "-keys", public); !strings.Contains(said, "ALTERED") {
		t.Errorf("an edited export: %s", said)
	}
	if said := w.erlmcp(0, "receipts", "show", strict.ids[0]); strings.Count(said, "\n") != 2 || !strings.Contains(said, `"kind":"admitted"`) {
		t.Errorf("a strict call: %s", said)
	}
	if said := w.erlmcp(0, "receipts", "list", "-tenant", "anonymous"); !strings.Contains(said, strict.ids[0]) {
		t.Errorf("the list lacks a call:\n%.2000s", said)
	}
}

// TestStalledAtTheEnd freezes an instance right after an answer, stalls the store, and has both go: the process is gone within 10 s,
// and what it did not store is known.
func TestStalledAtTheEnd(t *testing.T) {
	w := newWorld(t)
	s := w.serve("frozen")
	client := &http.Client{Timeout: 10 * time.Second}
	for range 20 {
		s.runs(t, client, "note")
	}
	time.Sleep(1500 * time.Millisecond)
	w.emulator.Signal(syscall.SIGSTOP)
	s.runs(t, client, "note")
	s.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(3 * time.Second)
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.cmd.Process.Signal(syscall.SIGCONT)
	begin := time.Now()
	select {
	case <-s.done:
		t.Logf("gone after %v", time.Since(begin).Round(10*time.Millisecond))
	case <-time.After(10 * time.Second):
		t.Fatal("the process lives on")
	}
	w.emulator.Signal(syscall.SIGCONT)
	time.Sleep(16 * time.Second)
	said := w.erlmcp(1, "verify")
	if !strings.Contains(said, "LOST TAIL") || !strings.Contains(s.log.String(), "not all receipts are stored") {
		t.Errorf("what was not stored is not known:\n%s\n%s", said, s.log.String())
	}
}

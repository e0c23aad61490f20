// Package world starts what a check is about as processes of their own: servers of the fixture, a real Redis and Firestore's
// emulator. All of them are on loopback and end with the test.
package world

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// programs are the fixture and erlmcp, built once for all tests of a package.
var programs struct {
	dir   string
	built sync.Once
	fault error
}

// Main runs the tests of a package.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "erlmcp-check-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs.dir = dir
	return m.Run()
}

// Program is the path of one of them: fixture or erlmcp.
func Program(t *testing.T, name string) string {
	t.Helper()
	programs.built.Do(func() {
		out, err := exec.Command("go", "build", "-o", programs.dir+"/", "example.com/erlmcp/local/checks/world/fixture", "example.com/erlmcp/function/cmd/erlmcp").CombinedOutput()
		if err != nil {
			programs.fault = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if programs.fault != nil {
		t.Fatal(programs.fault)
	}
	return filepath.Join(programs.dir, name)
}

// ports are those that were given out.
var ports struct {
	sync.Mutex
	given map[int]bool
}

// FreePort returns a port that no other test gets, nor a connection that is made meanwhile: those have ports from 32768 on.
func FreePort(t *testing.T) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 1000 {
		port := 10000 + rand.IntN(22000)
		if ports.given[port] {
			continue
		}
		ln, err := net.Listen("tcp", fmt.Sprint(":", port))
		if err != nil {
			continue
		}
		ln.Close()
		if ports.given == nil {
			ports.given = map[int]bool{}
		}
		ports.given[port] = true
		return strconv.Itoa(port)
	}
	t.Fatal("no port is free")
	return ""
}

// A Daemon is a program that runs until the test ends.
type Daemon struct {
	t    *testing.T
	port string
	args []string
	cmd  *exec.Cmd
}

// daemon starts a program, and does not wait until it listens.
func daemon(t *testing.T, port string, args ...string) *Daemon {
	d := &Daemon{t: t, port: port, args: args}
	d.start()
	t.Cleanup(d.Kill)
	return d
}

func (d *Daemon) start() {
	d.t.Helper()
	d.cmd = exec.Command(d.args[0], d.args[1:]...)
	if err := d.cmd.Start(); err != nil {
		d.t.Fatalf("%s: %v", d.args[0], err)
	}
}

// Address is where it listens.
func (d *Daemon) Address() string { return "127.0.0.1:" + d.port }

// Stop has it stand still; what is sent to it waits.
func (d *Daemon) Stop() { d.cmd.Process.Signal(syscall.SIGSTOP) }

// Continue has it go on.
func (d *Daemon) Continue() { d.cmd.Process.Signal(syscall.SIGCONT) }

// Kill ends it at once.
func (d *Daemon) Kill() {
	d.cmd.Process.Kill()
	d.cmd.Wait()
}

// Restart starts it anew, and returns once it listens.
func (d *Daemon) Restart() {
	d.t.Helper()
	d.start()
	listens(d.t, d.port)
}

func listens(t *testing.T, port string) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			conn.Close()
			return
		}
		if time.Since(begin) > time.Minute {
			t.Fatalf("nothing listens on port %s", port)
		}
	}
}

// EmulatorJar is Firestore's emulator, which comes with the gcloud SDK. Where there is no gcloud the test is skipped.
func EmulatorJar(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("gcloud"); err != nil {
		t.Skip("NOT TESTED: there is no gcloud, whose SDK has the Firestore emulator")
	}
	sdk, err := exec.Command("gcloud", "info", "--format=value(installation.sdk_root)").Output()
	jar := strings.TrimSpace(string(sdk)) + "/platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
	if err == nil {
		_, err = os.Stat(jar)
	}
	if err != nil {
		t.Fatalf("gcloud has no Firestore emulator (gcloud components install cloud-firestore-emulator): %v", err)
	}
	return jar
}

// StartEmulator starts the emulator, which has what is in an export where its options name one.
func StartEmulator(t *testing.T, options ...string) *Daemon {
	t.Helper()
	jar := EmulatorJar(t)
	port := FreePort(t)
	e := daemon(t, port, slices.Concat([]string{"java", "-Xmx512m", "-Duser.language=en", "-cp", jar, "com.google.cloud.datastore.emulator.firestore.CloudFirestore",
		"start", "--host=127.0.0.1", "--port=" + port}, options)...)
	Program(t, "fixture") // meanwhile
	listens(t, port)
	return e
}

// Port is the one that it listens on.
func (d *Daemon) Port() string { return d.port }

// A World is what processes share: a database of the emulator's, a Redis, and the operator's key for receipts.
type World struct {
	Dir    string
	Redis  *Daemon
	Public string // file of the operator's public key
	env    []string
	guards map[string]*guard // before the store, by function; nil: as the settings say
	t      *testing.T
}

// New returns a world whose processes have these settings. Those with the same project share a database. Without an emulator they have a
// store only where the settings name a file.
func New(t *testing.T, emulator *Daemon, project string, env ...string) *World {
	t.Helper()
	w := &World{Dir: t.TempDir(), t: t}
	port, key := FreePort(t), filepath.Join(w.Dir, "key.pem")
	w.Redis = daemon(t, port, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", w.Dir)
	w.Public = filepath.Join(w.Dir, "public.pem")
	w.run(0, "openssl", "genpkey", "-algorithm", "ed25519", "-out", key)
	w.run(0, "openssl", "pkey", "-in", key, "-pubout", "-out", w.Public)
	store := []string{"GOOGLE_CLOUD_PROJECT=", "FIRESTORE_EMULATOR_HOST="}
	if emulator != nil {
		store = []string{"GOOGLE_CLOUD_PROJECT=" + project, "FIRESTORE_EMULATOR_HOST=127.0.0.1:" + emulator.port}
	}
	w.env = slices.Concat(os.Environ(), store, []string{"REDIS_URL=redis://127.0.0.1:" + port, "RECEIPT_KEY_FILE=" + key, "LOG_OUTPUT=stderr", "LOG_SAMPLE=0.001"}, env)
	listens(t, port)
	return w
}

// With is the same world to processes that have more settings, and end with another test.
func (w *World) With(t *testing.T, env ...string) *World {
	other := *w
	other.t, other.env = t, slices.Concat(w.env, env)
	return &other
}

// Command is one of the operator's, erlmcp with arguments.
func (w *World) Command(args ...string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command(Program(w.t, "erlmcp"), args...)
	cmd.Env = w.env
	return cmd
}

// Start starts such a command.
func (w *World) Start(args ...string) *exec.Cmd {
	w.t.Helper()
	cmd := w.Command(args...)
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return cmd
}

// Run runs such a command to its end, and returns what it printed and its exit status.
func (w *World) Run(args ...string) (out string, status int) {
	w.t.Helper()
	cmd := w.Command(args...)
	text, _ := cmd.CombinedOutput()
	return string(text), cmd.ProcessState.ExitCode()
}

// EmptyRedis takes everything out of Redis.
func (w *World) EmptyRedis() {
	w.t.Helper()
	w.run(0, "redis-cli", "-p", w.Redis.port, "flushall")
}

// Anonymous are settings by which anyone may call without a limit.
func Anonymous() []string {
	return []string{"AUTHENTICATION=anonymous", "ANONYMOUS_RATE_LIMIT_PER_SECOND=0", "ANONYMOUS_MAX_CONCURRENT_CALLS=0"}
}

// run runs a command to its end and returns what it printed; the exit status must be as is wanted.
func (w *World) run(status int, name string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = w.env
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != status {
		w.t.Fatalf("%s %q: status %d, want %d\n%s", name, args, got, status, out)
	}
	return string(out)
}

// Notes is what instances have put up on a board in Redis, a line for each.
func (w *World) Notes(board string) string {
	w.t.Helper()
	return w.run(0, "redis-cli", "-p", w.Redis.port, "hvals", "{erlmcp}:"+board)
}

// Operate runs a command of the operator's, erlmcp with arguments, and returns what it printed; the exit status must be as is wanted.
func (w *World) Operate(status int, args ...string) string {
	w.t.Helper()
	return w.run(status, Program(w.t, "erlmcp"), args...)
}

// NewKey makes an API key in a file, with the operator's command, and returns its text.
func (w *World) NewKey(file, tenant, subject, scopes string) string {
	w.t.Helper()
	out := w.Operate(0, "keys", "add", "-file", file, "-tenant", tenant, "-subject", subject, "-scopes", scopes)
	i := strings.Index(out, "erlmcp_")
	if i < 0 {
		w.t.Fatalf("there is no key in %q", out)
	}
	return strings.Fields(out[i:])[0]
}

// StartPrometheus starts one with a configuration, and returns its URL once it is ready.
func StartPrometheus(t *testing.T, config string) (url string) {
	t.Helper()
	dir, port := t.TempDir(), FreePort(t)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	daemon(t, port, "prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:"+port, "--log.level=error")
	url = "http://127.0.0.1:" + port
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get(url + "/-/ready"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return url
			}
		}
		if time.Since(begin) > time.Minute {
			t.Fatal("Prometheus is not ready")
		}
	}
}

// Shell runs a line of a shell's, in which erlmcp is the operator's command, and returns what it printed.
func (w *World) Shell(line string) (string, error) {
	w.t.Helper()
	cmd := exec.Command("bash", "-c", line)
	cmd.Env = append(slices.Clip(w.env), "PATH="+filepath.Dir(Program(w.t, "erlmcp"))+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

package fork

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestNew makes a repository, and tests, builds and runs it as someone does who has neither this checkout nor what it has fetched.
func TestNew(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	shop := filepath.Join(t.TempDir(), "shop")
	run(t, root, "go", "run", "./function/cmd/erlmcp", "new", shop, "-module", "github.com/acme/shop")
	if text := run(t, shop, "gofmt", "-l", "tools", "cmd", "local", "shop.go"); text != "" {
		t.Errorf("not formatted: %s", text)
	}
	fetched := strings.TrimSpace(run(t, shop, "go", "env", "GOMODCACHE"))
	elsewhere(t, "file://"+fetched+"/cache/download")

	run(t, shop, "make", "test")
	binary := filepath.Join(t.TempDir(), "shop")
	run(t, shop, "go", "build", "-o", binary, "./cmd/shop")
	t.Run("commands", func(t *testing.T) { commands(t, binary) })
	t.Run("container", func(t *testing.T) { greets(t, binary) })
	t.Run("functions framework", func(t *testing.T) {
		binary := filepath.Join(t.TempDir(), "server")
		buildpack(t, shop, binary)
		greets(t, binary, "FUNCTION_TARGET=erlmcp")
	})
	t.Run("local", func(t *testing.T) {
		binary := filepath.Join(t.TempDir(), "server")
		run(t, shop, "go", "build", "-o", binary, "./local")
		localRun(t, binary)
	})
	t.Run("vendored, without a network", func(t *testing.T) {
		run(t, shop, "go", "mod", "vendor")
		elsewhere(t, "off")
		binary := filepath.Join(t.TempDir(), "shop")
		run(t, shop, "go", "build", "-o", binary, "./cmd/shop") // as Google's buildpack does for GOOGLE_BUILDABLE
		greets(t, binary)
	})
}

// elsewhere takes away what has been fetched, and has it fetched again from a proxy. The module of erlmcp is in none.
func elsewhere(t *testing.T, proxy string) {
	t.Helper()
	cache, err := os.MkdirTemp("", "modules")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("chmod", "-R", "u+w", cache).Run() // a cache of modules is read-only
		os.RemoveAll(cache)
	})
	t.Setenv("GOMODCACHE", cache)
	t.Setenv("GOPROXY", proxy)
	t.Setenv("GONOSUMDB", "*")
}

// commands: the program has erlmcp's commands under its own name and version, and none of them starts a server.
func commands(t *testing.T, binary string) {
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"version", 0, "0.1.0\n"},
		{"help", 0, "shop 0.1.0: a governed MCP server, made with erlmcp "},
		{"help kill", 0, "shop kill SCOPE -reason TEXT"},
		{"kill tool:x", 1, "GOOGLE_CLOUD_PROJECT or REDIS_URL: neither is set"},
		{"limits", 1, "GOOGLE_CLOUD_PROJECT or REDIS_URL: neither is set"},
		{"receipts list", 1, "GOOGLE_CLOUD_PROJECT: is not set"},
		{"tool:x kill", 2, `unknown command "tool:x"`},
		{"start", 2, `unknown command "start"`},
		{"-v", 2, `unknown command "-v"`},
		{"serve now", 2, "takes no arguments"},
		{"settings", 0, "RATE_LIMIT_PER_SECOND"},
	} {
		cmd := exec.CommandContext(t.Context(), binary, strings.Fields(c.args)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if cmd.ProcessState.ExitCode() != c.status || !strings.Contains(string(out), c.want) {
			t.Errorf("shop %s: status %d, want %d with %q:\n%s", c.args, cmd.ProcessState.ExitCode(), c.status, c.want, out)
		}
	}
}

func greets(t *testing.T, binary string, env ...string) {
	t.Helper()
	s := start(t, binary, env...)
	defer s.cmd.Process.Kill()
	if got := s.call("tools/call", "greet", `,"arguments":{"name":"Ada"}`); !strings.Contains(got, "Hello, Ada.") {
		t.Errorf("greet: %s", got)
	}
	if got := get(t, s.url+"/health"); !strings.Contains(got, `"version":"0.1.0"`) {
		t.Errorf("/health: %s", got)
	}
}

var controlURL = regexp.MustCompile(`taiea, is at (http://\S+)`)

// localRun greets, and has a control plane and receipts.
func localRun(t *testing.T, binary string) {
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PORT=0", "DRAIN_TIMEOUT=400ms"}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	var said strings.Builder
	for b := make([]byte, 4096); !strings.Contains(said.String(), "Ctrl-C stops it."); {
		n, err := out.Read(b)
		said.Write(b[:n])
		if err != nil {
			t.Fatalf("%v after\n%s", err, said.String())
		}
	}
	at := controlURL.FindStringSubmatch(said.String())
	if at == nil || !strings.Contains(said.String(), `go run ./cmd/shop kill tool:greet -reason`) {
		t.Fatalf("what is printed lacks the control plane or the commands:\n%s", said.String())
	}
	s := &server{t: t, url: strings.TrimSuffix(regexp.MustCompile(`http://localhost:\d+/mcp`).FindString(said.String()), "/mcp")}
	if got := s.call("tools/call", "greet", `,"arguments":{"name":"Ada"}`); !strings.Contains(got, "Hello, Ada.") {
		t.Errorf("greet: %s", got)
	}
	// A receipt is stored within a second or so of real time.
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		var page struct{ Receipts []struct{ Tool string } }
		text := get(t, at[1]+"/v1/receipts")
		if err := json.Unmarshal([]byte(text), &page); err == nil && strings.Contains(text, `"tool":"greet"`) {
			break
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("there is no receipt of the call: %s", text)
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

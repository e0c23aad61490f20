// Package fork does what someone does who clones the repository to serve tools of their own: it copies what git knows, adds
// three functions to function/tools.go, and calls them in the local run, in the container's main, and in the program that
// the Functions Framework's buildpack makes of the source.
package fork

import (
	"bufio"
	"bytes"
	"context"
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
	"syscall"
	"testing"
	"time"
)

// registrations are the three lines that the author adds to the list in tools.go.
const registrations = `		NewAction("remember", "Remembers a note.", remember),
		NewTool("delete_file", "Deletes a file, after asking.", deleteFile, Timeout(time.Minute)),
		NewTool("reindex", "Indexes everything; takes a while.", reindex),
`

func TestFork(t *testing.T) {
	mine, err := os.ReadFile("testdata/mine.go")
	if err != nil {
		t.Fatal(err)
	}
	// What an author writes is forty lines, the package clause and imports left out, which an editor writes.
	_, body, _ := strings.Cut(string(mine), "\n)\n")
	if n := strings.Count(registrations, "\n") + strings.Count(strings.ReplaceAll(body, "\n\n", "\n"), "\n"); n > 40 {
		t.Errorf("%d added lines", n)
	}
	fork := clone(t)
	write(t, filepath.Join(fork, "function", "mine.go"), mine)
	tools, err := os.ReadFile(filepath.Join(fork, "function", "tools.go"))
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(tools), "return []Tool{\n", "return []Tool{\n"+registrations, 1)
	if edited == string(tools) {
		t.Fatal("tools.go has no list to add to")
	}
	write(t, filepath.Join(fork, "function", "tools.go"), []byte(edited))

	builds := []struct {
		name  string
		build func(binary string)
		env   []string
	}{
		{"local", func(binary string) { run(t, fork, "go", "build", "-o", binary, "./local") }, nil},
		{"container", func(binary string) { run(t, fork, "go", "build", "-o", binary, "./function/cmd/erlmcp") }, nil},
		{"functions framework", func(binary string) { buildpack(t, fork, binary) }, []string{"FUNCTION_TARGET=erlmcp"}},
	}
	lists := map[string]string{}
	for _, b := range builds {
		t.Run(b.name, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "server")
			b.build(binary)
			s := start(t, binary, b.env...)
			for _, name := range []string{"time_in_zone", "remember", "delete_file", "reindex"} {
				if !strings.Contains(s.call("tools/list", "", ""), `"name":"`+name+`"`) {
					t.Errorf("%s is not listed", name)
				}
			}
			if got := s.call("tools/call", "remember", `,"arguments":{"text":"milk"}`); !strings.Contains(got, `"text":"done"`) {
				t.Errorf("remember: %s", got)
			}
			if got := s.call("tools/call", "reindex", ""); !strings.Contains(got, "indexed") {
				t.Errorf("reindex: %s", got)
			}
			var asked struct {
				Result struct {
					ResultType, RequestState string
				}
			}
			got := s.call("tools/call", "delete_file", `,"arguments":{"name":"a.txt"}`)
			if err := json.Unmarshal([]byte(got), &asked); err != nil || asked.Result.ResultType != "input_required" {
				t.Fatalf("delete_file: %s", got)
			}
			got = s.call("tools/call", "delete_file", `,"arguments":{"name":"a.txt"},"inputResponses":{"sure":{"action":"accept","content":{"confirm":true}}},"requestState":"`+asked.Result.RequestState+`"`)
			if !strings.Contains(got, "a.txt is deleted") {
				t.Errorf("delete_file, confirmed: %s", got)
			}
			// The tools of the source are the same, whatever else a build brings along.
			list := regexp.MustCompile(`"name":"(delete_file|reindex|remember|time_in_zone)","(title|description)":"[^"]*"`).FindAllString(s.call("tools/list", "", ""), -1)
			lists[b.name] = strings.Join(list, "\n")
			if lists[b.name] != lists["local"] {
				t.Errorf("the tools differ from those of the local run:\n%s\n%s", lists[b.name], lists["local"])
			}
			s.stopsGracefully(t)
		})
	}
}

// clone copies what git tracks, as it is in the work tree.
func clone(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name := range strings.SplitSeq(strings.TrimSpace(run(t, root, "git", "ls-files", "--cached", "--others", "--exclude-standard")), "\n") {
		b, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // deleted and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), b)
	}
	return dir
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var out, fault bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &fault
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, fault.String())
	}
	return out.String()
}

// buildpack does what Google's Go buildpack does for --function: a module of its own around a generated main, with the
// source in its place as a replacement.
func buildpack(t *testing.T, source, binary string) {
	t.Helper()
	app := t.TempDir()
	write(t, filepath.Join(app, "main.go"), []byte(`package main

import (
	"log"
	"os"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"

	_ "example.com/erlmcp"
)

func main() {
	if err := funcframework.StartHostPort("127.0.0.1", os.Getenv("PORT")); err != nil {
		log.Fatal(err)
	}
}
`))
	run(t, app, "go", "mod", "init", "functions.local/app")
	run(t, app, "go", "mod", "edit", "-require=example.com/erlmcp@v0.0.0", "-replace=example.com/erlmcp="+source)
	run(t, app, "go", "mod", "tidy")
	run(t, app, "go", "build", "-o", binary, ".")
}

type server struct {
	t    *testing.T
	url  string
	cmd  *exec.Cmd
	done chan error
}

func start(t *testing.T, binary string, env ...string) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	port := ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Env = append(append(os.Environ(), "LOG_OUTPUT=stderr", "PORT="+strconv.Itoa(port), "DRAIN_TIMEOUT=4s", "AUTHENTICATION=anonymous", "ANONYMOUS_RATE_LIMIT_PER_SECOND=0", "ANONYMOUS_MAX_CONCURRENT_CALLS=0"), env...)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(log); lines.Scan(); {
			fmt.Fprintln(os.Stderr, filepath.Base(binary)+":", lines.Text())
		}
	}()
	s := &server{t, "http://" + address, cmd, make(chan error, 1)}
	go func() { s.done <- cmd.Wait() }()
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return s
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the server does not listen")
		}
	}
}

// call makes a modern request; name is the tool's, more is what its params hold beside it.
func (s *server) call(method, name, more string) string {
	s.t.Helper()
	params := ""
	if name != "" {
		params = `"name":"` + name + `"` + more + `,`
	}
	body := `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{` + params +
		`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}}}`
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", s.url+"/mcp", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for k, v := range map[string]string{"Content-Type": "application/json", "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, "Mcp-Name": name} {
		if v != "" {
			req.Header.Set(k, v)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// stopsGracefully sends SIGTERM while a call runs: the call is answered, then the process ends with 0.
func (s *server) stopsGracefully(t *testing.T) {
	t.Helper()
	answer := make(chan string)
	go func() { answer <- s.call("tools/call", "reindex", "") }()
	time.Sleep(40 * time.Millisecond)
	s.cmd.Process.Signal(syscall.SIGTERM)
	if got := <-answer; !strings.Contains(got, "indexed") {
		t.Errorf("the call that ran at SIGTERM got %q", got)
	}
	select {
	case err := <-s.done:
		if err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("still there 5 s after SIGTERM")
	}
}

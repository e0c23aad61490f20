// Package fork does what someone does who clones the repository to serve tools of their own: it copies what git knows, writes
// README's tool and three more into function/tools, in place of the one that is there, runs the tests, and calls the tools in the
// local run, in the container's main, and in the program that Google's buildpack makes of the source. Its module has a path of its own.
package fork

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
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
	"syscall"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/gocommand"
)

// registrations are the lines that the author adds to the catalog.
const registrations = `			function.NewAction("remember", "Remembers a note.", remember),
			function.NewTool("delete_file", "Deletes a file, after asking.", deleteFile, function.ToolOptions{Timeout: time.Minute}),
			function.NewTool("reindex", "Indexes everything; takes a while.", reindex),
`

// namesakes is the line for a tool whose file has types that are called as some in the rooms of the product are.
const namesakes = `			function.NewTool("answer", "Answers.", answer),
`

// own are all tools of the fork.
var own = []string{"weather", "remember", "delete_file", "reindex", "answer"}

// TestMain has what is compiled not depend on where it lies: forks come to lie in another folder each time.
func TestMain(m *testing.M) {
	os.Setenv("GOFLAGS", "-trimpath -buildvcs=false")
	os.Setenv("MAKEFLAGS", "")
	os.Exit(m.Run())
}

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
	write(t, filepath.Join(fork, "function", "tools", "mine.go"), mine)
	names, err := os.ReadFile("testdata/names.go")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(fork, "function", "tools", "names.go"), names)
	weather, named := fromReadme(t, fork)
	write(t, filepath.Join(fork, "function", "tools", "weather.go"), []byte(weather))
	edit(t, filepath.Join(fork, "function", "tools", "tools.go"), named)
	run(t, fork, "make", "module", "NAME=github.com/acme/agents")
	if left, _ := exec.Command("grep", "-rl", `"example.com/erlmcp`, fork, "--include=*.go").Output(); len(left) > 0 {
		t.Errorf("make module leaves the old path in\n%s", left)
	}
	if text := run(t, fork, "gofmt", "-l", "."); text != "" {
		t.Errorf("make module leaves imports out of order in\n%s", text)
	}

	t.Run("make test", func(t *testing.T) { makeTest(t, fork) })

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
			for _, name := range own {
				if !strings.Contains(s.call("tools/list", "", ""), `"name":"`+name+`"`) {
					t.Errorf("%s is not listed", name)
				}
			}
			if got := s.call("tools/call", "remember", `,"arguments":{"text":"milk"}`); !strings.Contains(got, `"text":"done"`) {
				t.Errorf("remember: %s", got)
			}
			if got := s.call("tools/call", "weather", `,"arguments":{"city":"Lima"}`); !strings.Contains(got, "Sun in Lima") {
				t.Errorf("weather: %s", got)
			}
			if got := s.call("tools/call", "answer", `,"arguments":{"question":"where"}`); !strings.Contains(got, `"text":"here"`) {
				t.Errorf("answer: %s", got)
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
			list := regexp.MustCompile(`"name":"(delete_file|reindex|remember|weather)","(title|description)":"[^"]*"`).FindAllString(s.call("tools/list", "", ""), -1)
			lists[b.name] = strings.Join(list, "\n")
			if lists[b.name] != lists["local"] {
				t.Errorf("the tools differ from those of the local run:\n%s\n%s", lists[b.name], lists["local"])
			}
			s.stopsGracefully(t)
		})
	}
}

var strict = flag.Bool("strict", false, "run all tests of the fork, and not those alone that what its author writes could change")

// makeTest runs make test. The packages that don't know of the author's tools are those of the checkout, whose own make test they
// have passed.
func makeTest(t *testing.T, fork string) {
	t.Helper()
	args := []string{"test"}
	if !*strict {
		module := strings.TrimSpace(run(t, fork, "go", "list", "-m"))
		affected := []string{module + "/function/tools"}
		for line := range strings.Lines(run(t, fork, "go", "list", "-test", "-f", "{{.ImportPath}} {{join .Deps \" \"}} ", "./...")) {
			if name, deps, _ := strings.Cut(line, " "); strings.Contains(deps, module+"/function/tools ") && !strings.HasSuffix(name, ".test") {
				affected = append(affected, name)
			}
		}
		slices.Sort(affected)
		if affected = slices.Compact(affected); len(affected) < 4 {
			t.Fatalf("only %v serve the author's tools", affected)
		}
		args = append(args, "PACKAGES="+strings.Join(affected, " "))
		run(t, fork, "go", "test", "-run", "TestImportRules|TestSourceDeployment", "./function")
	}
	cmd := gocommand.New(t.Context(), fork, "make", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("make %s: %v\n%s", args, err, out)
	}
}

var goBlocks = regexp.MustCompile("(?s)```go\n(.*?)```")

// fromReadme returns the file of the tool that README shows, and the lines that name it in the catalog.
func fromReadme(t *testing.T, fork string) (file, named string) {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(fork, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := goBlocks.FindAllStringSubmatch(string(readme), -1)
	if len(blocks) < 2 || !strings.HasPrefix(blocks[0][1], "package tools\n") || !strings.HasPrefix(blocks[1][1], "\t\tTools: []function.Tool{\n") {
		t.Fatalf("README.md begins with other Go than a file of a tool and the lines that name it: %q", blocks)
	}
	return blocks[0][1], blocks[1][1]
}

var (
	shipped = regexp.MustCompile(`(?s)\t\tTools: \[\]function\.Tool\{\n.*?\n\t\t\},\n`)
	unused  = regexp.MustCompile(`(?m)^\t"(context|fmt)"\n`)
)

// edit puts the author's tools into the catalog in place of those that came with it, and takes out what then is of no use.
func edit(t *testing.T, file, named string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(b), "\ntype ")
	edited := unused.ReplaceAllString(shipped.ReplaceAllLiteralString(text, strings.Replace(named, "{\n", "{\n"+registrations+namesakes, 1)), "")
	edited = strings.Replace(edited, `Name: "erlmcp", Title: "erlmcp",`, `Name: "mine", Title: "Mine", Version: "3.1.4",`, 1)
	for _, want := range []string{registrations, `"weather"`, `"3.1.4"`} {
		if !strings.Contains(edited, want) {
			t.Fatalf("tools.go has no catalog to edit: it lacks %q then:\n%s", want, edited)
		}
	}
	write(t, file, []byte(edited))
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
	cmd := gocommand.New(t.Context(), dir, name, args...)
	var out, fault bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &fault
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, fault.String())
	}
	return out.String()
}

// buildpack does what Google's Go buildpack does for --function: it moves the source into a folder, puts a main that it generates
// into another one below, tidies, and builds that (cmd/go/functions_framework in github.com/GoogleCloudPlatform/buildpacks).
func buildpack(t *testing.T, source, binary string) {
	t.Helper()
	module := strings.TrimSpace(run(t, source, "go", "list", "-m"))
	app := t.TempDir()
	if err := os.CopyFS(app, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(app, generatedIn, "main.go"), fmt.Appendf(nil, generated, module))
	run(t, app, "go", "mod", "tidy")
	run(t, app, "go", "build", "-o", binary, "./"+generatedIn)
}

const (
	generatedIn = "functions.local/app"
	generated   = `package main

import (
	"log"
	"os"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"

	_ "%s"
)

func main() {
	if err := funcframework.StartHostPort("127.0.0.1", os.Getenv("PORT")); err != nil {
		log.Fatal(err)
	}
}
`
)

type server struct {
	t    *testing.T
	url  string
	cmd  *exec.Cmd
	done chan error
}

func start(t *testing.T, binary string, env ...string) *server {
	t.Helper()
	env = append([]string{"AUTHENTICATION=anonymous", "ANONYMOUS_RATE_LIMIT_PER_SECOND=0", "ANONYMOUS_MAX_CONCURRENT_CALLS=0"}, env...)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	port := ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Env = append(append(os.Environ(), "LOG_OUTPUT=stderr", "PORT="+strconv.Itoa(port), "DRAIN_TIMEOUT=4s"), env...)
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

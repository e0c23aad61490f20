package agents

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/world"
)

// fixture is the server under test, and home the folder that the agents take for that of their user. Both are there for all tests.
var fixture, home string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "agents")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fixture, home = filepath.Join(dir, "fixture"), filepath.Join(dir, "home")
	status := 1
	if err := os.Mkdir(home, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else if out, err := exec.Command("go", "build", "-o", fixture, "./fixture").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the fixture: %v\n%s", err, out)
	} else {
		status = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(status)
}

// A server is one that keeps its port when it is replaced.
type server struct {
	t         *testing.T
	port, url string
	cmd       *exec.Cmd
	ended     chan struct{}
	mu        sync.Mutex
	log       bytes.Buffer // of all that were on the port
}

func start(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, port: world.FreePort(t)}
	s.url = "http://127.0.0.1:" + s.port + "/mcp"
	s.start()
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("log of the server:\n%s", s.log.Bytes())
		}
	})
	return s
}

func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(fixture)
	s.cmd.Env = append(os.Environ(), "LOG_OUTPUT=stderr", "PORT="+s.port, "TAIEA_TOOLS=none", "DRAIN_TIMEOUT=200ms")
	pipe, err := s.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	serves, ended := make(chan struct{}), make(chan struct{})
	s.ended = ended
	go func() {
		defer close(ended)
		said := false
		for lines := bufio.NewReader(pipe); ; {
			raw, err := lines.ReadBytes('\n')
			s.mu.Lock()
			s.log.Write(raw)
			s.mu.Unlock()
			var line struct{ URL string }
			if !said && json.Unmarshal(raw, &line) == nil && line.URL != "" {
				said = true
				close(serves)
			}
			if err != nil {
				return
			}
		}
	}()
	select {
	case <-serves:
	case <-ended:
		s.t.Fatal("the server does not start")
	case <-time.After(time.Minute):
		s.t.Fatal("the server does not say its URL")
	}
}

func (s *server) stop() {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(10 * time.Second):
		s.t.Error("the server outlives SIGTERM by 10s")
		s.cmd.Process.Kill()
		<-s.ended
	}
	s.cmd.Wait() // its status tells whether calls were cut off, which the check provokes
}

// revisions are those of the protocol in which a tool was called.
func (s *server) revisions(tool string) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]bool{}
	for _, raw := range bytes.Split(s.log.Bytes(), []byte("\n")) {
		var line struct{ Method, Tool, Era string }
		if json.Unmarshal(raw, &line) == nil && line.Method == "tools/call" && line.Tool == tool && !seen[line.Era] {
			seen[line.Era] = true
			out = append(out, line.Era)
		}
	}
	return out
}

// A tool is one as it is listed, by the server or to a model.
type tool struct {
	Name, Description string
	Schema            json.RawMessage
}

// tools are what the server lists, on all its pages.
func (s *server) tools() (out []tool) {
	s.t.Helper()
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		body := `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
		if cursor != "" {
			body = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"` + cursor + `"}}`
		}
		resp, err := http.Post(s.url, "application/json", strings.NewReader(body))
		if err != nil {
			s.t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		var answer struct {
			Result struct {
				NextCursor string
				Tools      []struct {
					Name, Description string
					InputSchema       json.RawMessage
				}
			}
		}
		if err != nil || json.Unmarshal(raw, &answer) != nil || pages > 3 {
			s.t.Fatalf("page %d of tools: %v %s", pages, err, raw)
		}
		for _, t := range answer.Result.Tools {
			out = append(out, tool{t.Name, t.Description, t.InputSchema})
		}
		cursor = answer.Result.NextCursor
	}
	return out
}

package world

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A Server is a process that serves the fixture.
type Server struct {
	Name string
	URL  string
	Done chan struct{} // closed once it has ended
	cmd  *exec.Cmd
	log  log
}

// Serve starts one and returns once it listens.
func (w *World) Serve(name string, env ...string) *Server {
	w.t.Helper()
	port := FreePort(w.t)
	s := &Server{Name: name, URL: "http://127.0.0.1:" + port, cmd: exec.Command(Program(w.t, "fixture")), Done: make(chan struct{})}
	s.cmd.Env = slices.Concat(w.env, []string{"PORT=" + port, "NODE_NAME=" + name}, env)
	if w.guards != nil {
		g := w.guards[cmp.Or(setting(s.cmd.Env, "FUNCTION_TARGET"), "erlmcp")]
		g.served.Store(true)
		s.cmd.Env = append(s.cmd.Env, "FIRESTORE_EMULATOR_HOST="+g.address)
	}
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() { s.cmd.Wait(); close(s.Done) }()
	w.t.Cleanup(func() {
		s.Kill()
		if w.t.Failed() {
			w.t.Logf("the end of the log of %s:\n%s", name, s.Log()[max(0, len(s.Log())-700):])
		}
	})
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if resp, err := http.Get(s.URL + "/health"); err == nil {
			resp.Body.Close()
			return s
		}
		select {
		case <-s.Done:
			w.t.Fatalf("%s does not start:\n%s", name, s.Log())
		default:
		}
		if time.Since(begin) > time.Minute {
			w.t.Fatalf("%s does not listen", name)
		}
	}
}

// setting is the last of that name in an environment.
func setting(env []string, name string) (value string) {
	for _, pair := range env {
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			value = v
		}
	}
	return value
}

// Serves waits until tools run: a store and a Redis that are new take their time.
func (s *Server) Serves(t *testing.T, key string, tools ...string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	for _, tool := range tools {
		for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
			c := s.Call(client, key, tool)
			if c.Err == nil && c.Code == 0 {
				break
			}
			if time.Since(begin) > time.Minute {
				t.Fatalf("%s does not run %s: %+v", s.Name, tool, c)
			}
		}
	}
}

// Signal sends it a signal.
func (s *Server) Signal(sig syscall.Signal) { s.cmd.Process.Signal(sig) }

// Kill ends it at once.
func (s *Server) Kill() {
	s.cmd.Process.Kill()
	<-s.Done
}

// Log is what it has said.
func (s *Server) Log() string { return s.log.String() }

type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A Call is a call of a tool, as its caller saw it.
type Call struct {
	Began, Ended time.Time
	ID           string // of its receipts
	Code         int    // 0: it ran; else that of the refusal
	Said         string // of the refusal
	Err          error  // there was no answer
}

// Call calls a tool; with a key, where there is one.
func (s *Server) Call(client *http.Client, key, tool string) (c Call) {
	c.Began = time.Now()
	defer func() { c.Ended = time.Now() }()
	r, err := http.NewRequest("POST", s.URL+"/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`"}}`))
	if err != nil {
		c.Err = err
		return c
	}
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := client.Do(r)
	if err != nil {
		c.Err = err
		return c
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Err = err
		return c
	}
	var answer struct {
		Error *struct {
			Code    int
			Message string
		}
		Result struct {
			Content []struct{ Text string }
			Meta    struct {
				Refusal *struct{ Code int } `json:"erlmcp/refusal"`
			} `json:"_meta"`
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		c.Err = fmt.Errorf("%d %s: %w", resp.StatusCode, body, err)
		return c
	}
	c.ID = resp.Header.Get("X-Request-Id")
	if answer.Error != nil {
		c.Code, c.Said = answer.Error.Code, answer.Error.Message
	} else if refusal := answer.Result.Meta.Refusal; refusal != nil && len(answer.Result.Content) > 0 {
		c.Code, c.Said = refusal.Code, answer.Result.Content[0].Text
	}
	return c
}

// A Load calls a tool over and over, and keeps what became of each call.
type Load struct {
	Server       *Server
	Ran, Refused atomic.Int64
	stop         chan struct{}
	wg           sync.WaitGroup
	mu           sync.Mutex
	calls        []Call
}

// Load has callers call a tool, each with a pause before each call.
func (s *Server) Load(key, tool string, callers int, pause time.Duration) *Load {
	l := &Load{Server: s, stop: make(chan struct{})}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	for range callers {
		l.wg.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				case <-time.After(pause):
				}
				c := s.Call(client, key, tool)
				switch {
				case c.Err != nil:
				case c.Code != 0:
					l.Refused.Add(1)
				default:
					l.Ran.Add(1)
				}
				l.mu.Lock()
				l.calls = append(l.calls, c)
				l.mu.Unlock()
			}
		})
	}
	return l
}

// Calls are those that have ended.
func (l *Load) Calls() []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Call(nil), l.calls...)
}

// IDs are those of the calls that ran.
func (l *Load) IDs() (ids []string) {
	for _, c := range l.Calls() {
		if c.Err == nil && c.Code == 0 {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// End waits for the calls that run.
func (l *Load) End() { close(l.stop); l.wg.Wait() }

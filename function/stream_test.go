package function

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slow is a tool that says when it starts and how its context ends.
type slow struct {
	started chan struct{}
	ended   chan error
}

func newSlow() *slow { return &slow{make(chan struct{}, 8), make(chan error, 8)} }

func (s *slow) tool(limit time.Duration) Tool {
	return NewAction("slow", "Waits for its end.", func(ctx context.Context, _ None) error {
		s.started <- struct{}{}
		<-ctx.Done()
		s.ended <- ctx.Err()
		return ctx.Err()
	}, ToolOptions{Timeout: limit})
}

func TestDisconnect(t *testing.T) {
	for _, c := range []struct {
		name  string
		send  wire
		want  error // how the call ends
		after time.Duration
	}{
		{"modern", modern("tools/call", "slow", `"name":"slow"`), context.Canceled, 0},
		{"legacy", legacy("2025-11-25", "tools/call", `"name":"slow"`), context.DeadlineExceeded, 700 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlow()
				srv := newServer(t, WithTools(s.tool(700*time.Millisecond)))
				ctx, disconnect := context.WithCancel(t.Context())
				req, _ := http.NewRequestWithContext(ctx, "POST", srv.URL+"/mcp", strings.NewReader(c.send.body))
				req.Header.Set("Content-Type", "application/json")
				for name, v := range c.send.header {
					req.Header.Set(name, v)
				}
				go do(t, req)
				<-s.started
				disconnect()
				left := time.Now()
				err := <-s.ended
				if !errors.Is(err, c.want) {
					t.Errorf("the call ended with %v, want %v", err, c.want)
				}
				if d := time.Since(left); d != c.after {
					t.Errorf("the call ended %v after the client had gone, want %v", d, c.after)
				}
			})
		})
	}
}

func TestTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow()
		srv := newServer(t, WithTools(s.tool(20*time.Millisecond)))
		begin := time.Now()
		_, got := modern("tools/call", "slow", `"name":"slow"`).send(t, srv.URL)
		if a := parse(t, got); a.code() != 0 || !strings.Contains(got, `"isError":true`) || !strings.Contains(got, "slow took longer than its limit of 20ms") {
			t.Error(got)
		}
		if d := time.Since(begin); d != 20*time.Millisecond {
			t.Errorf("answered after %v", d)
		}
	})
}

// events reads the messages of a stream, and its comments as nil.
func events(t *testing.T, resp *http.Response) (messages []json.RawMessage) {
	t.Helper()
	if ct := resp.Header.Get("Content-Type"); ct != "text/event-stream" || resp.Header.Get("X-Accel-Buffering") != "no" {
		t.Errorf("content type %q, X-Accel-Buffering %q", ct, resp.Header.Get("X-Accel-Buffering"))
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		switch line := lines.Text(); {
		case line == "", line == "event: message":
		case strings.HasPrefix(line, "data: "):
			messages = append(messages, json.RawMessage(line[len("data: "):]))
		case strings.HasPrefix(line, ":"):
			messages = append(messages, nil)
		default:
			t.Errorf("unexpected line %q (an event id?)", line)
		}
	}
	return messages
}

func stream(t *testing.T, url string, w wire) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/mcp", strings.NewReader(w.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for name, v := range w.header {
		req.Header.Set(name, v)
	}
	resp, err := do(t, req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestNotificationsEndWithTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := make(chan struct{})
		srv := newServer(t, WithTools(NewTool("late", "Talks after its end.", func(ctx context.Context, _ None) (string, error) {
			Progress(ctx, 1, 0, "")
			go func() {
				time.Sleep(20 * time.Millisecond)
				Progress(ctx, 2, 0, "too late")
				close(late)
			}()
			return "done", nil
		})))
		w := modern("tools/call", "late", `"name":"late"`)
		w.body = strings.Replace(w.body, `"_meta":{`, `"_meta":{"progressToken":1,`, 1)
		if got := events(t, stream(t, srv.URL, w)); len(got) != 2 || bytes.Contains(got[1], []byte("late")) {
			t.Errorf("%s", got)
		}
		<-late
	})
}

func TestBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, WithGetenv(env("BODY_TIMEOUT", "1s")))
		pad := func(n int) wire {
			w := modern("tools/call", "add", `"name":"add","arguments":{"a":1}`)
			w.body = strings.Replace(w.body, `"_meta":{`, `"pad":"`+strings.Repeat("x", n)+`","_meta":{`, 1)
			return w
		}
		if resp, got := pad(1<<20-1000).send(t, srv.URL); resp.StatusCode != 200 {
			t.Errorf("just under the limit: %d %.200s", resp.StatusCode, got)
		}
		resp, got := pad(1<<20).send(t, srv.URL)
		a := parse(t, got)
		if resp.StatusCode != 200 || a.code() != 1068 || string(a.ID) != `"one"` || !strings.Contains(got, `"reason":"too_large"`) {
			t.Errorf("over the limit: %d %s", resp.StatusCode, got)
		}
		w := legacy("2025-11-25", "tools/call", `"name":"add","arguments":{"a":1},"pad":"`+strings.Repeat("x", 1<<20)+`"`)
		if resp, got := w.send(t, srv.URL); resp.StatusCode != 200 || parse(t, got).code() != 1068 {
			t.Errorf("over the limit, legacy: %d %s", resp.StatusCode, got)
		}

		// A body without an announced length: over the limit, and under it.
		for size, code := range map[int]int{2 << 20: 1068, 100 << 10: 0} {
			req, _ := http.NewRequestWithContext(t.Context(), "POST", srv.URL+"/mcp", struct{ *strings.Reader }{strings.NewReader(pad(size).body)})
			req.Header.Set("Content-Type", "application/json")
			for name, v := range pad(0).header {
				req.Header.Set(name, v)
			}
			req.ContentLength = -1
			resp, err := do(t, req)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			if a := parse(t, string(text)); err != nil || a.code() != code {
				t.Errorf("chunked body of %d bytes: %d %s %v", size, resp.StatusCode, text, err)
			}
			resp.Body.Close()
		}

		// A body that never comes holds its connection for BODY_TIMEOUT only.
		conn := dial(t, srv.URL)
		fmt.Fprintf(conn, "POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
		begin := time.Now()
		resp3, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp3.StatusCode != 400 {
			t.Errorf("a body that never comes: %v %v", resp3, err)
		}
		if d := time.Since(begin); d != time.Second {
			t.Errorf("it was given up after %v", d)
		}
	})
}

func TestPanicIsLogged(t *testing.T) {
	var log safeBuffer // a record follows the answer
	srv := newServer(t, WithLogger(slog.New(slog.NewJSONHandler(&log, nil))))
	resp, _ := modern("tools/call", "panic", `"name":"panic"`).send(t, srv.URL)
	for _, want := range []string{`"level":"ERROR"`, `"name":"panic"`, resp.Header.Get("X-Request-Id"), "wire_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, log.String())
		}
	}
}

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
	}, Timeout(limit))
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

func TestStream(t *testing.T) {
	talk := NewTool("talk", "Talks.", func(ctx context.Context, _ None) (string, error) {
		Progress(ctx, 1, 3, "first")
		Progress(ctx, 1, 3, "not greater: dropped")
		Progress(ctx, 2, 0, "")
		Log(ctx, "debug", "talk", "fine detail")
		Log(ctx, "warning", "talk", map[string]int{"left": 2})
		return "said\nall", nil
	})
	srv := newServer(t, WithTools(talk))
	call := modern("tools/call", "talk", `"name":"talk"`)
	meta := func(members string) wire {
		w := call
		w.body = strings.Replace(call.body, `"_meta":{`, `"_meta":{`+members+`,`, 1)
		return w
	}
	for _, c := range []struct {
		name string
		send wire
		want []string // of each message before the answer; nil for plain JSON
	}{
		{"no token and no level: plain JSON", call, nil},
		{"progress", meta(`"progressToken":"t"`), []string{
			`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1,"total":3,"message":"first"}}`,
			`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":2}}`,
		}},
		{"numeric token", meta(`"progressToken":7`), []string{`"progressToken":7`, `"progressToken":7`}},
		{"log from a level", meta(`"io.modelcontextprotocol/logLevel":"warning"`), []string{
			`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"warning","logger":"talk","data":{"left":2}}}`,
		}},
		{"log from debug", meta(`"io.modelcontextprotocol/logLevel":"debug"`), []string{`"fine detail"`, `"left":2`}},
		{"the client takes no events", meta(`"progressToken":"t"`).with("Accept", "application/json"), nil},
		{"the client takes only events", call.with("Accept", "text/event-stream"), []string{}},
		{"legacy hears from info on", legacy("2025-11-25", "tools/call", `"name":"talk"`), []string{`"level":"warning"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp := stream(t, srv.URL, c.send)
			if c.want == nil {
				if ct := resp.Header.Get("Content-Type"); ct != "application/json" {
					t.Errorf("content type %q", ct)
				}
				return
			}
			got := events(t, resp)
			if len(got) != len(c.want)+1 {
				t.Fatalf("%d messages, want %d: %s", len(got), len(c.want)+1, got)
			}
			for i, want := range c.want {
				if !strings.Contains(string(got[i]), want) {
					t.Errorf("message %d: %s, want %s", i, got[i], want)
				}
			}
			last := string(got[len(got)-1])
			if parse(t, last).code() != 0 || !strings.Contains(last, `said\nall`) {
				t.Errorf("the last message is not the answer: %s", last)
			}
		})
	}
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

func TestBatch(t *testing.T) {
	srv := newServer(t)
	batch := func(version, body string) wire {
		w := legacy(version, "", "")
		w.body = body
		return w
	}
	call := func(id int, args string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"add","arguments":%s}}`, id, args)
	}
	const note = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	many := "[" + strings.Repeat(call(1, "{}")+",", 100) + call(1, "{}") + "]"
	for _, c := range []struct {
		name   string
		send   wire
		status int
		want   []string // of each answer; one for an answer that is no array
	}{
		{"two calls and a notification", batch("2025-03-26", "["+call(1, `{"a":1}`)+","+note+","+call(2, `{"a":2}`)+"]"), 200, []string{`"id":1,"result"`, `"id":2,"result"`}},
		{"no version header", batch("", "["+call(1, `{"a":1}`)+"]"), 200, []string{`"a":1`}},
		{"each element by itself", batch("2024-11-05", "["+call(1, `{"a":1}`)+`,7,{"jsonrpc":"2.0","id":3,"method":"no/such"},{"jsonrpc":"2.0","id":4,"method":"initialize"}]`), 200,
			[]string{`"a":1`, `-32600`, `"id":3,"error":{"code":-32601`, `"id":4,"error":{"code":-32600`}},
		{"only notifications", batch("2025-03-26", "["+note+"]"), 202, nil},
		{"empty", batch("2025-03-26", "[]"), 400, []string{"-32600"}},
		{"too many", batch("2025-03-26", many), 400, []string{"-32600"}},
		{"not JSON", batch("2025-03-26", "["+call(1, "{}")+","), 400, []string{"-32700"}},
		{"from 2025-06-18 on", batch("2025-06-18", "["+call(1, "{}")+"]"), 400, []string{"-32600"}},
		{"a modern message inside", batch("", "["+modern("tools/call", "add", `"name":"add"`).body+"]"), 200, []string{"-32600"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, got := c.send.send(t, srv.URL)
			if resp.StatusCode != c.status {
				t.Errorf("status %d, want %d", resp.StatusCode, c.status)
			}
			var answers []json.RawMessage
			switch {
			case got == "":
			case got[0] != '[':
				answers = []json.RawMessage{json.RawMessage(got)}
			default:
				if err := json.Unmarshal([]byte(got), &answers); err != nil {
					t.Fatal(err)
				}
			}
			if len(answers) != len(c.want) {
				t.Fatalf("%d answers, want %d: %s", len(answers), len(c.want), got)
			}
			for i, want := range c.want {
				if !strings.Contains(string(answers[i]), want) {
					t.Errorf("answer %d: %s, want %s", i, answers[i], want)
				}
			}
		})
	}
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

func TestRepeatedHeaders(t *testing.T) {
	srv := newServer(t)
	conn := dial(t, srv.URL)
	body := modern("tools/call", "add", `"name":"add"`).body
	fmt.Fprintf(conn, "POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n"+
		"Mcp-Name: add\r\nMcp-Name: fail\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	var a answered
	if json.NewDecoder(resp.Body).Decode(&a); resp.StatusCode != 400 || a.code() != -32020 {
		t.Errorf("%d %+v", resp.StatusCode, a)
	}
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

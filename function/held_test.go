package function

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What a client can have a server hold, and for how long.

// begin sends the head of a call, which announces its body.
func begin(t *testing.T, base string, conn net.Conn, w wire) {
	t.Helper()
	var b bytes.Buffer
	w.request(t, base).Write(&b)
	head, _, _ := strings.Cut(b.String(), "\r\n\r\n")
	if _, err := io.WriteString(conn, head+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
}

// answerOn reads an answer.
func answerOn(t *testing.T, conn net.Conn) (int, string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestLateBodyHoldsNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, _, _ := runServer(t, WithTools(NewAction("one", "Runs alone.", func(context.Context, None) error { return nil }, ToolOptions{MaxConcurrent: 1})))
		call := modern("tools/call", "one", `"name":"one"`)
		late := dial(t, base)
		begin(t, base, late, call)
		synctest.Wait()
		if resp, got := call.send(t, base); parse(t, got).code() != 1060 {
			t.Errorf("while a body is on its way: %d %s", resp.StatusCode, got)
		}
		time.Sleep(1100 * time.Millisecond) // in a bubble
		if resp, got := call.send(t, base); resp.StatusCode != 200 {
			t.Errorf("while a body is late: %d %s", resp.StatusCode, got)
		}
		io.WriteString(late, call.body)
		if status, got := answerOn(t, late); status != 200 || parse(t, got).code() != 0 {
			t.Errorf("the call whose body was late: %d %s", status, got)
		}
	})
}

func TestLateBodyIsDecidedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		base, _, _ := runServer(t, WithTools(NewAction("one", "Runs alone.", func(context.Context, None) error { <-release; return nil }, ToolOptions{MaxConcurrent: 1})))
		call := modern("tools/call", "one", `"name":"one"`)
		late := dial(t, base)
		begin(t, base, late, call)
		time.Sleep(1100 * time.Millisecond) // in a bubble
		other := dial(t, base)
		call.request(t, base).Write(other)
		synctest.Wait()
		io.WriteString(late, call.body)
		if status, got := answerOn(t, late); parse(t, got).code() != 1060 {
			t.Errorf("the slot is another's by now: %d %s", status, got)
		}
	})
}

// A body that no handler reads holds up the answer, and its connection, for a bounded time.
func TestUnwantedBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, _, _ := runServer(t)
		for _, path := range []string{"/health", "/ready", "/startup", "/nothing", "/mcp"} {
			conn, began := dial(t, base), time.Now()
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300\r\n\r\n", path)
			answerOn(t, conn)
			n, err := conn.Read(make([]byte, 1))
			if took := time.Since(began); n != 0 || err == nil || took > 12*time.Second {
				t.Errorf("%s: %d %v after %v", path, n, err, took)
			}
		}
	})
}

func TestSlowBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, _, _ := runServer(t)
		w := modern("tools/call", "add", `"name":"add","arguments":{"a":1}`)
		w.body = strings.Replace(w.body, `"_meta":{`, `"pad":"`+strings.Repeat("x", 320<<10)+`","_meta":{`, 1)
		for _, c := range []struct {
			perSecond, status int
			within            time.Duration
		}{
			{1 << 10, 400, 6 * time.Second},
			{8 << 10, 400, 11 * time.Second},
			{16 << 10, 200, 21 * time.Second},
			{64 << 10, 200, 6 * time.Second},
		} {
			conn, began := dial(t, base), time.Now()
			begin(t, base, conn, w)
			go func() {
				for rest := w.body; rest != ""; {
					n := min(c.perSecond, len(rest))
					if _, err := io.WriteString(conn, rest[:n]); err != nil {
						return
					}
					rest = rest[n:]
					time.Sleep(time.Second) // in a bubble
				}
			}()
			if status, got := answerOn(t, conn); status != c.status {
				t.Errorf("%d bytes a second: %d %.200s", c.perSecond, status, got)
			}
			if took := time.Since(began); took > c.within {
				t.Errorf("%d bytes a second: answered after %v", c.perSecond, took)
			}
			conn.Close()
		}
	})
}

// A tool that reports progress is not held up by a client that does not read, and the time limit of a call holds.
func TestProgressThatIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Duration, 1)
		base, _, _ := runServer(t, WithTools(NewAction("tell", "Tells much.", func(ctx context.Context, _ None) error {
			began := time.Now()
			for i := range 1000 {
				Progress(ctx, float64(i+1), 0, strings.Repeat("x", 64<<10))
			}
			ended <- time.Since(began)
			return nil
		})))
		w := modern("tools/call", "tell", `"name":"tell"`)
		w.body = strings.Replace(w.body, `"_meta":{`, `"_meta":{"progressToken":1,`, 1)
		conn := dial(t, base)
		if err := w.request(t, base).Write(conn); err != nil {
			t.Fatal(err)
		}
		if took := <-ended; took != 0 {
			t.Errorf("the tool was held up for %v", took)
		}
		// One that reads late gets what there was room for, and the answer.
		time.Sleep(5 * time.Second) // in a bubble
		status, got := answerOn(t, conn)
		if n := strings.Count(got, "notifications/progress"); status != 200 || n < 3 || n > 100 || !strings.Contains(got, `"resultType":"complete"`) {
			t.Errorf("%d, %d reports, and at the end %q", status, n, got[max(0, len(got)-200):])
		}
	})
}

func TestWhatIsNoCallIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, w := range map[string]wire{
			"no JSON":                    {header: map[string]string{}, body: "{"},
			"no message":                 {header: map[string]string{}, body: "[1,2,3]"},
			"an empty batch":             {header: map[string]string{}, body: "[]"},
			"a notification":             {header: map[string]string{}, body: `{"jsonrpc":"2.0","method":"notifications/initialized"}`},
			"a response":                 {header: map[string]string{}, body: `{"jsonrpc":"2.0","id":1,"result":{}}`},
			"a modern one, no headers":   {header: map[string]string{}, body: modern("tools/list", "", "").body},
			"a batch of what is nothing": {header: map[string]string{}, body: "[" + strings.Repeat("1,", 200) + "1]"},
			"a large one":                {header: map[string]string{}, body: strings.Repeat(" ", 100<<10) + "{"},
		} {
			base, _, _ := runServer(t, WithGetenv(env("RATE_LIMIT_PER_SECOND", "20")))
			refused := 0
			for range 100 {
				if _, got := w.send(t, base); strings.Contains(got, `"code":1056`) {
					refused++
				}
			}
			if refused < 50 { // the burst is of two calls, and four of these are one
				t.Errorf("%s: %d of 100 at once were refused, at 20 calls a second", name, refused)
			}
		}
	})
}

// An answer repeats little of what came.
func TestAnswersAreShort(t *testing.T) {
	long := strings.Repeat("long", 5000)
	srv := newServer(t)
	for name, w := range map[string]wire{
		"tool":            modern("tools/call", "", `"name":"`+long+`"`).with("Mcp-Name", long),
		"legacy tool":     legacy("2025-11-25", "tools/call", `"name":"`+long+`"`),
		"prompt":          legacy("2025-11-25", "prompts/get", `"name":"`+long+`"`),
		"resource":        legacy("2025-11-25", "resources/read", `"uri":"x://`+long+`"`),
		"method":          legacy("2025-11-25", long, ""),
		"version":         legacy(long, "tools/list", ""),
		"argument":        legacy("2025-11-25", "tools/call", `"name":"add","arguments":{"a":"`+long+`"}`),
		"argument's name": legacy("2025-11-25", "tools/call", `"name":"add","arguments":{"`+long+`":1}`),
		"name twice":      legacy("2025-11-25", "tools/call", `"name":"add","arguments":{"`+long+`":1,"`+long+`":2}`),
		"origin":          legacy("2025-11-25", "tools/list", "").with("Origin", "https://"+long),
		"cursor":          legacy("2025-11-25", "tools/list", `"cursor":"`+long+`"`),
		"level":           legacy("2025-11-25", "logging/setLevel", `"level":"`+long+`"`),
	} {
		resp, got := w.send(t, srv.URL)
		if len(got) > 1500 {
			t.Errorf("%s: %d, %d bytes: %.1000s", name, resp.StatusCode, len(got), got)
		}
	}
	resp, err := fetch(t, srv.URL+"/"+long)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); len(body) > 1000 {
		t.Errorf("a path: %d bytes", len(body))
	}
}

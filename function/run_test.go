package function

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/serve"
)

func dial(t *testing.T, base string) net.Conn {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := network.Dial(t.Context(), "tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// runServer runs a server and returns its base URL, the function that tells it to go, and the channel of its end.
func runServer(t *testing.T, opts ...Option) (base string, term func(), ended chan error) {
	t.Helper()
	opts = append([]Option{WithGetenv(env()), WithLogger(logTo(t)), onNetwork, WithLoopback(), WithTools(wireTools()...)}, opts...)
	ctx, term := context.WithCancel(t.Context()) // one for both, as with a signal
	s, err := assemble(ctx, opts...)
	if err != nil {
		t.Fatal(err)
	}
	ended = make(chan error, 1)
	ln := network.Listen()
	var running sync.WaitGroup
	running.Go(func() { ended <- s.plane.(listens).Serve(ctx, ln) })
	t.Cleanup(func() { term(); running.Wait(); s.Close() })
	return "http://" + ln.Addr().String(), term, ended
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := fetch(t, url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, _, _ := runServer(t)
		for _, c := range []struct {
			path   string
			status int
			want   string
		}{
			{"/health", 200, `{"status":"up","erlmcp_ready":true,"taiea_ready":true,"version":"` + Version + `"}`},
			{"/ready", 200, `{"degraded":[],"scope":"instance","status":"ready"}`},
			{"/", 404, `{"error":"nothing at /; the MCP endpoint is /mcp; no credentials are needed, and clients can't register here",` +
				`"error_description":"nothing at /; the MCP endpoint is /mcp; no credentials are needed, and clients can't register here"}`},
			{"/mcp/", 405, `{"jsonrpc":"2.0","error":{"code":-32600,"message":"send JSON-RPC messages by POST; there are no sessions and no stream to GET; ` +
				`no credentials are needed, and clients can't register here"}}`},
		} {
			if status, got := get(t, base+c.path); status != c.status || got != c.want {
				t.Errorf("%s: %d %s, want %d %s", c.path, status, got, c.status, c.want)
			}
		}
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		started := make(chan struct{}, 2)
		base, term, ended := runServer(t, WithGetenv(env("DRAIN_TIMEOUT", "8s")), WithTools(
			NewTool("wait", "Waits.", func(ctx context.Context, _ None) (string, error) {
				started <- struct{}{}
				<-release
				return "waited", ctx.Err()
			})))
		answer := make(chan string)
		for _, w := range []wire{modern("tools/call", "wait", `"name":"wait"`), legacy("2025-11-25", "tools/call", `"name":"wait"`)} {
			go func() {
				_, got := w.send(t, base)
				answer <- got
			}()
			<-started
		}
		idle := dial(t, base) // as a balancer keeps them, one that is about to be used
		ask := "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
		reader := bufio.NewReader(idle)
		asked := func() (*http.Response, error) {
			if _, err := io.WriteString(idle, ask); err != nil {
				return nil, err
			}
			resp, err := http.ReadResponse(reader, nil)
			if err == nil {
				io.Copy(io.Discard, resp.Body)
			}
			return resp, err
		}
		if resp, err := asked(); err != nil || resp.Close {
			t.Fatalf("before the drain: %v %v", resp, err)
		}
		term()
		synctest.Wait()
		for _, later := range []time.Duration{0, serve.LameDuck - time.Nanosecond} { // the lame duck still answers, and says that it goes
			time.Sleep(later)
			if status, got := get(t, base+"/ready"); status != 503 || !strings.Contains(got, "draining") {
				t.Errorf("/ready after %v: %d %s", later, status, got)
			}
			if status, got := get(t, base+"/health"); status != 200 || !strings.Contains(got, `"erlmcp_ready":false`) {
				t.Errorf("/health after %v: %d %s", later, status, got)
			}
		}
		if resp, err := asked(); err != nil || resp.StatusCode != 200 || !resp.Close {
			t.Errorf("on an idle connection while draining: %v %v", resp, err)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if resp, err := fetch(t, base+"/ready"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("after the lame duck: %v %v", resp, err)
		}
		time.Sleep(8*time.Second - serve.LameDuck - serve.Reserve - time.Millisecond) // running calls still finish, until the end
		select {
		case err := <-ended:
			t.Fatalf("the server ended with a call running: %v", err)
		default:
		}
		close(release)
		for range 2 {
			if got := <-answer; !strings.Contains(got, "waited") {
				t.Errorf("a running call got %s", got)
			}
		}
		if err := <-ended; err != nil {
			t.Errorf("after a drain in time: %v", err)
		}
	})
}

func TestDrainCancelsWhatDoesNotFinish(t *testing.T) {
	for timeout, cancelled := range map[time.Duration]time.Duration{8 * time.Second: 6650 * time.Millisecond, 400 * time.Millisecond: 300 * time.Millisecond} {
		t.Run(timeout.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlow()
				base, term, ended := runServer(t, WithGetenv(env("DRAIN_TIMEOUT", timeout.String())), WithTools(s.tool(time.Minute)))
				var calls sync.WaitGroup
				for _, w := range []wire{modern("tools/call", "slow", `"name":"slow"`), legacy("2025-11-25", "tools/call", `"name":"slow"`)} {
					calls.Go(func() { w.send(t, base) })
					<-s.started
				}
				term()
				begin := time.Now()
				for range 2 {
					if err := <-s.ended; err != context.Canceled {
						t.Errorf("a call ended with %v", err)
					}
				}
				if d := time.Since(begin); d != cancelled {
					t.Errorf("calls were cancelled after %v, want %v", d, cancelled)
				}
				if err := <-ended; err == nil {
					t.Error("a drain that had to cancel calls returned nil")
				}
				if d := time.Since(begin); d > timeout {
					t.Errorf("the server ended after %v", d)
				}
				calls.Wait()
			})
		})
	}
}

// healthOn asks for the health on a connection that stays open.
func healthOn(t *testing.T, conn net.Conn) *http.Response {
	t.Helper()
	io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestConnectionCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		base, _, _ := runServer(t, WithGetenv(env("MAX_CONNECTIONS", "2")), WithTools(NewAction("wait", "Waits.", func(context.Context, None) error {
			<-release
			return nil
		})))
		first, second := dial(t, base), dial(t, base)
		for _, conn := range []net.Conn{first, second} {
			if resp := healthOn(t, conn); resp.StatusCode != 200 {
				t.Fatalf("within the cap: %v", resp)
			}
			time.Sleep(time.Second) // in a bubble
		}
		third := dial(t, base)
		if resp := healthOn(t, third); resp.StatusCode != 200 {
			t.Errorf("one connection more, while others are unused: %v", resp)
		}
		if n, err := first.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the one that was unused for the longest is there: %d %v", n, err)
		}

		// Where all serve requests, one more is refused.
		w := modern("tools/call", "wait", `"name":"wait"`)
		for _, conn := range []net.Conn{second, third} {
			if err := w.request(t, base).Write(conn); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		over := dial(t, base)
		wantTooMany(t, healthOn(t, over))
		begin := time.Now()
		if n, err := over.Read(make([]byte, 1)); err != io.EOF || time.Since(begin) > time.Second {
			t.Errorf("a connection over the cap is there after %v: %d %v", time.Since(begin), n, err)
		}
		wantTooMany(t, healthOn(t, dial(t, base)))
		close(release)
		synctest.Wait()
		if resp := healthOn(t, dial(t, base)); resp.StatusCode != 200 {
			t.Errorf("the end of a call did not make room: %v", resp)
		}
	})
}

func wantTooMany(t *testing.T, resp *http.Response) {
	t.Helper()
	var a answered
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || resp.StatusCode != 503 || a.code() != 1005 {
		t.Errorf("over the cap: %d %+v %v", resp.StatusCode, a, err)
	}
}

// TestListens has the sockets of the machine: a server of this machine alone answers at both of its addresses, in both versions of
// HTTP, and a connection too many too; and no other server has its port.
func TestListens(t *testing.T) {
	hosts := []string{"127.0.0.1"}
	if ln, err := net.Listen("tcp", "[::1]:0"); err == nil {
		ln.Close()
		hosts = append(hosts, "::1")
	}
	entered := make(chan struct{})
	s, err := assemble(t.Context(), WithGetenv(env("PORT", "0", "MAX_CONNECTIONS", strconv.Itoa(2*len(hosts)), "DRAIN_TIMEOUT", "100ms")), WithLogger(logTo(t)), WithLoopback(), WithTools(
		NewAction("wait", "Waits.", func(ctx context.Context, _ None) error {
			entered <- struct{}{}
			<-ctx.Done()
			return nil
		})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	ctx, term := context.WithCancel(t.Context())
	urls, gone := make(chan string, 1), make(chan struct{})
	var fault error
	go func() {
		defer close(gone)
		fault = s.Run(ctx, func(url string) { urls <- url })
	}()
	t.Cleanup(func() { term(); <-gone }) // whether that is a drain in time is up to the pace of the machine
	var at *url.URL
	select {
	case text := <-urls:
		if at, _ = url.Parse(text); at == nil || at.Hostname() != "localhost" || at.Path != "/mcp" {
			t.Fatalf("the server's URL is %s", text)
		}
	case <-gone:
		t.Fatal(fault)
	}
	for _, host := range hosts {
		for _, major := range []int{1, 2} {
			var protocols http.Protocols
			protocols.SetHTTP1(major == 1)
			protocols.SetUnencryptedHTTP2(major == 2)
			transport := &http.Transport{Protocols: &protocols}
			t.Cleanup(transport.CloseIdleConnections) // until then each counts
			resp, err := (&http.Client{Transport: transport}).Get("http://" + net.JoinHostPort(host, at.Port()) + "/health")
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.ProtoMajor != major || resp.StatusCode != 200 {
				t.Errorf("at %s: %s %s", host, resp.Proto, resp.Status)
			}
		}
	}
	open := func() net.Conn {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", at.Port()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for range 2 * len(hosts) { // they take the place of the unused ones
		if err := modern("tools/call", "wait", `"name":"wait"`).request(t, at.Scheme+"://"+at.Host).Write(open()); err != nil {
			t.Fatal(err)
		}
		<-entered
	}
	over := open()
	wantTooMany(t, healthOn(t, over))
	other, err := assemble(ctx, WithGetenv(env("PORT", at.Port())), WithLogger(logTo(t)), WithLoopback())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Run(ctx, nil); err == nil || !strings.Contains(err.Error(), "something else listens on port "+at.Port()) {
		t.Errorf("%v", err)
	}
}

func TestLoopback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, _, _ := runServer(t)
		call := modern("tools/call", "add", `"name":"add","arguments":{"a":1}`)
		for _, c := range []struct {
			host, origin string
			status       int
		}{
			{"", "", 200},
			{"localhost:8080", "http://localhost:6274", 200},
			{"[::1]:8080", "http://[::1]:6274", 200},
			{"127.0.0.1", "https://127.0.0.1", 200},
			{"evil.example:8080", "", 403},
			{"localhost.evil.example", "", 403},
			{"", "http://evil.example", 403},
			{"", "http://localhost.evil.example", 403},
			{"", "file://localhost", 403},
			{"evil.example", "http://evil.example", 403},
		} {
			req, _ := http.NewRequestWithContext(t.Context(), "POST", base+"/mcp", strings.NewReader(call.body))
			req.Header.Set("Content-Type", "application/json")
			for name, v := range call.header {
				req.Header.Set(name, v)
			}
			if req.Host = c.host; c.origin != "" {
				req.Header.Set("Origin", c.origin)
			}
			resp, err := do(t, req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != c.status {
				t.Errorf("host %q origin %q: %d, want %d", c.host, c.origin, resp.StatusCode, c.status)
			}
			if got := resp.Header.Get("Access-Control-Allow-Origin"); c.status == 200 && got != c.origin {
				t.Errorf("origin %q: Access-Control-Allow-Origin is %q", c.origin, got)
			}
		}
	})
}

func TestPreflight(t *testing.T) {
	srv := newServer(t, WithGetenv(env("ALLOWED_ORIGINS", "https://app.example.com")))
	for origin, status := range map[string]int{"https://app.example.com": 204, "https://APP.example.com": 204, "https://app.example.com.evil.example": 403, "http://app.example.com": 403} {
		resp, _ := wire{method: "OPTIONS", header: map[string]string{"Origin": origin, "Access-Control-Request-Method": "POST"}}.send(t, srv.URL)
		if resp.StatusCode != status {
			t.Errorf("%s: %d, want %d", origin, resp.StatusCode, status)
		}
		if status == 204 && !strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("%s: %v", origin, resp.Header)
		}
	}
}

func TestStartFaults(t *testing.T) {
	_, err := assemble(t.Context(), WithGetenv(env("PORT", "http", "SEALING_KEYS", "short", "K_SERVICE", "erlmcp")),
		WithTools(
			NewTool("twice", "One.", func(context.Context, None) (None, error) { return None{}, nil }),
			NewTool("twice", "Two.", func(context.Context, None) (None, error) { return None{}, nil }),
			NewTool("no good", "", func(context.Context, string) (None, error) { return None{}, nil }, ToolOptions{Timeout: -1}),
			NewTool[None, None]("missing", "No function.", nil),
			NewTool("schema", "Bad schema.", func(context.Context, None) (None, error) { return None{}, nil }, ToolOptions{InputSchema: `{"type":"object","$ref":"https://example.com/s"}`}),
		), WithPrompts(NewPrompt("", "x", nil, PromptOptions{})), WithResources(NewTemplate("note://{", "x", nil, ResourceOptions{})))
	if err == nil {
		t.Fatal("started")
	}
	for _, want := range []string{
		"PORT:", "SEALING_KEYS:", `tool "twice": there is another tool of this name`, `tool "no good": a name has`, `tool "no good": a description is missing`,
		`tool "no good": input type: string is not a struct`, `tool "no good": the timeout -1ns is negative`, `tool "missing": the function is nil`,
		`tool "schema": input schema:`, `prompt "": a name has`, `resource template "note://{":`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the faults lack %q", want)
		}
	}
	t.Logf("%v", err)
}

// A stream may be silent for longer than CONNECTION_TIMEOUT, on HTTP/2 too, where a write deadline ends the stream even if
// nothing is written.
func TestStreamOutlivesTheConnectionTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, _, _ := runServer(t, WithGetenv(env("CONNECTION_TIMEOUT", "1s")), WithTools(
			NewTool("talk", "Talks.", func(ctx context.Context, _ None) (string, error) {
				Progress(ctx, 1, 0, "")
				select {
				case <-time.After(1500 * time.Millisecond):
				case <-ctx.Done():
				}
				return "said", ctx.Err()
			})))
		talk := modern("tools/call", "talk", `"name":"talk"`)
		talk.body = strings.Replace(talk.body, `"_meta":{`, `"_meta":{"progressToken":1,`, 1)
		var h1, h2c http.Protocols
		h1.SetHTTP1(true)
		h2c.SetUnencryptedHTTP2(true)
		for name, protocols := range map[string]*http.Protocols{"HTTP/1.1": &h1, "HTTP/2": &h2c} {
			client := &http.Client{Transport: &http.Transport{Protocols: protocols, DialContext: network.Dial}}
			t.Cleanup(client.CloseIdleConnections)
			req, _ := http.NewRequestWithContext(t.Context(), "POST", base+"/mcp", strings.NewReader(talk.body))
			req.Header.Set("Content-Type", "application/json")
			for header, v := range talk.header {
				req.Header.Set(header, v)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !strings.Contains(string(body), "said") {
				t.Errorf("%s: %q %v", name, body, err)
			}
		}
	})
}

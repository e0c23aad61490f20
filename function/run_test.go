package function

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

func dial(t *testing.T, base string) net.Conn {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// runServer runs a server on a free port and returns its base URL, the function that tells it to go, and the channel of
// its end.
func runServer(t *testing.T, opts ...Option) (base string, term func(), ended chan error) {
	t.Helper()
	opts = append([]Option{WithGetenv(env("PORT", "0")), WithLogger(slog.New(slog.DiscardHandler)), WithLoopback(), WithTools(wireTools()...)}, opts...)
	ctx, term := context.WithCancel(t.Context()) // one for both, as with a signal
	s, err := New(ctx, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	urls := make(chan string, 1)
	ended = make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(url string) { urls <- url }) }()
	t.Cleanup(term)
	return strings.TrimSuffix(<-urls, "/mcp"), term, ended
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
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
	base, _, _ := runServer(t)
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/health", 200, `{"status":"up","erlmcp_ready":true,"taiea_ready":true,"version":"` + Version + `"}`},
		{"/ready", 200, `{"degraded":[],"scope":"instance","status":"ready"}`},
		{"/", 404, `{"error":"nothing at /; the MCP endpoint is /mcp"}`},
		{"/mcp/", 404, `{"error":"nothing at /mcp/; the MCP endpoint is /mcp"}`},
	} {
		if status, got := get(t, base+c.path); status != c.status || got != c.want {
			t.Errorf("%s: %d %s, want %d %s", c.path, status, got, c.status, c.want)
		}
	}
}

func TestDrain(t *testing.T) {
	release := make(chan struct{})
	started := make(chan struct{}, 2)
	base, term, ended := runServer(t, WithGetenv(env("PORT", "0", "DRAIN_TIMEOUT", "3s")), WithTools(
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
	begin := time.Now()
	for { // the lame duck still answers, and says that it goes
		status, got := get(t, base+"/ready")
		if status == 503 && strings.Contains(got, "draining") {
			break
		}
		if time.Since(begin) > time.Second {
			t.Fatalf("/ready: %d %s", status, got)
		}
	}
	if status, got := get(t, base+"/health"); status != 200 || !strings.Contains(got, `"erlmcp_ready":false`) {
		t.Errorf("/health while draining: %d %s", status, got)
	}
	if resp, err := asked(); err != nil || resp.StatusCode != 200 || !resp.Close {
		t.Errorf("on an idle connection while draining: %v %v", resp, err)
	}
	time.Sleep(lameDuck) // beyond it, running calls still finish
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
}

func TestDrainCancelsWhatDoesNotFinish(t *testing.T) {
	s := newSlow()
	base, term, ended := runServer(t, WithGetenv(env("PORT", "0", "DRAIN_TIMEOUT", "400ms")), WithTools(s.tool(time.Minute)))
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
	if err := <-ended; err == nil {
		t.Error("a drain that had to cancel calls returned nil")
	}
	if d := time.Since(begin); d > time.Second {
		t.Errorf("DRAIN_TIMEOUT was 400ms, the server ended after %v", d)
	}
	calls.Wait()
}

func TestConnectionCap(t *testing.T) {
	base, _, _ := runServer(t, WithGetenv(env("PORT", "0", "MAX_CONNECTIONS", "2")))
	var held []net.Conn
	for range 2 {
		conn := dial(t, base)
		io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != 200 {
			t.Fatalf("within the cap: %v %v", resp, err)
		}
		held = append(held, conn)
	}
	over := dial(t, base)
	io.WriteString(over, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(over), nil)
	if err != nil {
		t.Fatal(err)
	}
	var a answered
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || resp.StatusCode != 503 || a.code() != 1005 {
		t.Errorf("over the cap: %d %+v %v", resp.StatusCode, a, err)
	}
	held[0].Close()
	deadline := time.Now().Add(2 * time.Second)
	for {
		conn := dial(t, base)
		io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && resp.StatusCode == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a closed connection did not make room")
		}
	}
}

func TestProtocols(t *testing.T) {
	base, _, _ := runServer(t)
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: &h2c}}
	resp, err := client.Get(base + "/health")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 {
		t.Errorf("%s %s", resp.Proto, resp.Status)
	}
}

func TestLoopback(t *testing.T) {
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
		resp, err := http.DefaultClient.Do(req)
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
	_, err := New(t.Context(), WithGetenv(env("PORT", "http", "ERLMCP_KEYS", "short", "K_SERVICE", "erlmcp")),
		WithTools(
			NewTool("twice", "One.", func(context.Context, None) (None, error) { return None{}, nil }),
			NewTool("twice", "Two.", func(context.Context, None) (None, error) { return None{}, nil }),
			NewTool("no good", "", func(context.Context, string) (None, error) { return None{}, nil }, Timeout(-1)),
			NewTool[None, None]("missing", "No function.", nil),
			NewTool("schema", "Bad schema.", func(context.Context, None) (None, error) { return None{}, nil }, InputSchema(`{"type":"object","$ref":"https://example.com/s"}`)),
		), WithPrompts(NewPrompt("", "x", nil, PromptOptions{})), WithResources(NewTemplate("note://{", "x", nil, ResourceOptions{})))
	if err == nil {
		t.Fatal("started")
	}
	for _, want := range []string{
		"PORT:", "ERLMCP_KEYS:", `tool "twice": there is another tool of this name`, `tool "no good": a name has`, `tool "no good": a description is missing`,
		`tool "no good": input type: string is not a struct`, `tool "no good": the timeout -1ns is negative`, `tool "missing": the function is nil`,
		`tool "schema": input schema:`, `prompt "": a name has`, `resource template "note://{":`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the faults lack %q", want)
		}
	}
	t.Logf("%v", err)
}

func TestPortInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	s, err := New(t.Context(), WithGetenv(env("PORT", port)), WithLoopback())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "something else listens on port "+port) {
		t.Errorf("%v", err)
	}
}

// A stream may be silent for longer than CONNECTION_TIMEOUT, on HTTP/2 too, where a write deadline ends the stream even if
// nothing is written.
func TestStreamOutlivesTheConnectionTimeout(t *testing.T) {
	base, _, _ := runServer(t, WithGetenv(env("PORT", "0", "CONNECTION_TIMEOUT", "1s")), WithTools(
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
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
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
}

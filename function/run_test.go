package function

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
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

package control_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/control"
	"example.com/erlmcp/function/internal/receipt"
)

// dial begins a request on a connection of its own.
func (f *fixture) dial(server *httptest.Server, as, line, rest string) net.Conn {
	f.t.Helper()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: taiea\r\nAuthorization: Bearer %s\r\nTest-Request-Id: %s\r\n%s", line, f.texts[as], receipt.NewID(1, f.clock()), rest)
	return c
}

// TestSlowBodies are not waited for: not for the order, not for the receipt of its denial, not after the answer.
func TestSlowBodies(t *testing.T) {
	f := newFixture(t, func(o *control.Options) { o.BodyTimeout = 200 * time.Millisecond })
	server := httptest.NewServer(f.plane)
	defer server.Close()
	defer server.CloseClientConnections()
	for as, status := range map[string]int{"admin": 408, "viewer": 403, "bad token": 401} {
		t.Run(as, func(t *testing.T) {
			c := f.dial(server, as, "POST /v1/tenants/acme/suspend", "Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{")
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			all, err := io.ReadAll(c) // the server ends it
			if err != nil {
				t.Fatalf("the connection lasts: %v, after %s", err, all)
			}
			if want := fmt.Sprintf("HTTP/1.1 %d ", status); !strings.HasPrefix(string(all), want) {
				t.Errorf("%s, want %s", all, want)
			}
		})
	}
}

// TestChangesMayTakeLongerThanTheirBodies, and leave the connection as it was.
func TestChangesMayTakeLongerThanTheirBodies(t *testing.T) {
	f := newFixture(t, func(o *control.Options) { o.BodyTimeout = 50 * time.Millisecond })
	server := httptest.NewServer(f.plane)
	defer server.Close()
	defer server.CloseClientConnections()
	hold := make(chan struct{})
	f.hold = hold
	time.AfterFunc(200*time.Millisecond, func() { close(hold) })
	order := "Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"reason\":\"r\"}"
	c := f.dial(server, "admin", "POST /v1/tenants/acme/suspend", order)
	r := bufio.NewReader(c)
	for _, what := range []string{"suspended", "exported", "listed"} {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("%s: %d %s %v", what, resp.StatusCode, body, err)
		}
		time.Sleep(100 * time.Millisecond)
		path := map[string]string{"suspended": "/v1/receipts/export", "exported": "/v1/tenants"}[what]
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: taiea\r\nAuthorization: Bearer %s\r\n\r\n", path, f.texts["admin"])
	}
}

// endless exports until it can't be written.
type endless struct{ control.Records }

func (endless) Export(ctx context.Context, w io.Writer, _ string, _, _ time.Time) (n int64, err error) {
	line := bytes.Repeat([]byte("x"), 200<<10)
	for ; err == nil && ctx.Err() == nil; n++ {
		_, err = w.Write(line)
	}
	return n, err
}

// TestReadersThatDoNotRead give up their places.
func TestReadersThatDoNotRead(t *testing.T) {
	f := newFixture(t, func(o *control.Options) {
		o.Records, o.BodyTimeout = endless{}, 200*time.Millisecond
	})
	server := httptest.NewServer(f.plane)
	defer server.Close()
	defer server.CloseClientConnections()
	for i := range 4 {
		c := f.dial(server, "viewer", "GET /v1/receipts/export", "\r\n")
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		first, err := bufio.NewReader(c).ReadString('\n')
		if want := []string{"200", "200", "503", "200"}[i]; err != nil || !strings.Contains(first, want) {
			t.Errorf("export %d: %s %v, want %s", i, first, err, want)
		}
		if i == 2 {
			time.Sleep(time.Second)
		}
	}
}

package controlapi_test

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

	"example.com/erlmcp/function/internal/controlapi"
	"example.com/erlmcp/function/internal/memnet"
	"example.com/erlmcp/function/internal/receipt"
)

var network memnet.Network

// dial begins a request on a connection of its own.
func (f *fixture) dial(url, as, line, rest string) net.Conn {
	f.t.Helper()
	c, err := network.Dial(f.t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: taiea\r\nAuthorization: Bearer %s\r\nTest-Request-Id: %s\r\n%s", line, f.texts[as], receipt.NewID(1, f.clock()), rest)
	return c
}

// TestSlowBodies are not waited for: not for the order, not for the receipt of its denial, not after the answer.
func TestSlowBodies(t *testing.T) {
	for as, status := range map[string]int{"admin": 408, "viewer": 403, "bad token": 401} {
		t.Run(as, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const patience = 10 * time.Second
				f := newFixture(t, func(o *controlapi.Options) { o.BodyTimeout = patience })
				begin := time.Now()
				c := f.dial(network.Serve(t, f.plane), as, "POST /v1/tenants/acme/suspend", "Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{")
				r := bufio.NewReader(c)
				if first, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(first, fmt.Sprintf("HTTP/1.1 %d ", status)) {
					t.Errorf("%s %v, want %d", first, err, status)
				}
				if took := time.Since(begin); took != patience {
					t.Errorf("it is answered after %v", took)
				}
				if rest, err := io.ReadAll(r); err != nil { // the server ends it
					t.Errorf("the connection lasts: %v, after %s", err, rest)
				}
				if took := time.Since(begin); took > 2*patience {
					t.Errorf("the connection ends after %v", took)
				}
			})
		})
	}
}

// TestChangesMayTakeLongerThanTheirBodies, and leave the connection as it was.
func TestChangesMayTakeLongerThanTheirBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(o *controlapi.Options) { o.BodyTimeout = 50 * time.Millisecond })
		hold := make(chan struct{})
		f.hold = hold
		time.AfterFunc(200*time.Millisecond, func() { close(hold) })
		order := "Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"reason\":\"r\"}"
		c := f.dial(network.Serve(t, f.plane), "admin", "POST /v1/tenants/acme/suspend", order)
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
	})
}

// endless exports until it can't be written.
type endless struct{ controlapi.Records }

func (endless) Export(ctx context.Context, w io.Writer, _ string, _, _ time.Time) (n int64, err error) {
	line := bytes.Repeat([]byte("x"), 200<<10)
	for ; err == nil && ctx.Err() == nil; n++ {
		_, err = w.Write(line)
	}
	return n, err
}

// TestReadersThatDoNotRead give up their places.
func TestReadersThatDoNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const patience = 10 * time.Second
		f := newFixture(t, func(o *controlapi.Options) { o.Records, o.BodyTimeout = endless{}, patience })
		url := network.Serve(t, f.plane)
		for i, c := range []struct {
			after time.Duration
			want  string
		}{{0, "200"}, {0, "200"}, {0, "503"}, {patience - 1, "503"}, {1, "200"}} {
			time.Sleep(c.after)
			synctest.Wait()
			first, err := bufio.NewReader(f.dial(url, "viewer", "GET /v1/receipts/export", "\r\n")).ReadString('\n')
			if err != nil || !strings.Contains(first, c.want) {
				t.Errorf("export %d: %s %v, want %s", i, first, err, c.want)
			}
		}
	})
}

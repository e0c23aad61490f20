package function

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/erlmcp/function/internal/egress"
)

// TestClient has a tool fetch what its caller names, as an attacker would.
func TestClient(t *testing.T) {
	get := func(ctx context.Context, in struct {
		URL string `json:"url"`
	}) (string, error) {
		req, err := http.NewRequestWithContext(ctx, "GET", in.URL, nil)
		if err != nil {
			return "", err
		}
		resp, err := Client(ctx).Do(req)
		if err != nil {
			var refused *egress.RefusedError
			return "refused", map[bool]error{false: err}[errors.As(err, &refused)]
		}
		return resp.Status, resp.Body.Close()
	}
	synctest.Test(t, func(t *testing.T) {
		secret := network.Serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		port := secret[strings.LastIndexByte(secret, ':'):]
		tool := WithTools(NewTool("get", "Fetches.", get))
		guarded := newServer(t, tool).URL
		for _, url := range []string{
			secret, "http://localhost" + port, "http://[::1]" + port, "http://2130706433" + port, "http://0x7f.1" + port, "http://0" + port, "http://[::ffff:127.0.0.1]" + port,
			"http://169.254.169.254/computeMetadata/v1/", "http://metadata.google.internal/", "https://10.0.0.1/", "https://192.168.0.1/", "http://example.com/", "file:///etc/passwd",
		} {
			if _, got := modern("tools/call", "get", `"name":"get","arguments":{"url":"`+url+`"}`).send(t, guarded); !strings.Contains(got, `"text":"refused"`) {
				t.Errorf("%s: %s", url, got)
			}
		}
		// What an operator names is reached.
		open := newServer(t, WithGetenv(env("EGRESS_ALLOW", "127.0.0.1")), tool).URL
		if _, got := modern("tools/call", "get", `"name":"get","arguments":{"url":"`+secret+`"}`).send(t, open); !strings.Contains(got, `"text":"200 OK"`) {
			t.Errorf("a host in EGRESS_ALLOW: %s", got)
		}
	})
	if got, err := get(t.Context(), struct {
		URL string `json:"url"`
	}{"http://127.0.0.1/"}); got != "refused" || err != nil {
		t.Errorf("outside of a call: %s %v", got, err)
	}
}

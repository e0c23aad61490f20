package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A status is what a test has it be.
type status struct {
	closed      bool // calls can't be decided
	unready     string
	unreachable error
	degraded    []string
	slow        time.Duration // what asks for news waits so long, unless its context ends
}

func (s *status) wait(ctx context.Context) {
	select {
	case <-time.After(s.slow): // in a bubble
	case <-ctx.Done():
	}
}

func (s *status) Governs() bool                         { return !s.closed }
func (s *status) Scope() string                         { return "fleet" }
func (s *status) Degraded() []string                    { return append([]string{}, s.degraded...) }
func (s *status) Unready(ctx context.Context) string    { s.wait(ctx); return s.unready }
func (s *status) Unreachable(ctx context.Context) error { s.wait(ctx); return s.unreachable }

// TestProbes is a table of what an instance is in, and what it says of that to this machine and to others.
func TestProbes(t *testing.T) {
	words := []string{"Redis: dial tcp 10.0.0.7:6379: refused", "files: /etc/policy.yaml: no", "/etc/keys: no"}
	for _, c := range []struct {
		name   string
		path   string
		of     status
		age    time.Duration // of the process
		from   string        // "" is this machine
		code   int
		answer string
	}{
		{"alive", "/health", status{}, 0, "", 200, `{"status":"up","erlmcp_ready":true,"taiea_ready":true,"version":"1.2.3"}`},
		{"alive, and can't decide", "/health", status{closed: true, unready: "x"}, 0, "", 200, `{"status":"up","erlmcp_ready":true,"taiea_ready":false,"version":"1.2.3"}`},
		{"ready", "/ready", status{}, 0, "", 200, `{"degraded":[],"scope":"fleet","status":"ready"}`},
		{"degraded is ready", "/ready", status{degraded: words}, 0, "", 200,
			`{"degraded":["Redis: dial tcp 10.0.0.7:6379: refused","files: /etc/policy.yaml: no","/etc/keys: no"],"scope":"fleet","status":"ready"}`},
		{"degraded, to others", "/ready", status{degraded: words}, 0, "203.0.113.9:999", 200, `{"degraded":["Redis","files","other"],"scope":"fleet","status":"ready"}`},
		{"not ready", "/ready", status{unready: "starting"}, 0, "", 503, `{"degraded":[],"status":"starting"}`},
		{"not ready, to others", "/ready", status{unready: "starting", degraded: words}, 0, "203.0.113.9:999", 503, `{"degraded":["Redis","files","other"],"status":"starting"}`},
		{"news that do not come", "/ready", status{slow: time.Hour}, 0, "", 200, `{"degraded":[],"scope":"fleet","status":"ready"}`},
		{"started", "/startup", status{}, 0, "", 200, `{"degraded":[],"scope":"fleet","status":"ready"}`},
		{"without Redis", "/startup", status{unreachable: errors.New("refused")}, 0, "", 503, `{"status":"starting: no answer from Redis yet: why refused"}`},
		{"without Redis, to others", "/startup", status{unreachable: errors.New("refused")}, 0, "203.0.113.9:999", 503, `{"status":"starting: no answer from Redis yet"}`},
		{"without Redis, and nothing to say of it", "/startup", status{unreachable: errors.New("")}, 0, "", 503, `{"status":"starting: no answer from Redis yet"}`},
		{"without Redis, at the end of the wait", "/startup", status{unreachable: errors.New("refused")}, 90*time.Second - 1, "", 503, `{"status":"starting: no answer from Redis yet: why refused"}`},
		{"without Redis, after it", "/startup", status{unreachable: errors.New("refused")}, 90 * time.Second, "", 200, `{"degraded":[],"scope":"fleet","status":"ready"}`},
		{"with Redis, and not ready", "/startup", status{unready: "starting"}, 0, "", 503, `{"degraded":[],"status":"starting"}`},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, Options{})
			mux := http.NewServeMux()
			(&Probes{Server: s.Server, Status: &c.of, Version: "1.2.3", Start: time.Now().Add(-c.age), Explain: func(err error) string {
				if err.Error() == "" {
					return ""
				}
				return "why " + err.Error()
			}}).Register(mux, settings())
			r := httptest.NewRequestWithContext(t.Context(), "GET", "http://127.0.0.1"+c.path, nil)
			if r.RemoteAddr = "127.0.0.1:999"; c.from != "" {
				r.RemoteAddr = c.from
			}
			w, begin := httptest.NewRecorder(), time.Now()
			mux.ServeHTTP(w, r)
			if got := strings.TrimSpace(w.Body.String()); w.Code != c.code || got != c.answer || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %v %s, want %d %s", c.name, w.Code, w.Header(), got, c.code, c.answer)
			}
			if d := time.Since(begin); d > time.Second { // platforms wait no longer
				t.Errorf("%s: answered after %v", c.name, d)
			}
		})
	}
}

func TestSubjects(t *testing.T) {
	for _, c := range []struct{ words, want string }{
		{"", "[]"},
		{"governor: local for rates|governor: the store can't be read", "[governor]"},
		{"receipts: 5 wait|API keys: the store can't be read yet", "[receipts API keys]"},
		{"/etc/keys.json: permission denied", "[other]"},
		{"dial tcp 10.0.0.7:6379: refused|redis://:pw@host: no", "[other]"},
		{"files", "[files]"},
		{"tenants|orders: 1|files: /x: y", "[tenants orders files]"},
	} {
		var words []string
		if c.words != "" {
			words = strings.Split(c.words, "|")
		}
		if got := fmt.Sprint(Subjects(words)); got != c.want {
			t.Errorf("%q: %s, want %s", c.words, got, c.want)
		}
	}
}

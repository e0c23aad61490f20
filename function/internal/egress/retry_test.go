package egress

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// answers are what a server says, one after the other: a status, with a Retry-After, or nothing at all.
type answers struct {
	list   []string
	got    int
	bodies []string
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, _ := io.ReadAll(r.Body)
		a.bodies = append(a.bodies, string(body))
	}
	text := a.list[min(a.got, len(a.list)-1)]
	a.got++
	switch text {
	case "reset":
		return nil, errors.New("connection reset by peer")
	case "refused":
		return nil, &RefusedError{"x", "y"}
	}
	status, after, _ := strings.Cut(text, " after ")
	codes := map[string]int{"200": 200, "404": 404, "429": 429, "500": 500, "502": 502, "503": 503, "504": 504}
	resp := &http.Response{StatusCode: codes[status], Header: http.Header{}, Body: io.NopCloser(strings.NewReader("body"))}
	if after != "" {
		resp.Header.Set("Retry-After", after)
	}
	return resp, nil
}

// TestRetryPolicy has a request's own policy hold in place of the default, and a body be sent again that can be had again.
func TestRetryPolicy(t *testing.T) {
	all := RetryPolicy{Max: 3, Connect: true, Statuses: []int{429, 503}}
	idempotent := all
	idempotent.Idempotent = true
	for _, c := range []struct {
		name, method, body string
		policy             RetryPolicy
		stream             bool // the body can't be had again
		answers            []string
		sent               int
	}{
		{"often", "GET", "", all, false, []string{"503", "429", "reset", "200"}, 4},
		{"not named", "GET", "", all, false, []string{"502", "200"}, 1},
		{"no answer is none", "GET", "", RetryPolicy{Max: 3, Statuses: []int{503}}, false, []string{"reset", "200"}, 1},
		{"none", "GET", "", RetryPolicy{}, false, []string{"503", "200"}, 1},
		{"not to be reached", "GET", "", all, false, []string{"refused", "200"}, 1},
		{"a search with a body", "GET", "q", all, false, []string{"503", "200"}, 2},
		{"one that replaces", "PUT", "q", all, false, []string{"503", "200"}, 2},
		{"one that deletes", "DELETE", "", all, false, []string{"503", "200"}, 2},
		{"a stream", "PUT", "q", all, true, []string{"503", "200"}, 1},
		{"a write", "POST", "q", all, false, []string{"503", "200"}, 1},
		{"a write that may come twice", "POST", "q", idempotent, false, []string{"503", "200"}, 2},
		{"the same of a stream", "POST", "q", idempotent, true, []string{"503", "200"}, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			req, err := http.NewRequestWithContext(WithRetryPolicy(t.Context(), c.policy), c.method, "https://example.com", strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.body == "" {
				req.Body, req.GetBody = nil, nil
			} else if c.stream {
				req.GetBody = nil
			}
			a := &answers{list: c.answers}
			resp, err := NewRetry(a).RoundTrip(req)
			if a.got != c.sent {
				t.Errorf("%s: %v %v, sent %d times", c.name, resp, err, a.got)
			}
			for _, body := range a.bodies {
				if body != c.body {
					t.Errorf("%s: %q was sent", c.name, a.bodies)
				}
			}
		})
	}
}

// TestRetryBudget has a tenth of all requests sent again, and ten more, whichever they are.
func TestRetryBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{list: []string{"503"}}
		r := NewRetry(a)
		for range 500 {
			req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://example.com", nil)
			r.RoundTrip(req)
		}
		if again := a.got - 500; again < 58 || again > 60 {
			t.Errorf("%d of 500 were sent again", again)
		}
	})
}

func TestRetry(t *testing.T) {
	for _, c := range []struct {
		name, method, body string
		answers            []string
		limit              time.Duration // of the request, 0 for none
		sent, status       int           // a status of 0 is an error
		least, most        time.Duration
	}{
		{"well", "GET", "", []string{"200"}, 0, 1, 200, 0, 0},
		{"one fault", "GET", "", []string{"503", "200"}, 0, 2, 200, 0, 200 * time.Millisecond},
		{"no answer", "HEAD", "", []string{"reset", "reset", "200"}, 0, 3, 200, 0, 600 * time.Millisecond},
		{"it stays", "GET", "", []string{"502"}, 0, 3, 502, 0, 600 * time.Millisecond},
		{"no answer ever", "GET", "", []string{"reset"}, 0, 3, 0, 0, 600 * time.Millisecond},
		{"it says when", "GET", "", []string{"503 after 1", "200"}, 0, 2, 200, time.Second, 1200 * time.Millisecond},
		{"it says when, and that is long", "GET", "", []string{"503 after 3", "200"}, 0, 1, 503, 0, 0},
		{"it says a date", "GET", "", []string{"503 after Sun, 06 Nov 1994 08:49:37 GMT", "200"}, 0, 1, 503, 0, 0},
		{"no time is left", "GET", "", []string{"503 after 1", "200"}, 990 * time.Millisecond, 1, 503, 0, 0},
		{"a write", "POST", "", []string{"503", "200"}, 0, 1, 503, 0, 0},
		{"one that replaces", "PUT", "", []string{"reset", "200"}, 0, 1, 0, 0, 0},
		{"with a body", "GET", "q", []string{"503", "200"}, 0, 1, 503, 0, 0},
		{"the server's own fault", "GET", "", []string{"500", "200"}, 0, 1, 500, 0, 0},
		{"too many", "GET", "", []string{"429", "200"}, 0, 1, 429, 0, 0},
		{"not to be reached", "GET", "", []string{"refused", "200"}, 0, 1, 0, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx := t.Context()
			if c.limit > 0 {
				var done context.CancelFunc
				ctx, done = context.WithTimeout(ctx, c.limit)
				defer done()
			}
			var body io.Reader
			if c.body != "" {
				body = strings.NewReader(c.body)
			}
			req, err := http.NewRequestWithContext(ctx, c.method, "https://example.com", body)
			if err != nil {
				t.Fatal(err)
			}
			a := &answers{list: c.answers}
			began := time.Now()
			resp, err := NewRetry(a).RoundTrip(req)
			status := 0
			if err == nil {
				status = resp.StatusCode
			}
			if took := time.Since(began); status != c.status || a.got != c.sent || took < c.least || took > c.most {
				t.Errorf("%s: %d %v, sent %d times, in %v", c.name, status, err, a.got, took)
			}
		})
	}
}

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
	list []string
	got  int
}

func (a *answers) RoundTrip(*http.Request) (*http.Response, error) {
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

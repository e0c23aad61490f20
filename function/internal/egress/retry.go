package egress

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Retry sends a request again that did no harm: one of a safe method (RFC 9110, section 9.2.1) that got no answer, or 502, 503 or 504.
// It does so twice at most, after a wait that the request's deadline leaves room for.
type Retry struct{ Next http.RoundTripper }

const (
	maxRetries = 2
	firstWait  = 100 * time.Millisecond
	maxWait    = 2 * time.Second // of what Retry-After may ask for
)

// CloseIdleConnections is what [http.Client.CloseIdleConnections] looks for.
func (r Retry) CloseIdleConnections() {
	if c, ok := r.Next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements [http.RoundTripper].
func (r Retry) RoundTrip(req *http.Request) (*http.Response, error) {
	safe := (req.Method == http.MethodGet || req.Method == http.MethodHead || req.Method == http.MethodOptions) && (req.Body == nil || req.Body == http.NoBody)
	for n := 0; ; n++ {
		resp, err := r.Next.RoundTrip(req)
		if !safe || n == maxRetries || !passes(resp, err) {
			return resp, err
		}
		wait := firstWait << n
		wait += rand.N(wait)
		if resp != nil {
			if asked, ok := retryAfter(resp.Header.Get("Retry-After")); ok && asked > maxWait {
				return resp, err
			} else if ok {
				wait = max(wait, asked)
			}
		}
		if !within(req.Context(), wait) {
			return resp, err
		}
		if resp != nil { // or its connection is of no more use
			io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
			resp.Body.Close()
		}
	}
}

// passes tells whether a fault may be gone the next time.
func passes(resp *http.Response, err error) bool {
	if err != nil {
		var refused *RefusedError
		return !errors.As(err, &refused) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
	}
	return resp.StatusCode == http.StatusBadGateway || resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusGatewayTimeout
}

// retryAfter reads the form in seconds: a date is more than a call waits for.
func retryAfter(header string) (time.Duration, bool) {
	seconds, err := strconv.ParseUint(header, 10, 32)
	if err != nil {
		return maxWait + 1, header != ""
	}
	return time.Duration(seconds) * time.Second, true
}

// within waits, unless the context ends before.
func within(ctx context.Context, wait time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

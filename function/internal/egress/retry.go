package egress

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// A Retry sends requests again that did no harm, after a wait that the request's deadline leaves room for. What is sent again, and how often, says the
// [RetryPolicy] of the request's context; by default it is a request of a safe method (RFC 9110, section 9.2.1) that got no answer, or 502,
// 503 or 504, and twice at most. Of all that one Retry sends a tenth may be sent again, and ten more: an API that is down is not to get three
// times as many requests.
type Retry struct {
	next   http.RoundTripper
	credit atomic.Int64 // in tenths of what may be sent again
}

// NewRetry returns a transport that sends by another one.
func NewRetry(next http.RoundTripper) *Retry {
	r := &Retry{next: next}
	r.credit.Store(maxCredit)
	return r
}

// A RetryPolicy says what is sent again.
type RetryPolicy struct {
	Max        int   // times; 0 for none
	Connect    bool  // where no answer came
	Statuses   []int // of answers
	Idempotent bool  // the request may be sent twice, whatever its method
}

type policyKey struct{}

// WithRetryPolicy has requests of the context sent again by a policy.
func WithRetryPolicy(ctx context.Context, p RetryPolicy) context.Context {
	return context.WithValue(ctx, policyKey{}, &p)
}

const (
	firstWait = 200 * time.Millisecond // the longest first one; each is at random between 0 and twice the one before (full jitter)
	maxWait   = 2 * time.Second        // of what Retry-After may ask for

	price     = 10 // of a request that is sent again, of which each request brings one
	maxCredit = 10 * price
)

var defaultPolicy = RetryPolicy{Max: 2, Connect: true, Statuses: []int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] looks for.
func (r *Retry) CloseIdleConnections() {
	if c, ok := r.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements [http.RoundTripper].
func (r *Retry) RoundTrip(req *http.Request) (*http.Response, error) {
	policy, named := req.Context().Value(policyKey{}).(*RetryPolicy)
	if !named {
		policy = &defaultPolicy
	}
	repeatable := policy.repeatable(req, named)
	r.add(1)
	for n := 0; ; n++ {
		resp, err := r.next.RoundTrip(req)
		if !repeatable || n >= policy.Max || !policy.passes(resp, err) {
			return resp, err
		}
		wait := rand.N(firstWait << n)
		if resp != nil {
			if asked, ok := retryAfter(resp.Header.Get("Retry-After")); ok && asked > maxWait {
				return resp, err
			} else if ok {
				wait += asked
			}
		}
		if !leaves(req.Context(), wait) || !r.add(-price) {
			return resp, err
		}
		again := req
		if req.Body != nil && req.Body != http.NoBody {
			body, fault := req.GetBody()
			if fault != nil {
				return resp, err
			}
			again = req.Clone(req.Context())
			again.Body = body
		}
		if resp != nil { // or its connection is of no more use
			io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
			resp.Body.Close()
		}
		if !within(req.Context(), wait) {
			return nil, req.Context().Err()
		}
		req = again
	}
}

// add changes the credit, unless it is too small for that.
func (r *Retry) add(n int64) bool {
	for {
		before := r.credit.Load()
		after := min(before+n, maxCredit)
		if after < 0 {
			return false
		}
		if r.credit.CompareAndSwap(before, after) {
			return true
		}
	}
}

// repeatable tells whether a request may be sent twice.
func (p *RetryPolicy) repeatable(req *http.Request, named bool) bool {
	bodiless := req.Body == nil || req.Body == http.NoBody
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return bodiless || named && req.GetBody != nil
	case http.MethodPut, http.MethodDelete:
		return named && (bodiless || req.GetBody != nil)
	}
	return p.Idempotent && (bodiless || req.GetBody != nil)
}

// passes tells whether a fault may be gone the next time.
func (p *RetryPolicy) passes(resp *http.Response, err error) bool {
	if err != nil {
		var refused *RefusedError
		return p.Connect && !errors.As(err, &refused) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
	}
	return slices.Contains(p.Statuses, resp.StatusCode)
}

// retryAfter reads the form in seconds: a date is more than a call waits for.
func retryAfter(header string) (time.Duration, bool) {
	seconds, err := strconv.ParseUint(header, 10, 32)
	if err != nil {
		return maxWait + 1, header != ""
	}
	return time.Duration(seconds) * time.Second, true
}

// leaves tells whether a context's deadline leaves room for a wait.
func leaves(ctx context.Context, wait time.Duration) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() == nil && (!ok || time.Until(end) > wait)
}

// within waits, unless the context ends before.
func within(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

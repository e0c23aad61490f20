package rest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"example.com/erlmcp/function/internal/egress"
	"example.com/erlmcp/function/internal/mcp"
)

// A response is an answer that was read.
type response struct {
	status  int
	header  http.Header
	body    []byte
	partial bool // it has more than was to be read
}

// send sends one request and reads its answer. The error is a [mcp.Misfit], one that wraps [mcp.ErrUnavailable], or the context's.
func (t *tool) send(ctx context.Context, c *mcp.Call, args map[string]any) (*response, error) {
	a := t.plan.api
	outer := ctx
	if a.MaxWait > 0 {
		var done context.CancelFunc
		ctx, done = context.WithTimeout(ctx, a.MaxWait)
		defer done()
	}
	client := a.Client
	if client == nil {
		client = c.HTTPClient()
	}
	if client == nil {
		return nil, errors.New("this call has no way out to " + a.Name)
	}
	var forwarded http.Header
	if c.Head != nil {
		forwarded = c.Head.Header
	}
	r, err := t.plan.build(ctx, args, forwarded)
	if err != nil {
		return nil, err
	}
	if a.Auth != nil {
		if err := a.Auth.Authorize(ctx, client, r); err != nil {
			return nil, a.failed(outer, ctx, err)
		}
	}
	resp, err := a.client(ctx, client).Do(r.WithContext(egress.WithRetryPolicy(ctx, egress.RetryPolicy{
		Max: a.Retries.Max, Connect: a.Retries.Connect, Statuses: a.Retries.Statuses,
		Idempotent: t.plan.request.Idempotent || r.Header.Get("Idempotency-Key") != "",
	})))
	if err != nil {
		return nil, a.failed(outer, ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized && a.Auth != nil {
		a.Auth.Refused(r)
	}
	most := a.maxRead()
	if resp.StatusCode/100 != 2 {
		most = min(most, maxProblem)
	}
	body, err := read(resp, most)
	if err != nil {
		return nil, a.failed(outer, ctx, err)
	}
	out := &response{resp.StatusCode, resp.Header, body, false}
	if int64(len(body)) > most {
		out.body, out.partial = body[:most], true
	}
	if resp.StatusCode/100 == 5 {
		return nil, &unavailable{a.problem(out), nil}
	}
	return out, nil
}

func (a *API) maxRead() int64 {
	if a.MaxRead > 0 {
		return a.MaxRead
	}
	return defaultMaxRead
}

// maxGuess is how much room is made for an answer because of the length that it says it has.
const maxGuess = 1 << 20

// read reads one byte more than most of a body that has more.
func read(resp *http.Response, most int64) ([]byte, error) {
	var b bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= most {
		b.Grow(int(min(n, maxGuess)) + bytes.MinRead)
	}
	_, err := io.Copy(&b, io.LimitReader(resp.Body, most+1))
	return b.Bytes(), err
}

// client is the way out with redirects as an API wants them: those to the same host get the credentials anew, and after one to
// another host no request has any of them, nor any other header of the API's.
func (a *API) client(ctx context.Context, base *http.Client) *http.Client {
	c := *base
	if _, ok := ctx.Deadline(); ok {
		c.Timeout = 0 // the call has its own
	}
	c.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		first, same := via[0], true
		for _, hop := range append(via[1:len(via):len(via)], next) {
			same = same && hop.URL.Scheme == first.URL.Scheme && hop.URL.Host == first.URL.Host
		}
		if base.CheckRedirect == nil && len(via) >= 10 {
			return errors.New("it redirects more than 10 times")
		}
		if base.CheckRedirect != nil {
			if err := base.CheckRedirect(next, via); err != nil {
				return err
			}
		}
		next.Header = http.Header{"User-Agent": first.Header["User-Agent"], "Accept": first.Header["Accept"]}
		if !same {
			return nil
		}
		next.Header = first.Header.Clone()
		if next.Method != first.Method {
			next.Header.Del("Content-Type")
		}
		if a.Auth != nil {
			return a.Auth.Authorize(ctx, base, next)
		}
		return nil
	}
	return &c
}

// unavailable says that the API, or what gives the credentials for it, did not answer or failed.
type unavailable struct {
	text  string
	cause error
}

func (u *unavailable) Error() string { return u.text }

func (u *unavailable) Unwrap() []error {
	if u.cause == nil {
		return []error{mcp.ErrUnavailable}
	}
	return []error{mcp.ErrUnavailable, u.cause}
}

// failed is the error of a request that got no answer. It says nothing of URLs and addresses: there may be a key in them.
func (a *API) failed(outer, ctx context.Context, err error) error {
	if outer.Err() != nil {
		return outer.Err()
	}
	var refused *egress.RefusedError
	switch known, ok := errors.AsType[*unavailable](err); {
	case ok:
		return known
	case errors.As(err, &refused):
		return fmt.Errorf("%s is not reached: %s", a.Name, refused.Reason)
	case ctx.Err() != nil:
		return &unavailable{fmt.Sprintf("%s did not answer within %v", a.Name, a.MaxWait), err}
	}
	if _, sent := errors.AsType[*url.Error](err); !sent && !broken(err) {
		return fmt.Errorf("%s can't be asked: %w", a.Name, err) // of the credential
	}
	return &unavailable{a.Name + " " + silence(err), err}
}

// broken tells of what ends an answer that is being read.
func broken(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, io.ErrUnexpectedEOF) || strings.HasPrefix(err.Error(), "http2: ") || strings.HasPrefix(err.Error(), "stream error: ")
}

// silence says why no answer came, without an address.
func silence(err error) string {
	var dns *net.DNSError
	var errno syscall.Errno
	var network net.Error
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case untrusted:
		return "has a certificate that is not trusted"
	case errors.As(err, &dns):
		return "is not reached: its name has no address"
	case errors.As(err, &network) && network.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "did not answer in time"
	case errors.As(err, &errno):
		return "is not reached: " + errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "ended the connection before its answer was complete"
	}
	return "did not answer"
}

// waitInWords is Retry-After for a model, or "".
func waitInWords(h http.Header, now time.Time) string {
	text := h.Get("Retry-After")
	if text == "" {
		return ""
	}
	if at, err := http.ParseTime(text); err == nil {
		return "; try again in " + max(at.Sub(now).Round(time.Second), time.Second).String()
	}
	if wait, err := time.ParseDuration(text + "s"); err == nil && wait >= 0 && wait < 1000*time.Hour {
		return "; try again in " + max(wait.Round(time.Second), time.Second).String()
	}
	return ""
}

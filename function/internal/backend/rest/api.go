package rest

import (
	"context"
	"errors"
	"net/http"
	"time"

	"example.com/erlmcp/function/internal/mcp"
)

// An API is one that tools call: where its requests come from, the credentials that this server has for it, and how patient it is with it.
// It is safe for concurrent use and not changed once it has a tool.
type API struct {
	// Name is in texts for models and operators: "billing answers 404".
	Name string
	// Client is the way out; by default that of the call ([mcp.Call.HTTPClient]), which goes through package egress.
	Client *http.Client
	// Auth is this server's credential for the API; nil for none.
	Auth Auth
	// Headers are sent with each request, by their names. No argument can set them. An error ends the call.
	Headers map[string]Secret
	// Forward are the headers of the caller's request that are sent on, each under the name that the API has for it. By default none is,
	// and what callers authenticate with at this server never is.
	Forward map[string]string
	// Retries says what is sent again.
	Retries Retries
	// MaxRead is how many bytes of an answer are read, decompressed; default 8 MiB. An answer that has more is an error.
	MaxRead int64
	// MaxWait bounds one request with its retries, its redirects and the reading of its answer, where the call's own deadline is later; default: that alone.
	MaxWait time.Duration
}

// Retries says which requests are sent again: those that are idempotent by their method (RFC 9110, section 9.2.2), or by [Request.Idempotent],
// or by a header Idempotency-Key that they have, and no others.
type Retries struct {
	Max      int   // times; 0 for none
	Connect  bool  // where no answer came
	Statuses []int // of answers, among 429, 502, 503 and 504
}

// A Secret returns a value that is kept elsewhere. It is asked at each request.
type Secret = func(context.Context) (string, error)

const (
	defaultMaxRead   = 8 << 20
	defaultMaxBytes  = 64 << 10
	defaultMaxBinary = 1 << 20
)

// notForwarded are the headers that callers authenticate with at this server, or that those in front of it have added.
var notForwarded = []string{"X-Serverless-Authorization", "X-Goog-Iap-Jwt-Assertion", "X-Api-Key", "Forwarded", "X-Forwarded-For", "Set-Cookie"}

// A Handler is what a tool does: [mcp.Tool.Call].
type Handler = func(context.Context, *mcp.Call) (*mcp.Result, error)

// Tool returns what a tool does that sends the request and makes its result of the answer. The error has all that is wrong with them.
//
// Arguments that can't be sent are a [mcp.Misfit]. An error wraps [mcp.ErrUnavailable] where the API did not answer or answers 5xx; each other answer
// is a result, with IsError where its status says so.
func (a *API) Tool(r *Request, answer Answer) (Handler, error) {
	p, err := a.plan(r)
	if err := errors.Join(err, answer.check(r)); err != nil {
		return nil, err
	}
	t := &tool{plan: p, answer: answer}
	return t.call, nil
}

type tool struct {
	plan   *plan
	answer Answer
}

func (t *tool) call(ctx context.Context, c *mcp.Call) (*mcp.Result, error) {
	if t.answer.Pages != nil {
		return t.pages(ctx, c)
	}
	resp, err := t.send(ctx, c, c.Arguments)
	if err != nil {
		return nil, err
	}
	return t.result(ctx, c, resp)
}

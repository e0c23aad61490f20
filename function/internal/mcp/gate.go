package mcp

import (
	"context"
	"errors"
	"time"
)

// A Gate decides whether a request may proceed. The engine asks it twice: before the body of a request is read, and
// before the request is dispatched.
type Gate interface {
	// Admit decides from the headers alone. Every HTTP request passes it once; of a legacy one method and name are empty, and
	// Start decides each of its messages; a large body is counted before it is read. With a refusal the admission is of no use but
	// to say who called, and nil where that is not known.
	Admit(context.Context, *RequestHeader) (Admission, *Refusal)
	// MayRead decides whether the caller of a running call may also read what is at a URI in normal form. The context is the call's. The
	// error is ErrUnknown for what the caller does not see.
	MayRead(ctx context.Context, c *Call, uri string) error
}

// An Admission is a request's way through a gate. Of Start and Drop one is called, and of them exactly one.
type Admission interface {
	// Caller is a stable name of the caller; sealed state is bound to it.
	Caller() string
	// Tenant is whose the caller is.
	Tenant() string
	// Believed tells whether what the request says of its trace counts: it is known who calls, or the call is admitted.
	Believed() bool
	// Start decides one decoded request. The context that it returns is derived from the given one, carries what handlers may know of
	// the caller, and ends when the call must. The admission that it returns takes the end, and is another one where the request has
	// company in a batch.
	Start(context.Context, *Call) (context.Context, Admission, *Refusal)
	// End takes how a started request ended, and gives back what it held.
	End(*Ending)
	// Yield gives back what the call holds while its body is long in coming. Start decides it anew then.
	Yield()
	// Charge counts a request that is no call: its body turned out to be something else. It does nothing where the request was
	// counted before.
	Charge(context.Context) *Refusal
	// Invalid decides, counts and records a request that turned out invalid as what it is about, and gives back what it took; one that
	// was admitted from its headers Drop records. Of what is no request at all the method is empty: that is counted, and leaves no record.
	Invalid(context.Context, *Call) *Refusal
	// Drop gives back what is held where nothing starts: the body was malformed or unlike its headers.
	Drop(context.Context)
}

// Outcome is how a request ended.
type Outcome int

// Outcomes, from best to worst.
const (
	Completed     Outcome = iota
	InputRequired         // the person at the client was asked
	ToolFailed            // a result with isError
	Unavailable           // the same, by an error that wraps ErrUnavailable
	Failed                // a JSON-RPC error
	Cancelled             // the client went away
	TimedOut
	Panicked
	Refused // by the gate
	Invalid // never was a request
)

func (o Outcome) String() string {
	return [...]string{"completed", "input_required", "tool_failed", "unavailable", "failed", "cancelled", "timed_out", "panicked", "refused", "invalid"}[o]
}

// An Ending is how an admitted request ended, and what is answered.
type Ending struct {
	Outcome Outcome
	Entered bool   // the handler was, and its arguments fitted
	Error   *Error // instead of a result
	Result  []byte // as JSON; valid only while End runs
}

// ErrUnavailable is wrapped by the error of a handler when what it calls did not answer or failed.
var ErrUnavailable = errors.New("unavailable")

// A Breach is what of a handler's answer is not what the protocol and the server's own descriptions admit. Clients throw such answers away.
// Callers are told that it is so; what it is stands in the log.
type Breach struct{ Err error }

func (b *Breach) Error() string {
	return "the answer is not what the server's own description admits, and is not passed on; the operator finds it in the log"
}

func (b *Breach) Unwrap() error { return b.Err }

// A Misfit is why arguments do not fit a handler, which was not called.
type Misfit struct{ Err error }

func (m *Misfit) Error() string { return "the arguments do not fit: " + m.Err.Error() }

func (m *Misfit) Unwrap() error { return m.Err }

// A Reason says why a request was refused.
type Reason struct {
	Name   string
	Code   int // JSON-RPC error code
	Status int // HTTP status, where the client does not read more than that
}

// The reasons for refusals.
var (
	Backpressure = Reason{"backpressure", 1005, 503}
	RateLimited  = Reason{"rate", 1056, 429}
	QuotaUsed    = Reason{"quota", 1059, 429}
	Concurrency  = Reason{"concurrency", 1060, 429}
	TooLarge     = Reason{"too_large", 1068, 413}
	ShuttingDown = Reason{"shutting_down", 1077, 503}
	BreakerOpen  = Reason{"breaker_open", 1086, 503}
	Killed       = Reason{"kill_switch", 2041, 503}
	NotEntitled  = Reason{"not_entitled", 2001, 403}

	Unauthenticated      = Reason{"unauthenticated", 2000, 401}
	MalformedCredentials = Reason{"malformed_credentials", 2000, 400}
	InsufficientScope    = Reason{"insufficient_scope", 2001, 403}
)

// A Refusal is a decision not to serve a request.
type Refusal struct {
	Reason     Reason
	Message    string        // for a person: what was refused and what to do
	Scope      string        // what the limit is on, such as "tool:search"
	Limit      string        // the limit, such as "10/s"
	RetryAfter time.Duration // 0 where waiting does not help
	// RateLimit and RateLimitPolicy are headers (draft-ietf-httpapi-ratelimit-headers), where a rate is concerned.
	RateLimit, RateLimitPolicy string
	// Challenge is the header WWW-Authenticate (RFC 6750), which tells a client how to be let in.
	Challenge string
	Note      string // of the operator's, for the receipt
	Receipt   string // id of the receipt
	Unread    bool   // the body was not read to its end
}

// Err renders the refusal as a JSON-RPC error.
func (r *Refusal) Err() *Error {
	return &Error{Code: r.Reason.Code, Message: r.Message, Data: r.appendData(append(make([]byte, 0, 160), '{'))}
}

// metaRefusal is where in _meta of a result programs find what is refused: the code and the data that the error would have.
const metaRefusal = `"erlmcp/refusal":`

// text is the refusal for a model, and for the person who asks the operator about it.
func (r *Refusal) text() string {
	if r.Receipt == "" {
		return r.Message
	}
	return r.Message + " (receipt " + r.Receipt + ")"
}

// appendData appends the members of the data, and closes the object.
func (r *Refusal) appendData(b []byte) []byte {
	b = appendMember(b, "reason", r.Reason.Name)
	b = appendMember(b, "scope", r.Scope)
	b = appendMember(b, "limit", r.Limit)
	if r.RetryAfter > 0 {
		b = append(b, `"retryAfterMs":`...)
		b = appendInt(b, int64(r.RetryAfter+time.Millisecond-1)/int64(time.Millisecond))
		b = append(b, ',')
	}
	return closeObject(appendMember(b, "receipt", r.Receipt))
}

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/tenant"
)

// A Problem is why a request came to nothing, as it is answered (RFC 9457).
type Problem struct {
	Type    string   `json:"type"` // urn:erlmcp:problem: and a word
	Title   string   `json:"title"`
	Status  int      `json:"status"`
	Detail  string   `json:"detail"`            // what was wrong, and what to do
	Faults  []string `json:"faults,omitempty"`  // all that is wrong with what was sent, each with where it is
	Receipt string   `json:"receipt,omitempty"` // id of the request

	etag      string        // of the thing as it is
	wait      time.Duration // after which to try again; 0: in vain
	challenge string
	replayed  bool
	unsure    bool  // whether a change that had begun is made
	cause     error // for the log
}

const urn = "urn:erlmcp:problem:"

func (p *Problem) Error() string {
	return strings.Join(append([]string{p.Detail}, p.Faults...), "; ")
}

// reason is the word for receipts.
func (p *Problem) reason() string { return strings.TrimPrefix(p.Type, urn) }

func problem(status int, word, format string, args ...any) *Problem {
	return &Problem{Type: urn + word, Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// invalid lists what is wrong with what was sent; nil where nothing is.
func invalid(faults []string) error {
	if len(faults) == 0 {
		return nil
	}
	p := problem(http.StatusBadRequest, "invalid", "what was sent can't be used: put right what faults lists")
	p.Faults = faults
	return p
}

// faultsOf flattens a joined error.
func faultsOf(err error) (out []string) {
	switch joined, ok := err.(interface{ Unwrap() []error }); {
	case err == nil:
	case ok:
		for _, e := range joined.Unwrap() {
			out = append(out, faultsOf(e)...)
		}
	default:
		out = append(out, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return out
}

// unavailable is for what may work later.
func unavailable(cause error, format string, args ...any) *Problem {
	p := problem(http.StatusServiceUnavailable, "unavailable", format+"; nothing was changed, try again in 2s", args...)
	p.wait, p.cause = 2*time.Second, cause
	return p
}

func notFound(format string, args ...any) *Problem {
	return problem(http.StatusNotFound, "unknown", format, args...)
}

func off(what, setting string) *Problem {
	return problem(http.StatusNotFound, "off", "%s: %s is not set here", what, setting)
}

// asProblem says what an error of a store means.
func asProblem(err error) *Problem {
	var p *Problem
	var busy *Busy
	var unfit *governor.OverrideFault
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &busy):
		return limited(busy.Wait)
	case errors.As(err, &unfit):
		return asProblem(invalid([]string{unfit.Error()}))
	case errors.Is(err, tenant.ErrUnknown), errors.Is(err, identity.ErrNoKey):
		return notFound("%v", err)
	case errors.Is(err, tenant.ErrOther):
		return problem(http.StatusConflict, "other_event", "%v: an event that says something else needs an id of its own", err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		p = problem(http.StatusServiceUnavailable, "unavailable", "there was no answer in time: try again in 2s; a change may have been made nevertheless")
	default:
		p = problem(http.StatusServiceUnavailable, "unavailable", "the store does not answer: try again in 2s; a change may have been made nevertheless")
	}
	p.wait, p.cause, p.unsure = 2*time.Second, err, true
	return p
}

// doubtful is kept for an idempotency key where a change may be made that must not be made twice.
func doubtful(cause error) *Problem {
	p := problem(http.StatusServiceUnavailable, "doubtful", "it is not known whether the change was made, and it is not tried again with this Idempotency-Key: look for a new key with GET /v1/keys, and ask with another Idempotency-Key if there is none")
	p.cause = cause
	return p
}

func limited(wait time.Duration) *Problem {
	p := problem(http.StatusTooManyRequests, "rate", "too many changes: try again in %v; kill switches, suspensions and revocations of keys are not held up", wait.Round(time.Second/10))
	p.wait = wait
	return p
}

// fail answers a request that no route was found for.
func (p *Plane) fail(w http.ResponseWriter, r *http.Request, fault *Problem) {
	fault.Receipt = p.opts.RequestID(r)
	p.refuse(w, fault)
}

// refuse answers with a problem. What the server then reads of a body that nobody has read comes in time, or not at all.
func (p *Plane) refuse(w http.ResponseWriter, fault *Problem) {
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(p.opts.BodyTimeout))
	fault.write(w)
}

func (p *Problem) write(w http.ResponseWriter) {
	h := w.Header()
	if p.etag != "" {
		h.Set("ETag", p.etag)
	}
	if p.wait > 0 {
		h.Set("Retry-After", seconds(p.wait))
	}
	if p.challenge != "" {
		h.Set("WWW-Authenticate", p.challenge)
	}
	if p.replayed {
		h.Set("Idempotency-Replayed", "true")
	}
	h.Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}

// seconds is the value of Retry-After, rounded up.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

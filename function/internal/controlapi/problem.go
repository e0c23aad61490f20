package controlapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
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
	return asProblem(entitlement.Invalid(faults...))
}

// unavailable is for what may work later.
func unavailable(cause error, format string, args ...any) *Problem {
	return asProblem(entitlement.Unavailable(cause, fmt.Sprintf(format, args...)))
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
	var unfit *directives.OverrideFault
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &busy):
		return limited(busy.Wait)
	case errors.As(err, &unfit):
		return asProblem(invalid([]string{unfit.Error()}))
	case errors.Is(err, identity.ErrNoKey):
		return notFound("%v", err)
	}
	f := entitlement.FaultOf(err)
	p = problem(statuses[f.Reason], string(f.Reason), "%s", f.Detail)
	p.Faults, p.cause, p.unsure = f.Faults, f.Cause, f.Unsure
	if f.Reason == entitlement.ReasonUnavailable {
		p.wait = 2 * time.Second
	}
	return p
}

// statuses are those of HTTP for what is wrong with entitlements.
var statuses = map[entitlement.Reason]int{
	entitlement.ReasonOff: http.StatusNotFound, entitlement.ReasonInvalid: http.StatusBadRequest, entitlement.ReasonForged: http.StatusUnauthorized,
	entitlement.ReasonOtherSource: http.StatusForbidden, entitlement.ReasonOtherEvent: http.StatusConflict, entitlement.ReasonUnknown: http.StatusNotFound,
	entitlement.ReasonNoPlan: http.StatusUnprocessableEntity, entitlement.ReasonUnavailable: http.StatusServiceUnavailable,
}

// explain is what receipts have for an error of a change.
func explain(err error) (reason, words string) {
	p := asProblem(err)
	return p.reason(), p.Error()
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

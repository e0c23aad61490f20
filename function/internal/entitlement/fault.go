package entitlement

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"example.com/erlmcp/function/internal/receipt"
)

// A Reason is the word that programs and receipts have for a [Fault].
type Reason string

// The reasons.
const (
	ReasonOff         Reason = "off"          // nothing of this kind is taken here
	ReasonInvalid     Reason = "invalid"      // what was sent can't be used
	ReasonForged      Reason = "forged"       // it is not signed by who it says
	ReasonOtherSource Reason = "other_source" // its sender may not speak for its source
	ReasonOtherEvent  Reason = "other_event"  // an event of its id said something else
	ReasonUnknown     Reason = "unknown"      // what it is about is not there
	ReasonNoPlan      Reason = "no_plan"
	ReasonUnavailable Reason = "unavailable" // it may work later
)

// A Fault is why a change of entitlements came to nothing.
type Fault struct {
	Reason Reason
	Detail string   // what was wrong, and what to do
	Faults []string // all that is wrong with what was sent, each with where it is
	Unsure bool     // the change may have been made nevertheless
	Cause  error    // for the log
}

func (f *Fault) Error() string { return strings.Join(append([]string{f.Detail}, f.Faults...), "; ") }

func fault(reason Reason, format string, args ...any) *Fault {
	return &Fault{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// Invalid is of what can't be used, with all that is wrong with it.
func Invalid(faults ...string) *Fault {
	return &Fault{Reason: ReasonInvalid, Detail: "what was sent can't be used: put right what faults lists", Faults: faults}
}

// Unavailable is for what may work later.
func Unavailable(cause error, what string) *Fault {
	return &Fault{Reason: ReasonUnavailable, Detail: what + "; nothing was changed, try again in 2s", Cause: cause}
}

// FaultOf says what an error of a store, or of recording a change, means.
func FaultOf(err error) *Fault {
	var unrecorded *receipt.Unrecorded
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	switch {
	case errors.As(err, &unrecorded):
		return Unavailable(unrecorded.Cause, unrecorded.Error())
	case errors.Is(err, ErrUnknown):
		return fault(ReasonUnknown, "%v", err)
	case errors.Is(err, ErrOther):
		return fault(ReasonOtherEvent, "%v: an event that says something else needs an id of its own", err)
	}
	f := fault(ReasonUnavailable, "the store does not answer: try again in 2s; a change may have been made nevertheless")
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		f.Detail = "there was no answer in time: try again in 2s; a change may have been made nevertheless"
	}
	f.Cause, f.Unsure = err, true
	return f
}

// explain is what receipts have for an error of a change.
func explain(err error) (reason, words string) {
	f := FaultOf(err)
	return string(f.Reason), f.Error()
}

// Faults flattens a joined error.
func Faults(err error) (out []string) {
	switch joined, ok := err.(interface{ Unwrap() []error }); {
	case err == nil:
	case ok:
		for _, e := range joined.Unwrap() {
			out = append(out, Faults(e)...)
		}
	default:
		out = append(out, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return out
}

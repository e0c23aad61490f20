package admission

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/loadshed"
	"example.com/erlmcp/function/internal/mcp"
)

// refusal words a decision for the person who reads it.
func refusal(d governor.Decision, requestID string) *mcp.Refusal {
	r := &mcp.Refusal{Scope: d.Scope, RetryAfter: d.Wait, Receipt: requestID}
	again := "; try again in " + d.Wait.Round(10*time.Millisecond).String()
	var what string
	switch d.Reason {
	case governor.RateReached:
		perSecond := d.Limit.PerSecond
		r.Reason, r.Limit = mcp.RateLimited, trim(perSecond)+"/s"
		what = "the limit of " + trim(perSecond) + " calls a second"
		if d.Scope == scopeApart {
			what = "the limit of " + trim(perSecond) + " messages a second that are no calls"
		}
		quota, window := perSecond, 1.0
		if perSecond < 1 { // headers have whole numbers only
			quota, window = 1, 1/perSecond
		}
		wait := max(1, int64(math.Ceil(d.Wait.Seconds())))
		r.RateLimitPolicy = fmt.Sprintf("%q;q=%.0f;w=%.0f", d.Scope, math.Floor(quota), math.Ceil(window))
		r.RateLimit = fmt.Sprintf("%q;r=0;t=%d", d.Scope, wait)
		again = "; try again in " + (d.Wait.Round(10*time.Millisecond) + 10*time.Millisecond).String()
	case governor.SlotsTaken:
		r.Reason, r.Limit = mcp.Concurrency, strconv.FormatInt(d.Limit.Concurrency, 10)
		what = fmt.Sprintf("the limit of %d calls at a time", d.Limit.Concurrency)
		again = "; try again in " + (d.Wait.Round(10*time.Millisecond) + 10*time.Millisecond).String()
	case governor.QuotaUsed:
		r.Reason, r.Limit = mcp.QuotaUsed, strconv.FormatInt(d.Limit.PerDay, 10)+"/day"
		what = fmt.Sprintf("the limit of %d calls a day", d.Limit.PerDay)
		r.RateLimitPolicy = fmt.Sprintf("%q;q=%d;w=86400", d.Scope, d.Limit.PerDay)
		r.RateLimit = fmt.Sprintf("%q;r=0;t=%.0f", d.Scope, math.Ceil(d.Wait.Seconds()))
		again = "; try again in " + d.Wait.Round(time.Second).String() + ", after midnight UTC"
	case governor.Killed:
		r.Reason, r.Note = mcp.Killed, d.Note
		if d.Wait == 0 {
			again = ""
		}
		r.Message = fmt.Sprintf("refused: an operator has stopped %s: %s%s", d.Scope, d.Note, again)
		return r
	case governor.BreakerOpen:
		r.Reason = mcp.BreakerOpen
		r.Message = fmt.Sprintf("refused: %s has failed too often and is left alone for a while%s", d.Scope, again)
		return r
	case governor.TooHeavy:
		r.Reason, r.Limit = mcp.RateLimited, trim(d.Limit.PerSecond)+"/s"
		r.Message = fmt.Sprintf("refused: a call of this tool costs more than the %s calls that may come at once under the limit on %s: it is never admitted until an operator allows more",
			trim(d.Limit.MaxBurst()), d.Scope)
		return r
	default:
		r.Reason = mcp.Backpressure
		r.Message = "refused: it can't be read at the moment what operators have ordered" + again
		return r
	}
	r.Message = fmt.Sprintf("refused: %s on %s is reached%s", what, d.Scope, again)
	if d.Outage {
		r.Reason, r.RateLimit, r.RateLimitPolicy = mcp.Backpressure, "", ""
		r.Message = fmt.Sprintf("refused: %s on %s can't be counted over all instances at the moment (rule: %s); try again in %v", what, d.Scope, d.Rule, max(d.Wait.Round(10*time.Millisecond), 10*time.Millisecond))
	}
	return r
}

// shed words the decision of a load shedder.
func shed(d loadshed.Decision, requestID string) *mcp.Refusal {
	return &mcp.Refusal{
		Reason: mcp.Backpressure, Scope: d.Scope, RetryAfter: d.Wait, Receipt: requestID,
		Message: fmt.Sprintf("refused: the %s can't take more at the moment: %s; try again in %v", d.Scope, d.Reason, d.Wait.Round(10*time.Millisecond)),
	}
}

func trim(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

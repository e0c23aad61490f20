package admission

import (
	"mime"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/loadshed"
	"example.com/erlmcp/function/internal/mcp"
)

// TestRefusals words each decision of the governor: reason and code are those of the table in architecture.md, and what an agent needs is
// there: whose limit, how much, and when to try again.
func TestRefusals(t *testing.T) {
	rate := &governor.Limit{Scope: "tool:t", PerSecond: 10, Burst: 1}
	slow := &governor.Limit{Scope: "tool:t", PerSecond: 0.5, Burst: 1}
	wait := 1500 * time.Millisecond
	for _, c := range []struct {
		name                        string
		d                           governor.Decision
		reason                      string
		code, status                int
		limit, header, policy, says string
	}{
		{"rate", governor.Decision{Reason: governor.RateReached, Limit: rate, Scope: "tool:t", Wait: wait}, "rate", 1056, 429, "10/s", `"tool:t";r=0;t=2`, `"tool:t";q=10;w=1`,
			"the limit of 10 calls a second on tool:t is reached; try again in 1.51s"},
		{"less than one a second", governor.Decision{Reason: governor.RateReached, Limit: slow, Scope: "tool:t", Wait: wait}, "rate", 1056, 429, "0.5/s", `"tool:t";r=0;t=2`, `"tool:t";q=1;w=2`, "0.5 calls a second"},
		{"messages", governor.Decision{Reason: governor.RateReached, Limit: rate, Scope: scopeApart, Wait: wait}, "rate", 1056, 429, "10/s", `"client-messages";r=0;t=2`, `"client-messages";q=10;w=1`, "messages a second that are no calls"},
		{"slots", governor.Decision{Reason: governor.SlotsTaken, Limit: &governor.Limit{Concurrency: 3}, Scope: "tool:t", Wait: wait}, "concurrency", 1060, 429, "3", "", "", "the limit of 3 calls at a time on tool:t"},
		{"quota", governor.Decision{Reason: governor.QuotaUsed, Limit: &governor.Limit{PerDay: 7}, Scope: "tenant:a", Wait: time.Hour}, "quota", 1059, 429, "7/day", `"tenant:a";r=0;t=3600`, `"tenant:a";q=7;w=86400`, "after midnight UTC"},
		{"killed", governor.Decision{Reason: governor.Killed, Scope: "tool:t", Note: "leak", Wait: time.Minute}, "kill_switch", 2041, 503, "", "", "", "an operator has stopped tool:t: leak; try again in 1m0s"},
		{"killed for good", governor.Decision{Reason: governor.Killed, Scope: "tool:t", Note: "leak"}, "kill_switch", 2041, 503, "", "", "", "stopped tool:t: leak"},
		{"breaker", governor.Decision{Reason: governor.BreakerOpen, Scope: "upstream:crm", Wait: wait}, "breaker_open", 1086, 503, "", "", "", "upstream:crm has failed too often"},
		{"too heavy", governor.Decision{Reason: governor.TooHeavy, Limit: rate, Scope: "tool:t"}, "rate", 1056, 429, "10/s", "", "", "it is never admitted until an operator allows more"},
		{"unknown", governor.Decision{Reason: governor.Unknown, Scope: "everything", Wait: time.Second}, "backpressure", 1005, 503, "", "", "", "what operators have ordered; try again in 1s"},
		{"outage", governor.Decision{Reason: governor.RateReached, Limit: rate, Scope: "tool:t", Outage: true, Rule: governor.FailClosed, Wait: wait}, "backpressure", 1005, 503, "10/s", "", "",
			"can't be counted over all instances at the moment (rule: closed)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := refusal(c.d, "r1")
			if got := r.Reason; got.Name != c.reason || got.Code != c.code || got.Status != c.status {
				t.Errorf("reason %+v, want %s, %d, %d", got, c.reason, c.code, c.status)
			}
			if said := c.d.Reason.String(); said != c.reason && !c.d.Outage {
				t.Errorf("metrics say %s, and the refusal %s", said, c.reason)
			}
			if r.Limit != c.limit || r.RateLimit != c.header || r.RateLimitPolicy != c.policy {
				t.Errorf("limit %q, RateLimit %s, RateLimit-Policy %s; want %q, %s, %s", r.Limit, r.RateLimit, r.RateLimitPolicy, c.limit, c.header, c.policy)
			}
			if !strings.HasPrefix(r.Message, "refused: ") || !strings.Contains(r.Message, c.says) {
				t.Errorf("%q, want %q in it", r.Message, c.says)
			}
			if r.Scope != c.d.Scope || r.RetryAfter != c.d.Wait || r.Receipt != "r1" {
				t.Errorf("%+v", r)
			}
		})
	}
	if r := shed(loadshed.Decision{Reason: loadshed.Busy, Scope: "instance", Wait: wait}, "r1"); r.Reason != mcp.Backpressure || r.RetryAfter != wait || !strings.Contains(r.Message, "it is busy; try again in 1.5s") {
		t.Errorf("shed: %+v", r)
	}
}

// challengeForm is the value of WWW-Authenticate by RFC 6750, section 3: what quoted values may have, too.
var challengeForm = regexp.MustCompile(`^Bearer [a-z_]+="[\x20-\x21\x23-\x5b\x5d-\x7e]*"(?:, [a-z_]+="[\x20-\x21\x23-\x5b\x5d-\x7e]*")*$`)

// TestStrangers words each failure to authenticate: status and error are RFC 6750's, and the caller is not told which check failed.
func TestStrangers(t *testing.T) {
	built, err := catalog.Build(tool("t", catalog.Terms{Scopes: []string{"tickets"}}))
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Options{Catalog: built, Scopes: []string{"mcp", "mcp"}, Metadata: "https://x.example/.well-known/oauth-protected-resource"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		e         identity.Error
		reason    string
		status    int
		fault     string // of the challenge
		challenge bool
		says      string
	}{
		{"nothing", identity.Error{Cause: identity.Missing}, "unauthenticated", 401, "", true, "say who you are"},
		{"a wrong key", identity.Error{Cause: "unknown", Detail: "key 7f is revoked"}, "unauthenticated", 401, "invalid_token", true, "not valid here"},
		{"expired", identity.Error{Cause: identity.Expired}, "unauthenticated", 401, "invalid_token", true, "expired"},
		{"too early", identity.Error{Cause: identity.NotYetValid}, "unauthenticated", 401, "invalid_token", true, "not valid yet"},
		{"two headers", identity.Error{Cause: "unknown", Request: true}, "malformed_credentials", 400, "invalid_request", true, "malformed"},
		{"a hint", identity.Error{Cause: "unknown", Hint: `use the "other" door`}, "unauthenticated", 401, "", true, `use the "other" door`},
		{"unnamed", identity.Error{Cause: identity.Unnamed, Hint: "no tenant"}, "not_entitled", 403, "", false, "no tenant"},
		{"too often", identity.Error{Cause: "unknown", Wait: 3 * time.Second}, "rate", 429, "", false, "try again in 3s"},
		{"a key that is not known yet", identity.Error{Cause: "unknown", Retry: 4 * time.Second}, "backpressure", 503, "", false, "try again in 4s"},
		{"no keys at all", identity.Error{Cause: identity.Unavailable}, "backpressure", 503, "", false, "try again in 5s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := g.unauthenticated(&c.e, &mcp.RequestHeader{RequestID: "r1", Method: "tools/call", Name: "t"})
			if r.Reason.Name != c.reason || r.Reason.Status != c.status || !strings.Contains(r.Message, c.says) || c.e.Detail != "" && strings.Contains(r.Message, c.e.Detail) {
				t.Errorf("%+v", r)
			}
			if c.challenge != (r.Challenge != "") {
				t.Fatalf("challenge %q", r.Challenge)
			}
			if !c.challenge {
				return
			}
			if !challengeForm.MatchString(r.Challenge) {
				t.Errorf("%s is no challenge of RFC 6750", r.Challenge)
			}
			_, params, err := mime.ParseMediaType("bearer;" + strings.ReplaceAll(strings.TrimPrefix(r.Challenge, "Bearer "), `", `, `";`))
			if err != nil || params["error"] != c.fault || params["scope"] != "mcp tickets" || params["resource_metadata"] != g.opts.Metadata {
				t.Errorf("%s: %v, %v", r.Challenge, params, err)
			}
		})
	}
}

// TestScopes asks for what a caller's key has not.
func TestScopes(t *testing.T) {
	built, err := catalog.Build(tool("t", catalog.Terms{Scopes: []string{"tickets"}}))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, Options{Catalog: built, Scopes: []string{"mcp"}}, nil, nil)
	for name, want := range map[string]string{"t": "mcp tickets", "none": "mcp"} {
		refusal := w.call(t.Context(), name, true)
		if refusal == nil || refusal.Reason != mcp.InsufficientScope || refusal.Reason.Status != http.StatusForbidden || refusal.Limit != want || !strings.Contains(refusal.Challenge, `error="insufficient_scope"`) {
			t.Errorf("%s: %+v", name, refusal)
		}
	}
}

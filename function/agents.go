package function

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/control"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/tenant"
)

// agentTools are what the governor offers to agents themselves. Policies and limits hold for them as for any tool.
type agentTools struct {
	server *Server // is set once it is assembled
	events *control.Entitlements
}

const (
	agentPrefix = "taiea_" // begins their names
	applyEvent  = "entitlement_apply_event"
)

// entries returns those that the settings name and that can work with what there is.
func (a *agentTools) entries(cfg *config.Config, stored bool) []catalog.Entry {
	var out []catalog.Entry
	for _, t := range []struct {
		name string
		can  bool
		tool Tool
	}{
		{"health_check", true, NewTool(agentPrefix+"health_check",
			"Tells whether this server works as it should: what is degraded, where limits hold, and what state the caller's tenant is in.",
			a.health, formerly("taiea.health.check"), Title("Health of the server"), ReadOnly(), Idempotent(), OpenWorld(false))},
		{"receipts_verify_chain", stored && cfg.Receipts != "false", NewTool(agentPrefix+"receipts_verify_chain",
			"Verifies the receipts of the caller's tenant: finds what was altered, removed, moved, forged or cut off, and says which receipt in words. "+
				"Without from it looks at the last hour; at most 31 days at a time.",
			a.verify, formerly("taiea.receipts.verify_chain"), Title("Verify receipts"), ReadOnly(), Idempotent(), OpenWorld(false), Timeout(time.Minute), AtATime(4), PerSecond(2, 4))},
		{"support_model", true, NewTool(agentPrefix+"support_model",
			"Tells how the caller's tenant gets help: the support that its plan includes, whom to ask, and what to quote.",
			a.support, formerly("taiea.support.model"), Title("Support"), ReadOnly(), Idempotent(), OpenWorld(false))},
		{applyEvent, stored && cfg.Receipts != "false", NewTool(agentPrefix+applyEvent,
			"Applies an entitlement event (grant, suspend, resume, revoke) that its source has signed as for the webhook: payload is the event as the source sent it, "+
				"id, timestamp and signature are the headers webhook-id, webhook-timestamp and webhook-signature.",
			a.apply, formerly("taiea.entitlement.apply_event"), Title("Apply an entitlement event"), Destructive(true), Idempotent(), OpenWorld(false), Strict())},
	} {
		if t.can && slices.Contains(cfg.AgentTools, t.name) {
			out = append(out, t.tool.entry)
		}
	}
	return out
}

// formerly lets a tool be called by the name that it had, which some models' interfaces do not take.
func formerly(name string) ToolOption { return func(t *catalog.Tool) { t.Terms.Formerly = name } }

// tenantStanding is what a tool says of the caller's tenant.
type tenantStanding struct {
	Tenant string `json:"tenant"`
	State  string `json:"state" jsonschema:"boot, stable, warning, intervening, refusing, or unlisted"`
	Why    string `json:"why,omitempty"`
	Plan   string `json:"plan,omitempty"`
}

func (a *agentTools) standing(ctx context.Context) (tenantStanding, *tenant.Plan) {
	p := Caller(ctx)
	out := tenantStanding{Tenant: p.Tenant, State: "unlisted"}
	e := a.server.entitled
	if e == nil {
		return out, nil
	}
	d, known := e.directory.Get(ctx, time.Now())
	if !known {
		out.Why = "what tenants are entitled to can't be read at the moment"
		return out, nil
	}
	if s := d.Standing(p.Tenant, time.Now()); s != nil {
		out.State, out.Why, out.Plan = string(s.State), s.Why, s.Plan
		return out, d.Plans[s.Plan]
	}
	return out, nil
}

type health struct {
	Status   string         `json:"status" jsonschema:"ok, degraded or draining"`
	Degraded []string       `json:"degraded" jsonschema:"what does not work as it should: governor, orders, tenants, API keys, receipts, files or other; the operator finds the words in the log"`
	Scope    string         `json:"scope" jsonschema:"where limits hold: fleet, instance or none"`
	Version  string         `json:"version"`
	Instance string         `json:"instance"`
	Uptime   float64        `json:"uptimeSeconds"`
	Caller   tenantStanding `json:"caller"`
}

// byOperator tells whether the caller is at the operator's own machine.
func byOperator(ctx context.Context) bool { return identity.FromContext(ctx) == &identity.Local }

// degradedFor is in words for an operator.
func (s *Server) degradedFor(ctx context.Context) []string {
	if byOperator(ctx) {
		return s.degraded()
	}
	return subjectsOf(s.degraded())
}

// instanceFor names the instance, for others than an operator by what is behind its machine's name: the log finds it by that.
func (s *Server) instanceFor(ctx context.Context) string {
	if byOperator(ctx) {
		return s.instance
	}
	return s.instance[strings.LastIndexByte(s.instance, '-')+1:]
}

func (a *agentTools) health(ctx context.Context, _ None) (health, error) {
	s := a.server
	h := health{Status: "ok", Degraded: s.degradedFor(ctx), Scope: s.scope(), Version: s.version, Instance: s.instanceFor(ctx), Uptime: time.Since(s.begun).Round(time.Millisecond).Seconds()}
	h.Caller, _ = a.standing(ctx)
	switch {
	case s.draining.Load():
		h.Status = "draining"
	case len(h.Degraded) > 0:
		h.Status = "degraded"
	}
	return h, nil
}

type verifyRange struct {
	From time.Time `json:"from,omitempty" jsonschema:"begin, RFC 3339"`
	To   time.Time `json:"to,omitempty" jsonschema:"end, RFC 3339; without it, now"`
}

type verified struct {
	Whole    bool     `json:"whole" jsonschema:"nothing is wrong"`
	Receipts int64    `json:"receipts" jsonschema:"that were verified"`
	Chains   int64    `json:"chains"`
	Unsigned int64    `json:"unsigned" jsonschema:"chains that no operator's key vouches for"`
	Lost     int64    `json:"lost" jsonschema:"receipts that the chains themselves say were lost"`
	Faults   []string `json:"faults" jsonschema:"what is wrong, each in words"`
	More     int64    `json:"moreFaults"`
	Notes    []string `json:"notes" jsonschema:"what is no fault, and should be known"`
	From     string   `json:"from"`
	To       string   `json:"to"`
}

// Bounds of what an agent may have verified.
const (
	lastVerified = time.Hour
	mostVerified = 31 * 24 * time.Hour
	mostFaults   = 50
)

func (a *agentTools) verify(ctx context.Context, in verifyRange) (out verified, err error) {
	s := a.server
	to := in.To
	if to.IsZero() {
		to = time.Now()
	}
	from := in.From
	if from.IsZero() {
		from = to.Add(-lastVerified)
	}
	if from.After(to) || to.Sub(from) > mostVerified {
		return out, fmt.Errorf("from %s to %s is not a range of at most 31 days", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	whose := Caller(ctx).Tenant
	if whose == identity.TenantLocal {
		whose = "" // the operator's own machine
	}
	id := mcp.FromContext(ctx).Head.RequestID
	heads, unheard := s.recorder.heads.read(ctx)
	report, err := s.records().verify(ctx, whose, from, in.To, heads)
	if cause := errors.Join(err, unheard); cause != nil { // which is the operator's to know
		s.logger.WarnContext(ctx, "receipts were verified in vain, or without what instances have announced", "request_id", id, "error", cause)
	}
	if err != nil {
		return out, fmt.Errorf("receipts can't be read at the moment; the operator finds the cause in the log under request %s: %w", id, ErrUnavailable)
	}
	if unheard != nil {
		report.Notes = append(report.Notes, "what instances have announced since the last root is not known at the moment")
	}
	out = verified{
		Whole: report.OK(), Receipts: report.Receipts, Chains: report.Chains, Unsigned: report.Unsigned, Lost: report.Lost,
		Faults: []string{}, Notes: append([]string{}, report.Notes...), From: from.UTC().Format(time.RFC3339), To: to.UTC().Format(time.RFC3339),
	}
	for i, f := range report.Faults {
		if i == mostFaults {
			out.More = int64(len(report.Faults) - i)
			break
		}
		out.Faults = append(out.Faults, f.Words)
	}
	out.More += report.More
	return out, nil
}

type support struct {
	Caller  tenantStanding  `json:"caller"`
	Support *tenant.Support `json:"support" jsonschema:"what the plan includes; left out where the tenant has no plan"`
	Quote   []string        `json:"quote" jsonschema:"what to quote when asking for help"`
	Now     []string        `json:"degraded" jsonschema:"what does not work as it should at the moment"`
}

func (a *agentTools) support(ctx context.Context, _ None) (support, error) {
	s := a.server
	var out support
	var plan *tenant.Plan
	if out.Caller, plan = a.standing(ctx); plan != nil {
		out.Support = &plan.Support
	}
	out.Now = s.degradedFor(ctx)
	out.Quote = []string{
		"the receipt of the call, which a refusal names, as does the header X-Request-Id",
		"tenant " + out.Caller.Tenant,
		"version " + s.version + " at instance " + s.instanceFor(ctx),
	}
	return out, nil
}

type signedEvent struct {
	ID        string `json:"id" jsonschema:"webhook-id" minLength:"1" maxLength:"128"`
	Timestamp string `json:"timestamp" jsonschema:"webhook-timestamp, seconds since 1970"`
	Signature string `json:"signature" jsonschema:"webhook-signature, such as v1,…"`
	Payload   string `json:"payload" jsonschema:"the event, byte by byte as it was signed" maxLength:"65536"`
}

func (a *agentTools) apply(ctx context.Context, in signedEvent) (*control.Outcome, error) {
	event, err := a.events.Verify(in.ID, in.Timestamp, in.Signature, []byte(in.Payload))
	if err != nil {
		return nil, err
	}
	p := Caller(ctx)
	return a.events.Apply(ctx, event, control.Delivery{
		RequestID: mcp.FromContext(ctx).Head.RequestID, By: p.String(), Method: "tools/call", Tool: agentPrefix + applyEvent,
	})
}

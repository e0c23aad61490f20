// Package agenttools has the tools by which agents ask the governor itself: for its health, their tenant's receipts and support, and to
// apply an entitlement event. Policies and limits hold for them as for any tool.
package agenttools

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/refresh"
	"example.com/erlmcp/function/internal/serve"
)

// Tools are made before the server that they are about is, which sets the fields.
type Tools struct {
	Server    Server
	Instance  string
	Version   string
	Start     time.Time
	Directory *refresh.Value[entitlement.Directory] // nil where there is none
	Records   Records
	Events    *entitlement.Processor
	Logger    *slog.Logger
}

// A Server says how it is, as [serve.Status] does.
type Server interface {
	Scope() string
	Degraded() []string
	Draining() bool
}

// Records are the receipts of the fleet.
type Records interface {
	Prove(ctx context.Context, tenant string, from, to time.Time) (report *verify.Report, unheard, err error)
}

// Prefix begins the names of the tools.
const Prefix = "taiea_"

var yes, no = true, false

// Entries returns those that TAIEA_TOOLS names and that can work with what there is.
func (t *Tools) Entries(cfg *config.Config, stored bool) []catalog.Entry {
	recorded := stored && cfg.Receipts != "false"
	var out []catalog.Entry
	for _, one := range []struct {
		name string
		can  bool
		tool *catalog.Tool
		more func(*catalog.Tool)
	}{
		{"health_check", true, catalog.FromFunc(Prefix+"health_check",
			"Tells whether this server works as it should: what is degraded, where limits hold, and what state the caller's tenant is in.", t.health),
			func(e *catalog.Tool) {
				e.Title, e.Terms.Formerly, e.Hints.ReadOnly = "Health of the server", "taiea.health.check", &yes
			}},
		{"receipts_verify_chain", recorded, catalog.FromFunc(Prefix+"receipts_verify_chain",
			"Verifies the receipts of the caller's tenant: finds what was altered, removed, moved, forged or cut off, and says which receipt in words. "+
				"Without from it looks at the last hour; at most 31 days at a time.", t.verify),
			func(e *catalog.Tool) {
				e.Title, e.Terms.Formerly, e.Hints.ReadOnly = "Verify receipts", "taiea.receipts.verify_chain", &yes
				e.Terms.Timeout, e.Terms.Limits = time.Minute, governor.Limit{Concurrency: 4, PerSecond: 2, Burst: 4}
			}},
		{"support_model", true, catalog.FromFunc(Prefix+"support_model",
			"Tells how the caller's tenant gets help: the support that its plan includes, whom to ask, and what to quote.", t.support),
			func(e *catalog.Tool) {
				e.Title, e.Terms.Formerly, e.Hints.ReadOnly = "Support", "taiea.support.model", &yes
			}},
		{config.ApplyEvent, recorded, catalog.FromFunc(Prefix+config.ApplyEvent,
			"Applies an entitlement event (grant, suspend, resume, revoke) that its source has signed as for the webhook: payload is the event as the source sent it, "+
				"id, timestamp and signature are the headers webhook-id, webhook-timestamp and webhook-signature.", t.apply),
			func(e *catalog.Tool) {
				e.Title, e.Terms.Formerly, e.Hints.Destructive, e.Terms.Strict = "Apply an entitlement event", "taiea.entitlement.apply_event", &yes, true
			}},
	} {
		if one.can && slices.Contains(cfg.AgentTools, one.name) {
			one.tool.Hints.Idempotent, one.tool.Hints.OpenWorld = &yes, &no
			one.more(one.tool)
			out = append(out, one.tool)
		}
	}
	return out
}

// tenantOf is that of the caller.
func tenantOf(ctx context.Context) string { return identity.FromContext(ctx).Tenant }

// tenantStanding is what a tool says of the caller's tenant.
type tenantStanding struct {
	Tenant string `json:"tenant"`
	State  string `json:"state" jsonschema:"boot, stable, warning, intervening, refusing, or unlisted"`
	Why    string `json:"why,omitempty"`
	Plan   string `json:"plan,omitempty"`
}

func (t *Tools) standing(ctx context.Context) (tenantStanding, *entitlement.Plan) {
	out := tenantStanding{Tenant: tenantOf(ctx), State: "unlisted"}
	if t.Directory == nil {
		return out, nil
	}
	d, known := t.Directory.Get(ctx, time.Now())
	if !known {
		out.Why = "what tenants are entitled to can't be read at the moment"
		return out, nil
	}
	if s := d.Standing(out.Tenant, time.Now()); s != nil {
		out.State, out.Why, out.Plan = string(s.State), s.Why, s.Plan
		return out, d.Plans[s.Plan]
	}
	return out, nil
}

type health struct {
	Status   string         `json:"status" jsonschema:"ok, degraded or draining"`
	Degraded []string       `json:"degraded" jsonschema:"what does not work as it should: governor, orders, tenants, API keys, receipts, files, catalog or other; the operator finds the words in the log"`
	Scope    string         `json:"scope" jsonschema:"where limits hold: fleet, instance or none"`
	Version  string         `json:"version"`
	Instance string         `json:"instance"`
	Uptime   float64        `json:"uptimeSeconds"`
	Caller   tenantStanding `json:"caller"`
}

// byOperator tells whether the caller is at the operator's own machine.
func byOperator(ctx context.Context) bool { return identity.FromContext(ctx) == &identity.Local }

// degraded is in words for an operator, and for others what the words are about.
func (t *Tools) degraded(ctx context.Context) []string {
	if byOperator(ctx) {
		return t.Server.Degraded()
	}
	return serve.Subjects(t.Server.Degraded())
}

// instance names the instance, for others than an operator by what is behind its machine's name: the log finds it by that.
func (t *Tools) instance(ctx context.Context) string {
	if byOperator(ctx) {
		return t.Instance
	}
	return t.Instance[strings.LastIndexByte(t.Instance, '-')+1:]
}

func (t *Tools) health(ctx context.Context, _ catalog.None) (health, error) {
	h := health{
		Status: "ok", Degraded: t.degraded(ctx), Scope: t.Server.Scope(), Version: t.Version, Instance: t.instance(ctx), Uptime: time.Since(t.Start).Round(time.Millisecond).Seconds(),
	}
	h.Caller, _ = t.standing(ctx)
	switch {
	case t.Server.Draining():
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
	defaultRange = time.Hour
	maxRange     = 31 * 24 * time.Hour
	maxFaults    = 50
)

func (t *Tools) verify(ctx context.Context, in verifyRange) (out verified, err error) {
	to := in.To
	if to.IsZero() {
		to = time.Now()
	}
	from := in.From
	if from.IsZero() {
		from = to.Add(-defaultRange)
	}
	if from.After(to) || to.Sub(from) > maxRange {
		return out, fmt.Errorf("from %s to %s is not a range of at most 31 days", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	whose := tenantOf(ctx)
	if whose == identity.TenantLocal {
		whose = "" // the operator's own machine
	}
	id := mcp.FromContext(ctx).Head.RequestID
	report, unheard, err := t.Records.Prove(ctx, whose, from, in.To)
	if cause := errors.Join(err, unheard); cause != nil { // which is the operator's to know
		t.Logger.WarnContext(ctx, "receipts were verified in vain, or without what instances have announced", "request_id", id, "error", cause)
	}
	if err != nil {
		return out, fmt.Errorf("receipts can't be read at the moment; the operator finds the cause in the log under request %s: %w", id, mcp.ErrUnavailable)
	}
	if unheard != nil {
		report.Notes = append(report.Notes, "what instances have announced since the last root is not known at the moment")
	}
	out = verified{
		Whole: report.OK(), Receipts: report.Receipts, Chains: report.Chains, Unsigned: report.Unsigned, Lost: report.Lost,
		Faults: []string{}, Notes: append([]string{}, report.Notes...), From: from.UTC().Format(time.RFC3339), To: to.UTC().Format(time.RFC3339),
	}
	for i, f := range report.Faults {
		if i == maxFaults {
			out.More = int64(len(report.Faults) - i)
			break
		}
		out.Faults = append(out.Faults, f.Words)
	}
	out.More += report.More
	return out, nil
}

type support struct {
	Caller  tenantStanding       `json:"caller"`
	Support *entitlement.Support `json:"support" jsonschema:"what the plan includes; left out where the tenant has no plan"`
	Quote   []string             `json:"quote" jsonschema:"what to quote when asking for help"`
	Now     []string             `json:"degraded" jsonschema:"what does not work as it should at the moment"`
}

func (t *Tools) support(ctx context.Context, _ catalog.None) (support, error) {
	var out support
	var plan *entitlement.Plan
	if out.Caller, plan = t.standing(ctx); plan != nil {
		out.Support = &plan.Support
	}
	out.Now = t.degraded(ctx)
	out.Quote = []string{
		"the receipt of the call, which a refusal names, as does the header X-Request-Id",
		"tenant " + out.Caller.Tenant,
		"version " + t.Version + " at instance " + t.instance(ctx),
	}
	return out, nil
}

// A SignedEvent is the input of the tool that applies events.
type SignedEvent struct {
	ID        string `json:"id" jsonschema:"webhook-id" minLength:"1" maxLength:"128"`
	Timestamp string `json:"timestamp" jsonschema:"webhook-timestamp, seconds since 1970"`
	Signature string `json:"signature" jsonschema:"webhook-signature, such as v1,…"`
	Payload   string `json:"payload" jsonschema:"the event, byte by byte as it was signed" maxLength:"65536"`
}

func (t *Tools) apply(ctx context.Context, in SignedEvent) (*entitlement.Outcome, error) {
	event, err := t.Events.Verify(in.ID, in.Timestamp, in.Signature, []byte(in.Payload))
	if err != nil {
		return nil, err
	}
	return t.Events.Apply(ctx, event, entitlement.Delivery{
		RequestID: mcp.FromContext(ctx).Head.RequestID, By: identity.FromContext(ctx).String(), Method: "tools/call", Tool: Prefix + config.ApplyEvent,
	})
}

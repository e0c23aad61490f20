package admission

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/policy"
)

// A verdict is what policies say of one call.
type verdict struct {
	object        *catalog.Object // nil where the call is about no entry
	standing      *entitlement.Standing
	hidden        bool
	outside       bool // of the toolset that is asked for, and hidden therefore
	now           time.Time
	rules         *policy.Set // of the operator, as they were at first
	operator, own policy.Decision
}

// early decides before the arguments are known.
func (a *Admission) early(o *catalog.Object, now time.Time) verdict {
	v := verdict{object: o, standing: a.verdict.standing, now: now}
	q := policy.Question{Principal: a.principal, Object: &o.Object, Now: now, Early: true}
	if set := a.gate.opts.Policy; set != nil {
		v.rules = set()
	}
	v.operator, v.own = v.rules.Decide(&q), o.Policy.Decide(&q)
	v.outside = a.head.Toolset != "" && !o.In(a.head.Toolset)
	v.hidden = v.outside || v.decision().Effect == policy.Deny
	return v
}

// late decides with the arguments.
func (v *verdict) late(p *identity.Principal, arguments map[string]any) policy.Decision {
	q := policy.Question{Principal: p, Object: &v.object.Object, Now: v.now, Arguments: arguments}
	v.operator, v.own = v.rules.Resume(v.operator, &q), v.object.Policy.Resume(v.own, &q)
	return v.decision()
}

// decision is the stricter of the operator's rules and those of the entry.
func (v *verdict) decision() policy.Decision { return policy.Stricter(v.operator, v.own) }

// authorize decides from the name alone whether the caller may see what it asks for, and has the scopes for it.
func (a *Admission) authorize(name string) *mcp.Refusal {
	g, v := a.gate, &a.verdict
	o := g.opts.Catalog.Object(a.method, name)
	*v = verdict{object: o, standing: v.standing}
	if o == nil {
		if lacks := a.principal.Missing(g.opts.Scopes); len(lacks) > 0 {
			return g.lacksScopes(nil, g.opts.Scopes, a.head)
		}
		return nil
	}
	if a.governed() {
		*v = a.early(o, g.opts.Now())
	}
	if v.hidden {
		return nil // the catalog says so
	}
	if refusal := lacksPack(a.principal, o, v.standing, a.head.RequestID); refusal != nil {
		return refusal
	}
	need := g.opts.Scopes
	if len(o.Scopes) > 0 {
		need = slices.Concat(need, o.Scopes)
	}
	if d := v.decision(); d.Effect == policy.Scopes {
		need = append(slices.Clip(need), d.Scopes...)
	}
	if lacks := a.principal.Missing(need); len(lacks) > 0 {
		return g.lacksScopes(o, need, a.head)
	}
	return nil
}

// governed tells whether not all callers see all.
func (a *Admission) governed() bool {
	return a.gate.opts.Policy != nil || a.gate.ruled || a.gate.packed || a.head.Toolset != ""
}

// enforce decides with the arguments at hand, and lets the call see of the catalog what the caller may.
func (a *Admission) enforce(ctx context.Context, c *mcp.Call) (context.Context, *mcp.Refusal) {
	g, v := a.gate, &a.verdict
	if !a.governed() {
		return ctx, nil
	}
	o := v.object
	// A tool that may be called is seen, and the call looks for nothing else, but by a tool that is there for that.
	if o == nil || v.hidden || c.Method != "tools/call" || o.Finds {
		now := g.opts.Now()
		ctx = catalog.NewContext(ctx, func(other *catalog.Object) bool {
			if other == o {
				return !v.hidden
			}
			d := a.early(other, now)
			return !d.hidden && (v.standing == nil || v.standing.Enables(other.Pack))
		})
	}
	if v.hidden {
		c.Conceal(g.hides(v, c.Head.RequestID))
	}
	if o == nil || v.hidden {
		return ctx, nil
	}
	early := v.decision()
	d := v.late(a.principal, g.arguments(o, c))
	switch {
	case d.Fault == nil:
	case c.Method == "completion/complete" && isMissing(d.Fault):
		d = early // not all arguments are known yet
	case g.misfit(ctx, c):
		return ctx, nil // the engine says what is wrong with them, and calls nothing
	}
	if refusal := g.follow(ctx, o, &d, c); refusal != nil || d.Effect != policy.Confirm {
		return ctx, refusal
	}
	question, err := confirmation(&d, o, c)
	if err != nil {
		return ctx, denied(o, &d, err.Error(), c.Head.RequestID)
	}
	c.Require(question)
	return ctx, nil
}

// arguments are what rules know as args.
func (g *Gate) arguments(o *catalog.Object, c *mcp.Call) map[string]any {
	switch c.Method {
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		return g.located(c.Name)
	case "completion/complete":
		if o.Kind == "resource" {
			return map[string]any{"vars": c.Arguments}
		}
	}
	return c.Arguments
}

// located are the arguments of what is read.
func (g *Gate) located(uri string) map[string]any {
	_, vars := g.opts.Catalog.At(uri)
	if vars == nil {
		vars = map[string]string{}
	}
	return map[string]any{"uri": uri, "vars": vars}
}

// asks tells whether a method can put a question to the person at the client.
func asks(method string) bool {
	return method == "tools/call" || method == "prompts/get" || method == "resources/read"
}

func isMissing(fault error) bool {
	_, ok := errors.AsType[*policy.Missing](fault)
	return ok
}

// follow counts and tells what was decided, and refuses what may not be.
func (g *Gate) follow(ctx context.Context, o *catalog.Object, d *policy.Decision, c *mcp.Call) *mcp.Refusal {
	for _, rule := range d.Shadow {
		g.decided.count(rule, "shadow")
		g.tell(ctx, "a rule in shadow mode would have refused a call, or asked first", "rule:"+rule, c.Head.RequestID, "about", o.Kind+":"+o.Name)
	}
	if d.Rule != "" || d.Effect != policy.Allow {
		g.decided.count(d.Rule, string(d.Effect))
	}
	message := d.Message
	switch {
	case d.Effect == policy.Scopes:
		return g.lacksScopes(o, slices.Concat(g.opts.Scopes, o.Scopes, d.Scopes), c.Head)
	case d.Effect == policy.Confirm && !asks(c.Method):
		message = "it needs the consent of the person at the client, whom " + c.Method + " can't ask"
	case d.Effect != policy.Deny:
		return nil
	case d.Fault != nil:
		message = "the rule " + d.Rule + " could not be evaluated"
		if missing, ok := errors.AsType[*policy.Missing](d.Fault); ok {
			message = "it depends on " + missing.Member + ", which is not given"
		}
		g.tell(ctx, "a rule could not be evaluated, and so refuses", "rule:"+d.Rule, c.Head.RequestID, "about", o.Kind+":"+o.Name, "error", d.Fault)
	case message == "":
		message = "with these arguments it is not allowed"
	}
	return denied(o, d, message, c.Head.RequestID)
}

func denied(o *catalog.Object, d *policy.Decision, message, requestID string) *mcp.Refusal {
	return &mcp.Refusal{
		Reason: mcp.NotEntitled, Scope: o.Kind + ":" + o.Name, Limit: "rule:" + d.Rule, Receipt: requestID,
		Message: "refused by policy: " + message + " (rule " + d.Rule + ")",
	}
}

// MayRead decides a read within a call as the caller's own would be decided, but for the limits.
func (g *Gate) MayRead(ctx context.Context, c *mcp.Call, uri string) error {
	p := identity.FromContext(ctx)
	if p == nil {
		return errors.New("only within a call it is known who may read what")
	}
	o, _ := g.opts.Catalog.At(uri)
	if o == nil {
		return mcp.ErrUnknown
	}
	a := (&Admission{gate: g, principal: p}).of(&mcp.Call{Head: c.Head, Method: "resources/read", Name: uri})
	if refusal := a.permit(ctx, uri); refusal != nil {
		return errors.New(refusal.Message)
	}
	switch {
	case a.verdict.hidden:
		return mcp.ErrUnknown
	case !a.governed():
		return nil
	}
	d := a.verdict.late(p, g.located(uri))
	if refusal := g.follow(ctx, o, &d, c); refusal != nil {
		return errors.New(refusal.Message)
	}
	if d.Effect == policy.Confirm {
		return errors.New("refused by policy: reading " + o.Name + " needs the consent of the person at the client, who is asked where the client itself reads it (rule " + d.Rule + ")")
	}
	return nil
}

// hides is the refusal of a call about what the caller can't see, for operators alone.
func (g *Gate) hides(v *verdict, requestID string) *mcp.Refusal {
	if v.outside {
		return &mcp.Refusal{
			Reason: mcp.NotEntitled, Scope: v.object.Kind + ":" + v.object.Name, Limit: "toolset", Receipt: requestID,
			Message: "refused: it is not in the toolset whose path was called",
		}
	}
	rule := v.decision().Rule
	g.decided.count(rule, string(policy.Deny))
	return &mcp.Refusal{
		Reason: mcp.NotEntitled, Scope: v.object.Kind + ":" + v.object.Name, Limit: "rule:" + rule, Receipt: requestID,
		Message: "refused by policy: it is hidden from the caller (rule " + rule + ")",
	}
}

// misfit tells whether the arguments do not fit the tool's schema, which rules are written against.
func (g *Gate) misfit(ctx context.Context, c *mcp.Call) bool {
	if c.Method != "tools/call" {
		return false
	}
	t := g.opts.Catalog.Tool(ctx, c.Name)
	return t != nil && t.Check != nil && t.Check(c.Arguments) != nil
}

// unauthenticated words why a caller was not let in. It tells no more than the caller may know: whether a key exists, or
// which check it failed, is for the log.
func (g *Gate) unauthenticated(e *identity.Error, h *mcp.RequestHeader) *mcp.Refusal {
	r := &mcp.Refusal{Reason: mcp.Unauthenticated, Scope: "authentication", Receipt: h.RequestID}
	fault, text := "invalid_token", "the credentials are not valid here"
	switch {
	case e.Wait > 0:
		wait := max(e.Wait.Round(10*time.Millisecond), 10*time.Millisecond)
		return &mcp.Refusal{
			Reason: mcp.RateLimited, Scope: "authentication", Receipt: h.RequestID, RetryAfter: e.Wait,
			Message: "refused: too many failed attempts to authenticate; try again in " + wait.String(),
		}
	case e.Retry > 0:
		return &mcp.Refusal{
			Reason: mcp.Backpressure, Scope: "authentication", Receipt: h.RequestID, RetryAfter: e.Retry,
			Message: "refused: the key that signed the token is not known yet, and its issuer was asked a moment ago; try again in " + e.Retry.Round(time.Second).String(),
		}
	case e.Cause == identity.Unnamed && e.Hint != "":
		return &mcp.Refusal{Reason: mcp.NotEntitled, Scope: "authentication", Receipt: h.RequestID, Message: "refused: " + e.Hint}
	case e.Hint != "":
		fault, text = "", e.Hint
	case e.Cause == identity.Missing:
		fault, text = "", "say who you are: send the header Authorization: Bearer, with a key or a token"
	case e.Request:
		r.Reason = mcp.MalformedCredentials
		fault, text = "invalid_request", "the credentials are malformed: send one header Authorization: Bearer, with one key or token"
	case e.Cause == identity.Expired:
		text = "the credentials have expired"
	case e.Cause == identity.NotYetValid:
		text = "the credentials are not valid yet"
	case e.Cause == identity.Unavailable:
		return &mcp.Refusal{
			Reason: mcp.Backpressure, Scope: "authentication", Receipt: h.RequestID, RetryAfter: 5 * time.Second,
			Message: "refused: the credentials can't be checked at the moment, since the keys for that can't be read; try again in 5s",
		}
	}
	need := g.opts.Scopes
	o := g.opts.Catalog.Object(h.Method, h.Name)
	if o != nil && g.opts.Policy == nil && o.Policy == nil && (h.Toolset == "" || o.In(h.Toolset)) {
		need = slices.Concat(need, o.Scopes) // what a policy hides must not show by its scopes
	}
	r.Challenge = g.challenge(fault, text, need, h)
	r.Message = "refused: " + text
	return r
}

// lacksScopes asks for a token with all the scopes that the call needs (step-up).
func (g *Gate) lacksScopes(o *catalog.Object, need []string, h *mcp.RequestHeader) *mcp.Refusal {
	need = compact(need)
	what, scope := "this server", directives.Everything
	if o != nil {
		what, scope = o.Name, o.Kind+":"+o.Name
	}
	text := what + " needs the scopes " + strings.Join(need, " ")
	return &mcp.Refusal{
		Reason: mcp.InsufficientScope, Scope: scope, Limit: strings.Join(need, " "), Receipt: h.RequestID,
		Message: "refused: " + text, Challenge: g.challenge("insufficient_scope", text, need, h),
	}
}

func compact(scopes []string) []string {
	var out []string
	for _, s := range scopes {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// challenge is the value of WWW-Authenticate (RFC 6750, section 3; RFC 9728, section 5.1).
func (g *Gate) challenge(fault, description string, scopes []string, h *mcp.RequestHeader) string {
	parts := []string{`realm="erlmcp"`}
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+`="`+quotable(value)+`"`)
		}
	}
	add("error", fault)
	if fault != "" {
		add("error_description", description)
	}
	add("scope", strings.Join(compact(scopes), " "))
	metadata := g.opts.Metadata
	if metadata != "" && h.Toolset != "" {
		metadata += "/" + h.Toolset
	}
	add("resource_metadata", metadata)
	return "Bearer " + strings.Join(parts, ", ")
}

// quotable keeps to what RFC 6750 lets a quoted value have.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, s)
}

// decisions count what rules decided.
type decisions struct {
	mu sync.Mutex
	n  map[Decided]int64
}

const (
	// maxDecided is from how many rules and effects on new rules are counted together, as otherRules: files and catalogs that take each other's
	// place come with rules of other names.
	maxDecided = 1000
	otherRules = "(other rules)"
)

// Decided is what a metric counts of policies.
type Decided struct{ Rule, Effect string }

func (d *decisions) count(rule, effect string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n == nil {
		d.n = map[Decided]int64{}
	}
	key := Decided{rule, effect}
	if _, known := d.n[key]; !known && len(d.n) >= maxDecided {
		key.Rule = otherRules
	}
	d.n[key]++
}

// Decided returns how often rules had an effect.
func (g *Gate) Decided() map[Decided]int64 {
	g.decided.mu.Lock()
	defer g.decided.mu.Unlock()
	out := make(map[Decided]int64, len(g.decided.n))
	for d, n := range g.decided.n {
		out[d] = n
	}
	return out
}

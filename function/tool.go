package function

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/policy"
)

// None is the input of a tool without arguments, and the output of one that answers nothing.
type None = struct{}

// A Tool is a function that agents can call.
type Tool struct{ entry *catalog.Tool }

// Name is the name that agents call.
func (t Tool) Name() string { return t.entry.Name }

// NewTool makes a tool of a Go function. Its input schema comes from In, a struct:
//
//	type In struct {
//		City  string `json:"city" jsonschema:"name of the city"`
//		Unit  string `json:"unit,omitempty" enum:"metric,imperial"`
//		Days  int    `json:"days" minimum:"1" maximum:"7"`
//		Shard string `json:"shard" header:"Shard"` // mirrored into the HTTP header Mcp-Param-Shard
//	}
//
// function/README.md has the table of types and struct tags. A field without omitempty is required. What Out becomes: a string or content blocks become content, a *[Result] is taken
// as it is, [None] answers "done", and any other type becomes structured content with an output schema.
//
// Arguments that do not fit the schema never reach the function, and names reach the field that is spelled like them: where only their
// case differs, the call is refused. So is it where a number can't be held exactly by what rules and the field have for it; a number in an any is a
// json.Number. An answer that does not fit its schema is an error, and a record in the log. An error of the function becomes a result that the model
// sees, with the error's text; a panic becomes a plain internal error and a record in the log. The context ends with the
// call: at its time limit, or when a client of protocol revision 2026-07-28 goes away.
func NewTool[In, Out any](name, description string, tool func(context.Context, In) (Out, error), options ...ToolOptions) Tool {
	var t Tool
	switch fn := any(tool).(type) { // what clients take as it is
	case func(context.Context, In) (Content, error):
		t.entry = catalog.FromFunc(name, description, answering(fn, func(c Content) []mcp.Content { return []mcp.Content{c.block()} }))
	case func(context.Context, In) ([]Content, error):
		t.entry = catalog.FromFunc(name, description, answering(fn, blocks))
	case func(context.Context, In) (*Result, error):
		t.entry = catalog.FromFunc(name, description, answering(fn, (*Result).result))
	case func(context.Context, In) (Result, error):
		t.entry = catalog.FromFunc(name, description, answering(fn, func(r Result) *mcp.Result { return r.result() }))
	case func(context.Context, In) (*Content, error):
		t.entry = catalog.FromFunc(name, description, answering(fn, func(c *Content) []mcp.Content {
			if c == nil {
				return nil
			}
			return []mcp.Content{c.block()}
		}))
	default:
		t.entry = catalog.FromFunc(name, description, tool)
	}
	for _, o := range options {
		o.apply(t.entry)
	}
	return t
}

// NewAction is [NewTool] for a function without output.
func NewAction[In any](name, description string, fn func(context.Context, In) error, options ...ToolOptions) Tool {
	var wrapped func(context.Context, In) (None, error)
	if fn != nil {
		wrapped = func(ctx context.Context, in In) (None, error) { return None{}, fn(ctx, in) }
	}
	return NewTool(name, description, wrapped, options...)
}

// ToolOptions say more about a tool; the zero value is a good one.
type ToolOptions struct {
	Title string // that people see

	// What calls do, as clients tell the person who lets them: that the tool changes nothing; that it overwrites and deletes nothing; that a
	// second call with the same arguments changes nothing more; that it reaches nothing beyond this server.
	ReadOnly, NonDestructive, Idempotent, ClosedWorld bool

	Timeout time.Duration // for one call; default a minute

	// Limits over the whole fleet: calls a second, of which as many as Burst may come at once (0 stands for a tenth of a second's worth, at
	// least 1); calls that run at a time; calls of one UTC day, which are counted in the store, so that they outlive Redis: a fleet with such
	// a tool needs GOOGLE_CLOUD_PROJECT. Zero is no limit.
	PerSecond     float64
	Burst         int
	MaxConcurrent int
	PerDay        int64
	Weight        int  // of one call against a rate; default 1
	DryRun        bool // the limits count and refuse no one: the log says what they would have refused

	// Upstream names what the tool calls outside of this server, such as "crm". At one instance at most WORKERS calls at a time
	// go to each upstream, an operator can kill all tools of it at once, and they share a breaker.
	Upstream string
	Breaker  Breaker

	// RequireReceipt lets the tool be called only when the receipt that says so is stored: while the store is away, calls are refused.
	// Other tools are called then, and their receipts wait. Nor is it called on an answer of which it can't be found out in Redis that it
	// counts for the first time.
	RequireReceipt bool

	// Listed keeps the tool in the list of callers who find the others by find_tools, where the catalog has a [Search].
	Listed bool
	// Toolset puts the tool into a group, as plans call one: tenants whose plan leaves it out don't see the tool and can't call it. Tools of
	// none are for all, and tenants that are in no list have all. The path /mcp/TOOLSET serves its tools alone.
	Toolset string
	// Scopes are what a caller must have been granted to call the tool. Who lacks them sees the tool, and is told to get them.
	Scopes []string
	// AllowWhen hides and refuses the tool unless all of the conditions hold. A caller who sees the tool, and calls it with arguments for
	// which one does not hold, is told its message.
	AllowWhen []Condition
	// ConfirmWhen lets a person at the client agree before the tool is called, where a condition holds; its message says what to. Clients
	// before protocol revision 2026-07-28 can't be asked, and are told so.
	ConfirmWhen []Condition

	// The schemas replace those that come from the types, for what struct tags can't say: a JSON Schema 2020-12 of an object.
	InputSchema, OutputSchema string
}

// A Breaker stops calls to a tool's upstream, or to the tool itself where it names none, after so many failures in a row, on all instances
// and for so long; then single calls try whether it works again. Failures are errors that wrap [ErrUnavailable], calls beyond their time
// limit, and panics. The zero Breaker is none.
type Breaker struct {
	Failures int
	Rest     time.Duration
}

// A Condition is in CEL over principal, tool, now and args, as in the operator's file of rules; whole numbers are ints:
//
//	{When: `principal.tenant == "acme" && args.rows <= 100`, Message: "at most 100 rows, and for acme alone"}
//
// A condition on an argument that may be left out asks first whether it is there: has(args.rows).
type Condition struct{ When, Message string }

var yes, no = true, false

func (o *ToolOptions) apply(t *catalog.Tool) {
	t.Title, t.Listed = o.Title, o.Listed
	for _, hint := range []struct {
		said  bool
		hint  **bool
		value *bool
	}{{o.ReadOnly, &t.Hints.ReadOnly, &yes}, {o.NonDestructive, &t.Hints.Destructive, &no}, {o.Idempotent, &t.Hints.Idempotent, &yes}, {o.ClosedWorld, &t.Hints.OpenWorld, &no}} {
		if hint.said {
			*hint.hint = hint.value
		}
	}
	t.Terms.Timeout, t.Terms.Weight, t.Terms.Strict = o.Timeout, o.Weight, o.RequireReceipt
	t.Terms.Limits = governor.Limit{PerSecond: o.PerSecond, Burst: float64(o.Burst), Concurrency: int64(o.MaxConcurrent), PerDay: o.PerDay, DryRun: o.DryRun}
	t.Terms.Upstream, t.Terms.Breaker, t.Terms.Pack = o.Upstream, governor.Breaker{Failures: o.Breaker.Failures, Rest: o.Breaker.Rest}, o.Toolset
	t.Terms.Scopes = o.Scopes
	for _, c := range o.AllowWhen {
		t.Terms.Rules = append(t.Terms.Rules, policy.Rule{When: "!(" + c.When + ")", Then: policy.Deny, Message: c.Message})
	}
	for _, c := range o.ConfirmWhen {
		t.Terms.Rules = append(t.Terms.Rules, policy.Rule{When: c.When, Then: policy.Confirm, Message: c.Message})
	}
	for i := range t.Terms.Rules {
		t.Terms.Rules[i].Name = fmt.Sprintf("%s-%d", t.Name, i+1)
	}
	if o.InputSchema != "" {
		t.Input = json.RawMessage(o.InputSchema)
	}
	if o.OutputSchema != "" {
		t.Output = json.RawMessage(o.OutputSchema)
	}
}

// ErrUnavailable is to be wrapped by the error of a tool when what it calls did not answer or failed, other than by
// refusing the arguments: it counts for the tool's [Breaker].
var ErrUnavailable = mcp.ErrUnavailable

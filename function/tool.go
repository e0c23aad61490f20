package function

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/policy"
)

// What a tool may answer with, beside a type of its own: content blocks, or a whole result.
type (
	Content          = mcp.Content
	Annotations      = mcp.Annotations
	ResourceContents = mcp.ResourceContents
	Result           = mcp.Result
	// None is the input of a tool without arguments, and the output of one that answers nothing.
	None = catalog.None
)

// Text is a block of text.
func Text(text string) Content { return mcp.Text(text) }

// Image is a picture, with data as in its file.
func Image(data []byte, mimeType string) Content { return mcp.Image(data, mimeType) }

// Audio is a sound, with data as in its file.
func Audio(data []byte, mimeType string) Content { return mcp.Audio(data, mimeType) }

// Link points to a resource that the client may read.
func Link(uri, name string) Content { return mcp.Link(uri, name) }

// Embed puts a resource's contents into a result.
func Embed(r ResourceContents) Content { return mcp.Embed(r) }

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
// README's table of types and struct tags has all of them. A field without omitempty is required. What Out becomes: a string or content blocks become content, a *[Result] is taken
// as it is, [None] answers "done", and any other type becomes structured content with an output schema.
//
// Arguments that do not fit the schema never reach the function, and names reach the field that is spelled like them: where only their
// case differs, the call is refused. So is it where a number can't be held exactly by what rules and the field have for it; a number in an any is a
// json.Number. An answer that does not fit its schema is an error, and a record in the log. An error of the function becomes a result that the model
// sees, with the error's text; a panic becomes a plain internal error and a record in the log. The context ends with the
// call: at its time limit, or when a client of protocol revision 2026-07-28 goes away.
func NewTool[In, Out any](name, description string, fn func(context.Context, In) (Out, error), opts ...ToolOption) Tool {
	t := Tool{catalog.FromFunc(name, description, fn)}
	for _, opt := range opts {
		opt(t.entry)
	}
	return t
}

// NewAction is [NewTool] for a function without output.
func NewAction[In any](name, description string, fn func(context.Context, In) error, opts ...ToolOption) Tool {
	var wrapped func(context.Context, In) (None, error)
	if fn != nil {
		wrapped = func(ctx context.Context, in In) (None, error) { return None{}, fn(ctx, in) }
	}
	return NewTool(name, description, wrapped, opts...)
}

// A ToolOption says more about a tool.
type ToolOption func(*catalog.Tool)

// Title is the name that people see.
func Title(title string) ToolOption { return func(t *catalog.Tool) { t.Title = title } }

var yes, no = true, false

// ReadOnly says that the tool changes nothing.
func ReadOnly() ToolOption { return func(t *catalog.Tool) { t.Hints.ReadOnly = &yes } }

// Destructive says whether the tool may overwrite or delete; the protocol assumes that it may.
func Destructive(may bool) ToolOption {
	return func(t *catalog.Tool) { t.Hints.Destructive = map[bool]*bool{true: &yes, false: &no}[may] }
}

// Idempotent says that a second call with the same arguments changes nothing more.
func Idempotent() ToolOption { return func(t *catalog.Tool) { t.Hints.Idempotent = &yes } }

// OpenWorld says whether the tool reaches beyond this server; the protocol assumes that it does.
func OpenWorld(does bool) ToolOption {
	return func(t *catalog.Tool) { t.Hints.OpenWorld = map[bool]*bool{true: &yes, false: &no}[does] }
}

// Timeout limits one call; the default is a minute.
func Timeout(d time.Duration) ToolOption { return func(t *catalog.Tool) { t.Terms.Timeout = d } }

// Weight is what one call costs against a rate; the default is 1.
func Weight(n int) ToolOption { return func(t *catalog.Tool) { t.Terms.Weight = n } }

// PerSecond limits the rate of calls over the whole fleet. As many as burst may come at once; 0 stands for a tenth of a second's
// worth, at least 1.
func PerSecond(rate float64, burst int) ToolOption {
	return func(t *catalog.Tool) { t.Terms.Limits.PerSecond, t.Terms.Limits.Burst = rate, burst }
}

// AtATime limits how many calls run at a time over the whole fleet.
func AtATime(n int) ToolOption { return func(t *catalog.Tool) { t.Terms.Limits.Concurrency = n } }

// PerDay limits the calls of one UTC day over the whole fleet. What was used is kept in the store, so that it outlives
// Redis: a fleet with such a tool needs GOOGLE_CLOUD_PROJECT.
func PerDay(n int64) ToolOption { return func(t *catalog.Tool) { t.Terms.Limits.PerDay = n } }

// Strict lets the tool be called only when the receipt that says so is stored: while the store is away, calls are refused.
// Other tools are called then, and their receipts wait. Nor is it called on an answer of which it can't be found out in Redis that it counts
// for the first time.
func Strict() ToolOption { return func(t *catalog.Tool) { t.Terms.Strict = true } }

// Pack puts the tool into a pack, as plans call a group of tools: tenants whose plan leaves the pack out don't see it and can't
// call it. Tools of no pack are for all, and tenants that are in no list have all packs.
func Pack(name string) ToolOption { return func(t *catalog.Tool) { t.Terms.Pack = name } }

// Shadow lets the tool's own limits count and refuse no one: the log says what they would have refused.
func Shadow() ToolOption { return func(t *catalog.Tool) { t.Terms.Limits.Shadow = true } }

// Upstream names what the tool calls outside of this server, such as "crm". At one instance at most WORKERS calls at a time
// go to each upstream, an operator can kill all tools of it at once, and they share a breaker.
func Upstream(name string) ToolOption { return func(t *catalog.Tool) { t.Terms.Upstream = name } }

// Breaker stops calls to the tool's upstream, or to the tool itself where it names none, after so many failures in a row,
// on all instances and for so long; then single calls try whether it works again. Failures are errors that wrap
// [ErrUnavailable], calls beyond their time limit, and panics.
func Breaker(failures int, rest time.Duration) ToolOption {
	return func(t *catalog.Tool) { t.Terms.Breaker = catalog.Breaker{Failures: failures, Rest: rest} }
}

// ErrUnavailable is to be wrapped by the error of a tool when what it calls did not answer or failed, other than by
// refusing the arguments: it counts for the tool's [Breaker].
var ErrUnavailable = mcp.ErrUnavailable

// Scopes are what a caller must have been granted to call the tool. Who lacks them sees the tool, and is told to get them.
func Scopes(scopes ...string) ToolOption {
	return func(t *catalog.Tool) { t.Terms.Scopes = append(t.Terms.Scopes, scopes...) }
}

// AllowWhen hides and refuses the tool unless the condition holds, in CEL over principal, tool, now and args, as in the
// operator's file of rules; whole numbers are ints:
//
//	AllowWhen(`principal.tenant == "acme" && args.rows <= 100`, "at most 100 rows, and for acme alone")
//
// A caller who sees the tool, and calls it with arguments for which the condition does not hold, is told the message. A condition on
// an argument that may be left out asks first whether it is there: has(args.rows).
func AllowWhen(condition string, message ...string) ToolOption {
	return rule(policy.Rule{When: "!(" + condition + ")", Then: policy.Deny, Message: strings.Join(message, " ")})
}

// ConfirmWhen lets a person at the client agree before the tool is called, where the condition holds; the message says what
// to. Clients before protocol revision 2026-07-28 can't be asked, and are told so.
func ConfirmWhen(condition, message string) ToolOption {
	return rule(policy.Rule{When: condition, Then: policy.Confirm, Message: message})
}

func rule(r policy.Rule) ToolOption {
	return func(t *catalog.Tool) {
		r.Name = fmt.Sprintf("%s-%d", t.Name, len(t.Terms.Rules)+1)
		t.Terms.Rules = append(t.Terms.Rules, r)
	}
}

// InputSchema replaces the schema that comes from In, for what struct tags can't say: a JSON Schema 2020-12 of an object.
func InputSchema(schema string) ToolOption {
	return func(t *catalog.Tool) { t.Input = json.RawMessage(schema) }
}

// OutputSchema replaces the schema that comes from Out.
func OutputSchema(schema string) ToolOption {
	return func(t *catalog.Tool) { t.Output = json.RawMessage(schema) }
}

// A Principal is who calls: a tenant, and a subject within it, with what was granted to it.
type Principal = identity.Principal

// Caller returns who calls, and the zero Principal outside of a call.
func Caller(ctx context.Context) Principal {
	if p := identity.FromContext(ctx); p != nil {
		return *p
	}
	return Principal{}
}

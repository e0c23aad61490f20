package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/policy"
	"example.com/erlmcp/function/internal/value"
)

// A Tool is a function that a model may call.
type Tool struct {
	Name, Title, Description string
	Hints                    Hints
	Input                    json.RawMessage // JSON Schema of the arguments, an object
	Shown                    json.RawMessage // a shorter one, which is listed in place of Input; nil for Input itself
	Output                   json.RawMessage // JSON Schema of the structured content, or nil
	// Lenient takes scalars of arguments for what their schemas say, where that can mean one thing only: see [value.Checker.Coerce].
	Lenient bool
	Listed  bool // among the few, too, that a caller has listed who is to search
	ReadsOn bool // see [mcp.Tool]: it is for tools whose hints say that they are read-only
	Terms   Terms
	Call    func(context.Context, *mcp.Call) (*mcp.Result, error)

	schema  *jsonschema.Schema // of the arguments
	settles *value.Checker     // the same
	in, out *value.Type        // that arguments are decoded into and results encoded from; nil where Call does that itself
	written bool               // the output's schema was, by hand
	textual bool               // it answers with content alone
	fault   error              // found while the tool was made
	engine  mcp.Tool
}

// Hints tell a client what a tool does to the world. Nil leaves the protocol's default.
type Hints struct {
	ReadOnly    *bool `json:"readOnlyHint,omitempty"`
	Destructive *bool `json:"destructiveHint,omitempty"`
	Idempotent  *bool `json:"idempotentHint,omitempty"`
	OpenWorld   *bool `json:"openWorldHint,omitempty"`
}

func (t *Tool) what() string { return t.Terms.at(fmt.Sprintf("tool %q", t.Name)) }

type toolDescriptor struct {
	Name         string          `json:"name"`
	Title        string          `json:"title,omitempty"`
	Description  string          `json:"description"`
	InputSchema  json.RawMessage `json:"inputSchema"`
	OutputSchema json.RawMessage `json:"outputSchema,omitempty"`
	Annotations  *Hints          `json:"annotations,omitempty"`
}

// object is what policies see, with the protocol's defaults for hints that are not given.
func (t *Tool) object() policy.Object {
	is := func(hint *bool, fallback bool) bool {
		if hint == nil {
			return fallback
		}
		return *hint
	}
	readOnly := is(t.Hints.ReadOnly, false)
	return policy.Object{
		Kind: "tool", Name: t.Name, ReadOnly: readOnly, Destructive: is(t.Hints.Destructive, !readOnly),
		Idempotent: is(t.Hints.Idempotent, false), OpenWorld: is(t.Hints.OpenWorld, true),
	}
}

func (t *Tool) add(c *Catalog) error {
	t = new(*t)
	faults := []error{t.fault, checkName(t.Name, t.Description), t.Terms.check()}
	if other := c.tools[t.Name]; other != nil {
		faults = append(faults, errors.New("there is another tool of this name"+t.Terms.beside(&other.Terms)))
	}
	if t.ReadsOn && (t.Hints.ReadOnly == nil || !*t.Hints.ReadOnly) {
		faults = append(faults, errors.New("its answers are read on by calling it again, and it may change something"))
	}
	faults = append(faults, t.describe())
	descriptor := toolDescriptor{Name: t.Name, Title: t.Title, Description: t.Description, InputSchema: value.Published(t.shown())}
	if t.Hints != (Hints{}) {
		descriptor.Annotations = &t.Hints
	}
	legacy := any(nil)
	if t.Input != nil {
		faults = append(faults, t.checkInput())
	}
	if t.Output != nil {
		descriptor.OutputSchema = value.Published(t.Output)
		output, checker, err := compile(t.Output)
		if err != nil {
			faults = append(faults, fmt.Errorf("output schema: %w", err))
		} else {
			t.engine.Fits = fitsOf(checker)
			if t.out != nil && !t.written { // package value has seen to it
				t.engine.Fits = func(*mcp.Result) error { return nil }
			}
			if output.Type != "object" {
				// Clients of earlier revisions refuse a whole list for an output schema that is not of an object.
				old := descriptor
				old.OutputSchema = nil
				legacy = old
			}
		}
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	t.engine.Timeout = t.Terms.Timeout
	t.engine.Call, t.engine.Strict, t.engine.ReadsOn = t.Call, t.Terms.Strict, t.ReadsOn
	c.tools[t.Name] = t
	if f := t.Terms.Formerly; f != "" {
		if c.former == nil {
			c.former = map[string]string{}
		}
		c.former[f] = t.Name
	}
	if err := c.describe(mcp.Tools, t.Name, &t.Terms, t.object()); err != nil {
		return err
	}
	if err := t.checkRules(c.objects[mcp.Tools][t.Name].Policy); err != nil {
		return err
	}
	return c.list(mcp.Tools, t.Name, descriptor, legacy)
}

// shown is the schema of the arguments that callers see.
func (t *Tool) shown() json.RawMessage {
	if t.Shown != nil {
		return t.Shown
	}
	return t.Input
}

// describe makes the schemas that were not written by hand.
func (t *Tool) describe() error {
	var faults []error
	made := func(of *value.Type, what string) json.RawMessage {
		s, err := of.Schema()
		if err != nil {
			faults = append(faults, fmt.Errorf("%s type: %w", what, err))
			return nil
		}
		if what == "input" && s.Type != "object" {
			faults = append(faults, fmt.Errorf("input type: %v is not a struct", of))
			return nil
		}
		raw, err := json.Marshal(s)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s type: %w", what, err))
		}
		return raw
	}
	t.written = t.Output != nil
	if t.in != nil && t.Input == nil {
		t.Input = made(t.in, "input")
	}
	if t.Output != nil && t.textual {
		faults = append(faults, errors.New("output schema: the tool answers with content alone, which no schema is of: let the function return a type of its own, or a *Result"))
	}
	if t.out != nil && t.Output == nil {
		t.Output = made(t.out, "output")
	}
	return errors.Join(faults...)
}

func (t *Tool) checkInput() error {
	input, checker, err := compile(t.Input)
	if err != nil {
		return fmt.Errorf("input schema: %w", err)
	}
	if input.Type != "object" {
		return errors.New(`input schema: the type must be "object"`)
	}
	if t.Shown != nil {
		if err := checkShown(t.Shown); err != nil {
			return fmt.Errorf("the input schema that is listed: %w", err)
		}
	}
	if t.engine.Headers, err = headerParams(input); err != nil {
		return fmt.Errorf("input schema: %w", err)
	}
	t.schema, t.settles = input, checker
	t.engine.Check = func(args map[string]any) error { return checker.Check(args) }
	if t.in != nil {
		if err := t.in.Declare(input); err != nil {
			return fmt.Errorf("input schema: %w", err)
		}
	}
	return nil
}

// fitsOf returns the check of a result, which clients throw away where it does not fit what they were told.
func fitsOf(output *value.Checker) func(*mcp.Result) error {
	return func(r *mcp.Result) error {
		if r.Structured == nil {
			return errors.New("there is no structured content, and the tool has an output schema")
		}
		v, err := mcp.DecodeAnswer(r.Structured)
		if err != nil {
			return fmt.Errorf("the structured content: %w", err)
		}
		return output.Check(v)
	}
}

// Settle makes of a tool's arguments what they stand for: see [value.Checker.Settle]. Defaults are those of Go types; what a schema that
// was written by hand says of them is for who reads it. Nulls tells whether there may be any.
func (c *Catalog) Settle(tool string, args map[string]any, nulls bool) {
	t := c.tools[tool]
	if t == nil || t.settles == nil {
		return
	}
	if t.Lenient {
		t.settles.Coerce(args)
	}
	if nulls || t.in != nil {
		t.settles.Settle(args, t.in != nil)
	}
}

// checkRules lists what rules of the tool's own name and what no call has: such a rule would refuse them all.
func (t *Tool) checkRules(rules *policy.Set) error {
	none, err := json.Marshal(t.schema.AdditionalProperties)
	if rules == nil || err != nil || string(none) != "false" {
		return nil // there may be arguments that the schema does not name
	}
	named := rules.Members()
	var faults []error
	for _, member := range slices.Sorted(maps.Keys(named)) {
		if t.schema.Properties[member] == nil {
			faults = append(faults, fmt.Errorf("its policy: rule %s is about args.%s, and the arguments are %s",
				named[member], member, strings.Join(slices.Sorted(maps.Keys(t.schema.Properties)), ", ")))
		}
	}
	return errors.Join(faults...)
}

// None is the input of a tool that takes no arguments, and the output of one that answers nothing.
type None = struct{}

// FromFunc makes a tool of a Go function. The schemas come from the types, as package value describes them, unless they are given. What Out
// becomes: a string or content blocks become content, a *mcp.Result is taken as it is, [None] answers "done", and any
// other type becomes structured content, with its JSON as text beside it.
func FromFunc[In, Out any](name, description string, fn func(context.Context, In) (Out, error)) *Tool {
	t := &Tool{Name: name, Description: description}
	if fn == nil {
		t.fault = errors.New("the function is nil")
		return t
	}
	if _, isRaw := any(*new(In)).(json.RawMessage); isRaw {
		t.Input = json.RawMessage(`{"type":"object"}`)
	}
	var err error
	if t.in, err = value.Of(reflect.TypeFor[In](), value.In); err != nil {
		t.fault = fmt.Errorf("input type: %w", err)
		return t
	}
	answer := t.answer(reflect.TypeFor[Out]())
	t.Call = func(ctx context.Context, c *mcp.Call) (*mcp.Result, error) {
		var in In
		if err := t.in.Decode(c.Arguments, &in); err != nil {
			return nil, &mcp.Misfit{Err: err}
		}
		out, err := fn(ctx, in)
		if err != nil {
			return nil, err
		}
		return answer(out)
	}
	return t
}

// answer returns how a value of a type becomes a result.
func (t *Tool) answer(of reflect.Type) func(any) (*mcp.Result, error) {
	text := func(blocks ...mcp.Content) (*mcp.Result, error) { return &mcp.Result{Content: blocks}, nil }
	t.textual = true
	switch of {
	case reflect.TypeFor[None]():
		return func(any) (*mcp.Result, error) { return text(mcp.Text("done")) }
	case reflect.TypeFor[string]():
		return func(out any) (*mcp.Result, error) { return text(mcp.Text(out.(string))) }
	case reflect.TypeFor[[]mcp.Content]():
		return func(out any) (*mcp.Result, error) { return text(out.([]mcp.Content)...) }
	}
	t.textual = false
	if of == reflect.TypeFor[*mcp.Result]() {
		return func(out any) (*mcp.Result, error) { return out.(*mcp.Result), nil }
	}
	var err error
	if t.out, err = value.Of(of, value.Out); err != nil {
		t.fault = fmt.Errorf("output type: %w", err)
		return nil
	}
	return func(out any) (*mcp.Result, error) {
		b, err := t.out.Encode(nil, out)
		if err != nil {
			return nil, &mcp.Breach{Err: err}
		}
		return &mcp.Result{Content: []mcp.Content{mcp.Text(string(b))}, Structured: b}, nil
	}
}

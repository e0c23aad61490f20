package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/policy"
	"example.com/erlmcp/function/internal/strictjson"
)

// A Tool is a function that a model may call.
type Tool struct {
	Name, Title, Description string
	Hints                    Hints
	Input                    json.RawMessage // JSON Schema of the arguments, an object
	Output                   json.RawMessage // JSON Schema of the structured content, or nil
	Terms                    Terms
	Call                     func(context.Context, *mcp.Call) (*mcp.Result, error)

	schema *jsonschema.Schema // of the arguments
	input  reflect.Type       // that the arguments are decoded into; nil where Call reads them itself
	fault  error              // found while the tool was made
	engine mcp.Tool
}

// Hints tell a client what a tool does to the world. Nil leaves the protocol's default.
type Hints struct {
	ReadOnly    *bool `json:"readOnlyHint,omitempty"`
	Destructive *bool `json:"destructiveHint,omitempty"`
	Idempotent  *bool `json:"idempotentHint,omitempty"`
	OpenWorld   *bool `json:"openWorldHint,omitempty"`
}

func (t *Tool) what() string { return fmt.Sprintf("tool %q", t.Name) }

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
	faults := []error{t.fault, checkName(t.Name, t.Description), t.Terms.check()}
	if c.tools[t.Name] != nil {
		faults = append(faults, errors.New("there is another tool of this name"))
	}
	descriptor := toolDescriptor{Name: t.Name, Title: t.Title, Description: t.Description, InputSchema: withProperties(t.Input), OutputSchema: t.Output}
	if t.Hints != (Hints{}) {
		descriptor.Annotations = &t.Hints
	}
	legacy := any(nil)
	if t.fault == nil {
		input, err := compile(t.Input)
		if err != nil {
			faults = append(faults, fmt.Errorf("input schema: %w", err))
		} else if input.Schema().Type != "object" {
			faults = append(faults, errors.New(`input schema: the type must be "object"`))
		} else {
			var err error
			if t.engine.Headers, err = headerParams(input.Schema()); err != nil {
				faults = append(faults, fmt.Errorf("input schema: %w", err))
			}
			t.schema = input.Schema()
			t.engine.Check = checkOf(input, t.input)
		}
		if t.Output != nil {
			output, err := compile(t.Output)
			if err != nil {
				faults = append(faults, fmt.Errorf("output schema: %w", err))
			} else if output.Schema().Type != "object" {
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
	t.engine.Call, t.engine.Strict = t.Call, t.Terms.Strict
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

// withProperties is the schema with the member properties, empty if it has none. By JSON Schema it may lack; but several frameworks hand
// the schema on as it is, and OpenAI's interface refuses all of a request for one tool that lacks it.
func withProperties(schema json.RawMessage) json.RawMessage {
	var members map[string]json.RawMessage
	if json.Unmarshal(schema, &members) != nil || len(members) == 0 || members["properties"] != nil {
		return schema // what is no schema of arguments is a fault of its own
	}
	end := bytes.LastIndexByte(schema, '}')
	return append(schema[:end:end], `,"properties":{}}`...)
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

// checkOf returns the check of arguments: they fit the schema, and decoded into the type they are what the schema and policies have seen.
func checkOf(schema *jsonschema.Resolved, into reflect.Type) func(map[string]any) error {
	quick := fitOf(schema.Schema())
	multiples := multiplesOf(schema.Schema())
	fits := func(args map[string]any) error {
		if quick != nil && quick(args) {
			return nil
		}
		if err := schema.Validate(args); err != nil {
			return err
		}
		return multiples.check(args)
	}
	if into == nil {
		return fits
	}
	decoded := strictjson.TypeOf(into, propertiesOf(schema.Schema()))
	return func(args map[string]any) error {
		if err := fits(args); err != nil {
			return err
		}
		return decoded.Check(args)
	}
}

// None is the input of a tool that takes no arguments, and the output of one that answers nothing.
type None = struct{}

// FromFunc makes a tool of a Go function. The schemas come from the types, by the rules of
// [SchemaOf]. What Out becomes: a string or content blocks become content, a *mcp.Result is taken as it is, [None] answers "done", and any
// other type becomes structured content, with its JSON as text beside it.
func FromFunc[In, Out any](name, description string, fn func(context.Context, In) (Out, error)) *Tool {
	t := &Tool{Name: name, Description: description}
	if fn == nil {
		t.fault = errors.New("the function is nil")
		return t
	}
	var err error
	if t.Input, err = inputSchema[In](); err != nil {
		t.fault = fmt.Errorf("input type: %w", err)
		return t
	}
	answer, structured := answerOf[Out]()
	if structured {
		if t.Output, err = outputSchema[Out](); err != nil {
			t.fault = fmt.Errorf("output type: %w", err)
			return t
		}
	}
	t.input = reflect.TypeFor[In]()
	decode := json.Unmarshal
	if strictjson.HasAny(t.input) {
		decode = exactly
	}
	t.Call = func(ctx context.Context, c *mcp.Call) (*mcp.Result, error) {
		var in In
		if len(c.Taken) > 0 {
			if err := decode(c.Taken, &in); err != nil {
				return nil, &mcp.Misfit{Err: readable(err)}
			}
		}
		out, err := fn(ctx, in)
		if err != nil {
			return nil, err
		}
		return answer(out)
	}
	return t
}

// exactly decodes with a [json.Number] in place of a double.
func exactly(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(into)
}

// readable words what a model can't act on otherwise.
func readable(err error) error {
	var p *time.ParseError
	if errors.As(err, &p) {
		return fmt.Errorf("%s is not a date and time of RFC 3339, such as 2026-11-24T15:04:05Z", p.Value)
	}
	return err
}

// answerOf returns how a value of type Out becomes a result, and whether as structured content.
func answerOf[Out any]() (answer func(Out) (*mcp.Result, error), structured bool) {
	text := func(blocks ...mcp.Content) (*mcp.Result, error) { return &mcp.Result{Content: blocks}, nil }
	switch any(*new(Out)).(type) {
	case None:
		return func(Out) (*mcp.Result, error) { return text(mcp.Text("done")) }, false
	case string:
		return func(out Out) (*mcp.Result, error) { return text(mcp.Text(any(out).(string))) }, false
	case mcp.Content:
		return func(out Out) (*mcp.Result, error) { return text(any(out).(mcp.Content)) }, false
	case []mcp.Content:
		return func(out Out) (*mcp.Result, error) { return text(any(out).([]mcp.Content)...) }, false
	case *mcp.Result:
		return func(out Out) (*mcp.Result, error) { return any(out).(*mcp.Result), nil }, false
	}
	return func(out Out) (*mcp.Result, error) {
		b, err := json.Marshal(out)
		if err != nil {
			return nil, fmt.Errorf("the output can't be marshalled: %w", err)
		}
		return &mcp.Result{Content: []mcp.Content{mcp.Text(string(b))}, Structured: b}, nil
	}, true
}

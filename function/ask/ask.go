// Package ask puts questions from within a tool, prompt or resource: to the person at the client, to its model, or to the client itself.
//
//	func remove(ctx context.Context, in In) (Out, error) {
//		var sure bool
//		if err := ask.Client(ctx, ask.Confirm("sure", "Delete "+in.Name+"?", &sure)); err != nil {
//			return Out{}, err
//		}
//		…
//	}
package ask

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/strictjson"
	"example.com/erlmcp/function/internal/value"
)

// What a person may do instead of answering a question.
var (
	ErrDeclined  = mcp.ErrDeclined
	ErrDismissed = mcp.ErrDismissed
)

// ErrCannotAsk is what [Client] returns to a client whose protocol revision has no way to be asked.
var ErrCannotAsk = mcp.ErrNoPerson

// A Question is put to the person at the client, to its model, or to the client itself.
type Question struct {
	request mcp.InputRequest
	fault   error
}

// Client puts questions and returns nil once all are answered. Until then it returns an error that the tool, prompt or
// resource must return as it is: the client asks, repeats the call, and the function runs again from its start with the
// answers at hand. So ask before you act: what comes before Client happens at each round.
//
// The answers of earlier rounds travel sealed through the client, bound to the caller, the tool and its arguments. An answer counts once, for
// the question that was put, so a question must be the same at each round. What a message holds of callers' text is shown as it is, but for
// characters that can't be seen or turn it around. Other
// errors: [ErrDeclined], [ErrDismissed], and [ErrCannotAsk] where the client is too old to be asked; a client that did not
// declare what the question needs gets a protocol error.
func Client(ctx context.Context, questions ...Question) error {
	c := mcp.FromContext(ctx)
	if c == nil {
		return mcp.ErrNoCall
	}
	requests := make([]mcp.InputRequest, len(questions))
	for i, q := range questions {
		if q.fault != nil {
			return fmt.Errorf("question %q: %w", q.request.Key, q.fault)
		}
		requests[i] = q.request
	}
	return c.Ask(ctx, requests...)
}

// Can tells whether the client declared a capability: elicitation (questions to the person), elicitation.url, sampling
// or roots.
func Can(ctx context.Context, capability string) bool {
	c := mcp.FromContext(ctx)
	return c != nil && c.Wants(capability)
}

func question(key, method, capability string, params any, accept func(json.RawMessage) error) Question {
	q := Question{request: mcp.InputRequest{Key: key, Method: method, Capability: capability, Accept: accept}}
	q.request.Params, q.fault = json.Marshal(params)
	return q
}

// Form asks the person to fill in the fields of a struct of strings, numbers and booleans; the struct tags of a tool's input
// apply. The key names the question among those of the tool.
func Form[T any](key, message string, answer *T) Question {
	of, err := value.Of(reflect.TypeFor[T](), value.In)
	if err != nil {
		return Question{fault: err}
	}
	schema, err := of.Schema()
	if err != nil {
		return Question{fault: err}
	}
	schema.AdditionalProperties = nil // a client may send more than was asked
	for name, p := range schema.Properties {
		if p.Format == "uri-reference" { // of formats a form has these alone, and clients refuse others
			p.Format = "uri"
		}
		switch p.Format {
		case "", "email", "uri", "date", "date-time":
		default:
			return Question{fault: fmt.Errorf("field %s: a form has the formats email, uri, date and date-time, and not %s", name, p.Format)}
		}
		switch p.Type {
		case "string", "integer", "number", "boolean":
		default:
			return Question{fault: fmt.Errorf("field %s is not a string, a number or a boolean, which is all that a form has", name)}
		}
	}
	if len(schema.Properties) == 0 {
		return Question{fault: fmt.Errorf("%T has no fields to fill in", *answer)}
	}
	raw, err := json.Marshal(schema)
	if err != nil {
		return Question{fault: err}
	}
	return form(key, message, raw, true, func(value any) error { return of.Decode(value, answer) })
}

// FormSchema is [Form] with a JSON Schema instead of a struct, for titles, defaults and multiple choice. Accept gets the
// content once it fits the schema; when it returns an error the question is put again.
func FormSchema(key, message, schema string, accept func(content json.RawMessage) error) Question {
	return form(key, message, json.RawMessage(schema), false, func(value any) error {
		content, err := json.Marshal(value)
		if err != nil {
			return err
		}
		return accept(content)
	})
}

// form asks for what fits a schema, whose defaults stand for what is left empty where the schema is of a Go type.
func form(key, message string, schema json.RawMessage, defaults bool, accept func(value any) error) Question {
	var s jsonschema.Schema
	if err := json.Unmarshal(schema, &s); err != nil {
		return Question{fault: err}
	}
	checker, err := value.NewChecker(&s)
	if err != nil {
		return Question{fault: err}
	}
	params := map[string]any{"mode": "form", "message": mcp.Visible(message), "requestedSchema": schema}
	return question(key, "elicitation/create", "elicitation", params, mcp.Elicited(func(content json.RawMessage) error {
		if len(content) == 0 || string(content) == "null" {
			content = json.RawMessage("{}")
		}
		value, err := mcp.Decode(content)
		if err != nil {
			return err
		}
		checker.Unfilled(value)
		checker.Settle(value, defaults)
		if err := checker.Check(value); err != nil {
			return err
		}
		if err := checker.Spelled(value); err != nil { // it may be decoded without regard to case
			return err
		}
		return accept(value)
	}))
}

// Confirm asks the person for a yes or a no.
func Confirm(key, message string, yes *bool) Question {
	const schema = `{"type":"object","properties":{"confirm":{"type":"boolean","title":"Confirm"}},"required":["confirm"]}`
	return FormSchema(key, message, schema, func(content json.RawMessage) error {
		var answer struct {
			Confirm bool `json:"confirm"`
		}
		err := strictjson.Unmarshal(content, "the content", &answer, strictjson.Skip)
		*yes = answer.Confirm
		return err
	})
}

// Visit asks the person to open a page, for what must not pass through the client, such as a password.
func Visit(key, message, url string) Question {
	params := map[string]any{"mode": "url", "message": mcp.Visible(message), "url": url}
	return question(key, "elicitation/create", "elicitation.url", params, mcp.Elicited(func(json.RawMessage) error { return nil }))
}

// A ModelAnswer is what the client's model said.
type ModelAnswer struct {
	Text       string // of the text blocks
	Model      string
	StopReason string
	Raw        json.RawMessage // the whole CreateMessageResult
}

// A ModelRequest asks the client's model to go on from a user's message.
type ModelRequest struct {
	Prompt       string
	SystemPrompt string
	MaxTokens    int // default 1000
}

// Model lets the client's model answer.
func Model(key string, r ModelRequest, answer *ModelAnswer) Question {
	if r.MaxTokens == 0 {
		r.MaxTokens = 1000
	}
	params := map[string]any{
		"messages":  []any{map[string]any{"role": "user", "content": map[string]any{"type": "text", "text": r.Prompt}}},
		"maxTokens": r.MaxTokens,
	}
	if r.SystemPrompt != "" {
		params["systemPrompt"] = r.SystemPrompt
	}
	return question(key, "sampling/createMessage", "sampling", params, func(raw json.RawMessage) error {
		var result struct {
			Content    json.RawMessage `json:"content"`
			Model      string          `json:"model"`
			StopReason string          `json:"stopReason"`
		}
		if err := strictjson.Unmarshal(raw, "the answer", &result, strictjson.Skip); err != nil {
			return mcp.Malformed(err)
		}
		type block struct {
			Type string `json:"type"`
			Text string `json:"text"`
		}
		contents := []json.RawMessage{result.Content}
		if len(result.Content) > 0 && result.Content[0] == '[' {
			if err := json.Unmarshal(result.Content, &contents); err != nil {
				return mcp.Malformed(err)
			}
		}
		blocks := make([]block, len(contents))
		for i, content := range contents {
			if err := strictjson.Unmarshal(content, "content", &blocks[i], strictjson.Skip); err != nil {
				return mcp.Malformed(err)
			}
		}
		*answer = ModelAnswer{Model: result.Model, StopReason: result.StopReason, Raw: raw}
		for _, b := range blocks {
			if b.Type == "text" {
				answer.Text += b.Text
			}
		}
		return nil
	})
}

// A Root is a place that the client's user works in.
type Root struct {
	URI  string `json:"uri"`
	Name string `json:"name,omitempty"`
}

// Roots asks the client where its user works.
func Roots(key string, roots *[]Root) Question {
	return question(key, "roots/list", "roots", struct{}{}, func(raw json.RawMessage) error {
		var result struct {
			Roots []Root `json:"roots"`
		}
		if err := strictjson.Unmarshal(raw, "the answer", &result, strictjson.Skip); err != nil {
			return mcp.Malformed(err)
		}
		*roots = result.Roots
		return nil
	})
}

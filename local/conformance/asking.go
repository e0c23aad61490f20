package main

import (
	"context"
	"encoding/json"
	"fmt"

	"example.com/erlmcp/function"
	"example.com/erlmcp/function/ask"
)

type (
	named struct {
		Name string `json:"name"`
	}
	colored struct {
		Color string `json:"color"`
	}
	okay struct {
		OK bool `json:"ok"`
	}
	reply struct {
		Response string `json:"response" jsonschema:"User's response"`
	}
	prompt struct {
		Prompt string `json:"prompt"`
	}
	message struct {
		Message string `json:"message"`
	}
)

// The forms of SEP-1034 (defaults) and SEP-1330 (enumerations).
const (
	defaultsForm = `{"type":"object","properties":{
		"name":{"type":"string","description":"User name","default":"John Doe"},
		"age":{"type":"integer","description":"User age","default":30},
		"score":{"type":"number","description":"User score","default":95.5},
		"status":{"type":"string","description":"User status","enum":["active","inactive","pending"],"default":"active"},
		"verified":{"type":"boolean","description":"Verification status","default":true}
	},"required":[]}`
	enumsForm = `{"type":"object","properties":{
		"untitledSingle":{"type":"string","enum":["option1","option2","option3"]},
		"titledSingle":{"type":"string","oneOf":[{"const":"value1","title":"First Option"},{"const":"value2","title":"Second Option"},{"const":"value3","title":"Third Option"}]},
		"legacyEnum":{"type":"string","enum":["opt1","opt2","opt3"],"enumNames":["Option One","Option Two","Option Three"]},
		"untitledMulti":{"type":"array","minItems":1,"maxItems":3,"items":{"type":"string","enum":["option1","option2","option3"]}},
		"titledMulti":{"type":"array","minItems":1,"maxItems":3,"items":{"anyOf":[{"const":"value1","title":"First Choice"},{"const":"value2","title":"Second Choice"},{"const":"value3","title":"Third Choice"}]}}
	},"required":[]}`
)

func askingTools() []function.Tool {
	return []function.Tool{
		function.NewTool("test_input_required_result_elicitation", "Asks for a name.", func(ctx context.Context, _ none) (string, error) {
			var who named
			err := ask.Client(ctx, ask.Form("user_name", "What is your name?", &who))
			return fmt.Sprintf("Hello, %s!", who.Name), err
		}),
		function.NewTool("test_input_required_result_sampling", "Asks the client's model.", func(ctx context.Context, _ none) (string, error) {
			var said ask.ModelAnswer
			err := ask.Client(ctx, ask.Model("capital_question", ask.ModelRequest{Prompt: "What is the capital of France?", MaxTokens: 100}, &said))
			return said.Text, err
		}),
		function.NewTool("test_input_required_result_list_roots", "Asks for the client's roots.", func(ctx context.Context, _ none) (string, error) {
			var roots []ask.Root
			err := ask.Client(ctx, ask.Roots("client_roots", &roots))
			return fmt.Sprintf("Roots: %v", roots), err
		}),
		function.NewTool("test_input_required_result_request_state", "Asks with state.", confirmed("confirm", "state-ok")),
		function.NewTool("test_input_required_result_tampered_state", "Asks with state that must not be altered.", confirmed("confirm", "state-ok")),
		function.NewTool("test_input_required_result_multiple_inputs", "Asks three questions at once.", func(ctx context.Context, _ none) (string, error) {
			var who named
			var greeting ask.ModelAnswer
			var roots []ask.Root
			err := ask.Client(ctx,
				ask.Form("user_name", "What is your name?", &who),
				ask.Model("greeting", ask.ModelRequest{Prompt: "Generate a greeting", MaxTokens: 50}, &greeting),
				ask.Roots("client_roots", &roots))
			return fmt.Sprintf("%s %s, in %v", greeting.Text, who.Name, roots), err
		}),
		function.NewTool("test_input_required_result_multi_round", "Asks twice.", func(ctx context.Context, _ none) (string, error) {
			var who named
			if err := ask.Client(ctx, ask.Form("step1", "Step 1: What is your name?", &who)); err != nil {
				return "", err
			}
			var favourite colored
			err := ask.Client(ctx, ask.Form("step2", "Step 2: What is your favorite color?", &favourite))
			return fmt.Sprintf("%s likes %s.", who.Name, favourite.Color), err
		}),
		function.NewTool("test_input_required_result_capabilities", "Asks only what the client can answer.", func(ctx context.Context, _ none) (string, error) {
			var who named
			var said ask.ModelAnswer
			var questions []ask.Question
			if ask.Can(ctx, "elicitation") {
				questions = append(questions, ask.Form("user_name", "What is your name?", &who))
			}
			if ask.Can(ctx, "sampling") {
				questions = append(questions, ask.Model("greeting", ask.ModelRequest{Prompt: "Generate a greeting"}, &said))
			}
			return said.Text + who.Name, ask.Client(ctx, questions...)
		}),
		function.NewTool("test_missing_capability", "Needs sampling.", func(ctx context.Context, _ none) (string, error) {
			var said ask.ModelAnswer
			err := ask.Client(ctx, ask.Model("question", ask.ModelRequest{Prompt: "Hello"}, &said))
			return said.Text, err
		}),
		function.NewTool("test_streaming_elicitation", "Asks after a notification.", func(ctx context.Context, _ none) (string, error) {
			function.Progress(ctx, 1, 2, "about to ask")
			var who named
			err := ask.Client(ctx, ask.Form("user_name", "What is your name?", &who))
			return who.Name, err
		}),
		// The next four ask a legacy client within its call.
		function.NewTool("test_sampling", "Asks the client's model.", func(ctx context.Context, in prompt) (string, error) {
			var said ask.ModelAnswer
			err := ask.Client(ctx, ask.Model("sampling", ask.ModelRequest{Prompt: in.Prompt, MaxTokens: 100}, &said))
			return "LLM response: " + said.Text, err
		}),
		function.NewTool("test_elicitation", "Asks the user.", func(ctx context.Context, in message) (string, error) {
			var r reply
			err := ask.Client(ctx, ask.Form("elicitation", in.Message, &r))
			return "User response: " + r.Response, err
		}),
		function.NewTool("test_elicitation_sep1034_defaults", "Asks with defaults.", form("Please review and update the form fields with defaults", defaultsForm)),
		function.NewTool("test_elicitation_sep1330_enums", "Asks with enumerations.", form("Please select options from the enum fields", enumsForm)),
	}
}

func confirmed(key, answer string) func(context.Context, none) (string, error) {
	return func(ctx context.Context, _ none) (string, error) {
		var o okay
		err := ask.Client(ctx, ask.Form(key, "Please confirm", &o))
		return answer, err
	}
}

func form(text, schema string) func(context.Context, none) (string, error) {
	return func(ctx context.Context, _ none) (string, error) {
		var content json.RawMessage
		err := ask.Client(ctx, ask.FormSchema("form", text, schema, func(c json.RawMessage) error { content = c; return nil }))
		return fmt.Sprintf("Elicitation completed: action=accept, content=%s", content), err
	}
}

package main

import (
	"context"
	"fmt"

	"example.com/erlmcp/function"
	"example.com/erlmcp/function/ask"
)

func resources() []function.Resource {
	fixed := func(c function.ResourceContents) function.ReadFunc {
		return func(_ context.Context, uri string, _ map[string]string) ([]function.ResourceContents, error) {
			c.URI = uri
			return []function.ResourceContents{c}, nil
		}
	}
	text := func(s string) function.ReadFunc {
		return fixed(function.ResourceContents{MIMEType: "text/plain", Text: s})
	}
	return []function.Resource{
		function.NewResource("test://static-text", "static-text", text("This is the content of the static text resource."),
			function.ResourceOptions{Title: "Static Text Resource", Description: "A static text resource for testing", MIMEType: "text/plain"}),
		function.NewResource("test://static-binary", "static-binary", fixed(function.ResourceContents{MIMEType: "image/png", Blob: png}),
			function.ResourceOptions{Title: "Static Binary Resource", Description: "A static binary resource for testing", MIMEType: "image/png"}),
		function.NewResource("test://watched-resource", "watched-resource", text("Watched resource content"),
			function.ResourceOptions{Description: "A resource to subscribe to", MIMEType: "text/plain"}),
		function.NewTemplate("test://template/{id}/data", "template", func(_ context.Context, uri string, vars map[string]string) ([]function.ResourceContents, error) {
			id := vars["id"]
			return []function.ResourceContents{{
				URI: uri, MIMEType: "application/json", Text: fmt.Sprintf(`{"id":%q,"templateTest":true,"data":"Data for ID: %s"}`, id, id),
			}}, nil
		}, function.ResourceOptions{Description: "A resource template with parameter substitution", MIMEType: "application/json"}),
	}
}

func prompts() []function.Prompt {
	says := func(blocks ...function.Content) ([]function.Message, error) {
		var out []function.Message
		for _, b := range blocks {
			out = append(out, function.UserSays(b))
		}
		return out, nil
	}
	return []function.Prompt{
		function.NewPrompt("test_simple_prompt", "A simple prompt without arguments", func(context.Context, map[string]string) ([]function.Message, error) {
			return says(function.Text("This is a simple prompt for testing."))
		}, function.PromptOptions{}),
		function.NewPrompt("test_prompt_with_arguments", "A prompt with required arguments", func(_ context.Context, args map[string]string) ([]function.Message, error) {
			return says(function.Text(fmt.Sprintf("Prompt with arguments: arg1='%s', arg2='%s'", args["arg1"], args["arg2"])))
		}, function.PromptOptions{
			Arguments: []function.Argument{
				{Name: "arg1", Description: "First test argument", Required: true},
				{Name: "arg2", Description: "Second test argument", Required: true},
			},
			Complete: function.CompleteFrom("paris", "park", "party"),
		}),
		function.NewPrompt("test_prompt_with_embedded_resource", "A prompt that includes an embedded resource", func(_ context.Context, args map[string]string) ([]function.Message, error) {
			return says(
				function.Embed(function.ResourceContents{URI: args["resourceUri"], MIMEType: "text/plain", Text: "Embedded resource content for testing."}),
				function.Text("Please process the embedded resource above."))
		}, function.PromptOptions{Arguments: []function.Argument{{Name: "resourceUri", Description: "URI of the resource to embed", Required: true}}}),
		function.NewPrompt("test_prompt_with_image", "A prompt that includes image content", func(context.Context, map[string]string) ([]function.Message, error) {
			return says(function.Image(png, "image/png"), function.Text("Please analyze the image above."))
		}, function.PromptOptions{}),
		function.NewPrompt("test_input_required_result_prompt", "A prompt that asks its user", func(ctx context.Context, _ map[string]string) ([]function.Message, error) {
			var answer struct {
				Context string `json:"context"`
			}
			if err := ask.Client(ctx, ask.Form("user_context", "What context should the prompt use?", &answer)); err != nil {
				return nil, err
			}
			return says(function.Text("Prompt with context: " + answer.Context))
		}, function.PromptOptions{}),
	}
}

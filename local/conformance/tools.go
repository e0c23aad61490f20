package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"example.com/erlmcp/function"
)

// One red pixel, and a WAV file without a sample.
var (
	png = decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==")
	wav = decode("UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=")
)

func decode(text string) []byte {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return b
}

// schema2020 holds the keywords that the suite looks for in tools/list.
const schema2020 = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema",
	"type": "object",
	"$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
	"properties": {
		"name": {"type": "string"},
		"address": {"$ref": "#/$defs/address"},
		"contactMethod": {"type": "string", "enum": ["phone", "email"]},
		"phone": {"type": "string"},
		"email": {"type": "string"}
	},
	"allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
	"if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
	"then": {"required": ["phone"]},
	"else": {"required": ["email"]},
	"additionalProperties": false
}`

type none = function.None

func contentTools() []function.Tool {
	return []function.Tool{
		function.NewTool("test_simple_text", "Answers simple text.", func(context.Context, none) (string, error) {
			return "This is a simple text response for testing.", nil
		}),
		function.NewTool("test_image_content", "Answers a picture.", func(context.Context, none) (function.Content, error) {
			return function.Image(png, "image/png"), nil
		}),
		function.NewTool("test_audio_content", "Answers a sound.", func(context.Context, none) (function.Content, error) {
			return function.Audio(wav, "audio/wav"), nil
		}),
		function.NewTool("test_embedded_resource", "Answers an embedded resource.", func(context.Context, none) (function.Content, error) {
			return function.Embed(function.ResourceContents{
				URI: "test://embedded-resource", MIMEType: "text/plain", Text: "This is an embedded resource content.",
			}), nil
		}),
		function.NewTool("test_multiple_content_types", "Answers content of several types.", func(context.Context, none) ([]function.Content, error) {
			return []function.Content{
				function.Text("Multiple content types test:"),
				function.Image(png, "image/png"),
				function.Embed(function.ResourceContents{
					URI: "test://mixed-content-resource", MIMEType: "application/json", Text: `{"test":"data","value":123}`,
				}),
			}, nil
		}),
		function.NewTool("test_error_handling", "Always fails.", func(context.Context, none) (none, error) {
			return none{}, errors.New("this tool intentionally returns an error for testing")
		}),
		function.NewTool("test_tool_with_progress", "Reports progress.", func(ctx context.Context, _ none) (string, error) {
			for done := 0.0; done <= 100; done += 50 {
				function.Progress(ctx, done, 100, fmt.Sprintf("Completed step %g of 100", done))
				if err := pause(ctx); err != nil {
					return "", err
				}
			}
			return "Progress reported.", nil
		}),
		function.NewTool("test_tool_with_logging", "Sends log messages.", logs),
		function.NewTool("test_logging_tool", "Sends log messages, to those who asked.", logs),
		function.NewTool("json_schema_2020_12_tool", "Tool with JSON Schema 2020-12 features.", func(_ context.Context, in json.RawMessage) (string, error) {
			return "called with " + string(in), nil
		}, function.ToolOptions{InputSchema: schema2020}),
		function.NewTool("test_x_mcp_header", "Mirrors its arguments into headers.", func(_ context.Context, in mirrored) (mirrored, error) {
			return in, nil
		}),
	}
}

type mirrored struct {
	Region string `json:"region" header:"Region"`
	Limit  int    `json:"limit,omitempty" header:"Limit"`
	Dry    bool   `json:"dry,omitempty" header:"Dry"`
}

func logs(ctx context.Context, _ none) (string, error) {
	for _, text := range []string{"Tool execution started", "Tool processing data", "Tool execution completed"} {
		if err := function.Log(ctx, "info", "conformance", text); err != nil {
			return "", err
		}
		if err := pause(ctx); err != nil {
			return "", err
		}
	}
	return "Logged.", nil
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}

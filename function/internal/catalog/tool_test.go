package catalog

import (
	"context"
	"encoding/json"
	"testing"

	"example.com/erlmcp/function/internal/mcp"
)

// TestProperties wants each input schema to be listed with properties, whatever it was written as.
func TestProperties(t *testing.T) {
	for schema, want := range map[string]string{
		`{"type":"object"}`: `{"type":"object","properties":{}}`,
		" {\"type\" : \"object\",\n\"additionalProperties\":{ } } \n":                `{"type":"object","additionalProperties":{},"properties":{}}`,
		`{"type":"object","properties":{}}`:                                          `{"type":"object","properties":{}}`,
		`{"properties":{"a":{"type":"object"},"b":true},"type":"object"}`:            `{"properties":{"a":{"type":"object","properties":{}},"b":{}},"type":"object"}`,
		`{"type":"object","$defs":{"a":{"properties":{}}},"title":"} \"properties"}`: `{"type":"object","$defs":{"a":{"properties":{}}},"title":"} \"properties","properties":{}}`,
	} {
		c, err := Build(&Tool{Name: "a", Description: "A.", Input: json.RawMessage(schema), Call: func(context.Context, *mcp.Call) (*mcp.Result, error) { return nil, nil }})
		if err != nil {
			t.Fatal(err)
		}
		var listed struct{ InputSchema json.RawMessage }
		if err := json.Unmarshal(c.List(t.Context(), mcp.Tools).Items[0].JSON, &listed); err != nil {
			t.Fatal(err)
		}
		if got := string(listed.InputSchema); got != want {
			t.Errorf("%s is listed as %s, want %s", schema, got, want)
		}
	}
}

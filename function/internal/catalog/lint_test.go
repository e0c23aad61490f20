package catalog

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/mcp"
)

func TestLint(t *testing.T) {
	long := strings.Repeat("ü", mostDescribed+1)
	for _, c := range []struct{ name, description, input, output, want string }{
		{"add", "Adds.", `{"type":"object"}`, ``, ""},
		{strings.Repeat("a", 64), long[2:], `{"type":"object","properties":{"a":{"enum":["1","2"]}}}`, `{"type":"object"}`, ""},
		{"taiea.health.check", "Tells.", `{"type":"object"}`, ``, "its name has other characters"},
		{strings.Repeat("a", 65), "Tells.", `{"type":"object"}`, ``, "more than 64"},
		{"add", long, `{"type":"object"}`, ``, "its description has 1025 characters"},
		{"add", "Adds.", `{"type":"object","properties":{"a":{"description":"` + long + `"}}}`, ``, "input.a: its description has 1025 characters"},
		{"add", "Adds.", `{"type":"object","anyOf":[{"required":["a"]},{"required":["b"]}]}`, ``, "its input schema has anyOf at the root"},
		{"add", "Adds.", `{"type":"object","oneOf":[{}]}`, ``, "oneOf"},
		{"add", "Adds.", `{"type":"object","allOf":[{}]}`, ``, "allOf"},
		{"add", "Adds.", `{"type":"object","properties":{"a":{"anyOf":[{"type":"string"},{"type":"integer"}]}}}`, ``, ""},
		{"add", "Adds.", `{"type":"object"}`, `{"type":"object","oneOf":[{}]}`, "its output schema has oneOf at the root"},
		{"add", "Adds.", `{"type":"object","properties":{"a":{"type":"integer","enum":[1,2]}}}`, ``, "input.a: its enum has 1"},
		{"add", "Adds.", `{"type":"object","properties":{"a":{"type":"array","items":{"enum":["x",2]}}}}`, ``, "input.a[]: its enum has 2"},
		{"add", "Adds.", `{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"enum":[true]}}}}}`, ``, "input.a.b: its enum has true"},
		{"add", "Adds.", `{"type":"object","properties":{"a":{"$ref":"#/$defs/d"}},"$defs":{"d":{"enum":[0.5]}}}`, ``, "its enum has 0.5"},
	} {
		tool := &Tool{Name: c.name, Description: c.description, Input: json.RawMessage(c.input), Call: func(context.Context, *mcp.Call) (*mcp.Result, error) { return nil, nil }}
		if c.output != "" {
			tool.Output = json.RawMessage(c.output)
		}
		built, err := Build(tool)
		if err != nil {
			t.Fatal(err)
		}
		got := built.Lint()
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
			t.Errorf("%.20s %s: %q, want %q", c.name, c.input, got, c.want)
		}
	}
}

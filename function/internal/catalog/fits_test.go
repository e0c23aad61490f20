package catalog

import (
	"encoding/json"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/mcp"
)

var fitSchemas = []struct {
	schema string
	quick  bool // whether the fast path understands it
}{
	{`{"type":"object","properties":{"a":{"type":"integer","minimum":1,"maximum":9},"b":{"type":"string","enum":["x","y"]}},"required":["a"],"additionalProperties":false}`, true},
	{`{"type":"object","properties":{"a":{"type":["null","array"],"items":{"type":"number"}},"b":{"type":"object","properties":{"a":{"type":"boolean"}},"required":["a"]}}}`, true},
	{`{"type":"object","properties":{"a":{"type":"number","enum":[1,2.5]},"b":{"type":["null","string"]}}}`, true},
	{`{"type":"object","properties":{"a":{"type":"array","items":{"type":"object","properties":{"b":{"type":"string"}},"additionalProperties":false}}}}`, true},
	{`{"type":"object","properties":{"b":{"type":"string","format":"date-time","description":"when"}}}`, true},
	{`{"type":"object"}`, true},
	{`{"type":"object","properties":{"a":{"type":"integer","minimum":-0.5,"maximum":9007199254740992}}}`, true},
	{`{"type":"object","properties":{"a":{"type":"number","minimum":1e300}}}`, true},
	{`{"type":"object","properties":{"a":{"type":"number","maximum":-1e300}}}`, true},
	{`{"type":"object","properties":{"a":{"type":"integer","enum":[9007199254740992,10]}}}`, true},
	{`{"type":"object","properties":{"a":{"type":"string","minLength":2}}}`, false},
	{`{"type":"object","additionalProperties":{"type":"string"}}`, false},
	{`{"type":"object","properties":{"a":{"type":"string","pattern":"^x"}}}`, false},
	{`{"type":"object","anyOf":[{"required":["a"]}]}`, false},
	{`{"type":"object","properties":{"a":{}}}`, false},
	{`{"type":"object","properties":{"a":{"enum":[null,1]}}}`, false},
	{`{"type":"object","minProperties":1}`, false},
}

var fitValues = []string{
	`{}`, `{"a":1}`, `{"a":0}`, `{"a":10}`, `{"a":1.5}`, `{"a":2.5}`, `{"a":"x"}`, `{"a":"1","b":"x"}`, `{"a":5,"b":"x"}`, `{"a":5,"b":"z"}`, `{"a":5,"c":1}`,
	`{"a":null}`, `{"a":[]}`, `{"a":[1,2]}`, `{"a":[1,"2"]}`, `{"a":[{"b":"x"}]}`, `{"a":[{"b":1}]}`, `{"a":[{"c":1}]}`, `{"b":null}`, `{"b":{}}`, `{"b":{"a":true}}`,
	`{"a":9007199254740992}`, `{"a":9007199254740993}`, `{"a":-9223372036854775808}`, `{"a":9223372036854775807}`, `{"a":1.0}`, `{"a":1e1}`,
	`{"b":{"a":1}}`, `{"a":true}`, `{"a":1e300}`, `[]`, `null`, `"x"`, `1`,
}

func TestFitIsNeverKinderThanTheLibrary(t *testing.T) {
	for _, c := range fitSchemas {
		var s jsonschema.Schema
		if err := json.Unmarshal([]byte(c.schema), &s); err != nil {
			t.Fatal(err)
		}
		quick := fitOf(&s)
		if (quick != nil) != c.quick {
			t.Errorf("%s: fast path %v, want %v", c.schema, quick != nil, c.quick)
		}
		if quick == nil {
			continue
		}
		full, err := s.Resolve(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range fitValues {
			v, err := mcp.Decode([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			fits, err := quick(v), full.Validate(v)
			if fits && err != nil {
				t.Errorf("%s accepts %s, the library: %v", c.schema, text, err)
			}
			if !fits && err == nil {
				t.Errorf("%s leaves %s to the library, which accepts it: the fast path misses a common case", c.schema, text)
			}
		}
	}
}

func FuzzFit(f *testing.F) {
	for _, c := range fitSchemas {
		for _, v := range fitValues {
			f.Add(c.schema, v)
		}
	}
	f.Fuzz(func(t *testing.T, schema, value string) {
		var s jsonschema.Schema
		v, err := mcp.Decode([]byte(value))
		if json.Unmarshal([]byte(schema), &s) != nil || err != nil {
			return
		}
		full, err := s.Resolve(nil)
		if err != nil {
			return
		}
		if quick := fitOf(&s); quick != nil && quick(v) {
			if err := full.Validate(v); err != nil {
				t.Fatalf("%s accepts %s, the library: %v", schema, value, err)
			}
		}
	})
}

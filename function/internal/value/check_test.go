package value

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/mcp"
)

var someSchemas = []string{
	`{"type":"object","properties":{"a":{"type":"integer","minimum":1,"maximum":9},"b":{"type":"string","enum":["x","y"]}},"required":["a"],"additionalProperties":false}`,
	`{"type":"object","properties":{"a":{"type":["null","array"],"items":{"type":"number"}},"b":{"type":"object","properties":{"a":{"type":"boolean"}},"required":["a"]}}}`,
	`{"properties":{"a":{"type":"number","enum":[1,2.5,null,{"a":[1]}]},"b":{"const":{"a":1}}},"additionalProperties":{"type":"string","minLength":1,"maxLength":2}}`,
	`{"type":"object","properties":{"a":{"type":"integer","minimum":-0.5,"exclusiveMaximum":9007199254740992}},"patternProperties":{"^b":{"pattern":"^x"}},"additionalProperties":false}`,
	`{"properties":{"a":{"exclusiveMinimum":1e300}},"minProperties":1,"maxProperties":2,"propertyNames":{"maxLength":1}}`,
	`{"anyOf":[{"required":["a"]},{"required":["b"]}],"properties":{"a":{"oneOf":[{"type":"integer"},{"minimum":5}]},"b":{"not":{"type":"string"}}}}`,
	`{"allOf":[{"properties":{"a":{"uniqueItems":true,"minItems":1,"maxItems":3}}}],"properties":{"a":{"multipleOf":2}}}`,
	`{"$defs":{"a":{"properties":{"a":{"$ref":"#/$defs/a"},"b":{"$ref":"#"}},"maxProperties":1}},"$ref":"#/$defs/a"}`,
	`{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"a":{"type":"string"}},"properties":{"a":{"$ref":"#/definitions/a","type":"integer"},"b":{"items":[{"type":"integer"}]}}}`,
	`{"properties":{"a":{"prefixItems":[{"type":"integer"}],"items":{"type":"string"}},"b":{"contains":{"const":1}}},"dependentRequired":{"a":["b"]},"if":{"required":["a"]},"then":{"maxProperties":1}}`,
	`{"$id":"https://example.com/a","properties":{"a":{"$id":"b","$defs":{"c":{"type":"null"}},"$ref":"#/$defs/c"}},"$defs":{"c":{"type":"string"}}}`,
	`{"properties":{"a":true,"b":false}}`, `{"additionalProperties":true}`, `{"items":false}`,
}

var someValues = []string{
	`{}`, `{"a":1}`, `{"a":0}`, `{"a":10}`, `{"a":1.5}`, `{"a":2.5}`, `{"a":"x"}`, `{"a":"1","b":"x"}`, `{"a":5,"b":"x"}`, `{"a":5,"b":"z"}`, `{"a":5,"c":1}`,
	`{"a":null}`, `{"a":[]}`, `{"a":[1,2]}`, `{"a":[1,"2"]}`, `{"a":[1,1.0]}`, `{"a":[{"b":"x"},{"b":"x"}]}`, `{"a":[{"b":1}]}`, `{"b":null}`, `{"b":{}}`, `{"b":{"a":true}}`,
	`{"a":9007199254740991}`, `{"a":-9007199254740991}`, `{"a":1.0}`, `{"a":1e1}`, `{"a":{"a":[1]}}`, `{"a":{"a":{"b":1}}}`, `{"b":[1,2]}`, `{"bb":"xy","c":"äö"}`,
	`{"b":{"a":1}}`, `{"a":true}`, `{"a":1e300}`, `{"a":1e301}`, `[]`, `[1]`, `null`, `"x"`, `1`, `{"c":"xyz","d":""}`,
}

// FuzzCheck holds the check against the library, which has doubles for numbers.
func FuzzCheck(f *testing.F) {
	for _, schema := range someSchemas {
		for _, v := range someValues {
			f.Add(schema, v)
		}
	}
	f.Fuzz(func(t *testing.T, schema, text string) {
		var s jsonschema.Schema
		v, err := mcp.Decode([]byte(text))
		written, err2 := mcp.Decode([]byte(schema))
		if err != nil || err2 != nil || json.Unmarshal([]byte(schema), &s) != nil || hasWhatDoublesHaveNot(v) || hasWhatDoublesHaveNot(written) {
			return
		}
		library, err := s.CloneSchemas().Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true})
		checker, err2 := NewChecker(&s)
		if err != nil || err2 != nil {
			if err2 == nil {
				t.Fatalf("%s is a schema, the library: %v", schema, err)
			}
			return
		}
		mine, others := checker.Check(v), library.Validate(v)
		if (mine == nil) != (others == nil) {
			t.Fatalf("%s of %s: %v; the library: %v", schema, text, mine, others)
		}
		if mine != nil {
			for _, jargon := range []string{"validating", "<invalid", "reflect", "Go struct", "%!"} {
				if strings.Contains(mine.Error(), jargon) && !strings.Contains(schema+text, jargon) {
					t.Fatalf("%s of %s: %v", schema, text, mine)
				}
			}
		}
	})
}

// TestEndless refuses what could never be checked, and nothing else.
func TestEndless(t *testing.T) {
	for schema, ends := range map[string]bool{
		`{"$ref":"#"}`: false, `{"allOf":[{"$ref":"#"}]}`: false, `{"not":{"anyOf":[{"$ref":"#"}]}}`: false, `{"$dynamicRef":"#"}`: false,
		`{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"allOf":[{"$ref":"#/$defs/a"}]}}}`: false,
		`{"properties":{"a":{"$ref":"#/properties/a"}}}`:                            false,
		`{"default":1,"$ref":"#"}`:                                                  false, `{"allOf":[null]}`: false,
		`{"if":{"$ref":"#"}}`: false,
		`{"$defs":{"a":{"$anchor":"x","oneOf":[{"$ref":"#x"}]}}}`:                                                  false,
		`{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"a":{"$ref":"#/definitions/a"}}}`:     false,
		`{"properties":{"a":{"$ref":"#"}}}`:                                                                        true,
		`{"items":{"$ref":"#"},"additionalProperties":{"$ref":"#"}}`:                                               true,
		`{"$ref":"#/$defs/a","$defs":{"a":{"properties":{"b":{"$ref":"#/$defs/a"}}}}}`:                             true,
		`{"allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}],"$defs":{"a":{"properties":{"b":{"$ref":"#"}}}}}`:    true,
		`{"$defs":{"a":{"$anchor":"x","properties":{"b":{"$ref":"#x"}}}},"properties":{"a":{"$ref":"#/$defs/a"}}}`: true,
		`{"properties":{"a":{"items":[{"type":"string"}]},"b":{"$ref":"#/properties/a"}}}`:                         true,
	} {
		var s jsonschema.Schema
		if err := json.Unmarshal([]byte(schema), &s); err != nil {
			t.Fatal(err)
		}
		if _, err := NewChecker(&s); (err == nil) != ends {
			t.Errorf("%s: %v", schema, err)
		}
	}
}

// hasWhatDoublesHaveNot tells of numbers that the library takes for others, and of divisions, which it does with doubles.
func hasWhatDoublesHaveNot(v any) bool {
	switch v := v.(type) {
	case int64:
		return v > 1<<53 || v < -1<<53
	case uint64:
		return true
	case []any:
		for _, e := range v {
			if hasWhatDoublesHaveNot(e) {
				return true
			}
		}
	case map[string]any:
		for name, e := range v {
			if f, ok := e.(float64); ok && name == "multipleOf" && !new(big.Float).SetFloat64(f).IsInt() || hasWhatDoublesHaveNot(e) {
				return true
			}
		}
	}
	return false
}

// TestWords are what a model reads, all of it at once.
func TestWords(t *testing.T) {
	const schema = `{"type":"object","properties":{
		"n":{"type":"integer","minimum":1,"maximum":9},"x":{"type":"number","exclusiveMinimum":0,"multipleOf":0.5},"s":{"type":"string","minLength":2,"maxLength":3,"pattern":"^[a-z]*$"},
		"lines":{"type":"array","minItems":1,"maxItems":2,"uniqueItems":true,"items":{"type":"object","properties":{"size":{"enum":["S","M","L"]}},"required":["size"],"additionalProperties":false}},
		"ship":{"type":"object","properties":{"zip":{"type":"string"}},"required":["zip"]},"either":{"anyOf":[{"type":"string"},{"type":"integer","minimum":5}]},
		"just":{"oneOf":[{"type":"integer"},{"minimum":5}]},"un":{"not":{"const":1}},"fixed":{"const":"v1"},"null":{"type":["integer","null"]}},"additionalProperties":false}`
	var s jsonschema.Schema
	if err := json.Unmarshal([]byte(schema), &s); err != nil {
		t.Fatal(err)
	}
	checker, err := NewChecker(&s)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"lines":[{"size":"XL"}],"ship":{}}`: `lines[0].size: "XL" is not one of S, M, L; ship.zip: missing`,
		`{"n":"5","s":7,"x":null}`:            `n: "5" is not a whole number; s: 7 is not a string; x: null is not a number`,
		`{"n":0,"x":0,"s":"A"}`:               `n: 0 is less than 1; s: "A" has fewer than 2 characters; s: "A" does not match ^[a-z]*$; x: 0 is not more than 0`,
		`{"n":10,"x":0.7,"s":"abcd"}`:         `n: 10 is more than 9; s: "abcd" has more than 3 characters; x: 0.7 is not a multiple of 0.5`,
		`{"n":1.5,"null":"x"}`:                `n: 1.5 is not a whole number; null: "x" is not a whole number or null`,
		`{"s":""}`:                            `s: is empty`,
		`{"lines":[]}`:                        `lines: has 0 elements, and needs 1`,
		`{"lines":[{"size":"S"},{"size":"S"},{"size":"M","colour":1}]}`: `lines: has 3 elements, and at most 2 are taken; lines[2].colour: not known, the members are size; lines[1]: is the same as [0]`,
		`{"either":2}`:         `either: 2 fits none of 2 alternatives; the closest says 2 is not a string`,
		`{"just":7}`:           `just: 7 fits 2 alternatives, and must fit one`,
		`{"un":1}`:             `un: 1 is what it must not be`,
		`{"fixed":"v2"}`:       `fixed: "v2" is not "v1"`,
		`{"N":1}`:              `N: not known, it is spelled n`,
		`{"a b":1,"\u0000":2}`: `"\x00": not known, the members are either, fixed, just, lines, n, null, s, ship, un, x; "a b": not known, the members are either, fixed, just, lines, n, null, s, ship, un, x`,
		`[1]`:                  `[1] is not an object`,
		`{"s":"` + strings.Repeat("<", 100) + `"}`: `s: "` + strings.Repeat("<", 59) + `… has more than 3 characters; s: "` + strings.Repeat("<", 59) + `… does not match ^[a-z]*$`,
	} {
		v, err := mcp.Decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := checker.Check(v); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

package catalogfile

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/policy"
)

// generated makes schemas and values in which all that the comparison knows is met.
type generated struct{ *rand.Rand }

func (g generated) of(all ...any) any { return all[g.IntN(len(all))] }

func (g generated) schema(depth int) any {
	if g.IntN(20) == 0 {
		return g.IntN(2) == 0
	}
	s := map[string]any{}
	put := func(chance int, key string, value func() any) {
		if g.IntN(chance) == 0 {
			s[key] = value()
		}
	}
	put(2, "type", func() any {
		return g.of("string", "integer", "number", "object", "array", "boolean", "null", []any{"string", "null"}, []any{"integer", "string"}, []any{"number", "object"})
	})
	put(6, "enum", func() any {
		return g.of([]any{"a", "b"}, []any{1.0, "1"}, []any{"1"}, []any{1.0}, []any{nil, "a"}, []any{1.0, 2.0, "a", "b"})
	})
	put(9, "const", func() any { return g.of("a", 1.0, "1", nil) })
	for _, key := range []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} {
		put(8, key, func() any { return g.of(0.0, 1.0, 2.0, 3.0) })
	}
	for _, key := range []string{"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"} {
		put(8, key, func() any { return g.of(0.0, 1.0, 2.0) })
	}
	put(8, "multipleOf", func() any { return g.of(1.0, 2.0, 4.0, 0.5) })
	put(8, "uniqueItems", func() any { return g.IntN(2) == 0 })
	put(8, "pattern", func() any { return g.of("^a", "b$", "a|b") })
	put(8, "format", func() any { return g.of("date", "uuid") })
	if depth == 0 {
		return s
	}
	next := func() any { return g.schema(depth - 1) }
	list := func() any { return []any{next(), next()}[:1+g.IntN(2)] }
	put(3, "properties", func() any {
		return map[string]any{"a": next(), g.of("b", "c").(string): next()}
	})
	put(4, "required", func() any { return g.of([]any{"a"}, []any{"a", "b"}, []any{"c"}) })
	for _, key := range []string{"items", "additionalProperties", "propertyNames", "not"} {
		put(6, key, next)
	}
	put(9, "patternProperties", func() any { return map[string]any{g.of("^a", "^b").(string): next()} })
	for _, key := range []string{"allOf", "anyOf", "oneOf"} {
		put(9, key, list)
	}
	put(10, "$ref", func() any { return g.of("#/$defs/x", "#/$defs/y") })
	return s
}

// loosened are keywords without which a schema refuses nothing more.
var loosened = []string{"enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
	"multipleOf", "uniqueItems", "pattern", "required", "items", "additionalProperties", "propertyNames", "not", "anyOf", "oneOf", "allOf"}

// changed is a schema with a few changes at any depth. Where loose, none refuses more.
func (g generated) changed(v any, loose bool) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			switch key {
			case "properties", "patternProperties", "$defs":
				if key == "$defs" && loose { // what oneOf and not refer to
					out[key] = v[key]
					continue
				}
				members := map[string]any{}
				of := v[key].(map[string]any)
				for _, name := range slices.Sorted(maps.Keys(of)) {
					if members[name] = g.changed(of[name], loose); key == "$defs" {
						endful(members[name])
					}
				}
				out[key] = members
			case "not", "oneOf":
				if out[key] = v[key]; !loose {
					out[key] = g.changed(v[key], loose)
				}
			case "items", "additionalProperties", "propertyNames", "anyOf", "allOf":
				out[key] = g.changed(v[key], loose)
			default:
				out[key] = v[key]
			}
		}
		if g.IntN(3) == 0 && loose {
			delete(out, loosened[g.IntN(len(loosened))])
		}
		if loose && g.IntN(6) == 0 && out["minimum"] != nil {
			out["minimum"] = out["minimum"].(float64) - 1
		}
		if loose && g.IntN(6) == 0 && out["enum"] != nil && out["const"] == nil {
			out["enum"] = append(slices.Clone(out["enum"].([]any)), "more")
		}
		if !loose && g.IntN(3) == 0 {
			other, _ := g.schema(1).(map[string]any)
			if keys := slices.Sorted(maps.Keys(other)); len(keys) > 0 {
				key := keys[g.IntN(len(keys))]
				if g.IntN(2) == 0 {
					out[key] = other[key]
				} else {
					delete(out, key)
				}
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = g.changed(v[i], loose)
		}
		return out
	}
	return v
}

// endful takes out of a schema that is referred to by what it would refer to itself, without a step into the value.
func endful(s any) any {
	if of, ok := s.(map[string]any); ok {
		for _, key := range []string{"$ref", "allOf", "anyOf", "oneOf", "not"} {
			delete(of, key)
		}
	}
	return s
}

func (g generated) value(depth int) any {
	all := []any{"a", "b", "1", "", "ab", "abc", 0.0, 1.0, 2.0, 3.0, 4.0, 1.5, -1.0, true, nil}
	if k := g.IntN(len(all) + 12); k < len(all) || depth == 0 {
		return all[k%len(all)]
	}
	if g.IntN(3) == 0 {
		out := make([]any, g.IntN(4))
		for i := range out {
			out[i] = g.value(depth - 1)
		}
		return out
	}
	out := map[string]any{}
	for range g.IntN(4) {
		out[g.of("a", "b", "c", "ax").(string)] = g.value(depth - 1)
	}
	return out
}

func resolved(t *testing.T, schema any) (*jsonschema.Resolved, []byte) {
	t.Helper()
	text, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return r, text
}

// TestBreakingChanges compares schemas that are changed at random. Of each comparison that finds nothing breaking, a second implementation of JSON Schema
// takes after the change each value that it took before; and where a change only loosens, the comparison finds nothing breaking.
func TestBreakingChanges(t *testing.T) {
	pairs, compared, harmless := 5000, 0, 0
	if testing.Short() {
		pairs = 500
	}
	g := generated{rand.New(rand.NewPCG(1, 2))}
	for n := range pairs {
		root := func() map[string]any {
			s, _ := g.schema(2).(map[string]any)
			if s == nil {
				s = map[string]any{}
			}
			s["$defs"] = map[string]any{"x": endful(g.schema(1)), "y": endful(g.schema(1))}
			return s
		}
		before := root()
		loose := n%2 == 0
		after := g.changed(before, loose)
		was, x := resolved(t, before)
		is, y := resolved(t, after)
		d := &differ{tool: "t"}
		d.arguments(x, y, !loose)
		breaking := slices.ContainsFunc(d.changes, func(c Change) bool { return c.Breaking })
		if loose && breaking {
			t.Fatalf("only loosened, and\n%v\nbefore %s\nafter  %s", d.changes, x, y)
		}
		if breaking {
			continue
		}
		compared++
		if string(x) != string(y) {
			harmless++
		}
		for range 60 {
			v := g.value(2)
			if was.Validate(v) == nil && is.Validate(v) != nil {
				text, _ := json.Marshal(v)
				t.Fatalf("%s was taken and is not, and the changes are %v\nbefore %s\nafter  %s", text, d.changes, x, y)
			}
		}
	}
	t.Logf("%d pairs, %d without a breaking change, %d of them with another", pairs, compared, harmless)
	if harmless < pairs/10 {
		t.Errorf("only %d were compared", harmless)
	}
}

// TestDiff compares catalogs: what callers gain, lose and find changed of each kind of entry.
func TestDiff(t *testing.T) {
	tool := func(change func(*catalog.Tool)) *Catalog {
		one := &catalog.Tool{Name: "t", Description: "D.", Input: json.RawMessage(`{"type":"object"}`)}
		change(one)
		return &Catalog{Entries: []catalog.Entry{one}}
	}
	same := func(*catalog.Tool) {}
	of := func(e ...catalog.Entry) *Catalog { return &Catalog{Entries: e} }
	prompt := func(a ...catalog.Argument) *Catalog {
		return of(&catalog.Prompt{Name: "p", Description: "P.", Arguments: a})
	}
	for _, c := range []struct {
		before, after *Catalog
		want          string
	}{
		{tool(same), tool(same), ""},
		{tool(same), of(), "BREAKING t: is gone"},
		{of(), tool(same), "         t: is new"},
		{of(&catalog.Resource{URI: "a:///b"}), of(), "BREAKING resource a:///b: is gone"},
		{of(&catalog.Template{URI: "a:///{b}"}), of(), "BREAKING resources a:///{b}: is gone"},
		{prompt(), of(), "BREAKING prompt p: is gone"},
		{prompt(), prompt(catalog.Argument{Name: "a", Required: true}), "BREAKING prompt p: the argument a is required now"},
		{prompt(), prompt(catalog.Argument{Name: "a"}), "         prompt p: the argument a is new, and may be left out"},
		{prompt(catalog.Argument{Name: "a"}), prompt(), "BREAKING prompt p: the argument a is gone"},
		{of(), of(&catalog.Search{Above: 4}), "         " + listed + ": is new"},
		{of(&catalog.Search{Above: 4}), of(), "         " + listed + ": is gone"},
		{tool(same), tool(func(t *catalog.Tool) { t.Description = "E." }), "         t: what it says of itself changes, by which models choose it"},
		{tool(same), tool(func(t *catalog.Tool) { t.Terms.Scopes = []string{"a"} }), "BREAKING t: callers need the scope a"},
		{tool(same), tool(func(t *catalog.Tool) { t.Terms.Pack = "a" }), `BREAKING t: it is of the toolset "a", and was of ""`},
		{tool(same), tool(func(t *catalog.Tool) { t.Terms.Rules = []policy.Rule{{When: "x", Then: policy.Deny}} }), "BREAKING t: a condition is new: deny where x"},
		{tool(func(t *catalog.Tool) { t.Terms.Rules = []policy.Rule{{When: "x", Then: policy.Deny}} }), tool(same), "         t: a condition is gone: deny where x"},
		{tool(same), tool(func(t *catalog.Tool) { t.Terms.Limits.PerDay = 3 }), "         t: its limits are"},
		{tool(same), tool(func(t *catalog.Tool) { t.Output = json.RawMessage(`{"type":"object"}`) }), "BREAKING t: the schema of its answers changes"},
		{tool(func(t *catalog.Tool) { t.Output = json.RawMessage(`{"type":"object","title":"A"}`) }), tool(func(t *catalog.Tool) { t.Output = json.RawMessage(`{"title": "A", "type":"object"}`) }), ""},
	} {
		var got []string
		for _, change := range Diff(c.before, c.after) {
			got = append(got, change.String())
		}
		if all := strings.Join(got, "\n"); len(got) > 1 || !strings.HasPrefix(all, c.want) || c.want == "" && all != "" {
			t.Errorf("%s\nwant %s", all, c.want)
		}
	}
	for _, c := range [][3]string{
		{`{"enum":["1"]}`, `{"enum":[1]}`, `BREAKING t: a: its values: 1, and before "1"`},
		{`{"type":"integer"}`, `{"type":"number"}`, `         t: a: its type: number, and before integer`},
		{`{"maximum":5}`, `{"maximum":4}`, `BREAKING t: a: its maximum is 4, and was 5`},
		{`{"minimum":5}`, `{"exclusiveMinimum":4}`, `         t: a: its minimum is 4, exclusive, and was 5`},
		{`{"uniqueItems":true}`, `{}`, `         t: a: that its items must differ is false`},
		{`{"anyOf":[{"type":"string"}]}`, `{"anyOf":[{"type":"null"},{"type":"string"}]}`, `         t: a: its anyOf changes`},
		{`{"oneOf":[{"type":"string"}]}`, `{"oneOf":[{"type":"null"},{"type":"string"}]}`, `BREAKING t: a: its oneOf changes`},
		{`{"format":"date"}`, `{"format":"date-time"}`, `         t: a: its format changes`},
	} {
		with := func(a string) func(*catalog.Tool) {
			return func(t *catalog.Tool) {
				t.Input = json.RawMessage(fmt.Sprintf(`{"type":"object","properties":{"a":%s}}`, a))
			}
		}
		if got := Diff(tool(with(c[0])), tool(with(c[1]))); len(got) != 1 || got[0].String() != c[2] {
			t.Errorf("%s to %s: %q\nwant %q", c[0], c[1], got, c[2])
		}
	}
}

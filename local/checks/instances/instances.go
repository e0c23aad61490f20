// Package instances makes values that fit a JSON Schema.
package instances

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"regexp/syntax"
	"slices"
	"strings"
)

// A Generator makes values that fit a schema of JSON Schema, or nearly: its user holds them against the schema.
type Generator struct {
	root map[string]any
	rand *rand.Rand
	long int // the length that a text needs
}

// New returns a generator of values that fit a schema, which may refer to its own $defs.
func New(schema map[string]any, source *rand.Rand) *Generator {
	return &Generator{root: schema, rand: source}
}

// Value returns another value.
func (g *Generator) Value() any { return g.value(g.root, 0) }

const deepest = 8

func (g *Generator) value(s any, depth int) any {
	m, ok := s.(map[string]any)
	if !ok {
		return g.any(depth)
	}
	if ref, ok := m["$ref"].(string); ok {
		defs, _ := g.root["$defs"].(map[string]any)
		return g.value(defs[strings.TrimPrefix(ref, "#/$defs/")], depth+1)
	}
	for _, keyword := range []string{"anyOf", "oneOf"} {
		if all, ok := m[keyword].([]any); ok && len(all) > 0 {
			return g.value(all[g.rand.IntN(len(all))], depth+1)
		}
	}
	if all, ok := m["enum"].([]any); ok {
		return all[g.rand.IntN(len(all))]
	}
	kind, _ := m["type"].(string)
	if all, ok := m["type"].([]any); ok {
		kind = all[g.rand.IntN(len(all))].(string)
	}
	switch kind {
	case "null":
		return nil
	case "boolean":
		return g.rand.IntN(2) == 0
	case "string":
		return g.text(m)
	case "integer", "number":
		return g.number(m, kind)
	case "array":
		least, most := count(m, "minItems", 0), count(m, "maxItems", 3)
		if depth > deepest {
			most = least
		}
		out := []any{}
		for range least + g.rand.IntN(max(1, min(most, least+3)-least+1)) {
			out = append(out, g.value(m["items"], depth+1))
		}
		return out
	case "object":
		return g.object(m, depth)
	}
	return g.any(depth)
}

func (g *Generator) any(depth int) any {
	all := []any{"text", 7.0, 0.5, true, nil}
	if depth < deepest {
		all = append(all, map[string]any{"a": g.any(depth + 1)}, []any{g.any(depth + 1), g.any(depth + 1)})
	}
	return all[g.rand.IntN(len(all))]
}

func count(m map[string]any, keyword string, otherwise int) int {
	if n, ok := m[keyword].(float64); ok {
		return int(n)
	}
	return otherwise
}

func (g *Generator) object(m map[string]any, depth int) map[string]any {
	out := map[string]any{}
	members, _ := m["properties"].(map[string]any)
	required, _ := m["required"].([]any)
	for _, name := range slices.Sorted(maps.Keys(members)) { // else it would have other values each time
		needed := slices.Contains(required, any(name))
		if needed || depth < deepest && g.rand.IntN(depth+2) == 0 {
			out[name] = g.value(members[name], depth+1)
		}
	}
	for _, name := range required {
		if _, ok := out[name.(string)]; !ok {
			out[name.(string)] = g.any(depth)
		}
	}
	if more := m["additionalProperties"]; more != false && g.rand.IntN(3) == 0 && depth < deepest {
		out["further"] = g.value(more, depth+1)
	}
	for i := 0; len(out) < count(m, "minProperties", 0); i++ {
		out[fmt.Sprint("more", i)] = g.value(m["additionalProperties"], depth+1)
	}
	return out
}

func (g *Generator) number(m map[string]any, kind string) any {
	least, most := -1e6, 1e6
	bound := func(keyword string, to *float64, step float64) {
		if n, ok := m[keyword].(float64); ok {
			*to = n + step
		}
	}
	step := 1.0
	if kind == "number" {
		step = 0.01
	}
	bound("minimum", &least, 0)
	bound("exclusiveMinimum", &least, step)
	most = max(most, least+100)
	bound("maximum", &most, 0)
	bound("exclusiveMaximum", &most, -step)
	least = min(least, most)
	v := least + g.rand.Float64()*(most-least)
	if g.rand.IntN(4) == 0 {
		v = []float64{least, most}[g.rand.IntN(2)]
	}
	if of, ok := m["multipleOf"].(float64); ok {
		v = math.Ceil(v/of) * of
	}
	if kind == "integer" {
		v = math.Round(v)
	}
	return v
}

func (g *Generator) text(m map[string]any) any {
	if format, ok := m["format"].(string); ok && formatted[format] != "" {
		return formatted[format]
	}
	least, most := count(m, "minLength", 0), count(m, "maxLength", 1<<20)
	if pattern, ok := m["pattern"].(string); ok {
		if re, err := syntax.Parse(pattern, syntax.Perl); err == nil {
			var b strings.Builder
			g.long = least
			for range 20 + 20*least {
				b.Reset()
				g.matching(re.Simplify(), &b)
				if n := len([]rune(b.String())); n >= least && n <= most {
					break
				}
			}
			return b.String()
		}
	}
	letters := []rune("aZ09 -_.:/?&=%#é漢🙂\"\\")
	var out []rune
	for range least + g.rand.IntN(min(most-least, 12)+1) {
		out = append(out, letters[g.rand.IntN(len(letters))])
	}
	return string(out)
}

// formatted are texts of the formats that readers hold values against.
var formatted = map[string]string{"date-time": "2026-11-30T12:00:00Z", "date": "2026-11-30", "uuid": "123e4567-e89b-12d3-a456-426614174000", "email": "a@example.com", "byte": "YWJj", "binary": "YWJj",
	"uri": "https://example.com/a", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1"}

// matching writes a text that matches, but for what looks around.
func (g *Generator) matching(re *syntax.Regexp, b *strings.Builder) {
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		if i := 2 * g.rand.IntN(max(1, len(re.Rune)/2)); i+1 < len(re.Rune) {
			b.WriteRune(re.Rune[i] + rune(g.rand.IntN(min(60, int(re.Rune[i+1]-re.Rune[i])+1))))
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('x')
	case syntax.OpCapture, syntax.OpConcat:
		for _, s := range re.Sub {
			g.matching(s, b)
		}
	case syntax.OpAlternate:
		g.matching(re.Sub[g.rand.IntN(len(re.Sub))], b)
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest:
		n := map[syntax.Op]int{syntax.OpStar: g.rand.IntN(4 + g.long), syntax.OpPlus: 1 + g.rand.IntN(4+g.long), syntax.OpQuest: g.rand.IntN(2)}[re.Op]
		for range n {
			g.matching(re.Sub[0], b)
		}
	}
}

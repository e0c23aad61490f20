package catalogfile

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
)

// A comparison is of two schemas, before and after: it says what changes, and that it is breaking where a value may be refused that was taken. What it
// can't tell of a keyword is breaking. One thing is not, though the schema alone says so: that an argument is new which an object took under any
// name before, as OpenAPI's objects do that say nothing of other members. Nobody was told of it.
type comparison struct {
	say           func(breaking bool, format string, args ...any)
	before, after any // the whole schemas, for references
	within        map[string]bool
	spent         *int // comparisons: alternatives that refer to each other may be many
	strict        bool // a new argument is compared with what an object took under any name
}

// maxComparisons bounds those of one tool.
const maxComparisons = 100_000

// arguments compares the schemas of a tool's arguments.
func (d *differ) arguments(before, after json.RawMessage, strict bool) {
	c := &comparison{say: d.say, within: map[string]bool{}, spent: new(int), strict: strict}
	json.Unmarshal(before, &c.before)
	json.Unmarshal(after, &c.after)
	c.compare("its arguments", c.before, c.after)
}

// narrows tells whether one of two schemas refuses what the other took.
func (c *comparison) narrows(before, after any) bool {
	found := false
	quiet := *c
	quiet.say = func(breaking bool, _ string, _ ...any) { found = found || breaking }
	quiet.compare("", before, after)
	return found
}

// follow returns what a schema that is a reference alone stands for, and true and false as objects.
func follow(s, root any) map[string]any {
	for range 50 {
		switch is := s.(type) {
		case bool:
			if is {
				return map[string]any{}
			}
			return map[string]any{"not": map[string]any{}}
		case map[string]any:
			ref, _ := is["$ref"].(string)
			for key := range is {
				if key != "$ref" && !annotation(key) {
					ref = ""
				}
			}
			to, ok := pointed(root, ref)
			if ref == "" || !ok {
				return besides(is)
			}
			s = to
		default:
			return map[string]any{}
		}
	}
	return map[string]any{"not": map[string]any{}} // a circle, which takes nothing
}

// referring is a schema that has a reference, or nil.
func referring(s any) map[string]any {
	is, _ := s.(map[string]any)
	if is["$ref"] == nil {
		return nil
	}
	return is
}

// besides is a schema in which a reference is one of allOf, as it is where there is more beside it.
func besides(s map[string]any) map[string]any {
	ref, is := s["$ref"]
	if !is {
		return s
	}
	out := maps.Clone(s)
	delete(out, "$ref")
	all, _ := s["allOf"].([]any)
	out["allOf"] = append(slices.Clone(all), map[string]any{"$ref": ref})
	return out
}

// pointed follows a JSON pointer within the schema.
func pointed(root any, ref string) (to any, ok bool) {
	path, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return nil, false
	}
	for step := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if step == "" {
			continue
		}
		of, _ := root.(map[string]any)
		if root, ok = of[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]; !ok {
			return nil, false
		}
	}
	return root, true
}

// annotation tells of a keyword that refuses nothing: formats are told to models, and not checked.
func annotation(key string) bool {
	switch key {
	case "description", "title", "examples", "example", "default", "$comment", "deprecated", "readOnly", "writeOnly", "format", "$defs", "definitions", "contentEncoding", "contentMediaType":
		return true
	}
	return strings.HasPrefix(key, "x-")
}

// compare says what changes from one schema to another.
func (c *comparison) compare(at string, before, after any) {
	if *c.spent++; *c.spent > maxComparisons {
		c.say(true, "%s: its schemas are too much within each other to be compared", at)
		return
	}
	a, b := follow(before, c.before), follow(after, c.after)
	if x, y := referring(before), referring(after); x != nil && y != nil && (len(x) > 1 || len(y) > 1) {
		a, b = besides(x), besides(y)
	}
	pair := fmt.Sprintf("%p %p", a, b)
	if c.within[pair] || reflect.DeepEqual(a, b) && reflect.DeepEqual(c.before, c.after) {
		return
	}
	c.within[pair] = true
	defer delete(c.within, pair)
	c.bounds(at, a, b)
	c.values(at, a, b)
	for _, key := range slices.Sorted(maps.Keys(merged(a, b))) {
		was, had := a[key]
		is, has := b[key]
		if reflect.DeepEqual(was, is) && had == has && !refers(key) {
			continue
		}
		switch key {
		case "$defs", "definitions", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "const", "enum":
		case "properties":
			c.properties(at, a, b)
		case "required":
			c.required(at, a, b)
		case "type":
			c.types(at, was, is)
		case "minLength", "minItems", "minProperties", "maxLength", "maxItems", "maxProperties":
			x, y := number(was, key, had), number(is, key, has)
			c.say(strings.HasPrefix(key, "min") && y > x || strings.HasPrefix(key, "max") && y < x, "%s: its %s is %v, and was %v", at, key, shownOr(is, has), shownOr(was, had))
		case "multipleOf":
			x, _ := was.(float64)
			y, _ := is.(float64)
			c.say(has && (!had || math.Mod(x, y) != 0), "%s: its multipleOf is %v, and was %v", at, shownOr(is, has), shownOr(was, had))
		case "uniqueItems":
			c.say(is == true, "%s: that its items must differ is %v", at, is == true)
		case "items", "additionalProperties", "propertyNames", "unevaluatedProperties", "unevaluatedItems":
			c.compare(at+"."+key, orAll(was, had), orAll(is, has))
		case "patternProperties":
			c.patterns(at, a, b)
		case "not":
			c.say(has && (!had || c.reversed().narrows(is, was)), "%s: what it is not changes", at)
		case "allOf", "anyOf", "oneOf":
			c.alternatives(at, key, was, is)
		default:
			if annotation(key) {
				c.say(false, "%s: its %s changes", at, key)
				continue
			}
			// Without these a value may be held to others.
			c.say(has || key == "prefixItems" || key == "if", "%s: its %s changes", at, key)
		}
	}
}

// refers tells of a keyword with schemas in it, which may refer to what has changed though they read the same.
func refers(key string) bool {
	switch key {
	case "properties", "items", "additionalProperties", "patternProperties", "propertyNames", "not", "allOf", "anyOf", "oneOf":
		return true
	}
	return false
}

func (c *comparison) reversed() *comparison {
	return &comparison{say: c.say, before: c.after, after: c.before, within: c.within, spent: c.spent, strict: true}
}

// orAll is a schema, or the one that takes all.
func orAll(s any, given bool) any {
	if !given {
		return true
	}
	return s
}

// number is a bound, or the one that bounds nothing.
func number(v any, key string, given bool) float64 {
	n, ok := v.(float64)
	switch {
	case given && ok:
		return n
	case strings.HasPrefix(key, "min"):
		return 0
	}
	return math.Inf(1)
}

// bounds compares those of numbers.
func (c *comparison) bounds(at string, a, b map[string]any) {
	for _, end := range []string{"inimum", "aximum"} {
		sign := 1.0
		if end == "aximum" {
			sign = -1
		}
		of := func(s map[string]any) (bound float64, open bool) {
			bound = math.Inf(-1)
			if n, ok := s["m"+end].(float64); ok {
				bound = sign * n
			}
			if n, ok := s["exclusiveM"+end].(float64); ok && sign*n >= bound {
				return sign * n, true
			}
			return bound, false
		}
		x, xOpen := of(a)
		y, yOpen := of(b)
		if x != y || xOpen != yOpen {
			show := func(v float64, open bool) any {
				if math.IsInf(v, 0) {
					return "none"
				}
				return fmt.Sprint(sign*v, map[bool]string{true: ", exclusive"}[open])
			}
			c.say(y > x || y == x && yOpen && !xOpen, "%s: its m%s is %v, and was %v", at, end, show(y, yOpen), show(x, xOpen))
		}
	}
}

func (c *comparison) properties(at string, a, b map[string]any) {
	was, _ := a["properties"].(map[string]any)
	is, _ := b["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(merged(was, is))) {
		before, had := was[name]
		after, has := is[name]
		place := strings.TrimPrefix(at+"."+name, "its arguments.")
		switch {
		case !had && slices.Contains(listOf(b["required"]), name):
			c.say(true, "%s is new, and required", place)
		case !had:
			others, given := a["additionalProperties"]
			c.say(c.strict && c.narrows(orAll(others, given), after), "%s is new, and may be left out", place)
		case !has:
			others, given := b["additionalProperties"]
			c.say(c.narrows(before, orAll(others, given)), "%s is gone", place)
		default:
			c.compare(place, before, after)
		}
	}
}

func (c *comparison) required(at string, a, b map[string]any) {
	before, after := listOf(a["required"]), listOf(b["required"])
	was, _ := a["properties"].(map[string]any)
	is, _ := b["properties"].(map[string]any)
	for _, name := range after {
		_, had := was[name]
		_, has := is[name]
		if !slices.Contains(before, name) && (had || !has) { // a new one is told of among the properties
			c.say(true, "%s: %s is required now", at, name)
		}
	}
	for _, name := range before {
		if _, has := is[name]; has && !slices.Contains(after, name) {
			c.say(false, "%s: %s may be left out now", at, name)
		}
	}
}

// types compares lists of types. Without one all are taken.
func (c *comparison) types(at string, before, after any) {
	was, is := listOf(before), listOf(after)
	gone := func(v string) bool {
		return !slices.Contains(is, v) && !(v == "integer" && slices.Contains(is, "number"))
	}
	all := []string{"array", "boolean", "null", "number", "object", "string"}
	breaking := after != nil && (before == nil && slices.ContainsFunc(all, gone) || slices.ContainsFunc(was, gone))
	c.say(breaking, "%s: its type: %s, and before %s", at, listOr(is, after != nil), listOr(was, before != nil))
}

// values compares enum and const.
func (c *comparison) values(at string, a, b map[string]any) {
	of := func(s map[string]any) (out []string, given bool) {
		list, given := s["enum"].([]any)
		if v, is := s["const"]; is {
			if given && !slices.ContainsFunc(list, func(e any) bool { return reflect.DeepEqual(e, v) }) {
				return nil, true
			}
			list, given = []any{v}, true
		}
		for _, v := range list {
			text, _ := json.Marshal(v)
			out = append(out, string(text))
		}
		return out, given
	}
	was, had := of(a)
	is, has := of(b)
	if had == has && slices.Equal(was, is) {
		return
	}
	c.say(has && (!had || slices.ContainsFunc(was, func(v string) bool { return !slices.Contains(is, v) })), "%s: its values: %s, and before %s", at, listOr(is, has), listOr(was, had))
}

// patterns compares members by patterns of their names.
func (c *comparison) patterns(at string, a, b map[string]any) {
	was, _ := a["patternProperties"].(map[string]any)
	is, _ := b["patternProperties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(merged(was, is))) {
		before, had := was[name]
		after, has := is[name]
		switch place := at + "." + name; {
		case !had:
			c.say(true, "%s: members of such a name have a schema now", place)
		case !has:
			others, given := b["additionalProperties"]
			c.say(c.narrows(before, orAll(others, given)), "%s: members of such a name have no schema now", place)
		default:
			c.compare(place, before, after)
		}
	}
}

// alternatives compares allOf, anyOf and oneOf.
func (c *comparison) alternatives(at, key string, before, after any) {
	was, had := before.([]any)
	is, has := after.([]any)
	wider := func(x, y any) bool { return !c.narrows(x, y) }
	same := func(x, y any) bool { return wider(x, y) && !c.reversed().narrows(y, x) }
	breaking := has && !had
	switch {
	case !had || !has:
	case key == "anyOf": // what an alternative takes is taken by one after
		breaking = slices.ContainsFunc(was, func(x any) bool { return !slices.ContainsFunc(is, func(y any) bool { return wider(x, y) }) })
	case key == "allOf": // what one asks for was asked for before
		breaking = slices.ContainsFunc(is, func(y any) bool { return !slices.ContainsFunc(was, func(x any) bool { return wider(x, y) }) })
	default: // one that is wider may take what another takes, too
		breaking = len(was) != len(is) || slices.ContainsFunc(was, func(x any) bool { return !slices.ContainsFunc(is, func(y any) bool { return same(x, y) }) })
	}
	if breaking || !reflect.DeepEqual(before, after) {
		c.say(breaking, "%s: its %s changes", at, key)
	}
}

func listOr(all []string, given bool) string {
	if !given {
		return "any"
	}
	return strings.Join(all, ", ")
}

func shownOr(v any, given bool) any {
	if !given {
		return "none"
	}
	return v
}

// listOf are the elements of a list, or the one value, as texts.
func listOf(v any) (out []string) {
	list, ok := v.([]any)
	if !ok && v != nil {
		list = []any{v}
	}
	for _, e := range list {
		out = append(out, fmt.Sprint(e))
	}
	return out
}

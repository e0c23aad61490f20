package catalogfile

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/policy"
)

// A Change is what callers gain, lose, or find changed.
type Change struct {
	Tool     string `json:"tool"`
	Text     string `json:"text"`
	Breaking bool   `json:"breaking"` // a call that was taken before may be refused, or is not there
}

func (c Change) String() string {
	if c.Breaking {
		return fmt.Sprintf("BREAKING %s: %s", c.Tool, c.Text)
	}
	return fmt.Sprintf("         %s: %s", c.Tool, c.Text)
}

// Diff lists what changes for callers from one catalog to another, by tool.
func Diff(before, after *Catalog) []Change {
	was, is := toolsOf(before), toolsOf(after)
	var out []Change
	for _, name := range slices.Sorted(maps.Keys(merged(was, is))) {
		switch a, b := was[name], is[name]; {
		case a == nil:
			out = append(out, Change{name, "is new", false})
		case b == nil:
			out = append(out, Change{name, "is gone", true})
		default:
			d := &differ{tool: name}
			d.compare(a, b)
			out = append(out, d.changes...)
		}
	}
	return out
}

func merged[V any](a, b map[string]V) map[string]V {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func toolsOf(c *Catalog) map[string]*catalog.Tool {
	out := map[string]*catalog.Tool{}
	for _, e := range c.Entries {
		if t, ok := e.(*catalog.Tool); ok {
			out[t.Name] = t
		}
	}
	return out
}

type differ struct {
	tool    string
	changes []Change
}

func (d *differ) say(breaking bool, format string, args ...any) {
	d.changes = append(d.changes, Change{d.tool, fmt.Sprintf(format, args...), breaking})
}

func (d *differ) compare(a, b *catalog.Tool) {
	if a.Description != b.Description || a.Title != b.Title {
		d.say(false, "its description changes, by which models choose it")
	}
	if !reflect.DeepEqual(a.Hints, b.Hints) {
		d.say(false, "what it says of its effects changes: clients may ask their person before calls")
	}
	for _, scope := range b.Terms.Scopes {
		if !slices.Contains(a.Terms.Scopes, scope) {
			d.say(true, "callers need the scope %s", scope)
		}
	}
	if a.Terms.Pack != b.Terms.Pack {
		d.say(b.Terms.Pack != "", "it is of the toolset %q, and was of %q", b.Terms.Pack, a.Terms.Pack)
	}
	for _, rule := range b.Terms.Rules {
		if !slices.ContainsFunc(a.Terms.Rules, func(r policy.Rule) bool { return r.When == rule.When && r.Then == rule.Then }) {
			d.say(true, "a condition is new: %s where %s", rule.Then, rule.When)
		}
	}
	if a.Terms.Limits != b.Terms.Limits || a.Terms.Weight != b.Terms.Weight {
		d.say(false, "its limits are %+v, and were %+v", b.Terms.Limits, a.Terms.Limits)
	}
	if a.Terms.Timeout != b.Terms.Timeout {
		d.say(false, "its time limit is %v, and was %v", b.Terms.Timeout, a.Terms.Timeout)
	}
	if a.Terms.Strict != b.Terms.Strict {
		d.say(false, "that it requires a receipt is %v, and was %v", b.Terms.Strict, a.Terms.Strict)
	}
	var x, y any
	json.Unmarshal(a.Input, &x)
	json.Unmarshal(b.Input, &y)
	d.schema("its arguments", x, y)
	if string(a.Output) != string(b.Output) {
		d.say(true, "the schema of its answers changes")
	}
}

// schema compares what a value may be before and after.
func (d *differ) schema(at string, before, after any) {
	a, ok := before.(map[string]any)
	b, ok2 := after.(map[string]any)
	if !ok || !ok2 {
		if !reflect.DeepEqual(before, after) {
			d.say(true, "%s: its schema is %v, and was %v", at, after, before)
		}
		return
	}
	for _, key := range slices.Sorted(maps.Keys(merged(a, b))) {
		was, had := a[key]
		is, has := b[key]
		if reflect.DeepEqual(was, is) && had == has {
			continue
		}
		switch key {
		case "description", "title", "examples", "default", "$comment", "deprecated":
			d.say(false, "%s: its %s changes", at, key)
		case "properties":
			d.properties(at, a, b)
		case "required":
			before := listOf(was)
			properties, _ := a["properties"].(map[string]any)
			for _, name := range listOf(is) {
				if _, known := properties[name]; known && !slices.Contains(before, name) {
					d.say(true, "%s: %s is required now", at, name)
				}
			}
		case "type":
			d.narrowed(at+": its type", had, has, listOf(was), listOf(is))
		case "enum":
			d.narrowed(at+": its values", had, has, listOf(was), listOf(is))
		case "minimum", "minLength", "minItems", "exclusiveMinimum", "maximum", "maxLength", "maxItems", "exclusiveMaximum":
			x, _ := was.(float64)
			y, _ := is.(float64)
			up := strings.HasPrefix(strings.ToLower(strings.TrimPrefix(key, "exclusive")), "min")
			d.say(has && (!had || up == (y > x)), "%s: its %s is %v, and was %v", at, key, shownOr(is, has), shownOr(was, had))
		case "items", "additionalProperties":
			if had && has {
				d.schema(at+"[]", was, is)
			} else {
				d.say(has, "%s: its %s is %v, and was %v", at, key, shownOr(is, has), shownOr(was, had))
			}
		case "$defs":
			x, _ := was.(map[string]any)
			y, _ := is.(map[string]any)
			for _, name := range slices.Sorted(maps.Keys(x)) {
				if _, both := y[name]; both {
					d.schema(name, x[name], y[name])
				}
			}
		default:
			d.say(has, "%s: its %s changes", at, key)
		}
	}
}

func (d *differ) properties(at string, a, b map[string]any) {
	was, _ := a["properties"].(map[string]any)
	is, _ := b["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(merged(was, is))) {
		before, had := was[name]
		after, has := is[name]
		place := strings.TrimPrefix(at+"."+name, "its arguments.")
		switch {
		case !had && slices.Contains(listOf(b["required"]), name):
			d.say(true, "%s is new, and required", place)
		case !had:
			d.say(false, "%s is new, and may be left out", place)
		case !has:
			d.say(true, "%s is gone", place)
		default:
			d.schema(place, before, after)
		}
	}
}

// narrowed tells of a list of what is allowed. Where there is none, all is.
func (d *differ) narrowed(at string, had, has bool, was, is []string) {
	breaking := has && (!had || slices.ContainsFunc(was, func(v string) bool {
		return !slices.Contains(is, v) && !(v == "integer" && slices.Contains(is, "number"))
	}))
	d.say(breaking, "%s: %s, and before %s", at, listOr(is, has), listOr(was, had))
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

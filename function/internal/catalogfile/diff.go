package catalogfile

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/policy"
)

// A Change is what callers gain, lose, or find changed.
type Change struct {
	Tool     string `json:"tool"` // its name; of others what it is before that, as in "prompt greet"
	Text     string `json:"text"`
	Breaking bool   `json:"breaking"` // a call that was taken before may be refused, or is not there
}

func (c Change) String() string {
	if c.Breaking {
		return fmt.Sprintf("BREAKING %s: %s", c.Tool, c.Text)
	}
	return fmt.Sprintf("         %s: %s", c.Tool, c.Text)
}

// Diff lists what changes for callers from one catalog to another, by tool. Where a call goes to, and with which credentials, is not theirs to see.
func Diff(before, after *Catalog) []Change {
	was, is := offersOf(before), offersOf(after)
	var out []Change
	for _, name := range slices.Sorted(maps.Keys(merged(was, is))) {
		switch a, b := was[name], is[name]; {
		case a == nil:
			out = append(out, Change{name, "is new", false})
		case b == nil:
			out = append(out, Change{name, "is gone", name != listed})
		default:
			d := &differ{tool: name}
			d.compare(a, b)
			out = append(out, d.changes...)
		}
	}
	return out
}

func merged[V any](a, b map[string]V) map[string]V {
	all := map[string]V{} // where a is nil, too
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
}

// listed is what changes where the list of tools gives way to those that find them.
const listed = "the search in place of a list of tools"

// An offer is an entry as callers find it.
type offer struct {
	words string // title and description
	terms catalog.Terms
	tool  *catalog.Tool      // or nil
	needs []catalog.Argument // of a prompt
}

func offersOf(c *Catalog) map[string]*offer {
	out := map[string]*offer{}
	for _, e := range c.Entries {
		switch e := e.(type) {
		case *catalog.Tool:
			out[e.Name] = &offer{e.Title + "\n" + e.Description, e.Terms, e, nil}
		case *catalog.Prompt:
			out["prompt "+e.Name] = &offer{e.Title + "\n" + e.Description, e.Terms, nil, e.Arguments}
		case *catalog.Resource:
			out["resource "+e.URI] = &offer{e.Title + "\n" + e.Description, e.Terms, nil, nil}
		case *catalog.Template:
			out["resources "+e.URI] = &offer{e.Title + "\n" + e.Description, e.Terms, nil, nil}
		case *catalog.Search:
			out[listed] = &offer{words: fmt.Sprint(e.Above)}
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

func (d *differ) compare(a, b *offer) {
	if a.words != b.words {
		d.say(false, "what it says of itself changes, by which models choose it")
	}
	d.compareTerms(&a.terms, &b.terms)
	for _, n := range b.needs {
		at := slices.IndexFunc(a.needs, func(o catalog.Argument) bool { return o.Name == n.Name })
		if at < 0 || !a.needs[at].Required && n.Required {
			d.say(n.Required, "the argument %s is %s", n.Name, map[bool]string{true: "required now", false: "new, and may be left out"}[n.Required])
		}
	}
	for _, o := range a.needs {
		if !slices.ContainsFunc(b.needs, func(n catalog.Argument) bool { return n.Name == o.Name }) {
			d.say(true, "the argument %s is gone", o.Name)
		}
	}
	if a.tool == nil || b.tool == nil {
		return
	}
	if !reflect.DeepEqual(a.tool.Hints, b.tool.Hints) {
		d.say(false, "what it says of its effects changes: clients may ask their person before calls")
	}
	d.arguments(a.tool.Input, b.tool.Input, false)
	if !sameJSON(a.tool.Output, b.tool.Output) {
		d.say(true, "the schema of its answers changes")
	}
}

func (d *differ) compareTerms(a, b *catalog.Terms) {
	for _, scope := range b.Scopes {
		if !slices.Contains(a.Scopes, scope) {
			d.say(true, "callers need the scope %s", scope)
		}
	}
	for _, scope := range a.Scopes {
		if !slices.Contains(b.Scopes, scope) {
			d.say(false, "callers need the scope %s no more", scope)
		}
	}
	if a.Pack != b.Pack {
		d.say(b.Pack != "", "it is of the toolset %q, and was of %q", b.Pack, a.Pack)
	}
	for _, rule := range b.Rules {
		if !hasRule(a.Rules, &rule) {
			d.say(true, "a condition is new: %s where %s", rule.Then, rule.When)
		}
	}
	for _, rule := range a.Rules {
		if !hasRule(b.Rules, &rule) {
			d.say(false, "a condition is gone: %s where %s", rule.Then, rule.When)
		}
	}
	if a.Limits != b.Limits || a.Weight != b.Weight {
		d.say(false, "its limits are %+v, and were %+v", b.Limits, a.Limits)
	}
	if a.Timeout != b.Timeout {
		d.say(false, "its time limit is %v, and was %v", b.Timeout, a.Timeout)
	}
	if a.Strict != b.Strict {
		d.say(false, "that it requires a receipt is %v, and was %v", b.Strict, a.Strict)
	}
}

func hasRule(all []policy.Rule, rule *policy.Rule) bool {
	return slices.ContainsFunc(all, func(r policy.Rule) bool { return r.When == rule.When && r.Then == rule.Then })
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	json.Unmarshal(a, &x)
	json.Unmarshal(b, &y)
	return reflect.DeepEqual(x, y)
}

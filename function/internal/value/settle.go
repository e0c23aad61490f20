package value

import (
	"maps"
	"slices"
)

// Settle makes of an object's members what they stand for, in place: nulls of optional members whose schema has no null are taken out, as
// serializers write them for what is not set, and with defaults, what is absent becomes the default of its schema.
func (c *Checker) Settle(v any, defaults bool) { c.rule.settle(v, defaults, maxDepth, &effort{}) }

// Unfilled takes out of a form's answers all nulls whose schema has none, as clients write a field that is left empty.
func (c *Checker) Unfilled(v any) {
	answers, _ := v.(map[string]any)
	maps.DeleteFunc(answers, func(name string, e any) bool {
		of := c.rule.members[name]
		return e == nil && of != nil && !of.hasNull(maxDepth, &effort{})
	})
}

func (r *rule) settle(v any, defaults bool, depth int, spent *effort) {
	if r == nil || depth == 0 {
		return
	}
	r.ref.settle(v, defaults, depth-1, spent)
	for _, one := range r.all {
		one.settle(v, defaults, depth-1, spent)
	}
	settleAs(r.any, v, defaults, depth-1, spent)
	settleAs(r.one, v, defaults, depth-1, spent)
	switch v := v.(type) {
	case map[string]any:
		for name, e := range v {
			of, known := r.member(name)
			switch {
			case of == nil:
			case e != nil:
				of.settle(e, defaults, depth-1, spent)
			case !(known && slices.Contains(r.schema.Required, name)) && !of.hasNull(depth-1, spent):
				delete(v, name)
			}
		}
		for i := 0; defaults && i < len(r.standards); i++ {
			if name := r.standards[i]; !has(v, name) {
				v[name] = r.members[name].standard()
			}
		}
	case []any:
		for _, e := range v {
			r.elements.settle(e, defaults, depth-1, spent)
		}
	}
}

// member is the rule for a member, and whether it may be required.
func (r *rule) member(name string) (of *rule, known bool) {
	if of := r.members[name]; of != nil {
		return of, true
	}
	for _, p := range r.patterns {
		if p.name != nil && p.name.MatchString(name) {
			return p.rule, true
		}
	}
	return r.others, slices.Contains(r.schema.Required, name)
}

// settleAs settles a value by the first of some alternatives that it then fits, where it fits none as it is.
func settleAs(all []*rule, v any, defaults bool, depth int, spent *effort) {
	switch v.(type) {
	case map[string]any, []any:
	default:
		return
	}
	if spent.settled += len(all); spent.settled > maxSettled {
		return
	}
	if len(all) == 0 || depth <= 0 || slices.ContainsFunc(all, func(one *rule) bool { return one.check(v, depth, spent) == nil }) {
		return
	}
	for _, one := range all {
		tried := cloned(v)
		if one.settle(tried, defaults, depth, spent); one.check(tried, depth, spent) == nil {
			one.settle(v, defaults, depth, spent)
			return
		}
	}
}

const maxSettled = 1 << 10 // alternatives that are tried for one value, each within another

func cloned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, e := range v {
			out[name] = cloned(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = cloned(e)
		}
		return out
	}
	return v
}

func has(v map[string]any, name string) bool { _, ok := v[name]; return ok }

// hasNull tells whether a value may be null.
func (r *rule) hasNull(depth int, spent *effort) bool { return r.check(nil, depth, spent) == nil }

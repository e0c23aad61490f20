package value

import (
	"maps"
	"slices"
)

// Settle makes of an object's members what they stand for, in place: nulls of optional members whose schema has no null are taken out, as
// serializers write them for what is not set, and with defaults, what is absent becomes the default of its schema.
func (c *Checker) Settle(v any, defaults bool) { c.rule.settle(v, defaults, mostDepth) }

// Unfilled takes out of a form's answers all nulls whose schema has none, as clients write a field that is left empty.
func (c *Checker) Unfilled(v any) {
	answers, _ := v.(map[string]any)
	maps.DeleteFunc(answers, func(name string, e any) bool {
		of := c.rule.members[name]
		return e == nil && of != nil && !of.hasNull(mostDepth)
	})
}

func (r *rule) settle(v any, defaults bool, depth int) {
	if r == nil || depth == 0 {
		return
	}
	r.ref.settle(v, defaults, depth-1)
	switch v := v.(type) {
	case map[string]any:
		for name, e := range v {
			of := r.members[name]
			switch {
			case of == nil:
				r.others.settle(e, defaults, depth-1)
			case e != nil:
				of.settle(e, defaults, depth-1)
			case !slices.Contains(r.schema.Required, name) && !of.hasNull(depth-1):
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
			r.elements.settle(e, defaults, depth-1)
		}
	}
}

func has(v map[string]any, name string) bool { _, ok := v[name]; return ok }

// hasNull tells whether a value may be null. Where others decide than these keywords, it may.
func (r *rule) hasNull(depth int) bool {
	switch {
	case len(r.types) > 0:
		return slices.Contains(r.types, "null")
	case r.schema.Enum != nil:
		return slices.Contains(r.schema.Enum, nil)
	case r.ref != nil && depth > 0:
		return r.ref.hasNull(depth - 1)
	}
	return true
}

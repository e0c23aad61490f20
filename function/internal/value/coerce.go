package value

import (
	"strconv"

	"example.com/erlmcp/function/internal/mcp"
)

// Coerce makes the scalars of an object's members what their schemas say they are, in place, where that can mean one thing only: the text "5" of a
// whole number or a number, "true" of a boolean, and a whole number of a text. Models send those. Nothing else is changed: what fits no schema is
// for [Checker.Check] to say.
func (c *Checker) Coerce(v any) { c.rule.coerce(v, maxDepth) }

// coerce returns what a value stands for.
func (r *rule) coerce(v any, depth int) any {
	if r == nil || depth == 0 {
		return v
	}
	switch v := v.(type) {
	case map[string]any:
		for name, e := range v {
			if of, _ := r.target(depth).member(name); of != nil {
				v[name] = of.coerce(e, depth-1)
			}
		}
	case []any:
		elements := r.target(depth).elements
		for i, e := range v {
			v[i] = elements.coerce(e, depth-1)
		}
	case string:
		switch r.scalar(depth) {
		case "integer", "number":
			if n, ok := numberOf(v); ok && r.check(n, depth, &effort{}) == nil {
				return n
			}
		case "boolean":
			if v == "true" || v == "false" {
				return v == "true"
			}
		}
	case int64:
		if r.scalar(depth) == "string" {
			return strconv.FormatInt(v, 10)
		}
	case uint64:
		if r.scalar(depth) == "string" {
			return strconv.FormatUint(v, 10)
		}
	}
	return v
}

// target is the rule that has the members and elements: that of a reference where there are none beside it.
func (r *rule) target(depth int) *rule {
	for ; r.ref != nil && r.members == nil && r.elements == nil && depth > 0; depth-- {
		r = r.ref
	}
	return r
}

// scalar is the one type that a value can have, beside null, or "".
func (r *rule) scalar(depth int) string {
	if r == nil || depth == 0 {
		return ""
	}
	one := ""
	also := func(kind string) bool {
		if kind != "null" && one != "" && one != kind {
			return false
		}
		if kind != "null" {
			one = kind
		}
		return true
	}
	for _, kind := range r.types {
		if !also(kind) {
			return ""
		}
	}
	if one != "" || len(r.types) > 0 {
		return one
	}
	if r.ref != nil {
		return r.ref.scalar(depth - 1)
	}
	for _, alternatives := range [][]*rule{r.any, r.one} {
		for _, a := range alternatives {
			kind := a.scalar(depth - 1)
			if len(a.types) == 1 && a.types[0] == "null" {
				kind = "null"
			}
			if kind == "" || !also(kind) {
				return ""
			}
		}
	}
	return one
}

// numberOf reads a text that is a number of JSON (RFC 8259, section 6) and nothing else.
func numberOf(text string) (any, bool) {
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	if text == "" || !digit(text[0]) && text[0] != '-' || !digit(text[len(text)-1]) {
		return nil, false
	}
	v, err := mcp.Decode([]byte(text))
	return v, err == nil
}

package catalog

import (
	"math"
	"reflect"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"
)

// A fit tells quickly that a decoded JSON value fits a schema. False means only that the library must be asked, which knows
// every keyword and words the fault; for most tools it never is, at a third of the cost of a call.
type fit func(any) bool

// fitOf compiles a schema of the keywords that Go types yield, and returns nil for one with any other.
func fitOf(s *jsonschema.Schema) fit {
	if s == nil {
		return nil
	}
	rest := *s
	rest.Schema, rest.Title, rest.Description, rest.Format = "", "", "", "" // format is not asserted in 2020-12
	rest.Default, rest.Examples, rest.Extra, rest.PropertyOrder = nil, nil, nil, nil
	rest.Type, rest.Types, rest.Properties, rest.Required, rest.AdditionalProperties, rest.Items = "", nil, nil, nil, nil, nil
	rest.Enum, rest.Minimum, rest.Maximum = nil, nil, nil
	if !reflect.ValueOf(rest).IsZero() {
		return nil
	}
	types := s.Types
	if s.Type != "" {
		types = []string{s.Type}
	}
	if len(types) == 0 || len(types) == 2 && types[0] != "null" || len(types) > 2 {
		return nil
	}
	one := fitType(types[len(types)-1], s)
	if one != nil && s.Enum != nil {
		inner, enum := one, s.Enum
		for _, v := range enum { // others than these compare in ways of their own
			switch v.(type) {
			case string, float64:
			default:
				return nil
			}
		}
		one = func(v any) bool {
			if n, ok := v.(int64); ok && -maxExact <= n && n <= maxExact {
				v = float64(n)
			}
			return inner(v) && slices.Contains(enum, v)
		}
	}
	if one == nil || len(types) == 1 {
		return one
	}
	return func(v any) bool { return v == nil && s.Enum == nil || one(v) }
}

func fitType(name string, s *jsonschema.Schema) fit {
	switch name {
	case "string":
		return func(v any) bool { _, ok := v.(string); return ok }
	case "boolean":
		return func(v any) bool { _, ok := v.(bool); return ok }
	case "integer", "number":
		least, most := math.Inf(-1), math.Inf(1)
		if s.Minimum != nil {
			least = *s.Minimum
		}
		if s.Maximum != nil {
			most = *s.Maximum
		}
		whole := name == "integer"
		first, last := wholeRange(least, most)
		return func(v any) bool {
			switch n := v.(type) {
			case int64:
				return first <= n && n <= last
			case float64:
				return n >= least && n <= most && (!whole || n == math.Trunc(n))
			}
			return false
		}
	case "array":
		item := fitOf(s.Items)
		if item == nil {
			return nil
		}
		return func(v any) bool {
			list, ok := v.([]any)
			if !ok {
				return false
			}
			for _, e := range list {
				if !item(e) {
					return false
				}
			}
			return true
		}
	case "object":
		return fitObject(s)
	}
	return nil
}

// maxExact is the greatest number up to which a double holds all whole ones.
const maxExact = 1 << 53

// wholeRange returns the first and the last integer within bounds.
func wholeRange(least, most float64) (first, last int64) {
	first, last = math.MinInt64, math.MaxInt64
	switch least = math.Ceil(least); {
	case least >= -math.MinInt64:
		return 1, 0 // there is none
	case least > math.MinInt64:
		first = int64(least)
	}
	switch most = math.Floor(most); {
	case most < math.MinInt64:
		return 1, 0
	case most < -math.MinInt64:
		last = int64(most)
	}
	return first, last
}

func fitObject(s *jsonschema.Schema) fit {
	// Only `false`, which is the schema {"not": {}}, and absence are understood.
	closed := s.AdditionalProperties != nil
	if closed && !isFalse(s.AdditionalProperties) {
		return nil
	}
	properties := make(map[string]fit, len(s.Properties))
	for name, p := range s.Properties {
		f := fitOf(p)
		if f == nil {
			return nil
		}
		properties[name] = f
	}
	required := s.Required
	return func(v any) bool {
		object, ok := v.(map[string]any)
		if !ok {
			return false
		}
		for _, name := range required {
			if _, there := object[name]; !there {
				return false
			}
		}
		for name, member := range object {
			f := properties[name]
			if f == nil && closed || f != nil && !f(member) {
				return false
			}
		}
		return true
	}
}

func isFalse(s *jsonschema.Schema) bool {
	if s.Not == nil || !reflect.ValueOf(*s.Not).IsZero() {
		return false
	}
	rest := *s
	rest.Not = nil
	return reflect.ValueOf(rest).IsZero()
}

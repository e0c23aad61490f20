package catalog

import (
	"slices"

	"github.com/google/jsonschema-go/jsonschema"
)

// Unset takes the nulls out of a tool's arguments that stand for what is not set, and tells whether there were any: those of optional
// properties whose schema has no null.
func (c *Catalog) Unset(tool string, args map[string]any) bool {
	t := c.tools[tool]
	return t != nil && Unset(t.schema, args)
}

// Unset takes the nulls out of a value of a schema that stand for what is not set, and tells whether there were any.
func Unset(s *jsonschema.Schema, value any) (some bool) {
	if s == nil {
		return false
	}
	switch value := value.(type) {
	case map[string]any:
		for name, v := range value {
			p := s.Properties[name]
			switch {
			case p == nil:
			case v != nil:
				some = Unset(p, v) || some
			case !slices.Contains(s.Required, name) && !hasNull(p):
				delete(value, name)
				some = true
			}
		}
	case []any:
		for _, v := range value {
			some = Unset(s.Items, v) || some
		}
	}
	return some
}

// hasNull tells whether a value of the schema may be null. Where other keywords than these decide, it may.
func hasNull(s *jsonschema.Schema) bool {
	switch {
	case s.Type != "":
		return s.Type == "null"
	case len(s.Types) > 0:
		return slices.Contains(s.Types, "null")
	case s.Enum != nil:
		return slices.Contains(s.Enum, nil)
	}
	return true
}

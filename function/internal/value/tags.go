package value

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/mcp"
)

// HeaderKeyword marks an argument that is mirrored into an HTTP header (SEP-2243).
const HeaderKeyword = "x-mcp-header"

// A tag is one that says more of a field than its type does.
type tag struct {
	name string
	// on is what it may stand on: JSON types, or "" for all. Those of a string, a number or a boolean stand for the elements of a list and the
	// values of a map, too.
	on  []string
	put func(s *jsonschema.Schema, text string, m *member) error
	// asserts tells whether a value may be in breach of it.
	asserts bool
}

var numeric = []string{"integer", "number"}

var tags = []tag{
	{"jsonschema", nil, func(s *jsonschema.Schema, text string, m *member) error {
		if notWords.MatchString(text) {
			return fmt.Errorf("it is the description; what it says more stands in tags of their own, such as minimum:\"1\"")
		}
		if m.tag.Get("description") != "" {
			return fmt.Errorf("description says the same: leave one out")
		}
		s.Description = text
		return nil
	}, false},
	{"description", nil, func(s *jsonschema.Schema, text string, _ *member) error { s.Description = text; return nil }, false},
	{"title", nil, func(s *jsonschema.Schema, text string, _ *member) error { s.Title = text; return nil }, false},
	{"header", nil, func(s *jsonschema.Schema, text string, _ *member) error {
		s.Extra = map[string]any{HeaderKeyword: text}
		return nil
	}, false},
	{"enum", []string{"string", "integer", "number", "boolean"}, func(s *jsonschema.Schema, text string, _ *member) (err error) {
		s.Enum, err = parsedList(s, text)
		return err
	}, true},
	{"minimum", numeric, number(func(s *jsonschema.Schema, v float64) { s.Minimum = &v }), true},
	{"maximum", numeric, number(func(s *jsonschema.Schema, v float64) { s.Maximum = &v }), true},
	{"exclusiveMinimum", numeric, number(func(s *jsonschema.Schema, v float64) { s.ExclusiveMinimum = &v }), true},
	{"exclusiveMaximum", numeric, number(func(s *jsonschema.Schema, v float64) { s.ExclusiveMaximum = &v }), true},
	{"multipleOf", numeric, func(s *jsonschema.Schema, text string, m *member) error {
		if err := number(func(s *jsonschema.Schema, v float64) { s.MultipleOf = &v })(s, text, m); err != nil || *s.MultipleOf > 0 {
			return err
		}
		return fmt.Errorf("it must be more than 0")
	}, true},
	{"minLength", []string{"string"}, func(s *jsonschema.Schema, text string, m *member) error {
		least := s.MinLength
		err := count(func(s *jsonschema.Schema, n *int) { s.MinLength = n })(s, text, m)
		if err == nil && least != nil && *s.MinLength < *least {
			return fmt.Errorf("the type needs %d", *least)
		}
		return err
	}, true},
	{"maxLength", []string{"string"}, count(func(s *jsonschema.Schema, n *int) { s.MaxLength = n }), true},
	{"pattern", []string{"string"}, func(s *jsonschema.Schema, text string, _ *member) error {
		if s.Pattern != "" {
			return fmt.Errorf("the type has a pattern of its own, %s", s.Pattern)
		}
		s.Pattern = text
		_, err := regexp.Compile(text)
		return err
	}, true},
	{"format", []string{"string"}, func(s *jsonschema.Schema, text string, _ *member) error {
		if s.Format != "" {
			return fmt.Errorf("the type has a format of its own, %s", s.Format)
		}
		s.Format = text
		return nil
	}, false},
	{"minItems", []string{"array"}, elementCount(func(s *jsonschema.Schema, n *int) { s.MinItems = n }), true},
	{"maxItems", []string{"array"}, elementCount(func(s *jsonschema.Schema, n *int) { s.MaxItems = n }), true},
	{"uniqueItems", []string{"array"}, func(s *jsonschema.Schema, text string, _ *member) (err error) {
		s.UniqueItems, err = strconv.ParseBool(text)
		return err
	}, true},
	{"examples", nil, func(s *jsonschema.Schema, text string, _ *member) (err error) {
		s.Examples, err = parsedList(s, text)
		return err
	}, false},
	{"default", nil, func(s *jsonschema.Schema, text string, m *member) error {
		v, err := parsed(s, text)
		if err != nil {
			return err
		}
		s.Default = []byte(plainJSON(v))
		m.standard = v
		return nil
	}, false},
}

// number is a tag whose text is a number that a double holds.
func number(put func(*jsonschema.Schema, float64)) func(*jsonschema.Schema, string, *member) error {
	return func(s *jsonschema.Schema, text string, _ *member) error {
		v, err := mcp.Decode([]byte(text))
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		f, ok := Double(v)
		if !ok {
			return fmt.Errorf("the number %s can't be held exactly: use one that a double holds", text)
		}
		least, most := s.Minimum, s.Maximum
		put(s, f)
		if least != nil && *least > *s.Minimum || most != nil && *most < *s.Maximum {
			return fmt.Errorf("the type has no such numbers")
		}
		return nil
	}
}

// count is a tag whose text is a number of characters or elements.
func count(put func(*jsonschema.Schema, *int)) func(*jsonschema.Schema, string, *member) error {
	return func(s *jsonschema.Schema, text string, _ *member) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a number of characters or elements", text)
		}
		put(s, &n)
		return nil
	}
}

// elementCount is [count] for what has no number of elements of its own.
func elementCount(put func(*jsonschema.Schema, *int)) func(*jsonschema.Schema, string, *member) error {
	return func(s *jsonschema.Schema, text string, m *member) error {
		if s.MaxItems != nil { // which has no tag before
			return fmt.Errorf("the type has a length of its own, %d", *s.MaxItems)
		}
		return count(put)(s, text, m)
	}
}

// notWords is what other packages have in the tag.
var notWords = regexp.MustCompile(`^([^ \t\n]*=|required$|-$)`)

// untaken are the keywords of JSON Schema that no tag says, which would be ignored.
var untaken = map[string]string{
	"const": "enum with one value", "minProperties": "", "maxProperties": "", "propertyNames": "", "additionalProperties": "", "minContains": "", "maxContains": "",
	"contentEncoding": "a []byte", "contentMediaType": "", "deprecated": "the description", "readOnly": "", "writeOnly": "", "nullable": "", "example": "examples",
	"required": "omitempty, omitzero, a pointer or a default for what is not required", "anyOf": "", "oneOf": "", "allOf": "",
}

// parsed reads a value in a tag: the text itself for a string, and else JSON.
func parsed(s *jsonschema.Schema, text string) (any, error) {
	var v any = text
	if s.Type != "string" {
		var err error
		if v, err = mcp.Decode([]byte(text)); err != nil {
			return nil, fmt.Errorf("%q is not JSON", text)
		}
	}
	return v, nil
}

// parsedList reads values with commas between them.
func parsedList(s *jsonschema.Schema, text string) (all []any, err error) {
	if s.Type == "array" || s.Type == "object" || s.Type == "" {
		v, err := parsed(s, text)
		return []any{v}, err
	}
	for one := range strings.SplitSeq(text, ",") {
		v, err := parsed(s, strings.TrimSpace(one))
		if err != nil {
			return nil, err
		}
		if _, isText := v.(string); !isText {
			if f, ok := Double(v); ok {
				v = f // as the library has numbers
			} else if _, isBool := v.(bool); !isBool {
				return nil, fmt.Errorf("the number %s can't be held exactly: use one that a double holds", one)
			}
		}
		all = append(all, v)
	}
	return all, nil
}

// Double is the double of a number, and whether it is the same.
func Double(v any) (float64, bool) {
	switch n := v.(type) {
	case int64:
		f := float64(n)
		return f, f < -math.MinInt64 && int64(f) == n
	case uint64:
		f := float64(n)
		return f, f < 1<<64 && uint64(f) == n
	case float64:
		return n, true
	}
	return 0, false
}

package value

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
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
	{"minLength", []string{"string"}, count(func(s *jsonschema.Schema, n *int) { s.MinLength = n }), true},
	{"maxLength", []string{"string"}, count(func(s *jsonschema.Schema, n *int) { s.MaxLength = n }), true},
	{"pattern", []string{"string"}, func(s *jsonschema.Schema, text string, _ *member) error {
		if s.Pattern != "" {
			return fmt.Errorf("the type has a pattern of its own, %s", s.Pattern)
		}
		s.Pattern = text
		_, err := regexp.Compile(text)
		return err
	}, true},
	{"format", []string{"string"}, func(s *jsonschema.Schema, text string, _ *member) error { s.Format = text; return nil }, false},
	{"minItems", []string{"array"}, count(func(s *jsonschema.Schema, n *int) { s.MinItems = n }), true},
	{"maxItems", []string{"array"}, count(func(s *jsonschema.Schema, n *int) { s.MaxItems = n }), true},
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
		f, ok := double(v)
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
		v, err := parsed(s, one)
		if err != nil {
			return nil, err
		}
		if _, isText := v.(string); !isText {
			if f, ok := double(v); ok {
				v = f // as the library has numbers
			} else if _, isBool := v.(bool); !isBool {
				return nil, fmt.Errorf("the number %s can't be held exactly: use one that a double holds", one)
			}
		}
		all = append(all, v)
	}
	return all, nil
}

// double is the double of a number, if it is the same.
func double(v any) (float64, bool) {
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

// annotated is the schema of a field: that of its type, with what its tags say.
func (d *describer) annotated(m *member, at place) (*jsonschema.Schema, error) {
	s := d.schema(m.node)
	for i := range tags {
		t := &tags[i]
		text, ok := m.tag.Lookup(t.name)
		if !ok {
			continue
		}
		on := s
		for t.on != nil && !slices.Contains(t.on, on.Type) { // of a list the elements, of a map the values
			switch {
			case on.Items != nil:
				on = on.Items
				continue
			case on.Type == "object" && on.AdditionalProperties != nil && on.Properties == nil:
				on = on.AdditionalProperties
				continue
			}
			return nil, fmt.Errorf("%v: the tag %s:%q stands on %s, and a field of type %v is %s", at, t.name, text, listOfKinds(t.on), m.of, kindOf(s))
		}
		if err := t.put(on, text, m); err != nil {
			return nil, fmt.Errorf("%v: the tag %s:%q: %w", at, t.name, text, err)
		}
	}
	if at.what == "" {
		return s, nil // which was looked at before
	}
	for _, name := range tagNames(m.tag) {
		for i := range tags {
			if right := tags[i].name; name != right && strings.EqualFold(name, right) {
				return nil, fmt.Errorf("%v: the tag %s is spelled %s", at, name, right)
			}
		}
	}
	return s, d.consistent(s, at)
}

// assertions is the rule of a field whose tags say more than its type does, of which what is encoded may be in breach, or nil.
func assertions(s *jsonschema.Schema, m *member) *rule {
	for i := range tags {
		if _, ok := m.tag.Lookup(tags[i].name); ok && tags[i].asserts {
			c := compiler{root: s, made: map[*jsonschema.Schema]*rule{}}
			return c.rule(s)
		}
	}
	return nil
}

func kindOf(s *jsonschema.Schema) string {
	if s.Type == "" {
		return "of any type"
	}
	return kinds[s.Type]
}

// consistent holds the default and the examples of a field against the rest of its schema.
func (d *describer) consistent(s *jsonschema.Schema, at place) error {
	if s.Default == nil && s.Examples == nil {
		return nil
	}
	rest := *s
	rest.Default, rest.Examples = nil, nil
	c, err := NewChecker(&rest)
	if err != nil {
		return fmt.Errorf("%v: a type that is a part of itself can have neither default nor examples", at)
	}
	held := slices.Clone(s.Examples)
	if s.Default != nil {
		v, err := mcp.Decode(s.Default)
		if err != nil {
			return fmt.Errorf("%v: %w", at, err)
		}
		held = append(held, v)
	}
	for _, v := range held {
		if err := c.Check(v); err != nil {
			return fmt.Errorf("%v: the default or an example, %s, does not fit: %w", at, shown(v), err)
		}
	}
	return nil
}

// tagNames are the keys of a struct tag, as package reflect reads them.
func tagNames(tag reflect.StructTag) (names []string) {
	for rest := string(tag); ; {
		rest = strings.TrimLeft(rest, " ")
		name, after, ok := strings.Cut(rest, `:"`)
		if !ok {
			return names
		}
		names = append(names, name)
		end := 0
		for end < len(after) && after[end] != '"' {
			if after[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(after) {
			return names
		}
		rest = after[end+1:]
	}
}

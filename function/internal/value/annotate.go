package value

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/mcp"
)

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
		for t.on != nil && !slices.Contains(t.on, on.Type) {
			if on = inner(on); on == nil {
				return nil, fmt.Errorf("%v: the tag %s:%q stands on %s, and a field of type %v is %s", at, t.name, text, listOfKinds(t.on), m.of, d.kindOf(s))
			}
		}
		if err := t.put(on, text, m); err != nil {
			return nil, fmt.Errorf("%v: the tag %s:%q: %w", at, t.name, text, err)
		}
	}
	if at.what == "" {
		return s, nil // which was looked at before
	}
	names, whole := tagNames(m.tag)
	if !whole {
		return nil, fmt.Errorf("%v: its tags, %s, are not name:\"value\" with blanks between", at, m.tag)
	}
	for j, name := range names {
		if slices.Contains(names[:j], name) {
			return nil, fmt.Errorf("%v: the tag %s stands there twice", at, name)
		}
		if instead, ok := untaken[name]; ok {
			if instead == "" {
				instead = []string{"InputSchema", "OutputSchema"}[d.use]
			}
			return nil, fmt.Errorf("%v: there is no tag %s: use %s", at, name, instead)
		}
		for i := range tags {
			if right := tags[i].name; name != right && strings.EqualFold(name, right) {
				return nil, fmt.Errorf("%v: the tag %s is spelled %s", at, name, right)
			}
		}
	}
	if err := d.consistent(m, s); err != nil {
		return nil, fmt.Errorf("%v: %w", at, err)
	}
	return s, nil
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

// inner is the schema of a list's elements or a map's values, for which a tag stands that can't stand for the whole.
func inner(s *jsonschema.Schema) *jsonschema.Schema {
	switch {
	case s.Items != nil:
		return s.Items
	case s.Type == "object" && s.Properties == nil:
		return s.AdditionalProperties
	}
	return nil
}

func (d *describer) kindOf(s *jsonschema.Schema) string {
	switch {
	case s.Ref != "":
		return "a part of itself"
	case s.Type == "":
		return "of any type"
	}
	return kinds[s.Type]
}

// consistent holds what the tags of a field say against its type and against each other: of what can't be there a caller would be told that
// it is his fault.
func (d *describer) consistent(m *member, s *jsonschema.Schema) error {
	n := m.node.pointee()
	if err := d.standing(n, s); err != nil {
		return err
	}
	for n := n; s != nil && n != nil; s, n = inner(s), n.elem {
		n = n.pointee()
		if what := nothing(s); what != "" {
			return fmt.Errorf("nothing fits its tags: %s", what)
		}
		if s.Enum == nil {
			continue
		}
		rest := *s
		rest.Enum, rest.Default, rest.Examples = nil, nil, nil
		if err := d.hold(n, &rest, "a value of the enum", s.Enum); err != nil {
			return err
		}
		for i := range s.Enum {
			if slices.Contains(s.Enum[:i], s.Enum[i]) {
				return fmt.Errorf("the enum has %s twice", shown(s.Enum[i]))
			}
		}
	}
	return nil
}

// standing holds the default and the examples of a field.
func (d *describer) standing(n *node, s *jsonschema.Schema) error {
	if s.Default == nil && s.Examples == nil {
		return nil
	}
	rest := *s
	rest.Default, rest.Examples = nil, nil
	held := slices.Clone(s.Examples)
	if s.Default != nil {
		v, err := mcp.Decode(s.Default)
		if err != nil {
			return err
		}
		held = append(held, v)
	}
	return d.hold(n, &rest, "the default or an example", held)
}

// hold holds values in tags against a schema, and against the type itself, which may know better.
func (d *describer) hold(n *node, s *jsonschema.Schema, what string, values []any) error {
	c, err := NewChecker(s)
	if err != nil {
		return errors.New("a type that is a part of itself can have neither default nor examples")
	}
	for _, v := range values {
		v, err := mcp.Decode([]byte(plainJSON(v))) // with numbers as they come
		if err == nil {
			err = c.Check(v)
		}
		if err == nil && d.use == In {
			err = n.decode(v, reflect.New(n.of).Elem()).err()
		}
		if err != nil {
			return fmt.Errorf("%s, %s, does not fit: %w", what, shown(v), err)
		}
	}
	return nil
}

// nothing says why no value fits a schema.
func nothing(s *jsonschema.Schema) string {
	least, most := math.Inf(-1), math.Inf(1)
	open := false // the bounds themselves are none
	for _, bound := range []struct {
		of        *float64
		exclusive bool
	}{{s.Minimum, false}, {s.ExclusiveMinimum, true}} {
		if bound.of == nil {
			continue
		}
		b := *bound.of
		if s.Type == "integer" {
			if b = math.Ceil(b); bound.exclusive && b == *bound.of {
				b++
			}
		}
		if b >= least {
			least, open = b, bound.exclusive && s.Type != "integer"
		}
	}
	for _, bound := range []struct {
		of        *float64
		exclusive bool
	}{{s.Maximum, false}, {s.ExclusiveMaximum, true}} {
		if bound.of == nil {
			continue
		}
		b := *bound.of
		if s.Type == "integer" {
			if b = math.Floor(b); bound.exclusive && b == *bound.of {
				b--
			}
		}
		if b <= most {
			most, open = b, open || bound.exclusive && s.Type != "integer"
		}
	}
	switch {
	case least > most || least == most && open:
		return "the least number is more than the most"
	case s.MinLength != nil && s.MaxLength != nil && *s.MinLength > *s.MaxLength:
		return "minLength is more than maxLength"
	case s.MinItems != nil && s.MaxItems != nil && *s.MinItems > *s.MaxItems:
		return "minItems is more than maxItems"
	}
	return ""
}

// tagNames are the keys of a struct tag, as package reflect reads them, and whether that is all of the tag.
func tagNames(tag reflect.StructTag) (names []string, whole bool) {
	for rest := string(tag); ; {
		if rest = strings.TrimLeft(rest, " "); rest == "" {
			return names, true
		}
		name, after, ok := strings.Cut(rest, `:"`)
		if !ok || name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == ':' || r == '"' || r == 0x7f }) {
			return names, false
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
			return names, false
		}
		rest = after[end+1:]
	}
}

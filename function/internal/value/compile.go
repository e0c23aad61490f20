package value

import (
	"fmt"
	"maps"
	"math/big"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/mcp"
)

type compiler struct {
	root    *jsonschema.Schema
	made    map[*jsonschema.Schema]*rule
	partial bool // there are keywords that rules do not know
	draft7  bool // a $ref hides what is beside it
	err     error
}

func (c *compiler) rule(s *jsonschema.Schema) *rule {
	if s == nil {
		return nil
	}
	if r, ok := c.made[s]; ok {
		return r
	}
	r := &rule{schema: s, types: s.Types}
	c.made[s] = r
	if s.Ref != "" && c.draft7 && c.target(s.Ref) != nil {
		r.schema, r.types, r.ref = &jsonschema.Schema{}, nil, c.rule(c.target(s.Ref))
		return r
	}
	if s != c.root && s.ID != "" || s.Ref != "" && c.target(s.Ref) == nil || s.DynamicRef != "" {
		c.partial, r.schema, r.types = true, &jsonschema.Schema{}, nil // which the library alone finds
		return r
	}
	if s.Type != "" {
		r.types = []string{s.Type}
	}
	r.pattern = c.compiled(s.Pattern)
	if s.MultipleOf != nil {
		r.multiple, _ = new(big.Rat).SetString(strconv.FormatFloat(*s.MultipleOf, 'g', -1, 64))
	}
	if len(s.Properties) > 0 {
		r.members = make(map[string]*rule, len(s.Properties))
		for name, p := range s.Properties {
			r.members[name] = c.rule(p)
		}
		r.names = slices.Sorted(maps.Keys(s.Properties))
		if len(s.PropertyOrder) == len(r.names) {
			r.names = s.PropertyOrder
		}
		r.folded = foldedNames(r.names)
		for _, name := range r.names {
			if s.Properties[name].Default != nil {
				r.standards = append(r.standards, name)
			}
		}
	}
	if isFalse(s.AdditionalProperties) {
		r.closed = true
	} else {
		r.others = c.rule(s.AdditionalProperties)
	}
	for _, name := range slices.Sorted(maps.Keys(s.PatternProperties)) {
		r.patterns = append(r.patterns, patterned{c.compiled(name), c.rule(s.PatternProperties[name])})
	}
	r.ofName, r.elements, r.not = c.rule(s.PropertyNames), c.rule(s.Items), c.rule(s.Not)
	r.all, r.any, r.one = c.rules(s.AllOf), c.rules(s.AnyOf), c.rules(s.OneOf)
	r.ref = c.rule(c.target(s.Ref))
	c.partial = c.partial || s.PrefixItems != nil || s.ItemsArray != nil || s.AdditionalItems != nil || s.Contains != nil || s.MinContains != nil ||
		s.MaxContains != nil || s.UnevaluatedItems != nil || s.UnevaluatedProperties != nil || s.DependentRequired != nil || s.DependentSchemas != nil ||
		s.DependencySchemas != nil || s.DependencyStrings != nil || s.If != nil
	if s.ItemsArray != nil || s.PrefixItems != nil {
		r.elements = nil // it is about what comes after these
	}
	return r
}

func (c *compiler) rules(all []*jsonschema.Schema) (out []*rule) {
	for _, s := range all {
		out = append(out, c.rule(s))
	}
	return out
}

// target is what a reference within the schema points to, or nil where only the library finds it.
func (c *compiler) target(ref string) *jsonschema.Schema {
	if ref == "#" {
		return c.root
	}
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	at, steps := c.root, strings.Split(path, "/")
	for i, step := range steps {
		text, err := url.PathUnescape(step)
		if err != nil {
			return nil
		}
		steps[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(text)
	}
	for len(steps) > 0 && at != nil && (at == c.root || at.ID == "") {
		at, steps = step(at, steps)
	}
	if at == nil || at != c.root && at.ID != "" {
		return nil
	}
	return at
}

// step goes one schema down on a path, and returns what is left of it; nil where there is none, or not for certain.
func step(s *jsonschema.Schema, steps []string) (*jsonschema.Schema, []string) {
	one := map[string]*jsonschema.Schema{
		"items": s.Items, "additionalProperties": s.AdditionalProperties, "not": s.Not, "if": s.If, "then": s.Then, "else": s.Else, "contains": s.Contains,
		"propertyNames": s.PropertyNames,
	}
	if to := one[steps[0]]; to != nil {
		return to, steps[1:]
	}
	if len(steps) < 2 {
		return nil, nil
	}
	named := map[string]map[string]*jsonschema.Schema{
		"$defs": s.Defs, "definitions": s.Definitions, "properties": s.Properties, "patternProperties": s.PatternProperties, "dependentSchemas": s.DependentSchemas,
	}
	if to := named[steps[0]][steps[1]]; to != nil {
		return to, steps[2:]
	}
	list := map[string][]*jsonschema.Schema{"allOf": s.AllOf, "anyOf": s.AnyOf, "oneOf": s.OneOf, "prefixItems": s.PrefixItems, "items": s.ItemsArray}[steps[0]]
	if i, err := strconv.Atoi(steps[1]); err == nil && i >= 0 && i < len(list) {
		return list[i], steps[2:]
	}
	return nil, nil
}

func (c *compiler) compiled(pattern string) *regexp.Regexp {
	if pattern == "" {
		return nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil && c.err == nil {
		c.err = fmt.Errorf("pattern: %w", err)
	}
	return re
}

// standard is the default, which the schema was found to admit.
func (r *rule) standard() any {
	v, err := mcp.Decode(r.schema.Default)
	if err != nil {
		return nil
	}
	return v
}

// isFalse tells whether a schema is false, which the library has as {"not": {}}.
func isFalse(s *jsonschema.Schema) bool {
	if s == nil || s.Not == nil {
		return false
	}
	text, err := s.MarshalJSON()
	return err == nil && string(text) == "false"
}

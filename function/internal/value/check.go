package value

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/mcp"
)

// A Checker holds values against a JSON Schema, of 2020-12 or draft-07. Numbers are compared as they are, not as doubles.
type Checker struct {
	rule *rule
	// rest knows every keyword; it is asked where the schema has one that rules do not know, or nil.
	rest *jsonschema.Resolved
}

// NewChecker prepares a schema. Its error is that of the schema.
func NewChecker(s *jsonschema.Schema) (*Checker, error) {
	if err := endless(s); err != nil {
		return nil, err
	}
	resolved, err := s.CloneSchemas().Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true})
	if err != nil {
		return nil, err
	}
	c := compiler{root: s, made: map[*jsonschema.Schema]*rule{}, draft7: strings.Contains(s.Schema, "draft-07")}
	out := &Checker{rule: c.rule(s)}
	if c.partial {
		out.rest = resolved
	}
	return out, c.err
}

// Check returns all that is wrong with a decoded value, as [Faults].
func (c *Checker) Check(v any) error {
	fs := c.rule.check(v, mostDepth)
	if fs == nil && c.rest != nil {
		if err := c.rest.Validate(v); err != nil {
			return faultf("it does not fit the schema by %s", placeOf(err))
		}
	}
	return fs.err()
}

// Spelled returns an error where a value, at whatever depth, has a name that is one of the schema's but for its case. It is for what is
// decoded without regard to that.
func (c *Checker) Spelled(v any) error {
	return misspelled(v, foldedNames(declared(c.rule.schema))).err()
}

// placeOf is where in a schema the library found a fault, and the keyword. Its words are about Go.
func placeOf(err error) string {
	at, keyword := "", err.Error()
	for {
		_, after, ok := strings.Cut(keyword, "validating ")
		if !ok {
			keyword, _, _ = strings.Cut(keyword, ":")
			return strings.TrimSpace(at + " " + keyword)
		}
		var place string
		if place, keyword, ok = strings.Cut(after, ": "); ok && place != "root" {
			at = place
		}
	}
}

const mostDepth = 500 // of schemas within schemas, which may be within themselves

// A rule is one schema, prepared.
type rule struct {
	schema   *jsonschema.Schema
	types    []string
	pattern  *regexp.Regexp
	multiple *big.Rat
	members  map[string]*rule
	// standards are the names of members that have a default.
	standards []string
	names     []string // of members, in order
	folded    map[string]string
	closed    bool // there are no others
	others    *rule
	patterns  []patterned
	ofName    *rule
	elements  *rule
	ref       *rule
	all, any  []*rule
	one       []*rule
	not       *rule
}

type patterned struct {
	name *regexp.Regexp
	rule *rule
}

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
	if s != c.root && s.ID != "" || s.Ref != "" && (c.draft7 || c.target(s.Ref) == nil) || s.DynamicRef != "" {
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
	if name, ok := strings.CutPrefix(ref, "#/$defs/"); ok {
		return c.root.Defs[name]
	}
	if name, ok := strings.CutPrefix(ref, "#/definitions/"); ok {
		return c.root.Definitions[name]
	}
	return nil
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

// check returns nil for what fits, without an allocation for the schemas that Go types yield.
func (r *rule) check(v any, depth int) (fs Faults) {
	if depth == 0 {
		return faultf("is nested too deeply for its schema")
	}
	s := r.schema
	if r.ref != nil {
		fs = r.ref.check(v, depth-1)
	}
	if len(r.types) > 0 && !slices.ContainsFunc(r.types, func(t string) bool { return isOf(t, v) }) {
		if s.Pattern == durationPattern {
			return append(fs, noDuration(v))
		}
		return append(fs, Fault{What: shown(v) + " is not " + listOfKinds(r.types)})
	}
	if s.Enum != nil && !slices.ContainsFunc(s.Enum, func(e any) bool { return equal(v, e) }) {
		return append(fs, Fault{What: shown(v) + " is not one of " + listed(s.Enum)})
	}
	if s.Const != nil && !equal(v, *s.Const) {
		return append(fs, Fault{What: shown(v) + " is not " + shown(*s.Const)})
	}
	switch v := v.(type) {
	case string:
		fs = append(fs, r.checkText(v)...)
	case int64, uint64, float64:
		fs = append(fs, r.checkNumber(v)...)
	case []any:
		fs = append(fs, r.checkList(v, depth)...)
	case map[string]any:
		fs = append(fs, r.checkObject(v, depth)...)
	}
	if r.all != nil || r.any != nil || r.one != nil || r.not != nil {
		fs = append(fs, r.checkAlternatives(v, depth)...)
	}
	return fs
}

func (r *rule) checkText(v string) (fs Faults) {
	s := r.schema
	if s.MinLength != nil || s.MaxLength != nil {
		n := utf8.RuneCountInString(v)
		switch {
		case s.MinLength != nil && n < *s.MinLength && n == 0:
			fs = append(fs, Fault{What: "is empty"})
		case s.MinLength != nil && n < *s.MinLength:
			fs = append(fs, Fault{What: fmt.Sprintf("%s has fewer than %d characters", shown(v), *s.MinLength)})
		case s.MaxLength != nil && n > *s.MaxLength:
			fs = append(fs, Fault{What: fmt.Sprintf("%s has more than %d characters", shown(v), *s.MaxLength)})
		}
	}
	switch {
	case r.pattern == nil || r.pattern.MatchString(v):
	case s.Pattern == durationPattern:
		fs = append(fs, noDuration(v))
	default:
		fs = append(fs, Fault{What: shown(v) + " does not match " + s.Pattern})
	}
	return fs
}

func noDuration(v any) Fault {
	return Fault{What: shown(v) + ` is not a duration: write one with its unit, such as "90s" or "1h30m"`}
}

func (r *rule) checkNumber(v any) (fs Faults) {
	s := r.schema
	bound := func(bound *float64, wrong func(sign int) bool, words string) {
		if bound != nil && wrong(compare(v, *bound)) {
			fs = append(fs, Fault{What: shown(v) + words + shown(*bound)})
		}
	}
	bound(s.Minimum, func(sign int) bool { return sign < 0 }, " is less than ")
	bound(s.Maximum, func(sign int) bool { return sign > 0 }, " is more than ")
	bound(s.ExclusiveMinimum, func(sign int) bool { return sign <= 0 }, " is not more than ")
	bound(s.ExclusiveMaximum, func(sign int) bool { return sign >= 0 }, " is not less than ")
	if r.multiple != nil && !isMultiple(v, r.multiple) {
		fs = append(fs, Fault{What: shown(v) + " is not a multiple of " + shown(*s.MultipleOf)})
	}
	return fs
}

// compare compares a number with a bound, exactly.
func compare(v any, bound float64) int {
	whole := math.Trunc(bound)
	sign := 0
	switch n := v.(type) {
	case float64:
		return cmp.Compare(n, bound)
	case int64:
		switch {
		case bound >= -math.MinInt64:
			return -1
		case bound < math.MinInt64:
			return 1
		}
		sign = cmp.Compare(n, int64(whole))
	case uint64:
		switch {
		case bound >= 1<<64:
			return -1
		case bound < 0:
			return 1
		}
		sign = cmp.Compare(n, uint64(whole))
	}
	return cmp.Or(sign, cmp.Compare(whole, bound))
}

func isMultiple(v any, of *big.Rat) bool {
	n, ok := new(big.Rat).SetString(shown(v))
	return ok && of.Sign() != 0 && n.Quo(n, of).IsInt()
}

func (r *rule) checkList(v []any, depth int) (fs Faults) {
	s := r.schema
	if s.MinItems != nil && len(v) < *s.MinItems {
		fs = append(fs, Fault{What: fmt.Sprintf("has %s, and needs %d", elements(len(v)), *s.MinItems)})
	}
	if s.MaxItems != nil && len(v) > *s.MaxItems {
		fs = append(fs, Fault{What: fmt.Sprintf("has %s, and at most %d are taken", elements(len(v)), *s.MaxItems)})
	}
	if r.elements != nil {
		for i, e := range v {
			if f := r.elements.check(e, depth-1); f != nil {
				fs = append(fs, f.in(indexed(i))...)
			}
		}
	}
	if s.UniqueItems {
		for i := range v {
			if j := slices.IndexFunc(v[:i], func(e any) bool { return equal(e, v[i]) }); j >= 0 {
				fs = append(fs, Fault{At: indexed(i), What: "is the same as " + indexed(j)})
			}
		}
	}
	return fs
}

func elements(n int) string {
	if n == 1 {
		return "1 element"
	}
	return strconv.Itoa(n) + " elements"
}

func (r *rule) checkObject(v map[string]any, depth int) (fs Faults) {
	s := r.schema
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			fs = append(fs, Fault{At: named(name), What: "missing"})
		}
	}
	if s.MinProperties != nil && len(v) < *s.MinProperties {
		fs = append(fs, Fault{What: fmt.Sprintf("has %d members, and needs %d", len(v), *s.MinProperties)})
	}
	if s.MaxProperties != nil && len(v) > *s.MaxProperties {
		fs = append(fs, Fault{What: fmt.Sprintf("has %d members, and at most %d are taken", len(v), *s.MaxProperties)})
	}
	met := 0
	for _, name := range r.names {
		if e, ok := v[name]; ok {
			met++
			if f := r.members[name].check(e, depth-1); f != nil {
				fs = append(fs, f.in(named(name))...)
			}
		}
	}
	if met == len(v) && r.ofName == nil && r.patterns == nil {
		return fs
	}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		if r.ofName != nil {
			if f := r.ofName.check(name, depth-1); f != nil {
				fs = append(fs, Fault{At: named(name), What: "is no name for a member: " + f.Error()})
			}
		}
		_, known := v[name], false
		if _, ok := r.members[name]; ok {
			known = true
		}
		for _, p := range r.patterns {
			if p.name != nil && p.name.MatchString(name) {
				known = true
				fs = append(fs, p.rule.check(v[name], depth-1).in(named(name))...)
			}
		}
		switch {
		case known:
		case r.closed:
			fs = append(fs, unknown(name, r.names, r.folded))
		case r.others != nil:
			fs = append(fs, r.others.check(v[name], depth-1).in(named(name))...)
		}
	}
	return fs
}

func (r *rule) checkAlternatives(v any, depth int) (fs Faults) {
	for _, one := range r.all {
		fs = append(fs, one.check(v, depth-1)...)
	}
	if r.any != nil {
		fs = append(fs, alternatives(r.any, v, depth, false)...)
	}
	if r.one != nil {
		fs = append(fs, alternatives(r.one, v, depth, true)...)
	}
	if r.not != nil && r.not.check(v, depth-1) == nil {
		fs = append(fs, Fault{What: shown(v) + " is what it must not be"})
	}
	return fs
}

// alternatives says of a value that fits none what is wrong by the one that it comes closest to.
func alternatives(all []*rule, v any, depth int, exactlyOne bool) Faults {
	var closest Faults
	fit := 0
	for _, one := range all {
		f := one.check(v, depth-1)
		if f == nil {
			fit++
		} else if closest == nil || len(f) < len(closest) {
			closest = f
		}
	}
	switch {
	case fit == 0 && len(all) == 1:
		return closest
	case fit == 0:
		return faultf("%s fits none of %d alternatives; the closest says %v", shown(v), len(all), closest)
	case exactlyOne && fit > 1:
		return faultf("%s fits %d alternatives, and must fit one", shown(v), fit)
	}
	return nil
}

// isOf tells whether a decoded value is of a type of JSON Schema.
func isOf(name string, v any) bool {
	switch v := v.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case int64, uint64:
		return name == "integer" || name == "number"
	case float64:
		return name == "number" || name == "integer" && v == math.Trunc(v)
	case []any:
		return name == "array"
	case map[string]any:
		return name == "object"
	}
	return false
}

// equal compares decoded values; numbers are equal whatever their type.
func equal(a, b any) bool {
	switch a := a.(type) {
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, equal)
	case int64, uint64, float64:
		switch b.(type) {
		case int64, uint64, float64:
			if a == b {
				return true
			}
			x, okX := new(big.Rat).SetString(shown(a))
			y, okY := new(big.Rat).SetString(shown(b))
			return okX && okY && x.Cmp(y) == 0
		}
		return false
	}
	return a == b
}

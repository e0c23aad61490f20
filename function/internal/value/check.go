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
)

// A Checker holds values against a JSON Schema, of 2020-12 or draft-07. Numbers are compared as they are, not as doubles.
type Checker struct {
	rule   *rule
	schema *jsonschema.Schema
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
	out := &Checker{rule: c.rule(s), schema: s}
	if c.partial {
		out.rest = resolved
	}
	return out, c.err
}

// Check returns all that is wrong with a decoded value, as [Faults].
func (c *Checker) Check(v any) error {
	var spent effort
	fs := c.rule.check(v, maxDepth, &spent)
	switch {
	case spent.deep:
		return faultf("is nested too deeply for its schema")
	case spent.alternatives > maxAlternatives:
		return faultf("takes too long to be held against its schema, which has alternatives within alternatives")
	}
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
	return misspelled(v, foldedNames(declared(c.schema))).err()
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

const maxDepth = 500 // of schemas within schemas, which may be within themselves

// effort is what a check has cost so far: alternatives within alternatives are tried a number of times that grows with each level.
type effort struct {
	within       int // alternatives that are being tried
	alternatives int // that were tried within others
	settled      int
	deep         bool // beyond maxDepth
}

// maxAlternatives is how many alternatives within others are tried for one value. Those beside each other are no more than the value has parts.
const maxAlternatives = 1 << 14

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

// check returns nil for what fits, without an allocation for the schemas that Go types yield.
func (r *rule) check(v any, depth int, spent *effort) (fs Faults) {
	if depth == 0 {
		spent.deep = true
		return faultf("is nested too deeply for its schema")
	}
	s := r.schema
	if r.ref != nil {
		fs = r.ref.check(v, depth-1, spent)
	}
	if len(r.types) > 0 && !slices.ContainsFunc(r.types, func(t string) bool { return isOf(t, v) }) {
		if isDuration(s) {
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
		fs = append(fs, r.checkList(v, depth, spent)...)
	case map[string]any:
		fs = append(fs, r.checkObject(v, depth, spent)...)
	}
	if r.all != nil || r.any != nil || r.one != nil || r.not != nil {
		fs = append(fs, r.checkAlternatives(v, depth, spent)...)
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
	case isDuration(s):
		fs = append(fs, noDuration(v))
	default:
		fs = append(fs, Fault{What: shown(v) + " does not match " + s.Pattern})
	}
	return fs
}

func isDuration(s *jsonschema.Schema) bool {
	return s.Pattern == durationPattern || s.Pattern == longDurationPattern
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

func (r *rule) checkList(v []any, depth int, spent *effort) (fs Faults) {
	s := r.schema
	if s.MinItems != nil && len(v) < *s.MinItems {
		fs = append(fs, Fault{What: fmt.Sprintf("has %s, and needs %d", elements(len(v)), *s.MinItems)})
	}
	if s.MaxItems != nil && len(v) > *s.MaxItems {
		fs = append(fs, Fault{What: fmt.Sprintf("has %s, and at most %d are taken", elements(len(v)), *s.MaxItems)})
	}
	if r.elements != nil {
		for i, e := range v {
			if f := r.elements.check(e, depth-1, spent); f != nil {
				if fs = append(fs, f.in(indexed(i))...); len(fs) >= maxFound {
					return fs
				}
			}
		}
	}
	if s.UniqueItems {
		first := make(map[string]int, len(v))
		for i, e := range v {
			text := plainJSON(e) // which is the same for what is equal: numbers are decoded alike, and names in order
			if j, ok := first[text]; ok {
				if fs = append(fs, Fault{At: indexed(i), What: "is the same as " + indexed(j)}); len(fs) >= maxFound {
					return fs
				}
				continue
			}
			first[text] = i
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

func (r *rule) checkObject(v map[string]any, depth int, spent *effort) (fs Faults) {
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
			if f := r.members[name].check(e, depth-1, spent); f != nil {
				fs = append(fs, f.in(named(name))...)
			}
		}
	}
	if met == len(v) && r.ofName == nil && r.patterns == nil {
		return fs
	}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		if len(fs) >= maxFound {
			return fs
		}
		if r.ofName != nil {
			if f := r.ofName.check(name, depth-1, spent); f != nil {
				fs = append(fs, Fault{At: named(name), What: "is no name for a member: " + f.Error()})
			}
		}
		_, known := r.members[name]
		for _, p := range r.patterns {
			if p.name != nil && p.name.MatchString(name) {
				known = true
				fs = append(fs, p.rule.check(v[name], depth-1, spent).in(named(name))...)
			}
		}
		switch {
		case known:
		case r.closed:
			fs = append(fs, unknown(name, r.names, r.folded))
		case r.others != nil:
			fs = append(fs, r.others.check(v[name], depth-1, spent).in(named(name))...)
		}
	}
	return fs
}

func (r *rule) checkAlternatives(v any, depth int, spent *effort) (fs Faults) {
	for _, one := range r.all {
		fs = append(fs, one.check(v, depth-1, spent)...)
	}
	if r.any != nil {
		fs = append(fs, alternatives(r.any, v, depth, spent, false)...)
	}
	if r.one != nil {
		fs = append(fs, alternatives(r.one, v, depth, spent, true)...)
	}
	if r.not != nil {
		spent.within++
		if r.not.check(v, depth-1, spent) == nil {
			fs = append(fs, Fault{What: shown(v) + " is what it must not be"})
		}
		spent.within--
	}
	return fs
}

// alternatives says of a value that fits none what is wrong by the one that it comes closest to.
func alternatives(all []*rule, v any, depth int, spent *effort, exactlyOne bool) Faults {
	if spent.within > 0 {
		spent.alternatives += len(all)
	}
	if spent.alternatives > maxAlternatives {
		return faultf("takes too long")
	}
	spent.within++
	defer func() { spent.within-- }()
	var closest Faults
	fit := 0
	for _, one := range all {
		f := one.check(v, depth-1, spent)
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
		return faultf("%s fits none of %d alternatives; the closest says %s", shown(v), len(all), cut(closest.Error(), 4*maxShown))
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
			if f, ok := b.(float64); ok {
				return compare(a, f) == 0
			}
			x, okX := new(big.Rat).SetString(shown(a))
			y, okY := new(big.Rat).SetString(shown(b))
			return okX && okY && x.Cmp(y) == 0
		}
		return false
	}
	return a == b
}

package openapi

import (
	"bytes"
	"encoding/json"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// merge adds what one schema of a conjunction says to what the others have said.
func (s *schema) merge(p part) {
	n := p.n
	s.mergeTypes(n)
	s.mergeBounds(n)
	s.mergeEnum(n)
	s.mergeMembers(p)
	if items := n.get("items"); items != nil {
		switch {
		case items.kind == list:
			s.note(items, "items that are unlike each other are not checked")
		case s.items == nil:
			s.items = s.in.conjunction("", part{n: items, within: p.within})
		default:
			s.items = s.in.conjunction("", append(slices.Clone(s.items.parts), part{n: items, within: p.within})...)
		}
	}
	if f := n.str("format"); f != "" && s.format == "" {
		s.format = f
	}
	if f := n.str("format"); f == "binary" || n.str("type") == "file" || n.str("contentMediaType") != "" && n.get("contentEncoding") == nil && n.str("contentMediaType") != "application/json" {
		s.binary = true
	}
	if text := n.str("pattern"); text != "" && text != s.pattern {
		if s.pattern != "" {
			s.note(n, "the pattern %s is not checked: another holds too", text)
		} else {
			s.pattern = text
		}
	}
	s.unique = s.unique || n.is("uniqueItems")
	for _, key := range n.keys {
		if slices.Contains(unchecked, key) {
			s.note(n.get(key), "%s is not checked", key)
		}
	}
}

var unchecked = []string{"not", "if", "then", "else", "contains", "minContains", "maxContains", "prefixItems", "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas",
	"dependencies", "unevaluatedProperties", "unevaluatedItems", "additionalItems", "$dynamicRef", "$recursiveRef"}

// typeNames are those of JSON Schema, and others that documents have for them.
var typeNames = map[string]string{"string": "string", "number": "number", "integer": "integer", "boolean": "boolean", "array": "array", "object": "object", "null": "null",
	"file": "string", "int": "integer", "long": "integer", "float": "number", "double": "number", "bool": "boolean", "date": "string", "datetime": "string", "uuid": "string"}

func (s *schema) mergeTypes(n *node) {
	said := n.get("type")
	if said == nil {
		return
	}
	all := said.elements()
	if said.kind != list {
		all = []*node{said}
	}
	types := []string{}
	for _, t := range all {
		name := typeNames[t.text]
		if t.kind == null {
			name = "null"
		}
		if name == "" {
			if t.text != "any" {
				s.note(said, "the type %q is none that JSON Schema has, so that it is not checked", t.text)
			}
			return
		}
		types = append(types, name)
	}
	if len(types) == 0 {
		return
	}
	if n.is("nullable") || n.is("x-nullable") {
		types = append(types, "null")
	}
	slices.Sort(types)
	types = slices.Compact(types)
	if s.types == nil {
		s.types = types
		return
	}
	both := []string{}
	for _, t := range s.types {
		switch {
		case slices.Contains(types, t), t == "integer" && slices.Contains(types, "number"):
			both = append(both, t)
		case t == "number" && slices.Contains(types, "integer"):
			both = append(both, "integer")
		}
	}
	if s.types = both; len(both) == 0 {
		s.never = true
	}
}

// Bounds: the greater counts of those of the least, and the other way round.
var (
	leasts = []string{"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
	mosts  = []string{"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
)

func (s *schema) mergeBounds(n *node) {
	for _, key := range n.keys {
		least, most := slices.Contains(leasts, key), slices.Contains(mosts, key)
		v := n.get(key)
		if !least && !most && key != "multipleOf" || v.kind == boolean {
			continue
		}
		literal := v.text
		value, ok := new(big.Rat).SetString(literal)
		if (v.kind != number && v.kind != text) || !ok || len(literal) > 40 {
			s.note(v, "%s is no number, so that it is not checked", key)
			continue
		}
		to := key
		if !strings.HasSuffix(key, "imum") && key != "multipleOf" { // a count
			if !value.IsInt() || value.Sign() < 0 || value.Cmp(big.NewRat(1<<31-1, 1)) > 0 {
				continue
			}
			literal = value.Num().String()
		} else if f, exact := value.Float64(); !exact && value.IsInt() || f == 0 && key == "multipleOf" || f < 0 && key == "multipleOf" {
			s.note(v, "the %s of %s is not checked: a double can't hold it", key, literal)
			continue
		} else if v.kind == text {
			literal = strconv.FormatFloat(f, 'g', -1, 64)
		}
		if n.is("exclusive" + strings.ToUpper(key[:1]) + key[1:]) { // OpenAPI before 3.1
			to = "exclusive" + strings.ToUpper(key[:1]) + key[1:]
		}
		if old := s.bounds[to]; old != "" {
			before, _ := new(big.Rat).SetString(old)
			if sign := value.Cmp(before); least && sign <= 0 || most && sign >= 0 || key == "multipleOf" {
				continue
			}
		}
		if s.bounds == nil {
			s.bounds = map[string]string{}
		}
		s.bounds[to] = literal
	}
}

func (s *schema) mergeEnum(n *node) {
	values := n.get("enum").elements()
	if c := n.get("const"); c != nil {
		values = []*node{c}
	}
	if len(values) == 0 {
		return
	}
	of := []string{}
	for _, v := range values {
		text := s.literal(v, n)
		if text == "" {
			s.note(v, "the enum is not checked: it has a number that a double can't hold")
			return
		}
		if !slices.Contains(of, text) {
			of = append(of, text)
		}
	}
	if (n.is("nullable") || n.is("x-nullable")) && !slices.Contains(of, "null") {
		of = append(of, "null")
	}
	if s.enum != nil {
		of = slices.DeleteFunc(of, func(text string) bool { return !slices.Contains(s.enum, text) })
		s.never = s.never || len(of) == 0
	}
	s.enum = of
}

// literal is the JSON of a value of an enum. One that is written as another type than its schema has is taken for what was meant.
func (s *schema) literal(v, schema *node) string {
	said := typeNames[schema.str("type")]
	if v.kind == boolean || v.kind == number {
		if said == "string" {
			return quoted(v.text)
		}
	}
	if v.kind == text && (said == "integer" || said == "number" || said == "boolean") {
		if (said == "boolean") == (v.text == "true" || v.text == "false") && json.Valid([]byte(v.text)) {
			return v.text
		}
	}
	if v.kind == number {
		if r, ok := new(big.Rat).SetString(v.text); !ok || len(v.text) > 40 {
			return ""
		} else if f, exact := r.Float64(); !exact && r.IsInt() {
			_ = f
			return ""
		}
	}
	return v.json()
}

// json returns the JSON of a value of the document.
func (n *node) json() string {
	var b bytes.Buffer
	n.write(&b)
	return b.String()
}

func (n *node) write(b *bytes.Buffer) {
	switch n.kind {
	case null:
		b.WriteString("null")
	case text:
		b.WriteString(quoted(n.text))
	case boolean, number:
		b.WriteString(n.text)
	case list, object:
		brackets := "[]"
		if n.kind == object {
			brackets = "{}"
		}
		b.WriteByte(brackets[0])
		for i, kid := range n.kids {
			if i > 0 {
				b.WriteByte(',')
			}
			if n.kind == object {
				b.WriteString(quoted(n.keys[i]))
				b.WriteByte(':')
			}
			kid.write(b)
		}
		b.WriteByte(brackets[1])
	}
}

package value

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// root is the schema of the whole, with those of types that are parts of themselves beside it.
func (d *describer) root(n *node) *jsonschema.Schema {
	s := d.whole(n.pointee())
	for i := 0; i < len(d.inDefs); i++ { // which may meet others
		if s.Defs == nil {
			s.Defs = map[string]*jsonschema.Schema{}
		}
		s.Defs[d.defs[d.inDefs[i]]] = d.whole(d.inDefs[i])
	}
	return s
}

// schema is that of a type where it is used.
func (d *describer) schema(n *node) *jsonschema.Schema {
	if !n.loops {
		return d.whole(n)
	}
	name, ok := d.defs[n]
	if !ok {
		plain := defName(n.of.Name())
		name = plain
		for i := 2; slices.ContainsFunc(d.inDefs, func(n *node) bool { return d.defs[n] == name }); i++ {
			name = plain + strconv.Itoa(i)
		}
		d.defs[n], d.inDefs = name, append(d.inDefs, n)
	}
	return &jsonschema.Schema{Ref: "#/$defs/" + name}
}

var (
	packagePath = regexp.MustCompile(`[^\[\],]*/`)
	noName      = regexp.MustCompile(`[^\pL\pN_]+`)
)

// defName is the name of a type without what a reference can't hold, such as the packages of type arguments.
func defName(name string) string {
	return strings.Trim(noName.ReplaceAllString(packagePath.ReplaceAllString(name, ""), "_"), "_")
}

// What a time.Duration is written as: hours to nanoseconds, each at most once and in this order, so that no text that fits is too long for one.
// What goes out may be longer than what comes in.
const durationPattern = `^-?([0-9]{1,6}(\.[0-9]{1,9})?h)?([0-9]{1,7}(\.[0-9]{1,9})?m)?([0-9]{1,9}(\.[0-9]{1,9})?s)?([0-9]{1,12}(\.[0-9]{1,6})?ms)?` +
	`([0-9]{1,15}(\.[0-9]{1,3})?(us|µs))?([0-9]{1,18}ns)?$`

var longDurationPattern = strings.Replace(durationPattern, "{1,6}", "{1,7}", 1)

var (
	numberPattern = `^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`
	signedKeys    = `^(0|-?[1-9][0-9]*)$`
	unsignedKeys  = `^(0|[1-9][0-9]*)$`
)

func (d *describer) whole(n *node) *jsonschema.Schema {
	s := &jsonschema.Schema{}
	switch n.shape {
	case boolean:
		s.Type = "boolean"
	case signed:
		s.Type = "integer"
		if n.bits < 64 {
			s.Minimum, s.Maximum = new(-float64(int64(1)<<(n.bits-1))), new(float64(int64(1)<<(n.bits-1)-1))
		}
	case unsigned:
		s.Type, s.Minimum = "integer", new(0.0)
		if n.bits < 64 {
			s.Maximum = new(float64(int64(1)<<n.bits - 1))
		}
	case bigInt:
		s.Type = "integer"
	case float, digits:
		s.Type = "number"
	case text:
		s.Type = "string"
		if n.quoted != nil {
			switch n.quoted.pointee().shape {
			case boolean:
				s.Enum = []any{"true", "false"}
			case float, digits:
				s.Pattern = numberPattern
			case signed:
				s.Pattern = signedKeys
			case unsigned:
				s.Pattern = unsignedKeys
			}
		}
	case encoded:
		s.Type, s.ContentEncoding = "string", "base64"
	case textual:
		s.Type = "string"
	case link:
		s.Type, s.Format = "string", "uri-reference"
	case moment:
		s.Type, s.Format = "string", "date-time"
	case duration:
		s.Type, s.Pattern, s.MinLength = "string", durationPattern, new(2)
		if d.use == Out {
			s.Pattern = longDurationPattern
		}
		s.Description = "a duration such as 90s or 1h30m"
	case list:
		s.Type, s.Items = "array", d.schema(n.elem)
	case array:
		s.Type, s.Items, s.MinItems, s.MaxItems = "array", d.schema(n.elem), new(n.of.Len()), new(n.of.Len())
	case mapping:
		s.Type = "object"
		if n.elem.shape != anything {
			s.AdditionalProperties = d.schema(n.elem)
		}
		switch n.key.shape {
		case signed:
			s.PropertyNames = &jsonschema.Schema{Type: "string", Pattern: signedKeys}
		case unsigned:
			s.PropertyNames = &jsonschema.Schema{Type: "string", Pattern: unsignedKeys}
		}
	case pointer:
		return d.schema(n.elem)
	case object:
		s.Type, s.Properties, s.AdditionalProperties = "object", map[string]*jsonschema.Schema{}, &jsonschema.Schema{Not: &jsonschema.Schema{}}
		for i := range n.members {
			m := &n.members[i]
			p, _ := d.annotated(m, place{})
			s.Properties[m.name] = p
			s.PropertyOrder = append(s.PropertyOrder, m.name)
			if m.required {
				s.Required = append(s.Required, m.name)
			}
		}
	}
	return s
}

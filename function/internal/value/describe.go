package value

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// A shape is what a Go type is in JSON.
type shape int

const (
	boolean  shape = iota
	signed         // of bits bits
	unsigned       // of bits bits
	float          // of bits bits
	text
	encoded  // []byte, in base64
	list     // of elem
	array    // of elem, as long as the type says
	mapping  // of key to elem
	object   // of members
	pointer  // to elem
	anything // any
	raw      // json.RawMessage
	digits   // json.Number
	bigInt   // big.Int
	moment   // time.Time
	duration // time.Duration
	link     // url.URL
	textual  // by encoding.TextMarshaler and TextUnmarshaler
	own      // by json.Marshaler and Unmarshaler
)

// A node is a Go type, and what it is made of.
type node struct {
	of      reflect.Type
	shape   shape
	bits    int
	elem    *node
	key     *node
	members []member
	byName  map[string]int // of members
	folded  map[string]string
	quoted  *node // of a member with ,string: what is in the string
	loops   bool  // it is a part of itself
	home    *home
}

type member struct {
	field
	node     *node
	required bool
	standard any   // that stands for what is absent, or nil
	asserts  *rule // of what is encoded, where tags say more than the type does; else nil
}

// place is where in a type something is, for a fault.
type place struct {
	what string // the type
	path string // of the field, in Go's names
}

func (p place) field(name string) place {
	if p.path != "" {
		name = p.path + "." + name
	}
	return place{p.what, name}
}

func (p place) String() string {
	if p.path == "" {
		return "type " + p.what
	}
	return "field " + p.path
}

type describer struct {
	use         Use
	made        map[reflect.Type]*node
	open        []reflect.Type // that are being made
	defs        map[reflect.Type]string
	faults      []error // what can't be decoded or encoded
	undescribed []error // what has no schema, or a wrong tag
	home        *home
}

func (d *describer) fault(at place, format string, args ...any) {
	d.faults = append(d.faults, fmt.Errorf("%v: %s", at, fmt.Sprintf(format, args...)))
}

func (d *describer) undescribedf(at place, format string, args ...any) {
	d.undescribed = append(d.undescribed, fmt.Errorf("%v: %s", at, fmt.Sprintf(format, args...)))
}

var known = map[reflect.Type]shape{
	reflect.TypeFor[time.Time]():       moment,
	reflect.TypeFor[time.Duration]():   duration,
	reflect.TypeFor[json.RawMessage](): raw,
	reflect.TypeFor[json.Number]():     digits,
	reflect.TypeFor[url.URL]():         link,
	reflect.TypeFor[big.Int]():         bigInt,
}

var (
	toJSON   = reflect.TypeFor[json.Marshaler]()
	toText   = reflect.TypeFor[encoding.TextMarshaler]()
	fromJSON = reflect.TypeFor[json.Unmarshaler]()
	fromText = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// has tells whether a value of the type has the method that JSON is made by, or read.
func (d *describer) has(t, in, out reflect.Type) bool {
	if t.Kind() == reflect.Interface || t.Kind() == reflect.Pointer {
		return false
	}
	if d.use == In {
		return reflect.PointerTo(t).Implements(in)
	}
	return reflect.PointerTo(t).Implements(out)
}

func (d *describer) node(t reflect.Type, at place) *node {
	if n, ok := d.made[t]; ok {
		if i := slices.Index(d.open, t); i >= 0 { // only by a name can a type be a part of itself
			named := slices.IndexFunc(d.open[i:], func(t reflect.Type) bool { return t.Name() != "" })
			d.made[d.open[i+named]].loops = true
		}
		return n
	}
	n := &node{of: t, home: d.home}
	d.made[t] = n
	d.open = append(d.open, t)
	defer func() { d.open = d.open[:len(d.open)-1] }()
	special, isKnown := known[t]
	switch kind := t.Kind(); {
	case isKnown:
		n.shape = special
	case d.has(t, fromJSON, toJSON):
		n.shape = own
		if t.Kind() == reflect.Struct {
			var names []string
			for _, f := range fieldsOf(t) {
				if f.tagged { // others may have another name in what the type itself reads
					names = append(names, f.name)
				}
			}
			n.folded = foldedNames(names)
		}
		d.undescribedf(at, "%v %s, so that its schema can't be seen: say what it is with %s, or use a json.RawMessage", t,
			[]string{"decodes itself (UnmarshalJSON)", "encodes itself (MarshalJSON)"}[d.use], []string{"InputSchema", "OutputSchema"}[d.use])
	case d.has(t, fromText, toText):
		n.shape = textual
	case kind == reflect.Bool:
		n.shape = boolean
	case kind >= reflect.Int && kind <= reflect.Int64:
		n.shape, n.bits = signed, t.Bits()
	case kind >= reflect.Uint && kind <= reflect.Uintptr:
		n.shape, n.bits = unsigned, t.Bits()
	case kind == reflect.Float32 || kind == reflect.Float64:
		n.shape, n.bits = float, t.Bits()
	case kind == reflect.String:
		n.shape = text
	case kind == reflect.Slice && t.Elem().Kind() == reflect.Uint8 && !d.has(t.Elem(), fromJSON, toJSON) && !d.has(t.Elem(), fromText, toText):
		n.shape = encoded
	case kind == reflect.Slice:
		n.shape, n.elem = list, d.node(t.Elem(), at)
	case kind == reflect.Array:
		n.shape, n.elem = array, d.node(t.Elem(), at)
	case kind == reflect.Map:
		n.shape, n.elem, n.key = mapping, d.node(t.Elem(), at), d.key(t.Key(), at)
	case kind == reflect.Pointer:
		n.shape, n.elem = pointer, d.node(t.Elem(), at)
	case kind == reflect.Struct:
		n.shape = object
		d.members(n, at)
	case kind == reflect.Interface && (d.use == Out || t.NumMethod() == 0):
		n.shape = anything
	default:
		n.shape = anything
		d.fault(at, "%v is not a value of JSON: leave it out with json:\"-\"", t)
	}
	return n
}

// key is the type of a map's keys, which are strings in JSON.
func (d *describer) key(t reflect.Type, at place) *node {
	n := &node{of: t, home: d.home}
	switch kind := t.Kind(); {
	case kind == reflect.String && (d.use == Out || !d.has(t, fromText, toText)): // which encoding/json writes as it is
		n.shape = text
	case d.has(t, fromText, toText):
		n.shape = textual
	case kind >= reflect.Int && kind <= reflect.Int64:
		n.shape, n.bits = signed, t.Bits()
	case kind >= reflect.Uint && kind <= reflect.Uintptr:
		n.shape, n.bits = unsigned, t.Bits()
	default:
		d.fault(at, "the keys of a map are strings in JSON, which %v is not", t)
	}
	return n
}

func (d *describer) members(n *node, at place) {
	n.byName = map[string]int{}
	for i, f := range fieldsOf(n.of) {
		m := member{field: f, required: !f.omitEmpty && !f.omitZero && f.of.Kind() != reflect.Pointer}
		here := at.field(f.goName)
		for depth, of := 1, n.of; depth < len(f.index); depth++ { // nil pointers to what is embedded leave their fields out
			embedded := of.FieldByIndex(f.index[depth-1 : depth])
			if of = embedded.Type; of.Kind() == reflect.Pointer {
				of, m.required = of.Elem(), false
				if !embedded.IsExported() && d.use == In {
					d.fault(here, "it is reached through an embedded pointer to a type that is not exported, which can't be set")
				}
			}
		}
		m.node = d.node(f.of, here)
		if f.quoted {
			inner := m.node
			for inner.shape == pointer {
				inner = inner.elem
			}
			switch inner.shape {
			case boolean, signed, unsigned, float:
				m.node = &node{of: f.of, shape: text, quoted: m.node}
			case text:
				d.fault(here, "a string in a string (json:\",string\") is taken by no client: leave the option out")
			} // of others encoding/json ignores the option
		}
		n.byName[f.name] = i
		n.members = append(n.members, m)
	}
	n.folded = foldedNames(n.names())
	for i := range n.members {
		m := &n.members[i]
		s, err := d.annotated(m, at.field(m.goName))
		switch {
		case err != nil:
			d.undescribed = append(d.undescribed, err)
		case d.use == Out:
			m.asserts = assertions(s, m)
		case m.standard != nil:
			m.required = false
		}
	}
}

func (n *node) names() []string {
	names := make([]string, len(n.members))
	for i, m := range n.members {
		names[i] = m.name
	}
	return names
}

// root is the schema of the whole, with those of types that are parts of themselves beside it.
func (d *describer) root(n *node) *jsonschema.Schema {
	for n.shape == pointer {
		n = n.elem
	}
	s := d.whole(n)
	for done := 0; done < len(d.defs); {
		done = len(d.defs)
		for t, name := range d.defs {
			if s.Defs[name] == nil {
				if s.Defs == nil {
					s.Defs = map[string]*jsonschema.Schema{}
				}
				s.Defs[name] = d.whole(d.made[t])
			}
		}
	}
	return s
}

// schema is that of a type where it is used.
func (d *describer) schema(n *node) *jsonschema.Schema {
	if !n.loops {
		return d.whole(n)
	}
	name, ok := d.defs[n.of]
	if !ok {
		name = n.of.Name()
		for i := 2; slices.Contains(values(d.defs), name); i++ {
			name = n.of.Name() + strconv.Itoa(i)
		}
		d.defs[n.of] = name
	}
	return &jsonschema.Schema{Ref: "#/$defs/" + name}
}

func values(m map[reflect.Type]string) (out []string) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// What a time.Duration is written as: hours to nanoseconds, each at most once and in this order, so that no text that fits is too long for one.
const durationPattern = `^-?([0-9]{1,6}(\.[0-9]{1,9})?h)?([0-9]{1,7}(\.[0-9]{1,9})?m)?([0-9]{1,9}(\.[0-9]{1,9})?s)?([0-9]{1,12}(\.[0-9]{1,6})?ms)?` +
	`([0-9]{1,15}(\.[0-9]{1,3})?(us|µs))?([0-9]{1,18}ns)?$`

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
			inner := n.quoted
			for inner.shape == pointer {
				inner = inner.elem
			}
			switch inner.shape {
			case boolean:
				s.Enum = []any{"true", "false"}
			case float:
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

package value

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"reflect"
	"slices"
	"time"
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
	lent    bool  // its methods may be those of what is embedded, and nil
	nulls   bool  // nil is null, as encoding/json has it, where the schema admits anything
	loops   bool  // it is a part of itself
	home    *home
}

type member struct {
	field
	node     *node
	required bool
	standard any // that stands for what is absent, or nil
	zero     zeroing
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
	held        bool // it is in an any, and has no schema
	made        map[reflect.Type]*node
	all         []*node // as they were made
	open        []reflect.Type
	objects     []object1
	defs        map[*node]string
	inDefs      []*node // as they were met
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
		i := slices.Index(d.open, t)
		if i >= 0 && !slices.ContainsFunc(d.open[i:], func(t reflect.Type) bool { return t.Kind() != reflect.Pointer }) {
			d.fault(at, "%v is a pointer to itself, which has no value", t)
			return &node{of: t, shape: anything, home: d.home}
		}
		return n
	}
	n := &node{of: t, home: d.home, nulls: d.held}
	d.made[t] = n
	d.all = append(d.all, n)
	d.open = append(d.open, t)
	defer func() { d.open = d.open[:len(d.open)-1] }()
	special, isKnown := known[t]
	switch kind := t.Kind(); {
	case isKnown:
		n.shape = special
	case d.has(t, fromJSON, toJSON):
		n.shape = own
		d.lent(n, fromJSON, toJSON, at)
		if t.Kind() == reflect.Struct {
			var names []string
			fields, _ := fieldsOf(t)
			for _, f := range fields {
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
		d.lent(n, fromText, toText, at)
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
		if t == reflect.TypeFor[error]() {
			d.undescribedf(at, "an error has no JSON: answer its text, as a string")
		}
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

// object1 is a struct, and where it was met first.
type object1 struct {
	node *node
	at   place
}

func (d *describer) members(n *node, at place) {
	d.objects = append(d.objects, object1{n, at})
	n.byName = map[string]int{}
	fields, ignored := fieldsOf(n.of)
	for _, f := range ignored {
		d.undescribedf(at.field(f.goName), "%s", f.why)
	}
	for i, f := range fields {
		m := member{field: f, required: !f.omitEmpty && !f.omitZero && f.of.Kind() != reflect.Pointer, zero: zeroingOf(f.of)}
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
		inner := m.node.pointee()
		if f.hidden && (inner.shape != object || d.use == In && inner != m.node) {
			d.fault(here, "it is embedded, and its type is not exported: give the field a name")
		}
		if f.quoted {
			switch inner.shape {
			case boolean, signed, unsigned, float, digits:
				m.node = &node{of: f.of, shape: text, quoted: m.node}
			case text:
				if d.held {
					m.node = &node{of: f.of, shape: text, quoted: m.node}
				} else {
					d.fault(here, "a string in a string (json:\",string\") is taken by no client: leave the option out")
				}
			} // of others encoding/json ignores the option
		}
		n.byName[f.name] = i
		n.members = append(n.members, m)
	}
	n.folded = foldedNames(n.names())
	if len(fields) == 0 && len(ignored) == 0 && holdsSomething(n.of) {
		d.undescribedf(at, "%v has no exported fields, so that nothing of it is seen: leave it out with json:\"-\", or name what it holds", n.of)
	}
}

// holdsSomething tells of a struct whether it has fields other than those that are left out on purpose.
func holdsSomething(t reflect.Type) bool {
	for i := range t.NumField() {
		if f := t.Field(i); f.Name != "_" && f.Tag.Get("json") != "-" {
			return true
		}
	}
	return false
}

// annotate looks at the tags of a struct, once all types are known.
func (d *describer) annotate(n *node, at place) {
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

// pointee is what a pointer to a pointer to it is one to.
func (n *node) pointee() *node {
	for n.shape == pointer {
		n = n.elem
	}
	return n
}

// findLoops marks the types that are parts of themselves: only by a name can one be, and of each circle one is enough.
func (d *describer) findLoops() {
	for _, n := range d.all {
		if n.of.Name() != "" {
			n.loops = n.reaches(n, map[*node]bool{})
		}
	}
}

func (n *node) reaches(to *node, seen map[*node]bool) bool {
	next := func(n *node) bool {
		if n == to {
			return true
		}
		if n == nil || n.loops || seen[n] {
			return false
		}
		seen[n] = true
		return n.reaches(to, seen)
	}
	return next(n.elem) || slices.ContainsFunc(n.members, func(m member) bool { return next(m.node) })
}

// lent looks at a struct whose methods may be those of a pointer or an interface that is embedded: where that is nil, there are none.
func (d *describer) lent(n *node, in, out reflect.Type, at place) {
	if n.lent = lends(n.of, []reflect.Type{in, out}[d.use]); !n.lent || d.use == Out {
		return
	}
	err := n.called(func() error {
		if n.shape == own {
			return reflect.New(n.of).Interface().(json.Unmarshaler).UnmarshalJSON([]byte("null"))
		}
		return reflect.New(n.of).Interface().(encoding.TextUnmarshaler).UnmarshalText(nil)
	})
	if errors.Is(err, errNothing) {
		d.fault(at, "%v is read by what is embedded in it, which is nil: give the field that is embedded a name", n.of)
	}
}

// lends tells whether a struct has an embedded pointer or interface with the method.
func lends(t, method reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.Anonymous {
			continue
		}
		switch f.Type.Kind() {
		case reflect.Pointer, reflect.Interface:
			if f.Type.Implements(method) {
				return true
			}
		case reflect.Struct:
			if lends(f.Type, method) {
				return true
			}
		}
	}
	return false
}

func (n *node) names() []string {
	names := make([]string, len(n.members))
	for i, m := range n.members {
		names[i] = m.name
	}
	return names
}

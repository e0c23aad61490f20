package value

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/strictjson"
)

// Encode appends the JSON of a value of the type. The error says what of it has none, and where; it is the fault of who made the value.
func (t *Type) Encode(b []byte, v any) ([]byte, error) {
	rv := reflect.ValueOf(v)
	if !rv.IsValid() || rv.Type() != t.node.of {
		holder := reflect.New(t.node.of).Elem() // an interface holds what it is not
		if rv.IsValid() {
			holder.Set(rv)
		}
		rv = holder
	}
	b, fs := t.node.encode(b, rv, maxNested)
	return b, fs.err()
}

// maxNested is how deep a value may be, which may be within itself.
const maxNested = 1000

func (n *node) encode(b []byte, v reflect.Value, depth int) ([]byte, Faults) {
	if depth == 0 {
		return b, faultf("it is nested more than %d deep", maxNested)
	}
	switch n.shape {
	case boolean:
		return strconv.AppendBool(b, v.Bool()), nil
	case signed:
		return strconv.AppendInt(b, v.Int(), 10), nil
	case unsigned:
		return strconv.AppendUint(b, v.Uint(), 10), nil
	case float:
		return appendFloat(b, v.Float(), n.bits)
	case text:
		if n.quoted == nil {
			return strictjson.AppendString(b, v.String()), nil
		}
		inner, fs := n.quoted.encode(nil, v, depth-1)
		return strictjson.AppendString(b, string(inner)), fs
	case encoded:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, v.Bytes())
		return append(b, '"'), nil
	case list, array:
		return n.encodeList(b, v, depth)
	case mapping:
		return n.encodeMap(b, v, depth)
	case object:
		return n.encodeObject(b, v, depth)
	case pointer:
		if v.IsNil() && n.nulls {
			return append(b, "null"...), nil
		}
		if v.IsNil() {
			return b, faultf("it is nil")
		}
		return n.elem.encode(b, v.Elem(), depth-1)
	case anything:
		return n.encodeAny(b, v, depth)
	case raw:
		return appendRaw(b, v.Bytes())
	case digits:
		if v.String() == "" {
			return append(b, '0'), nil // as encoding/json
		}
		if !json.Valid([]byte(v.String())) || v.String()[0] == '"' || v.String()[0] > '9' {
			return b, faultf("%s is not a number", shown(v.String()))
		}
		return append(b, v.String()...), nil
	case moment:
		text, err := v.Interface().(time.Time).MarshalText()
		if err != nil {
			return b, faultf("%v", err)
		}
		return strictjson.AppendString(b, string(text)), nil
	case duration:
		return strictjson.AppendString(b, time.Duration(v.Int()).String()), nil
	case link:
		return strictjson.AppendString(b, reference(addressed(v).Interface().(*url.URL))), nil
	case textual:
		text, fs := n.marshalledText(v)
		if fs != nil {
			return b, fs
		}
		return strictjson.AppendString(b, text), nil
	}
	m, ok := v.Interface().(json.Marshaler) // own, bigInt
	if !ok {
		m = addressed(v).Interface().(json.Marshaler)
	}
	var made []byte
	if err := n.called(func() (err error) { made, err = m.MarshalJSON(); return err }); err != nil {
		return b, faultf("%v", err)
	}
	return appendRaw(b, made)
}

// reference is the text of a URL in the characters that RFC 3986 has: package url leaves some in queries and paths as they were parsed.
func reference(u *url.URL) string {
	text := u.String()
	tail := 0 // where the host ends, which has brackets of its own
	if _, after, ok := strings.Cut(text, "//"); ok && u.Host != "" {
		if tail = strings.IndexAny(after, "/?#"); tail < 0 {
			return text
		}
		tail += len(text) - len(after)
	}
	var b strings.Builder
	b.WriteString(text[:tail])
	for i := tail; i < len(text); i++ {
		c := text[i]
		broken := c == '%' && (i+2 >= len(text) || !isHex(text[i+1]) || !isHex(text[i+2]))
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>[]\\^`{|}", c) >= 0 || broken {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' }

// addressed is a pointer to a copy of what may have none.
func addressed(v reflect.Value) reflect.Value {
	if v.CanAddr() {
		return v.Addr()
	}
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	return p
}

func appendFloat(b []byte, f float64, size int) ([]byte, Faults) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return b, faultf("%v has no JSON", f)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, size), nil
}

// appendRaw appends JSON that is not ours, without what is not needed.
func appendRaw(b, text []byte) ([]byte, Faults) {
	if len(text) == 0 {
		return append(b, "null"...), nil
	}
	if v, err := mcp.Decode(text); err == nil {
		return append(b, plainJSON(v)...), nil
	}
	compact := bytes.NewBuffer(b) // with numbers that have more digits than ours
	if err := json.Compact(compact, text); err != nil {
		return b, faultf("it is not JSON: %v", err)
	}
	return compact.Bytes(), nil
}

// encodeAny encodes what an any holds by the type that it has there.
func (n *node) encodeAny(b []byte, v reflect.Value, depth int) ([]byte, Faults) {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if !v.IsValid() {
		return append(b, "null"...), nil
	}
	t, err := n.home.held(v.Type())
	if err != nil {
		return b, faultf("%v", err)
	}
	if t.node.shape == pointer && v.IsNil() {
		return append(b, "null"...), nil
	}
	return t.node.encode(b, v, depth-1)
}

// What is in a list, a map or a struct is encoded up to the first fault: a value that is within itself would else have one at each of
// uncounted ends.

func (n *node) encodeList(b []byte, v reflect.Value, depth int) ([]byte, Faults) {
	b = append(b, '[')
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		var fs Faults
		if b, fs = n.elem.encode(b, v.Index(i), depth-1); fs != nil {
			return b, fs.in(indexed(i))
		}
	}
	return append(b, ']'), nil
}

func (n *node) encodeMap(b []byte, v reflect.Value, depth int) ([]byte, Faults) {
	members := make(map[string]reflect.Value, v.Len())
	for i := v.MapRange(); i.Next(); {
		name, fs := n.key.keyText(i.Key())
		if fs != nil {
			return b, fs
		}
		if _, twice := members[name]; twice {
			return b, Faults{{named(name), "is the name of two members"}}
		}
		members[name] = i.Value()
	}
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strictjson.AppendString(b, name), ':')
		var fs Faults
		if b, fs = n.elem.encode(b, members[name], depth-1); fs != nil {
			return b, fs.in(named(name))
		}
	}
	return append(b, '}'), nil
}

func (n *node) keyText(v reflect.Value) (string, Faults) {
	switch n.shape {
	case signed:
		return strconv.FormatInt(v.Int(), 10), nil
	case unsigned:
		return strconv.FormatUint(v.Uint(), 10), nil
	case textual:
		return n.marshalledText(v)
	}
	return v.String(), nil
}

// marshalledText is what a value, or a pointer to it, makes of it.
func (n *node) marshalledText(v reflect.Value) (string, Faults) {
	m, ok := v.Interface().(encoding.TextMarshaler)
	if !ok {
		m = addressed(v).Interface().(encoding.TextMarshaler)
	}
	var text []byte
	if err := n.called(func() (err error) { text, err = m.MarshalText(); return err }); err != nil {
		return "", faultf("%v", err)
	}
	return string(text), nil
}

func (n *node) encodeObject(b []byte, v reflect.Value, depth int) ([]byte, Faults) {
	b = append(b, '{')
	first := true
	for i := range n.members {
		m := &n.members[i]
		at, ok := reached(v, m.index)
		if !ok || m.omitted(at) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(strictjson.AppendString(b, m.name), ':')
		begin := len(b)
		var fs Faults
		b, fs = m.node.encode(b, at, depth-1)
		if fs == nil && m.asserts != nil {
			if v, err := mcp.DecodeAnswer(b[begin:]); err == nil {
				fs = m.asserts.check(v, maxDepth, &effort{})
			}
		}
		if fs != nil {
			return b, fs.in(named(m.name))
		}
	}
	return append(b, '}'), nil
}

// reached is a field, unless it is embedded in what is nil.
func reached(v reflect.Value, index []int) (reflect.Value, bool) {
	for _, i := range index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return v, false
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return v, true
}

// omitted tells whether a member is left out: as its options say, and where it is a nil pointer.
func (m *member) omitted(v reflect.Value) bool {
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return true
	}
	if m.omitZero {
		switch {
		case m.zero == byValue && !(v.Kind() == reflect.Interface && v.IsNil()):
			return v.Interface().(zeroer).IsZero()
		case m.zero == byPointer:
			return addressed(v).Interface().(zeroer).IsZero()
		case v.IsZero():
			return true
		}
	}
	if !m.omitEmpty {
		return false
	}
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32,
		reflect.Uint64, reflect.Uintptr, reflect.Float32, reflect.Float64, reflect.Interface:
		return v.IsZero()
	}
	return false
}

// zeroing is how a value with omitzero is found to be zero.
type zeroing int

const (
	itself    zeroing = iota
	byValue           // by its method IsZero
	byPointer         // by that of a pointer to it
)

type zeroer interface{ IsZero() bool }

func zeroingOf(t reflect.Type) zeroing {
	switch method := reflect.TypeFor[zeroer](); {
	case t.Implements(method):
		return byValue
	case reflect.PointerTo(t).Implements(method):
		return byPointer
	}
	return itself
}

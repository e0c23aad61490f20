package value

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"math/big"
	"math/bits"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/strictjson"
)

// Decode puts a decoded JSON value into what into points to. Numbers are int64, uint64 and float64, as [mcp.Decode] has them. It returns all
// that does not fit, as [Faults], of values that the schema admits or of any others.
func (t *Type) Decode(v any, into any) error {
	return t.node.decode(v, reflect.ValueOf(into).Elem()).err()
}

func (n *node) decode(v any, into reflect.Value) Faults {
	if v == nil {
		return n.decodeNull(into)
	}
	switch n.shape {
	case pointer:
		to := reflect.New(n.elem.of)
		if fs := n.elem.decode(v, to.Elem()); fs != nil {
			return fs
		}
		into.Set(to)
		return nil
	case anything:
		into.Set(reflect.ValueOf(numbersKept(v)))
		return nil
	case raw:
		into.SetBytes([]byte(plainJSON(v)))
		return n.spelled(v)
	case own:
		return n.decodeOwn(v, into)
	case boolean:
		b, ok := v.(bool)
		if !ok {
			return faultf("%s is not true or false", shown(v))
		}
		into.SetBool(b)
		return nil
	case signed, unsigned, float, digits, bigInt:
		return n.decodeNumber(v, into)
	case list, array:
		return n.decodeList(v, into)
	case mapping:
		return n.decodeMap(v, into)
	case object:
		return n.decodeObject(v, into)
	}
	text, ok := v.(string)
	if !ok {
		if n.shape == duration {
			return Faults{noDuration(v)}
		}
		return faultf("%s is not a string", shown(v))
	}
	return n.decodeText(text, into)
}

// decodeNull leaves what has no null as it is, as encoding/json does.
func (n *node) decodeNull(into reflect.Value) Faults {
	switch n.shape {
	case raw:
		into.SetBytes([]byte("null"))
	case own:
		return n.decodeOwn(nil, into)
	default:
		if into.CanSet() { // or it is embedded, and its type not exported
			into.SetZero()
		}
	}
	return nil
}

var errNothing = errors.New("what is embedded in it, and has the method for it, is nil")

// called calls a method of a type, which may be that of a nil that is embedded.
func (n *node) called(method func() error) (err error) {
	if n.lent {
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(runtime.Error); !ok {
					panic(r)
				}
				err = errNothing
			}
		}()
	}
	return method()
}

func (n *node) decodeText(v string, into reflect.Value) Faults {
	switch n.shape {
	case text:
		if n.quoted != nil {
			inner, err := mcp.Decode([]byte(v))
			if err != nil {
				return faultf("%s is not %s in a string", shown(v), kindOfNode(n.quoted))
			}
			return n.quoted.decode(inner, into)
		}
		into.SetString(v)
	case encoded:
		b, err := base64.StdEncoding.DecodeString(v)
		if err != nil {
			return faultf("%s is not base64: %v", shown(v), err)
		}
		into.SetBytes(b)
	case moment:
		t, err := parseTime(v)
		if err != nil {
			return faultf("%s is not a date and time of RFC 3339, such as 2026-11-24T15:04:05Z", shown(v))
		}
		into.Set(reflect.ValueOf(t))
	case duration:
		d, err := time.ParseDuration(v)
		if err != nil {
			return Faults{noDuration(v)}
		}
		into.SetInt(int64(d))
	case link:
		u, err := url.Parse(v)
		if err != nil {
			return faultf("%s is not a URL", shown(v))
		}
		into.Set(reflect.ValueOf(*u))
	case textual:
		if err := n.called(func() error { return into.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(v)) }); err != nil {
			return faultf("%s is refused: %v", shown(v), err)
		}
	}
	return nil
}

// parseTime reads a date-time of RFC 3339, whose letters may be small and whose minute may have a leap second.
func parseTime(v string) (time.Time, error) {
	upper := strings.ToUpper(v)
	var leap time.Duration
	if len(upper) > 19 && upper[17:19] == "60" {
		upper, leap = upper[:17]+"59"+upper[19:], time.Second
	}
	var t time.Time
	err := t.UnmarshalText([]byte(upper))
	return t.Add(leap), err
}

func kindOfNode(n *node) string {
	for n.shape == pointer {
		n = n.elem
	}
	switch n.shape {
	case boolean:
		return kinds["boolean"]
	case float:
		return kinds["number"]
	}
	return kinds["integer"]
}

func (n *node) decodeNumber(v any, into reflect.Value) Faults {
	switch n.shape {
	case digits:
		switch v.(type) {
		case int64, uint64, float64:
			into.SetString(shown(v))
			return nil
		}
		return faultf("%s is not a number", shown(v))
	case float:
		return n.decodeFloat(v, into)
	}
	if f, ok := v.(float64); ok && f == math.Trunc(f) && n.shape == bigInt {
		r, _ := new(big.Rat).SetString(shown(f)) // as it was written, of which the double is but the nearest
		i := r.Num()
		into.Set(reflect.ValueOf(i).Elem())
		return nil
	}
	switch i := v.(type) {
	case int64:
		switch n.shape {
		case bigInt:
			into.Set(reflect.ValueOf(big.NewInt(i)).Elem())
		case signed:
			if into.OverflowInt(i) {
				return n.outside(v)
			}
			into.SetInt(i)
		default:
			if i < 0 {
				return faultf("%d is less than 0", i)
			}
			if into.OverflowUint(uint64(i)) {
				return n.outside(v)
			}
			into.SetUint(uint64(i))
		}
		return nil
	case uint64:
		switch {
		case n.shape == bigInt:
			into.Set(reflect.ValueOf(new(big.Int).SetUint64(i)).Elem())
		case n.shape == signed || into.OverflowUint(i):
			return n.outside(v)
		default:
			into.SetUint(i)
		}
		return nil
	case float64:
		if i == math.Trunc(i) {
			return n.outside(v)
		}
	}
	return faultf("%s is not a whole number", shown(v))
}

func (n *node) outside(v any) Faults { return faultf("%s does not fit into %d bits", shown(v), n.bits) }

// decodeFloat refuses a whole number of which a float has but a neighbour: rules saw the number itself.
func (n *node) decodeFloat(v any, into reflect.Value) Faults {
	size := 53
	if n.bits == 32 {
		size = 24
	}
	switch f := v.(type) {
	case int64:
		if !exact(uint64(max(f, -f)), size) {
			return inexact(v)
		}
		into.SetFloat(float64(f))
	case uint64:
		if !exact(f, size) {
			return inexact(v)
		}
		into.SetFloat(float64(f))
	case float64:
		// Of a fraction the nearest number is held, as long as it is one.
		if held := float64(float32(f)); n.bits == 32 && held != f && held == math.Trunc(held) {
			return inexact(v)
		}
		into.SetFloat(f)
	default:
		return faultf("%s is not a number", shown(v))
	}
	return nil
}

func inexact(v any) Faults { return faultf("the number %s can't be held exactly", shown(v)) }

// exact tells whether a float of so many bits holds a whole number.
func exact(n uint64, size int) bool { return bits.Len64(n)-bits.TrailingZeros64(n) <= size }

func (n *node) decodeList(v any, into reflect.Value) (fs Faults) {
	all, ok := v.([]any)
	if !ok {
		return faultf("%s is not a list", shown(v))
	}
	if n.shape == list {
		into.Set(reflect.MakeSlice(n.of, len(all), len(all)))
	} else if into.SetZero(); len(all) > into.Len() {
		return faultf("has %s, and at most %d are taken", elements(len(all)), into.Len())
	}
	for i, e := range all {
		if f := n.elem.decode(e, into.Index(i)); f != nil {
			if fs = append(fs, f.in(indexed(i))...); len(fs) >= maxFound {
				return fs
			}
		}
	}
	return fs
}

func (n *node) decodeMap(v any, into reflect.Value) (fs Faults) {
	all, ok := v.(map[string]any)
	if !ok {
		return faultf("%s is not an object", shown(v))
	}
	into.Set(reflect.MakeMapWithSize(n.of, len(all)))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		key, one := reflect.New(n.of.Key()).Elem(), reflect.New(n.of.Elem()).Elem()
		f := n.key.decodeKey(name, key)
		if f = append(f, n.elem.decode(all[name], one)...); f != nil {
			if fs = append(fs, f.in(named(name))...); len(fs) >= maxFound {
				return fs
			}
			continue
		}
		if into.MapIndex(key).IsValid() {
			fs = append(fs, Fault{named(name), "is the same key as another"})
		}
		into.SetMapIndex(key, one)
	}
	return fs
}

func (n *node) decodeKey(name string, into reflect.Value) Faults {
	switch n.shape {
	case signed, unsigned:
		if !plainNumber(name) {
			return faultf("the name is not a whole number")
		}
		v, err := mcp.Decode([]byte(name))
		if err != nil {
			return faultf("the name does not fit into %d bits", n.bits)
		}
		return n.decodeNumber(v, into)
	}
	return n.decodeText(name, into)
}

// plainNumber tells whether no other text is the same number.
func plainNumber(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || digits[0] == '0' && text != "0" {
		return false
	}
	return strings.Trim(digits, "0123456789") == ""
}

func (n *node) decodeObject(v any, into reflect.Value) (fs Faults) {
	all, ok := v.(map[string]any)
	if !ok {
		return faultf("%s is not an object", shown(v))
	}
	met := 0
	for i := range n.members {
		m := &n.members[i]
		e, ok := all[m.name]
		if !ok {
			continue
		}
		met++
		at := into
		for _, i := range m.index {
			if at.Kind() == reflect.Pointer {
				if at.IsNil() {
					at.Set(reflect.New(at.Type().Elem()))
				}
				at = at.Elem()
			}
			at = at.Field(i)
		}
		if f := m.node.decode(e, at); f != nil {
			fs = append(fs, f.in(named(m.name))...)
		}
	}
	if met == len(all) {
		return fs
	}
	for _, name := range slices.Sorted(maps.Keys(all)) { // the schema takes others
		if _, ok := n.byName[name]; !ok && n.folded[strictjson.Fold(name)] != "" {
			fs = append(fs, unknown(name, nil, n.folded))
		}
	}
	return fs
}

// decodeOwn lets a type read by itself.
func (n *node) decodeOwn(v any, into reflect.Value) Faults {
	if fs := n.spelled(v); fs != nil {
		return fs
	}
	if err := n.called(func() error { return into.Addr().Interface().(json.Unmarshaler).UnmarshalJSON([]byte(plainJSON(v))) }); err != nil {
		return faultf("%s is refused: %v", shown(v), err)
	}
	return nil
}

// spelled looks at names in what reads them by itself, which can't be seen, and is taken to be without regard to case: what is spelled like a
// member that the schema knows but for that is refused, since rules saw another name.
func (n *node) spelled(v any) Faults {
	if fs := misspelled(v, n.folded); fs != nil {
		return fs
	}
	return misspelled(v, n.home.declared)
}

// misspelled looks for names, at any depth, that are one of those known but for their case.
func misspelled(v any, folded map[string]string) (fs Faults) {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if right := folded[strictjson.Fold(name)]; right != "" && right != name {
				fs = append(fs, unknown(name, nil, folded))
			}
			fs = append(fs, misspelled(v[name], folded).in(named(name))...)
		}
	case []any:
		for i, e := range v {
			fs = append(fs, misspelled(e, folded).in(indexed(i))...)
		}
	}
	return fs
}

// numbersKept is a value with its numbers as texts, which an any keeps whole.
func numbersKept(v any) any {
	switch v := v.(type) {
	case int64:
		return json.Number(strconv.FormatInt(v, 10))
	case uint64:
		return json.Number(strconv.FormatUint(v, 10))
	case float64:
		return json.Number(shown(v))
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = numbersKept(e)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, e := range v {
			out[name] = numbersKept(e)
		}
		return out
	}
	return v
}

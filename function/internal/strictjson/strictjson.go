// Package strictjson decodes JSON that decides who may do what, so that every reader of a text reads the same. encoding/json takes a
// member whatever the case of its name, and the last of those that are given twice: who checks "tenant" and who acts on "TENANT" would
// see two tenants. Here names are spelled as they are, nothing is given twice, and nothing follows the value.
package strictjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Unknown says what is done with members that the struct has no field for.
type Unknown int

// The choices.
const (
	Refuse Unknown = iota
	Skip           // for what others define and may come to extend
)

// Unmarshal decodes an object of JSON into the struct that into points to. Of the struct's fields each must be named by a tag. The
// error lists every fault on a line of its own, after where it is: a path such as limits.perSecond, or the word for the whole.
func Unmarshal(text []byte, whole string, into any, unknown Unknown) error {
	d := decoder{whole: whole, unknown: unknown}
	if value := d.value(text); value != nil {
		d.object(value, reflect.ValueOf(into).Elem(), "")
	}
	return errors.Join(d.faults...)
}

type decoder struct {
	whole   string
	unknown Unknown
	faults  []error
}

func (d *decoder) fault(at, format string, args ...any) {
	if at == "" {
		at = d.whole
	}
	d.faults = append(d.faults, fmt.Errorf("%s: %w", at, fmt.Errorf(format, args...)))
}

// value returns the one value of the text, or nil. What is in it is JSON, so that what reads it later does not ask again.
func (d *decoder) value(text []byte) json.RawMessage {
	if !utf8.Valid(text) {
		d.fault("", "is not JSON: it is not in UTF-8")
		return nil
	}
	values := json.NewDecoder(bytes.NewReader(text))
	var value json.RawMessage
	err := values.Decode(&value)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		d.fault("", "is not JSON at line %d: %v", 1+bytes.Count(text[:syntax.Offset], []byte("\n")), syntax)
		return nil
	case err != nil:
		d.fault("", "is not JSON: it ends too early")
		return nil
	}
	if _, err := values.Token(); err != io.EOF {
		line := 1 + bytes.Count(text[:values.InputOffset()], []byte("\n"))
		d.fault("", "there is more after the JSON object, from line %d on", line)
		return nil
	}
	return value
}

// any decodes a value of any kind.
func (d *decoder) any(text json.RawMessage, into reflect.Value, at string) {
	switch {
	case decodesItself(into.Type()):
	case string(text) == "null":
		return
	case into.Kind() == reflect.Struct:
		d.object(text, into, at)
		return
	case into.Kind() == reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.any(text, into.Elem(), at)
		return
	case into.Kind() == reflect.Slice && into.Type().Elem().Kind() != reflect.Uint8 && text[0] == '[':
		d.list(text, into, at)
		return
	}
	if name, twice := repeated(json.NewDecoder(bytes.NewReader(text))); twice {
		d.fault(join(at, name), "is given twice")
	} else if err := json.Unmarshal(text, into.Addr().Interface()); err != nil && into.Type() == reflect.TypeFor[time.Time]() {
		d.fault(at, "%.40s is not a time such as 2026-11-25T12:00:00Z", text)
	} else if err != nil {
		d.fault(at, "%s", mismatch(err))
	}
}

func (d *decoder) list(text json.RawMessage, into reflect.Value, at string) {
	into.Set(reflect.MakeSlice(into.Type(), 0, 0))
	values := json.NewDecoder(bytes.NewReader(text))
	values.Token() // the bracket
	for i := 0; values.More(); i++ {
		var value json.RawMessage
		if values.Decode(&value) != nil {
			return // it was JSON as a whole
		}
		into.Set(reflect.Append(into, reflect.Zero(into.Type().Elem())))
		d.any(value, into.Index(i), fmt.Sprintf("%s[%d]", at, i))
	}
}

func (d *decoder) object(text json.RawMessage, into reflect.Value, at string) {
	if text[0] != '{' {
		d.fault(at, "is not a JSON object")
		return
	}
	fields, spelled := fieldsOf(into)
	seen := map[string]bool{} // without regard to case
	values := json.NewDecoder(bytes.NewReader(text))
	values.Token() // the brace
	for values.More() {
		t, err := values.Token()
		name, _ := t.(string)
		var value json.RawMessage
		if err != nil || values.Decode(&value) != nil {
			return // it was JSON as a whole
		}
		field, known := fields[name]
		right := spelled[Fold(name)]
		switch {
		case !known && right != "":
			d.fault(join(at, name), "is not known: it is spelled %s", right)
			continue
		case !known && d.unknown == Refuse:
			d.fault(join(at, name), "is not known")
			continue
		case seen[Fold(name)]:
			d.fault(join(at, name), "is given twice")
		case known:
			d.any(value, field, join(at, name))
		}
		seen[Fold(name)] = true
	}
}

// fieldsOf returns the fields of a struct by their names, and the names by what they are without regard to case.
func fieldsOf(of reflect.Value) (fields map[string]reflect.Value, spelled map[string]string) {
	fields, spelled = map[string]reflect.Value{}, map[string]string{}
	for i := range of.NumField() {
		f := of.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
		case name == "" || f.Anonymous:
			panic(fmt.Sprintf("strictjson: the field %s of %s is not named by a tag", f.Name, of.Type()))
		default:
			fields[name], spelled[Fold(name)] = of.Field(i), name
		}
	}
	return fields, spelled
}

var (
	fromJSON = reflect.TypeFor[json.Unmarshaler]()
	fromText = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return t.Kind() != reflect.Pointer && (p.Implements(fromJSON) || p.Implements(fromText))
}

// repeated looks for a name that an object of the next value has twice. What such values are decoded into takes names as they are.
func repeated(values *json.Decoder) (name string, twice bool) {
	values.UseNumber() // whatever its size
	t, err := values.Token()
	if err != nil {
		return "", false
	}
	switch t {
	case json.Delim('{'):
		seen := map[string]bool{}
		for values.More() {
			t, err := values.Token()
			name, _ := t.(string)
			switch {
			case err != nil:
				return "", false
			case seen[name]:
				return name, true
			}
			seen[name] = true
			if name, twice := repeated(values); twice {
				return name, true
			}
		}
		values.Token()
	case json.Delim('['):
		for values.More() {
			if name, twice := repeated(values); twice {
				return name, true
			}
		}
		values.Token()
	}
	return "", false
}

// Fold takes the case from a name as encoding/json compares names: of all letters that fold into each other the first.
func Fold(name string) string {
	return strings.Map(func(r rune) rune {
		for {
			next := unicode.SimpleFold(r)
			if next <= r {
				return next
			}
			r = next
		}
	}, name)
}

// join writes the path of a member. A name that a stranger chose is cut, and quoted where it can't be shown.
func join(at, name string) string {
	shown := name
	if len(shown) > 40 {
		shown = strings.ToValidUTF8(shown[:40], "") + "…"
	}
	if quoted := strconv.Quote(shown); shown == "" || quoted != `"`+shown+`"` {
		shown = quoted
	}
	return strings.TrimPrefix(at+"."+shown, ".")
}

func mismatch(err error) string {
	var kind *json.UnmarshalTypeError
	if !errors.As(err, &kind) {
		return err.Error()
	}
	want := kind.Type.Kind().String()
	switch kind.Type.Kind() {
	case reflect.Slice:
		want = "list"
	case reflect.Float64, reflect.Int64:
		want = "number"
	case reflect.Bool:
		want = "true or false"
	}
	return "is a JSON " + kind.Value + ", not a " + want
}

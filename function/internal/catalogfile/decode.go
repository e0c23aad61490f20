package catalogfile

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// A Fault is something wrong at a line of the catalog file, or of a document that it names.
type Fault struct {
	File string // "" for the catalog file
	Line int
	Text string
}

func (f *Fault) Error() string {
	if f.File == "" {
		return fmt.Sprintf("line %d: %s", f.Line, f.Text)
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text)
}

// Bounds of a file, which one that is meant does not reach.
const (
	maxBytes   = 4 << 20
	maxDepth   = 64
	maxAliased = 100_000 // nodes, those that aliases repeat counted each time
)

// decoder fills the types of form.go from YAML, and keeps all faults.
type decoder struct {
	faults []error
}

func (d *decoder) fault(line int, format string, args ...any) {
	d.faults = append(d.faults, &Fault{Line: line, Text: fmt.Sprintf(format, args...)})
}

// decode fills into, a value of one of the form's types.
func (d *decoder) decode(n *yaml.Node, at string, into reflect.Value) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch to := into.Addr().Interface().(type) {
	case *time.Duration:
		v, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || v < 0 {
			d.wrong(n, at, "a time, such as 20s or 1m30s")
		}
		*to = v
		return
	case *Size:
		v, ok := parseSize(n.Value)
		if n.Kind != yaml.ScalarNode || !ok {
			d.wrong(n, at, "a number of bytes, such as 65536 or 64KiB")
		}
		*to = v
		return
	case *Value:
		*to = Value{given: true}
		if text, cel := strings.CutPrefix(n.Value, "="); n.Kind == yaml.ScalarNode && n.Tag == "!!str" && cel {
			to.CEL = text
			return
		}
		to.Literal = d.plain(n, at)
		return
	case *Reference:
		if scheme, name, _ := strings.Cut(n.Value, ":"); n.Kind != yaml.ScalarNode || name == "" || scheme != "env" && scheme != "secret" {
			d.fault(n.Line, "%s is a secret, which is not written here: name it, as in env:NAME for a variable of the environment or secret:NAME for a file in CATALOG_SECRETS", at)
		}
		*to = Reference(n.Value)
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.decode(n, at, into.Elem())
	case reflect.Slice:
		d.list(n, at, into)
	case reflect.Map:
		d.mapping(n, at, into)
	case reflect.Struct:
		d.object(n, at, into)
	default:
		d.scalar(n, at, into)
	}
}

// list takes a single element for a list of one.
func (d *decoder) list(n *yaml.Node, at string, into reflect.Value) {
	elements := []*yaml.Node{n}
	switch {
	case n.Kind == yaml.SequenceNode:
		elements = n.Content
	case n.Tag == "!!null": // as of a list whose lines are all comments
		return
	case n.Kind != yaml.ScalarNode && shorthand[into.Type().Elem()] == "":
		d.wrong(n, at, "a list")
		return
	}
	out := reflect.MakeSlice(into.Type(), len(elements), len(elements))
	for i, e := range elements {
		d.decode(e, at, out.Index(i))
	}
	into.Set(out)
}

func (d *decoder) mapping(n *yaml.Node, at string, into reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.wrong(n, at, "a mapping of names to values")
		return
	}
	out := reflect.MakeMap(into.Type())
	d.members(n, func(key, value *yaml.Node) {
		v := reflect.New(into.Type().Elem()).Elem()
		d.decode(value, at+"."+key.Value, v)
		out.SetMapIndex(reflect.ValueOf(key.Value), v)
	})
	into.Set(out)
}

// shorthand is the member that a text stands for, of the types that may be one.
var shorthand = map[reflect.Type]string{reflect.TypeFor[Condition](): "when", reflect.TypeFor[Argument](): "type", reflect.TypeFor[Where](): "field"}

func (d *decoder) object(n *yaml.Node, at string, into reflect.Value) {
	if line := into.FieldByName("Line"); line.IsValid() {
		line.SetInt(int64(n.Line))
	}
	if member := shorthand[into.Type()]; member != "" && n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		n = &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: member, Line: n.Line}, n}}
	}
	if n.Kind != yaml.MappingNode {
		d.wrong(n, at, "a mapping with "+strings.Join(names(into.Type()), ", "))
		return
	}
	known, given := fields(into.Type()), map[string]bool{}
	d.members(n, func(key, value *yaml.Node) {
		i := slices.IndexFunc(known, func(f formField) bool { return f.name == key.Value })
		switch others := others(into); {
		case i >= 0:
			given[key.Value] = true
			field := into.FieldByIndex(known[i].index)
			d.decode(value, join(at, key.Value), field)
			d.checkEnum(value.Line, join(at, key.Value), field, known[i].enum)
		case others.IsValid():
			if others.IsNil() {
				others.Set(reflect.ValueOf(map[string]any{}))
			}
			others.SetMapIndex(reflect.ValueOf(key.Value), reflect.ValueOf(d.plain(value, join(at, key.Value))))
		default:
			d.fault(key.Line, "%s has no member %q: there are %s", cmp.Or(at, "the file"), key.Value, strings.Join(names(into.Type()), ", "))
		}
	})
	for _, f := range known {
		if f.need && !given[f.name] {
			d.fault(n.Line, "%s: %s is missing: %s", cmp.Or(at, "the file"), f.name, f.doc)
		}
	}
}

// members visits a mapping's members, merged ones (<<) left out: they are not of JSON, and hide what is in force.
func (d *decoder) members(n *yaml.Node, visit func(key, value *yaml.Node)) {
	seen := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			d.fault(key.Line, "a member's name is a text")
		case key.Tag == "!!merge":
			d.fault(key.Line, "<< is not taken: write the members")
		case seen[key.Value]:
			d.fault(key.Line, "%q is there twice", key.Value)
		default:
			seen[key.Value] = true
			visit(key, value)
		}
	}
}

func (d *decoder) scalar(n *yaml.Node, at string, into reflect.Value) {
	var err error
	want := map[reflect.Kind]string{reflect.String: "a text", reflect.Bool: "true or false", reflect.Int: "a whole number", reflect.Int64: "a whole number", reflect.Float64: "a number"}[into.Kind()]
	// A whole number may stand for a text, as 503 for a status. Nothing else may: YAML reads yes and no for what they are not meant.
	isText := n.Tag == "!!str" || n.Tag == "!!int" && into.Kind() == reflect.String
	if n.Kind == yaml.ScalarNode && (into.Kind() == reflect.String) == isText {
		switch into.Kind() {
		case reflect.String:
			into.SetString(n.Value)
		case reflect.Bool:
			var v bool
			v, err = strconv.ParseBool(n.Value)
			into.SetBool(v)
		case reflect.Int, reflect.Int64:
			var v int64
			if v, err = strconv.ParseInt(n.Value, 10, 64); v < 0 {
				want, err = "a whole number from 0 on", strconv.ErrRange
			}
			into.SetInt(v)
		case reflect.Float64:
			var v float64
			if v, err = strconv.ParseFloat(n.Value, 64); err == nil && !(v >= 0 && v <= math.MaxFloat64) {
				want, err = "a number from 0 on", strconv.ErrRange
			}
			into.SetFloat(v)
		}
		if err == nil {
			return
		}
	}
	d.wrong(n, at, want)
}

func (d *decoder) wrong(n *yaml.Node, at, want string) {
	got := fmt.Sprintf("%.40q", n.Value)
	if strings.Contains(at, ".auth") { // perhaps a secret, where its name should be
		got = "a text"
	}
	switch n.Kind {
	case yaml.MappingNode:
		got = "a mapping"
	case yaml.SequenceNode:
		got = "a list"
	}
	if n.Tag == "!!null" {
		got = "nothing"
	}
	d.fault(n.Line, "%s is %s, and not %s", cmp.Or(at, "the file"), got, want)
}

// plain is a value of JSON.
func (d *decoder) plain(n *yaml.Node, at string) any {
	switch n.Kind {
	case yaml.AliasNode:
		return d.plain(n.Alias, at)
	case yaml.MappingNode:
		out := map[string]any{}
		d.members(n, func(key, value *yaml.Node) { out[key.Value] = d.plain(value, at) })
		return out
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for _, e := range n.Content {
			out = append(out, d.plain(e, at))
		}
		return out
	}
	var v any
	if n.Tag == "!!timestamp" || n.Tag == "!!binary" {
		return n.Value
	}
	if err := n.Decode(&v); err != nil {
		d.wrong(n, at, "a value of JSON")
		return nil
	}
	switch number := v.(type) {
	case int:
		return int64(number)
	case float64:
		if math.IsNaN(number) || math.IsInf(number, 0) {
			d.wrong(n, at, "a number of JSON")
			return nil
		}
	}
	return v
}

// A formField is a member of a mapping.
type formField struct {
	name, doc string
	need      bool
	enum      []string
	index     []int
	kind      reflect.Type
}

// fields are the members that a type names, those of what is inlined too.
func fields(of reflect.Type) (out []formField) {
	for _, f := range reflect.VisibleFields(of) {
		name, inline, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" || inline != "" {
			continue
		}
		one := formField{name: name, doc: f.Tag.Get("doc"), need: f.Tag.Get("need") != "", index: f.Index, kind: f.Type}
		if enum := f.Tag.Get("enum"); enum != "" {
			one.enum = strings.Split(enum, ",")
		}
		out = append(out, one)
	}
	return out
}

func names(of reflect.Type) (out []string) {
	for _, f := range fields(of) {
		out = append(out, f.name)
	}
	return out
}

// others is the map of members that the type does not name, where it takes them.
func others(of reflect.Value) reflect.Value {
	for i := range of.NumField() {
		if of.Type().Field(i).Tag.Get("yaml") == ",others" {
			return of.Field(i)
		}
	}
	return reflect.Value{}
}

// checkEnum finds texts that are none of those that a tag lists.
func (d *decoder) checkEnum(line int, at string, field reflect.Value, enum []string) {
	texts, _ := field.Interface().([]string)
	if field.Kind() == reflect.String && field.String() != "" {
		texts = []string{field.String()}
	}
	for _, text := range texts {
		if enum != nil && !slices.Contains(enum, text) {
			d.fault(line, "%s is %q, and not one of %s", at, text, strings.Join(enum, ", "))
		}
	}
}

func parseSize(text string) (Size, bool) {
	number, unit := text, Size(1)
	for suffix, of := range map[string]Size{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if n, ok := strings.CutSuffix(text, suffix); ok {
			number, unit = n, of
		}
	}
	v, err := strconv.ParseInt(strings.TrimSpace(number), 10, 32)
	return Size(v) * unit, err == nil && v > 0
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

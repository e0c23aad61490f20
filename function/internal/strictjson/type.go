package strictjson

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A Type is what encoding/json takes of a JSON value for a Go type.
type Type struct{ of *node }

// Names are those that a text may have, and how they are spelled.
type Names struct {
	exact  map[string]bool
	folded map[string]string
}

// NewNames returns names.
func NewNames(list []string) Names {
	n := Names{make(map[string]bool, len(list)), make(map[string]string, len(list))}
	for _, name := range list {
		n.exact[name], n.folded[fold(name)] = true, name
	}
	return n
}

// Check returns an error where a decoded value, at whatever depth, has a name that is one of these but for its case.
func (n Names) Check(value any) error { return n.check(value, "") }

func (n Names) check(value any, at string) error {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			if right := n.misspelled(name); right != "" {
				return misspelled(at, name, right)
			}
			if err := n.check(member, join(at, name)); err != nil {
				return err
			}
		}
	case []any:
		for i, element := range v {
			if err := n.check(element, at+"["+strconv.Itoa(i)+"]"); err != nil {
				return err
			}
		}
	}
	return nil
}

// misspelled returns how the name is spelled, or "" where there is none to confuse it with.
func (n Names) misspelled(name string) string {
	if n.exact[name] {
		return ""
	}
	return n.folded[fold(name)]
}

func misspelled(at, name, right string) error {
	return fmt.Errorf("%s is not known: it is spelled %s", join(at, name), right)
}

// TypeOf prepares the check for a Go type. Declared are the names that a schema has for what decodes itself, such as a json.RawMessage:
// how that reads names can't be seen, and is taken to be without regard to case.
func TypeOf(t reflect.Type, declared []string) *Type {
	b := builder{declared: declared, made: map[reflect.Type]*node{}}
	return &Type{b.node(t)}
}

// Check returns an error where encoding/json would put something else into the type than the decoded value says: a member into a field of
// another name, which it does whatever the case, a part of a list, or the neighbour of a number.
func (t *Type) Check(value any) error { return t.of.check(value, "") }

// A node is the type at one place. Nil takes all as it is, or refuses it.
type node struct {
	fields   map[string]*node // of a struct
	names    Names            // of a struct, or of what decodes itself
	own      bool             // it decodes itself
	elements *node            // of a list or map
	most     int              // elements of an array; -1 for a slice or map
	numbered bool             // the keys of a map are numbers
	bits     int              // that a float has for whole numbers
}

type builder struct {
	declared []string
	made     map[reflect.Type]*node
}

func (b *builder) node(t reflect.Type) *node {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n, ok := b.made[t]; ok {
		return n
	}
	n := &node{most: -1}
	b.made[t] = n
	switch {
	case decodesItself(t):
		names := slices.Clip(b.declared)
		if t.Kind() == reflect.Struct {
			for _, f := range fieldsByName(t) {
				if f.tagged { // others may have another name in what the type itself reads
					names = append(names, f.name)
				}
			}
		}
		n.own, n.names = true, NewNames(names)
	case t.Kind() == reflect.Struct:
		n.fields = map[string]*node{}
		var names []string
		for _, f := range fieldsByName(t) {
			names = append(names, f.name)
			n.fields[f.name] = b.node(f.of)
		}
		n.names = NewNames(names)
	case t.Kind() == reflect.Map:
		n.elements = b.node(t.Elem())
		n.numbered = t.Key().Kind() >= reflect.Int && t.Key().Kind() <= reflect.Uintptr && !decodesItself(t.Key())
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		n.elements = b.node(t.Elem())
	case t.Kind() == reflect.Array:
		n.elements, n.most = b.node(t.Elem()), t.Len()
	case t.Kind() == reflect.Float64:
		n.bits = 53
	case t.Kind() == reflect.Float32:
		n.bits = 24
	default:
		b.made[t], n = nil, nil
	}
	return n
}

func (n *node) check(value any, at string) error {
	if n == nil {
		return nil
	}
	if n.own {
		return n.names.check(value, at)
	}
	switch v := value.(type) {
	case int64:
		if n.bits > 0 && !exact(uint64(max(v, -v)), n.bits) {
			return inexact(at, v)
		}
	case uint64:
		if n.bits > 0 && !exact(v, n.bits) {
			return inexact(at, v)
		}
	case float64:
		// Of a fraction the nearest number is held, as long as it is one.
		if held := float64(float32(v)); n.bits == 24 && held != v && held == math.Trunc(held) {
			return inexact(at, v)
		}
	case map[string]any:
		for name, member := range v {
			of := n.elements
			if n.fields != nil {
				if right := n.names.misspelled(name); right != "" {
					return misspelled(at, name, right)
				}
				of = n.fields[name]
			} else if n.numbered && !plainNumber(name) {
				return fmt.Errorf("%s is not a whole number", join(at, name))
			}
			if of == nil {
				continue // spares the path
			}
			if err := of.check(member, join(at, name)); err != nil {
				return err
			}
		}
	case []any:
		if n.most >= 0 && len(v) > n.most {
			return fmt.Errorf("%s has %d elements, and at most %d are taken", cmp.Or(at, "the list"), len(v), n.most)
		}
		for i, element := range v {
			if n.elements == nil {
				break
			}
			if err := n.elements.check(element, at+"["+strconv.Itoa(i)+"]"); err != nil {
				return err
			}
		}
	}
	return nil
}

// exact tells whether a float of so many bits holds a whole number.
func exact(n uint64, size int) bool { return bits.Len64(n)-bits.TrailingZeros64(n) <= size }

func inexact(at string, v any) error {
	return fmt.Errorf("%s: the number %v can't be held exactly", cmp.Or(at, "the value"), v)
}

// HasAny tells whether a type holds a value of any type, in which encoding/json would make a double of a number.
func HasAny(t reflect.Type) bool { return hasAny(t, map[reflect.Type]bool{}) }

func hasAny(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] || decodesItself(t) {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return hasAny(t.Elem(), seen)
	case reflect.Struct:
		return slices.ContainsFunc(fieldsByName(t), func(f named) bool { return hasAny(f.of, seen) })
	}
	return false
}

// plainNumber tells whether no other text is the same number.
func plainNumber(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || digits[0] == '0' && text != "0" {
		return false
	}
	return strings.Trim(digits, "0123456789") == ""
}

// A named field is one that encoding/json fills.
type named struct {
	name   string
	tagged bool
	depth  int
	of     reflect.Type
}

// fieldsByName returns the fields of a struct by the rules of encoding/json, in which a field hides those of its name that are embedded more
// deeply, one with a tag those without, and equals hide each other.
func fieldsByName(t reflect.Type) []named {
	var found []named
	level, depth := []reflect.Type{t}, 0
	visited := map[reflect.Type]bool{}
	for ; len(level) > 0; depth++ {
		times := map[reflect.Type]int{}
		for _, t := range level {
			times[t]++
		}
		var next []reflect.Type
		for _, t := range level {
			if visited[t] {
				continue
			}
			visited[t] = true
			for i := range t.NumField() {
				f := t.Field(i)
				of := f.Type
				if of.Name() == "" && of.Kind() == reflect.Pointer {
					of = of.Elem()
				}
				tag := f.Tag.Get("json")
				if tag == "-" || !f.IsExported() && !(f.Anonymous && of.Kind() == reflect.Struct) {
					continue
				}
				name, _, _ := strings.Cut(tag, ",")
				if !tagName(name) {
					name = ""
				}
				if name == "" && f.Anonymous && of.Kind() == reflect.Struct {
					next = append(next, of)
					continue
				}
				field := named{cmp.Or(name, f.Name), name != "", depth, f.Type}
				found = append(found, field)
				if times[t] > 1 {
					found = append(found, field) // which hides itself
				}
			}
		}
		level = next
	}
	taggedFirst := []bool{true, false}
	slices.SortStableFunc(found, func(a, b named) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.depth, b.depth), slices.Index(taggedFirst, a.tagged)-slices.Index(taggedFirst, b.tagged))
	})
	var out []named
	for i := 0; i < len(found); {
		end := i + 1
		for end < len(found) && found[end].name == found[i].name {
			end++
		}
		if end == i+1 || found[i].depth != found[i+1].depth || found[i].tagged != found[i+1].tagged {
			out = append(out, found[i])
		}
		i = end
	}
	return out
}

// tagName tells whether encoding/json takes the name of a tag.
func tagName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r)
	})
}

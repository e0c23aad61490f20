package value

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// A field is one that encoding/json knows.
type field struct {
	name      string
	goName    string
	tagged    bool
	index     []int // from the struct on, through those that are embedded
	of        reflect.Type
	tag       reflect.StructTag
	omitEmpty bool
	omitZero  bool
	quoted    bool // with ,string
	hidden    bool // embedded with a name, of a type that is not exported
}

// An ignoredField is one that its author did not mean to be ignored, and why encoding/json does.
type ignoredField struct{ goName, why string }

// fieldsOf returns the fields of a struct in their order, by the rules of encoding/json, in which a field hides those of its name that are
// embedded more deeply, one with a tag those without, and equals hide each other.
func fieldsOf(t reflect.Type) (out []field, ignored []ignoredField) {
	type level struct {
		of    reflect.Type
		index []int
	}
	var found []field
	visited := map[reflect.Type]bool{}
	for here := []level{{t, nil}}; len(here) > 0; {
		times := map[reflect.Type]int{}
		for _, l := range here {
			times[l.of]++
		}
		var next []level
		for _, l := range here {
			if visited[l.of] {
				continue
			}
			visited[l.of] = true
			for i := range l.of.NumField() {
				f := l.of.Field(i)
				of := f.Type
				if of.Name() == "" && of.Kind() == reflect.Pointer {
					of = of.Elem()
				}
				tag := f.Tag.Get("json")
				if tag != "-" && tag != "" && !f.IsExported() && !f.Anonymous {
					ignored = append(ignored, ignoredField{f.Name, "it has a json tag and is not exported: begin its name with a capital letter"})
				}
				if tag == "-" || !f.IsExported() && !(f.Anonymous && of.Kind() == reflect.Struct) {
					continue
				}
				name, options, _ := strings.Cut(tag, ",")
				if !tagName(name) {
					name = ""
				}
				index := append(slices.Clip(l.index), i)
				if name == "" && f.Anonymous && of.Kind() == reflect.Struct {
					next = append(next, level{of, index})
					continue
				}
				one := field{name: cmp.Or(name, f.Name), goName: f.Name, tagged: name != "", index: index, of: f.Type, tag: f.Tag, hidden: !f.IsExported()}
				for option := range strings.SplitSeq(options, ",") {
					one.omitEmpty = one.omitEmpty || option == "omitempty"
					one.omitZero = one.omitZero || option == "omitzero"
					one.quoted = one.quoted || option == "string"
				}
				found = append(found, one)
				if times[l.of] > 1 {
					found = append(found, one) // which hides itself
				}
			}
		}
		here = next
	}
	tagged := func(f field) int { return map[bool]int{true: 0, false: 1}[f.tagged] }
	slices.SortStableFunc(found, func(a, b field) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(len(a.index), len(b.index)), tagged(a)-tagged(b))
	})
	for i := 0; i < len(found); {
		end := i + 1
		for end < len(found) && found[end].name == found[i].name {
			end++
		}
		if end == i+1 || len(found[i].index) != len(found[i+1].index) || found[i].tagged != found[i+1].tagged {
			out = append(out, found[i])
		} else if a, b := found[i], found[i+1]; slices.Equal(a.index[:len(a.index)-1], b.index[:len(b.index)-1]) && !slices.Equal(a.index, b.index) {
			ignored = append(ignored, ignoredField{b.goName, "the name " + named(b.name) + " is that of field " + a.goName + " too, and encoding/json knows neither"})
		}
		i = end
	}
	slices.SortFunc(out, func(a, b field) int { return slices.Compare(a.index, b.index) })
	return out, ignored
}

// tagName tells whether encoding/json takes the name of a tag.
func tagName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r)
	})
}

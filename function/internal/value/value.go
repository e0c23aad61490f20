// Package value has one description of a Go type, from which all that JSON has to do with it follows: the schema that is published, the
// value that is decoded, and the JSON that is encoded. What the schema admits is decoded, and what is encoded fits the schema; a type of
// which that can't be said is refused when the server starts, with the name of the field and the way out. Beside it stands the check of a
// value against any schema, which says in words for a model all that is wrong, and where.
//
// It differs from encoding/json where one side of that would not hold: names are spelled as they are, nil lists and maps are empty ones,
// nil pointers are left out, a [time.Duration] is a string such as 1m30s, and a [url.URL] is the text of one.
package value

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/strictjson"
)

// A Use is what a type is for.
type Use int

// The uses.
const (
	In  Use = iota // decoded
	Out            // encoded
)

// A Type is the description of a Go type for one use.
type Type struct {
	node   *node
	schema *jsonschema.Schema
	fault  error
}

// Of describes a type. Schema says what can't be described, so that a schema that is written by hand can stand in its place; the error is of what
// can't even be decoded or encoded.
func Of(t reflect.Type, use Use) (*Type, error) {
	return of(t, use, false)
}

func of(t reflect.Type, use Use, held bool) (*Type, error) {
	d := describer{use: use, held: held, home: &home{}, made: map[reflect.Type]*node{}, defs: map[*node]string{}}
	n := d.node(t, place{what: t.String()})
	if err := errors.Join(d.faults...); err != nil {
		return nil, err
	}
	if held {
		return &Type{node: n}, nil
	}
	d.findLoops()
	for _, o := range d.objects {
		d.annotate(o.node, o.at)
	}
	out := &Type{node: n, fault: errors.Join(d.undescribed...)}
	if out.fault == nil {
		out.schema = d.root(n)
	}
	return out, nil
}

// String is the name of the Go type.
func (t *Type) String() string { return t.node.of.String() }

// Schema returns the schema, or what of the type has none.
func (t *Type) Schema() (*jsonschema.Schema, error) { return t.schema, t.fault }

// Declare says which schema stands in the place of the type's own: where a type reads names by itself, those of the schema are spelled as
// they are there. The error is of what of the schema the type can't take: no call would get past it.
func (t *Type) Declare(s *jsonschema.Schema) error {
	t.node.home.declared = foldedNames(declared(s))
	n := t.node.pointee()
	if n.shape != object {
		return nil
	}
	var faults []error
	for _, name := range slices.Sorted(slices.Values(s.Required)) {
		if s.Properties[name] == nil {
			continue
		}
		i, ok := n.byName[name]
		if right := n.folded[strictjson.Fold(name)]; !ok && right != "" {
			faults = append(faults, fmt.Errorf("the property %s is spelled %s in %v", named(name), named(right), n.of))
			continue
		}
		types := s.Properties[name].Types
		if one := s.Properties[name].Type; one != "" {
			types = []string{one}
		}
		if !ok || types == nil {
			continue
		}
		d := describer{use: In, defs: map[*node]string{}}
		takes := d.whole(n.members[i].node.pointee()).Type
		if takes == "" || slices.ContainsFunc(types, func(t string) bool {
			return t == takes || t == "integer" && takes == "number" || t == "number" && takes == "integer"
		}) {
			continue
		}
		faults = append(faults, fmt.Errorf("the property %s is %s, and %s is what %v has for it", named(name), listOfKinds(types), kinds[takes], n.of))
	}
	return errors.Join(faults...)
}

// declared are the names of properties that a schema has anywhere.
func declared(s *jsonschema.Schema) (names []string) {
	visit(s, func(key string, value any) {
		if properties, ok := value.(map[string]any); ok && key == "properties" {
			names = slices.AppendSeq(names, maps.Keys(properties))
		}
	})
	slices.Sort(names)
	return names
}

// visit visits each member of a schema, at any depth.
func visit(s *jsonschema.Schema, member func(key string, value any)) {
	raw, err := json.Marshal(s)
	var tree any
	if err == nil {
		err = json.Unmarshal(raw, &tree)
	}
	if err != nil {
		panic(err) // it was compiled from JSON
	}
	var walk func(any)
	walk = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			for key, value := range v {
				member(key, value)
				walk(value)
			}
		case []any:
			for _, element := range v {
				walk(element)
			}
		}
	}
	walk(tree)
}

// Faults are all that is wrong with a value, in words.
type Faults []Fault

// A Fault is one of them.
type Fault struct {
	At   string // a path such as lines[0].size, or "" for the whole
	What string
}

const (
	maxFaults = 12  // that are said; a model that has mended these asks again
	maxFound  = 100 // after which no more are looked for
)

func (fs Faults) Error() string {
	var b strings.Builder
	for i, f := range fs {
		if i == maxFaults {
			if len(fs) >= maxFound {
				b.WriteString("; and more")
			} else {
				fmt.Fprintf(&b, "; and %d more", len(fs)-i)
			}
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		if f.At != "" {
			b.WriteString(f.At)
			b.WriteString(": ")
		}
		b.WriteString(f.What)
	}
	return b.String()
}

// err keeps nil a nil error.
func (fs Faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	return fs
}

func faultf(format string, args ...any) Faults { return Faults{{What: fmt.Sprintf(format, args...)}} }

// in puts the faults of a member or an element under its name.
func (fs Faults) in(name string) Faults {
	for i, f := range fs {
		switch {
		case f.At == "":
			fs[i].At = name
		case f.At[0] == '[':
			fs[i].At = name + f.At
		default:
			fs[i].At = name + "." + f.At
		}
	}
	return fs
}

// home is what all nodes of a type share.
type home struct {
	declared map[string]string // names that the schema has anywhere, for what reads them by itself
	types    sync.Map          // reflect.Type to *Type: of what an any held
}

// held describes what an any holds, which is known only as it is encoded.
func (h *home) held(t reflect.Type) (*Type, error) {
	if known, ok := h.types.Load(t); ok {
		return known.(*Type), nil
	}
	made, err := of(t, Out, true)
	if err != nil {
		return nil, err
	}
	h.types.Store(t, made)
	return made, nil
}

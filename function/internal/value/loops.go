package value

import (
	"errors"
	"maps"
	"reflect"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"
)

var errLoop = errors.New("a $ref leads back to its own schema with no property or element in between, so that nothing could ever be held against it")

// endless returns an error for a schema that is about a value only by being about the same value again: to check one would not end. Where a
// reference can't be followed here, it is taken to lead to whatever has a name of its own.
func endless(root *jsonschema.Schema) error {
	var all, named []*jsonschema.Schema
	var collect func(*jsonschema.Schema)
	collect = func(s *jsonschema.Schema) {
		all = append(all, s)
		if s.ID != "" || s.Anchor != "" || s.DynamicAnchor != "" || s == root {
			named = append(named, s)
		}
		for _, child := range within(s, nil) {
			collect(child)
		}
	}
	collect(root)
	const open, done = 1, 2
	state := map[*jsonschema.Schema]int{}
	var visit func(*jsonschema.Schema) error
	visit = func(s *jsonschema.Schema) error {
		switch state[s] {
		case open:
			return errLoop
		case done:
			return nil
		}
		state[s] = open
		next := within(s, sameValue)
		for _, ref := range []string{s.Ref, s.DynamicRef} {
			if ref == "" {
				continue
			}
			if to := (&compiler{root: root}).target(ref); to != nil {
				next = append(next, to)
			} else {
				next = append(next, named...)
			}
		}
		for _, s := range next {
			if err := visit(s); err != nil {
				return err
			}
		}
		state[s] = done
		return nil
	}
	for _, s := range all {
		if err := visit(s); err != nil {
			return err
		}
	}
	return nil
}

// sameValue are the fields of a schema whose schemas are about the value itself.
var sameValue = []string{"AllOf", "AnyOf", "OneOf", "Not", "If", "Then", "Else", "DependentSchemas", "DependencySchemas"}

// within lists the schemas that a schema has in these fields, or in all.
func within(s *jsonschema.Schema, fields []string) (out []*jsonschema.Schema) {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		if fields != nil && !slices.Contains(fields, v.Type().Field(i).Name) {
			continue
		}
		switch of := v.Field(i).Interface().(type) {
		case *jsonschema.Schema:
			if of != nil {
				out = append(out, of)
			}
		case []*jsonschema.Schema:
			out = append(out, slices.DeleteFunc(slices.Clone(of), func(s *jsonschema.Schema) bool { return s == nil })...)
		case map[string]*jsonschema.Schema:
			for _, name := range slices.Sorted(maps.Keys(of)) {
				if of[name] != nil {
					out = append(out, of[name])
				}
			}
		}
	}
	return out
}

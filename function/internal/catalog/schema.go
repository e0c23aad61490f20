package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/mcp"
)

// SchemaOf returns the JSON Schema of a Go type by the rules of [jsonschema.For]: a field without omitempty or omitzero is
// required, unknown members are refused, and the struct tag jsonschema:"…" is the description. More struct tags: enum:"a,b"
// lists the values of a string or number, minimum:"1" and maximum:"9" bound a number, minItems:"1" and maxItems:"8" the
// length of a list, pattern:"^x" is a regular expression for a string, and header:"X" mirrors a field into the HTTP header
// Mcp-Param-X.
func SchemaOf(t reflect.Type) (*jsonschema.Schema, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	s, err := jsonschema.ForType(t, nil)
	if err != nil {
		return nil, err
	}
	return s, annotate(t, s)
}

// annotate carries struct tags over into the schema.
func annotate(t reflect.Type, s *jsonschema.Schema) error {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
		if t.Kind() != reflect.Pointer {
			if s = s.Items; s == nil {
				return nil
			}
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		p := s.Properties[name]
		if p == nil {
			continue
		}
		if h, ok := f.Tag.Lookup("header"); ok {
			p.Extra = map[string]any{headerKeyword: h}
		}
		if f.Type == reflect.TypeFor[time.Time]() {
			p.Format = "date-time"
		}
		if pattern, ok := f.Tag.Lookup("pattern"); ok {
			p.Pattern = pattern
		}
		for tag, bound := range map[string]**int{"minItems": &p.MinItems, "maxItems": &p.MaxItems} {
			if text, ok := f.Tag.Lookup(tag); ok {
				n, err := strconv.Atoi(text)
				if err != nil || n < 0 || f.Type.Kind() != reflect.Slice {
					return fmt.Errorf("field %s: %q does not bound a list", f.Name, text)
				}
				*bound = &n
			}
		}
		numeric := p.Type == "integer" || p.Type == "number"
		number := func(text string) (float64, error) {
			written, err := mcp.Decode([]byte(text))
			if err == nil {
				err = held(written, "bound")
			}
			if v, err2 := strconv.ParseFloat(text, 64); err == nil && err2 == nil && numeric {
				return v, nil
			}
			return 0, fmt.Errorf("field %s: %q does not bound a number", f.Name, text)
		}
		if list, ok := f.Tag.Lookup("enum"); ok {
			for v := range strings.SplitSeq(list, ",") {
				if !numeric {
					p.Enum = append(p.Enum, v)
					continue
				}
				n, err := number(v)
				if err != nil {
					return err
				}
				p.Enum = append(p.Enum, n)
			}
		}
		for tag, bound := range map[string]**float64{"minimum": &p.Minimum, "maximum": &p.Maximum} {
			if text, ok := f.Tag.Lookup(tag); ok {
				v, err := number(text)
				if err != nil {
					return err
				}
				*bound = &v
			}
		}
		if err := annotate(f.Type, p); err != nil {
			return err
		}
	}
	return nil
}

func inputSchema[In any]() (json.RawMessage, error) {
	switch any(*new(In)).(type) {
	case json.RawMessage, map[string]any:
		return json.RawMessage(`{"type":"object"}`), nil
	}
	s, err := SchemaOf(reflect.TypeFor[In]())
	if err != nil {
		return nil, err
	}
	if s.Type != "object" {
		return nil, fmt.Errorf("%v is not a struct", reflect.TypeFor[In]())
	}
	oneType(s)
	return json.Marshal(s)
}

// oneType takes null off the types of pointers and lists: what is optional is left out, and some models' interfaces refuse
// a schema with several types.
func oneType(s *jsonschema.Schema) {
	if len(s.Types) == 2 && s.Types[0] == "null" {
		s.Type, s.Types = s.Types[1], nil
	}
	for _, p := range s.Properties {
		oneType(p)
	}
	if s.Items != nil {
		oneType(s.Items)
	}
	if s.AdditionalProperties != nil {
		oneType(s.AdditionalProperties)
	}
}

func outputSchema[Out any]() (json.RawMessage, error) {
	s, err := SchemaOf(reflect.TypeFor[Out]())
	if err != nil {
		return nil, err
	}
	return json.Marshal(s)
}

// compile reads a schema of JSON Schema 2020-12 or draft-07. References to other documents are refused.
func compile(raw json.RawMessage) (*jsonschema.Resolved, error) {
	var s jsonschema.Schema
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, err
	}
	written, err := mcp.Decode(raw)
	if err == nil {
		err = held(written, "schema")
	}
	if err != nil {
		return nil, err
	}
	switch s.Schema {
	case "", "https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft-07/schema#":
	default:
		return nil, fmt.Errorf("the dialect %s is not supported: use 2020-12 or draft-07", s.Schema)
	}
	return s.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true})
}

const headerKeyword = "x-mcp-header"

var (
	headerToken = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$") // tchar, RFC 9110 section 5.6.2
	errHeaderAt = errors.New(headerKeyword + " may only stand on properties reached through properties alone")
)

// headerParams collects the x-mcp-header annotations of an input schema (SEP-2243).
func headerParams(root *jsonschema.Schema) ([]mcp.HeaderParam, error) {
	var params []mcp.HeaderParam
	seen := map[string]bool{}
	reached := 0
	var walk func(s *jsonschema.Schema, path []string) error
	walk = func(s *jsonschema.Schema, path []string) error {
		if v, ok := s.Extra[headerKeyword]; ok {
			name, isText := v.(string)
			at := strings.Join(path, ".")
			switch {
			case len(path) == 0:
				return errHeaderAt
			case !isText || !headerToken.MatchString(name):
				return fmt.Errorf("%s of %s must be an HTTP field name, not %v", headerKeyword, at, v)
			case seen[strings.ToLower(name)]:
				return fmt.Errorf("%s %q is used twice", headerKeyword, name)
			case s.Type != "string" && s.Type != "integer" && s.Type != "boolean":
				return fmt.Errorf("%s may stand on a string, integer or boolean, which %s is not", headerKeyword, at)
			}
			seen[strings.ToLower(name)] = true
			params = append(params, mcp.NewHeaderParam(name, path))
			reached++
		}
		for name, p := range s.Properties {
			if err := walk(p, append(path[:len(path):len(path)], name)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(root, nil); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(root)
	if err != nil {
		return nil, err
	}
	if bytes.Count(raw, []byte(`"`+headerKeyword+`":`)) != reached {
		return nil, errHeaderAt
	}
	slices.SortFunc(params, func(a, b mcp.HeaderParam) int { return strings.Compare(a.Key, b.Key) })
	return params, nil
}

// propertiesOf lists the names of properties that a schema has anywhere.
func propertiesOf(s *jsonschema.Schema) (properties []string) {
	visit(s, func(key string, value any) {
		if named, ok := value.(map[string]any); ok && key == "properties" {
			properties = slices.AppendSeq(properties, maps.Keys(named))
		}
	})
	return properties
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

// held returns an error where the numbers of a schema are not those that were written: the library has doubles for them.
func held(value any, at string) error {
	switch v := value.(type) {
	case int64:
		if f := float64(v); f >= -math.MinInt64 || int64(f) != v {
			return fmt.Errorf("%s: the number %d can't be held exactly: use one that a double holds, or a pattern of digits", at, v)
		}
	case uint64:
		if f := float64(v); f >= 1<<64 || uint64(f) != v {
			return fmt.Errorf("%s: the number %d can't be held exactly: use one that a double holds, or a pattern of digits", at, v)
		}
	case []any:
		for _, element := range v {
			if err := held(element, at); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, member := range v {
			if err := held(member, key); err != nil {
				return err
			}
		}
	}
	return nil
}

package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/value"
)

// compile reads a schema of JSON Schema 2020-12 or draft-07. References to other documents are refused.
func compile(raw json.RawMessage) (*jsonschema.Schema, *value.Checker, error) {
	var s jsonschema.Schema
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, nil, err
	}
	written, err := mcp.Decode(raw)
	if err == nil {
		err = held(written, "schema")
	}
	if err != nil {
		return nil, nil, err
	}
	switch s.Schema {
	case "", "https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft-07/schema#":
	default:
		return nil, nil, fmt.Errorf("the dialect %s is not supported: use 2020-12 or draft-07", s.Schema)
	}
	checker, err := value.NewChecker(&s)
	return &s, checker, err
}

// checkShown finds what clients could not read of a schema that is only listed.
func checkShown(raw json.RawMessage) error {
	var s jsonschema.Schema
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	if s.Type != "object" {
		return errors.New(`the type must be "object"`)
	}
	return nil
}

const headerKeyword = value.HeaderKeyword

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

// held returns an error where the numbers of a schema are not those that were written: the library has doubles for them.
func held(number any, at string) error {
	switch v := number.(type) {
	case int64, uint64:
		if _, same := value.Double(v); !same {
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

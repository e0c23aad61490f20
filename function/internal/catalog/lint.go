package catalog

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"
)

// What models' interfaces take of a tool: the strictest of OpenAI's, Anthropic's and Google's.
var providersName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

const mostDescribed = 1024 // characters

// Lint says which tools some models' interfaces refuse, and with them all others of the list, and why. Without any it is empty.
func (c *Catalog) Lint() (out []string) {
	for _, name := range slices.Sorted(maps.Keys(c.tools)) {
		t := c.tools[name]
		say := func(format string, args ...any) {
			out = append(out, "tool "+name+": "+fmt.Sprintf(format, args...))
		}
		if !providersName.MatchString(name) {
			say("its name has other characters than letters, digits, _ and -, or more than 64 of them")
		}
		if n := utf8.RuneCountInString(t.Description); n > mostDescribed {
			say("its description has %d characters, more than %d", n, mostDescribed)
		}
		for _, s := range []struct {
			what string
			raw  json.RawMessage
		}{{"input", t.Input}, {"output", t.Output}} {
			var schema jsonschema.Schema
			if s.raw == nil || json.Unmarshal(s.raw, &schema) != nil {
				continue
			}
			for keyword, of := range map[string][]*jsonschema.Schema{"anyOf": schema.AnyOf, "oneOf": schema.OneOf, "allOf": schema.AllOf} {
				if of != nil {
					say("its %s schema has %s at the root, which must be one object", s.what, keyword)
				}
			}
			lintSchema(&schema, s.what, say)
		}
	}
	slices.Sort(out)
	return out
}

// lintSchema goes through a schema and what is within it. At is where it is.
func lintSchema(s *jsonschema.Schema, at string, say func(format string, args ...any)) {
	if s == nil {
		return
	}
	for _, v := range s.Enum {
		if _, ok := v.(string); !ok {
			say("%s: its enum has %v, and must have texts alone", at, v)
			break
		}
	}
	if n := utf8.RuneCountInString(s.Description); n > mostDescribed {
		say("%s: its description has %d characters, more than %d", at, n, mostDescribed)
	}
	for _, of := range []map[string]*jsonschema.Schema{s.Properties, s.Defs, s.Definitions, s.PatternProperties} {
		for _, name := range slices.Sorted(maps.Keys(of)) {
			lintSchema(of[name], at+"."+name, say)
		}
	}
	for _, of := range []*jsonschema.Schema{s.Items, s.AdditionalProperties, s.Not, s.If, s.Then, s.Else} {
		lintSchema(of, at+"[]", say)
	}
	for _, list := range [][]*jsonschema.Schema{s.AnyOf, s.OneOf, s.AllOf, s.PrefixItems} {
		for _, of := range list {
			lintSchema(of, at, say)
		}
	}
}

package catalogfile

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Schema is the JSON Schema 2020-12 of a catalog file, by which editors complete and check it.
func Schema() json.RawMessage {
	s := &schemas{defs: map[string]any{}}
	s.of(reflect.TypeFor[File]())
	out := s.defs["File"].(map[string]any)
	out["$schema"], out["title"], out["description"] = "https://json-schema.org/draft/2020-12/schema", "erlmcp catalog",
		"Tools, resources and prompts that erlmcp serves without code"
	out["properties"].(map[string]any)["catalog"].(map[string]any)["const"] = version
	delete(s.defs, "File")
	out["$defs"] = s.defs
	b, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		panic(err) // of maps and texts alone
	}
	return append(b, '\n')
}

type schemas struct{ defs map[string]any }

// of is the schema of a type of the form, a reference where it is an object.
func (s *schemas) of(t reflect.Type) map[string]any {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(h|m|s|ms|us|ns))+$`}
	case reflect.TypeFor[Size]():
		return map[string]any{"anyOf": []any{map[string]any{"type": "integer", "minimum": 1}, map[string]any{"type": "string", "pattern": "^[1-9][0-9]*(KiB|MiB|GiB)?$"}}}
	case reflect.TypeFor[Reference]():
		return map[string]any{"type": "string", "pattern": "^(env|secret):.+$"}
	case reflect.TypeFor[Value]():
		return map[string]any{}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Slice:
		element := s.of(t.Elem())
		list := map[string]any{"type": []string{"array", "null"}, "items": element} // null, as of a list whose lines are all comments
		if t.Elem().Kind() == reflect.String || shorthand[t.Elem()] != "" {         // one may stand for a list of one
			return map[string]any{"anyOf": []any{list, element}}
		}
		return list
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.String:
		return map[string]any{"type": []string{"string", "integer"}} // as a name that is 2026
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number", "minimum": 0}
	case reflect.Struct:
		return s.object(t)
	}
	return map[string]any{"type": "integer", "minimum": 0}
}

func (s *schemas) object(t reflect.Type) map[string]any {
	ref := map[string]any{"$ref": "#/$defs/" + t.Name()}
	if s.defs[t.Name()] != nil {
		return ref
	}
	properties, required := map[string]any{}, []string{}
	out := map[string]any{"type": "object", "properties": properties}
	out["additionalProperties"] = others(reflect.New(t).Elem()).IsValid()
	s.defs[t.Name()] = out
	for _, f := range fields(t) {
		p := s.of(f.kind)
		if f.enum != nil {
			p = withEnum(p, f.enum)
		}
		p["description"] = f.doc
		properties[f.name] = p
		if f.need {
			required = append(required, f.name)
		}
	}
	if len(required) > 0 {
		out["required"] = required
	}
	if short := shorthand[t]; short != "" {
		s.defs[t.Name()] = map[string]any{"anyOf": []any{out, map[string]any{"type": "string"}}}
	}
	return ref
}

// withEnum puts the enum at the texts of a schema. Numbers may stand for texts.
func withEnum(p map[string]any, enum []string) map[string]any {
	var values []any
	var kinds any = "string"
	for _, text := range enum {
		values = append(values, text)
		if n, err := strconv.Atoi(text); err == nil {
			values, kinds = append(values, n), []string{"string", "integer"}
		}
	}
	text := map[string]any{"type": kinds, "enum": values}
	if p["anyOf"] == nil {
		return text
	}
	return map[string]any{"anyOf": []any{map[string]any{"type": []string{"array", "null"}, "items": text}, text}}
}

// Members lists all members in Markdown, each mapping with its own below it.
func Members() string {
	var b strings.Builder
	seen := map[reflect.Type]bool{}
	var list func(title string, t reflect.Type)
	list = func(title string, t reflect.Type) {
		if seen[t] {
			return
		}
		seen[t] = true
		fmt.Fprintf(&b, "### %s\n\n| member | meaning |\n|---|---|\n", title)
		var below []formField
		for _, f := range fields(t) {
			doc := strings.ReplaceAll(f.doc, "*", `\*`)
			if f.enum != nil {
				doc += ": `" + strings.Join(f.enum, "`, `") + "`"
			}
			if f.need {
				doc += "; needed"
			}
			fmt.Fprintf(&b, "| `%s` | %s |\n", f.name, doc)
			for f.kind.Kind() == reflect.Pointer || f.kind.Kind() == reflect.Slice || f.kind.Kind() == reflect.Map {
				f.kind = f.kind.Elem()
			}
			if f.kind.Kind() == reflect.Struct && f.kind != reflect.TypeFor[Value]() {
				below = append(below, f)
			}
		}
		b.WriteString("\n")
		for _, f := range below {
			list(strings.TrimPrefix(title+"."+f.name, "The file."), f.kind)
		}
	}
	list("The file", reflect.TypeFor[File]())
	return strings.TrimSpace(b.String()) + "\n"
}

package catalogfile

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/backend/rest"
)

// An object is the JSON Schema of a tool's arguments, while lines of the file change it.
type object map[string]any

func objectOf(raw json.RawMessage) (object, error) {
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	return o, nil
}

func (o object) properties() map[string]any {
	p, _ := o["properties"].(map[string]any)
	return p
}

// remove takes an argument out of what the model sees and sets.
func (o object) remove(name string) {
	delete(o.properties(), name)
	o.require(name, false)
}

func (o object) require(name string, required bool) {
	list, _ := o["required"].([]any)
	list = slices.DeleteFunc(slices.Clone(list), func(v any) bool { return v == name })
	if required {
		list = append(list, name)
	}
	if delete(o, "required"); len(list) > 0 {
		o["required"] = list
	}
}

// narrow puts members of JSON Schema beside those of an argument.
func (o object) narrow(name string, schema map[string]any) {
	p, _ := o.properties()[name].(map[string]any)
	if p == nil {
		p = map[string]any{}
	}
	merged := maps.Clone(p)
	maps.Copy(merged, schema)
	o.properties()[name] = merged
}

func (o object) raw() json.RawMessage {
	b, err := json.Marshal(map[string]any(o))
	if err != nil {
		panic(err) // of values of JSON alone
	}
	return b
}

// written makes the arguments and the request of a tool that is written in the file.
func (r *reader) written(s *Source, t *Tool) (object, rest.Request) {
	line := requestLine.FindStringSubmatch(t.Request)
	q := rest.Request{Method: line[1], Server: strings.TrimSuffix(r.url(s.Line, s.REST), "/"), Path: line[2]}
	input := object{"type": "object", "properties": map[string]any{}, "additionalProperties": false}
	inPath := map[string]bool{}
	for _, m := range placeholder.FindAllStringSubmatch(q.Path, -1) {
		if inPath[m[1]] = true; t.Arguments[m[1]] == nil {
			r.fault(t.Line, "the path has {%s}, and there is no argument %[1]s", m[1])
		}
	}
	body := rest.Body{MediaType: "application/json"}
	for _, name := range slices.Sorted(maps.Keys(t.Arguments)) {
		a := t.Arguments[name]
		place := a.In
		switch {
		case place == "path" != inPath[name] && place != "":
			r.fault(a.Line, "the argument %s is in %s, and the path of the request says otherwise: %s", name, place, q.Path)
		case inPath[name]:
			place = "path"
		case place == "" && (q.Method == "POST" || q.Method == "PUT" || q.Method == "PATCH"):
			place = "body"
		case place == "":
			place = "query"
		}
		if place == "path" && a.Wire != "" || place != "path" && a.Slashes {
			r.fault(a.Line, "the argument %s is in the %s: slashes are of the path alone, where wire has no place", name, place)
		}
		if a.Fixed == nil {
			input.narrow(name, a.Schema)
			input.require(name, a.Optional == nil || !*a.Optional)
		}
		r.place(&q, &body, name, place, a)
	}
	if len(body.Members) > 0 {
		q.Body = &body
	}
	return input, q
}

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

// place puts an argument into a request.
func (r *reader) place(q *rest.Request, body *rest.Body, name, place string, a *Argument) {
	wire := cmp.Or(a.Wire, name)
	argument, fixed := name, r.fixed(a)
	if fixed != nil {
		argument = ""
	}
	if place == "body" {
		body.Members = append(body.Members, rest.Member{Argument: argument, Name: wire, Fixed: fixed})
		return
	}
	p := rest.Parameter{Argument: argument, Name: wire, Fixed: fixed, Slashes: a.Slashes, In: map[string]rest.Place{"path": rest.Path, "query": rest.Query, "header": rest.Header}[place]}
	p.Explode = p.In == rest.Query
	if p.In == rest.Path {
		p.Name = name
	}
	q.Parameters = append(q.Parameters, p)
}

// fixed is an argument's fixed value, nil where it has none.
func (r *reader) fixed(a *Argument) func(context.Context) (any, error) {
	if a.Fixed == nil {
		return nil
	}
	return r.value(a.Line, *a.Fixed)
}

// adapt applies a line's arguments to those of an operation.
func (r *reader) adapt(t *Tool, operation string, schemas []object, q *rest.Request) {
	for _, name := range slices.Sorted(maps.Keys(t.Arguments)) {
		a := t.Arguments[name]
		if _, known := schemas[0].properties()[name]; !known {
			if a.Fixed != nil && (a.In == "header" || a.In == "query") {
				r.place(q, nil, name, a.In, a)
				continue
			}
			r.fault(a.Line, "%s has no argument %s: it has %s; a fixed one that the document does not know needs in: header or in: query", operation, name,
				strings.Join(slices.Sorted(maps.Keys(schemas[0].properties())), ", "))
			continue
		}
		if place, wire := stands(q, name); a.In != "" && a.In != place || a.Wire != "" && a.Wire != wire || a.Slashes && place != "path" {
			r.fault(a.Line, "%s has the argument %s in its %s, as %s: the document says so, and in, wire and slashes can't say otherwise", operation, name, place, wire)
		}
		for _, o := range schemas {
			if a.Fixed != nil {
				o.remove(name)
				continue
			}
			o.narrow(name, a.Schema)
			if a.Optional != nil {
				o.require(name, !*a.Optional)
			}
		}
		if err := change(q, name, a, r.fixed(a)); err != nil {
			r.fault(a.Line, "%s: %v", operation, err)
		}
	}
}

// places are those of parameters, as the file has them.
var places = map[rest.Place]string{rest.Path: "path", rest.Query: "query", rest.Header: "header", rest.Cookie: "cookie"}

// stands says where a request has an argument, and as what.
func stands(q *rest.Request, name string) (place, wire string) {
	for _, p := range q.Parameters {
		if p.Argument == name {
			return places[p.In], p.Name
		}
	}
	if q.Body != nil {
		for _, m := range q.Body.Members {
			if m.Argument == name {
				return "body", m.Name
			}
		}
	}
	return "body", name
}

// change has a parameter or a member of the body say what the file says of it.
func change(q *rest.Request, name string, a *Argument, fixed func(context.Context) (any, error)) error {
	found := false
	q.Parameters = slices.Clone(q.Parameters)
	for i := range q.Parameters {
		if p := &q.Parameters[i]; p.Argument == name {
			if found, p.Slashes = true, p.Slashes || a.Slashes; fixed != nil {
				p.Argument, p.Fixed = "", fixed
			}
		}
	}
	if q.Body == nil || fixed == nil {
		return nil
	}
	body := *q.Body
	body.Members = slices.Clone(body.Members)
	for i := range body.Members {
		if m := &body.Members[i]; m.Argument == name {
			found, m.Argument, m.Fixed = true, "", fixed
		}
	}
	q.Body = &body
	if !found {
		return fmt.Errorf("the argument %s is the whole body, which can't be fixed", name)
	}
	return nil
}

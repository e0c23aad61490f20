package openapi

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/backend/rest"
)

// A builder makes an operation of an offer.
type builder struct {
	r         *reader
	o         *offer
	op        *Operation
	notes     notes
	arguments []argument
	fixed     []rest.Parameter
	inBody    []*node // parameters of OpenAPI 2.0
}

// An argument of the tool, before it has its name.
type argument struct {
	wire        string
	in          string // path, query, header or body
	is          *schema
	description string
	required    bool
	encoding    rest.Encoding
	name        string
}

func (r *reader) operation(o offer) (*Operation, error) {
	if o.err != nil {
		return nil, o.err
	}
	if o.method == "TRACE" {
		return nil, errors.New("TRACE answers with the request as it was sent, credentials and all: no tool is made of it")
	}
	b := &builder{r: r, o: &o, op: &Operation{ID: o.id, Method: o.method, Path: o.path, Tags: o.tags(), Place: o.line.place(), Name: o.name, Deprecated: o.op.is("deprecated")}}
	b.describe()
	b.op.ReadOnly, b.op.Idempotent = rest.Effects(o.method)
	b.op.Request.Method = o.method
	for _, step := range []func() error{b.server, b.parameters, b.body, b.assemble, b.answer} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	b.op.Notes = b.notes.all
	return b.op, nil
}

// describe takes the texts: the summary comes first.
func (b *builder) describe() {
	summary, description := plain(b.o.op.str("summary")), plain(b.o.op.str("description"))
	if summary == "" {
		summary = plain(b.o.item.str("summary"))
	}
	whole := description
	switch {
	case summary == "" && description == "":
		whole = b.o.method + " " + b.o.path
	case description == "":
		whole = summary
	case summary != "" && !strings.HasPrefix(description, strings.TrimRight(summary, ".")):
		b.op.Title = sentences(summary, 120)
		if !strings.HasSuffix(summary, ".") {
			summary += "."
		}
		whole = summary + "\n" + description
	}
	if b.op.Deprecated {
		whole = "Deprecated. " + whole
	}
	b.op.Description = sentences(whole, maxDescription)
}

// assemble names the arguments and writes the schemas and the request.
func (b *builder) assemble() error {
	b.nameArguments()
	root := &schema{state: filled, in: b.r.sent, types: []string{"object"}, properties: []property{}, closed: true}
	request := &b.op.Request
	request.Parameters = append(request.Parameters, b.fixed...)
	for i := range b.arguments {
		a := &b.arguments[i]
		a.is.look()
		root.properties = append(root.properties, property{a.name, a.description, a.is})
		if a.required {
			root.required = append(root.required, a.name)
		}
		if a.in != "body" {
			request.Parameters = append(request.Parameters, rest.Parameter{Argument: a.name, Name: a.wire, In: places[a.in], Encoding: a.encoding})
			continue
		}
		if a.wire == "" {
			request.Body.Argument = a.name
		} else {
			request.Body.Members = append(request.Body.Members, rest.Member{Argument: a.name, Name: a.wire, Null: a.is.takes("null")})
		}
	}
	input, err := root.written(&b.notes)
	if err != nil {
		return err
	}
	b.op.Input, b.op.Shown = input, root.shown()
	return nil
}

var places = map[string]rest.Place{"path": rest.Path, "query": rest.Query, "header": rest.Header, "cookie": rest.Cookie}

// nameArguments names each argument by its name on the wire. Where several would have one name, the one in the path has it, or else the one in
// the query, the header, the body, in this order; the others have their place behind it. So no name changes when the API gets a parameter more
// in a place that comes later.
func (b *builder) nameArguments() {
	slices.SortStableFunc(b.arguments, func(x, y argument) int { return slices.Index(order, x.in) - slices.Index(order, y.in) })
	taken := map[string]bool{}
	whole := slices.ContainsFunc(b.arguments, func(a argument) bool { return a.in == "body" && a.wire == "" })
	taken["body"] = whole
	for i := range b.arguments {
		a := &b.arguments[i]
		if a.in == "body" && a.wire == "" {
			a.name = "body"
			continue
		}
		a.name = argumentName(a.wire)
		if taken[a.name] {
			a.name = cut(a.name+"_"+a.in, a.wire, maxArgument)
		}
		for taken[a.name] {
			a.name = cut(argumentName(a.wire)+"_"+hash(a.in+" "+a.wire), a.name+a.wire, maxArgument)
			if taken[a.name] {
				a.name = "arg_" + hash(a.name+a.wire)
			}
		}
		taken[a.name] = true
	}
}

var order = []string{"path", "query", "header", "body"}

// answer reads the schema of a successful answer.
func (b *builder) answer() error {
	if !b.r.options.Outputs {
		return nil
	}
	responses := b.o.op.get("responses")
	var best *node
	for _, want := range []string{"200", "201", "202", "203", "206", "2XX", "2xx", "default"} {
		if best = responses.get(want); best != nil {
			break
		}
	}
	if best == nil {
		return nil
	}
	best, err := b.r.deref(best)
	if err != nil {
		b.notes.add(err.Error())
		return nil
	}
	is := best.get("schema")
	if content := best.get("content"); content != nil {
		_, is = pick(content)
		is = is.get("schema")
	}
	if is == nil {
		return nil
	}
	of := b.r.received.of(is)
	if err := of.broken(); err != nil {
		b.notes.add(fmt.Sprintf("the schema of answers is not read: %v", err))
		return nil
	}
	b.op.Output = of.shown()
	return nil
}

package openapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/backend/rest"
)

// parameters makes arguments of the path's and the operation's parameters, of which the operation's count.
func (b *builder) parameters() error {
	all, err := b.merged()
	if err != nil {
		return err
	}
	path := b.path()
	inPath := map[string]bool{}
	for _, m := range variable.FindAllStringSubmatch(path, -1) {
		inPath[m[1]] = true
	}
	for _, p := range all {
		in, name := p.str("in"), p.str("name")
		switch {
		case name == "" || places[in] == rest.Path && in != "path":
			return fmt.Errorf("the parameter at %v has no name, or its place %q is none: write in: path, query, header or cookie", p.place(), in)
		case in == "path" && !inPath[name]:
			b.notes.add(fmt.Sprintf("line %d: the path has no {%s}, so that the parameter is not sent", p.line, name))
			continue
		case in == "cookie":
			b.withhold(p, rest.Cookie, "cookies come from the catalog alone")
			continue
		case in == "header" && (rest.ReservedHeader(name) || strings.EqualFold(name, "Accept")): // OpenAPI ignores them too
			if strings.EqualFold(name, "Accept") {
				b.accept(p, name)
			}
			b.notes.add(fmt.Sprintf("line %d: the header %s is no argument: the request has its own", p.line, name))
			continue
		case in != "path" && b.r.options.Sets != nil && b.r.options.Sets(places[in], name):
			continue
		case in != "path" && b.secures(in, name):
			b.withhold(p, places[in], "it is a credential, which comes from the catalog alone")
			continue
		}
		a, err := b.parameter(p, in, name)
		if err != nil {
			return err
		}
		if in == "path" {
			delete(inPath, name)
		}
		b.arguments = append(b.arguments, a)
	}
	for _, m := range variable.FindAllStringSubmatch(path, -1) {
		if name := m[1]; inPath[name] && !slices.ContainsFunc(b.arguments, func(a argument) bool { return a.in == "path" && a.wire == name }) {
			b.notes.add(fmt.Sprintf("no parameter describes {%s} of the path: it is taken for text", name))
			b.arguments = append(b.arguments, argument{wire: name, in: "path", required: true, is: &schema{state: filled, in: b.r.sent, types: []string{"string"}}})
		}
	}
	return nil
}

// accept takes a value of the header Accept that the API has: some APIs refuse every other one, as those of FastAPI do that list the values.
func (b *builder) accept(p *node, name string) {
	a, err := b.parameter(p, "header", name)
	if err != nil {
		return // its own schema is at fault, and it is sent as for any API
	}
	texts, _ := a.is.texts()
	for _, s := range a.is.alternatives { // such as null beside it
		s.look()
		more, _ := s.texts()
		texts = append(texts, more...)
	}
	for _, text := range texts {
		var value string
		if json.Unmarshal([]byte(text), &value) != nil || mediaType(value) == "" {
			continue
		}
		if best := &b.op.Request.Accept; *best == "" || rank(value) < rank(*best) {
			*best = value
		}
	}
}

var variable = regexp.MustCompile(`\{([^{}]+)\}`)

// merged are the parameters with references followed. Names of headers are the same whatever their case.
func (b *builder) merged() ([]*node, error) {
	var out []*node
	at := map[string]int{}
	for _, list := range []*node{b.o.item.get("parameters"), b.o.op.get("parameters")} {
		for _, n := range list.elements() {
			p, err := b.r.deref(n)
			if err != nil {
				return nil, err
			}
			key := p.str("in") + " " + p.str("name")
			if p.str("in") == "header" {
				key = strings.ToLower(key)
			}
			if i, ok := at[key]; ok {
				out[i] = p
				continue
			}
			at[key] = len(out)
			out = append(out, p)
		}
	}
	if b.r.v2 {
		out = slices.DeleteFunc(out, func(p *node) bool {
			in := p.str("in")
			if in == "body" || in == "formData" {
				b.inBody = append(b.inBody, p)
			}
			return in == "body" || in == "formData"
		})
	}
	return out, nil
}

// path sets the request's path. A query that is written in it is sent as it is, and a fragment is not.
func (b *builder) path() string {
	path, _, _ := strings.Cut(b.o.path, "#")
	path, query, _ := strings.Cut(path, "?")
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	b.op.Request.Path = path
	values, _ := url.ParseQuery(query)
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err == nil && len(values[name]) > 0 && !variable.MatchString(values[name][0]) {
			b.fixed = append(b.fixed, rest.Parameter{Name: name, In: rest.Query, Fixed: always(values[name][0])})
			delete(values, name)
		}
	}
	return path
}

// withhold leaves a parameter out of the arguments.
func (b *builder) withhold(p *node, in rest.Place, why string) {
	needed := ""
	if p.is("required") {
		needed = ", and the API wants it"
	}
	name := p.str("name")
	b.op.Withheld = append(b.op.Withheld, rest.Parameter{Name: name, In: in, Encoding: b.encoding(p, in)})
	b.notes.add(fmt.Sprintf("line %d: %s in %s is no argument: %s%s", p.line, name, p.str("in"), why, needed))
}

// secures tells whether a parameter is the credential of a security scheme that the operation asks for.
func (b *builder) secures(in, name string) bool {
	root := b.r.main.root
	all := root.get("securityDefinitions")
	if !b.r.v2 {
		all = root.get("components").get("securitySchemes")
	}
	asked := b.o.op.get("security")
	if asked == nil {
		asked = root.get("security")
	}
	if all == nil {
		return false
	}
	for i, scheme := range all.keys {
		s, err := b.r.deref(all.kids[i])
		if err != nil || s.str("type") != "apiKey" || s.str("in") != in {
			continue
		}
		same := s.str("name") == name || in == "header" && strings.EqualFold(s.str("name"), name)
		if same && (asked == nil || slices.ContainsFunc(asked.elements(), func(one *node) bool { return one.get(scheme) != nil })) {
			return true
		}
	}
	return false
}

func (b *builder) parameter(p *node, in, name string) (argument, error) {
	a := argument{wire: name, in: in, description: p.str("description"), required: in == "path" || p.is("required"), encoding: b.encoding(p, places[in])}
	is := p.get("schema")
	if content := p.get("content"); !b.r.v2 && is == nil && content != nil && len(content.kids) > 0 {
		media, of := pick(content)
		is = of.get("schema")
		if a.encoding = (rest.Encoding{ContentType: media}); !isJSON(media) {
			a.encoding = b.encoding(p, places[in])
			a.is = &schema{state: filled, in: b.r.sent, types: []string{"string"}, description: "Text of " + media + "."}
			return a, nil
		}
	}
	if b.r.v2 {
		is = p
	}
	a.is = b.r.sent.of(is)
	a.is.look()
	return a, a.is.err
}

var styles = map[string]rest.Style{"matrix": rest.Matrix, "label": rest.Label, "simple": rest.Simple, "form": rest.Form, "spaceDelimited": rest.SpaceDelimited,
	"pipeDelimited": rest.PipeDelimited, "deepObject": rest.DeepObject}

var collections = map[string]rest.Style{"ssv": rest.SpaceDelimited, "tsv": rest.TabDelimited, "pipes": rest.PipeDelimited}

// allowed are the styles that a place has.
var allowed = map[rest.Place][]rest.Style{rest.Path: {rest.Matrix, rest.Label, rest.Simple}, rest.Header: {rest.Simple}, rest.Cookie: {rest.Form},
	rest.Query: {rest.Form, rest.SpaceDelimited, rest.PipeDelimited, rest.DeepObject}}

// encoding returns how a parameter is written.
func (b *builder) encoding(p *node, in rest.Place) rest.Encoding {
	if b.r.v2 {
		return collection(p, in)
	}
	e := rest.Encoding{Style: rest.Simple, AllowReserved: p.is("allowReserved") && in == rest.Query}
	if in == rest.Query || in == rest.Cookie {
		e.Style = rest.Form
	}
	if style := p.str("style"); style != "" {
		if s, ok := styles[style]; ok && slices.Contains(allowed[in], s) {
			e.Style = s
		} else {
			b.notes.add(fmt.Sprintf("line %d: parameters in %s have no style %s: the default is taken", p.line, p.str("in"), style))
		}
	}
	e.Explode = e.Style == rest.Form
	if p.get("explode") != nil {
		e.Explode = p.is("explode")
	}
	return e
}

// collection is the encoding of a parameter of OpenAPI 2.0.
func collection(p *node, in rest.Place) rest.Encoding {
	style := rest.Simple
	if in == rest.Query {
		style = rest.Form
	}
	switch format := p.str("collectionFormat"); {
	case format == "multi" && in == rest.Query:
		return rest.Encoding{Style: rest.Form, Explode: true}
	case collections[format] != rest.DefaultStyle && in == rest.Query:
		return rest.Encoding{Style: collections[format]}
	}
	return rest.Encoding{Style: style}
}

package openapi

import (
	"context"
	"fmt"
	"mime"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/backend/rest"
)

func always(v string) func(context.Context) (any, error) {
	return func(context.Context) (any, error) { return v, nil }
}

const (
	urlencoded = "application/x-www-form-urlencoded"
	multipart  = "multipart/form-data"
)

// mediaType is a media type without its parameters, in small letters, or "" for what is none.
func mediaType(s string) string {
	t, _, err := mime.ParseMediaType(s)
	if err != nil || !strings.Contains(t, "/") {
		return ""
	}
	return t
}

func isJSON(s string) bool {
	t := mediaType(s)
	return t == "application/json" || t == "text/json" || strings.HasSuffix(t, "+json")
}

// rank orders media types: JSON comes first, then forms, then text, then bytes. Patches of JSON that are lists of steps come after those that are like the whole.
func rank(s string) int {
	switch t := mediaType(s); {
	case t == "application/json":
		return 0
	case t == "*/*" || t == "application/*":
		return 1
	case t == "application/json-patch+json":
		return 4
	case t == "application/merge-patch+json":
		return 2
	case isJSON(s):
		return 3
	case t == urlencoded:
		return 5
	case t == multipart:
		return 6
	case strings.HasPrefix(t, "text/") && t != "text/event-stream":
		return 7
	case strings.Contains(t, "xml") || strings.Contains(t, "yaml"):
		return 8
	case t == "":
		return 10
	}
	return 9
}

// pick returns the media type that is preferred, and what the document says of it. One that stands for any is JSON.
func pick(content *node) (string, *node) {
	if content == nil || content.kind != object || len(content.keys) == 0 {
		return "", nil
	}
	best := 0
	for i, key := range content.keys {
		if rank(key) < rank(content.keys[best]) {
			best = i
		}
	}
	media := content.keys[best]
	if rank(media) == 1 {
		media = "application/json"
	}
	return media, content.kids[best]
}

// types are the media types of OpenAPI 2.0: the operation's or the document's.
func (b *builder) types(keyword string) (out []string) {
	of := b.o.op.get(keyword)
	if of == nil {
		of = b.r.main.root.get(keyword)
	}
	for _, t := range of.elements() {
		out = append(out, t.text)
	}
	return out
}

// body makes arguments of what the request carries.
func (b *builder) body() error {
	if b.r.v2 {
		return b.body2()
	}
	n := b.o.op.get("requestBody")
	if n == nil {
		return nil
	}
	n, err := b.r.deref(n)
	if err != nil {
		return err
	}
	media, of := pick(n.get("content"))
	switch {
	case of == nil:
		return nil
	case mediaType(media) == "":
		return fmt.Errorf("the body at %v has the media type %q, which is none: write one such as application/json", n.place(), media)
	case strings.Contains(mediaType(media), "*"):
		media = map[bool]string{true: "text/plain", false: "application/octet-stream"}[strings.HasPrefix(mediaType(media), "text/")]
	}
	if of, err = b.r.deref(of); err != nil {
		return err
	}
	b.op.Request.Body = &rest.Body{MediaType: media, Required: n.is("required")}
	is := b.r.sent.of(of.get("schema"))
	if is.look(); is.err != nil {
		return is.err
	}
	return b.carry(is, of.get("encoding"), n.str("description"))
}

// body2 is body for OpenAPI 2.0, of which the parameters in body and formData were kept.
func (b *builder) body2() error {
	if len(b.inBody) == 0 {
		return nil
	}
	consumes := b.types("consumes")
	body := &rest.Body{}
	b.op.Request.Body = body
	for _, p := range b.inBody {
		if p.str("in") != "body" {
			continue
		}
		body.MediaType, body.Required = "application/json", p.is("required")
		if len(consumes) > 0 {
			best := slices.MinFunc(consumes, func(x, y string) int { return rank(x) - rank(y) })
			if mediaType(best) != "" && !strings.Contains(best, "*") {
				body.MediaType = best
			}
		}
		is := b.r.sent.of(p.get("schema"))
		if is.look(); is.err != nil {
			return is.err
		}
		return b.carry(is, nil, p.str("description"))
	}
	form := &schema{state: filled, in: b.r.sent, types: []string{"object"}}
	body.MediaType = urlencoded
	body.Encodings = map[string]rest.Encoding{}
	files := slices.ContainsFunc(b.inBody, func(p *node) bool { return p.str("type") == "file" })
	if files || len(consumes) > 0 && !slices.ContainsFunc(consumes, func(t string) bool { return mediaType(t) == urlencoded }) && slices.ContainsFunc(consumes, func(t string) bool { return mediaType(t) == multipart }) {
		body.MediaType = multipart
	}
	for _, p := range b.inBody {
		name := p.str("name")
		if name == "" {
			return fmt.Errorf("the parameter at %v has no name", p.place())
		}
		if b.secures("formData", name) {
			continue
		}
		is := b.r.sent.of(p)
		if is.look(); is.err != nil {
			return is.err
		}
		form.properties = append(form.properties, property{name: name, is: is})
		if p.is("required") {
			form.required, body.Required = append(form.required, name), true
		}
		if p.str("collectionFormat") != "" || p.str("type") == "array" {
			body.Encodings[name] = collection(p, rest.Query)
		}
	}
	b.flatten(form)
	b.files(form)
	return nil
}

// carry makes arguments of a body: one of each member where it is a plain object, or else one of the whole.
func (b *builder) carry(is *schema, encoding *node, description string) error {
	body := b.op.Request.Body
	t := mediaType(body.MediaType)
	form := t == urlencoded || t == multipart
	if !form && !isJSON(t) {
		body.Binary = !strings.HasPrefix(t, "text/") && rank(t) != 8 && !strings.HasSuffix(t, "json") && !strings.HasSuffix(t, "javascript")
		whole := &schema{state: filled, in: b.r.sent, types: []string{"string"}, binary: body.Binary}
		if !body.Binary {
			whole.description = "Text of " + t + "."
		}
		b.arguments = append(b.arguments, argument{in: "body", is: whole, description: description, required: body.Required})
		return nil
	}
	if flat := is.flat(); form && flat != nil {
		is = flat
	}
	if kinds := is.kinds(0); form && !slices.Contains(kinds, "object") {
		if kinds != nil {
			return fmt.Errorf("the body is of %s, and its schema is not an object: only an object has members to send so", t)
		}
		is = &schema{state: filled, in: b.r.sent, types: []string{"object"}}
	}
	if form {
		b.encodings(is, encoding)
		b.files(is)
	}
	if members := is.flat(); members != nil {
		b.flatten(members)
		return nil
	}
	b.arguments = append(b.arguments, argument{in: "body", is: is, description: description, required: body.Required})
	return nil
}

// flat returns the schema of a plain object, whose members can be arguments, or nil for any other. That null would do in its place is no matter: it
// says as little as no argument does.
func (s *schema) flat() *schema {
	if s.look(); s.alternatives != nil {
		rest := slices.DeleteFunc(slices.Clone(s.alternatives), func(a *schema) bool { return slices.Equal(a.kinds(0), []string{"null"}) })
		if len(rest) == 1 && len(s.alternatives) > 1 {
			return rest[0].flat()
		}
		return nil
	}
	kinds := slices.DeleteFunc(slices.Clone(s.types), func(kind string) bool { return kind == "null" })
	if !slices.Equal(kinds, []string{"object"}) || s.open || s.properties == nil && s.readOnlys == nil && !s.closed {
		return nil
	}
	return s
}

// flatten makes an argument of each member. Those that a body must have are required, also where there need not be a body.
func (b *builder) flatten(is *schema) {
	for _, p := range is.properties {
		b.arguments = append(b.arguments, argument{wire: p.name, in: "body", is: p.is, description: p.description, required: slices.Contains(is.required, p.name)})
	}
	for _, text := range is.notes {
		b.notes.add(text)
	}
	if !b.op.Request.Body.Required && len(is.required) > 0 {
		b.notes.add("the document has the body optional, and some of its members required: they are required arguments")
	}
	if len(is.properties) == 0 && !b.op.Request.Body.Required {
		b.op.Request.Body = nil
	}
}

// encodings takes how members of a form are written.
func (b *builder) encodings(is *schema, all *node) {
	if all == nil || all.kind != object {
		return
	}
	body := b.op.Request.Body
	body.Encodings = map[string]rest.Encoding{}
	for i, name := range all.keys {
		n := all.kids[i]
		e := rest.Encoding{}
		if n.get("style") != nil || n.get("explode") != nil || n.get("allowReserved") != nil {
			e = b.encoding(n, rest.Query)
		} else if e.ContentType = specific(n.str("contentType")); e.ContentType == "" {
			continue
		}
		body.Encodings[name] = e
	}
}

// specific is the first of a list of media types that stands for one alone, or "".
func specific(list string) string {
	for t := range strings.SplitSeq(list, ",") {
		if t = strings.TrimSpace(t); mediaType(t) != "" && !strings.Contains(t, "*") {
			return t
		}
	}
	return ""
}

// files finds the members of a multipart body that are bytes.
func (b *builder) files(is *schema) {
	body := b.op.Request.Body
	if mediaType(body.MediaType) != multipart {
		return
	}
	for _, p := range is.properties {
		of := p.is.look()
		if of.items != nil && of.items.look().binary || of.binary {
			if body.Files == nil {
				body.Files = map[string]bool{}
			}
			body.Files[p.name] = true
		}
	}
}

package rest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"maps"
	"mime"
	"mime/multipart"
	"net/textproto"
	"slices"
	"strings"
)

const (
	formType      = "application/x-www-form-urlencoded"
	multipartType = "multipart/form-data"
)

// isJSON tells of application/json and of types that end in +json (RFC 6839).
func isJSON(mediaType string) bool {
	kind, _, err := mime.ParseMediaType(mediaType)
	return err == nil && (kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json"))
}

// A part is a member of a body that has a value.
type part struct {
	argument, name string
	value          any
}

// parts returns what a body is made of, in the catalog's order, or by name where one argument is the whole of it.
func (b *builder) parts(body *Body) (out []part, given bool) {
	if body.Argument != "" {
		v, ok := b.value(body.Argument, body.Argument, nil)
		object, isObject := v.(map[string]any)
		if ok && !isObject {
			b.fault(body.Argument, "", errors.New("it is not an object, of which this body is made"))
		}
		b.sameMethod(body.Argument, object)
		for _, name := range slices.Sorted(maps.Keys(object)) {
			if object[name] != nil {
				out = append(out, part{body.Argument, name, object[name]})
			}
		}
		return out, ok
	}
	for i := range body.Members {
		m := &body.Members[i]
		v, ok := b.value(m.Argument, m.Name, m.Fixed)
		if _, said := b.args[m.Argument]; ok || m.Null && said && m.Fixed == nil {
			out = append(out, part{m.Argument, m.Name, v})
		}
	}
	return out, len(out) > 0
}

// methodField is the member by which Rack, Symfony and Laravel serve a POST as another method: what no rule has allowed.
const methodField = "_method"

func (b *builder) sameMethod(argument string, object map[string]any) {
	if _, there := object[methodField]; there {
		b.fault(argument, "", errors.New("it has the member "+methodField+", by which some APIs take another method"))
	}
}

// body writes the body. Without a media type there is none.
func (b *builder) body() (body []byte, mediaType string) {
	of := b.plan.request.Body
	if of == nil {
		return nil, ""
	}
	kind, _, _ := mime.ParseMediaType(of.MediaType)
	switch {
	case kind == formType:
		return b.form(of)
	case kind == multipartType:
		return b.multipart(of)
	case isJSON(kind) && of.Argument == "":
		parts, given := b.parts(of)
		if !given && !of.Required {
			return nil, ""
		}
		return b.members(parts), of.MediaType
	}
	v, given := b.args[of.Argument]
	if !given || v == nil && !isJSON(kind) {
		if of.Required {
			b.fault(of.Argument, "", errors.New("it is missing, and is the request's body"))
		}
		return nil, ""
	}
	var err error
	if isJSON(kind) {
		object, _ := v.(map[string]any)
		b.sameMethod(of.Argument, object)
		body, err = jsonText(v)
	} else if of.Binary {
		body, err = fromBase64(v)
	} else {
		var text string
		text, err = plain(v)
		body = []byte(text)
	}
	if err != nil {
		b.fault(of.Argument, "", err)
	}
	return body, of.MediaType
}

// members writes a JSON object.
func (b *builder) members(parts []part) []byte {
	out := []byte{'{'}
	for i, p := range parts {
		name, err := jsonText(p.name)
		var value []byte
		if err == nil {
			value, err = jsonText(p.value)
		}
		if err != nil {
			b.fault(p.argument, p.name, err)
			continue
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, name...), ':'), value...)
	}
	return append(out, '}')
}

// form writes application/x-www-form-urlencoded (OpenAPI 3.1, section 4.8.15.1).
func (b *builder) form(of *Body) (body []byte, mediaType string) {
	parts, given := b.parts(of)
	if !given && !of.Required {
		return nil, ""
	}
	names := map[string]bool{methodField: true}
	for _, m := range of.Members {
		names[m.Name] = true
	}
	for _, p := range parts {
		names[p.name] = true
	}
	var out strings.Builder
	for _, p := range parts {
		e, said := of.Encodings[p.name]
		if !said {
			e = Encoding{Style: Form, Explode: true}
			if _, object := p.value.(map[string]any); object {
				e.ContentType = "application/json"
			}
		}
		if p.value == nil {
			continue // a form has no null
		}
		fields, err := e.fields(p.name, p.value, e.inQuery)
		if err == nil {
			err = apart(fields, p.name, names)
		}
		if err != nil {
			b.fault(p.argument, p.name, err)
			continue
		}
		appendFields(&out, fields)
	}
	return []byte(out.String()), formType
}

// multipart writes multipart/form-data (RFC 7578): a part for each member, and for each item of a list.
func (b *builder) multipart(of *Body) (body []byte, mediaType string) {
	parts, given := b.parts(of)
	if !given && !of.Required {
		return nil, ""
	}
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	for _, p := range parts {
		values, isList := p.value.([]any)
		if !isList {
			values = []any{p.value}
		}
		for _, v := range values {
			if v == nil {
				continue
			}
			if err := appendPart(w, of, p.name, v); err != nil {
				b.fault(p.argument, p.name, err)
			}
		}
	}
	if err := w.Close(); err != nil {
		b.broken = append(b.broken, err)
	}
	return out.Bytes(), w.FormDataContentType()
}

func appendPart(w *multipart.Writer, of *Body, name string, v any) error {
	contentType := of.Encodings[name].ContentType
	header := textproto.MIMEHeader{}
	var content []byte
	var err error
	if of.Files[name] {
		content, err = fromBase64(v)
		header.Set("Content-Disposition", multipart.FileContentDisposition(name, name))
		if contentType == "" {
			contentType = "application/octet-stream"
		}
	} else {
		header.Set("Content-Disposition", fieldDisposition(name))
		_, isScalar := scalar(v)
		if contentType == "" && !isScalar {
			contentType = "application/json"
		}
		var text string
		text, err = Encoding{ContentType: contentType}.document(v)
		content = []byte(text)
	}
	if err != nil {
		return err
	}
	if contentType != "" {
		header.Set("Content-Type", contentType)
	}
	part, err := w.CreatePart(header)
	if err == nil {
		_, err = part.Write(content)
	}
	return err
}

// fieldDisposition is that of a file without the file's name: the same characters are escaped.
func fieldDisposition(name string) string {
	text, _, _ := strings.Cut(multipart.FileContentDisposition(name, ""), `; filename=""`)
	return text
}

// fromBase64 decodes an argument that is bytes, padded or not.
func fromBase64(v any) ([]byte, error) {
	text, ok := v.(string)
	if !ok {
		return nil, errors.New("it is no text in base64, as bytes are written")
	}
	content, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, errors.New("it is no base64 (RFC 4648, section 4), as bytes are written")
	}
	return content, nil
}

package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"example.com/erlmcp/function/internal/mcp"
)

// A builder makes one HTTP request of a call's arguments.
type builder struct {
	ctx    context.Context
	plan   *plan
	args   map[string]any
	faults []error // of arguments, for the model
	broken []error // of what the catalog fixes, for the operator
}

// value returns an argument's value, or the one that is fixed. It is not ok where there is none.
func (b *builder) value(argument, name string, fixed func(context.Context) (any, error)) (v any, ok bool) {
	if fixed == nil {
		v, ok = b.args[argument]
		return v, ok && v != nil
	}
	v, err := fixed(b.ctx)
	if err != nil {
		b.broken = append(b.broken, fmt.Errorf("the value of %s, which the catalog says, can't be had: %w", name, err))
		return nil, false
	}
	return v, v != nil
}

// fault notes why the value of an argument, or of what is fixed under a name, can't be sent.
func (b *builder) fault(argument, name string, err error) {
	if argument == "" {
		b.broken = append(b.broken, fmt.Errorf("the value of %s, which the catalog says, can't be sent: %w", name, err))
		return
	}
	b.faults = append(b.faults, fmt.Errorf("argument %s: %w", argument, err))
}

// build makes the HTTP request, without the API's credentials. The error is a [mcp.Misfit] where arguments can't be sent, and has all faults.
func (p *plan) build(ctx context.Context, args map[string]any, forwarded http.Header) (*http.Request, error) {
	b := &builder{ctx: ctx, plan: p, args: args}
	path := b.path()
	if b.faults == nil && b.broken == nil {
		if err := settled(path); err != nil {
			b.faults = append(b.faults, err)
		}
	}
	query := b.query()
	accept := p.request.Accept
	if accept == "" {
		accept = "application/json, */*;q=0.5"
	}
	header := http.Header{"User-Agent": {"erlmcp"}, "Accept": {accept}}
	b.headers(header, forwarded)
	body, mediaType := b.body()
	if mediaType != "" {
		header["Content-Type"] = []string{mediaType}
	}
	if b.broken != nil {
		return nil, errors.Join(b.broken...)
	}
	if b.faults != nil {
		return nil, &mcp.Misfit{Err: errors.Join(b.faults...)}
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return nil, err
	}
	u := *p.base
	u.Path, u.RawPath, u.RawQuery = decoded, path, query
	r := (&http.Request{Method: p.request.Method, URL: &u, Host: u.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	if mediaType != "" {
		r.ContentLength = int64(len(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		r.Body, _ = r.GetBody()
		if len(body) == 0 {
			r.Body = http.NoBody
		}
	}
	return r, nil
}

// query writes the query.
func (b *builder) query() string {
	var out strings.Builder
	for i := range b.plan.request.Parameters {
		p := &b.plan.request.Parameters[i]
		if p.In != Query {
			continue
		}
		v, ok := b.value(p.Argument, p.Name, p.Fixed)
		if !ok {
			continue
		}
		fields, err := p.fields(p.Name, v, p.inQuery)
		if err == nil {
			err = apart(fields, p.Name, b.plan.names)
		}
		if err != nil {
			b.fault(p.Argument, p.Name, err)
			continue
		}
		appendFields(&out, fields)
	}
	return out.String()
}

func appendFields(out *strings.Builder, fields []field) {
	for _, f := range fields {
		if out.Len() > 0 {
			out.WriteByte('&')
		}
		out.WriteString(encode(f.name, ""))
		out.WriteByte('=')
		out.WriteString(f.value)
	}
}

// apart refuses a member of an object whose name would make it another parameter: one that is fixed, say, or a credential.
func apart(fields []field, own string, names map[string]bool) error {
	for _, f := range fields {
		if f.name != own && names[f.name] {
			return fmt.Errorf("its member %.60q is called as another parameter is", f.name)
		}
	}
	return nil
}

// headers writes the headers that are parameters, the cookies, and what the API always sends.
func (b *builder) headers(header, forwarded http.Header) {
	var cookies []string
	for i := range b.plan.request.Parameters {
		p := &b.plan.request.Parameters[i]
		if p.In != Header && p.In != Cookie {
			continue
		}
		v, ok := b.value(p.Argument, p.Name, p.Fixed)
		if !ok || absent(v) {
			continue
		}
		if p.In == Cookie {
			fields, err := p.fields(p.Name, v, inCookie)
			if err != nil {
				b.fault(p.Argument, p.Name, err)
			}
			for _, f := range fields {
				cookies = append(cookies, f.name+"="+f.value)
			}
			continue
		}
		text, err := p.headerValue(v)
		if err != nil {
			b.fault(p.Argument, p.Name, err)
			continue
		}
		header.Set(p.Name, text)
	}
	if cookies != nil {
		header["Cookie"] = []string{strings.Join(cookies, "; ")}
	}
	for name, value := range b.plan.api.Headers {
		text, err := value(b.ctx)
		if err == nil {
			err = headerText(text)
		}
		if err != nil {
			b.broken = append(b.broken, fmt.Errorf("the header %s can't be had: %w", name, err))
			continue
		}
		header.Set(name, text)
	}
	for from, to := range b.plan.api.Forward {
		if values := forwarded.Values(from); len(values) == 1 && headerText(values[0]) == nil {
			header.Set(to, values[0])
		}
	}
}

func (e Encoding) headerValue(v any) (string, error) {
	if e.ContentType != "" {
		text, err := e.document(v)
		if err != nil {
			return "", err
		}
		return inHeader(text, "")
	}
	return expand(v, e.Explode, ",", inHeader)
}

package rest

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

// A plan is a request's form with all that can be known of it before a call.
type plan struct {
	api     *API
	request *Request
	base    *url.URL
	path    []piece
	names   map[string]bool // of the query's parameters, and the one that Auth sets
	hint    string          // names arguments that ask for less
}

// reserved are the headers that no argument sets. Connections, framing and who asks are for this server to say (RFC 9110, sections 7.2 and 7.6.1);
// by the last ones a caller would be served by another method than the one that rules allow.
var reserved = []string{"Authorization", "Proxy-Authorization", "Cookie", "Host", "Content-Length", "Content-Type", "Content-Encoding", "Accept-Encoding",
	"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect",
	"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"}

// ofConnection are the headers that nobody sets, an operator neither.
var ofConnection = []string{"Host", "Content-Length", "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Accept-Encoding"}

// ReservedHeader tells whether a header can't be set by an argument, whatever the API. What an API's own credentials and headers set can't be,
// either: [API.Sets].
func ReservedHeader(name string) bool {
	return slices.Contains(reserved, textproto.CanonicalMIMEHeaderKey(name))
}

// Sets tells whether the API's credentials or headers set what is in a place under a name, so that no argument may.
func (a *API) Sets(in Place, name string) bool {
	if a.Auth != nil {
		if place, set := a.Auth.Sets(); place == in && (set == name || in == Header && strings.EqualFold(set, name)) {
			return true
		}
	}
	if in != Header {
		return false
	}
	for set := range a.Headers {
		if strings.EqualFold(set, name) {
			return true
		}
	}
	for _, set := range a.Forward {
		if strings.EqualFold(set, name) {
			return true
		}
	}
	return false
}

// plan checks a request. The error has all faults of it.
func (a *API) plan(r *Request) (*plan, error) {
	p := &plan{api: a, request: r, names: map[string]bool{methodField: true}}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if r.Method == "" || r.Method == http.MethodConnect || r.Method == http.MethodTrace || !token(r.Method) || r.Method != strings.ToUpper(r.Method) {
		fault("the method %q is none that a tool can have: use GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS", r.Method)
	}
	var err error
	if p.base, err = url.Parse(r.Server); err != nil || p.base.Host == "" || p.base.Scheme != "https" && p.base.Scheme != "http" || p.base.User != nil ||
		p.base.RawQuery != "" || p.base.Fragment != "" || strings.HasSuffix(r.Server, "/") {
		fault("the server %.200q is no URL of https, a host and perhaps a path, without a slash at its end", r.Server)
		p.base = &url.URL{}
	}
	if p.path, err = r.pieces(); err != nil {
		faults = append(faults, err)
	}
	sample := p.base.EscapedPath()
	for _, piece := range p.path {
		if sample += piece.text; piece.parameter >= 0 {
			sample += "x"
		}
	}
	if err := settled(sample); err != nil {
		faults = append(faults, err)
	}
	if _, err := url.PathUnescape(sample); err != nil {
		fault("the path %q has a %% that encodes nothing", r.Path)
	}
	if a.Auth != nil {
		if in, name := a.Auth.Sets(); in == Query {
			p.names[name] = true
		}
	}
	for i := range r.Parameters {
		if err := p.parameter(i); err != nil {
			faults = append(faults, err)
		}
	}
	if r.Body != nil {
		faults = append(faults, r.Body.check())
	}
	p.hint = r.narrower()
	return p, errors.Join(append(faults, a.check())...)
}

// check returns what is wrong with the API's own headers.
func (a *API) check() error {
	var faults []error
	set := map[string]bool{}
	once := func(name string) {
		key := textproto.CanonicalMIMEHeaderKey(name)
		if set[key] {
			faults = append(faults, fmt.Errorf("the header %s is set twice, by auth, headers or forward", key))
		}
		set[key] = true
		if !token(name) || slices.Contains(ofConnection, key) {
			faults = append(faults, fmt.Errorf("the header %q can't be set", name))
		}
	}
	if a.Auth != nil {
		if in, name := a.Auth.Sets(); in == Header {
			once(name)
		}
	}
	for name := range a.Headers {
		once(name)
	}
	for from, to := range a.Forward {
		once(to)
		if key := textproto.CanonicalMIMEHeaderKey(from); !token(from) || ReservedHeader(from) || slices.Contains(notForwarded, key) {
			faults = append(faults, fmt.Errorf("the caller's header %q is not forwarded: it is for this server alone", from))
		}
	}
	return errors.Join(faults...)
}

// parameter returns what is wrong with one of the parameters.
func (p *plan) parameter(i int) error {
	v := &p.request.Parameters[i]
	styles := map[Place][]Style{Path: {DefaultStyle, Simple, Label, Matrix}, Query: {DefaultStyle, Form, SpaceDelimited, PipeDelimited, TabDelimited, DeepObject},
		Header: {DefaultStyle, Simple}, Cookie: {DefaultStyle, Form}}[v.In]
	switch {
	case v.Name == "":
		return errors.New("a parameter has no name")
	case v.Argument == "" && v.Fixed == nil:
		return fmt.Errorf("the parameter %s has neither an argument nor a value", v.Name)
	case !slices.Contains(styles, v.Style):
		return fmt.Errorf("the parameter %s has a style that its place does not have", v.Name)
	case v.In == Cookie && p.api.Sets(Header, "Cookie"):
		return fmt.Errorf("the cookie %s is set beside the header Cookie, which would replace it", v.Name)
	case v.In == Cookie && v.Fixed == nil:
		return fmt.Errorf("the cookie %s is set by an argument: cookies are set by the catalog alone", v.Name)
	case (v.In == Header || v.In == Cookie) && !token(v.Name):
		return fmt.Errorf("the parameter %q has a name that no header or cookie has", v.Name)
	case v.In == Header && v.Fixed == nil && ReservedHeader(v.Name):
		return fmt.Errorf("the header %s is set by an argument, which none may", v.Name)
	case v.In == Header && slices.Contains(ofConnection, textproto.CanonicalMIMEHeaderKey(v.Name)):
		return fmt.Errorf("the header %s can't be set", v.Name)
	case p.api.Sets(v.In, v.Name):
		return fmt.Errorf("the parameter %s is what the API's credentials or headers set: leave it out", v.Name)
	}
	for j := range i {
		if other := &p.request.Parameters[j]; other.In == v.In && (other.Name == v.Name || v.In == Header && strings.EqualFold(other.Name, v.Name)) {
			return fmt.Errorf("the parameter %s is there twice", v.Name)
		}
	}
	if v.In == Query {
		p.names[v.Name] = true
	}
	return nil
}

// check returns what is wrong with the form of a body.
func (b *Body) check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	kind, _, err := mime.ParseMediaType(b.MediaType)
	if err != nil || strings.Contains(kind, "*") {
		fault("the body's media type %q is none", b.MediaType)
	}
	if b.Argument != "" && len(b.Members) > 0 {
		fault("the body is both the argument %s and made of members", b.Argument)
	}
	if parts := isJSON(kind) || kind == formType || kind == multipartType; b.Argument == "" && !parts {
		fault("a body of the type %s is made of one argument, and none is named", kind)
	}
	seen := map[string]bool{}
	for _, m := range b.Members {
		if m.Name == "" || m.Argument == "" && m.Fixed == nil || seen[m.Name] {
			fault("the body's member %q is there twice, or has no name, or neither an argument nor a value", m.Name)
		}
		seen[m.Name] = true
	}
	for name, e := range b.Encodings {
		if e.ContentType != "" {
			if _, _, err := mime.ParseMediaType(e.ContentType); err != nil || headerText(e.ContentType) != nil || strings.Contains(e.ContentType, "*") {
				fault("the body's member %s has the media type %.60q, which is none", name, e.ContentType)
			}
		}
		if !slices.Contains([]Style{DefaultStyle, Form, SpaceDelimited, PipeDelimited, TabDelimited, DeepObject}, e.Style) {
			fault("the body's member %s has a style that forms don't have", name)
		}
	}
	return errors.Join(faults...)
}

// parameter returns the index of a parameter, or -1.
func (r *Request) parameter(in Place, name string) int {
	return slices.IndexFunc(r.Parameters, func(p Parameter) bool { return p.In == in && p.Name == name })
}

// maxHint is how many arguments a remedy names.
const maxHint = 8

// narrower names the arguments that an answer may depend on, for a model that is to ask for less.
func (r *Request) narrower() string {
	var names []string
	for _, p := range r.Parameters {
		if p.In == Query && p.Argument != "" && p.Fixed == nil && len(names) < maxHint {
			names = append(names, p.Argument)
		}
	}
	return strings.Join(names, ", ")
}

// Effects tells what a method says of its requests (RFC 9110, section 9.2): that they change nothing, and that sending one twice is as once.
func Effects(method string) (readOnly, idempotent bool) {
	readOnly = slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, method)
	return readOnly, readOnly || method == http.MethodPut || method == http.MethodDelete
}

// token tells of a name that methods, headers and cookies have (RFC 9110, section 5.6.2).
func token(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r < 0x80 && unreserved(byte(r)) || strings.ContainsRune("!#$%&'*+^`|", r))
	})
}

package catalogfile

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

var (
	validSource = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,31}$`)
	validTool   = regexp.MustCompile(`^[a-zA-Z0-9_]{1,48}$`)
	requestLine = regexp.MustCompile(`^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/\S*)$`)
)

// check finds what the types of the form can't say.
func (f *File) check(d *decoder) {
	names := map[string]int{}
	for i := range f.Sources {
		s := &f.Sources[i]
		if line, twice := names[s.Name]; twice {
			d.fault(s.Line, "another source, at line %d, is named %s", line, s.Name)
		}
		names[s.Name] = s.Line
		s.check(d)
	}
}

// Kind is the member that says what a source is.
func (s *Source) Kind() string {
	if kinds := s.kinds(); len(kinds) == 1 {
		return kinds[0]
	}
	return ""
}

func (s *Source) kinds() (out []string) {
	for _, kind := range []struct {
		name string
		is   bool
	}{{"openapi", s.OpenAPI != ""}, {"rest", s.REST != ""}, {"firestore", s.Firestore != nil}, {"texts", s.Texts != nil}} {
		if kind.is {
			out = append(out, kind.name)
		}
	}
	return out
}

// isURL tells of what requests can be sent to.
func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") && u.RawQuery == "" && u.Fragment == "" && u.User == nil
}

func (s *Source) check(d *decoder) {
	fault := func(format string, args ...any) { d.fault(s.Line, "source "+s.Name+": "+format, args...) }
	if s.Name != "" && !validSource.MatchString(s.Name) {
		fault("a name begins with a letter, and has at most 32 letters, digits and underscores")
	}
	kind := s.Kind()
	if kind == "" {
		fault("it is exactly one of openapi, rest, firestore and texts, and not %s", strings.Join(append(s.kinds(), "none of them")[:max(1, len(s.kinds()))], " and "))
		return
	}
	calls := kind == "openapi" || kind == "rest"
	for _, member := range []struct {
		name  string
		given bool
		of    []string
	}{
		{"server", s.Server != "", []string{"openapi"}}, {"variables", s.Variables != nil, []string{"openapi"}}, {"sha256", s.SHA256 != "", []string{"openapi"}},
		{"auth", s.Auth != nil, []string{"openapi", "rest"}}, {"headers", s.Headers != nil, []string{"openapi", "rest"}},
		{"forward", s.Forward != nil, []string{"openapi", "rest"}}, {"retries", s.Retries != nil, []string{"openapi", "rest"}}, {"tools", s.Tools != nil, []string{"openapi", "rest"}},
		{"read", s.Read != 0, []string{"openapi", "rest"}},
	} {
		if member.given && !slices.Contains(member.of, kind) {
			fault("%s is of no use with %s: it is for %s", member.name, kind, strings.Join(member.of, " and "))
		}
	}
	if calls && len(s.Tools) == 0 {
		fault("tools is missing: nothing is offered that no line names, such as %s", map[string]string{
			"openapi": `tools: [{match: "GET *"}]`, "rest": `tools: [{name: status, request: GET /status, description: Tells the status.}]`}[kind])
	}
	for member, text := range map[string]string{"server": s.Server, "rest": s.REST} {
		if text != "" && !strings.HasPrefix(text, "env:") && !isURL(text) {
			fault("%s is %q, and not a URL such as https://api.example.com/v1, without a query and a password, or env:NAME for a variable that has it", member, withoutSecret(text))
		}
	}
	s.checkUse(fault, kind)
	if s.Auth != nil {
		s.Auth.check(d)
	}
	if b := s.Breaker; b != nil && (b.Failures > 0) != (b.Rest > 0) {
		fault("breaker needs failures and rest, such as {failures: 5, rest: 10s}; {failures: 0} is none")
	}
	s.Governance.check(d, s.Line)
	for i := range s.Tools {
		s.Tools[i].check(d, kind)
	}
}

// checkUse finds what is written and would be of no effect.
func (s *Source) checkUse(fault func(format string, args ...any), kind string) {
	if s.SHA256 != "" && s.OpenAPI != "" && !strings.Contains(s.OpenAPI, "://") {
		fault("sha256 is of a document at a URL, and %s is a file, which is taken as it is: leave it out", s.OpenAPI)
	}
	if s.Server != "" && s.Variables != nil {
		fault("variables are of the server that the document names, and server takes its place: leave one of them out")
	}
	if s.Texts != nil && s.Result != nil {
		fault("result is of no use with texts: leave it out")
	}
	if s.Texts != nil && s.Limits != nil && !s.Texts.Search {
		fault("limits are of tools, and these texts have none: leave it out, or write search: true for one that searches them")
	}
	if r := s.Result; kind == "firestore" && r != nil && (len(r.Fields) > 0 || r.Value.given || r.Pages != nil || r.Output) {
		fault("of result only max is of use with firestore: find and get have fields of their own")
	}
}

// withoutSecret is a text that should be a URL, without what may be a password or a key in it.
func withoutSecret(text string) string {
	text, _, _ = strings.Cut(text, "?")
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		scheme, _, _ := strings.Cut(text, "://")
		text = scheme + "://…" + text[i:]
	}
	return text
}

func (a *Auth) check(d *decoder) {
	n := 0
	for _, given := range []bool{a.Bearer != "", a.Basic != nil, a.Key != nil, a.OAuth2 != nil, a.Google != nil} {
		if given {
			n++
		}
	}
	if n != 1 {
		d.fault(a.Line, "auth is exactly one of bearer, basic, key, oauth2 and google")
	}
	if o := a.OAuth2; o != nil && !isURL(strings.SplitN(o.Token, "?", 2)[0]) { // which may have a query: RFC 6749, section 3.2
		d.fault(a.Line, "auth.oauth2: token is the URL of the token endpoint, such as https://login.example.com/token, without a password")
	}
	if k := a.Key; k != nil && (k.Header == "") == (k.Query == "") {
		d.fault(a.Line, "auth.key: name the header or the query parameter that it is sent in, and not both")
	}
	if g := a.Google; g != nil && (g.Audience == "") == (len(g.Scopes) == 0) {
		d.fault(a.Line, "auth.google: name an audience, for an ID token, or scopes, for an access token, and not both")
	}
}

func (t *Tool) check(d *decoder, kind string) {
	fault := func(format string, args ...any) { d.fault(t.Line, format, args...) }
	t.Governance.check(d, t.Line)
	if t.Name != "" && !validTool.MatchString(t.Name) {
		fault("the name %q has other characters than letters, digits and underscores, or more than 48", t.Name)
	}
	for name, a := range t.Arguments {
		if a.Fixed != nil && (a.Optional != nil || len(a.Schema) > 0) {
			d.fault(a.Line, "the argument %s is fixed, so the model does not see it: leave the rest out", name)
		}
	}
	if kind == "openapi" {
		if len(t.Match) == 0 {
			fault("match is missing: it names operations of the document, such as listInvoices, GET /invoices/{id} or tag:reports")
		}
		if t.Request != "" {
			fault("request is of no use with openapi: match says the operation")
		}
		return
	}
	if len(t.Match) > 0 {
		fault("match is of no use with rest: request says what is called")
	}
	if t.Name == "" || t.Description == "" {
		fault("a tool of a rest source needs name and description")
	}
	if !requestLine.MatchString(t.Request) {
		fault("request is %q, and not a method and a path, such as GET /forecast/{city}", t.Request)
	}
}

func (g *Governance) check(d *decoder, line int) {
	if l := g.Limits; l != nil && l.Burst > 0 && l.PerSecond == 0 {
		d.fault(line, "limits: a burst needs perSecond")
	}
	if r := g.Result; r != nil && r.Value.given && (r.Value.CEL == "" || len(r.Fields) > 0) {
		d.fault(line, "result: value is CEL, such as =body.items, and stands without fields")
	}
	if r := g.Result; r != nil && r.Output && (r.Value.given || len(r.Fields) > 0) {
		d.fault(line, "result: output publishes the schema of the document's answer, which one that fields or value make would not fit: leave one of them out")
	}
}

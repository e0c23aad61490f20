package texts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/mcp"
	"go.yaml.in/yaml/v3"
)

// A template is a URI template with the one variable path.
type template struct {
	before, after string
	reserved      bool // {+path}: slashes stand for themselves
	// host tells that the variable begins where a URI has its host, which the normal form has in small letters.
	host bool
}

func parseTemplate(uri string) (*template, error) {
	const remedy = "write a scheme of your own and {+path}, such as handbook:///{+path}"
	before, rest, found := strings.Cut(uri, "{")
	expression, after, closed := strings.Cut(rest, "}")
	name, reserved := strings.CutPrefix(expression, "+")
	switch {
	case uri == "":
		return nil, errors.New("it is missing: " + remedy)
	case !found || !closed || name != "path" || strings.ContainsAny(after, "{}"):
		return nil, fmt.Errorf("%q has not the one variable {path} or {+path}: %s", uri, remedy)
	}
	if scheme, _, ok := strings.Cut(before, ":"); !ok || strings.ContainsAny(scheme, "/?#") {
		return nil, fmt.Errorf("%q has no scheme: %s", uri, remedy)
	}
	t := &template{before: before, after: after, reserved: reserved}
	_, authority, ok := strings.Cut(before, "://")
	t.host = ok && !strings.ContainsAny(authority, "/?#")
	_, err := mcp.NormalURI(t.expand("x"))
	return t, err
}

// expand returns the URI of a path. Of {+path} it encodes what RFC 6570 leaves as it is but for slashes: a name may have ? and # in it.
func (t *template) expand(at string) string {
	const digits = "0123456789ABCDEF"
	b := []byte(t.before)
	for _, c := range []byte(at) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0, c == '/' && t.reserved:
			b = append(b, c)
		default:
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(b) + t.after
}

// key is a path as the variable has it that a URI in normal form was matched for.
func (t *template) key(at string) string {
	if !t.host {
		return at
	}
	host, rest := at, ""
	if first := strings.IndexByte(at, '/'); first >= 0 && t.reserved {
		host, rest = at[:first], at[first:]
	}
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, host) + rest
}

// A resource is a text that is offered as one.
type resource struct {
	path, uri, title, description, media string
	headings                             []string
}

// resources are all of a directory, by their URIs in normal form and by the variable of the template.
type resources struct {
	dir        *Directory
	all        []*resource // in the order of their paths
	byURI, key map[string]*resource
}

func (d *Directory) resources(t *template, files []file) ([]catalog.Entry, error) {
	r := &resources{dir: d, byURI: map[string]*resource{}, key: map[string]*resource{}}
	var faults []error
	for _, f := range files {
		one, fault := describe(f)
		if fault != nil {
			faults = append(faults, fmt.Errorf("%s: %w", d.place(f.path, fault.line), fault.err))
			continue
		}
		if err := r.place(t, one); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", d.place(f.path, 1), err))
			continue
		}
		r.all = append(r.all, one)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	var entries []catalog.Entry
	if len(r.all) > maxListed {
		entries = append(entries, r.template())
	} else {
		for _, one := range r.all {
			entries = append(entries, &catalog.Resource{
				URI: one.uri, Name: one.path, Title: one.title, Description: one.description, MIMEType: one.media, Terms: d.entryTerms(),
				Read: func(context.Context, string, map[string]string) (*mcp.ReadResult, error) { return r.read(one) },
			})
		}
	}
	if d.Search {
		entries = append(entries, r.search(files))
	}
	return entries, nil
}

// place puts a text at its URI.
func (r *resources) place(t *template, one *resource) (err error) {
	if one.uri, err = mcp.NormalURI(t.expand(one.path)); err != nil {
		return fmt.Errorf("its URI: %w", err)
	}
	key := t.key(one.path)
	remedy := fmt.Sprintf("write uri: %s/{+path}, or rename it", t.before)
	if first, _, _ := strings.Cut(one.path, "/"); t.host && t.reserved && strings.Contains(first, "@") {
		return fmt.Errorf("the sign @ stands where a URI has its host: %s", remedy)
	}
	if other := cmp.Or(r.byURI[one.uri], r.key[key]); other != nil {
		return fmt.Errorf("its URI is %s, as that of %s is, because a host has no capital letters: %s", one.uri, other.path, remedy)
	}
	r.byURI[one.uri], r.key[key] = one, one
	return nil
}

// entryTerms are those of a resource or a prompt, which had no other name.
func (d *Directory) entryTerms() catalog.Terms {
	terms := d.Terms
	terms.Formerly = ""
	return terms
}

// describe reads what is said of a text in it.
func describe(f file) (*resource, *lineFault) {
	r := &resource{path: f.path, media: mediaType(f.path, f.text)}
	if !isText(r.media) {
		return r, nil
	}
	if !utf8.Valid(f.text) {
		line := 1 + strings.Count(string(f.text[:invalidAt(f.text)]), "\n")
		return nil, &lineFault{line, errors.New("it is not in UTF-8: save it so, or begin its name with a dot to leave it out")}
	}
	if !isMarkdown(f.path) {
		return r, nil
	}
	front, body, _ := split(f.text)
	if front != nil {
		m, fault := mapping(front)
		switch {
		case fault != nil && errors.Is(fault.err, errFront): // a rule across the page, and another
			body = f.text
		case fault != nil:
			return nil, fault
		default:
			faults := members(m, func(key string, value *yaml.Node, _ int) (err error) {
				switch key {
				case "title":
					r.title, err = scalar(value)
				case "description":
					r.description, err = scalar(value)
				}
				return err
			})
			if len(faults) > 0 {
				return nil, &faults[0]
			}
		}
	}
	if r.headings = headings(body); r.title == "" && len(r.headings) > 0 {
		r.title = r.headings[0]
	}
	return r, nil
}

func invalidAt(text []byte) int {
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

// isText tells whether contents of a media type are text to a client.
func isText(media string) bool {
	switch media {
	case "application/json", "application/yaml", "application/xml", "application/sql", "application/toml", "image/svg+xml":
		return true
	}
	return strings.HasPrefix(media, "text/")
}

// template is the one entry of many texts.
func (r *resources) template() *catalog.Template {
	d := r.dir
	return &catalog.Template{
		URI: d.URI, Name: d.Name, Title: d.Title, Description: cmp.Or(d.Description, fmt.Sprintf("%d texts, by their paths.", len(r.all))), Terms: d.entryTerms(),
		Complete: func(_ context.Context, _, value string, _ map[string]string) ([]string, error) {
			return r.complete(value), nil
		},
		Read: func(_ context.Context, uri string, vars map[string]string) (*mcp.ReadResult, error) {
			one := cmp.Or(r.byURI[uri], r.key[vars["path"]])
			if one == nil {
				return nil, mcp.ErrUnknown
			}
			return r.read(one)
		},
	}
}

// complete proposes paths that begin with what is typed, and then those that have it elsewhere.
func (r *resources) complete(value string) []string {
	var begin, within []string
	typed := strings.ToLower(value)
	for _, one := range r.all {
		switch at := strings.Index(strings.ToLower(one.path), typed); {
		case at == 0:
			begin = append(begin, one.path)
		case at > 0:
			within = append(within, one.path)
		}
	}
	return slices.Concat(begin, within)
}

func (r *resources) read(one *resource) (*mcp.ReadResult, error) {
	text, err := r.dir.current(one.path)
	if err != nil {
		return nil, err
	}
	contents := mcp.ResourceContents{URI: one.uri, MIMEType: one.media}
	if isText(one.media) && utf8.Valid(text) {
		contents.Text = string(text)
	} else if contents.Blob = text; text == nil {
		contents.Blob = []byte{}
	}
	return &mcp.ReadResult{Contents: []mcp.ResourceContents{contents}, Private: true}, nil
}

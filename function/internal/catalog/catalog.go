// Package catalog holds what can be called: tools, prompts, resources and resource templates, each with its limits, time
// limit and weight. Entries are checked and marshalled once, when the catalog is built; a fault in any of them stops the
// start, all of them listed.
package catalog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/yosida95/uritemplate/v3"

	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/policy"
)

// Terms are the conditions under which an entry is served. Zero values leave it to the server's defaults.
type Terms struct {
	Timeout time.Duration  // for one call
	Weight  int            // what one call costs against a rate; 0 counts as 1
	Limits  governor.Limit // over the whole fleet, without scope and key
	// Upstream names what the entry calls outside of this server; entries that call the same share a breaker and the
	// workers of an instance.
	Upstream string
	Breaker  governor.Breaker // without scope; zero is none
	Scopes   []string         // that a caller needs
	Rules    []policy.Rule
	Strict   bool // it is not called before the receipt of the intent is stored
	// Pack is what plans call a group of entries; tenants without it can't call them. "" is open to all. The path /mcp/NAME serves the pack.
	Pack string
	// Formerly is the name that a tool had, by which it is still called, and which orders and rules may still have.
	Formerly string
	// Place is where the entry is declared, as in "catalog.yaml:12". "" is of the program's own entries.
	Place string
}

// at says where the entry is declared that the terms are of.
func (t *Terms) at(what string) string {
	if t.Place == "" {
		return what
	}
	return what + " (" + t.Place + ")"
}

// beside says where the other entry is that has the same name.
func (t *Terms) beside(other *Terms) string {
	switch {
	case other.Place != "":
		return ", at " + other.Place
	case t.Place != "":
		return ", of the program"
	}
	return ""
}

func (t Terms) check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if t.Timeout < 0 {
		fault("the timeout %v is negative", t.Timeout)
	}
	if t.Weight < 0 {
		fault("the weight %d is negative", t.Weight)
	}
	if err := t.Limits.Check(); err != nil {
		faults = append(faults, err)
	}
	if b := t.Breaker; b.Failures < 0 || (b.Failures > 0) != (b.Rest > 0) {
		fault("a breaker needs a number of failures and a time to rest: it has %d and %v", b.Failures, b.Rest)
	}
	for _, s := range t.Scopes {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			fault("the scope %q is not one word", s)
		}
	}
	if t.Pack != "" && !validPack.MatchString(t.Pack) {
		fault("the pack %q is not a name of small letters, digits, dots, dashes and underscores", t.Pack)
	}
	if strings.ContainsFunc(t.Upstream, func(r rune) bool { return r <= ' ' }) || len(t.Upstream) > 128 {
		fault("the upstream %q is not a name without spaces", t.Upstream)
	}
	return errors.Join(faults...)
}

var validPack = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// A Catalog is a fixed set of entries: another takes its place where entries change. It implements [mcp.Catalog].
type Catalog struct {
	tools     map[string]*Tool
	former    map[string]string // names that tools had, and those that they have
	prompts   map[string]*Prompt
	resources map[string]*Resource
	templates []*Template // in the order of their URIs
	listings  [4]mcp.Listing
	objects   [4]map[string]*Object // what policies know the entries as, by the keys of the lists
	toolsets  map[string]bool       // that entries are of
	completes bool
	searching *searching // nil where all tools are listed
	readMore  *mcp.Item  // nil where no tool's answers are read on
	version   string
	hash      string // of what is declared
}

// listTTL is how long a client may keep a list. Nobody is told when another catalog takes this one's place, or a new version of the server
// comes.
const listTTL = time.Minute

// An Entry is a [*Tool], [*Prompt], [*Resource] or [*Template], or [*Search].
type Entry interface {
	// add checks the entry and puts it into the catalog under construction.
	add(*Catalog) error
	// what names the entry in a fault.
	what() string
}

// Build makes a catalog of the entries, which it does not keep. Its error lists every fault.
func Build(entries ...Entry) (*Catalog, error) { return (&Declaration{}).Build(entries...) }

// A Declaration is entries that are declared, in a document and not in the program, and that are served until another declaration takes its
// place.
type Declaration struct {
	Entries []Entry
	// Hash is unlike that of any other declaration, and the same on all instances. The catalog's version is of it: what is listed does not
	// show all that was declared.
	Hash string
}

// Build makes a catalog of the program's own entries and of what is declared. It keeps neither, and its error lists every fault.
func (d *Declaration) Build(own ...Entry) (*Catalog, error) {
	c := &Catalog{tools: map[string]*Tool{}, prompts: map[string]*Prompt{}, resources: map[string]*Resource{}, toolsets: map[string]bool{}}
	for kind := range c.objects {
		c.objects[kind] = map[string]*Object{}
	}
	var faults []error
	for _, e := range slices.Concat(own, d.Entries) {
		if err := e.add(c); err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				faults = append(faults, fmt.Errorf("%s: %s", e.what(), line))
			}
		}
	}
	faults = append(faults, c.offerReading(), c.offerSearch())
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	for kind := range c.listings {
		l := &c.listings[kind]
		l.TTL = listTTL
		slices.SortFunc(l.Items, byKey)
	}
	for old, name := range c.former {
		if c.tools[old] != nil { // which is another tool's now
			delete(c.former, old)
		} else {
			c.objects[mcp.Tools][name].Formerly = old
		}
	}
	slices.SortFunc(c.templates, func(a, b *Template) int { return strings.Compare(a.URI, b.URI) })
	c.version, c.hash = c.digest(d.Hash), d.Hash
	return c, nil
}

func byKey(a, b mcp.Item) int { return strings.Compare(a.Key, b.Key) }

// Version is unlike that of any catalog that lists other entries or is of another document: 16 hexadecimal digits.
func (c *Catalog) Version() string { return c.version }

// Hash is that of the declaration, "" where nothing is declared.
func (c *Catalog) Hash() string { return c.hash }

func (c *Catalog) digest(hash string) string {
	h := sha256.New()
	h.Write([]byte(hash))
	for _, l := range c.listings {
		for _, item := range l.Items {
			h.Write(item.JSON)
			h.Write([]byte{'\n'})
		}
	}
	if c.readMore != nil {
		h.Write(c.readMore.JSON)
	}
	if s := c.searching; s != nil { // who has which list follows from it
		fmt.Fprintln(h, "search above", s.above)
		for _, item := range s.pinned {
			fmt.Fprintln(h, item.Key)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func (c *Catalog) list(kind mcp.Kind, key string, descriptor, legacy any) error {
	item := mcp.Item{Key: key}
	var err error
	if item.JSON, err = json.Marshal(descriptor); err != nil {
		return err
	}
	item.Legacy = item.JSON
	if legacy != nil {
		if item.Legacy, err = json.Marshal(legacy); err != nil {
			return err
		}
	}
	c.listings[kind].Items = append(c.listings[kind].Items, item)
	return nil
}

// Has implements [mcp.Catalog], like the methods below.
func (c *Catalog) Has(kind mcp.Kind) bool { return len(c.listings[kind].Items) > 0 }

// Completes tells whether any argument has a completer.
func (c *Catalog) Completes() bool { return c.completes }

// List returns the entries of the kind that the caller sees.
func (c *Catalog) List(ctx context.Context, kind mcp.Kind) mcp.Listing {
	l := c.listings[kind]
	sees := viewOf(ctx)
	l.Private = sees != nil
	switch {
	case kind == mcp.Tools && (c.searching != nil || c.readMore != nil):
		l.Items = c.listTools(sees)
	case sees != nil:
		l.Items = filter(l.Items, func(key string) bool { return sees(c.objects[kind][key]) })
	}
	return l
}

// Named returns the name of a tool that is called by one that it had.
func (c *Catalog) Named(tool string) string {
	return cmp.Or(c.former[tool], tool)
}

// Tool returns the tool or nil.
func (c *Catalog) Tool(ctx context.Context, name string) *mcp.Tool {
	if t := c.tools[name]; t != nil && c.sees(ctx, mcp.Tools, name) {
		return &t.engine
	}
	return nil
}

// EachTool visits the tools in the order of their names and joins what visit returns.
func (c *Catalog) EachTool(visit func(name string, terms Terms) error) error {
	var faults []error
	for _, item := range c.listings[mcp.Tools].Items {
		terms := c.tools[item.Key].Terms
		terms.Formerly = c.objects[mcp.Tools][item.Key].Formerly
		faults = append(faults, visit(item.Key, terms))
	}
	return errors.Join(faults...)
}

// Headers are those that mirror arguments of the tool.
func (c *Catalog) Headers(tool string) []mcp.HeaderParam {
	if t := c.tools[tool]; t != nil {
		return t.engine.Headers
	}
	return nil
}

// Prompt returns the prompt or nil.
func (c *Catalog) Prompt(ctx context.Context, name string) *mcp.Prompt {
	if p := c.prompts[name]; p != nil && c.sees(ctx, mcp.Prompts, name) {
		return &p.engine
	}
	return nil
}

// Resource returns the resource at uri, or the first template that matches it.
func (c *Catalog) Resource(ctx context.Context, uri string) (*mcp.Resource, map[string]string, error) {
	r, t, vars := c.find(uri)
	switch {
	case r != nil && c.sees(ctx, mcp.Resources, r.URI):
		return &r.engine, nil, nil
	case t != nil && c.sees(ctx, mcp.Templates, t.URI):
		return &t.engine, vars, t.checkVars(vars)
	}
	return nil, nil, nil
}

// find returns the resource at a URI in normal form, or the first template that matches it, with its variables decoded.
func (c *Catalog) find(uri string) (*Resource, *Template, map[string]string) {
	if r := c.resources[uri]; r != nil {
		return r, nil, nil
	}
	uri = mcp.ASCII(uri)
	for _, t := range c.templates {
		if vars := t.matcher.match(uri); vars != nil {
			return nil, t, vars
		}
	}
	return nil, nil, nil
}

// Completer returns the completer of a prompt or template, or nil where there is no such.
func (c *Catalog) Completer(_ context.Context, kind mcp.Kind, name string) *mcp.Completer {
	switch kind {
	case mcp.Prompts:
		if p := c.prompts[name]; p != nil {
			var names []string
			for _, a := range p.Arguments {
				names = append(names, a.Name)
			}
			return &mcp.Completer{Arguments: names, Complete: p.Complete}
		}
	case mcp.Templates:
		for _, t := range c.templates {
			if t.URI == name {
				return &mcp.Completer{Arguments: t.parsed.Varnames(), Complete: t.Complete}
			}
		}
	}
	return nil
}

// Complete proposes values for an argument; known holds the values of the other arguments.
type Complete = func(ctx context.Context, argument, value string, known map[string]string) ([]string, error)

var validName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)

func checkName(name, description string) error {
	var faults []error
	if !validName.MatchString(name) {
		faults = append(faults, errors.New("a name has 1 to 128 letters, digits, '_', '-' and '.'"))
	}
	if description == "" {
		faults = append(faults, errors.New("a description is missing: it is what the model chooses by"))
	}
	return errors.Join(faults...)
}

// A Prompt is a template of messages that a person picks.
type Prompt struct {
	Name, Title, Description string
	Arguments                []Argument
	Complete                 Complete
	Terms                    Terms
	Get                      func(ctx context.Context, args map[string]string) (*mcp.PromptResult, error)

	engine mcp.Prompt
}

// An Argument of a prompt is a string.
type Argument struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Required    bool   `json:"required,omitempty"`
}

func (p *Prompt) what() string { return p.Terms.at(fmt.Sprintf("prompt %q", p.Name)) }

func (p *Prompt) add(c *Catalog) error {
	p = new(*p)
	faults := []error{checkName(p.Name, p.Description), p.Terms.check()}
	if other := c.prompts[p.Name]; other != nil {
		faults = append(faults, errors.New("there is another prompt of this name"+p.Terms.beside(&other.Terms)))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	get := p.Get
	p.engine = mcp.Prompt{Timeout: p.Terms.Timeout, Get: func(ctx context.Context, _ *mcp.Call, args map[string]string) (*mcp.PromptResult, error) {
		return get(ctx, args)
	}}
	for _, a := range p.Arguments {
		if a.Required {
			p.engine.Required = append(p.engine.Required, a.Name)
		}
	}
	c.prompts[p.Name] = p
	if err := c.describe(mcp.Prompts, p.Name, &p.Terms, policy.Object{Kind: "prompt", Name: p.Name}); err != nil {
		return err
	}
	c.completes = c.completes || p.Complete != nil
	return c.list(mcp.Prompts, p.Name, struct {
		Name        string     `json:"name"`
		Title       string     `json:"title,omitempty"`
		Description string     `json:"description"`
		Arguments   []Argument `json:"arguments,omitempty"`
	}{p.Name, p.Title, p.Description, p.Arguments}, nil)
}

// Read returns the contents at uri; vars are the variables of the template that it matched. [mcp.ErrUnknown] says that
// there is nothing there.
type Read = func(ctx context.Context, uri string, vars map[string]string) (*mcp.ReadResult, error)

// A Resource is contents at a fixed URI, which is brought into normal form.
type Resource struct {
	URI, Name, Title, Description, MIMEType string
	Terms                                   Terms
	Read                                    Read

	engine mcp.Resource
}

func (r *Resource) what() string { return r.Terms.at(fmt.Sprintf("resource %q", r.URI)) }

func (r *Resource) add(c *Catalog) error {
	r = new(*r)
	faults := []error{r.Terms.check()}
	if !strings.Contains(r.URI, ":") {
		faults = append(faults, errors.New("the URI needs a scheme"))
	}
	if r.Name == "" {
		faults = append(faults, errors.New("a name is missing"))
	}
	if uri, err := mcp.NormalURI(r.URI); err != nil {
		faults = append(faults, err)
	} else {
		r.URI = uri
	}
	if other := c.resources[r.URI]; other != nil {
		faults = append(faults, errors.New("there is another resource at this URI"+r.Terms.beside(&other.Terms)))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	r.engine = reader(r.Terms, r.Read)
	c.resources[r.URI] = r
	if err := c.describe(mcp.Resources, r.URI, &r.Terms, policy.Object{Kind: "resource", Name: r.URI, ReadOnly: true}); err != nil {
		return err
	}
	return c.list(mcp.Resources, r.URI, resourceDescriptor{r.URI, "", r.Name, r.Title, r.Description, r.MIMEType}, nil)
}

func reader(terms Terms, read Read) mcp.Resource {
	return mcp.Resource{Timeout: terms.Timeout, Read: func(ctx context.Context, _ *mcp.Call, uri string, vars map[string]string) (*mcp.ReadResult, error) {
		return read(ctx, uri, vars)
	}}
}

type resourceDescriptor struct {
	URI         string `json:"uri,omitempty"`
	URITemplate string `json:"uriTemplate,omitempty"`
	Name        string `json:"name"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	MIMEType    string `json:"mimeType,omitempty"`
}

// A Template is a family of resources whose URIs fit an RFC 6570 template.
type Template struct {
	URI, Name, Title, Description, MIMEType string
	Complete                                Complete
	Terms                                   Terms
	Read                                    Read
	DotSegments                             bool // variables may have the segment ".."

	engine  mcp.Resource
	parsed  *uritemplate.Template // of the normal form
	matcher *matcher
}

func (t *Template) what() string { return t.Terms.at(fmt.Sprintf("resource template %q", t.URI)) }

func (t *Template) add(c *Catalog) error {
	t = new(*t)
	faults := []error{t.Terms.check()}
	parsed, err := uritemplate.New(t.URI)
	if err == nil {
		var normal string
		if normal, err = mcp.NormalTemplate(t.URI); err == nil {
			parsed, err = uritemplate.New(normal)
		}
	}
	if err != nil {
		faults = append(faults, err)
	} else if len(parsed.Varnames()) == 0 {
		faults = append(faults, errors.New("the template has no variable"))
	}
	if t.Name == "" {
		faults = append(faults, errors.New("a name is missing"))
	}
	for _, other := range c.templates {
		if other.URI == t.URI {
			faults = append(faults, errors.New("there is another template of this URI"+t.Terms.beside(&other.Terms)))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	t.parsed, t.matcher = parsed, newMatcher(parsed.Raw())
	t.engine = reader(t.Terms, t.Read)
	c.templates = append(c.templates, t)
	if err := c.describe(mcp.Templates, t.URI, &t.Terms, policy.Object{Kind: "resource", Name: t.URI, ReadOnly: true}); err != nil {
		return err
	}
	c.completes = c.completes || t.Complete != nil
	return c.list(mcp.Templates, t.URI, resourceDescriptor{"", t.URI, t.Name, t.Title, t.Description, t.MIMEType}, nil)
}

// checkVars refuses variables that lead elsewhere where they are taken for a path.
func (t *Template) checkVars(vars map[string]string) error {
	if t.DotSegments {
		return nil
	}
	for name, value := range vars {
		for segment := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == '/' || r == '\\' || r == ',' }) {
			segment, _, _ = strings.Cut(segment, ";") // parameters, which some readers drop
			if strings.TrimFunc(segment, func(r rune) bool { return r <= ' ' }) == ".." {
				return fmt.Errorf("the variable %s of %s may not have the segment \"..\"", name, t.URI)
			}
		}
	}
	return nil
}

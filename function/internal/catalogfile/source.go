package catalogfile

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/backend/firestore"
	"example.com/erlmcp/function/internal/backend/firestore/documents"
	"example.com/erlmcp/function/internal/backend/openapi"
	"example.com/erlmcp/function/internal/backend/rest"
	"example.com/erlmcp/function/internal/backend/texts"
	"example.com/erlmcp/function/internal/catalog"
)

// source makes the entries of one source.
func (r *reader) source(s *Source) {
	switch s.Kind() {
	case "openapi":
		r.document(s)
	case "rest":
		r.requests(s)
	case "texts":
		r.directory(s)
	case "firestore":
		r.collection(s)
	}
}

// requests are tools that the file writes out.
func (r *reader) requests(s *Source) {
	api := r.api(s)
	report := Report{Source: s.Name, Kind: "rest", From: s.REST}
	for i := range s.Tools {
		t := &s.Tools[i]
		if t.withheld() {
			continue
		}
		input, request := r.written(s, t)
		readOnly, idempotent := rest.Effects(request.Method)
		made := declared{
			name: s.Name + "_" + t.Name, from: t.Request, title: t.Title, description: t.Description, readOnly: readOnly, idempotent: idempotent,
			input: input.raw(), request: request,
		}
		r.offer(s, t, api, &made, &report)
	}
	r.out.Sources = append(r.out.Sources, report)
}

// document makes tools of the operations that the lines of a source match.
func (r *reader) document(s *Source) {
	api := r.api(s)
	d := r.openDocument(s, api)
	if d == nil {
		return
	}
	report := Report{Source: s.Name, Kind: "openapi", From: s.OpenAPI}
	matched := make([]int, len(s.Tools)) // operations of each line
	used := map[selector]bool{}
	for i := range d.Operations {
		o := &d.Operations[i]
		at := s.match(o, used)
		if at < 0 {
			report.Unmatched++
			continue
		}
		t := &s.Tools[at]
		if matched[at]++; t.withheld() {
			continue
		}
		if t.Name != "" && matched[at] > 1 {
			if matched[at] == 2 {
				r.fault(t.Line, "the name %s is for one operation, and %s matches more than one: give each a line of its own", t.Name, strings.Join(t.Match, ", "))
			}
			continue
		}
		r.operation(s, t, o, api, &report)
	}
	for _, left := range d.LeftOut {
		if s.match(&openapi.Operation{ID: left.ID, Method: left.Method, Path: left.Path, Tags: left.Tags}, used) >= 0 {
			report.LeftOut = append(report.LeftOut, LeftOut{left.Method + " " + left.Path, left.Place.String(), left.Reason})
		}
	}
	for i := range s.Tools {
		for _, m := range s.Tools[i].Match {
			if !used[selector(m)] {
				r.fault(s.Tools[i].Line, "%s matches no operation of %s%s", m, s.OpenAPI, nearest(m, d))
			}
		}
	}
	r.out.Sources = append(r.out.Sources, report)
}

// openDocument reads the document of a source, nil where that is at fault.
func (r *reader) openDocument(s *Source, api *rest.API) *openapi.Document {
	o := openapi.Options{Server: r.url(s.Line, s.Server), Variables: s.Variables, Sets: api.Sets, Outputs: s.outputs()}
	at := s.OpenAPI
	if strings.Contains(at, "://") {
		o.Fetch = func(ctx context.Context, url string) ([]byte, error) { return r.fetch(ctx, s, url) }
		o.Reads = func(url string, content []byte) { r.read(s, "", url, content) }
	} else {
		at = r.path(at)
		o.Reads = func(below string, content []byte) { r.read(s, filepath.Join(filepath.Dir(at), below), below, content) }
	}
	d, err := openapi.Read(r.ctx, at, o)
	if err != nil {
		r.fault(s.Line, "openapi: %v", err)
		return nil
	}
	return d
}

// outputs tells whether any tool of the source publishes the schema of its answers.
func (s *Source) outputs() bool {
	return s.Result != nil && s.Result.Output || slices.ContainsFunc(s.Tools, func(t Tool) bool { return t.Result != nil && t.Result.Output })
}

// fetch gets a document from its URL, or one that it refers to, and holds the first to the hash that the file has of it.
func (r *reader) fetch(ctx context.Context, s *Source, url string) ([]byte, error) {
	if r.Fetch == nil {
		return nil, errors.New("documents at URLs are not fetched here")
	}
	if url != s.OpenAPI {
		return r.Fetch(ctx, url, "")
	}
	text, err := r.Fetch(ctx, url, strings.ToLower(s.SHA256))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	switch is := hex.EncodeToString(sum[:]); {
	case s.SHA256 == "":
		return nil, fmt.Errorf("a document at a URL may change: say which one is meant with sha256: %s", is)
	case !strings.EqualFold(s.SHA256, is):
		return nil, fmt.Errorf("the document's sha256 is %s, and not %s: compare the two with erlmcp catalog diff before you take it", is, s.SHA256)
	}
	return text, nil
}

// directory offers texts.
func (r *reader) directory(s *Source) {
	t := s.Texts
	g := r.govern(s, &Tool{})
	d := texts.Directory{Name: s.Name, Dir: r.path(t.Dir), As: t.As, URI: t.URI, Search: t.Search, Terms: r.terms(&g, s, s.Name, s.Line)}
	d.Reads = func(below string, text []byte) { r.read(s, filepath.Join(d.Dir, below), below, text) }
	if d.URI == "" && t.As == texts.AsResources {
		d.URI = strings.ToLower(s.Name) + ":///{+path}"
	}
	entries, err := d.Entries()
	if err != nil {
		r.faultsOf(s.Line, "texts", err)
		return
	}
	r.out.Entries = append(r.out.Entries, entries...)
	r.out.Sources = append(r.out.Sources, Report{Source: s.Name, Kind: "texts", From: t.Dir, Notes: []string{fmt.Sprintf("%d entries", len(entries))}})
}

// collection offers a collection of Firestore.
func (r *reader) collection(s *Source) {
	f := s.Firestore
	g := r.govern(s, &Tool{})
	from := firestore.Source{Name: s.Name, Collection: f.Collection, Database: f.Database, Own: f.Own, Terms: r.terms(&g, s, s.Name, s.Line)}
	if from.Own == "all" {
		from.Own, from.Shared = "", true
	}
	max := int(g.Result.Max)
	if t := f.Get; t != nil {
		from.Tools = append(from.Tools, firestore.Tool{Read: firestore.Get, Name: t.Name, Description: t.Description, Fields: t.Fields, MaxBytes: max})
	}
	if t := f.Find; t != nil {
		tool := firestore.Tool{Read: firestore.Find, Name: t.Name, Description: t.Description, Fields: t.Fields, MaxBytes: max, Order: t.Order, Max: t.Max}
		for _, w := range t.Where {
			tool.Where = append(tool.Where, firestore.Condition{Field: w.Field, Argument: w.Argument, Type: w.Type, Description: w.Description, Required: w.Required})
		}
		from.Tools = append(from.Tools, tool)
	}
	var collection documents.Collection
	if r.Collections != nil {
		open, err := r.Collections(f.Database)
		if err != nil {
			r.fault(s.Line, "firestore: %v", err)
			return
		}
		collection = open(f.Collection)
	}
	entries, err := from.Entries(collection)
	indexes, err2 := from.Indexes()
	if err := errors.Join(err, err2); err != nil {
		r.faultsOf(s.Line, "firestore", err)
		return
	}
	report := Report{Source: s.Name, Kind: "firestore", From: f.Collection}
	for _, e := range entries {
		if t, ok := e.(*catalog.Tool); ok {
			report.Offered = append(report.Offered, Offered{Tool: t.Name, From: f.Collection, Line: s.Line})
		}
	}
	for _, x := range indexes {
		report.Notes = append(report.Notes, "it needs an index: "+x.String())
	}
	r.out.Entries = append(r.out.Entries, entries...)
	r.out.Sources = append(r.out.Sources, report)
}

// withheld tells of a line that leaves out.
func (t *Tool) withheld() bool { return t.Offer != nil && !*t.Offer }

// match is the first line that matches an operation, or -1. All selectors that do are used.
func (s *Source) match(o *openapi.Operation, used map[selector]bool) int {
	at := -1
	for i := range s.Tools {
		for _, m := range s.Tools[i].Match {
			if selector(m).matches(o) {
				if used[selector(m)] = true; at < 0 {
					at = i
				}
			}
		}
	}
	return at
}

// declared is a tool before the file's governance is put to it.
type declared struct {
	name, from, title, description string
	readOnly, idempotent           bool
	input, shown, output           json.RawMessage
	request                        rest.Request
	notes                          []string
}

// operation makes a tool of an operation.
func (r *reader) operation(s *Source, t *Tool, o *openapi.Operation, api *rest.API, report *Report) {
	made := declared{
		name: toolName(s.Name, cmp.Or(t.Name, o.Name)), from: o.Method + " " + o.Path, title: cmp.Or(t.Title, o.Title), description: cmp.Or(t.Description, o.Description),
		readOnly: o.ReadOnly, idempotent: o.Idempotent, input: o.Input, shown: o.Shown, output: o.Output, request: o.Request, notes: o.Notes,
	}
	if len(t.Arguments) > 0 {
		input, err := objectOf(o.Input)
		shown, err2 := objectOf(o.Shown)
		if err = errors.Join(err, err2); err != nil {
			r.fault(t.Line, "%s: its schema can't be changed: %v", made.from, err)
			return
		}
		r.adapt(t, made.from, []object{input, shown}, &made.request)
		made.input, made.shown = input.raw(), shown.raw()
	}
	r.offer(s, t, api, &made, report)
}

// offer puts a tool into the catalog.
func (r *reader) offer(s *Source, t *Tool, api *rest.API, d *declared, report *Report) {
	g := r.govern(s, t)
	result := g.Result
	answer := rest.Answer{MaxBytes: int(result.Max), Structured: result.Output, Value: r.answer(t.Line, result.Value)}
	var err error
	if len(result.Fields) > 0 {
		if answer.Fields, err = rest.ParseMask(result.Fields); err != nil {
			r.fault(t.Line, "result.fields: %v", err)
		}
	}
	if p := result.Pages; p != nil {
		answer.Pages = &rest.Pages{Cursor: p.Cursor, Into: p.Into, Max: p.Max}
	}
	if t.Idempotent != nil {
		d.request.Idempotent = *t.Idempotent
	}
	tool := &catalog.Tool{
		Name: d.name, Title: d.title, Description: d.description, Input: d.input, Shown: d.shown, Lenient: true, Listed: t.Listed != nil && *t.Listed, Terms: r.terms(&g, s, d.name, cmp.Or(t.Line, s.Line)),
		Hints: catalog.Hints{ReadOnly: cmp.Or(t.ReadOnly, &d.readOnly), Idempotent: cmp.Or(t.Idempotent, &d.idempotent), Destructive: t.Destructive},
	}
	tool.ReadsOn = *tool.Hints.ReadOnly
	answer.ReadsOn = tool.ReadsOn
	if tool.Call, err = api.Tool(&d.request, answer); err != nil {
		r.faultsOf(t.Line, d.from, err)
	}
	if result.Output {
		tool.Output = d.output
	}
	r.out.Entries = append(r.out.Entries, tool)
	report.Offered = append(report.Offered, Offered{Tool: d.name, From: d.from, Line: t.Line, Notes: d.notes})
}

// maxName is how long a tool's name may be: clients put one of their own before it, and models' interfaces take 64.
const maxName = 48

// toolName is a function of the two alone, so that another source or operation never renames a tool.
func toolName(source, operation string) string {
	name := source + "_" + operation
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return fmt.Sprintf("%s_%s", strings.TrimRight(name[:maxName-9], "_"), hex.EncodeToString(sum[:4]))
}

// nearest proposes operations for a selector that matches none.
func nearest(selects string, d *openapi.Document) string {
	var found []string
	for i := range d.Operations {
		o := &d.Operations[i]
		for _, name := range []string{o.ID, o.Method + " " + o.Path} {
			if strings.EqualFold(name, selects) || len(selects) > 3 && strings.Contains(strings.ToLower(name), strings.ToLower(selects)) {
				found = append(found, name)
			}
		}
		if len(found) >= 3 {
			break
		}
	}
	if len(found) == 0 && len(d.Operations) > 0 {
		o := &d.Operations[0]
		return fmt.Sprintf(": an operation is selected as %s or %s %s", cmp.Or(o.ID, o.Method+" "+o.Path), o.Method, o.Path)
	}
	return ": is " + strings.Join(found, " or ") + " meant?"
}

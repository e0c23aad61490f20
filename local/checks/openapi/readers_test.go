package openapi

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/pb33f/libopenapi"
	"github.com/pb33f/libopenapi/datamodel"
)

// Documents that a reader can't read, and why.
var (
	notByLibopenapi = map[string]string{"stripe-3.0.yaml": "has a key twice", "xsoar-2.0.json": "has a reference that leads nowhere"}
	notByKin        = map[string]string{"stripe-3.0.yaml": "has a key twice", "burgershop-3.1.yaml": "has a parameter with schema and content",
		"circular-3.0.yaml": "has a member named oneOf that is no schema"}
)

// againstLibopenapi compares the operations: method, path and operationId. It returns how many there are.
func (d *document) againstLibopenapi(t *testing.T, file string) int {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := datamodel.NewDocumentConfiguration()
	c.AllowFileReferences, c.BasePath = true, filepath.Dir(file)
	var theirs []string
	add := func(method, path, id string) { theirs = append(theirs, strings.ToUpper(method)+" "+path+" "+id) }
	doc, err := libopenapi.NewDocumentWithConfiguration(raw, c)
	switch {
	case err != nil:
	case strings.HasPrefix(doc.GetVersion(), "2"):
		m, e := doc.BuildV2Model()
		if err = e; m == nil || e != nil {
			break
		}
		for path, item := range m.Model.Paths.PathItems.FromOldest() {
			for method, o := range item.GetOperations().FromOldest() {
				add(method, path, o.OperationId)
			}
		}
	default:
		m, e := doc.BuildV3Model()
		if m == nil {
			err = e
			break
		}
		for path, item := range m.Model.Paths.PathItems.FromOldest() {
			for method, o := range item.GetOperations().FromOldest() {
				add(method, path, o.OperationId)
			}
		}
	}
	if why, ok := notByLibopenapi[d.name]; ok != (err != nil) {
		t.Errorf("libopenapi: %v, and it %s", err, why)
	}
	if err != nil {
		return 0
	}
	var ours []string
	for _, o := range d.Operations {
		ours = append(ours, o.Method+" "+o.Path+" "+o.ID)
	}
	for _, l := range d.LeftOut {
		ours = append(ours, l.Method+" "+l.Path+" "+l.ID)
	}
	if !slices.Equal(sorted(ours), sorted(theirs)) {
		t.Errorf("libopenapi finds %d operations, and here are %d", len(theirs), len(ours))
	}
	return len(theirs)
}

// againstKin compares the parameters and the members of bodies on the wire. It returns how many operations there are.
func (d *document) againstKin(t *testing.T, file string) int {
	t.Helper()
	l := openapi3.NewLoader()
	l.IsExternalRefsAllowed = true
	doc, err := l.LoadFromFile(file)
	if why, ok := notByKin[d.name]; ok != (err != nil) {
		t.Errorf("kin-openapi: %v, and it %s", err, why)
	}
	if err != nil {
		return 0
	}
	n := 0
	for i := range d.Operations {
		ours := &d.Operations[i]
		item := doc.Paths.Value(ours.Path)
		if item == nil || item.GetOperation(ours.Method) == nil {
			t.Errorf("kin-openapi does not find %s %s", ours.Method, ours.Path)
			continue
		}
		n++
		theirs := item.GetOperation(ours.Method)
		var want, form []string
		whole := false
		for _, list := range []openapi3.Parameters{item.Parameters, theirs.Parameters} {
			for _, p := range list {
				if p.Value.In == "header" && slices.Contains([]string{"accept", "content-type", "authorization"}, strings.ToLower(p.Value.Name)) {
					continue
				}
				switch p.Value.In { // of 2.0, which the loader does not mind
				case "formData":
					form = append(form, p.Value.Name)
				case "body":
					whole = true
				default:
					want = append(want, p.Value.In+" "+p.Value.Name)
				}
			}
		}
		if got := sorted(append(slices.Clone(ours.Parameters), ours.Withheld...)); !slices.Equal(got, sorted(want)) {
			t.Errorf("%s: the parameters are %v, and kin-openapi finds %v", ours.Name, got, sorted(want))
		}
		if got := sorted(ours.Members); form != nil && !slices.Equal(got, sorted(form)) {
			t.Errorf("%s: the members of the form are %v, and kin-openapi finds %v", ours.Name, got, sorted(form))
		}
		if form == nil && !whole {
			ours.body(t, theirs)
			ours.said(t, item, theirs)
		}
	}
	return n
}

// body compares the members of a body that is a plain object.
func (o *operation) body(t *testing.T, theirs *openapi3.Operation) {
	t.Helper()
	if theirs.RequestBody == nil || theirs.RequestBody.Value == nil {
		if o.MediaType != "" {
			t.Errorf("%s has a body", o.Name)
		}
		return
	}
	media := theirs.RequestBody.Value.Content[o.MediaType]
	if media == nil || media.Schema == nil || o.Whole {
		return
	}
	want := members(media.Schema, 0)
	if got := sorted(o.Members); !slices.Equal(got, sorted(want)) {
		t.Errorf("%s: the members of the body are %v, and kin-openapi finds %v", o.Name, got, sorted(want))
	}
}

// members are those of a schema and of its allOf that may be sent.
func members(s *openapi3.SchemaRef, depth int) (out []string) {
	if s == nil || s.Value == nil || depth > 10 {
		return nil
	}
	var readOnly func(s *openapi3.SchemaRef, depth int) bool
	readOnly = func(s *openapi3.SchemaRef, depth int) bool {
		return s.Value != nil && depth < 10 && (s.Value.ReadOnly || slices.ContainsFunc(s.Value.AllOf, func(s *openapi3.SchemaRef) bool { return readOnly(s, depth+1) }))
	}
	for name, p := range s.Value.Properties {
		if !readOnly(p, 0) {
			out = append(out, name)
		}
	}
	for _, part := range s.Value.AllOf {
		out = append(out, members(part, depth+1)...)
	}
	for _, all := range []openapi3.SchemaRefs{s.Value.AnyOf, s.Value.OneOf} {
		if len(all) == 1 {
			out = append(out, members(all[0], depth+1)...)
		}
	}
	return out
}

// said holds values that fit the input schema against the schemas of the document, as kin-openapi reads them.
func (o *operation) said(t *testing.T, item *openapi3.PathItem, theirs *openapi3.Operation) {
	t.Helper()
	if len(o.Notes) > 0 { // of what is not checked
		return
	}
	for _, args := range o.values {
		body := map[string]any{}
		for name, v := range args {
			in, wire, _ := strings.Cut(o.Arguments[name], " ")
			if in == "body" && !o.Whole {
				body[wire] = v
			}
			var of *openapi3.SchemaRef
			if in == "body" && o.Whole {
				of = o.bodyOf(theirs)
			}
			for _, list := range []openapi3.Parameters{item.Parameters, theirs.Parameters} {
				if p := list.GetByInAndName(in, wire); p != nil {
					of = p.Schema
				}
			}
			o.fits(t, of, name, v)
		}
		if len(body) > 0 {
			o.fits(t, o.bodyOf(theirs), "body", body)
		}
	}
}

func (o *operation) bodyOf(theirs *openapi3.Operation) *openapi3.SchemaRef {
	if theirs.RequestBody == nil {
		return nil
	}
	media := theirs.RequestBody.Value.Content[o.MediaType]
	if media == nil || strings.Contains(o.MediaType, "octet") {
		return nil
	}
	return media.Schema
}

func (o *operation) fits(t *testing.T, of *openapi3.SchemaRef, what string, v any) {
	t.Helper()
	if of == nil || of.Value == nil {
		return
	}
	if err := of.Value.VisitJSON(v, openapi3.VisitAsRequest()); err != nil && !slices.ContainsFunc(differs, func(d difference) bool {
		return (d.operation == "" || d.operation == o.Name) && strings.Contains(err.Error(), d.says)
	}) {
		text, _ := json.Marshal(v)
		t.Errorf("%s: %s: %.300s is not what the document says: %.300v", o.Name, what, text, err)
	}
}

// A difference is where kin-openapi refuses what JSON Schema takes.
type difference struct{ operation, says, why string }

var differs = []difference{
	{"", "Value is not nullable", "a schema without a type takes null (JSON Schema 2020-12, Validation, 6.1.1)"},
	{"bulk_task_instances", "more than one oneOf", "it does not know const, which tells the alternatives"},
	{"bulk_pools", "more than one oneOf", "the same"},
	{"bulk_variables", "more than one oneOf", "the same"},
	{"bulk_connections", "more than one oneOf", "the same"},
	{"answerInlineQuery", "has invalid value", "the mapping leaves alternatives out, which are left to the API"},
	{"setPassportDataErrors", "has invalid value", "the same"},
	{"createResponse", "doesn't match schema", "it wants the discriminator's member of alternatives that do not require it"},
}

package controlapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/controlapi"
)

// A document is as much of OpenAPI as this one has.
type document struct {
	OpenAPI    string
	Info       struct{ Title, Version string }
	Paths      map[string]map[string]*operation
	Components struct {
		Schemas         map[string]*jsonschema.Schema
		Parameters      map[string]*parameter
		Responses       map[string]*response
		SecuritySchemes map[string]any
	}
}

type operation struct {
	OperationID string
	Summary     string
	Role        string `json:"x-role"`
	Parameters  []*parameter
	RequestBody *struct {
		Required bool
		Content  map[string]struct{ Schema *jsonschema.Schema }
	}
	Responses map[string]*response
	Security  *[]map[string][]string
}

type parameter struct {
	Ref      string `json:"$ref"`
	Name, In string
	Required bool
	Schema   *jsonschema.Schema
}

type response struct {
	Ref         string `json:"$ref"`
	Description string
	Content     map[string]struct{ Schema *jsonschema.Schema }
}

var openapi = sync.OnceValue(func() *document {
	var d document
	if err := json.Unmarshal(controlapi.OpenAPI(), &d); err != nil {
		panic(err)
	}
	return &d
})

// resolved is a schema of the document with those that it refers to.
var resolved = sync.OnceValue(func() func(name string) *jsonschema.Resolved {
	var mu sync.Mutex
	known := map[string]*jsonschema.Resolved{}
	text := bytes.ReplaceAll(controlapi.OpenAPI(), []byte("#/components/schemas/"), []byte("#/$defs/"))
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		panic(err)
	}
	return func(name string) *jsonschema.Resolved {
		mu.Lock()
		defer mu.Unlock()
		if known[name] == nil {
			r, err := (&jsonschema.Schema{Ref: "#/$defs/" + name, Defs: d.Components.Schemas}).Resolve(nil)
			if err != nil {
				panic(err)
			}
			known[name] = r
		}
		return known[name]
	}
})

var templated = regexp.MustCompile(`\{[a-z]+\}`)

// patterns match what requests to the paths of the document have in their place.
var patterns = sync.OnceValue(func() map[string]*regexp.Regexp {
	all := map[string]*regexp.Regexp{}
	for template := range openapi().Paths {
		all[template] = regexp.MustCompile("^" + templated.ReplaceAllString(template, "[^/]+") + "$")
	}
	return all
})

// routeOf finds the path of the document that a request is to.
func routeOf(path string) string {
	found := ""
	for template, pattern := range patterns() {
		if template == path {
			return template
		}
		if pattern.MatchString(path) {
			found = template
		}
	}
	return found
}

// conforms says in what an answer is unlike the document.
func conforms(method, path string, got *reply) string {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	kind, name := "application/problem+json", "Problem"
	if got.status < 400 {
		op := openapi().Paths[routeOf(path)][strings.ToLower(method)]
		if op == nil {
			return "there is no such operation"
		}
		r := op.Responses[fmt.Sprint(got.status)]
		if r == nil {
			return "there is no such status"
		}
		if len(r.Content) == 0 {
			if got.body != "" {
				return "there is no body"
			}
			return ""
		}
		for k, c := range r.Content {
			kind = k
			name = strings.TrimPrefix(c.Schema.Ref, "#/components/schemas/")
		}
	}
	if have := got.header.Get("Content-Type"); have != kind {
		return fmt.Sprintf("it is %q, not %s", have, kind)
	}
	if name == "" { // any object, or text
		return ""
	}
	var v any
	if err := json.Unmarshal([]byte(got.body), &v); err != nil {
		return err.Error()
	}
	if err := resolved()(name).Validate(v); err != nil {
		return err.Error()
	}
	return ""
}

func TestDocumentIsWhatTheRoutesAre(t *testing.T) {
	d := openapi()
	if !strings.HasPrefix(d.OpenAPI, "3.1.") || d.Info.Title == "" || d.Info.Version == "" {
		t.Errorf("%s %+v", d.OpenAPI, d.Info)
	}
	there := map[string]bool{}
	ids := map[string]bool{}
	for _, route := range controlapi.Routes() {
		name := route.Method + " " + route.Path
		there[name] = true
		op := d.Paths[route.Path][strings.ToLower(route.Method)]
		if op == nil {
			t.Errorf("%s is not documented: describe it in openapi.json", name)
			continue
		}
		if ids[op.OperationID] || op.OperationID == "" || op.Summary == "" {
			t.Errorf("%s: the id %q is taken, or there is no summary", name, op.OperationID)
		}
		ids[op.OperationID] = true
		role := ""
		if route.Guard == controlapi.ByRole {
			role = route.Role.String()
		}
		if op.Role != role {
			t.Errorf("%s needs the role %q, and documents %q", name, role, op.Role)
		}
		wantSecurity := map[controlapi.Guard]string{controlapi.Public: "[]", controlapi.ByRole: "", controlapi.ByPush: `[{"push":[]}]`, controlapi.BySecret: `[{"webhook":[]}]`}[route.Guard]
		security := ""
		if op.Security != nil {
			text, _ := json.Marshal(op.Security)
			security = string(text)
		}
		if security != wantSecurity {
			t.Errorf("%s documents the security %s, want %s", name, security, wantSecurity)
		}
		var query, path, header []string
		for _, p := range op.Parameters {
			if p.Ref != "" {
				p = d.Components.Parameters[strings.TrimPrefix(p.Ref, "#/components/parameters/")]
			}
			switch p.In {
			case "query":
				query = append(query, p.Name)
			case "path":
				path = append(path, "{"+p.Name+"}")
			case "header":
				header = append(header, p.Name)
			}
		}
		if want := route.Query(); !slices.Equal(slices.Sorted(slices.Values(query)), slices.Sorted(slices.Values(want))) {
			t.Errorf("%s takes %v, and documents %v", name, want, query)
		}
		if want := templated.FindAllString(route.Path, -1); !slices.Equal(path, want) {
			t.Errorf("%s has %v in its path, and documents %v", name, want, path)
		}
		if changes := route.Guard == controlapi.ByRole && route.Method != "GET"; changes != slices.Contains(header, "Idempotency-Key") {
			t.Errorf("%s documents the headers %v", name, header)
		}
		if takes, needs := route.Body(); takes != (op.RequestBody != nil) || op.RequestBody != nil && op.RequestBody.Required != needs {
			t.Errorf("%s takes a body: %t, needs it: %t, and documents %v", name, takes, needs, op.RequestBody)
		}
		if op.Responses["default"] == nil {
			t.Errorf("%s documents no problems", name)
		}
	}
	for path, methods := range d.Paths {
		for method := range methods {
			if name := strings.ToUpper(method) + " " + path; !there[name] {
				t.Errorf("%s is documented, and not there", name)
			}
		}
	}
}

// TestDocumentIsWhole follows every reference, and wants each component used and each schema to be one.
func TestDocumentIsWhole(t *testing.T) {
	var all any
	if err := json.Unmarshal(controlapi.OpenAPI(), &all); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				used[ref] = true
				var here any = all
				for _, step := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
					object, _ := here.(map[string]any)
					here = object[step]
				}
				if here == nil {
					t.Errorf("%s refers to %s, which is not there", at, ref)
				}
			}
			if object, ok := v["properties"].(map[string]any); ok {
				required, _ := v["required"].([]any)
				for _, name := range required {
					if object[name.(string)] == nil {
						t.Errorf("%s requires %s, which it does not have", at, name)
					}
				}
			}
			for name, inner := range v {
				walk(at+"/"+name, inner)
			}
		case []any:
			for i, inner := range v {
				walk(fmt.Sprint(at, "/", i), inner)
			}
		}
	}
	walk("#", all)
	d := openapi()
	for _, name := range slices.Collect(maps.Keys(d.Components.Schemas)) {
		if !used["#/components/schemas/"+name] {
			t.Errorf("the schema %s is not used", name)
		}
		resolved()(name)
	}
	for name := range d.Components.Parameters {
		if !used["#/components/parameters/"+name] {
			t.Errorf("the parameter %s is not used", name)
		}
	}
	for path, methods := range d.Paths {
		for method, op := range methods {
			if op.Security != nil {
				for _, s := range *op.Security {
					for scheme := range s {
						if d.Components.SecuritySchemes[scheme] == nil {
							t.Errorf("%s %s: there is no security scheme %s", method, path, scheme)
						}
					}
				}
			}
			for status, r := range op.Responses {
				if r.Ref == "" && r.Description == "" {
					t.Errorf("%s %s: %s has no description", method, path, status)
				}
			}
		}
	}
}

func TestDocumentIsPublic(t *testing.T) {
	f := newFixture(t)
	got := f.do(ask{method: "GET", path: "/openapi.json", as: "nobody"})
	if got.status != 200 || got.body != string(controlapi.OpenAPI()) {
		t.Errorf("%d %.80s", got.status, got.body)
	}
}

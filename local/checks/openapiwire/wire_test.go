// Package openapiwire has the requests of declared tools read by an implementation of OpenAPI that is not ours: github.com/getkin/kin-openapi, as a server's side.
package openapiwire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// A wireCase is what TestWire of package rest writes.
type wireCase struct {
	In, Style, MediaType string
	Explode              bool
	Schema, Encoding     map[string]any
	Value                any
	URI                  string
	Header               http.Header
	Body                 []byte
}

// TestWire has each request read as the value that it was made of, and as no other one: the reader's schema has the value as its only one.
func TestWire(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wire.jsonl")
	cmd := exec.Command("go", "test", "-count=1", "-run", "^TestWire$", "./function/internal/backend/rest", "-args", "-wire="+file)
	cmd.Dir = "../../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	read := map[string]int{}
	lines := json.NewDecoder(in)
	lines.UseNumber()
	for {
		c := &wireCase{}
		if err := lines.Decode(c); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprintf("%s %s%s explode=%t %v", c.In, c.Style, c.MediaType, c.Explode, c.Schema["type"])
		read[what]++
		if err := c.read(t.Context(), c.Value); err != nil {
			t.Errorf("%s: %v is read otherwise: %s %q: %v", what, c.Value, c.URI, c.Body, err)
		}
		if err := c.read(t.Context(), other(c.Value)); err == nil {
			t.Errorf("%s: %v is read as another value, too: %s %q", what, c.Value, c.URI, c.Body)
		}
		if t.Failed() && len(read) > 3 {
			t.Log("what follows is left out")
			return
		}
	}
	total := 0
	for _, n := range read {
		total += n
	}
	if len(read) < 40 || total < 900 {
		t.Errorf("%d requests of %d kinds", total, len(read))
	}
	t.Logf("%d requests of %d kinds are read as the values that they were made of", total, len(read))
}

// other is a value that differs in one place.
func other(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := maps.Clone(v)
		for name := range out {
			out[name] = other(out[name])
			break
		}
		return out
	case []any:
		return append([]any{other(v[0])}, v[1:]...)
	case json.Number:
		if v == "7" {
			return json.Number("8")
		}
		return json.Number("7")
	case bool:
		return !v
	}
	return fmt.Sprint(v, "x")
}

// only is a schema of one value alone.
func only(schema map[string]any, value any) map[string]any {
	out := maps.Clone(schema)
	switch v := value.(type) {
	case map[string]any:
		members := map[string]any{}
		var required []string
		for name, of := range schema["properties"].(map[string]any) {
			members[name] = only(of.(map[string]any), v[name])
			required = append(required, name)
		}
		out["properties"], out["required"] = members, required
	case []any:
		out["minItems"], out["maxItems"] = len(v), len(v)
		out["enum"] = []any{v}
	case json.Number:
		out["minimum"], out["maximum"] = v, v
	default:
		out["enum"] = []any{v}
	}
	return out
}

// read has the request validated against a document by which a value alone is right.
func (c *wireCase) read(ctx context.Context, value any) error {
	operation := map[string]any{"responses": map[string]any{"200": map[string]any{"description": "x"}}}
	schema := only(c.Schema, value)
	path, method := "/x", "get"
	switch {
	case c.In == "body":
		method = "post"
		operation["requestBody"] = map[string]any{"required": true, "content": map[string]any{c.MediaType: map[string]any{"schema": schema, "encoding": c.Encoding}}}
	case c.MediaType != "":
		operation["parameters"] = []any{map[string]any{"name": "color", "in": c.In, "required": true, "content": map[string]any{c.MediaType: map[string]any{"schema": schema}}}}
	default:
		operation["parameters"] = []any{map[string]any{"name": "color", "in": c.In, "required": true, "style": c.Style, "explode": c.Explode, "schema": schema}}
	}
	if c.In == "path" {
		path = "/x/{color}"
	}
	text, err := json.Marshal(map[string]any{"openapi": "3.0.3", "info": map[string]any{"title": "x", "version": "1"}, "paths": map[string]any{path: map[string]any{method: operation}}})
	if err != nil {
		return err
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, strings.ToUpper(method), "https://api.example"+c.URI, bytes.NewReader(c.Body))
	if err != nil {
		return err
	}
	req.Header = c.Header
	input := &openapi3filter.RequestValidationInput{Request: req, Options: &openapi3filter.Options{MultiError: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
		Route: &routers.Route{Spec: doc, Path: path, PathItem: doc.Paths.Value(path), Method: req.Method, Operation: doc.Paths.Value(path).GetOperation(req.Method)}}
	if raw, ok := strings.CutPrefix(req.URL.EscapedPath(), "/x/"); ok {
		// As a router gives it: of the path's own segment.
		if raw, err = url.PathUnescape(raw); err != nil {
			return err
		}
		input.PathParams = map[string]string{"color": raw}
	}
	return openapi3filter.ValidateRequest(ctx, input)
}

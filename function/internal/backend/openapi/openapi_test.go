package openapi

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// read reads a document that is written in the test, with the files beside it by their names.
func read(t *testing.T, text string, options Options, beside ...string) *Document {
	t.Helper()
	dir := t.TempDir()
	put := func(name, text string) {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("api.yaml", text)
	for i := 0; i+1 < len(beside); i += 2 {
		put(beside[i], beside[i+1])
	}
	d, err := Read(t.Context(), filepath.Join(dir, "api.yaml"), options)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// one returns the only operation of a document.
func one(t *testing.T, d *Document) *Operation {
	t.Helper()
	if len(d.Operations) != 1 || len(d.LeftOut) != 0 {
		t.Fatalf("%d operations, left out %v", len(d.Operations), d.LeftOut)
	}
	return &d.Operations[0]
}

// same compares JSON whatever the order of its members.
func same(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	plain := func(text []byte) string {
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatalf("%s: %v: %s", what, err, text)
		}
		out, _ := json.Marshal(v)
		return string(out)
	}
	if g, w := plain(got), plain([]byte(want)); g != w {
		t.Errorf("%s:\n%s, want\n%s", what, g, w)
	}
}

// TestOperation reads one operation with all that tools are made of.
func TestOperation(t *testing.T) {
	d := read(t, `{"openapi": "3.0.3", "info": {"title": "Shop", "version": "7"},
  "servers": [{"url": "https://{region}.example.com/v1/", "variables": {"region": {"default": "eu", "enum": ["eu", "us"]}}}],
  "paths": {"/orders/{id}": {
    "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}],
    "put": {"operationId": "orders/change-one", "summary": "Changes an order", "description": "It must be open.", "tags": ["orders"],
      "parameters": [{"name": "dry", "in": "query", "schema": {"type": "boolean", "default": false}}],
      "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}},
      "responses": {"200": {"description": "Done.", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}}}}}},
  "components": {"schemas": {"Order": {"type": "object", "required": ["id", "note"], "properties": {
    "id": {"type": "integer", "readOnly": true}, "note": {"type": "string", "nullable": true, "maxLength": 9}, "pin": {"type": "string", "writeOnly": true}}}}}}`,
		Options{Variables: map[string]string{"region": "us"}, Outputs: true})
	o := one(t, d)
	if d.Title != "Shop" || d.Version != "7" || o.Name != "orders_change_one" || o.Title != "Changes an order" || o.Description != "Changes an order.\nIt must be open." ||
		o.Method != "PUT" || o.Path != "/orders/{id}" || o.ReadOnly || !o.Idempotent || o.Place.Line != 5 || o.Tags[0] != "orders" || o.Notes != nil {
		t.Errorf("%+v", o)
	}
	same(t, "input", o.Input, `{"type":"object","properties":{"id":{"type":"integer"},"dry":{"type":"boolean"},"note":{"type":["null","string"],"maxLength":9},"pin":{"type":"string"}},
		"required":["id","note"],"additionalProperties":false}`)
	same(t, "shown", o.Shown, `{"type":"object","properties":{"id":{"type":"integer"},"dry":{"type":"boolean","default":false},"note":{"anyOf":[{"type":"null"},{"type":"string","maxLength":9}]},"pin":{"type":"string"}},
		"required":["id","note"],"additionalProperties":false}`)
	same(t, "output", o.Output, `{"type":"object","properties":{"id":{"type":"integer"},"note":{"anyOf":[{"type":"null"},{"type":"string","maxLength":9}]}},"required":["id","note"]}`)
	r := o.Request
	if r.Server != "https://us.example.com/v1" || r.Path != "/orders/{id}" || len(r.Parameters) != 2 || r.Body.MediaType != "application/json" || !r.Body.Required ||
		len(r.Body.Members) != 2 || r.Body.Members[0].Name != "note" || !r.Body.Members[0].Null || r.Body.Members[1].Null {
		t.Errorf("%+v", r)
	}
}

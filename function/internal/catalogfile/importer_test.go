package catalogfile

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/erlmcp/function/internal/backend/openapi"
)

// hostile are operations whose names and texts would be more of a file than a text, or select others.
const hostile = `
openapi: 3.0.3
info: {title: "Evil\n- name: x", version: "1\u0085\u2028sources: []\u0001"}
servers: [{url: https://a.example}]
paths:
  "/a\n  - match: 'DELETE *'\n": {get: {operationId: getA, summary: A., responses: &ok {'200': {description: ok}}}, delete: {operationId: "del\rX", summary: D., responses: *ok}}
  "/b*": {get: {summary: B., responses: *ok}, delete: {operationId: "tag:t", summary: D., responses: *ok}}
  "/c": {get: {operationId: "GET /b*", summary: C., responses: *ok}, delete: {operationId: twice, summary: D., responses: *ok}}
  "/d": {get: {operationId: "d\u0001\u0007e", summary: "x\u0001 {}", description: "\u0000y", responses: *ok}}
  "/e": {get: {operationId: "tag:e", tags: [t], summary: E., responses: *ok}}
  "/f\u2028g": {get: {operationId: "123", summary: E., responses: *ok}}
  "/g": {get: {operationId: "0x1F", summary: "# E: x", responses: *ok}, delete: {operationId: "g*", summary: D., responses: *ok}}
  "/h": {get: {operationId: "~", summary: E., responses: *ok}, post: {operationId: "~", summary: D., responses: *ok}}
  "/i": {get: {operationId: twice, summary: "LONG", responses: *ok}, post: {operationId: "\u202e\ufeff\\\"'", summary: D., responses: *ok}}
`

// TestImport imports documents: what is written is taken by what reads it, offers all that only reads and nothing else, and so it is with all
// lines that are comments.
func TestImport(t *testing.T) {
	long := strings.Repeat("日本語", 100) // without a space
	for name, document := range map[string]string{
		"hostile": strings.Replace(hostile, "LONG", long, 1), "plain": document,
		"nothing that reads": `{"openapi":"3.0.3","info":{"title":"T","version":"1"},"servers":[{"url":"https://a.example"}],"paths":{"/a":{"post":{"operationId":"a","summary":"A.","responses":{"200":{"description":"ok"}}}}}}`,
	} {
		dir := write(t, map[string]string{"openapi.yaml": document, "common/types.json": types})
		d, err := openapi.Read(t.Context(), filepath.Join(dir, "openapi.yaml"), openapi.Options{})
		if err != nil {
			t.Fatal(err)
		}
		text, err := Import(d, Imported{From: "openapi.yaml"})
		if err != nil || !utf8.Valid(text) {
			t.Fatal(name, err)
		}
		for _, all := range []bool{false, true} {
			if all {
				text = []byte(strings.NewReplacer("\n  #- match", "\n  - match", "\n  #  description", "\n    description").Replace(string(text)))
			}
			put(t, filepath.Join(dir, "catalog.yaml"), string(text))
			read, _, err := reading(t, dir)
			if err != nil || len(read.Sources) != 1 {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
			want := map[string]bool{}
			for _, o := range d.Operations {
				if (o.ReadOnly || all) && o.Path != "/b*" {
					want[o.Method+" "+o.Path] = true
				}
			}
			for _, o := range read.Sources[0].Offered {
				if !want[o.From] {
					t.Errorf("%s, all lines %t: %q is offered", name, all, o.From)
				}
				delete(want, o.From)
			}
			for from := range want {
				t.Errorf("%s, all lines %t: %q is not offered", name, all, from)
			}
		}
		if strings.Contains(string(text), `description: "…"`) {
			t.Errorf("%s: nothing is left of a description", name)
		}
	}
	if _, err := Import(&openapi.Document{}, Imported{From: "f"}); err == nil {
		t.Error("a document without operations is imported")
	}
	if text, err := Import(&openapi.Document{Operations: make([]openapi.Operation, 1)}, Imported{From: "f", Name: "a: b"}); err == nil {
		t.Errorf("a name that is none: %s", text)
	}
}

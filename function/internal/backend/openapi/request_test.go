package openapi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/backend/rest"
)

// TestAccept has a request take what its operation lists, and JSON if it may.
func TestAccept(t *testing.T) {
	for _, c := range []struct{ schema, want string }{
		{"{type: string}", ""},
		{"{type: string, default: text/csv}", ""},
		{"{type: string, enum: [text/plain, '*/*', application/json]}", "application/json"},
		{"{type: string, enum: [text/plain, '*/*']}", "*/*"},
		{"{type: string, enum: [text/csv]}", "text/csv"},
		{"{type: string, enum: [\"text/csv\\r\\nX-Evil: 1\", csv]}", ""},
		{"{anyOf: [{type: string, enum: [application/x-ndjson]}, {type: 'null'}]}", "application/x-ndjson"},
		{"{type: integer, enum: [1]}", ""},
		{"{$ref: '#/nowhere'}", ""},
	} {
		o := one(t, read(t, doc("parameters: [{name: accept, in: header, schema: "+c.schema+"}]", ""), Options{}))
		if got := o.Request.Accept; got != c.want || len(o.Request.Parameters) != 1 {
			t.Errorf("%s: %q and %d parameters", c.schema, got, len(o.Request.Parameters))
		}
	}
	const v2 = "swagger: '2.0'\nhost: api.example.com\npaths: {/a: {get: {parameters: [{name: Accept, in: header, type: string, enum: [text/csv, application/vnd.x+json]}]}}}\n"
	if got := one(t, read(t, v2, Options{})).Request.Accept; got != "application/vnd.x+json" {
		t.Errorf("2.0: %q", got)
	}
}

// TestEncodings has the reports 22, 23 and 29 to 31: how each argument is written on the wire, by OpenAPI 3.1, sections 4.8.12.3 and 4.8.15.1.1, and
// OpenAPI 2.0, Parameter Object.
func TestEncodings(t *testing.T) {
	const v2 = "swagger: '2.0'\nhost: api.example.com\nconsumes: [%s]\npaths: {'/a/{id}': {post: {parameters: [%s]}}}\n"
	for _, c := range []struct{ name, text, of, want string }{
		{"query", doc(`parameters: [{name: a, in: query, schema: {type: array}}]`, ""), "a", fmt.Sprint(rest.Encoding{Style: rest.Form, Explode: true})},
		{"query, not exploded", doc(`parameters: [{name: a, in: query, explode: false, schema: {type: array}}]`, ""), "a", fmt.Sprint(rest.Encoding{Style: rest.Form})},
		{"pipes", doc(`parameters: [{name: a, in: query, style: pipeDelimited, allowReserved: true, schema: {type: array}}]`, ""), "a", fmt.Sprint(rest.Encoding{Style: rest.PipeDelimited, AllowReserved: true})},
		{"22 deepObject", doc(`parameters: [{name: a, in: query, style: deepObject, explode: true, schema: {type: object}}]`, ""), "a", fmt.Sprint(rest.Encoding{Style: rest.DeepObject, Explode: true})},
		{"path", doc(`parameters: [{name: id, in: path, required: true, schema: {type: array}}]`, ""), "id", fmt.Sprint(rest.Encoding{Style: rest.Simple})},
		{"matrix", doc(`parameters: [{name: id, in: path, required: true, style: matrix, explode: true, schema: {type: array}}]`, ""), "id", fmt.Sprint(rest.Encoding{Style: rest.Matrix, Explode: true})},
		{"header, with a style that headers have not", doc(`parameters: [{name: a, in: header, style: form, schema: {type: array}}]`, ""), "a", fmt.Sprint(rest.Encoding{Style: rest.Simple})},
		{"31 content", doc(`parameters: [{name: a, in: query, content: {application/json: {schema: {type: object}}}}]`, ""), "a", fmt.Sprint(rest.Encoding{ContentType: "application/json"})},
		{"23 csv of 2.0", fmt.Sprintf(v2, "", "{name: a, in: query, type: array, items: {type: string}}"), "a", fmt.Sprint(rest.Encoding{Style: rest.Form})},
		{"23 multi of 2.0", fmt.Sprintf(v2, "", "{name: a, in: query, type: array, collectionFormat: multi}"), "a", fmt.Sprint(rest.Encoding{Style: rest.Form, Explode: true})},
		{"23 tsv of 2.0", fmt.Sprintf(v2, "", "{name: a, in: query, type: array, collectionFormat: tsv}"), "a", fmt.Sprint(rest.Encoding{Style: rest.TabDelimited})},
		{"23 ssv of 2.0 in a path", fmt.Sprintf(v2, "", "{name: id, in: path, required: true, type: array, collectionFormat: ssv}"), "id", fmt.Sprint(rest.Encoding{Style: rest.Simple})},
		{"29 a form of 2.0", fmt.Sprintf(v2, "application/x-www-form-urlencoded", "{name: a, in: formData, type: array, collectionFormat: pipes}, {name: b, in: formData, type: string, required: true}"), "body a",
			"application/x-www-form-urlencoded true " + fmt.Sprint(rest.Encoding{Style: rest.PipeDelimited}, false)},
		{"29 a file of 2.0", fmt.Sprintf(v2, "", "{name: a, in: formData, type: file}"), "body a", "multipart/form-data false " + fmt.Sprint(rest.Encoding{}, true)},
		{"29 a body of 2.0", fmt.Sprintf(v2, "'application/xml', 'application/json'", "{name: whatever, in: body, required: true, schema: {type: object, properties: {a: {type: string}}}}"), "body a",
			"application/json true " + fmt.Sprint(rest.Encoding{}, false)},
		{"30 a form with encodings", doc(`requestBody: {content: {application/x-www-form-urlencoded: {schema: {type: object, properties: {a: {type: object}}}, encoding: {a: {style: deepObject, explode: true}}}}}`, ""), "body a",
			"application/x-www-form-urlencoded false " + fmt.Sprint(rest.Encoding{Style: rest.DeepObject, Explode: true}, false)},
		{"30 a part of a media type", doc(`requestBody: {content: {multipart/form-data: {schema: {type: object, properties: {a: {type: string, format: binary}}}, encoding: {a: {contentType: "image/*, image/png"}}}}}`, ""), "body a",
			"multipart/form-data false " + fmt.Sprint(rest.Encoding{ContentType: "image/png"}, true)},
		{"30 files in a list", doc(`requestBody: {content: {multipart/form-data: {schema: {type: object, properties: {a: {type: array, items: {type: string, format: binary}}}}}}}`, ""), "body a", "multipart/form-data false " + fmt.Sprint(rest.Encoding{}, true)},
		{"JSON is preferred", doc(`requestBody: {content: {text/plain: {}, multipart/form-data: {}, application/xml: {}, application/vnd.x+json: {}, application/json: {schema: {type: object, properties: {a: {}}}}}}`, ""), "body a",
			"application/json false " + fmt.Sprint(rest.Encoding{}, false)},
		{"any type is JSON", doc(`requestBody: {content: {application/yaml: {}, '*/*': {schema: {type: object, properties: {a: {}}}}}}`, ""), "body a", "application/json false " + fmt.Sprint(rest.Encoding{}, false)},
		{"a merge patch before a list of steps", doc(`requestBody: {content: {application/json-patch+json: {}, application/merge-patch+json: {}}}`, ""), "body", "application/merge-patch+json false false"},
		{"text", doc(`requestBody: {content: {text/csv: {schema: {type: string}}}}`, ""), "body", "text/csv false false"},
		{"bytes", doc(`requestBody: {required: true, content: {image/*: {}}}`, ""), "body", "application/octet-stream true true"},
		{"XML is text", doc(`requestBody: {content: {application/xml: {schema: {type: object}}}}`, ""), "body", "application/xml false false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := one(t, read(t, c.text, Options{}))
			got := "not there"
			b := o.Request.Body
			if name, ok := strings.CutPrefix(c.of, "body "); ok {
				got = fmt.Sprintln(b.MediaType, b.Required, b.Encodings[name], b.Files[name])
			} else if c.of == "body" {
				got = fmt.Sprintln(b.MediaType, b.Required, b.Binary)
			}
			for _, p := range o.Request.Parameters {
				if p.Name == c.of {
					got = fmt.Sprint(p.Encoding)
				}
			}
			if strings.TrimSpace(got) != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if _, err := (&rest.API{Name: "api"}).Tool(&o.Request, rest.Answer{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestServers has report 28: operation, path, document, variables, and what is relative.
func TestServers(t *testing.T) {
	const three = "openapi: 3.0.0\n%s\npaths:\n  /a:\n    %s\n    get: {%s}\n"
	vars := "servers: [{url: 'https://{region}.example.com:{port}/v1/', variables: {region: {default: eu, enum: [eu, us]}, port: {default: 443}}}]"
	for _, c := range []struct {
		name, text string
		options    Options
		want       string // or a part of why it is left out
	}{
		{"the document's", fmt.Sprintf(three, "servers: [{url: https://a.example/x}]", "", ""), Options{}, "https://a.example/x"},
		{"the path's", fmt.Sprintf(three, "servers: [{url: https://a.example}]", "servers: [{url: https://b.example/}]", ""), Options{}, "https://b.example"},
		{"the operation's", fmt.Sprintf(three, "servers: [{url: https://a.example}]", "servers: [{url: https://b.example}]", "servers: [{url: https://c.example}]"), Options{}, "https://c.example"},
		{"the catalog's", fmt.Sprintf(three, "servers: [{url: https://a.example}]", "", "servers: [{url: https://c.example}]"), Options{Server: "https://d.example/v2/"}, "https://d.example/v2"},
		{"variables by default", fmt.Sprintf(three, vars, "", ""), Options{}, "https://eu.example.com:443/v1"},
		{"variables of the catalog", fmt.Sprintf(three, vars, "", ""), Options{Variables: map[string]string{"region": "us"}}, "https://us.example.com:443/v1"},
		{"a value that the enum has not", fmt.Sprintf(three, vars, "", ""), Options{Variables: map[string]string{"region": "mars"}}, `can't be "mars"`},
		{"a variable that has no default", fmt.Sprintf(three, "servers: [{url: 'https://{x}.example.com'}]", "", ""), Options{}, "no default for {x}"},
		{"relative, from a file", fmt.Sprintf(three, "servers: [{url: /api}]", "", ""), Options{}, "names no server"},
		{"none, from a file", fmt.Sprintf(three, "", "", ""), Options{}, "server: https://"},
		{"of another scheme", fmt.Sprintf(three, "servers: [{url: 'ftp://a.example'}]", "", ""), Options{}, "no absolute URL of http or https"},
		{"2.0", "swagger: '2.0'\nhost: a.example:8080\nbasePath: /v1/\nschemes: [http, https]\npaths: {/a: {get: {}}}", Options{}, "https://a.example:8080/v1"},
		{"2.0, by the operation's schemes", "swagger: '2.0'\nhost: a.example\nschemes: [https]\npaths: {/a: {get: {schemes: [http]}}}", Options{}, "http://a.example"},
		{"2.0 without a host", "swagger: '2.0'\nbasePath: /v1\npaths: {/a: {get: {}}}", Options{}, "names no server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := read(t, c.text, c.options)
			switch {
			case len(d.Operations) == 1 && d.Operations[0].Request.Server != c.want:
				t.Errorf("%s, want %s", d.Operations[0].Request.Server, c.want)
			case len(d.Operations) == 0 && (len(d.LeftOut) != 1 || !strings.Contains(d.LeftOut[0].Reason, c.want)):
				t.Errorf("%+v, want %s", d.LeftOut, c.want)
			}
		})
	}
	for url, want := range map[string]string{"https://docs.example/specs/api.yaml": "https://docs.example/specs/v2"} {
		d, err := Read(t.Context(), url, Options{Fetch: func(context.Context, string) ([]byte, error) {
			return []byte(fmt.Sprintf(three, "servers: [{url: v2}]", "", "")), nil
		}})
		if err != nil || d.Operations[0].Request.Server != want {
			t.Errorf("%+v, %v", d, err)
		}
	}
	if _, err := Read(t.Context(), "https://docs.example/a", Options{Variables: map[string]string{"nope": "x"}, Fetch: func(context.Context, string) ([]byte, error) {
		return []byte(fmt.Sprintf(three, vars, "", "")), nil
	}}); err == nil || !strings.Contains(err.Error(), `no variable "nope"`) || !strings.Contains(err.Error(), "port, region") {
		t.Error(err)
	}
}

// TestReferences has the reports 4 and 8: references to other files, within bounds, and what leads nowhere costs its own operation.
func TestReferences(t *testing.T) {
	d := read(t, `openapi: 3.0.0
servers: [{url: https://api.example.com}]
paths:
  /a: {$ref: 'paths/a.yaml', summary: A.}
  /b: {get: {operationId: b, parameters: [{$ref: 'common/params.json#/size'}]}}
  /c: {get: {operationId: c, parameters: [{$ref: '../secret.yaml'}]}}
  /d: {get: {operationId: d, parameters: [{$ref: '/etc/passwd'}]}}
  /e: {get: {operationId: e, parameters: [{$ref: 'https://evil.example/x'}]}}
  /f: {get: {operationId: f, parameters: [{$ref: '#/components/parameters/none'}]}}
  /g: {$ref: 'none.yaml'}
  /h: {get: {operationId: h, parameters: [{$ref: '#/paths/~1h/get/parameters/0'}]}}
  /i: {get: {operationId: i, responses: {'200': {$ref: '#/none'}}}}
  /j: {post: {operationId: j, requestBody: {content: {application/json: {schema: {type: object, properties: {x: {type: array, items: {$ref: 'common/params.json#/none'}}}}}}}}}
  /k: {trace: {operationId: k}}
`, Options{Outputs: true}, "paths/a.yaml", `get: {operationId: a, parameters: [{$ref: '../common/params.json#/size'}]}`,
		"common/params.json", `{"size": {"name": "size", "in": "query", "schema": {"$ref": "schema.yaml"}}}`, "common/schema.yaml", "type: integer")
	var read []string
	for _, o := range d.Operations {
		read = append(read, o.Name)
	}
	if strings.Join(read, " ") != "a b i" {
		t.Errorf("%v", read)
	}
	same(t, "input", d.Operations[0].Input, `{"type":"object","properties":{"size":{"type":"integer"}},"additionalProperties":false}`)
	if p := d.Operations[0].Place; filepath.Base(p.File) != "a.yaml" || p.Line != 1 || len(d.Operations[2].Notes) != 1 {
		t.Errorf("%v, %v", p, d.Operations[2].Notes)
	}
	why := map[string]string{"/c": "out of the document's directory", "/d": "out of the document's directory", "/e": "files alone", "/f": `there is no "components"`, "/g": "none.yaml", "/h": "in a circle", "/j": `there is no "none"`, "/k": "TRACE"}
	for _, l := range d.LeftOut {
		if !strings.Contains(l.Reason, why[l.Path]) || why[l.Path] == "" || l.Place.Line == 0 || !strings.HasSuffix(l.Place.File, "api.yaml") {
			t.Errorf("%s at %v: %s", l.Path, l.Place, l.Reason)
		}
		delete(why, l.Path)
	}
	if len(why) > 0 {
		t.Errorf("not left out: %v", why)
	}
}

// TestHosts has references of a document at a URL followed on its own host alone.
func TestHosts(t *testing.T) {
	asked := []string{}
	d, err := Read(t.Context(), "https://docs.example/specs/api.yaml", Options{Fetch: func(_ context.Context, url string) ([]byte, error) {
		asked = append(asked, url)
		switch url {
		case "https://docs.example/specs/api.yaml":
			return []byte("openapi: 3.1.0\npaths: {/a: {get: {parameters: [{$ref: 'p.yaml#/x'}]}}, /b: {get: {parameters: [{$ref: 'https://other.example/p.yaml'}]}}, /c: {get: {parameters: [{$ref: '//docs.example:81/p'}]}}, /d: {get: {parameters: [{$ref: 'http://docs.example/p'}]}}}"), nil
		case "https://docs.example/specs/p.yaml":
			return []byte("x: {name: q, in: query, schema: {type: string}}"), nil
		}
		return nil, errors.New("not there")
	}})
	if err != nil || len(d.Operations) != 1 || len(d.LeftOut) != 3 || len(asked) != 2 {
		t.Errorf("%+v, %v, asked %v", d, err, asked)
	}
	if _, err := Read(t.Context(), "https://docs.example/a", Options{}); err == nil {
		t.Error("nothing fetches, and there is no error")
	}
}

// TestLinks has files outside of the directory refused, by whatever way they are reached.
func TestLinks(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "p.yaml"), []byte("{name: q, in: query, schema: {type: string}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "p.yaml"), filepath.Join(dir, "p.yaml")); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, "api.yaml")
	if err := os.WriteFile(at, []byte("openapi: 3.0.0\nservers: [{url: https://a.example}]\npaths: {/a: {get: {parameters: [{$ref: p.yaml}]}}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if d, err := Read(t.Context(), at, Options{}); err != nil || len(d.Operations) != 0 || len(d.LeftOut) != 1 {
		t.Errorf("%+v, %v", d, err)
	}
}

package openapi

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// given reads a text that comes from a URL.
func given(t *testing.T, text string) (*Document, error) {
	t.Helper()
	return Read(t.Context(), "https://api.example.com/openapi", Options{Fetch: func(context.Context, string) ([]byte, error) { return []byte(text), nil }})
}

const small = `openapi: 3.0.0
paths: {/a: {get: {}}}
`

// TestBounds has what can't be read, and what is too much, refused with the reason.
func TestBounds(t *testing.T) {
	nested := func(n int) string {
		return `{"openapi":"3.0.0","x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `,"paths":{"/a":{"get":{}}}}`
	}
	laughs := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 9 {
		laughs += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d,", i), 9), i)
	}
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "it is empty"},
		{"no object", "[]", "it is not an object"},
		{"no document of OpenAPI", "a: b", "neither openapi nor swagger"},
		{"another version", "openapi: 4.0.0", "it is of version 4.0.0"},
		{"an old version", "swagger: '1.2'", "it is of version 1.2"},
		{"neither JSON nor YAML", `{"openapi": "3.0.0", "paths": {]`, "neither JSON (line 1: "},
		{"deep JSON", nested(maxDepth + 1), "more than 200 deep"},
		{"deep YAML", small + "x: " + strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1), "more than 200 deep"},
		{"very deep JSON", nested(1_000_000), "more than 200 deep"},
		{"very deep YAML", "x: " + strings.Repeat("[", 1_000_000), "exceeded max depth"},
		{"many values", `{"openapi":"3.0.0","x":[` + strings.Repeat("0,", maxNodes) + `0]}`, "more than 2000000 values"},
		{"many bytes", small + "#" + strings.Repeat("x", maxBytes), "more than 16 MiB"},
		{"aliases that make much of little", laughs + small, "aliases make more than 10 times"},
		{"an alias within its anchor", small + "x: &x [*x]", "within its own anchor"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && len(c.text) > maxNodes {
				t.Skip("it takes seconds")
			}
			d, err := given(t, c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "https://api.example.com/openapi") {
				t.Errorf("%v, %v, want %s", d, err, c.want)
			}
		})
	}
}

// TestForms has documents that strict readers refuse, and that are read.
func TestForms(t *testing.T) {
	for name, text := range map[string]string{
		"as deep as may be":        `{"openapi":"3.0.0","x":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `,"paths":{"/a":{"get":{}}}}`,
		"a mark of the order":      "\xef\xbb\xbf" + small,
		"a control character":      "{\"openapi\":\"3.0.0\",\"info\":{\"title\":\"a\x0bb\x7f\"},\"paths\":{\"/a\":{\"get\":{}}}}",
		"a line break in a text":   "{\"openapi\":\"3.0.0\",\"info\":{\"title\":\"a\nb\"},\"paths\":{\"/a\":{\"get\":{}}}}",
		"half a surrogate":         `{"openapi":"3.0.0","info":{"title":"\ud83d"},"paths":{"/a":{"get":{}}}}`,
		"no UTF-8":                 "openapi: 3.0.0\ninfo: {title: \xff}\npaths: {/a: {get: {}}}",
		"a bare equals sign":       small + "x: [=, ~, <]",
		"a version that is number": "openapi: 3.1\npaths: {/a: {get: {}}}",
		"3.2":                      "openapi: 3.2.0\npaths: {/a: {get: {}}}",
		"2.0 as a number":          "swagger: 2.0\npaths: {/a: {get: {}}}",
		"a key twice":              "openapi: 3.0.0\npaths: {/a: {get: {description: x, description: y}}}",
		"keys that are numbers":    "openapi: 3.0.0\npaths: {/a: {get: {responses: {200: {description: x}}}}}",
		"aliases and merges":       "openapi: 3.0.0\nx: &op {get: {operationId: x}}\npaths: {/a: {<<: *op}}",
		"an extension in paths":    "openapi: 3.0.0\npaths: {x-a: {get: {}}, /a: {get: {}, x-b: {}, parameters: []}}",
		"numbers of YAML":          small + "x: [0x1f, 0o17, 1_000, .5, +1, .inf, -.inf, .nan, 1e3, 2001-01-01]",
	} {
		d, err := given(t, text)
		if err != nil || len(d.Operations) != 1 {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

// TestWide has schemas that would be huge, if all of it were written, refused for their operation alone, in little time and memory.
func TestWide(t *testing.T) {
	var b strings.Builder
	b.WriteString("openapi: 3.0.0\npaths:\n")
	for _, root := range []string{"S0", "U0", "P"} {
		fmt.Fprintf(&b, "  /%s: {post: {requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/%s'}}}}}}\n", root, root)
	}
	b.WriteString("  /b: {get: {}}\ncomponents:\n  schemas:\n")
	for i := range 60 { // each has the next twice, and unions of unions
		fmt.Fprintf(&b, "    S%d: {type: object, properties: {a: {$ref: '#/components/schemas/S%d'}, b: {type: array, items: {$ref: '#/components/schemas/S%d'}}}}\n", i, i+1, i+1)
		fmt.Fprintf(&b, "    U%d: {anyOf: [{$ref: '#/components/schemas/U%d'}, {type: array, items: {$ref: '#/components/schemas/U%d'}}, {type: object, properties: {k%d: {$ref: '#/components/schemas/U0'}}}]}\n", i, i+1, i+1, i)
	}
	b.WriteString("    S60: {type: string}\n    U60: {type: string}\n    P:\n      allOf:\n")
	for i := range 25 { // a product of unions
		fmt.Fprintf(&b, "        - anyOf: [{type: object, properties: {a%d: {type: string}}}, {type: object, properties: {b%d: {type: string}}}, {type: object, required: [c%d]}]\n", i, i, i)
	}
	start := time.Now()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d, err := given(t, b.String())
	runtime.ReadMemStats(&after)
	if err != nil || len(d.Operations)+len(d.LeftOut) != 4 || !strings.Contains(fmt.Sprint(d.Operations), "/b") {
		t.Fatalf("%+v, %v", d, err)
	}
	if took, made := time.Since(start), (after.TotalAlloc-before.TotalAlloc)>>20; took > 5*time.Second || made > 1000 {
		t.Errorf("it took %v and made %d MiB", took, made)
	}
	for _, o := range d.Operations {
		if len(o.Shown) > maxShown {
			t.Errorf("%s is shown in %d bytes", o.Path, len(o.Shown))
		}
	}
}

// TestMany has hundreds of arguments shown: those that are required, and as many others as there is room for.
func TestMany(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "{name: argument_number_%d, in: query, required: %v, schema: {type: string}},", i, i%100 == 99)
	}
	o := one(t, read(t, "openapi: 3.0.0\nservers: [{url: https://a.example}]\npaths: {/a: {get: {parameters: ["+b.String()+"]}}}", Options{}))
	if len(o.Shown) > maxShown || len(o.Shown) < maxShown-200 || !strings.Contains(string(o.Shown), `"argument_number_999":`) {
		t.Errorf("%d: %s", len(o.Shown), o.Shown)
	}
	for _, args := range []string{`{"argument_number_998":"x"`, `{"argument_number_0":"x"`} {
		for i := 99; i < 1000; i += 100 {
			args += fmt.Sprintf(`,"argument_number_%d":"x"`, i)
		}
		if args += "}"; !takes(t, o.Input, args) || !takes(t, o.Shown, args) {
			t.Errorf("%s is refused", args)
		}
	}
}

// FuzzRead has no document, whatever it is, end the process or take long.
func FuzzRead(f *testing.F) {
	f.Add(small)
	f.Add(doc(jsonBody+`{allOf: [{$ref: '#/components/schemas/A'}, {anyOf: [{type: [string, "null"]}, {oneOf: [true, false]}]}]}`, "components: {schemas: {A: {$ref: '#/components/schemas/A'}}}"))
	f.Add(`{"swagger":"2.0","host":"a","paths":{"/{a}":{"get":{"parameters":[{"in":"body","schema":{"items":[{}]}},{"in":"formData","name":"a","type":"file"}]}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		start := time.Now()
		d, err := given(t, text)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		if err != nil {
			return
		}
		for _, o := range d.Operations {
			takes(t, o.Input, "{}")
			takes(t, o.Shown, "{}")
		}
	})
}

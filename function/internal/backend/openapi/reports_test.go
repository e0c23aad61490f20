package openapi

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/backend/rest"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/value"
)

// doc is a document of OpenAPI 3.0 with one operation, which is given as YAML of its members, and what else the document has.
func doc(operation, rest string) string {
	return "openapi: 3.0.3\nservers: [{url: https://api.example.com}]\npaths:\n  /things/{id}:\n    post:\n      operationId: thing\n" + indented(operation, 6) + "\n" + rest
}

func indented(text string, by int) string {
	return regexp.MustCompile(`(?m)^`).ReplaceAllString(strings.Trim(text, "\n"), strings.Repeat(" ", by))
}

// takes tells whether arguments fit a schema, by the checker that calls are checked with.
func takes(t *testing.T, schema json.RawMessage, args string) bool {
	t.Helper()
	var s jsonschema.Schema
	if err := json.Unmarshal(schema, &s); err != nil {
		t.Fatalf("%v: %s", err, schema)
	}
	c, err := value.NewChecker(&s)
	if err != nil {
		t.Fatalf("%v: %s", err, schema)
	}
	v, err := mcp.Decode([]byte(args))
	if err != nil {
		t.Fatal(err)
	}
	return c.Check(v) == nil
}

const jsonBody = `requestBody:
  required: true
  content:
    application/json:
      schema: `

// TestSchemaReports has the reports 1 to 12 of what went wrong in others: arguments that must be taken and such that must not, and what must and must
// not stand in the schema that is shown.
func TestSchemaReports(t *testing.T) {
	for _, c := range []struct {
		name, operation, rest string
		takes, refuses        []string
		has, lacks            []string // of Shown
	}{
		{"1 a cycle is cut at its second visit, and is checked all the way down", jsonBody + `{$ref: '#/components/schemas/Tree'}`, `components: {schemas: {Tree: {type: object, required: [name],
  properties: {name: {type: string}, kids: {type: array, items: {$ref: '#/components/schemas/Tree'}}}}}}`,
			[]string{`{"id":"a","name":"x","kids":[{"name":"y","kids":[{"name":"z"}]}]}`}, []string{`{"id":"a","name":"x","kids":[{"name":"y","kids":[{"name":7}]}]}`, `{"id":"a"}`},
			[]string{`"kids"`}, []string{`$ref`, `$defs`}},
		{"1 cycles through two schemas, allOf and a map", jsonBody + `{$ref: '#/components/schemas/A'}`, `components: {schemas: {A: {allOf: [{$ref: '#/components/schemas/B'}], properties: {a: {$ref: '#/components/schemas/A'}}},
  B: {type: object, properties: {more: {type: object, additionalProperties: {$ref: '#/components/schemas/A'}}}}}}`,
			[]string{`{"id":"a","more":{"x":{"a":{"more":{}}}}}`}, []string{`{"id":"a","more":{"x":{"a":{"more":7}}}}`}, nil, []string{`$ref`}},
		{"1 allOf and anyOf that lead to themselves", jsonBody + `{type: object, properties: {a: {$ref: '#/components/schemas/A'}, b: {$ref: '#/components/schemas/B'}}}`,
			`components: {schemas: {A: {allOf: [{$ref: '#/components/schemas/A'}, {type: string}]}, B: {anyOf: [{$ref: '#/components/schemas/B'}, {type: integer}, {type: boolean}]}}}`,
			[]string{`{"id":"a","a":"x","b":7}`}, []string{`{"id":"a","a":7}`, `{"id":"a","b":"x"}`}, nil, nil},
		{"2 a pointer into paths, by a number", jsonBody + `{type: object, properties: {n: {$ref: '#/paths/~1other/get/parameters/0/schema'}, m: {$ref: '#/paths/~1things~1%7Bid%7D/post/requestBody/content/application~1json/schema/properties/n'}}}`,
			"  /other: {get: {servers: [{url: 'ftp://x'}], parameters: [{name: n, in: query, schema: {type: integer}}]}}",
			[]string{`{"id":"a","n":7,"m":8}`}, []string{`{"id":"a","n":"x"}`, `{"id":"a","m":"x"}`}, nil, nil},
		{"2 a pointer below the schema that it stands in", jsonBody + `{type: object, properties: {n: {type: integer}, m: {$ref: '#/properties/n'}}}`, "",
			[]string{`{"id":"a","m":7}`}, []string{`{"id":"a","m":"x"}`}, nil, nil},
		{"5 nullable, also of an enum, of allOf and of an alternative", jsonBody + `{type: object, properties: {a: {type: string, nullable: true, enum: [x, y]}, b: {nullable: true, allOf: [{$ref: '#/components/schemas/S'}]},
              c: {nullable: true, anyOf: [{type: integer}, {type: boolean}]}, d: {type: string}, e: {type: string, nullable: true, enum: [x, null]}}}`, `components: {schemas: {S: {type: object, properties: {n: {type: integer}}}}}`,
			[]string{`{"id":"a","a":null,"b":null,"c":null,"e":null}`, `{"id":"a","a":"x","b":{"n":1},"c":true}`}, []string{`{"id":"a","d":null}`, `{"id":"a","a":"z"}`, `{"id":"a","b":{"n":"x"}}`}, []string{`"enum":["x","y"]`}, []string{`null]`}},
		{"6 no type beside alternatives", jsonBody + `{type: object, properties: {a: {type: object, properties: {k: {type: string}}, anyOf: [{required: [x], properties: {x: {type: integer}}}, {properties: {y: {type: integer}}, required: [y]}]}}}`, "",
			[]string{`{"id":"a","a":{"k":"s","x":1}}`}, []string{`{"id":"a","a":{"k":1,"x":1}}`, `{"id":"a","a":{"k":"s"}}`, `{"id":"a","a":7}`}, nil, []string{`"type":"object","anyOf"`, `"oneOf"`}},
		{"7 a union is the argument body, below a plain object", jsonBody + `{oneOf: [{type: object, required: [a], properties: {a: {type: string}}}, {type: object, required: [b], properties: {b: {type: integer}}}]}`, "",
			[]string{`{"id":"a","body":{"a":"x"}}`, `{"id":"a","body":{"b":1}}`}, []string{`{"id":"a","body":{"a":"x","b":1}}`, `{"id":"a"}`, `{"id":"a","body":{}}`}, []string{`"body":{"anyOf"`}, []string{`oneOf`}},
		{"7 alternatives of what is required leave the object plain", jsonBody + `{type: object, properties: {a: {type: string}, b: {type: string}}, anyOf: [{required: [a]}, {required: [b]}]}`, "",
			[]string{`{"id":"a","a":"x"}`}, []string{`{"id":"a","a":7}`}, []string{`"a":{"type":"string"}`}, []string{`anyOf`}},
		{"9 values of an enum twice, and as another type than is said", jsonBody + `{type: object, properties: {a: {type: string, enum: [x, x, 1, true]}, b: {type: integer, enum: ["1", 2]}}}`, "",
			[]string{`{"id":"a","a":"1","b":1}`, `{"id":"a","a":"true"}`}, []string{`{"id":"a","a":1}`, `{"id":"a","b":3}`}, []string{`"enum":["x","1","true"]`, `One of 1, 2.`}, nil},
		{"10 a pattern that Go can't compile", jsonBody + `{type: object, properties: {a: {type: string, pattern: '^(?!x)[a-z]+$'}, b: {type: string, pattern: '^[a-z]+$'}, c: {oneOf: [{type: string, pattern: '^(?=a)'}, {type: string, pattern: '^(?=b)'}]}}}`, "",
			[]string{`{"id":"a","a":"x","b":"x","c":"a"}`}, []string{`{"id":"a","b":"7"}`}, []string{`Pattern ^(?!x)[a-z]+$.`, `"pattern":"^[a-z]+$"`}, nil},
		{"11 allOf is merged", jsonBody + `{allOf: [{$ref: '#/components/schemas/Base'}, {type: object, required: [b], properties: {b: {type: integer, minimum: 2}}}, {properties: {b: {maximum: 5}, a: {maxLength: 3}}}]}`,
			`components: {schemas: {Base: {type: object, required: [a], properties: {a: {type: string}}}}}`,
			[]string{`{"id":"a","a":"abc","b":3}`}, []string{`{"id":"a","a":"abcd","b":3}`, `{"id":"a","a":"a","b":6}`, `{"id":"a","a":"a","b":1}`, `{"id":"a","a":"a"}`}, []string{`"required":["id","a","b"]`}, []string{`allOf`}},
		{"11 a discriminator tells alternatives that are alike", jsonBody + `{oneOf: [{$ref: '#/components/schemas/Cat'}, {$ref: '#/components/schemas/Dog'}], discriminator: {propertyName: kind, mapping: {tom: '#/components/schemas/Cat', Dog: Dog}}}`,
			`components: {schemas: {Cat: {type: object, required: [kind], properties: {kind: {type: string}}}, Dog: {type: object, required: [kind], properties: {kind: {type: string}}}}}`,
			[]string{`{"id":"a","body":{"kind":"tom"}}`, `{"id":"a","body":{"kind":"Dog"}}`}, []string{`{"id":"a","body":{"kind":"Cow"}}`}, nil, nil},
		{"11 a mapping that leaves one alternative out", jsonBody + `{oneOf: [{$ref: '#/components/schemas/Cat'}, {$ref: '#/components/schemas/Dog'}], discriminator: {propertyName: kind, mapping: {tom: '#/components/schemas/Cat'}}}`,
			`components: {schemas: {Cat: {type: object, required: [kind], properties: {kind: {type: string}, n: {type: integer}}}, Dog: {type: object, required: [kind], properties: {kind: {type: string}, n: {type: string}}}}}`,
			[]string{`{"id":"a","body":{"kind":"tom","n":1}}`, `{"id":"a","body":{"kind":"rex"}}`, `{"id":"a","body":{"kind":"tom"}}`}, []string{`{"id":"a","body":{"kind":"rex","n":1}}`}, nil, nil},
		{"12 what is read-only is not sent, nor required", jsonBody + `{type: object, required: [n, a], properties: {n: {readOnly: true, type: integer}, a: {type: string}, r: {allOf: [{$ref: '#/components/schemas/R'}]}}}`,
			`components: {schemas: {R: {type: string, readOnly: true}}}`, []string{`{"id":"a","a":"x"}`}, []string{`{"id":"a","a":"x","n":1}`, `{"id":"a","a":"x","r":"x"}`}, nil, []string{`"n"`, `"r"`}},
		{"bounds that are open in 3.0, and numbers that no double holds", jsonBody + `{type: object, properties: {a: {type: number, minimum: 1, exclusiveMinimum: true}, b: {type: integer, maximum: 9223372036854775807, minimum: -5}}}`, "",
			[]string{`{"id":"a","a":1.5,"b":9223372036854775807}`}, []string{`{"id":"a","a":1}`, `{"id":"a","b":-6}`}, []string{`More than 1.`}, []string{`exclusive`, `9223372036854775807`}},
		{"members whose names no argument can have", jsonBody + `{type: object, properties: {a: {type: object, required: ["@type", b], properties: {"@type": {type: string}, b: {type: string}}}}}`, "",
			[]string{`{"id":"a","a":{"@type":"x","b":"y"}}`}, []string{`{"id":"a","a":{"b":"y"}}`}, []string{`It may also have @type.`, `"required":["b"]`}, nil},
		{"no schema at all, and one of any value", jsonBody + `{type: object, properties: {a: {}, b: {type: array}, c: {description: "Any."}}}`, "",
			[]string{`{"id":"a","a":[[[1]]],"b":[{}],"c":null}`}, []string{`{"id":"a","b":{}}`}, nil, []string{`"a":{}`}},
		{"examples are data, also those with $ref", jsonBody + `{type: object, example: {$ref: '#/nowhere'}, properties: {a: {type: string, example: {$ref: 'none.yaml'}, default: {$ref: x}}}}`, "",
			[]string{`{"id":"a","a":"x"}`}, nil, nil, []string{`$ref`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := read(t, doc(c.operation, c.rest), Options{})
			if len(d.Operations) < 1 {
				t.Fatal(d.LeftOut)
			}
			o := &d.Operations[0]
			for _, args := range c.takes {
				if !takes(t, o.Input, args) {
					t.Errorf("%s is refused by %s", args, o.Input)
				}
				if !takes(t, o.Shown, args) {
					t.Errorf("%s is refused by what is shown: %s", args, o.Shown)
				}
			}
			for _, args := range c.refuses {
				if takes(t, o.Input, args) {
					t.Errorf("%s is taken by %s", args, o.Input)
				}
			}
			for _, text := range c.has {
				if !strings.Contains(unquoted(o.Shown), text) {
					t.Errorf("%s is not in %s", text, o.Shown)
				}
			}
			for _, text := range c.lacks {
				if strings.Contains(string(o.Shown), text) {
					t.Errorf("%s is in %s", text, o.Shown)
				}
			}
		})
	}
}

func unquoted(raw json.RawMessage) string { return strings.ReplaceAll(string(raw), `\\`, `\`) }

// TestNames has the reports 13 to 18: names of tools and arguments, and texts.
func TestNames(t *testing.T) {
	const names = `openapi: 3.0.0
servers: [{url: "https://api.example.com"}]
paths:
  /a/{x-y}/b.json: {get: {}, head: {operationId: ""}}
  /v1/users: {get: {operationId: users/list-all}, post: {operationId: getUser}, put: {operationId: GETUSER}}
  /twice: {get: {operationId: "a:b"}, put: {operationId: a/b}}
  /2: {get: {operationId: 2nd pet}, put: {operationId: "` + "ü.ö" + `"}}
  /x-y: {get: {}}
  /x_y: {get: {}}
  /long: {get: {operationId: abcdefghij-abcdefghij-abcdefghij-abcdefghij-abcdefghij-abcdefghij-abcdefghij}}
`
	got := map[string]string{}
	for _, o := range read(t, names, Options{}).Operations {
		if !regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,47}$`).MatchString(o.Name) {
			t.Errorf("%s", o.Name)
		}
		got[o.Method+" "+o.Path] = o.Name
	}
	for at, want := range map[string]string{
		"GET /a/{x-y}/b.json": "get_a_x_y_b_json", "HEAD /a/{x-y}/b.json": "head_a_x_y_b_json", "GET /v1/users": "users_list_all", "POST /v1/users": "getUser", "PUT /v1/users": "GETUSER",
		"GET /twice": "get_twice", "PUT /twice": "put_twice", "GET /2": "_2nd_pet", "PUT /2": "put_2", "GET /x-y": "get_x_y_" + hash("GET /x-y"), "GET /x_y": "get_x_y_" + hash("GET /x_y"),
	} {
		if got[at] != want {
			t.Errorf("%s is %s, want %s", at, got[at], want)
		}
	}
	if long := got["GET /long"]; len(long) != 48 || !strings.HasPrefix(long, "abcdefghij_abcdefghij_abcdefghij_abcdef_") {
		t.Errorf("%s", long)
	}

	const text = `      summary: <b>Lists</b> what there is
      description: "%s"
`
	o := one(t, read(t, "openapi: 3.0.0\nservers: [{url: 'https://x.example'}]\npaths:\n  /a:\n    get:\n"+strings.Replace(text, "%s", strings.Repeat("A sentence of thirty letters é. ", 60), 1), Options{}))
	if len(o.Description) > 1000 || len(o.Description) < 900 || !strings.HasPrefix(o.Description, "Lists what there is.\nA sentence") || !strings.HasSuffix(o.Description, "é.") || o.Title != "Lists what there is" {
		t.Errorf("%d: %s", len(o.Description), o.Description)
	}
	for wire, want := range map[string]string{"StartTime": "StartTime", "StartTime<": "StartTime_lt", "StartTime>=": "StartTime_gte", "uids[]": "uids", "$.xgafv": "xgafv", "$filter": "filter",
		"filter[name]": "filter_name", "a b": "a_b", "X-Id": "X-Id", "-x": "x", "@": "arg_" + hash("@"), strings.Repeat("a", 65): strings.Repeat("a", 55) + "_" + hash(strings.Repeat("a", 65))} {
		if got := argumentName(wire); got != want || !validArgument(got) {
			t.Errorf("%s is %s, want %s", wire, got, want)
		}
	}
}

// arguments lists where each argument goes: its name, place and name on the wire.
func arguments(o *Operation) (out []string) {
	at := map[rest.Place]string{rest.Path: "path", rest.Query: "query", rest.Header: "header", rest.Cookie: "cookie"}
	for _, p := range o.Request.Parameters {
		if p.Argument != "" {
			out = append(out, p.Argument+" "+at[p.In]+" "+p.Name)
		}
	}
	if b := o.Request.Body; b != nil {
		if b.Argument != "" {
			out = append(out, b.Argument+" body")
		}
		for _, m := range b.Members {
			out = append(out, m.Argument+" body "+m.Name)
		}
	}
	return out
}

// TestArgumentReports has the reports 19 to 21, 31 and 32: which arguments there are.
func TestArgumentReports(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
		withheld   int
	}{
		{"19 the path's parameters, and headers whatever their case", doc(`parameters: [{name: X-Id, in: header, schema: {type: integer}}, {name: id, in: path, required: true, schema: {type: integer}}]`,
			"    parameters: [{name: x-id, in: header, schema: {type: string}}, {name: all, in: query, schema: {type: string}}]"), []string{"id path id", "all query all", "X-Id header X-Id"}, 0},
		{"20 one name in path, query, header and body", doc(`parameters: [{name: id, in: query, schema: {type: string}}, {name: id, in: header, schema: {type: string}}]
`+jsonBody+`{type: object, properties: {id: {type: string}, other: {type: string}}}`, ""), []string{"id_query query id", "id_header header id", "id path id", "id_body body id", "other body other"}, 0},
		{"20 the argument body is no other's", doc(`parameters: [{name: body, in: query, schema: {type: string}}]
`+jsonBody+`{type: array, items: {type: string}}`, ""), []string{"body_query query body", "id path id", "body body"}, 0},
		{"20 names that are cleaned to one", doc(`parameters: [{name: "a[]", in: query, schema: {type: string}}, {name: a, in: query, schema: {type: string}}, {name: "a<", in: query, schema: {type: string}}]`, ""),
			[]string{"a query a[]", "a_query query a", "a_lt query a<", "id path id"}, 0},
		{"21 a list, a scalar and a map as bodies", doc(jsonBody+`{type: object, additionalProperties: {type: string}}`, ""), []string{"id path id", "body body"}, 0},
		{"21 a scalar", doc(jsonBody+`{type: string}`, ""), []string{"id path id", "body body"}, 0},
		{"31 a cookie is no argument", doc(`parameters: [{name: sid, in: cookie, required: true, schema: {type: string}}]`, ""), []string{"id path id"}, 1},
		{"32 what a security scheme sets, and headers that no argument sets", doc(`security: [{key: []}, {q: []}]
parameters: [{name: x-api-key, in: header, schema: {type: string}}, {name: token, in: query, schema: {type: string}}, {name: Authorization, in: header, schema: {type: string}}, {name: Connection, in: header, schema: {type: string}},
  {name: Accept, in: header, schema: {type: string}}, {name: content-type, in: header, schema: {type: string}}, {name: X-Ok, in: header, schema: {type: string}}, {name: set, in: query, schema: {type: string}}]`,
			"components: {securitySchemes: {key: {type: apiKey, in: header, name: X-Api-Key}, q: {type: apiKey, in: query, name: token}, other: {type: apiKey, in: header, name: X-Ok}}}"), []string{"X-Ok header X-Ok", "id path id"}, 2},
		{"null in place of an object, by nullable and by an alternative", doc(jsonBody+`{nullable: true, type: object, properties: {a: {type: string}}}`, ""), []string{"id path id", "a body a"}, 0},
		{"an alternative that is null", doc(jsonBody+`{anyOf: [{type: object, properties: {a: {type: string}}}, {type: "null"}]}`, ""), []string{"id path id", "a body a"}, 0},
		{"a body without members", doc(`requestBody: {content: {application/x-www-form-urlencoded: {schema: {type: object, properties: {}, additionalProperties: false}}}}`, ""), []string{"id path id"}, 0},
		{"a query that is written in the path is sent as it is", strings.Replace(doc("", ""), "/things/{id}:", "/things/{id}?action=do&x=1:", 1), []string{"id path id"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := one(t, read(t, c.text, Options{Sets: func(in rest.Place, name string) bool { return in == rest.Query && name == "set" }}))
			got := arguments(o)
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) || len(o.Withheld) != c.withheld {
				t.Errorf("%v and %d withheld, want %v and %d", got, len(o.Withheld), c.want, c.withheld)
			}
			var in, shown struct{ Properties map[string]any }
			if json.Unmarshal(o.Input, &in) != nil || json.Unmarshal(o.Shown, &shown) != nil || len(in.Properties) != len(got) || len(shown.Properties) != len(got) {
				t.Errorf("%d arguments, and the schemas have %d and %d: %s", len(got), len(in.Properties), len(shown.Properties), o.Input)
			}
			if _, err := (&rest.API{Name: "api"}).Tool(&o.Request, rest.Answer{}); err != nil {
				t.Error(err)
			}
		})
	}
}

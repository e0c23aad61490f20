package catalogfile

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"go.yaml.in/yaml/v3"
)

const small = `
catalog: 1
defaults: {timeout: 20s, result: {max: 64KiB}, limits: {perSecond: 20, burst: 20, concurrent: 10}}
search: {above: 40}
sources:
- name: billing
  openapi: specs/billing.yaml
  server: https://billing.internal/v2
  auth: {oauth2: {token: "https://login.example.com/token", client: env:BILLING_ID, secret: secret:billing, scopes: read}}
  headers: {X-Tenant: =principal.tenant, X-Fixed: 7}
  retries: {max: 2, after: [connect, 503]}
  breaker: {failures: 5, rest: 10s}
  toolset: professional
  tools:
  - match: [listInvoices, "GET /invoices/{id}", "tag:reports"]
  - match: createRefund
    name: refund
    arguments:
      currency: {fixed: EUR}
      amount: {maximum: 500, description: in cents}
      Idempotency-Key: {fixed: =call.id}
    destructive: true
    confirm: args.amount > 10000
    limits: {perDay: 200}
- name: weather
  rest: https://api.weather.example
  auth: {key: {header: X-Api-Key, from: secret:weather}}
  tools:
  - name: forecast
    request: GET /v1/forecast/{city}
    description: Forecasts the weather in a city.
    arguments:
      city: string
      days: {type: integer, optional: true, minimum: 1, maximum: 7}
    result: {value: "=body.daily"}
- name: handbook
  texts: {dir: handbook/, as: resources, search: true}
`

func TestParse(t *testing.T) {
	f, err := Parse([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	billing, weather := f.Sources[0], f.Sources[1]
	if billing.Headers["X-Tenant"].CEL != "principal.tenant" || billing.Headers["X-Fixed"].Literal != int64(7) || billing.Auth.OAuth2.Scopes[0] != "read" || billing.Toolset != "professional" {
		t.Errorf("%+v", billing)
	}
	refund := billing.Tools[1]
	if refund.Line != 16 || refund.Arguments["amount"].Schema["maximum"] != int64(500) || refund.Confirm[0].When != "args.amount > 10000" || refund.Limits.PerDay != 200 {
		t.Errorf("%+v", refund)
	}
	if days := weather.Tools[0].Arguments["days"]; weather.Tools[0].Arguments["city"].Schema["type"] != "string" || !*days.Optional || days.Schema["maximum"] != int64(7) {
		t.Errorf("%+v", days)
	}
}

// TestFaults breaks one thing at a time, and wants each named with its line and what to do.
func TestFaults(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "begin with catalog: 1"},
		{"a: [", "neither YAML nor JSON"},
		{"catalog: 2", "line 1: catalog is 2, and this program knows version 1"},
		{"sources: []", "catalog is missing"},
		{"catalog: one", `line 1: catalog is "one", and not a whole number`},
		{"catalog: 1\nsource: []", `line 2: the file has no member "source": there are catalog, defaults, search, sources`},
		{"catalog: 1\ncatalog: 1", `line 2: "catalog" is there twice`},
		{"catalog: 1\nsources:\n- name: a", "line 3: source a: it is exactly one of openapi, rest, firestore and texts, and not none of them"},
		{"catalog: 1\nsources:\n- {name: a, rest: https://a.example, texts: {dir: d, as: prompts}}", "and not rest and texts"},
		{"catalog: 1\nsources:\n- {name: a-b, rest: https://a.example, tools: [{name: t, description: D., request: GET /}]}", "a name begins with a letter"},
		{"catalog: 1\nsources:\n- {name: a, rest: https://a.example}", "tools is missing: nothing is offered that no line names"},
		{"catalog: 1\nsources:\n- {name: a, rest: a.example, tools: [{name: t, description: D., request: GET /}]}", `rest is "a.example", and not a URL`},
		{"catalog: 1\nsources:\n- {name: a, rest: https://u:p@a.example, tools: [{name: t, description: D., request: GET /}]}", "without a query and a password"},
		{"catalog: 1\nsources:\n- {name: a, rest: https://a.example, tools: [{name: t, description: D., request: FETCH /}]}", "and not a method and a path"},
		{"catalog: 1\nsources:\n- {name: a, rest: https://a.example, tools: [{name: t, request: GET /}]}", "needs name and description"},
		{"catalog: 1\nsources:\n- {name: a, rest: https://a.example, tools: [{match: x}]}", "match is of no use with rest"},
		{"catalog: 1\nsources:\n- {name: a, rest: https://a.example, server: https://b.example, tools: [{name: t, description: D., request: GET /}]}", "server is of no use with rest: it is for openapi"},
		{"catalog: 1\nsources:\n- {name: a, openapi: f, tools: [{request: GET /}]}", "match is missing"},
		{"catalog: 1\nsources:\n- {name: a, openapi: f, auth: {bearer: hunter2}, tools: [{match: x}]}", "a secret, which is not written here: name it, as in env:NAME"},
		{"catalog: 1\nsources:\n- {name: a, openapi: f, auth: {}, tools: [{match: x}]}", "auth is exactly one of"},
		{"catalog: 1\nsources:\n- {name: a, openapi: f, auth: {key: {from: env:A}}, tools: [{match: x}]}", "name the header or the query parameter"},
		{"catalog: 1\nsources:\n- {name: a, openapi: f, retries: {after: [500]}, tools: [{match: x}]}", `line 3: sources.retries.after is "500", and not one of connect, 429, 502, 503, 504`},
		{"catalog: 1\nsources:\n- {name: a, openapi: f, breaker: {failures: 3}, tools: [{match: x}]}", "breaker needs failures and rest"},
		{"catalog: 1\nsources:\n- {name: a, openapi: f, timeout: 20, tools: [{match: x}]}", `sources.timeout is "20", and not a time, such as 20s`},
		{"catalog: 1\nsources:\n- {name: a, openapi: f, limits: {perSecond: -1}, tools: [{match: x}]}", "a number from 0 on"},
		{"catalog: 1\nsources:\n- {name: a, openapi: f, limits: {burst: 1}, tools: [{match: x}]}", "a burst needs perSecond"},
		{"catalog: 1\nsources:\n- {name: a, openapi: f, result: {max: 64KB}, tools: [{match: x}]}", "a number of bytes, such as 65536 or 64KiB"},
		{"catalog: 1\nsources:\n- {name: a, openapi: f, result: {value: body}, tools: [{match: x}]}", "value is CEL, such as =body.items"},
		{"catalog: 1\nsources:\n- {name: a, openapi: f, tools: [{match: x, arguments: {b: {fixed: 1, type: integer}}}]}", "the argument b is fixed"},
		{"catalog: 1\nsources:\n- {name: a, openapi: f, tools: [{match: x}]}\n- {name: a, openapi: f, tools: [{match: x}]}", "line 4: another source, at line 3, is named a"},
		{"catalog: 1\nsources:\n- name: &a [x]\n  <<: *a", "<< is not taken"},
		{"catalog: 1\nsources: &a\n- *a", "levels deep"},
	} {
		_, err := Parse([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n%v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestSchemaIsOfAllThatIsTaken(t *testing.T) {
	var s struct {
		Defs map[string]json.RawMessage `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &s); err != nil || s.Defs["Source"] == nil || s.Defs["Argument"] == nil {
		t.Fatal(err, string(Schema()))
	}
}

// TestSchemaTakesWhatIsTaken holds the schema against files by another implementation, so that an editor marks nothing that the program takes.
func TestSchemaTakesWhatIsTaken(t *testing.T) {
	var s jsonschema.Schema
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	schema, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	const source = "catalog: 1\nsources:\n- {name: a, openapi: f, tools: [{match: x}], "
	for _, c := range []struct {
		text  string
		taken bool
	}{
		{small, true},
		{"catalog: 1\nsources:", true},
		{"catalog: 1\nsources:\n- {name: a, openapi: f, tools: [{match: x, scopes: }]}", true},
		{source + "retries: {after: [connect, 503]}}", true},
		{source + "retries: {after: 429}}", true},
		{source + "variables: {port: 8080}, toolset: 2026}", true},
		{source + "result: {max: 65536}}", true},
		{source + "retries: {after: [500]}}", false},
		{source + "variables: {tls: true}}", false},
		{source + "toolset: 1.5}", false},
		{"catalog: 2", false},
		{"catalog: '1'", false},
	} {
		_, err := Parse([]byte(c.text))
		var v any
		if err := yaml.Unmarshal([]byte(c.text), &v); err != nil {
			t.Fatal(err)
		}
		if fault := schema.Validate(v); (err == nil) != c.taken || (fault == nil) != c.taken {
			t.Errorf("%s\nthe program: %v\nthe schema: %v", c.text, err, fault)
		}
	}
}

var update = flag.Bool("update", false, "write the list of members into infra/docs/catalog.md")

// TestMembers holds the document's list of members against the form.
func TestMembers(t *testing.T) {
	const file, mark = "../../../infra/docs/catalog.md", "<!-- members -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, _, found := strings.Cut(string(text), mark)
	want := before + mark + "\n" + Members()
	if *update {
		err = os.WriteFile(file, []byte(want), 0o644)
	}
	if !found || err != nil || !*update && string(text) != want {
		t.Errorf("infra/docs/catalog.md lists other members than form.go has (%v): go test ./function/internal/catalogfile -run TestMembers -update", err)
	}
}

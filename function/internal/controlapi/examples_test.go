package controlapi_test

import (
	"fmt"
	"testing"

	"example.com/erlmcp/function/internal/controlapi"
	"example.com/erlmcp/function/internal/receipt"
)

// An example is a request that a route does on a new fixture, for who may.
type example struct {
	path, query, body string
	match             bool // it wants If-Match with the ETag of the path
	status            int
	kind              receipt.Kind // of the receipt of the change
	concerns          string       // tenant of the receipt
}

// examples has one for each route by role.
var examples = map[string]example{
	"GET /v1/tenants":               {path: "/v1/tenants", status: 200},
	"GET /v1/tenants/{id}":          {path: "/v1/tenants/acme", status: 200},
	"PUT /v1/tenants/{id}":          {path: "/v1/tenants/acme", body: `{"plan":"gold","packs":["extra"],"limits":{"perSecond":3},"expires":"2099-01-01T00:00:00Z"}`, match: true, status: 200, kind: receipt.Entitled, concerns: "acme"},
	"DELETE /v1/tenants/{id}":       {path: "/v1/tenants/acme", query: "reason=unpaid", match: true, status: 200, kind: receipt.Entitled, concerns: "acme"},
	"POST /v1/tenants/{id}/suspend": {path: "/v1/tenants/acme/suspend", body: `{"reason":"abuse"}`, status: 200, kind: receipt.Entitled, concerns: "acme"},
	"POST /v1/tenants/{id}/resume":  {path: "/v1/tenants/acme/resume", status: 200, kind: receipt.Entitled, concerns: "acme"},
	"GET /v1/plans":                 {path: "/v1/plans", status: 200},
	"GET /v1/plans/{name}":          {path: "/v1/plans/base", status: 200},
	"PUT /v1/plans/{name}":          {path: "/v1/plans/gold", body: `{"title":"Gold","packs":["*"],"limits":{"perSecond":9},"intervening":{"perSecond":1},"notice":"72h","grace":"24h"}`, match: true, status: 200, kind: receipt.Changed},
	"GET /v1/limits":                {path: "/v1/limits", status: 200},
	"GET /v1/limits/{scope}":        {path: "/v1/limits/tool:search", status: 200},
	"PUT /v1/limits/{scope}":        {path: "/v1/limits/tool:search", body: `{"concurrency":4,"shadow":true}`, match: true, status: 200, kind: receipt.Changed},
	"DELETE /v1/limits/{scope}":     {path: "/v1/limits/tool:search", match: true, status: 200, kind: receipt.Changed},
	"GET /v1/kills":                 {path: "/v1/kills", status: 200},
	"PUT /v1/kills/{scope}":         {path: "/v1/kills/tenant:acme", body: `{"reason":"it leaks","until":"2099-01-01T00:00:00Z"}`, status: 201, kind: receipt.Killed, concerns: "acme"},
	"DELETE /v1/kills/{scope}":      {path: "/v1/kills/tool:rm", status: 200, kind: receipt.Killed},
	"GET /v1/keys":                  {path: "/v1/keys", query: "tenant=acme", status: 200},
	"POST /v1/keys":                 {path: "/v1/keys", body: `{"tenant":"acme","subject":"bot","scopes":["read"],"starts":"2026-01-01T00:00:00Z","expires":"2099-01-01T00:00:00Z"}`, status: 201, kind: receipt.Changed, concerns: "acme"},
	"GET /v1/keys/{id}":             {path: "/v1/keys/KEY", status: 200},
	"DELETE /v1/keys/{id}":          {path: "/v1/keys/KEY", status: 200, kind: receipt.Changed, concerns: "acme"},
	"POST /v1/keys/{id}/rotate":     {path: "/v1/keys/KEY/rotate", query: "overlap=1h", status: 201, kind: receipt.Changed, concerns: "acme"},
	"GET /v1/receipts":              {path: "/v1/receipts", status: 200},
	"GET /v1/receipts/export":       {path: "/v1/receipts/export", status: 200},
	"GET /v1/receipts/keys":         {path: "/v1/receipts/keys", status: 200},
	"GET /v1/receipts/verify":       {path: "/v1/receipts/verify", query: "tenant=acme", status: 200},
	"GET /v1/receipts/{id}":         {path: "/v1/receipts/RECEIPT", status: 200},
	"GET /v1/fleet":                 {path: "/v1/fleet", status: 200},
}

// ask makes the request on a fixture.
func (e *example) ask(f *fixture, route *controlapi.Route) ask {
	f.t.Helper()
	a := ask{method: route.Method, path: e.path, body: e.body, header: map[string]string{}}
	switch route.Path {
	case "/v1/keys/{id}", "/v1/keys/{id}/rotate":
		a.path = fmt.Sprintf("/v1/keys/%s%s", f.keyID, e.path[len("/v1/keys/KEY"):])
	case "/v1/receipts/{id}":
		done := f.do(ask{method: "PUT", path: "/v1/kills/tool:old", body: `{"reason":"to have a receipt"}`})
		a.path = "/v1/receipts/" + done.id
	}
	if e.match {
		a.header["If-Match"] = f.etag(a.path)
	}
	if e.query != "" {
		a.path += "?" + e.query
	}
	return a
}

// byRole are the routes by role, each with its example.
func byRole(t *testing.T) (routes []controlapi.Route) {
	t.Helper()
	for _, r := range controlapi.Routes() {
		if r.Guard == controlapi.ByRole {
			if _, ok := examples[r.Method+" "+r.Path]; !ok {
				t.Fatalf("%s %s has no example: add one to examples in examples_test.go", r.Method, r.Path)
			}
			routes = append(routes, r)
		}
	}
	return routes
}

func changing(t *testing.T) (routes []controlapi.Route) {
	t.Helper()
	for _, r := range byRole(t) {
		if r.Method != "GET" {
			routes = append(routes, r)
		}
	}
	return routes
}

package controlapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/controlapi"
	"example.com/erlmcp/function/internal/receipt"
)

// TestWhoMayDoWhat walks the table of routes: each is done for who may, and for no one else, and each denial has its receipt.
func TestWhoMayDoWhat(t *testing.T) {
	callers := []struct {
		as   string
		role controlapi.Role
	}{{"nobody", -1}, {"bad token", -1}, {"none", controlapi.None}, {"viewer", controlapi.Viewer}, {"operator", controlapi.Operator}, {"admin", controlapi.Admin}}
	for _, route := range byRole(t) {
		name := route.Method + " " + route.Path
		e := examples[name]
		for _, c := range callers {
			f := newFixture(t)
			a := e.ask(f, &route)
			a.as = c.as
			before, state := f.journal.count(), f.state()
			got := f.do(a)
			recorded := f.journal.since(before)
			want := e.status
			switch {
			case c.role < controlapi.None:
				want = http.StatusUnauthorized
			case c.role < route.Role:
				want = http.StatusForbidden
			}
			if got.status != want {
				t.Errorf("%s by %s: %d %s, want %d", name, c.as, got.status, got.body, want)
				continue
			}
			if want == e.status {
				continue
			}
			if f.state() != state {
				t.Errorf("%s by %s is denied, and has changed something", name, c.as)
			}
			if (want == http.StatusUnauthorized) != (got.header.Get("WWW-Authenticate") != "") {
				t.Errorf("%s by %s: WWW-Authenticate is %q", name, c.as, got.header.Get("WWW-Authenticate"))
			}
			if len(recorded) != 1 {
				t.Errorf("%s by %s: %d receipts of the denial", name, c.as, len(recorded))
				continue
			}
			r := recorded[0]
			reason := map[int]string{401: "unauthenticated", 403: "role"}[want]
			if r.Kind != receipt.Refused || r.Decision != receipt.Refuse || r.Reason != reason || r.ID != got.id || r.Method != name || (r.Principal == "") != (want == 401) {
				t.Errorf("%s by %s: the receipt is %+v", name, c.as, r)
			}
			var detail map[string]any
			if err := json.Unmarshal([]byte(r.Detail), &detail); err != nil || detail["path"] == "" {
				t.Errorf("%s by %s: the receipt's detail is %s", name, c.as, r.Detail)
			}
			if want == 403 && (e.body != "") != (detail["order"] != nil) {
				t.Errorf("%s by %s: the receipt does not say what was ordered: %s", name, c.as, r.Detail)
			}
		}
	}
}

func TestPagesOfOthersMayNotCall(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		name   string
		header map[string]string
		status int
	}{
		{"a program", nil, 200},
		{"a page of this host", map[string]string{"Origin": "https://example.com", "Sec-Fetch-Site": "same-origin"}, 200},
		{"the address bar", map[string]string{"Sec-Fetch-Site": "none"}, 200},
		{"a page of another", map[string]string{"Origin": "https://evil.example"}, 403},
		{"a page of another port", map[string]string{"Origin": "https://example.com:8443"}, 403},
		{"a sandboxed page", map[string]string{"Origin": "null"}, 403},
		{"a form of another", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"a neighbour", map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
	} {
		for _, path := range []string{"/v1/kills", "/openapi.json"} {
			got := f.do(ask{method: "GET", path: path, header: c.header})
			if got.status != c.status {
				t.Errorf("%s, %s: %d %s", c.name, path, got.status, got.body)
			}
			for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
				if got.header.Get(name) != want {
					t.Errorf("%s: %s is %q", c.name, name, got.header.Get(name))
				}
			}
			if got.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s: the answer is shared with other origins", c.name)
			}
		}
	}
}

func TestWhatIsNotThere(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/", 404, ""},
		{"GET", "/v1", 404, ""},
		{"GET", "/v1/tenants/", 404, ""},
		{"GET", "/v1//tenants", 404, ""},
		{"GET", "/v1/tenants/../kills", 404, ""},
		{"POST", "/v1/nothing", 404, ""},
		{"POST", "/v1/tenants", 405, "GET, HEAD"},
		{"PATCH", "/v1/tenants/acme", 405, "DELETE, GET, HEAD, PUT"},
		{"GET", "/v1/tenants/acme/suspend", 405, "POST"},
		{"OPTIONS", "/v1/kills/tool:x", 405, "DELETE, PUT"},
		{"HEAD", "/v1/events/webhook", 405, "POST"},
		{"HEAD", "/v1/tenants", 200, ""},
	} {
		got := f.do(ask{method: c.method, path: c.path})
		if got.status != c.status || got.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q, %s", c.method, c.path, got.status, got.header.Get("Allow"), got.body)
		}
	}
}

// TestScopesInPaths are names with colons, slashes and percent signs in them.
func TestScopesInPaths(t *testing.T) {
	f := newFixture(t)
	for path, scope := range map[string]string{
		"/v1/kills/tool:search":                    "tool:search",
		"/v1/kills/tool%3Asearch2":                 "tool:search2",
		"/v1/kills/upstream:crm%2Feu":              "upstream:crm/eu",
		"/v1/kills/tool:100%25":                    "tool:100%",
		"/v1/kills/everything":                     "everything",
		"/v1/kills/tenant:" + "%C3%A4%C3%B6.%2E.x": "tenant:äö...x",
	} {
		if got := f.do(ask{method: "PUT", path: path, body: `{"reason":"r"}`}); got.status != 201 || got.object(t)["scope"] != scope {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
		if got := f.do(ask{method: "DELETE", path: path}); got.status != 200 {
			t.Errorf("%s is lifted: %d %s", path, got.status, got.body)
		}
	}
}

func TestChangesAreLimited(t *testing.T) {
	f := newFixture(t)
	f.wait = 1500e6
	for _, route := range changing(t) {
		name := route.Method + " " + route.Path
		e := examples[name]
		a := e.ask(f, &route)
		before := f.journal.count()
		got := f.do(a)
		urgent := map[string]bool{
			"POST /v1/tenants/{id}/suspend": true, "PUT /v1/kills/{scope}": true, "DELETE /v1/kills/{scope}": true, "DELETE /v1/keys/{id}": true,
		}[name]
		if urgent != (got.status != 429) {
			t.Errorf("%s: %d %s", name, got.status, got.body)
			continue
		}
		if urgent {
			continue
		}
		if got.header.Get("Retry-After") != "2" {
			t.Errorf("%s: Retry-After is %q", name, got.header.Get("Retry-After"))
		}
		if r := f.journal.since(before); len(r) != 1 || r[0].Kind != receipt.Refused || r[0].Reason != "rate" {
			t.Errorf("%s: receipts %+v", name, r)
		}
	}
	for _, key := range f.asked {
		if !strings.HasPrefix(key, "operator:") || strings.Contains(key, "admin") {
			t.Errorf("the limit is asked by %q", key)
		}
	}
	f.wait, f.down["writes"] = 1e9, errDown
	if got := f.do(ask{method: "POST", path: "/v1/keys", body: examples["POST /v1/keys"].body}); got.status != 201 {
		t.Errorf("a limit that can't be asked: %d %s", got.status, got.body)
	}
}

func TestNewWantsAllThatItNeeds(t *testing.T) {
	_, err := controlapi.New(controlapi.Options{})
	if err == nil {
		t.Fatal("there is nothing, and no error")
	}
	for _, name := range []string{"Operators", "Role", "RequestID", "Tenants", "Keys", "Directives", "Journal", "Effects", "Seal"} {
		if !strings.Contains(err.Error(), "Options."+name+" ") {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
}

// TestWhatIsOff says which setting turns it on.
func TestWhatIsOff(t *testing.T) {
	f := newFixture(t, func(o *controlapi.Options) { o.Push, o.Secrets, o.Records, o.Fleet = nil, nil, nil, nil })
	for path, setting := range map[string]string{
		"POST /v1/events/pubsub": "PUBSUB_SERVICE_ACCOUNT", "POST /v1/events/webhook": "WEBHOOK_SECRETS", "POST /v1/receipts/anchor": "PUBSUB_SERVICE_ACCOUNT",
		"GET /v1/receipts": "RECEIPTS", "GET /v1/receipts/export": "RECEIPTS", "GET /v1/receipts/keys": "RECEIPTS", "GET /v1/receipts/verify": "RECEIPTS",
		"GET /v1/receipts/019b4f3a-7c55-7d1e-9a3b-04c26b1f90ee": "RECEIPTS", "GET /v1/fleet": "REDIS_URL",
	} {
		method, at, _ := strings.Cut(path, " ")
		body := ""
		if strings.HasPrefix(path, "POST /v1/events/") {
			body = "{}"
		}
		if got := f.do(ask{method: method, path: at, body: body}); got.status != 404 || !strings.Contains(got.body, setting) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

func TestContentTypes(t *testing.T) {
	f := newFixture(t)
	for kind, status := range map[string]int{
		"application/json": 201, "application/json; charset=utf-8": 200, "Application/JSON": 200,
		"text/plain": 415, "application/x-www-form-urlencoded": 415, "application/json; charset=latin1": 415, "": 415, "application/json;": 200,
	} {
		r := httptest.NewRequest("PUT", "/v1/kills/tool:typed", strings.NewReader(`{"reason":"r"}`))
		got := f.serve(r, ask{method: "PUT", body: "{}", header: map[string]string{"Content-Type": kind}})
		if got.status != status && !(status < 300 && got.status < 300) {
			t.Errorf("%q: %d %s", kind, got.status, got.body)
		}
	}
}

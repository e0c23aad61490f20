package controlapi_test

import (
	"fmt"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/receipt"
)

// TestBadInput is a table of what can't be used, for each route: it is refused with every fault named, and changes nothing.
func TestBadInput(t *testing.T) {
	const longName = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	long := strings.Repeat("x", 501)
	huge := `{"plan":"base","packs":["` + strings.Repeat("x", 70<<10) + `"]}`
	cases := map[string][]struct {
		name, path, body string
		status           int // 0 is 400
		faults           []string
	}{
		"GET /v1/tenants": {
			{"a parameter that is not known", "/v1/tenants?state=stable", "", 0, []string{`there is no parameter "state"`}},
			{"a body", "/v1/tenants", "{}", 0, nil},
		},
		"GET /v1/tenants/{id}": {
			{"no tenant", "/v1/tenants/nobody", "", 404, nil},
			{"a parameter", "/v1/tenants/acme?x=1", "", 0, []string{`there is no parameter "x"`}},
		},
		"PUT /v1/tenants/{id}": {
			{"nothing", "/v1/tenants/t", " ", 0, []string{"body: is missing"}},
			{"no JSON", "/v1/tenants/t", "{", 0, []string{"body: is not JSON"}},
			{"no object", "/v1/tenants/t", "[]", 0, []string{"body: is not a JSON object"}},
			{"two objects", "/v1/tenants/t", `{"plan":"base"}{}`, 0, []string{"body: there is more after"}},
			{"no plan", "/v1/tenants/t", `{}`, 0, []string{"plan: is missing"}},
			{"no such plan", "/v1/tenants/t", `{"plan":"silver"}`, 0, []string{"plan: there is no such plan"}},
			{"everything", "/v1/tenants/t", `{"Plan":"base","plan":7,"packs":["A B"],"packs":[],"limits":{"perSecond":-1,"perMinute":3,"shadow":"no"},"expires":"tomorrow","plan":"base"}`, 0,
				[]string{"Plan: is not known", "plan: is a JSON number", "packs: is given twice", "limits.perMinute: is not known", "limits.shadow: is a JSON string", "expires: ", "plan: is given twice", "limits: a rate of -1", "packs: \"A B\""}},
			{"an id with a space", "/v1/tenants/a%20b", `{"plan":"base"}`, 0, []string{"tenant: "}},
			{"an id with a slash", "/v1/tenants/a%2Fb", `{"plan":"base"}`, 0, []string{"tenant: "}},
			{"an id of dots", "/v1/tenants/%2e%2e", `{"plan":"base"}`, 0, []string{"tenant: "}},
			{"too long", "/v1/tenants/t", huge, 413, nil},
			{"a parameter", "/v1/tenants/t?plan=base", `{"plan":"base"}`, 0, []string{"query: "}},
			{"a day", "/v1/tenants/t", `{"plan":"base","expires":"2027-01-01"}`, 0, []string{`expires: "2027-01-01" is not a time such as 2026-11-25T12:00:00Z`}},
			{"a word", "/v1/tenants/t", `{"plan":"base","expires":"tomorrow"}`, 0, []string{`expires: "tomorrow" is not a time such as`}},
			{"a day that is none", "/v1/tenants/t", `{"plan":"base","expires":"2027-02-30T00:00:00Z"}`, 0, []string{`expires: "2027-02-30T00:00:00Z" is not a time such as`}},
			{"seconds", "/v1/tenants/t", `{"plan":"base","expires":1798761600}`, 0, []string{`expires: 1798761600 is not a time such as`}},
			{"a time without a zone", "/v1/tenants/t", `{"plan":"base","expires":"2027-01-01T00:00:00"}`, 0, []string{`expires: "2027-01-01T00:00:00" is not a time such as`}},
			{"a list of times", "/v1/tenants/t", `{"plan":"base","expires":["2027-01-01T00:00:00Z"]}`, 0, []string{`is not a time such as`}},
			{"too many packs", "/v1/tenants/t", `{"plan":"base","packs":["a"` + strings.Repeat(`,"a"`, 100) + `]}`, 0, []string{"packs: there are more"}},
		},
		"DELETE /v1/tenants/{id}": {
			{"no tenant", "/v1/tenants/nobody", "", 404, nil},
			{"a reason that is too long", "/v1/tenants/acme?reason=" + long, "", 0, []string{"reason: is longer"}},
			{"two reasons", "/v1/tenants/acme?reason=a&reason=b", "", 0, []string{"reason is given more than once"}},
			{"a body", "/v1/tenants/acme", `{"reason":"r"}`, 0, nil},
		},
		"POST /v1/tenants/{id}/suspend": {
			{"no reason", "/v1/tenants/acme/suspend", `{}`, 0, []string{"reason: is missing"}},
			{"a blank reason", "/v1/tenants/acme/suspend", `{"reason":" "}`, 0, []string{"reason: is missing"}},
			{"a reason that is too long", "/v1/tenants/acme/suspend", `{"reason":"` + long + `"}`, 0, []string{"reason: is longer"}},
			{"another member", "/v1/tenants/acme/suspend", `{"reason":"r","until":"x"}`, 0, []string{"until: is not known"}},
			{"no tenant", "/v1/tenants/nobody/suspend", `{"reason":"r"}`, 404, nil},
		},
		"POST /v1/tenants/{id}/resume": {
			{"another member", "/v1/tenants/acme/resume", `{"why":"r"}`, 0, []string{"why: is not known"}},
			{"a reason that is too long", "/v1/tenants/acme/resume", `{"reason":"` + long + `"}`, 0, []string{"reason: is longer"}},
			{"a reason that is no text", "/v1/tenants/acme/resume", `{"reason":1}`, 0, []string{"reason: is a JSON number"}},
			{"an empty text", "/v1/tenants/acme/resume", ` `, 0, []string{"body: is missing"}},
			{"no tenant", "/v1/tenants/nobody/resume", "", 404, nil},
		},
		"GET /v1/plans":        {{"a parameter that is not known", "/v1/plans?x", "", 0, []string{`there is no parameter "x"`}}},
		"GET /v1/plans/{name}": {{"no plan", "/v1/plans/silver", "", 404, nil}},
		"PUT /v1/plans/{name}": {
			{"a name", "/v1/plans/Gold%20Plus", `{}`, 0, []string{"name: "}},
			{"a long name", "/v1/plans/" + longName, `{}`, 0, []string{"name: "}},
			{"everything", "/v1/plans/p", `{"name":"p","title":"` + long + `","packs":["*","B"],"limits":{"burst":0.5},"intervening":{"concurrency":-1},"notice":"-1h","grace":7}`, 0,
				[]string{"name: is not known", "title: is longer", `packs: "B"`, "limits: a burst", "intervening: -1 calls", "notice: is not", "grace: "}},
			{"no time span", "/v1/plans/p", `{"notice":"a week"}`, 0, []string{"notice: "}},
		},
		"GET /v1/limits":         {{"a parameter that is not known", "/v1/limits?scope=x", "", 0, []string{`there is no parameter "scope"`}}},
		"GET /v1/limits/{scope}": {{"no limit", "/v1/limits/tool:none", "", 404, nil}},
		"PUT /v1/limits/{scope}": {
			{"a scope", "/v1/limits/client:x", `{"perSecond":1}`, 0, []string{"client:x"}},
			{"nothing", "/v1/limits/tool:x", `{}`, 0, []string{"nothing is overridden"}},
			{"null", "/v1/limits/tool:x", `{"perSecond":null}`, 0, []string{"nothing is overridden"}},
			{"everything", "/v1/limits/tool:x", `{"perSecond":"5","perDay":1.5,"concurrency":-1,"scope":"tool:y"}`, 0, []string{"perSecond: is a JSON string", "perDay: ", "-1 calls at a time", "scope: is not known"}},
			{"too much", "/v1/limits/tool:x", `{"perSecond":1e7}`, 0, []string{"not from 0 to a million"}},
			{"too little", "/v1/limits/tool:x", `{"perSecond":1e-9}`, 0, []string{"less than one a day"}},
		},
		"DELETE /v1/limits/{scope}": {
			{"no override", "/v1/limits/tool:none", "", 404, nil},
			{"a limit without an override", "/v1/limits/everything", "", 404, nil},
		},
		"GET /v1/kills": {{"a parameter that is not known", "/v1/kills?scope=x", "", 0, []string{`there is no parameter "scope"`}}},
		"PUT /v1/kills/{scope}": {
			{"a scope", "/v1/kills/each-tenant", `{"reason":"r"}`, 0, []string{"scope: "}},
			{"a scope and no reason", "/v1/kills/tool:", `{"reason":""}`, 0, []string{"scope: "}},
			{"no reason", "/v1/kills/tool:x", `{}`, 0, []string{"reason: is missing"}},
			{"a reason that is too long", "/v1/kills/tool:x", `{"reason":"` + long + `"}`, 0, []string{"reason: is longer"}},
			{"an end that has passed", "/v1/kills/tool:x", `{"reason":"r","until":"2020-01-01T00:00:00Z"}`, 0, []string{"until: has passed"}},
			{"no time", "/v1/kills/tool:x", `{"reason":"r","until":"soon"}`, 0, []string{"until: "}},
		},
		"DELETE /v1/kills/{scope}": {{"none", "/v1/kills/tool:none", "", 404, nil}, {"a body", "/v1/kills/tool:rm", "{}", 0, nil}},
		"GET /v1/keys":             {{"a parameter that is not known", "/v1/keys?subject=x", "", 0, []string{`there is no parameter "subject"`}}},
		"POST /v1/keys": {
			{"nothing", "/v1/keys", `{}`, 0, []string{`the tenant ""`, `the subject ""`}},
			{"a tenant that is reserved", "/v1/keys", `{"tenant":"local","subject":"s"}`, 0, []string{"is reserved"}},
			{"everything", "/v1/keys", `{"tenant":"a b","subject":"","scopes":["x y","taiea:admin","` + strings.Repeat("s", 129) + `"],"starts":"2099-01-01T00:00:00Z","expires":"2020-01-01T00:00:00Z"}`, 0,
				[]string{`the tenant "a b"`, `the subject ""`, `the scope "x y"`, `"taiea:admin" is not for keys`, "longer than 128", "expires: has passed", "starts: is not before"}},
			{"a hash", "/v1/keys", `{"tenant":"acme","subject":"s","hash":"sha256:00"}`, 0, []string{"hash: is not known"}},
			{"too many scopes", "/v1/keys", `{"tenant":"acme","subject":"s","scopes":["a"` + strings.Repeat(`,"a"`, 50) + `]}`, 0, []string{"scopes: there are more"}},
		},
		"GET /v1/keys/{id}":    {{"none", "/v1/keys/none", "", 404, nil}},
		"DELETE /v1/keys/{id}": {{"none", "/v1/keys/none", "", 404, nil}},
		"POST /v1/keys/{id}/rotate": {
			{"none", "/v1/keys/none/rotate", "", 404, nil},
			{"no time span", "/v1/keys/none/rotate?overlap=day", "", 0, []string{"overlap"}},
			{"too long", "/v1/keys/none/rotate?overlap=721h", "", 0, []string{"overlap"}},
			{"before", "/v1/keys/none/rotate?overlap=-1s", "", 0, []string{"overlap"}},
		},
		"GET /v1/receipts": {
			{"everything", "/v1/receipts?from=x&to=y&limit=z&after=w&who=me", "", 0, []string{`there is no parameter "who"`}},
			{"all but that", "/v1/receipts?from=x&to=y&limit=z&after=w", "", 0, []string{"from: ", "to: ", "limit: ", "after is not what next said"}},
			{"backwards", "/v1/receipts?from=2026-11-25T12:00:00Z&to=2026-11-25T11:00:00Z", "", 0, []string{"from is after to"}},
			{"a place of another time", "/v1/receipts?order=oldest&after=" + strings.Repeat("A", 32), "", 0, []string{"begin anew"}},
			{"another order", "/v1/receipts?order=up", "", 0, []string{`order: "up" is neither newest nor oldest`}},
		},
		"GET /v1/receipts/keys":   {{"a parameter", "/v1/receipts/keys?x=1", "", 0, []string{"query: "}}},
		"GET /v1/receipts/export": {{"backwards", "/v1/receipts/export?from=2026-11-25T12:00:00Z&to=2026-11-25T11:00:00Z", "", 0, []string{"from is after to"}}},
		"GET /v1/receipts/verify": {{"no time", "/v1/receipts/verify?from=yesterday&tenant=" + strings.Repeat("t", 129), "", 0, []string{"from: ", "tenant is longer"}}},
		"GET /v1/receipts/{id}": {
			{"no id", "/v1/receipts/7", "", 0, []string{"id: "}},
			{"none", "/v1/receipts/019b4f3a-7c55-7d1e-9a3b-04c26b1f90ee", "", 404, nil},
		},
		"GET /v1/fleet": {{"a parameter", "/v1/fleet?x=1", "", 0, []string{"query: "}}},
	}
	for _, route := range byRole(t) {
		name := route.Method + " " + route.Path
		if len(cases[name]) == 0 {
			t.Errorf("%s has no bad input: add some to cases in TestBadInput", name)
		}
		for _, c := range cases[name] {
			f := newFixture(t)
			state, before := f.state(), f.journal.count()
			a := ask{method: route.Method, path: c.path, body: c.body}
			if name == "DELETE /v1/tenants/{id}" || name == "DELETE /v1/limits/{scope}" {
				a.header = map[string]string{"If-Match": "*"}
				if c.status == 404 {
					a.header = nil
				}
			}
			got := f.do(a)
			if c.status == 0 {
				c.status = 400
			}
			if got.status != c.status {
				t.Errorf("%s, %s: %d %s, want %d", name, c.name, got.status, got.body, c.status)
				continue
			}
			fault := got.fault(t)
			for _, want := range c.faults {
				if !strings.Contains(strings.Join(fault.Faults, "\n"), want) {
					t.Errorf("%s, %s: the faults lack %q: %q", name, c.name, want, fault.Faults)
				}
			}
			if len(c.faults) > 0 && len(fault.Faults) != len(c.faults) {
				t.Errorf("%s, %s: %d faults, want %d: %q", name, c.name, len(fault.Faults), len(c.faults), fault.Faults)
			}
			if fault.Receipt != got.id || fault.Detail == "" || fault.Title == "" {
				t.Errorf("%s, %s: %+v", name, c.name, fault)
			}
			if f.state() != state {
				t.Errorf("%s, %s: it changes something", name, c.name)
			}
			recorded := f.journal.since(before)
			switch {
			case route.Method == "GET" && len(recorded) > 0:
				t.Errorf("%s, %s: a read that fails is recorded: %+v", name, c.name, recorded)
			case route.Method != "GET" && (len(recorded) == 0 || recorded[len(recorded)-1].ID != got.id || recorded[len(recorded)-1].Kind != receipt.Refused && recorded[len(recorded)-1].Kind != receipt.Failed):
				t.Errorf("%s, %s: receipts %+v", name, c.name, recorded)
			}
		}
	}
}

// TestSecretsStayOutOfReceipts, even where they are sent by mistake.
func TestSecretsStayOutOfReceipts(t *testing.T) {
	f := newFixture(t)
	key := f.texts["admin2"]
	secret := "whsec_" + strings.Repeat("AbC1", 10)
	f.do(ask{method: "PUT", path: "/v1/kills/tool:" + key, body: fmt.Sprintf(`{"reason":"my key is %s and %s","key":%q}`, key, secret, key)})
	f.do(ask{method: "PUT", path: "/v1/kills/tool:x", body: fmt.Sprintf(`{"reason":"lost %s, and \"%s\""}`, key, secret)})
	f.do(ask{method: "DELETE", path: "/v1/tenants/acme?reason=" + key, as: "viewer"})
	all := f.journal.since(0)
	if len(all) != 4 {
		t.Errorf("%d receipts", len(all))
	}
	for _, r := range all {
		if strings.Contains(r.Detail, key) || strings.Contains(r.Detail, secret) || !strings.Contains(r.Detail, "[secret]") {
			t.Errorf("%s", r.Detail)
		}
	}
}

// TestLongOrdersAreRecordedByTheirHash, since a receipt would cut them.
func TestLongOrdersAreRecordedByTheirHash(t *testing.T) {
	f := newFixture(t)
	var packs []string
	for n := range 100 {
		packs = append(packs, fmt.Sprintf("%q", fmt.Sprintf("%03d%s", n, strings.Repeat("p", 61))))
	}
	got := f.do(ask{method: "PUT", path: "/v1/plans/long", body: `{"title":"` + strings.Repeat("t", 500) + `","packs":[` + strings.Join(packs, ",") + `]}`})
	if got.status != 201 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	for _, r := range f.journal.since(0) {
		if len(r.Detail) > 300 || !strings.Contains(r.Detail, `"sha256":"`) || !strings.Contains(r.Detail, "/v1/plans/long") {
			t.Errorf("%s", r.Detail)
		}
	}
}

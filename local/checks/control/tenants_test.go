package control

import (
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/world"
)

// tenantsAndKeys grants, suspends and resumes a tenant, and makes and revokes a key, while four processes serve its calls; then once
// more with Redis stopped, so that nothing can be announced.
func tenantsAndKeys(t *testing.T, emulator *world.Daemon) {
	w := world.New(t, emulator, "tenants", "AUTHENTICATION=keys", "UNKNOWN_TENANTS=deny", "CONCURRENT_CALLS_ON_REDIS_FAILURE=local").Guarded(emulator)
	p := control(t, w, "taiea")
	servers := fleet(w)

	made := p.order(201, "POST", "/v1/keys", `{"tenant":"acme","subject":"calls","scopes":["*"]}`)
	calls := load(servers, made.text(t, "text"), "note", 2, 50*time.Millisecond)
	begin := time.Now()
	follows(t, "a first key made", made, calls, func(c *world.Call) bool { return c.Code != unauthenticated })

	var ids []string
	entitled := func(what string, status int, method, path, body string, as func(*world.Call) bool, header ...string) *answer {
		a := p.order(status, method, path, body, header...)
		ids = append(ids, a.text(t, "receipt"))
		follows(t, what, a, calls, as)
		return a
	}
	suspend := func(what, reason string) *answer {
		return entitled(what, 200, "POST", "/v1/tenants/acme/suspend", `{"reason":"`+reason+`"}`, func(c *world.Call) bool {
			return c.Code == notEntitled && strings.Contains(c.Said, "suspended by operator: "+reason)
		})
	}
	entitled("a tenant granted", 201, "PUT", "/v1/tenants/acme", `{"plan":"enterprise"}`, known, "If-None-Match", "*")
	suspend("suspended", "looks like abuse")
	entitled("resumed", 200, "POST", "/v1/tenants/acme/resume", "", known)

	second := p.order(201, "POST", "/v1/keys", `{"tenant":"acme","subject":"second","scopes":["*"]}`)
	others := load(servers, second.text(t, "text"), "note", 1, 100*time.Millisecond)
	follows(t, "a key made", second, others, known)
	follows(t, "a key revoked", p.order(200, "DELETE", "/v1/keys/"+second.text(t, "id"), ""), others, func(c *world.Call) bool { return c.Code != 0 })
	end(others)

	w.Redis.Stop()
	a := suspend("suspended, with Redis stopped", "again")
	if a.value(t, "warnings") == nil {
		t.Errorf("nothing says that instances could not be told: %s", a.body)
	}
	entitled("resumed, with Redis stopped", 200, "POST", "/v1/tenants/acme/resume", "", known)
	w.Redis.Continue()
	time.Sleep(time.Second)
	end(calls)
	took := time.Since(begin)

	all := p.receipts(w, "acme")
	for _, id := range ids {
		has(t, all, id, "admitted")
		has(t, all, id, "entitled")
	}
	of, counted := map[string]bool{}, map[string]int64{} // refusals by their limit
	for _, r := range all {
		of[r.Kind+" "+r.ID] = true
		if r.Kind == "refused" && r.Reason == "not_entitled" {
			_, limit, _ := strings.Cut(r.Limit, " ")
			counted[limit] += 1 + r.More
		}
	}
	sent, saw, unanswered := 0, map[string]int64{}, int64(0)
	for _, l := range calls {
		for _, c := range l.Calls() {
			sent++
			switch {
			case c.Err != nil:
				unanswered++
			case c.Code == 0 && !of["completed "+c.ID]:
				t.Errorf("a call of %s has no receipt: %s", l.Server.Name, c.ID)
			case c.Code == notEntitled && strings.Contains(c.Said, "suspended"):
				saw["state:refusing"]++
			case c.Code == notEntitled:
				saw["unlisted"]++
			}
		}
	}
	for _, limit := range []string{"unlisted", "state:refusing"} {
		if n := counted[limit]; saw[limit] == 0 || n < saw[limit] || n > saw[limit]+unanswered {
			t.Errorf("receipts count %d refusals by %s, and callers saw %d (%d calls had no answer)", n, limit, saw[limit], unanswered)
		}
	}
	t.Logf("%d calls, %.0f a second: %d were refused while the tenant was not known and %d while it was suspended; each is in a receipt", sent, float64(sent)/took.Seconds(), saw["unlisted"], saw["state:refusing"])
}

package control

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/world"
)

// patience is within what time an order is answered, whatever the store does.
const patience = 6 * time.Second

// storeAway stops the store under a control plane: all that needs it is answered with 503 in time, nothing is done by halves, and all of
// it can be done once the store is back.
func storeAway(t *testing.T, emulator *world.Daemon) {
	secrets := newKeyring("market")
	w := world.New(t, emulator, "away", secrets.setting()).Guarded(emulator)
	p := control(t, w, "taiea")
	tag := p.order(201, "PUT", "/v1/tenants/acme", `{"plan":"base"}`, "If-None-Match", "*").header.Get("ETag")
	key := p.order(201, "POST", "/v1/keys", `{"tenant":"acme","subject":"ci","scopes":["*"]}`).text(t, "id")
	e := event{ID: "away", Source: "market", Type: "suspend", Tenant: "acme", Time: time.Now().UTC(), Reason: "unpaid"}
	webhook := func() map[string]string { return signed(secrets["market"], e.ID, time.Now(), e.body()) }

	orders := []struct {
		method, path, body string
		header             func() map[string]string
		status             int // once the store is back
	}{
		{"GET", "/v1/tenants", "", nil, 200},
		{"GET", "/v1/tenants/acme", "", nil, 200},
		{"GET", "/v1/plans", "", nil, 200},
		{"GET", "/v1/limits", "", nil, 200},
		{"GET", "/v1/kills", "", nil, 200},
		{"GET", "/v1/keys", "", nil, 200},
		{"GET", "/v1/receipts", "", nil, 200},
		{"GET", "/v1/receipts/verify", "", nil, 200},
		{"GET", "/v1/receipts/export", "", nil, 200},
		{"PUT", "/v1/tenants/new", `{"plan":"base"}`, func() map[string]string { return map[string]string{"If-None-Match": "*"} }, 201},
		{"PUT", "/v1/plans/gold", `{"title":"Gold"}`, func() map[string]string { return map[string]string{"If-None-Match": "*", "Idempotency-Key": "gold"} }, 201},
		{"PUT", "/v1/limits/everything", `{"perSecond":10}`, func() map[string]string { return map[string]string{"If-None-Match": "*"} }, 201},
		{"PUT", "/v1/kills/tool:note", `{"reason":"it lies"}`, nil, 201},
		{"POST", "/v1/keys", `{"tenant":"new","subject":"ci","scopes":["*"]}`, nil, 201},
		{"POST", "/v1/events/webhook", e.body(), webhook, 200},
		{"DELETE", "/v1/keys/" + key, "", nil, 200},
		{"POST", "/v1/tenants/acme/suspend", `{"reason":"away"}`, nil, 200},
		{"POST", "/v1/tenants/acme/resume", "", nil, 200},
	}
	header := func(i int) map[string]string {
		if orders[i].header == nil {
			return nil
		}
		return orders[i].header()
	}
	emulator.Stop()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var slowest time.Duration
	name := ""
	for i, o := range orders {
		wg.Go(func() {
			a, err := p.ask(o.method, o.path, o.body, header(i))
			if err != nil {
				t.Errorf("%s %s: %v", o.method, o.path, err)
				return
			}
			if a.status != 503 || a.header.Get("Content-Type") != "application/problem+json" || a.header.Get("Retry-After") == "" || a.took > patience {
				t.Errorf("%s %s without the store: %d after %v: %v %s", o.method, o.path, a.status, a.took.Round(time.Millisecond), a.header, a.body)
			}
			mu.Lock()
			defer mu.Unlock()
			if a.took > slowest {
				slowest, name = a.took, o.method+" "+o.path
			}
		})
	}
	wg.Wait()
	t.Logf("%d orders without the store: the slowest 503 came after %v (%s)", len(orders), slowest.Round(time.Millisecond), name)
	emulator.Continue()
	back := time.Now()
	for {
		a, err := p.ask("GET", "/v1/tenants/acme", "", nil)
		if err == nil && a.status == 200 {
			if got := a.header.Get("ETag"); got != tag {
				t.Errorf("the tenant was changed by an order that came to nothing: %s", a.body)
			}
			break
		}
		if time.Since(back) > 20*time.Second {
			t.Fatalf("the control plane does not come back: %v %+v", err, a)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("it read again %v after the store was back", time.Since(back).Round(time.Millisecond))
	time.Sleep(time.Second) // what the store had in its ears
	for path, lacks := range map[string]string{
		"/v1/tenants": `"id":"new"`, "/v1/plans": `"gold"`, "/v1/kills": `"scope"`, "/v1/keys": `"tenant":"new"`, "/v1/keys/" + key: `"revoked":"`, "/v1/limits": `"override"`,
	} {
		if a := p.order(200, "GET", path, ""); strings.Contains(string(a.body), lacks) {
			t.Errorf("%s: an order came to nothing, and was done: %s", path, a.body)
		}
	}
	var ids []string
	for i, o := range orders {
		a, err := p.ask(o.method, o.path, o.body, header(i))
		if err != nil || a.status != o.status {
			t.Fatalf("%s %s with the store back: %v %+v", o.method, o.path, err, a)
		}
		if o.method != "GET" {
			ids = append(ids, fmt.Sprint(a.header.Get("X-Request-Id")))
		}
	}
	all := p.receipts(w, "")
	for _, id := range ids {
		has(t, all, id, "admitted")
	}
}

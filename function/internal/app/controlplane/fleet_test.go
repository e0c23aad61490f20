package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/memnet"
	"example.com/erlmcp/function/internal/receipt/verify"
)

// onRedis are options of a fleet whose Redis is on the network, and whose entries have one tool.
func onRedis(t *testing.T, memory *app.Memory, network *memnet.Network, url string) app.Options {
	o := options(t, memory, "GOVERNOR_SCOPE", "", "REDIS_URL", url)
	o.Stand.Dial = network.Dial
	o.Entries = []catalog.Entry{catalog.FromFunc("pay", "Pays.", func(context.Context, struct{}) (string, error) { return "", nil })}
	return o
}

// order asks a route, and returns the status and the answer.
func order(p *Plane, method, path, body string) (int, string) {
	r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
	r.Host = "localhost:8081"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// TestOrdersByCommand has a command give orders through the stores, beside a control plane that serves: each sees what the other has ordered.
func TestOrdersByCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		redis, memory := network.Redis(t), app.NewMemory()
		p, err := New(t.Context(), onRedis(t, memory, &network, redis.URL))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		p.Serving("http://localhost:8081")
		l, err := OpenLocal(t.Context(), onRedis(t, memory, &network, redis.URL))
		if err != nil {
			t.Fatal(err)
		}
		ask := func(method, path, etag, body string) (int, string) {
			status, answer, err := l.Order(t.Context(), method, path, etag, []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			return status, string(answer)
		}
		if !l.Stored() || !l.Recorded() {
			t.Errorf("stored: %t, recorded: %t", l.Stored(), l.Recorded())
		}
		if status, text := ask("PUT", "/v1/kills/tool:pay", "", `{"reason":"leak"}`); status/100 != 2 || strings.Contains(text, "warnings") {
			t.Errorf("%d %s", status, text)
		}
		if status, text := ask("PUT", "/v1/kills/tool:pya", "", `{"reason":"leak"}`); status/100 != 2 || !strings.Contains(text, "warnings") {
			t.Errorf("a tool that there is not: %d %s", status, text)
		}
		if status, text := order(p, "GET", "/v1/kills", ""); status != 200 || !strings.Contains(text, `"tool:pay"`) {
			t.Errorf("%d %s", status, text)
		}
		if status, text := order(p, "PUT", "/v1/limits/tool:pay", `{"perSecond":5,"concurrency":2,"perDay":9}`); status/100 != 2 {
			t.Errorf("%d %s", status, text)
		}
		status, text := ask("GET", "/v1/limits/tool:pay", "", "")
		var limit struct {
			PerSecond   float64
			Concurrency int64
			Today       *int64
			Override    struct{ ETag string }
		}
		if err := json.Unmarshal([]byte(text), &limit); err != nil || status != 200 || limit.PerSecond != 5 || limit.Concurrency != 2 || limit.Override.ETag == "" {
			t.Errorf("%d %s", status, text)
		}
		if status, _ := ask("DELETE", "/v1/limits/tool:pay", `"another"`, ""); status != 412 {
			t.Errorf("by another ETag: %d", status)
		}
		if status, text := ask("DELETE", "/v1/limits/tool:pay", limit.Override.ETag, ""); status/100 != 2 {
			t.Errorf("by its ETag: %d %s", status, text)
		}
		l.Close()
		p.Close()
		kinds := map[string]int{}
		for r, err := range verify.Select(t.Context(), memory.Receipts, "", time.Time{}, time.Time{}) {
			if err != nil {
				t.Fatal(err)
			}
			kinds[string(r.Kind)]++
		}
		if kinds["killed"] != 2 || kinds["changed"] != 2 {
			t.Errorf("receipts %v", kinds)
		}
	})
}

// TestInstances lists the processes of the fleet: a control plane is one, as long as it says so.
func TestInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		redis, memory := network.Redis(t), app.NewMemory()
		p, err := New(t.Context(), onRedis(t, memory, &network, redis.URL))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		time.Sleep(3 * time.Second) // in a bubble: it says so every two
		all, err := p.fleet.Instances(t.Context())
		if err != nil || len(all) != 1 || all[0].Name != p.Instance || !all[0].Ready || time.Since(all[0].Seen) > 3*time.Second {
			t.Errorf("%+v, %v", all, err)
		}
		if limits, present, err := p.fleet.Limits(t.Context()); err != nil || len(limits) == 0 || present != 0 { // of the data plane there is none
			t.Errorf("%+v, %d, %v", limits, present, err)
		}
		redis.Stop()
		limits, present, err := p.fleet.Limits(t.Context())
		if err == nil || present != -1 {
			t.Errorf("without Redis %d instances, %v", present, err)
		}
		for _, l := range limits {
			if l.Slots != -1 || l.Used != -1 {
				t.Errorf("what is in use is known without Redis: %+v", l)
			}
		}
		if _, err := (&Fleet{stores: &app.Stores{}}).Instances(t.Context()); err == nil || !strings.Contains(err.Error(), "REDIS_URL") {
			t.Error(err)
		}
	})
}

// TestChangesAreLimited makes more changes than a fleet bears: kill switches go through.
func TestChangesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		redis, memory := network.Redis(t), app.NewMemory()
		p, err := New(t.Context(), onRedis(t, memory, &network, redis.URL))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		p.Serving("http://localhost:8081")
		busy := 0
		for i := range 30 {
			if status, _ := order(p, "PUT", fmt.Sprint("/v1/limits/tool:t", i), `{"perSecond":5}`); status == 429 {
				busy++
			}
		}
		if busy < 5 || busy > 15 { // 20 at once, and 60 a minute
			t.Errorf("%d of 30 changes are refused", busy)
		}
		if status, text := order(p, "PUT", "/v1/kills/tool:pay", `{"reason":"leak"}`); status/100 != 2 {
			t.Errorf("a kill switch: %d %s", status, text)
		}
		time.Sleep(time.Minute) // in a bubble
		if status, text := order(p, "PUT", "/v1/limits/tool:later", `{"perSecond":6}`); status/100 != 2 {
			t.Errorf("a minute later: %d %s", status, text)
		}
		for i := range 2 * changesAtOnce {
			wait, err := slowPath{p.Stores.Redis}.Allow(t.Context(), "operator:alice")
			if err != nil || (wait > 0) != (i >= changesAtOnce) {
				t.Fatalf("change %d of an operator waits for %v, %v", i, wait, err)
			}
		}
	})
}

// TestStatesAreNoted has a tenant expire while nobody calls: the control plane finds it within a minute and records it once.
func TestStatesAreNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := app.NewMemory()
		p, err := New(t.Context(), options(t, memory))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		ends := time.Now().Add(10 * time.Minute)
		if _, err := memory.Store.ChangeTenant(t.Context(), "acme", nil, func(x *entitlement.Tenant) error {
			x.Apply(&entitlement.Event{Source: entitlement.Operator, Type: entitlement.Grant, Time: time.Now(), Plan: "base", Expires: ends})
			x.Note(entitlement.NewDirectory().Plans, time.Now())
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		state := func() entitlement.State {
			x, err := memory.Store.Tenant(t.Context(), "acme")
			if err != nil {
				t.Fatal(err)
			}
			return x.Noted
		}
		if time.Sleep(9 * time.Minute); state() != entitlement.Warning { // in a bubble
			t.Errorf("before it expires: %s", state())
		}
		if time.Sleep(2 * time.Minute); state() != entitlement.Intervening { // in a bubble
			t.Errorf("after it has expired: %s", state())
		}
	})
}

// TestPushedBy says which account of Pub/Sub's a caller is: what the platform has verified must be meant for this service.
func TestPushedBy(t *testing.T) {
	publishers := []entitlement.Publisher{{Account: "push@p.iam.gserviceaccount.com", Sources: []string{"market"}}}
	by := pushedBy(publishers, "https://taiea.example")
	for _, c := range []struct {
		name string
		who  identity.Principal
		want bool
	}{
		{"the account", identity.Principal{Method: identity.Google, Subject: "push@p.iam.gserviceaccount.com"}, true},
		{"the account in capitals", identity.Principal{Method: identity.Google, Subject: "Push@p.iam.gserviceaccount.com"}, true},
		{"another", identity.Principal{Method: identity.Google, Subject: "push@q.iam.gserviceaccount.com"}, false},
		{"by the platform, for this", identity.Principal{Method: identity.CloudRun, Subject: "push@p.iam.gserviceaccount.com", Claims: map[string]any{"aud": "https://taiea.example"}}, true},
		{"by the platform, for this with a slash", identity.Principal{Method: identity.CloudRun, Subject: "push@p.iam.gserviceaccount.com", Claims: map[string]any{"aud": "https://taiea.example/"}}, true},
		{"by the platform, for another", identity.Principal{Method: identity.CloudRun, Subject: "push@p.iam.gserviceaccount.com", Claims: map[string]any{"aud": "https://erlmcp.example"}}, false},
		{"by the platform, for nobody", identity.Principal{Method: identity.CloudRun, Subject: "push@p.iam.gserviceaccount.com"}, false},
	} {
		if got := by(&c.who); (got != nil) != c.want {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// TestKnown: the names of tools and upstreams are those that the fleet, or else this build, has; any tenant may come.
func TestKnown(t *testing.T) {
	entries, err := catalog.Build(catalog.FromFunc("pay", "Pays.", func(context.Context, struct{}) (string, error) { return "", nil }))
	if err != nil {
		t.Fatal(err)
	}
	f := &Fleet{stores: &app.Stores{}, entries: entries}
	for scope, want := range map[string]string{"tool:pay": "tool:pay", "tool:pya": "", "upstream:x": "", "tenant:anyone": "tenant:anyone", "everything": "everything"} {
		if got := f.Known(scope); got != want {
			t.Errorf("%s: %q, want %q", scope, got, want)
		}
	}
}

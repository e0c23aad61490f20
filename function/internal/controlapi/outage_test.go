package controlapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/erlmcp/function/internal/receipt"
)

// TestStoresAway takes each store away from each change: nothing is changed unrecorded, nothing is half done, and 503 says to come
// again.
func TestStoresAway(t *testing.T) {
	for _, route := range changing(t) {
		name := route.Method + " " + route.Path
		e := examples[name]
		for _, what := range []string{"records", "change", "tenants", "keys", "orders"} {
			f := newFixture(t)
			a := e.ask(f, &route)
			state, before := f.state(), f.journal.count()
			f.take(what)
			got := f.do(a)
			recorded := f.journal.since(before)
			if got.status == e.status && what != "records" && what != "change" {
				continue // it does not need that store
			}
			if got.status != 503 || got.header.Get("Retry-After") != "2" {
				t.Errorf("%s without %s: %d %v %s", name, what, got.status, got.header, got.body)
			}
			if f.state() != state {
				t.Errorf("%s without %s: it changes something", name, what)
			}
			want := []receipt.Kind{receipt.Refused} // before the intent
			switch what {
			case "records":
				want = []receipt.Kind{receipt.Failed} // the intent may be stored yet
			case "change":
				want = []receipt.Kind{receipt.Admitted, receipt.Failed}
			}
			if len(recorded) != len(want) {
				t.Errorf("%s without %s: receipts %+v", name, what, recorded)
				continue
			}
			for i, r := range recorded {
				if r.Kind != want[i] || r.ID != got.id || !json.Valid([]byte(r.Detail)) {
					t.Errorf("%s without %s: receipt %d is %+v", name, what, i+1, r)
				}
			}
		}
	}
}

// TestOutcomesThatCantBeStored: the change is made and its intent stored, and the answer says what is not.
func TestOutcomesThatCantBeStored(t *testing.T) {
	for _, route := range changing(t) {
		name := route.Method + " " + route.Path
		for _, fault := range []error{receipt.ErrFull, context.DeadlineExceeded} {
			f, e := newFixture(t), examples[name]
			a := e.ask(f, &route)
			before := f.journal.count()
			f.down["outcomes"] = fault
			got := f.do(a)
			warnings, _ := got.object(t)["warnings"].([]any)
			if got.status != e.status || len(warnings) != 1 || !strings.Contains(warnings[0].(string), "intent recorded") {
				t.Errorf("%s: %d %s", name, got.status, got.body)
			}
			if r := f.journal.since(before); len(r) != 1 || r[0].Kind != receipt.Admitted {
				t.Errorf("%s: receipts %+v", name, r)
			}
		}
	}
}

// TestReadsWithoutAStore are 503, and not recorded.
func TestReadsWithoutAStore(t *testing.T) {
	for _, route := range byRole(t) {
		if route.Method != "GET" || route.Path == "/v1/receipts/keys" {
			continue
		}
		e := examples[route.Method+" "+route.Path]
		f := newFixture(t)
		a := e.ask(f, &route)
		before := f.journal.count()
		for _, what := range []string{"tenants", "keys", "orders", "records", "fleet"} {
			f.take(what)
		}
		if got := f.do(a); got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("GET %s: %d %s, want 503 with Retry-After while all stores are away: leave the route out here if it reads none", a.path, got.status, got.body)
		}
		if n := f.journal.count(); n != before {
			t.Errorf("GET %s: %d receipts", a.path, n-before)
		}
	}
}

// TestACallerThatLeaves after the intent is recorded does not leave the change half done.
func TestACallerThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		hold := make(chan struct{})
		f.hold = hold
		ctx, leave := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, "POST", "/v1/tenants/acme/suspend", strings.NewReader(`{"reason":"r"}`))
		done := make(chan *reply, 1)
		a := ask{method: "POST", body: "{}", header: map[string]string{"Idempotency-Key": "k"}}
		go func() { done <- f.serve(r, a) }()
		if synctest.Wait(); f.journal.count() != 1 {
			t.Fatal("no intent is recorded")
		}
		leave()
		close(hold)
		first := <-done
		recorded := f.journal.since(0)
		if len(recorded) != 2 || recorded[1].Kind != receipt.Entitled {
			t.Errorf("receipts %+v", recorded)
		}
		// It asks again, and learns what came of it.
		again := f.do(ask{method: "POST", path: "/v1/tenants/acme/suspend", body: `{"reason":"r"}`, header: a.header})
		if again.status != 200 || again.body != first.body || again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%d %s", again.status, again.body)
		}
	})
}

// TestExportsThatBreakOff are not taken for whole.
func TestExportsThatBreakOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		if got := f.do(ask{method: "GET", path: "/v1/receipts/export?tenant=acme"}); got.status != 200 || !strings.HasSuffix(got.body, "{\"end\":{}}\n") ||
			got.header.Get("Content-Type") != "application/jsonl" || got.header.Get("Content-Disposition") != `attachment; filename="receipts-19991231T000000Z-20000101T000000Z.jsonl"` {
			t.Errorf("%d %v %s", got.status, got.header, got.body)
		}
		f.take("export")
		r, err := http.NewRequestWithContext(t.Context(), "GET", network.Serve(t, f.plane)+"/v1/receipts/export", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+f.texts["viewer"])
		resp, err := network.Client(t).Do(r)
		if err == nil {
			defer resp.Body.Close()
			_, err = resp.Body.Read(make([]byte, 1<<10))
			for err == nil {
				_, err = resp.Body.Read(make([]byte, 1<<10))
			}
			if err.Error() == "EOF" {
				err = nil
			}
		}
		if err == nil {
			t.Error("an export that broke off ends well")
		}
	})
}

package controlapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/controlapi"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/effect"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
)

// TestChangesAreRecorded wants of each change a receipt of its intent, before it is made, and one of what came of it.
func TestChangesAreRecorded(t *testing.T) {
	for _, route := range changing(t) {
		name := route.Method + " " + route.Path
		f, e := newFixture(t), examples[name]
		a := e.ask(f, &route)
		before := f.journal.count()
		got := f.do(a)
		if got.status != e.status {
			t.Errorf("%s: %d %s", name, got.status, got.body)
			continue
		}
		if got.object(t)["receipt"] != got.id {
			t.Errorf("%s: the answer does not name its receipts: %s", name, got.body)
		}
		r := f.journal.since(before)
		if len(r) != 2 {
			t.Errorf("%s: %d receipts", name, len(r))
			continue
		}
		for i, kind := range []receipt.Kind{receipt.Admitted, e.kind} {
			if r[i].Kind != kind || r[i].ID != got.id || r[i].Decision != receipt.Allow || r[i].Tenant != e.concerns || r[i].Method != name ||
				r[i].Principal != receipt.Fingerprint(f.journal.Hash, "", "ops/keys admin") { // under no tenant's key
				t.Errorf("%s: receipt %d is %+v, want the kind %s", name, i+1, r[i], kind)
			}
			if (a.body != "") != (r[i].Arguments == f.journal.Hash(e.concerns, []byte(a.body))) {
				t.Errorf("%s: receipt %d has the arguments %s", name, i+1, r[i].Arguments)
			}
			var detail struct {
				Path, Role, Query, Intent string
				Order                     any
			}
			if err := json.Unmarshal([]byte(r[i].Detail), &detail); err != nil || detail.Role != "admin" || !strings.HasPrefix(a.path, detail.Path) || (detail.Order == nil) != (a.body == "") {
				t.Errorf("%s: receipt %d has the detail %s", name, i+1, r[i].Detail)
			}
			if want := map[int]string{0: string(e.kind)}[i]; detail.Intent != want {
				t.Errorf("%s: receipt %d has the intent %q, want %q", name, i+1, detail.Intent, want)
			}
			if text, _ := got.object(t)["text"].(string); text != "" && strings.Contains(r[i].Detail, text) {
				t.Errorf("%s: the text of the key is in receipt %d", name, i+1)
			}
		}
		var wantTold []string
		switch {
		case strings.HasPrefix(route.Path, "/v1/keys"):
			wantTold = []string{"keys"}
		case strings.HasPrefix(route.Path, "/v1/tenants"), strings.HasPrefix(route.Path, "/v1/plans"):
			wantTold = []string{"tenants"}
		}
		if !slices.Equal(f.told, wantTold) {
			t.Errorf("%s: told %v, want %v", name, f.told, wantTold)
		}
	}
}

// TestConflicts is of each route that changes what has an ETag.
func TestConflicts(t *testing.T) {
	demanding := map[string]bool{
		"PUT /v1/tenants/{id}": true, "DELETE /v1/tenants/{id}": true, "PUT /v1/plans/{name}": true, "PUT /v1/limits/{scope}": true, "DELETE /v1/limits/{scope}": true,
	}
	tagged := map[string]string{ // where the ETag is read
		"POST /v1/tenants/{id}/suspend": "/v1/tenants/acme", "POST /v1/tenants/{id}/resume": "/v1/tenants/acme",
	}
	for _, route := range changing(t) {
		name := route.Method + " " + route.Path
		if name == "POST /v1/keys" {
			continue // it makes what was not there
		}
		e := examples[name]
		f := newFixture(t)
		a := e.ask(f, &route)
		read := func() string {
			at, _, _ := strings.Cut(a.path, "?")
			switch {
			case tagged[name] != "":
				at = tagged[name]
			case strings.HasPrefix(at, "/v1/keys/"):
				at = "/v1/keys/" + f.keyID
			case strings.HasPrefix(at, "/v1/kills/"):
				return f.killTag(strings.TrimPrefix(at, "/v1/kills/"))
			}
			return f.etag(at)
		}
		if route.Path == "/v1/kills/{scope}" {
			a.path = "/v1/kills/tool:rm"
		}
		current := read()
		try := func(what string, header map[string]string, status int) *reply {
			t.Helper()
			state, before := f.state(), f.journal.count()
			a.header = header
			got := f.do(a)
			if got.status != status {
				t.Errorf("%s with %s: %d %s, want %d", name, what, got.status, got.body, status)
			}
			if got.status >= 400 {
				if f.state() != state {
					t.Errorf("%s with %s: it fails, and changes something", name, what)
				}
				if r := f.journal.since(before); len(r) == 0 || r[len(r)-1].Kind != receipt.Refused && r[len(r)-1].Kind != receipt.Failed || r[len(r)-1].ID != got.id {
					t.Errorf("%s with %s: receipts %+v", name, what, r)
				}
			}
			return got
		}
		if demanding[name] {
			if got := try("nothing", nil, 428); got.header.Get("ETag") != current {
				t.Errorf("%s without If-Match: the ETag is %q", name, got.header.Get("ETag"))
			}
		}
		if got := try("another ETag", map[string]string{"If-Match": `"1"`}, 412); got.header.Get("ETag") != current && got.status == 412 {
			t.Errorf("%s: a conflict has the ETag %q, want %q", name, got.header.Get("ETag"), current)
		}
		try("a weak ETag", map[string]string{"If-Match": "W/" + current}, 412)
		try("If-None-Match", map[string]string{"If-None-Match": "*"}, 412)
		try("If-None-Match of an ETag", map[string]string{"If-None-Match": current}, 400)
		try("one of two", map[string]string{"If-Match": `"1", ` + current}, e.statusOf())
		if route.Method != "DELETE" && route.Path != "/v1/keys/{id}/rotate" {
			if again := read(); again == current && route.Path != "/v1/kills/{scope}" && route.Path != "/v1/limits/{scope}" {
				t.Errorf("%s: the ETag is the same after the change", name)
			}
			if route.Path != "/v1/kills/{scope}" && route.Path != "/v1/limits/{scope}" { // what is ordered twice is the same
				try("the ETag of before", map[string]string{"If-Match": current}, 412)
			}
			try("any ETag", map[string]string{"If-Match": "*"}, 200)
		}
	}
}

// statusOf is that of a change of what is there.
func (e *example) statusOf() int {
	if strings.HasSuffix(e.path, "/rotate") {
		return http.StatusCreated
	}
	return http.StatusOK
}

func (f *fixture) killTag(scope string) string {
	f.t.Helper()
	var list struct {
		Kills []struct{ Scope, ETag string }
	}
	if err := json.Unmarshal([]byte(f.do(ask{method: "GET", path: "/v1/kills"}).body), &list); err != nil {
		f.t.Fatal(err)
	}
	for _, k := range list.Kills {
		if k.Scope == scope {
			return k.ETag
		}
	}
	return ""
}

// TestNewThings are made without If-Match, and with If-None-Match by one of several.
func TestNewThings(t *testing.T) {
	for path, body := range map[string]string{"/v1/tenants/new": `{"plan":"base"}`, "/v1/plans/new": `{}`, "/v1/limits/tool:new": `{"perSecond":1}`, "/v1/kills/tool:new": `{"reason":"r"}`} {
		f := newFixture(t)
		if got := f.do(ask{method: "PUT", path: path, body: body, header: map[string]string{"If-Match": "*"}}); got.status != 412 || got.header.Get("ETag") != "" {
			t.Errorf("%s is not there, with If-Match: %d %q", path, got.status, got.header.Get("ETag"))
		}
		got := f.do(ask{method: "PUT", path: path, body: body, header: map[string]string{"If-None-Match": "*"}})
		if got.status != 201 || got.header.Get("Location") != path || got.header.Get("ETag") == "" {
			t.Errorf("%s is made: %d %v %s", path, got.status, got.header, got.body)
		}
		if got := f.do(ask{method: "PUT", path: path, body: body, header: map[string]string{"If-None-Match": "*"}}); got.status != 412 {
			t.Errorf("%s is made again: %d %s", path, got.status, got.body)
		}
	}
}

// TestConflictUnderWay is a change of another between the read and the write of this one: the store decides.
func TestConflictUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		tag := f.etag("/v1/tenants/acme")
		hold := make(chan struct{})
		f.hold = hold
		done := make(chan *reply, 1)
		go func() {
			done <- f.do(ask{method: "PUT", path: "/v1/tenants/acme", body: `{"plan":"gold"}`, header: map[string]string{"If-Match": tag}})
		}()
		if synctest.Wait(); f.journal.count() != 1 {
			t.Fatal("no intent is recorded")
		}
		if _, err := f.store.ChangeTenant(t.Context(), "acme", nil, func(*entitlement.Tenant) error { return nil }); err != nil {
			t.Fatal(err)
		}
		close(hold)
		got := <-done
		if got.status != 412 || got.header.Get("ETag") != f.etag("/v1/tenants/acme") {
			t.Errorf("%d %q %s", got.status, got.header.Get("ETag"), got.body)
		}
		if r := f.journal.since(0); len(r) != 2 || r[1].Kind != receipt.Failed || r[1].Reason != "conflict" {
			t.Errorf("receipts %+v", r)
		}
	})
}

// TestEffects asks for each change twice, and for something else with the same key.
func TestEffects(t *testing.T) {
	for _, route := range changing(t) {
		name := route.Method + " " + route.Path
		e := examples[name]
		f := newFixture(t)
		a := e.ask(f, &route)
		a.header["Idempotency-Key"] = "key of " + route.Method
		first := f.do(a)
		if first.status != e.status || first.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s: %d %v %s", name, first.status, first.header, first.body)
			continue
		}
		state, before := f.state(), f.journal.count()
		again := f.do(a)
		if again.status != first.status || again.body != f.again(first) || again.header.Get("ETag") != first.header.Get("ETag") || again.header.Get("Location") != first.header.Get("Location") {
			t.Errorf("%s: first %d %v %s\nthen %d %v %s", name, first.status, first.header, first.body, again.status, again.header, again.body)
		}
		if again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s: the second answer does not say that it is one", name)
		}
		if f.state() != state {
			t.Errorf("%s: it is done twice", name)
		}
		if r := f.journal.since(before); len(r) != 1 || r[0].Kind != receipt.Completed || r[0].Reason != "replayed" || r[0].ID != again.id {
			t.Errorf("%s: receipts of the second %+v", name, r)
		}

		other := a
		other.header = map[string]string{"Idempotency-Key": a.header["Idempotency-Key"], "If-Match": `"something else"`}
		if got := f.do(other); got.status != 422 {
			t.Errorf("%s: another precondition with the same key: %d %s", name, got.status, got.body)
		}
		if a.body != "" {
			other = a
			other.body += " "
			if got := f.do(other); got.status != 422 {
				t.Errorf("%s: another body with the same key: %d %s", name, got.status, got.body)
			}
		}
		if f.state() != state {
			t.Errorf("%s: another request with the same key is done", name)
		}
		another := a
		another.as = "admin2"
		if got := f.do(another); got.header.Get("Idempotency-Replayed") != "" || strings.Contains(got.body, first.id) {
			t.Errorf("%s: another caller gets the answer: %s", name, got.body)
		}
		f.pass(24*time.Hour + time.Second)
		if got := f.do(a); got.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s: an answer is kept for more than a day", name)
		}
	}
}

// TestFailuresAreReplayedUnlessTheyMayEnd: a refusal is the answer, what may work later is not.
func TestFailuresAreReplayedUnlessTheyMayEnd(t *testing.T) {
	f := newFixture(t)
	conflict := ask{method: "PUT", path: "/v1/tenants/acme", body: `{"plan":"gold"}`, header: map[string]string{"If-Match": `"1"`, "Idempotency-Key": "a"}}
	first, again := f.do(conflict), f.do(conflict)
	if first.status != 412 || again.status != 412 || again.body != first.body || again.header.Get("ETag") != first.header.Get("ETag") || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%d %s, then %d %v %s", first.status, first.body, again.status, again.header, again.body)
	}
	kill := ask{method: "PUT", path: "/v1/kills/tool:x", body: `{"reason":"r"}`, header: map[string]string{"Idempotency-Key": "b"}}
	putBack := f.take("change")
	if got := f.do(kill); got.status != 503 {
		t.Errorf("%d %s", got.status, got.body)
	}
	putBack()
	if got := f.do(kill); got.status != 201 || got.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("after a failure: %d %v %s", got.status, got.header, got.body)
	}
	for _, bad := range []string{"", strings.Repeat("x", 129), "a\x01", "ä"} {
		r := kill
		r.header = map[string]string{"Idempotency-Key": bad}
		if got := f.do(r); got.status != 400 {
			t.Errorf("the key %q: %d %s", bad, got.status, got.body)
		}
	}
	putBack = f.take("replays")
	kill.header["Idempotency-Key"] = "c"
	if got := f.do(kill); got.status != 503 {
		t.Errorf("with no store of answers: %d %s", got.status, got.body)
	}
	delete(kill.header, "Idempotency-Key")
	if got := f.do(kill); got.status != 200 {
		t.Errorf("with none, and without a key: %d %s", got.status, got.body)
	}
	putBack()

	// The answer can't be kept: it is given, and no other attempt is made as long as that one holds the key.
	putBack = f.take("settle")
	key := ask{method: "POST", path: "/v1/keys", body: examples["POST /v1/keys"].body, header: map[string]string{"Idempotency-Key": "d"}}
	if got := f.do(key); got.status != 201 {
		t.Errorf("%d %s", got.status, got.body)
	}
	putBack()
	if got := f.do(key); got.status != 409 || got.header.Get("Retry-After") != "1" {
		t.Errorf("the answer was not kept: %d %s", got.status, got.body)
	}
}

// TestKeysAreMadeOnce though the store makes one and does not answer, or the process breaks off: who asks again is told to look.
func TestKeysAreMadeOnce(t *testing.T) {
	for _, what := range []string{"change", "process"} {
		for _, path := range []string{"/v1/keys", "/v1/keys/{id}/rotate"} {
			f := newFixture(t)
			a := ask{method: "POST", path: strings.ReplaceAll(path, "{id}", f.keyID), header: map[string]string{"Idempotency-Key": "k"}}
			if path == "/v1/keys" {
				a.body = examples["POST /v1/keys"].body
			}
			count := func() int {
				keys, err := f.store.Keys(t.Context(), "", "", 100)
				if err != nil {
					t.Fatal(err)
				}
				return len(keys)
			}
			before := count()
			f.after = true
			putBack := f.take(what)
			func() {
				defer func() { recover() }()
				if got := f.do(a); got.status != 503 || got.header.Get("Retry-After") != "" || !strings.Contains(got.body, "GET /v1/keys") {
					t.Errorf("%s: %d %v %s", path, got.status, got.header, got.body)
				}
			}()
			putBack()
			if got := f.do(a); got.status != 503 || got.header.Get("Idempotency-Replayed") != "true" || !strings.Contains(got.body, "GET /v1/keys") {
				t.Errorf("%s again: %d %v %s", path, got.status, got.header, got.body)
			}
			if n := count() - before; n != 1 {
				t.Errorf("%s, %s: %d keys are made", path, what, n)
			}
			a.header["Idempotency-Key"] = "another"
			if got := f.do(a); got.status != 201 {
				t.Errorf("%s with another key: %d %s", path, got.status, got.body)
			}
		}
	}
	// Where nothing was begun, the same key does.
	f := newFixture(t)
	a := ask{method: "POST", path: "/v1/keys", body: examples["POST /v1/keys"].body, header: map[string]string{"Idempotency-Key": "k"}}
	putBack := f.take("records")
	if got := f.do(a); got.status != 503 || got.header.Get("Retry-After") != "2" {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
	putBack()
	if got := f.do(a); got.status != 201 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// TestDoubles asks for each change several times at once with one key: it has one effect, and the others are told that it is under
// way, or its answer.
func TestDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, route := range changing(t) {
			name := route.Method + " " + route.Path
			e := examples[name]
			f := newFixture(t)
			a := e.ask(f, &route)
			a.header["Idempotency-Key"] = "k"
			before := f.journal.count()
			var mu sync.Mutex
			var all sync.WaitGroup
			bodies, running := map[string]int{}, 0
			for range 8 {
				all.Go(func() {
					got := f.do(a)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case got.status == e.status:
						bodies[f.again(got)]++
					case got.status == 409 && got.header.Get("Retry-After") == "1":
						running++
					default:
						t.Errorf("%s: %d %s", name, got.status, got.body)
					}
				})
			}
			all.Wait()
			if len(bodies) != 1 {
				t.Errorf("%s: %d answers, and %d that it is under way: %v", name, len(bodies), running, bodies)
			}
			made := 0
			for _, r := range f.journal.since(before) {
				if r.Kind == e.kind {
					made++
				}
			}
			if made != 1 {
				t.Errorf("%s: it was made %d times", name, made)
			}
		}
	})
}

// TestADoubleWaits is a second request while the first is under way.
func TestADoubleWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		hold := make(chan struct{})
		f.hold = hold
		a := ask{method: "POST", path: "/v1/tenants/acme/suspend", body: `{"reason":"r"}`, header: map[string]string{"Idempotency-Key": "k"}}
		done := make(chan *reply, 1)
		go func() { done <- f.do(a) }()
		synctest.Wait()
		if got := f.do(a); got.status != 409 || got.header.Get("Retry-After") != "1" || !strings.HasSuffix(got.fault(t).Type, ":running") {
			t.Errorf("%d %v %s", got.status, got.header, got.body)
		}
		close(hold)
		first := <-done
		if got := f.do(a); got.body != first.body || got.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%d %v %s", got.status, got.header, got.body)
		}
	})
}

// again is what who asks once more is answered: the same, and the text of a key is said once.
func (f *fixture) again(first *reply) string {
	f.t.Helper()
	text, _ := first.object(f.t)["text"].(string)
	if text == "" {
		return first.body
	}
	said, found := strings.CutSuffix(strings.Replace(first.body, fmt.Sprintf(`"text":%q,`, text), "", 1), "}\n")
	if !found || strings.Contains(said, text) {
		f.t.Fatal(first.body)
	}
	const once = `"the text of the key was in the first answer, and is kept nowhere: where that was lost, revoke this key and make another"]`
	if list, found := strings.CutSuffix(said, "]"); found && strings.Contains(said, `"warnings":[`) {
		return list + "," + once + "}\n"
	}
	return said + `,"warnings":[` + once + "}\n"
}

// TestKeptAnswersAreSealed: the text of a key is in none, and one can't be put in another's place.
func TestKeptAnswersAreSealed(t *testing.T) {
	f := newFixture(t)
	kept := &watchedEffects{Store: replays{f.effects, f}, all: map[string]effect.IdempotencyRecord{}}
	f = newFixture(t, func(o *controlapi.Options) {
		o.Effects = kept
		seal := o.Seal
		o.Seal = func(plaintext []byte) []byte {
			var kept struct{ Body []byte }
			if err := json.Unmarshal(plaintext, &kept); err != nil || len(kept.Body) == 0 || strings.Contains(string(kept.Body), identity.KeyPrefix) {
				t.Errorf("what is kept: %s, %v", kept.Body, err)
			}
			return seal(plaintext)
		}
	})
	ask1 := ask{method: "POST", path: "/v1/keys", body: examples["POST /v1/keys"].body, header: map[string]string{"Idempotency-Key": "one"}}
	ask2 := ask1
	ask2.header = map[string]string{"Idempotency-Key": "two"}
	text, _ := f.do(ask1).object(t)["text"].(string)
	f.do(ask2)
	if len(kept.all) != 2 || text == "" {
		t.Fatalf("%d answers are kept", len(kept.all))
	}
	var names []string
	for name, r := range kept.all {
		if strings.Contains(string(r.Answer), text) || strings.Contains(name, "one") {
			t.Errorf("in the clear: %s %q", name, r.Answer)
		}
		names = append(names, name)
	}
	a, b := kept.all[names[0]], kept.all[names[1]]
	a.Answer, b.Answer = b.Answer, a.Answer
	for name, r := range map[string]effect.IdempotencyRecord{names[0]: a, names[1]: b} {
		if err := kept.Store.Settle(t.Context(), name, r); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range []ask{ask1, ask2} {
		if got := f.do(a); got.status != 500 || strings.Contains(got.body, "erlmcp_") {
			t.Errorf("exchanged answers: %d %s", got.status, got.body)
		}
	}
}

// TestTenants goes through what operators do with one.
func TestTenants(t *testing.T) {
	f := newFixture(t)
	standing := func(got *reply) map[string]any {
		t.Helper()
		if got.status >= 300 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		return got.object(t)["standing"].(map[string]any)
	}
	is := func(what string, s map[string]any, state, why string) {
		t.Helper()
		if said, _ := s["why"].(string); s["state"] != state || !strings.Contains(said, why) {
			t.Errorf("%s: %v", what, s)
		}
	}
	got := f.do(ask{method: "PUT", path: "/v1/tenants/new", body: `{"plan":"gold","packs":["extra"],"limits":{"concurrency":3}}`})
	s := standing(got)
	is("granted", s, "stable", "")
	if packs := fmt.Sprint(s["packs"], s["limits"]); packs != "[extra gold] map[concurrency:3]" {
		t.Errorf("granted %s", packs)
	}
	is("suspended", standing(f.do(ask{method: "POST", path: "/v1/tenants/new/suspend", body: `{"reason":"unpaid"}`, as: "operator"})), "refusing", "unpaid")
	is("granted anew, and suspended still", standing(f.do(ask{method: "PUT", path: "/v1/tenants/new", body: `{"plan":"base"}`, header: map[string]string{"If-Match": f.etag("/v1/tenants/new")}})), "refusing", "unpaid")
	is("resumed", standing(f.do(ask{method: "POST", path: "/v1/tenants/new/resume", as: "operator"})), "stable", "")
	is("revoked", standing(f.do(ask{method: "DELETE", path: "/v1/tenants/new?reason=gone", header: map[string]string{"If-Match": f.etag("/v1/tenants/new")}})), "refusing", "gone")
	is("granted again", standing(f.do(ask{method: "PUT", path: "/v1/tenants/new", body: fmt.Sprintf(`{"plan":"base","expires":%q}`, f.now.Add(time.Hour).Format(time.RFC3339)), header: map[string]string{"If-Match": f.etag("/v1/tenants/new")}})), "warning", "expires")
	f.pass(2 * time.Hour)
	is("expired", standing(f.do(ask{method: "GET", path: "/v1/tenants/new"})), "intervening", "expired")
	for _, method := range []string{"/suspend", "/resume", ""} {
		a := ask{method: "POST", path: "/v1/tenants/nobody" + method}
		if method == "" {
			a.method = "DELETE"
		}
		if method == "/suspend" {
			a.body = `{"reason":"r"}`
		}
		if got := f.do(a); got.status != 404 {
			t.Errorf("%s %s: %d %s", a.method, a.path, got.status, got.body)
		}
	}
	var transitions []string
	for _, r := range f.journal.since(0) {
		var d struct{ From, To string }
		if json.Unmarshal([]byte(r.Detail), &d); r.Kind == receipt.Entitled && d.From != d.To {
			transitions = append(transitions, d.From+" "+d.To)
		}
	}
	if got := strings.Join(transitions, ", "); got != "boot stable, stable refusing, refusing stable, stable refusing, refusing warning" {
		t.Errorf("transitions: %s", got)
	}
}

// TestOrdersOfOperatorsHoldAsTheyCome, though the clock of one instance is behind that of another.
func TestOrdersOfOperatorsHoldAsTheyCome(t *testing.T) {
	f := newFixture(t)
	f.pass(time.Minute)
	f.do(ask{method: "POST", path: "/v1/tenants/acme/suspend", body: `{"reason":"r"}`})
	f.pass(-time.Minute)
	if got := f.do(ask{method: "POST", path: "/v1/tenants/acme/resume"}); got.object(t)["standing"].(map[string]any)["state"] != "stable" {
		t.Errorf("%s", got.body)
	}
	f.do(ask{method: "POST", path: "/v1/tenants/acme/suspend", body: `{"reason":"r"}`})
	if got := f.do(ask{method: "POST", path: "/v1/tenants/acme/resume", body: `{"reason":"it is paid"}`}); got.object(t)["standing"].(map[string]any)["state"] != "stable" {
		t.Errorf("with a reason: %s", got.body)
	}
}

func TestPages(t *testing.T) {
	f := newFixture(t)
	for n := range 7 {
		f.do(ask{method: "PUT", path: fmt.Sprintf("/v1/tenants/t%d", n), body: `{"plan":"base"}`})
		f.do(ask{method: "PUT", path: fmt.Sprintf("/v1/plans/p%d", n), body: `{}`})
		f.do(ask{method: "PUT", path: fmt.Sprintf("/v1/limits/tool:t%d", n), body: `{"perSecond":1}`})
		f.do(ask{method: "PUT", path: fmt.Sprintf("/v1/kills/tool:t%d", n), body: `{"reason":"r"}`})
		f.do(ask{method: "POST", path: "/v1/keys", body: `{"tenant":"acme","subject":"s"}`})
	}
	for what, want := range map[string]int{"tenants": 8, "plans": 11, "limits": 9, "kills": 8, "keys": 8, "receipts": 70} {
		for _, limit := range []int{1, 3, 8, 100} {
			seen := map[string]bool{}
			after, pages := "", 0
			for {
				answer := f.do(ask{method: "GET", path: fmt.Sprintf("/v1/%s?limit=%d&after=%s", what, limit, after)})
				got := answer.object(t)
				list, ok := got[what].([]any)
				if !ok {
					t.Fatalf("%s after %q: %d %s", what, after, answer.status, answer.body)
				}
				if len(list) > limit {
					t.Errorf("%s: %d of at most %d", what, len(list), limit)
				}
				for _, x := range list {
					x := x.(map[string]any)
					name := ""
					for _, member := range []string{"hash", "id", "name", "scope"} {
						if s, ok := x[member].(string); ok && name == "" {
							name = s
						}
					}
					if seen[name] || name == "" {
						t.Errorf("%s: %q comes twice", what, name)
					}
					seen[name] = true
				}
				pages++
				next, more := got["next"].(string)
				if !more {
					break
				}
				after = next
			}
			if len(seen) != want || pages != (want+limit-1)/limit {
				t.Errorf("%s by %d: %d in %d pages, want %d", what, limit, len(seen), pages, want)
			}
		}
		for _, bad := range []string{"limit=0", "limit=501", "limit=x", "limit=-1", "after=" + strings.Repeat("a", 257), "limit=1&limit=2", "page=2", "a=%zz"} {
			if got := f.do(ask{method: "GET", path: "/v1/" + what + "?" + bad}); got.status != 400 || len(got.fault(t).Faults) == 0 {
				t.Errorf("%s?%s: %d %s", what, bad, got.status, got.body)
			}
		}
	}
}

// TestInstancesThatAreNotTold: the change is made, and the answer warns that they follow later.
func TestInstancesThatAreNotTold(t *testing.T) {
	for _, route := range changing(t) {
		f := newFixture(t)
		f.down["announce"] = errDown
		e := examples[route.Method+" "+route.Path]
		got := f.do(e.ask(f, &route))
		if warnings, _ := got.object(t)["warnings"].([]any); got.status != e.status || len(warnings) != 1 {
			t.Errorf("%s %s: %d %s", route.Method, route.Path, got.status, got.body)
		}
	}
}

// TestOrdersOnWhatIsNotThere are made, and warned of.
func TestOrdersOnWhatIsNotThere(t *testing.T) {
	f := newFixture(t, func(o *controlapi.Options) {
		o.Known = func(scope string) string {
			switch scope {
			case "tool:serch":
				return ""
			case "tool:look":
				return "tool:find"
			}
			return scope
		}
	})
	for path, body := range map[string]string{"/v1/kills/tool:": `{"reason":"r"}`, "/v1/limits/tool:": `{"perSecond":1}`} {
		for name, warning := range map[string]string{"serch": "nothing is known here by the name of", "find": "", "look": `is called "tool:find" now`} {
			got := f.do(ask{method: "PUT", path: path + name, body: body})
			if warnings := fmt.Sprint(got.object(t)["warnings"]); got.status != 201 || !strings.Contains(warnings, warning) || warning == "" && warnings != "<nil>" {
				t.Errorf("%s%s: %d %s", path, name, got.status, got.body)
			}
		}
	}
}

func TestKillsInForce(t *testing.T) {
	f := newFixture(t)
	until := f.now.Add(time.Minute).Format(time.RFC3339)
	if got := f.do(ask{method: "PUT", path: "/v1/kills/everything", body: `{"reason":"r","until":"` + until + `"}`, as: "operator"}); got.status != 201 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	count := func() int { return len(f.do(ask{method: "GET", path: "/v1/kills"}).object(t)["kills"].([]any)) }
	if count() != 2 {
		t.Error("it is not in force")
	}
	f.pass(time.Minute)
	if count() != 1 {
		t.Error("it is in force after its end")
	}
	if got := f.do(ask{method: "DELETE", path: "/v1/kills/everything"}); got.status != 404 {
		t.Errorf("one that has ended is lifted: %d %s", got.status, got.body)
	}
}

// TestOverridesAreWhole: what is put takes the place of what was there.
func TestOverridesAreWhole(t *testing.T) {
	f := newFixture(t)
	put := func(body string) {
		t.Helper()
		got := f.do(ask{method: "PUT", path: "/v1/limits/tool:search", body: body, header: map[string]string{"If-Match": f.etag("/v1/limits/tool:search")}})
		if got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	put(`{"concurrency":4}`)
	put(`{"shadow":false}`)
	directives, err := f.store.Directives(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if v := directives.Limits[0]; len(directives.Limits) != 1 || v.Concurrency != nil || v.PerSecond != nil || v.DryRun == nil || *v.DryRun {
		t.Errorf("%+v", directives.Limits)
	}
	f.down["usage"] = errDown
	got := f.do(ask{method: "GET", path: "/v1/limits"}).object(t)
	if len(got["limits"].([]any)) != 2 || len(got["warnings"].([]any)) != 1 {
		t.Errorf("without what is in use: %v", got)
	}
}

func TestTooManyDirectives(t *testing.T) {
	f := newFixture(t)
	if _, err := f.store.Change(t.Context(), func(o *directives.Directives) error {
		o.Kills, o.Limits = nil, nil
		one := int64(1)
		for n := range 1000 {
			o.Kills = append(o.Kills, directives.Kill{Scope: fmt.Sprintf("tool:%d", n), Reason: "r"})
			o.Limits = append(o.Limits, directives.Override{Scope: fmt.Sprintf("tool:%d", n), Limits: directives.Limits{PerDay: &one}})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for path, body := range map[string]string{"/v1/kills/tool:x": `{"reason":"r"}`, "/v1/limits/tool:x": `{"perDay":1}`} {
		if got := f.do(ask{method: "PUT", path: path, body: body}); got.status != 409 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := f.do(ask{method: "PUT", path: "/v1/kills/tool:7", body: `{"reason":"another"}`}); got.status != 200 {
		t.Errorf("one that is there: %d %s", got.status, got.body)
	}
}

// TestKeys are good for authentication as they are said to be.
func TestKeys(t *testing.T) {
	f := newFixture(t)
	got := f.do(ask{method: "POST", path: "/v1/keys", body: `{"tenant":"acme","subject":"bot","scopes":["read","write"]}`})
	made := got.object(t)
	id, text := made["id"].(string), made["text"].(string)
	if got.header.Get("Location") != "/v1/keys/"+id || !strings.HasPrefix(text, identity.KeyPrefix+id+"_") {
		t.Errorf("%v %s", got.header, got.body)
	}
	state := func(text string) string {
		t.Helper()
		stored, err := f.store.Keys(t.Context(), "", "", 100)
		if err != nil {
			t.Fatal(err)
		}
		var file identity.KeyFile
		for _, k := range stored {
			file.Keys = append(file.Keys, k.Key)
		}
		raw, _ := json.Marshal(file)
		parsed, err := identity.ParseKeys(raw)
		if err != nil {
			t.Fatal(err)
		}
		a := identity.New(identity.Options{Chain: []string{identity.APIKeys}, Keys: func() *identity.Keys { return parsed }, Now: f.clock})
		p, refused := a.Authenticate(t.Context(), &identity.Request{Header: http.Header{"Authorization": {"Bearer " + text}}})
		if refused != nil {
			return string(refused.Cause)
		}
		return p.Tenant + " " + p.Subject + " " + strings.Join(p.Scopes, ",")
	}
	if s := state(text); s != "acme bot read,write" {
		t.Errorf("a new key: %s", s)
	}
	for _, path := range []string{"/v1/keys", "/v1/keys/" + id} {
		if got := f.do(ask{method: "GET", path: path, as: "viewer"}); strings.Contains(got.body, text) || strings.Contains(got.body, "sha256") {
			t.Errorf("%s tells the key: %s", path, got.body)
		}
	}
	rotated := f.do(ask{method: "POST", path: "/v1/keys/" + id + "/rotate?overlap=1h"}).object(t)
	if s := state(rotated["text"].(string)); s != "acme bot read,write" {
		t.Errorf("the new one: %s", s)
	}
	if s := state(text); s != "acme bot read,write" {
		t.Errorf("the old one in the overlap: %s", s)
	}
	f.pass(time.Hour)
	if s := state(text); s != "expired" {
		t.Errorf("the old one after it: %s", s)
	}
	if got := f.do(ask{method: "POST", path: "/v1/keys/" + id + "/rotate"}); got.status != 409 {
		t.Errorf("one that has expired is rotated: %d %s", got.status, got.body)
	}
	next := rotated["id"].(string)
	if got := f.do(ask{method: "DELETE", path: "/v1/keys/" + next}); got.object(t)["state"] != "revoked" {
		t.Errorf("%s", got.body)
	}
	if s := state(rotated["text"].(string)); s != "revoked" {
		t.Errorf("a revoked key: %s", s)
	}
	at := f.do(ask{method: "GET", path: "/v1/keys/" + next}).object(t)["revoked"]
	f.pass(time.Hour)
	if again := f.do(ask{method: "DELETE", path: "/v1/keys/" + next}); again.status != 200 || again.object(t)["revoked"] != at {
		t.Errorf("revoked again: %d %s", again.status, again.body)
	}
	if got := f.do(ask{method: "POST", path: "/v1/keys", body: `{"tenant":"stranger","subject":"bot"}`}); got.status != 201 || !strings.Contains(got.body, "there is no tenant") {
		t.Errorf("a key of a tenant that is not known: %d %s", got.status, got.body)
	}
	day := f.clock().Add(24 * time.Hour).UTC()
	ends := f.do(ask{method: "POST", path: "/v1/keys", body: `{"tenant":"acme","subject":"bot","expires":"` + day.Format(time.RFC3339Nano) + `"}`}).object(t)
	f.pass(23 * time.Hour)
	again := f.do(ask{method: "POST", path: "/v1/keys/" + fmt.Sprint(ends["id"]) + "/rotate"}).object(t)
	if want := day.Add(23 * time.Hour).Format(time.RFC3339Nano); again["expires"] != want {
		t.Errorf("one of a day, rotated an hour before its end: %v, want %s", again["expires"], want)
	}
	f.down["change key"] = errDown
	got = f.do(ask{method: "POST", path: "/v1/keys/" + f.keyID + "/rotate"})
	if warnings, _ := got.object(t)["warnings"].([]any); got.status != 201 || len(warnings) != 1 || !strings.Contains(fmt.Sprint(warnings), "DELETE /v1/keys/"+f.keyID) {
		t.Errorf("a rotation that is half done: %d %s", got.status, got.body)
	}
}

// TestETagsInWords has ETags that are not as they were sent: what is wrong with them is said, and nothing is changed.
func TestETagsInWords(t *testing.T) {
	f := newFixture(t)
	path, body := "/v1/tenants/acme", `{"plan":"gold"}`
	tag := f.etag(path)
	bare := strings.Trim(tag, `"`)
	for match, want := range map[string]string{
		"W/" + tag: "is weak", `W/"1"`: "is weak", "W/" + tag + `, "1"`: "is weak", `"1", W/` + tag: "is weak",
		bare: "with its quotes", "1": "with its quotes", `"` + bare: "with its quotes", "'" + bare + "'": "with its quotes",
		`"1"`: "it has changed since", `"1", "2"`: "it has changed since",
	} {
		got := f.do(ask{method: "PUT", path: path, body: body, header: map[string]string{"If-Match": match}})
		var fault struct{ Detail string }
		if err := json.Unmarshal([]byte(got.body), &fault); err != nil || got.status != 412 || !strings.Contains(fault.Detail, want) || !strings.Contains(fault.Detail, tag) {
			t.Errorf("If-Match: %s: %d %s, want %q", match, got.status, got.body, want)
		}
		if f.etag(path) != tag {
			t.Errorf("If-Match: %s: it is changed", match)
		}
	}
	if got := f.do(ask{method: "PUT", path: path, body: body, header: map[string]string{"If-Match": "W/" + tag + ", " + tag}}); got.status != 200 {
		t.Errorf("a weak one beside the right one: %d %s", got.status, got.body)
	}
}

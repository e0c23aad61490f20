package function

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/verify"
)

// packedTools are of no pack, of one, and of another.
func packedTools() []Tool {
	say := func(context.Context, None) (string, error) { return "here", nil }
	return []Tool{NewTool("plain", "For all.", say), NewTool("report", "Of a pack.", say, ToolOptions{Toolset: "professional"}), NewTool("forecast", "Of another.", say, ToolOptions{Toolset: "science"})}
}

// packed serves them to callers with keys, who are refused with a status.
func packed(t *testing.T, m *InMemoryStore, pairs ...string) testServer {
	t.Helper()
	return start(t, WithMemory(m), WithTools(packedTools()...), WithGetenv(env(append([]string{"AUTHENTICATION", "keys", "REFUSALS", "error"}, pairs...)...)))
}

// inForce is how soon what is decided somewhere must be in force on every instance.
const inForce = 2 * time.Second

// within asks what is wrong until nothing is. By the clock of the bubble that takes no longer than most.
func within(t *testing.T, most time.Duration, ask func() (wrong string)) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) { // in a bubble
		wrong := ask()
		switch took := time.Since(begun); {
		case took > most:
			t.Fatalf("after %v, wanted within %v: %s", took, most, cmp.Or(wrong, "only now is nothing wrong"))
		case wrong == "":
			return
		}
	}
}

// said has a source say something of a tenant, as the control plane does.
func said(t *testing.T, m *InMemoryStore, tell func(context.Context, directives.Versions) error, e entitlement.Event) {
	t.Helper()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if err := e.Check(time.Now()); err != nil {
		t.Fatal(err)
	}
	d := entitlement.NewDirectory()
	stored, err := m.memory.Store.ChangeTenant(t.Context(), e.Tenant, nil, func(x *entitlement.Tenant) error {
		x.Apply(&e)
		x.Note(d.Plans, time.Now())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if tell != nil {
		if err := tell(t.Context(), directives.Versions{entitlement.VersionName: stored.Revision}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSuspendedEverywhere suspends a tenant that four instances serve, and resumes it.
func TestSuspendedEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		memory := NewInMemoryStore()
		file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}}, identity.Key{Tenant: "other", Subject: "ci", Scopes: []string{"*"}})
		var servers []testServer
		for range 4 {
			servers = append(servers, packed(t, memory, "API_KEYS_FILE", file, "REDIS_URL", redis.URL))
		}
		var refused int64
		call := func(i, key int) (int, string) {
			resp, body := modern("tools/call", "plain", `"name":"plain"`).with("Authorization", "Bearer "+keys[key]).send(t, servers[i].URL)
			if resp.StatusCode == 403 {
				refused++
			}
			return resp.StatusCode, body
		}
		// until calls at every instance until each answers so.
		until := func(what string, status int) {
			t.Helper()
			within(t, inForce, func() (wrong string) {
				for i := range servers {
					if got, body := call(i, 0); got != status {
						wrong = fmt.Sprintf("%s: instance %d answers %d %s", what, i, got, body)
					}
				}
				return wrong
			})
		}
		until("unlisted", 200)
		for _, announced := range []bool{true, false} {
			what := fmt.Sprintf("announced %v", announced)
			say := func(e entitlement.Event) {
				e.Source, e.Tenant = "marketplace", "acme"
				if announced {
					said(t, memory, data(servers[0].Server).Stores.Counters.Announce, e)
				} else { // an announcement that is lost is made up for by the store
					said(t, memory, nil, e)
				}
			}
			say(entitlement.Event{ID: "1", Type: entitlement.Grant, Plan: "enterprise"})
			say(entitlement.Event{ID: "2", Type: entitlement.Suspend, Reason: "the bill is open"})
			until(what+": suspended", 403)
			if _, body := call(0, 0); !strings.Contains(body, "suspended by marketplace: the bill is open") || !strings.Contains(body, "2001") || !strings.Contains(body, "tenant:acme") {
				t.Errorf("%s: the refusal does not say why: %s", what, body)
			}
			if status, body := call(1, 1); status != 200 {
				t.Errorf("%s: another tenant: %d %s", what, status, body)
			}
			say(entitlement.Event{ID: "3", Type: entitlement.Resume})
			until(what+": resumed", 200)
		}
		for _, s := range servers {
			s.Close()
		}
		var recorded int64
		for r, err := range verify.Select(t.Context(), memory.memory.Receipts, "acme", time.Time{}, time.Time{}) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Kind == receipt.Refused && r.Limit == "tenant:acme state:refusing" && r.Reason == "not_entitled" {
				recorded += 1 + r.More
			}
		}
		if recorded != refused || refused == 0 {
			t.Errorf("%d refusals, and receipts of %d", refused, recorded)
		}
	})
}

func TestEntitlements(t *testing.T) {
	file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}})
	ten, burst := 10.0, 20.0
	begins := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // the clock of a bubble
	for i, c := range []struct {
		name   string
		events []entitlement.Event
		pairs  []string
		tools  string // that are listed, or "" where lists are refused
		status map[string]int
		says   string // of the first that is refused
	}{
		{"unlisted", nil, nil, "forecast plain report", map[string]int{"plain": 200, "report": 200}, ""},
		{"unlisted where they must be", nil, []string{"UNKNOWN_TENANTS", "deny"}, "", map[string]int{"plain": 403}, "the tenant acme is not known here"},
		{"base", []entitlement.Event{{Type: entitlement.Grant, Plan: "base"}}, []string{"UNKNOWN_TENANTS", "deny"}, "plain", map[string]int{"plain": 200, "report": 403}, "report belongs to the pack professional, which the plan base of acme leaves out"},
		{"professional", []entitlement.Event{{Type: entitlement.Grant, Plan: "professional"}}, nil, "plain report", map[string]int{"plain": 200, "report": 200, "forecast": 403}, "belongs to the pack science"},
		{"professional and a pack", []entitlement.Event{{Type: entitlement.Grant, Plan: "professional", Packs: []string{"science"}}}, nil, "forecast plain report", map[string]int{"forecast": 200}, ""},
		{"enterprise", []entitlement.Event{{Type: entitlement.Grant, Plan: "enterprise"}}, nil, "forecast plain report", map[string]int{"forecast": 200}, ""},
		{"revoked", []entitlement.Event{{Type: entitlement.Grant, Plan: "base"}, {Type: entitlement.Revoke, Reason: "the contract has ended"}}, nil, "", map[string]int{"plain": 403}, "revoked by shop: the contract has ended"},
		{"nothing granted yet", []entitlement.Event{{Type: entitlement.Resume}}, nil, "", map[string]int{"plain": 403}, "nothing has been granted to it yet"},
		{"expired", []entitlement.Event{{Type: entitlement.Grant, Plan: "base", Expires: begins.Add(-48 * time.Hour)}}, nil, "", map[string]int{"plain": 403}, "expired on"},
		{"in grace", []entitlement.Event{{Type: entitlement.Grant, Plan: "base", Expires: begins.Add(-time.Hour)}}, nil, "plain", map[string]int{"plain": 200}, ""},
		{"expires soon", []entitlement.Event{{Type: entitlement.Grant, Plan: "base", Expires: begins.Add(time.Hour)}}, nil, "plain", map[string]int{"plain": 200}, ""},
		{"a plan that is gone", []entitlement.Event{{Type: entitlement.Grant, Plan: "gold"}}, nil, "", map[string]int{"plain": 403}, `there is no plan \"gold\"`},
		{"limits of its own", []entitlement.Event{{Type: entitlement.Grant, Plan: "base", Limits: directives.Limits{PerSecond: &ten, Burst: &burst}}}, nil, "plain", map[string]int{"plain": 200}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := NewInMemoryStore()
				for n, e := range c.events {
					e.ID, e.Source, e.Tenant, e.Time = fmt.Sprint(i, "-", n), "shop", "acme", time.Now().Add(time.Duration(n)*time.Millisecond)
					said(t, memory, nil, e)
				}
				url := packed(t, memory, append([]string{"API_KEYS_FILE", file}, c.pairs...)...).URL
				for _, m := range []func(method, name, params string) wire{modern, func(method, _, params string) wire { return legacy("2025-11-25", method, params) }} {
					for tool, status := range c.status {
						resp, body := m("tools/call", tool, `"name":"`+tool+`"`).with("Authorization", "Bearer "+keys[0]).send(t, url)
						refusal := strings.Contains(body, `"code":2001`)
						if refusal != (status == 403) || resp.StatusCode != status && resp.StatusCode != 200 {
							t.Errorf("%s: %d %s", tool, resp.StatusCode, body)
						}
						if refusal && !strings.Contains(body, c.says) {
							t.Errorf("%s: %s", tool, body)
						}
					}
					_, body := m("tools/list", "", "").with("Authorization", "Bearer "+keys[0]).send(t, url)
					var listed []string
					for _, tool := range []string{"forecast", "plain", "report"} {
						if strings.Contains(body, `"name":"`+tool+`"`) {
							listed = append(listed, tool)
						}
					}
					if strings.Join(listed, " ") != c.tools {
						t.Errorf("the list has %v: %s", listed, body)
					}
				}
			})
		})
	}
}

// TestPlansLimit holds a tenant to the rate of its plan, and to another as soon as that is granted.
func TestPlansLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		memory := NewInMemoryStore()
		file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}})
		s := packed(t, memory, "API_KEYS_FILE", file, "REDIS_URL", redis.URL)
		one, two := 0.01, 2.0
		burst := func() (served int, last string) {
			for range 6 {
				resp, body := modern("tools/call", "plain", `"name":"plain"`).with("Authorization", "Bearer "+keys[0]).send(t, s.URL)
				if resp.StatusCode == 200 {
					served++
				} else {
					last = body
				}
			}
			return served, last
		}
		said(t, memory, data(s.Server).Stores.Counters.Announce, entitlement.Event{ID: "1", Source: "shop", Type: entitlement.Grant, Tenant: "acme", Plan: "base", Limits: directives.Limits{PerSecond: &one, Burst: &two}})
		time.Sleep(inForce)
		if served, last := burst(); served != 2 || !strings.Contains(last, `"reason":"rate"`) || !strings.Contains(last, `"scope":"tenant:acme"`) {
			t.Errorf("under its own rate %d of 6 are served: %s", served, last)
		}
		said(t, memory, data(s.Server).Stores.Counters.Announce, entitlement.Event{ID: "2", Source: "shop", Type: entitlement.Grant, Tenant: "acme", Plan: "enterprise"})
		time.Sleep(inForce)
		burst() // what the rate before has left of the burst: none, and tokens of the longest hold may be out
		time.Sleep(500 * time.Millisecond)
		if served, last := burst(); served != 6 {
			t.Errorf("in another plan %d of 6 are served: %s", served, last)
		}
	})
}

// TestClockChangesAState lets a grant run out while it is used: each transition is recorded once, by whichever instance saw it.
func TestClockChangesAState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		memory := NewInMemoryStore()
		file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}})
		const short = 2 * inForce // the instances know of one transition before the next is due
		if _, err := memory.memory.Store.ChangePlan(t.Context(), "short", func(p *entitlement.Plan) error {
			p.Notice, p.Grace = entitlement.Duration(short), entitlement.Duration(short)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		plans := entitlement.NewDirectory().Plans
		plans["short"] = &entitlement.Plan{Name: "short", Notice: entitlement.Duration(short), Grace: entitlement.Duration(short)}
		ends := time.Now().Add(2 * short)
		if _, err := memory.memory.Store.ChangeTenant(t.Context(), "acme", nil, func(x *entitlement.Tenant) error {
			x.Apply(&entitlement.Event{ID: "1", Source: "shop", Type: entitlement.Grant, Tenant: "acme", Time: time.Now(), Plan: "short", Expires: ends})
			x.Note(plans, time.Now())
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		begun, grace := time.Now(), ends.Add(short)
		var servers []testServer
		for range 3 {
			servers = append(servers, packed(t, memory, "API_KEYS_FILE", file, "REDIS_URL", redis.URL))
		}
		for i := 0; time.Since(grace) < short; i++ {
			want := 200
			if !time.Now().Before(grace) {
				want = 403
			}
			resp, body := modern("tools/call", "plain", `"name":"plain"`).with("Authorization", "Bearer "+keys[0]).send(t, servers[i%3].URL)
			if resp.StatusCode != want {
				t.Fatalf("%v before its grace ends: %d %s", time.Until(grace), resp.StatusCode, body)
			}
			time.Sleep(50 * time.Millisecond)
		}
		for _, s := range servers {
			s.Close()
		}
		var found []receipt.Receipt
		for r, err := range verify.Select(t.Context(), memory.memory.Receipts, "acme", begun.Add(-time.Minute), time.Now().Add(time.Minute)) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Kind == receipt.Entitled {
				found = append(found, r)
			}
		}
		slices.SortFunc(found, func(a, b receipt.Receipt) int { return a.Time.Compare(b.Time) })
		var transitions []string
		for _, r := range found {
			var change struct{ From, To string }
			if err := json.Unmarshal([]byte(r.Detail), &change); err != nil {
				t.Fatalf("%s: %v", r.Detail, err)
			}
			transitions = append(transitions, change.From+" → "+change.To)
		}
		if want := "stable → warning, warning → intervening, intervening → refusing"; strings.Join(transitions, ", ") != want {
			t.Errorf("recorded: %v", transitions)
		}
	})
}

// TestKeysOfTheStore makes and revokes API keys while two instances run.
func TestKeysOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		memory := NewInMemoryStore()
		file, _ := keyFile(t) // without a key
		var urls []string
		for range 2 {
			urls = append(urls, packed(t, memory, "API_KEYS_FILE", file, "REDIS_URL", redis.URL).URL)
		}
		call := func(i int, key string) int {
			resp, _ := modern("tools/call", "plain", `"name":"plain"`).with("Authorization", "Bearer "+key).send(t, urls[i])
			return resp.StatusCode
		}
		until := func(key string, status int) {
			t.Helper()
			within(t, inForce, func() (wrong string) {
				for i := range urls {
					if got := call(i, key); got != status {
						wrong = fmt.Sprintf("instance %d answers %d, want %d", i, got, status)
					}
				}
				return wrong
			})
		}
		text, key := identity.NewKey(identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}, Created: time.Now()})
		if call(0, text) != 401 {
			t.Fatal("a key that no one has made is good")
		}
		if _, err := memory.memory.Store.AddKey(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		until(text, 200)
		if _, err := memory.memory.Store.ChangeKey(t.Context(), key.ID, func(k *identity.Key) error { k.Revoked = time.Now(); return nil }); err != nil {
			t.Fatal(err)
		}
		until(text, 401)
	})
}

// absent is a tenant store that can be taken away, or stalled.
type absent struct {
	entitlement.Store
	away, stalled atomic.Bool
}

// stall is how long a stalled reading takes, as a transaction of Firestore's library may, whatever its context.
const stall = 5 * time.Second

func (s *absent) Changes(ctx context.Context, since int64) (*entitlement.Changes, error) {
	if s.stalled.Load() {
		time.Sleep(stall) // in a bubble
	}
	if s.away.Load() {
		return nil, errors.New("the store is away")
	}
	return s.Store.Changes(ctx, since)
}

// TestStoreOfTenantsAway starts an instance while tenants can't be read: it is not ready, and refuses, as it does later when what has
// changed can't be read; and a stalled reading does not hold up the end.
func TestStoreOfTenantsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		memory := NewInMemoryStore()
		file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}})
		store := &absent{Store: memory.memory.Store}
		store.away.Store(true)
		s := start(t, WithMemory(memory), WithTools(packedTools()...), WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", file, "REDIS_URL", redis.URL, "REFUSALS", "error")),
			func(o *Options) { o.stand.Tenants = func(entitlement.Store) entitlement.Store { return store } })
		call := func() (int, string) {
			resp, body := modern("tools/call", "plain", `"name":"plain"`).with("Authorization", "Bearer "+keys[0]).send(t, s.URL)
			return resp.StatusCode, body
		}
		if status, body := call(); status != 503 || !strings.Contains(body, "it can't be read at the moment what tenants are entitled to") {
			t.Errorf("nothing is known: %d %s", status, body)
		}
		if status, body := get(t, s.URL+"/ready"); status != 503 {
			t.Errorf("nothing is known: /ready %d %s", status, body)
		}
		store.away.Store(false)
		within(t, inForce, func() (wrong string) { // without a call: the probe has it read
			if status, body := get(t, s.URL+"/ready"); status != 200 {
				return fmt.Sprintf("it does not become ready: %d %s", status, body)
			}
			return ""
		})
		said(t, memory, data(s.Server).Stores.Counters.Announce, entitlement.Event{ID: "1", Source: "shop", Type: entitlement.Suspend, Tenant: "acme"})
		within(t, inForce, func() (wrong string) {
			if status, body := call(); status != 403 {
				return fmt.Sprintf("it is not suspended: %d %s", status, body)
			}
			return ""
		})
		store.away.Store(true)
		said(t, memory, data(s.Server).Stores.Counters.Announce, entitlement.Event{ID: "2", Source: "shop", Type: entitlement.Resume, Tenant: "acme"})
		time.Sleep(inForce)
		if status, body := call(); status != 503 || !strings.Contains(body, "1005") {
			t.Errorf("a call is decided by what has changed since: %d %s", status, body)
		}
		if status, body := get(t, s.URL+"/ready"); status != 503 || !strings.Contains(body, "tenants: what has changed can't be read from the store") {
			t.Errorf("/ready %d %s", status, body)
		}
		store.stalled.Store(true)
		said(t, memory, data(s.Server).Stores.Counters.Announce, entitlement.Event{ID: "3", Source: "shop", Type: entitlement.Suspend, Tenant: "acme"})
		time.Sleep(1200 * time.Millisecond)
		call()
		begun := time.Now()
		s.Close()
		if took := time.Since(begun); took != 100*time.Millisecond { // it waits a moment for the reading that stalls
			t.Errorf("the end waits for %v", took)
		}
		time.Sleep(stall) // until the stalled reading has ended: the bubble waits for it
	})
}

// TestWhatNeedsAStore: what can't be kept or recorded stops the start.
func TestWhatNeedsAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		pay := WithTools(NewTool("pay", "Pays.", func(context.Context, None) (string, error) { return "", nil }, ToolOptions{RequireReceipt: true}))
		for _, c := range []struct {
			pairs []string
			opt   Option
			fault string
		}{
			{[]string{"REDIS_URL", redis.URL, "UNKNOWN_TENANTS", "deny"}, pay, "UNKNOWN_TENANTS: is deny, and there is no store"},
			{[]string{"REDIS_URL", redis.URL}, pay, "RECEIPTS: the tool pay is strict, and nothing is recorded"},
			{[]string{"RECEIPTS", "false"}, pay, "RECEIPTS: the tool pay is strict, and nothing is recorded"},
			{[]string{"REDIS_URL", redis.URL, "TAIEA_TOOLS", "entitlement.apply_event", "WEBHOOK_SECRETS", "shop=whsec_" + testKey(2)}, WithPageSize(10), "TAIEA_TOOLS: names entitlement_apply_event, and there is no store"},
		} {
			s, err := assemble(t.Context(), c.opt, WithLogger(logTo(t)), onNetwork, WithGetenv(env(c.pairs...)))
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%v: %v, want %s", c.pairs, err, c.fault)
			}
		}
	})
}

package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"example.com/erlmcp/function/internal/control"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/tenant"
)

// packedTools are of no pack, of one, and of another.
func packedTools() []Tool {
	say := func(context.Context, None) (string, error) { return "here", nil }
	return []Tool{NewTool("plain", "For all.", say), NewTool("report", "Of a pack.", say, Pack("professional")), NewTool("forecast", "Of another.", say, Pack("science"))}
}

// packed serves them to callers with keys.
func packed(t *testing.T, m *Memory, pairs ...string) (*Server, string) {
	t.Helper()
	s, err := New(t.Context(), WithMemory(m), WithTools(packedTools()...), WithLogger(slog.New(slog.DiscardHandler)),
		WithGetenv(env(append([]string{"AUTHENTICATION", "keys"}, pairs...)...)))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(func() { srv.Close(); s.Close() })
	return s, srv.URL
}

// said has a source say something of a tenant, as the control plane does.
func said(t *testing.T, m *Memory, tell func(context.Context, governor.Versions) error, e tenant.Event) {
	t.Helper()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if err := e.Check(time.Now()); err != nil {
		t.Fatal(err)
	}
	d := tenant.NewDirectory()
	stored, err := m.store.ChangeTenant(t.Context(), e.Tenant, nil, func(x *tenant.Tenant) error {
		x.Apply(&e)
		x.Note(d.Plans, time.Now())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if tell != nil {
		if err := tell(t.Context(), governor.Versions{tenant.VersionName: stored.Revision}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSuspendedEverywhere suspends a tenant that four instances serve, and resumes it.
func TestSuspendedEverywhere(t *testing.T) {
	t.Parallel()
	redis := miniredis.RunT(t)
	memory := NewMemory()
	file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}}, identity.Key{Tenant: "other", Subject: "ci", Scopes: []string{"*"}})
	var urls []string
	var servers []*Server
	for range 4 {
		s, url := packed(t, memory, "API_KEYS_FILE", file, "REDIS_URL", "redis://"+redis.Addr())
		urls, servers = append(urls, url), append(servers, s)
	}
	var refused atomic.Int64
	call := func(i, key int) (int, string) {
		resp, body := modern("tools/call", "plain", `"name":"plain"`).with("Authorization", "Bearer "+keys[key]).send(t, urls[i])
		for end := time.Now().Add(time.Second); resp.StatusCode == 503 && time.Now().Before(end); { // a busy machine's Redis
			resp, body = modern("tools/call", "plain", `"name":"plain"`).with("Authorization", "Bearer "+keys[key]).send(t, urls[i])
		}
		if resp.StatusCode == 403 {
			refused.Add(1)
		}
		return resp.StatusCode, body
	}
	// until calls at every instance until each answers so, and returns how long the slowest took.
	until := func(status int) (slowest time.Duration) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		begun := time.Now()
		for i := range urls {
			wg.Go(func() {
				for {
					got, body := call(i, 0)
					took := time.Since(begun)
					if got == status || took > 5*time.Second {
						mu.Lock()
						slowest = max(slowest, took)
						mu.Unlock()
						if got != status {
							t.Errorf("instance %d still answers %d %s", i, got, body)
						}
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		return slowest
	}
	until(200) // unlisted, and served
	for _, announced := range []bool{true, false} {
		tell := servers[0].parts.counters.Announce
		if !announced { // an announcement that is lost is made up for by the store
			tell = nil
		}
		t.Run(fmt.Sprintf("announced %v", announced), func(t *testing.T) {
			said(t, memory, tell, tenant.Event{ID: "1", Source: "marketplace", Type: tenant.Grant, Tenant: "acme", Plan: "enterprise"})
			said(t, memory, tell, tenant.Event{ID: "2", Source: "marketplace", Type: tenant.Suspend, Tenant: "acme", Reason: "the bill is open"})
			took := until(403)
			if took > 2*time.Second {
				t.Errorf("suspended: the slowest took %v", took)
			}
			if _, body := call(0, 0); !strings.Contains(body, "suspended by marketplace: the bill is open") || !strings.Contains(body, "2001") || !strings.Contains(body, "tenant:acme") {
				t.Errorf("the refusal does not say why: %s", body)
			}
			if status, body := call(1, 1); status != 200 {
				t.Errorf("another tenant: %d %s", status, body)
			}
			said(t, memory, tell, tenant.Event{ID: "3", Source: "marketplace", Type: tenant.Resume, Tenant: "acme"})
			if took := until(200); took > 2*time.Second {
				t.Errorf("resumed: the slowest took %v", took)
			}
		})
	}
	for _, s := range servers {
		s.Close()
	}
	var recorded int64
	for r, err := range receipt.Select(t.Context(), memory.receipts, "acme", time.Time{}, time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Kind == receipt.Refused && r.Limit == "tenant:acme state:refusing" && r.Reason == "not_entitled" {
			recorded += 1 + r.More
		}
	}
	if recorded != refused.Load() {
		t.Errorf("%d refusals, and receipts of %d", refused.Load(), recorded)
	}
}

func TestEntitlements(t *testing.T) {
	memory := NewMemory()
	file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}})
	ten, burst := 10.0, 20.0
	cases := []struct {
		name   string
		events []tenant.Event
		pairs  []string
		tools  string // that are listed, or "" where lists are refused
		status map[string]int
		says   string // of the first that is refused
	}{
		{"unlisted", nil, nil, "forecast plain report", map[string]int{"plain": 200, "report": 200}, ""},
		{"unlisted where they must be", nil, []string{"TENANTS", "listed"}, "", map[string]int{"plain": 403}, "the tenant acme is not known here"},
		{"base", []tenant.Event{{Type: tenant.Grant, Plan: "base"}}, []string{"TENANTS", "listed"}, "plain", map[string]int{"plain": 200, "report": 403}, "report belongs to the pack professional, which the plan base of acme leaves out"},
		{"professional", []tenant.Event{{Type: tenant.Grant, Plan: "professional"}}, nil, "plain report", map[string]int{"plain": 200, "report": 200, "forecast": 403}, "belongs to the pack science"},
		{"professional and a pack", []tenant.Event{{Type: tenant.Grant, Plan: "professional", Packs: []string{"science"}}}, nil, "forecast plain report", map[string]int{"forecast": 200}, ""},
		{"enterprise", []tenant.Event{{Type: tenant.Grant, Plan: "enterprise"}}, nil, "forecast plain report", map[string]int{"forecast": 200}, ""},
		{"revoked", []tenant.Event{{Type: tenant.Grant, Plan: "base"}, {Type: tenant.Revoke, Reason: "the contract has ended"}}, nil, "", map[string]int{"plain": 403}, "revoked by shop: the contract has ended"},
		{"nothing granted yet", []tenant.Event{{Type: tenant.Resume}}, nil, "", map[string]int{"plain": 403}, "nothing has been granted to it yet"},
		{"expired", []tenant.Event{{Type: tenant.Grant, Plan: "base", Expires: time.Now().Add(-48 * time.Hour)}}, nil, "", map[string]int{"plain": 403}, "expired on"},
		{"in grace", []tenant.Event{{Type: tenant.Grant, Plan: "base", Expires: time.Now().Add(-time.Hour)}}, nil, "plain", map[string]int{"plain": 200}, ""},
		{"expires soon", []tenant.Event{{Type: tenant.Grant, Plan: "base", Expires: time.Now().Add(time.Hour)}}, nil, "plain", map[string]int{"plain": 200}, ""},
		{"a plan that is gone", []tenant.Event{{Type: tenant.Grant, Plan: "gold"}}, nil, "", map[string]int{"plain": 403}, `there is no plan \"gold\"`},
		{"limits of its own", []tenant.Event{{Type: tenant.Grant, Plan: "base", Limits: tenant.Limits{PerSecond: &ten, Burst: &burst}}}, nil, "plain", map[string]int{"plain": 200}, ""},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			memory = NewMemory()
			for n, e := range c.events {
				e.ID, e.Source, e.Tenant, e.Time = fmt.Sprint(i, "-", n), "shop", "acme", time.Now().Add(time.Duration(n)*time.Millisecond)
				said(t, memory, nil, e)
			}
			_, url := packed(t, memory, append([]string{"API_KEYS_FILE", file}, c.pairs...)...)
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
	}
}

// TestPlansLimit holds a tenant to the rate of its plan, and to another as soon as that is granted.
func TestPlansLimit(t *testing.T) {
	t.Parallel()
	redis := miniredis.RunT(t)
	memory := NewMemory()
	file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}})
	s, url := packed(t, memory, "API_KEYS_FILE", file, "REDIS_URL", "redis://"+redis.Addr())
	one, two := 0.01, 2.0
	burst := func() (served int, last string) {
		for n := 0; n < 6; n++ {
			resp, body := modern("tools/call", "plain", `"name":"plain"`).with("Authorization", "Bearer "+keys[0]).send(t, url)
			if resp.StatusCode == 200 {
				served++
			} else if strings.Contains(body, `"code":1005`) { // a busy machine's Redis
				n--
				time.Sleep(100 * time.Millisecond)
			} else {
				last = body
			}
		}
		return served, last
	}
	said(t, memory, s.parts.counters.Announce, tenant.Event{ID: "1", Source: "shop", Type: tenant.Grant, Tenant: "acme", Plan: "base", Limits: tenant.Limits{PerSecond: &one, Burst: &two}})
	time.Sleep(2 * time.Second)
	if served, last := burst(); served != 2 || !strings.Contains(last, `"reason":"rate"`) || !strings.Contains(last, `"scope":"tenant:acme"`) {
		t.Errorf("under its own rate %d of 6 are served: %s", served, last)
	}
	said(t, memory, s.parts.counters.Announce, tenant.Event{ID: "2", Source: "shop", Type: tenant.Grant, Tenant: "acme", Plan: "enterprise"})
	time.Sleep(2 * time.Second)
	burst() // what the rate before has left of the burst
	time.Sleep(200 * time.Millisecond)
	if served, last := burst(); served != 6 {
		t.Errorf("in another plan %d of 6 are served: %s", served, last)
	}
}

// TestClockChangesAState lets a grant run out while it is used: each transition is recorded once, by whichever instance saw it.
func TestClockChangesAState(t *testing.T) {
	t.Parallel()
	redis := miniredis.RunT(t)
	memory := NewMemory()
	file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}})
	if _, err := memory.store.ChangePlan(t.Context(), "short", func(p *tenant.Plan) error {
		p.Notice, p.Grace = tenant.Duration(500*time.Millisecond), tenant.Duration(500*time.Millisecond)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	plans := tenant.NewDirectory().Plans
	plans["short"] = &tenant.Plan{Name: "short", Notice: tenant.Duration(500 * time.Millisecond), Grace: tenant.Duration(500 * time.Millisecond)}
	ends := time.Now().Add(1500 * time.Millisecond)
	if _, err := memory.store.ChangeTenant(t.Context(), "acme", nil, func(x *tenant.Tenant) error {
		x.Apply(&tenant.Event{ID: "1", Source: "shop", Type: tenant.Grant, Tenant: "acme", Time: time.Now(), Plan: "short", Expires: ends})
		x.Note(plans, time.Now())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	var urls []string
	var servers []*Server
	for range 3 {
		s, url := packed(t, memory, "API_KEYS_FILE", file, "REDIS_URL", "redis://"+redis.Addr())
		urls, servers = append(urls, url), append(servers, s)
	}
	for i := 0; time.Since(ends) < time.Second; i++ {
		before := time.Now()
		resp, body := modern("tools/call", "plain", `"name":"plain"`).with("Authorization", "Bearer "+keys[0]).send(t, urls[i%3])
		grace := ends.Add(500 * time.Millisecond)
		if strings.Contains(body, `"code":1005`) {
			continue // a busy machine's Redis
		}
		if before.After(grace) && resp.StatusCode != 403 || time.Now().Before(grace) && resp.StatusCode != 200 {
			t.Fatalf("%v before its grace ends: %d %s", time.Until(grace), resp.StatusCode, body)
		}
		time.Sleep(5 * time.Millisecond)
	}
	for _, s := range servers {
		s.Close()
	}
	var found []receipt.Receipt
	for r, err := range receipt.Select(t.Context(), memory.receipts, "acme", begun.Add(-time.Minute), time.Now().Add(time.Minute)) {
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
}

// TestManyTransitionsAtOnce has a thousand tenants expire in a store that does not answer: they take one goroutine and none of the
// plans, and the end does not wait for them.
func TestManyTransitionsAtOnce(t *testing.T) {
	memory := NewMemory()
	for i := range 1000 {
		if _, err := memory.store.ChangeTenant(t.Context(), fmt.Sprint("t", i), nil, func(x *tenant.Tenant) error {
			x.Apply(&tenant.Event{Source: "shop", Type: tenant.Grant, Time: time.Now(), Plan: "base"})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	store := &mute{Store: memory.store, asked: make(chan string, 1000)}
	logger := slog.New(slog.DiscardHandler)
	e := openEntitled(&parts{tenants: store, keys: memory.store}, nil, logger)
	j, err := receipt.Open(receipt.Options{Instance: "i", Store: memory.receipts})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close(t.Context())
	e.record(control.NewEntitlements(control.EntitlementOptions{Tenants: store, Journal: j, Logger: logger}), j)
	d := e.directory.Get(t.Context(), time.Now())
	if d == nil || len(d.Tenants) != 1000 {
		t.Fatalf("the directory is %+v", d)
	}
	before := runtime.NumGoroutine()
	for id := range d.Tenants {
		e.note(id)
	}
	<-store.asked
	if n := runtime.NumGoroutine() - before; n > 2 {
		t.Errorf("a thousand transitions have %d goroutines more", n)
	}
	if n := len(e.queue); n != mostNoting && n != mostNoting-1 {
		t.Errorf("%d tenants wait, want %d", n, mostNoting)
	}
	begun := time.Now()
	e.close()
	if took := time.Since(begun); took > time.Second {
		t.Errorf("the end took %v", took)
	}
	if n := store.plans.Load(); n > 0 {
		t.Errorf("the plans were read %d times", n)
	}
}

// mute is a store that does not answer for a tenant.
type mute struct {
	tenant.Store
	asked chan string
	plans atomic.Int64
}

func (m *mute) Tenant(ctx context.Context, id string) (*tenant.Tenant, error) {
	m.asked <- id
	<-ctx.Done()
	return nil, ctx.Err()
}

func (m *mute) Plans(ctx context.Context) ([]*tenant.Plan, error) {
	m.plans.Add(1)
	return m.Store.Plans(ctx)
}

// TestKeysOfTheStore makes and revokes API keys while two instances run.
func TestKeysOfTheStore(t *testing.T) {
	t.Parallel()
	redis := miniredis.RunT(t)
	memory := NewMemory()
	file, _ := keyFile(t) // without a key
	var urls []string
	for range 2 {
		_, url := packed(t, memory, "API_KEYS_FILE", file, "REDIS_URL", "redis://"+redis.Addr())
		urls = append(urls, url)
	}
	call := func(i int, key string) int {
		resp, _ := modern("tools/call", "plain", `"name":"plain"`).with("Authorization", "Bearer "+key).send(t, urls[i])
		return resp.StatusCode
	}
	until := func(key string, status int) {
		t.Helper()
		for i := range urls {
			begun := time.Now()
			for call(i, key) != status {
				if time.Since(begun) > 2*time.Second {
					t.Fatalf("instance %d does not answer %d within 2 s", i, status)
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
	}
	text, key := NewKey(Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}, Created: time.Now()})
	if call(0, text) != 401 {
		t.Fatal("a key that no one has made is good")
	}
	if _, err := memory.store.AddKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	until(text, 200)
	if _, err := memory.store.ChangeKey(t.Context(), key.ID, func(k *Key) error { k.Revoked = time.Now(); return nil }); err != nil {
		t.Fatal(err)
	}
	until(text, 401)
}

// absent is a tenant store that can be taken away, or stalled.
type absent struct {
	tenant.Store
	away, stalled atomic.Bool
}

func (s *absent) Changes(ctx context.Context, since int64) (*tenant.Changes, error) {
	if s.stalled.Load() {
		time.Sleep(5 * time.Second) // as a transaction of Firestore's library may, whatever its context
	}
	if s.away.Load() {
		return nil, errors.New("the store is away")
	}
	return s.Store.Changes(ctx, since)
}

// TestStoreOfTenantsAway starts an instance while tenants can't be read: it is not ready, and refuses; what was known stays in force
// later, and a stalled reading does not hold up the end.
func TestStoreOfTenantsAway(t *testing.T) {
	t.Parallel()
	redis := miniredis.RunT(t)
	memory := NewMemory()
	file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}})
	store := &absent{Store: memory.store}
	store.away.Store(true)
	s, err := New(t.Context(), WithMemory(memory), WithTools(packedTools()...), WithLogger(slog.New(slog.DiscardHandler)),
		WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", file, "REDIS_URL", "redis://"+redis.Addr())),
		func(o *options) { o.tenants = func(tenant.Store) tenant.Store { return store } })
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	defer srv.Close()
	call := func() (int, string) {
		resp, body := modern("tools/call", "plain", `"name":"plain"`).with("Authorization", "Bearer "+keys[0]).send(t, srv.URL)
		return resp.StatusCode, body
	}
	if status, body := call(); status != 503 || !strings.Contains(body, "it can't be read at the moment what tenants are entitled to") {
		t.Errorf("nothing is known: %d %s", status, body)
	}
	if status, body := get(t, srv.URL+"/ready"); status != 503 {
		t.Errorf("nothing is known: /ready %d %s", status, body)
	}
	store.away.Store(false)
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) { // without a call: the probe has it read
		if status, _ := get(t, srv.URL+"/ready"); status == 200 {
			break
		}
		if time.Since(begun) > 5*time.Second {
			t.Fatal("it does not become ready")
		}
	}
	said(t, memory, s.parts.counters.Announce, tenant.Event{ID: "1", Source: "shop", Type: tenant.Suspend, Tenant: "acme"})
	for begun := time.Now(); time.Since(begun) < 3*time.Second; time.Sleep(50 * time.Millisecond) {
		if status, _ := call(); status == 403 {
			break
		}
	}
	store.away.Store(true)
	said(t, memory, s.parts.counters.Announce, tenant.Event{ID: "2", Source: "shop", Type: tenant.Resume, Tenant: "acme"})
	time.Sleep(time.Second)
	if status, body := call(); status != 403 {
		t.Errorf("what was known does not stay in force: %d %s", status, body)
	}
	if status, body := get(t, srv.URL+"/ready"); status != 200 || !strings.Contains(body, "tenants: the store can't be read; what was known stays in force") {
		t.Errorf("/ready %d %s", status, body)
	}
	store.stalled.Store(true)
	said(t, memory, s.parts.counters.Announce, tenant.Event{ID: "3", Source: "shop", Type: tenant.Suspend, Tenant: "acme"})
	time.Sleep(1200 * time.Millisecond)
	call()
	begun := time.Now()
	s.Close()
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("the end waits for %v", took)
	}
}

// TestWhatNeedsAStore: what can't be kept or recorded stops the start.
func TestWhatNeedsAStore(t *testing.T) {
	redis := miniredis.RunT(t)
	pay := WithTools(NewTool("pay", "Pays.", func(context.Context, None) (string, error) { return "", nil }, Strict()))
	for _, c := range []struct {
		pairs []string
		opt   Option
		fault string
	}{
		{[]string{"REDIS_URL", "redis://" + redis.Addr(), "TENANTS", "listed"}, pay, "TENANTS: is listed, and there is no store"},
		{[]string{"REDIS_URL", "redis://" + redis.Addr()}, pay, "RECEIPTS: the tool pay is strict, and nothing is recorded"},
		{[]string{"RECEIPTS", "false"}, pay, "RECEIPTS: the tool pay is strict, and nothing is recorded"},
		{[]string{"REDIS_URL", "redis://" + redis.Addr(), "TAIEA_TOOLS", "entitlement.apply_event", "WEBHOOK_SECRETS", "shop=whsec_" + testKey(2)}, WithPageSize(10), "TAIEA_TOOLS: names entitlement.apply_event, and there is no store"},
	} {
		s, err := New(t.Context(), c.opt, WithLogger(slog.New(slog.DiscardHandler)), WithGetenv(env(c.pairs...)))
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%v: %v, want %s", c.pairs, err, c.fault)
		}
	}
}

package function

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/erlmcp/function/internal/app/controlplane"
	"example.com/erlmcp/function/internal/fleet"
	"example.com/erlmcp/function/internal/identity"
)

// TestInstancesThatAreGone are forgotten, and so is what can't be read. Where it can't be taken down, the list is as good.
func TestInstancesThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		file, _ := keyFile(t)
		s := packed(t, NewInMemoryStore(), "REDIS_URL", redis.URL, "API_KEYS_FILE", file)
		const board = "{erlmcp}:fleet"
		put := func(name string, ago time.Duration) {
			redis.HSet(board, name, fmt.Sprintf(`{"name":%q,"seen":%q}`, name, time.Now().Add(-ago).Format(time.RFC3339)))
		}
		put("lives", time.Minute)
		put("killed", time.Hour)
		redis.HSet(board, "odd", "{")
		var refuses atomic.Bool
		redis.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
			if refuses.Load() && strings.EqualFold(cmd, "HDEL") {
				c.WriteError("READONLY You can't write against a read only replica.")
				return true
			}
			return false
		})
		p := data(s.Server)
		o := controlplane.NewFleet(p.Config, p.Catalog(), p.Stores)
		for _, c := range []struct {
			what    string
			refuses bool
			want    string
			left    bool // of what is old, on the board
		}{
			{"can't be taken down", true, "lives odd", true},
			{"is taken down", false, "lives odd", false},
			{"is gone", false, "lives", false},
		} {
			refuses.Store(c.refuses)
			all, err := o.Instances(t.Context())
			var names []string
			for _, i := range all {
				if i.Name != p.Instance {
					names = append(names, i.Name)
				}
			}
			if got := strings.Join(names, " "); err != nil || got != c.want {
				t.Errorf("%s: %q %v, want %q", c.what, got, err, c.want)
			}
			for _, name := range []string{"killed", "odd"} {
				if left := redis.HGet(board, name) != ""; left != c.left {
					t.Errorf("%s: %s is on the board: %t", c.what, name, left)
				}
			}
		}
	})
}

// TestWhatInstancesServe has instances come while others read what is served, and notes that can't be read: no catalog of an instance that
// runs is taken down, and the others are known.
func TestWhatInstancesServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		const fleet, catalogs = "{erlmcp}:fleet", "{erlmcp}:catalogs"
		var mu sync.Mutex
		var puts []string
		var between func() // of the two readings
		readings := 0
		redis.Server().SetPreHook(func(_ *server.Peer, cmd string, args ...string) bool {
			mu.Lock()
			defer mu.Unlock()
			board := len(args) > 0 && (args[0] == fleet || args[0] == catalogs)
			switch {
			case strings.EqualFold(cmd, "HSET") && board:
				puts = append(puts, args[0])
			case strings.EqualFold(cmd, "HGETALL") && board:
				if readings++; readings == 2 && between != nil {
					between()
				}
			}
			return false
		})
		file, _ := keyFile(t)
		s := packed(t, NewInMemoryStore(), "REDIS_URL", redis.URL, "API_KEYS_FILE", file)
		time.Sleep(time.Second)
		mu.Lock()
		if len(puts) != 2 || puts[0] != fleet {
			t.Errorf("an instance that comes puts up %v", puts)
		}
		readings = 0
		put := func(name, catalog, content string) {
			redis.HSet(fleet, name, fmt.Sprintf(`{"name":%q,"catalog":%q,"seen":%q}`, name, catalog, time.Now().Format(time.RFC3339)))
			redis.HSet(catalogs, catalog, content)
		}
		between = func() { put("comes", "new", `{"Scopes":["tool:new"]}`) }
		mu.Unlock()
		p := data(s.Server)
		o := controlplane.NewFleet(p.Config, p.Catalog(), p.Stores)
		if _, all, err := o.Running(t.Context()); err != nil || all == nil || !slices.Contains(all.Scopes, "tool:plain") {
			t.Errorf("%+v %v", all, err)
		}
		if o.Known("tool:new") == "" || o.Known("tool:plain") == "" || o.Known("tool:none") != "" {
			t.Error("what an instance serves that came meanwhile is not known")
		}

		put("odd", "odd", "{")
		redis.HSet(catalogs, "old", `{"Scopes":["tool:old"]}`)
		instances, all, err := o.Running(t.Context())
		if err == nil || !strings.Contains(err.Error(), "odd") || len(instances) != 3 || all == nil || !slices.Contains(all.Scopes, "tool:new") {
			t.Errorf("one can't be read: %d instances, %+v %v", len(instances), all, err)
		}
		if o.Known("tool:new") == "" || o.Known("tool:plain") == "" || o.Known("tool:old") != "" {
			t.Error("one can't be read, and what the others serve is not known")
		}
		if redis.HGet(catalogs, "odd") == "" || redis.HGet(catalogs, "old") != "" {
			t.Error("what an instance serves is taken down, or what none does is not")
		}
	})
}

// TestControlPlaneCleansUp has an instance be killed whose catalog no other one has. Nobody asks for either.
func TestControlPlaneCleansUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		controlled(t, 1, "REDIS_URL", redis.URL)
		time.Sleep(time.Second)
		redis.HSet("{erlmcp}:catalogs", "old", `{}`)
		redis.HSet("{erlmcp}:fleet", "killed", fmt.Sprintf(`{"name":"killed","catalog":"old","seen":%q}`, time.Now().Add(-fleet.ForgetAfter).Format(time.RFC3339)))
		time.Sleep(time.Minute + fleet.AnnounceEvery)
		if redis.HGet("{erlmcp}:fleet", "killed") != "" || redis.HGet("{erlmcp}:catalogs", "old") != "" {
			t.Error("they are still there")
		}
		if keys, err := redis.HKeys("{erlmcp}:catalogs"); err != nil || len(keys) != 1 {
			t.Errorf("catalogs %v %v", keys, err)
		}
	})
}

// TestCallable has instances say what the tenants of their callers can be, and the control plane warn by that.
func TestCallable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		memory := NewInMemoryStore()
		operators, texts := keyFile(t, identity.Key{Tenant: "ops", Subject: "alice", Scopes: []string{"taiea:admin"}})
		taiea := start(t, WithMemory(memory), WithGetenv(env("FUNCTION_TARGET", "taiea", "AUTHENTICATION", "keys", "API_KEYS_FILE", operators, "REDIS_URL", redis.URL)))
		time.Sleep(3 * time.Second)
		grants := 0
		warned := func(tenant string) bool {
			grants++
			status, got := order(t, "PUT", fmt.Sprintf("%s/v1/tenants/%s%d", taiea.URL, tenant, grants), texts[0], `{"plan":"base","expires":"2099-01-01T00:00:00Z"}`, "If-None-Match", "*")
			if status != 201 {
				t.Fatalf("%d %s", status, got)
			}
			return strings.Contains(got, "no caller can be the tenant")
		}
		if warned("acme") {
			t.Error("a warning without an instance that calls reach")
		}
		server := start(t, WithMemory(memory), WithGetenv(env("AUTHENTICATION", "google,oauth", "GOOGLE_DOMAINS", "acme.example", "PUBLIC_URL", "https://mcp.example", "OAUTH_ISSUERS", "https://login.example/a",
			"OAUTH_TENANT_CLAIM", "org", "TENANT_MAP", "google:acme.example=acme7", "REDIS_URL", redis.URL)))
		time.Sleep(3 * time.Second)
		for tenant, want := range map[string]bool{"acme": true, "google:acme": false, "login.example_a:acme": false, "login.example:acme": true, "iap:acme": true} {
			if got := warned(tenant); got != want {
				t.Errorf("%s: a warning: %t, want %t", tenant, got, want)
			}
		}
		if got := fmt.Sprint(data(server.Server).Self().Tenants); got != "[acme7 google:* login.example_a:*]" {
			t.Errorf("the instance says %s", got)
		}
		redis.HSet("{erlmcp}:fleet", "old", fmt.Sprintf(`{"name":"old","seen":%q}`, time.Now().Format(time.RFC3339)))
		if warned("acme") {
			t.Error("a warning, though an instance does not say whom it serves")
		}
	})
}

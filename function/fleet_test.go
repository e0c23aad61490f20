package function

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/erlmcp/function/internal/identity"
)

// TestInstancesThatAreGone are forgotten, and so is what can't be read. Where it can't be taken down, the list is as good.
func TestInstancesThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		file, _ := keyFile(t)
		s := packed(t, NewMemory(), "REDIS_URL", redis.URL, "API_KEYS_FILE", file)
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
		o := &Operator{parts: s.parts}
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
				if i.Name != s.instance {
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

// TestCallable has instances say what the tenants of their callers can be, and the control plane warn by that.
func TestCallable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		memory := NewMemory()
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
		if got := fmt.Sprint(server.self().Tenants); got != "[acme7 google:* login.example_a:*]" {
			t.Errorf("the instance says %s", got)
		}
		redis.HSet("{erlmcp}:fleet", "old", fmt.Sprintf(`{"name":"old","seen":%q}`, time.Now().Format(time.RFC3339)))
		if warned("acme") {
			t.Error("a warning, though an instance does not say whom it serves")
		}
	})
}

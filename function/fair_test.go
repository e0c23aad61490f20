package function

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/identity"
)

// TestNoTenantCrowdsOutAnother has a tenant ask for far more than there is, on a fleet of two, and another now and then: the one that asks
// less than its share has what it asks for. Operators are told, and what they are told to do is accepted.
func TestNoTenantCrowdsOutAnother(t *testing.T) {
	wait := func(context.Context, None) (string, error) {
		time.Sleep(300 * time.Millisecond) // in a bubble
		return "here", nil
	}
	for _, c := range []struct {
		name string
		env  []string
		tool Tool
	}{
		{"a rate on everything", []string{"RATE_LIMIT_PER_SECOND", "20"}, quick("quick")},
		{"a rate without a burst", []string{"RATE_LIMIT_PER_SECOND", "10"}, quick("quick")},
		{"calls at a time on everything", []string{"MAX_CONCURRENT_CALLS", "4"}, NewTool("quick", "Waits.", wait)},
		{"calls at a time of the tool", nil, NewTool("quick", "Waits.", wait, ToolOptions{MaxConcurrent: 4})},
		{"a rate of the tool", nil, quick("quick", ToolOptions{PerSecond: 20})},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				redis := network.Redis(t)
				file, keys := keyFile(t, identity.Key{Tenant: "loud", Subject: "ci", Scopes: []string{"*"}}, identity.Key{Tenant: "calm", Subject: "ci", Scopes: []string{"*"}})
				set := append([]string{"AUTHENTICATION", "keys", "API_KEYS_FILE", file, "REDIS_URL", redis.URL}, c.env...)
				var fleet []testServer
				for range 2 {
					fleet = append(fleet, newServer(t, WithTools(c.tool), WithGetenv(env(set...)), WithMemory(NewInMemoryStore())))
				}
				const each = 20
				var mu sync.Mutex
				var served [2]int
				var calls sync.WaitGroup
				call := func(tenant, n int) {
					calls.Go(func() {
						_, body := modern("tools/call", "quick", `"name":"quick"`).with("Authorization", "Bearer "+keys[tenant]).send(t, fleet[n%2].URL)
						if strings.Contains(body, `"here"`) {
							mu.Lock()
							served[tenant]++
							mu.Unlock()
						}
					})
				}
				for n := range each * 25 {
					call(0, n)
					if n%25 == 12 {
						call(1, n/25)
					}
					time.Sleep(20 * time.Millisecond)
				}
				calls.Wait()
				t.Logf("%d of %d and %d of %d", served[0], each*25, served[1], each)
				if served[1] < 18 {
					t.Errorf("of the calls of one that asks for less than its share %d of %d are served", served[1], each)
				}
				if served[0] < 60 {
					t.Errorf("of the other's only %d", served[0])
				}
				if said := fmt.Sprint(data(fleet[0].Server).Degraded()); !strings.Contains(said, "several tenants asked for more than the limit on ") || !strings.Contains(said, "erlmcp limits each-tenant -per-second N") {
					t.Errorf("operators are told %s", said)
				}
			})
		})
	}
}

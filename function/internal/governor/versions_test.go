package governor_test

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
)

// versioned is a store with versions, away when the fleet's store is.
type versioned struct {
	*fleet
	mu sync.Mutex
	at directives.Versions
}

func (v *versioned) set(name string, version int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at[name] = version
}

func (v *versioned) Versions(context.Context) (directives.Versions, error) {
	if err := v.stored(); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.at), nil
}

// versionOf is what an instance has heard; -1 is that it does not know.
func versionOf(t *testing.T, g *governor.Governor, name string) int64 {
	version, known := g.Version(t.Context(), name)
	if !known {
		return -1
	}
	return version
}

// TestVersionsAreHeardEverywhere changes what the store keeps, announced and not, with the counters and without them.
func TestVersionsAreHeardEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		store := &versioned{fleet: f, at: directives.Versions{"keys": 3}}
		var fleet []*governor.Governor
		for i := range 4 {
			fleet = append(fleet, f.with(t, fmt.Sprint("n", i), store))
		}
		heard := func(what string, version int64, most time.Duration) {
			t.Helper()
			var wg sync.WaitGroup
			for i, g := range fleet {
				wg.Go(func() {
					begin := time.Now()
					for versionOf(t, g, "tenants") != version {
						if time.Since(begin) > most {
							t.Errorf("%s: instance %d has not heard after %v: %d", what, i, most, versionOf(t, g, "tenants"))
							return
						}
						time.Sleep(20 * time.Millisecond)
					}
				})
			}
			wg.Wait()
		}
		heard("at first", 0, time.Second)
		if v := versionOf(t, fleet[0], "keys"); v != 3 {
			t.Errorf("what there was before is at %d", v)
		}
		before := fleet[1].Refresh(t.Context())
		store.set("tenants", 10)
		heard("in the store alone", 10, 2*time.Second)
		store.set("tenants", 11)
		if err := f.Announce(t.Context(), directives.Versions{"tenants": 11}); err != nil {
			t.Fatal(err)
		}
		heard("announced", 11, 700*time.Millisecond)
		if fleet[1].Refresh(t.Context()) != before {
			t.Error("orders that have not changed are others")
		}
		if err := f.Announce(t.Context(), directives.Versions{"tenants": 9}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		heard("an older one announced", 11, 0)
		f.restartEmpty()
		time.Sleep(5 * time.Second)
		heard("after the counters were lost", 11, 0)
		f.set(func() { f.down = true })
		store.set("tenants", 12)
		heard("without the counters", 12, 2*time.Second)
		f.set(func() { f.down, f.lost = false, true })
		if err := f.Announce(t.Context(), directives.Versions{"tenants": 13}); err != nil {
			t.Fatal(err)
		}
		heard("without the store", 13, 2*time.Second)
		for _, g := range fleet {
			g.Refresh(t.Context())
		}
		f.set(func() { f.lost = false })
		time.Sleep(10 * time.Second) // no one calls
		if err := f.Announce(t.Context(), directives.Versions{"tenants": 14}); err != nil {
			t.Fatal(err)
		}
		if v := versionOf(t, fleet[3], "tenants"); v != 14 {
			t.Errorf("the first call after a sleep knows %d", v)
		}
	})
}

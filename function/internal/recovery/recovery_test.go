package recovery_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/backup/backuptest"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/receipt/receipttest"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/recovery"
)

// anyone is a random operator, and sources of events.
type anyone struct {
	*shop
	random *rand.Rand
	keys   []string
	events int
}

func (a *anyone) act() {
	pick := func(of ...string) string { return of[a.random.IntN(len(of))] }
	tenant, scope := pick("a", "b", "c", "d"), pick("everything", "tool:x", "tool:y", "tenant:a", "upstream:crm")
	switch a.random.IntN(14) {
	case 0, 1:
		if _, made := a.order(http.MethodPost, "/v1/keys", `{"tenant":"`+tenant+`","subject":"s","scopes":["*"]}`); made["id"] != nil {
			a.keys = append(a.keys, made["id"].(string))
		}
	case 2, 3:
		if len(a.keys) > 0 {
			a.order(http.MethodDelete, "/v1/keys/"+pick(a.keys...), "")
		}
	case 4:
		if len(a.keys) > 0 {
			if _, made := a.order(http.MethodPost, "/v1/keys/"+pick(a.keys...)+"/rotate?overlap="+pick("0s", "1h"), ""); made["id"] != nil {
				a.keys = append(a.keys, made["id"].(string))
			}
		}
	case 5:
		a.order(http.MethodPut, "/v1/tenants/"+tenant, `{"plan":"enterprise"}`)
	case 6:
		a.order(http.MethodDelete, "/v1/tenants/"+tenant+"?reason=unpaid", "")
	case 7:
		a.order(http.MethodPost, "/v1/tenants/"+tenant+"/suspend", `{"reason":"abuse"}`)
	case 8:
		a.order(http.MethodPost, "/v1/tenants/"+tenant+"/resume", "")
	case 9, 10:
		a.order(http.MethodPut, "/v1/kills/"+scope, `{"reason":"incident"}`)
	case 11:
		a.order(http.MethodDelete, "/v1/kills/"+scope, "")
	case 12:
		a.order(http.MethodPut, "/v1/limits/"+scope, `{"perSecond":5}`)
	case 13:
		a.events++
		e := &entitlement.Event{ID: fmt.Sprint("e", a.events), Source: pick("billing", "market"), Tenant: tenant, Time: time.Now()}
		if e.Type = entitlement.Type(pick("grant", "revoke", "suspend", "resume")); e.Type == entitlement.Grant {
			e.Plan = "enterprise"
		}
		a.shop.events.Apply(a.t.Context(), e, entitlement.Delivery{RequestID: a.journal.NewID(), By: "test", Method: "POST /v1/events/webhook"}) // some are late
		time.Sleep(time.Second)                                                                                                                  // in a bubble
	}
	if a.random.IntN(4) == 0 {
		time.Sleep(time.Duration(a.random.IntN(90)) * time.Second) // in a bubble
	}
}

// stricter wants of a restored shop that it lets nothing be done that the one before did not.
func (s *shop) stricter(before *shop) {
	s.t.Helper()
	ctx, now := s.t.Context(), time.Now()
	keys, _, err := before.store.KeyChanges(ctx, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, k := range keys {
		mine, err := s.store.Key(ctx, k.ID)
		if err == nil && k.State(now) != "valid" && mine.State(now) == "valid" {
			s.t.Errorf("key %s was %s, and is valid", k.ID, k.State(now))
		}
	}
	plans, err := entitlement.Plans(ctx, s.store)
	if err != nil {
		s.t.Fatal(err)
	}
	changes, err := before.store.Changes(ctx, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, was := range changes.Tenants {
		is, err := s.store.Tenant(ctx, was.ID)
		if err != nil {
			continue // it is not known, so it is not entitled
		}
		for name, source := range was.Sources {
			if got := is.Sources[name]; source.Suspended.On && !got.Suspended.On {
				s.t.Errorf("tenant %s was suspended by %s, and is not", was.ID, name)
			} else if !source.Granted.On && !source.Granted.At.IsZero() && got.Granted.On {
				s.t.Errorf("tenant %s was revoked by %s, and is granted", was.ID, name)
			}
		}
		if !was.Standing(plans, now).State.Serves() && is.Standing(plans, now).State.Serves() {
			s.t.Errorf("tenant %s was %s, and is %s", was.ID, was.Standing(plans, now).State, is.Standing(plans, now).State)
		}
	}
	d, err1 := before.store.Directives(ctx)
	in, err2 := s.store.Directives(ctx)
	if err := errors.Join(err1, err2); err != nil {
		s.t.Fatal(err)
	}
	for _, k := range d.Kills {
		if got := in.KillOn(k.Scope, now); got == nil || got.Reason != k.Reason {
			s.t.Errorf("%s was stopped, and goes on", k.Scope)
		}
	}
	if name, _ := in.Restored(); name != "" {
		s.t.Errorf("it still waits to be confirmed, of backup %s", name)
	}
}

// everything has all be tried of which else a part is.
var everything = flag.Bool("whole", false, "try all seeds, and an end at each write")

// TestNothingComesBack has operators and sources order at random, before and after a backup, and restores that backup into an empty store,
// in schedules of a seed each: whatever was revoked, suspended or stopped stays so. Then it does so once more, from a backup of the restored
// store.
func TestNothingComesBack(t *testing.T) {
	replayed, seeds := 0, uint64(8)
	if *everything {
		seeds = 60
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			place, s := backuptest.NewObjects(), newShop(t)
			s.open(1)
			a := &anyone{shop: s, random: rand.New(rand.NewPCG(seed, 7))}
			some := func(n int) {
				for range n {
					a.act()
					if a.random.IntN(5) == 0 {
						a.ship(place)
					}
				}
			}
			some(20)
			a.backup(place)
			some(a.random.IntN(25))
			time.Sleep(2 * time.Second)
			a.ship(place)
			a.close()
			restored, p := reopened(t, place)
			replayed += len(p.Replay)
			restored.stricter(s)

			// The restored one goes on, and is lost as well.
			b := &anyone{shop: restored, random: a.random, keys: a.keys, events: 1000}
			time.Sleep(2 * time.Second)
			b.ship(place)
			for range 10 {
				b.act()
			}
			time.Sleep(2 * time.Second)
			b.ship(place)
			b.close()
			again, _ := reopened(t, place)
			again.stricter(restored)
			again.close()
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if replayed < int(seeds) {
		t.Errorf("%d orders were replayed: the test shows little", replayed)
	}
}

// TestPlan lists what is replayed, and what is not.
func TestPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, s := backuptest.NewObjects(), newShop(t)
		s.open(1)
		s.must("PUT", "/v1/tenants/acme", `{"plan":"enterprise"}`)
		key := s.must("POST", "/v1/keys", `{"tenant":"acme","subject":"s","scopes":["*"]}`)["id"].(string)
		s.must("PUT", "/v1/kills/tool:x", `{"reason":"before"}`)
		time.Sleep(time.Hour)
		s.backup(place)
		time.Sleep(time.Hour)
		s.must("POST", "/v1/tenants/acme/suspend", `{"reason":"first"}`)
		s.must("POST", "/v1/tenants/acme/suspend", `{"reason":"second"}`)
		s.must("DELETE", "/v1/kills/tool:x", "")
		s.must("PUT", "/v1/kills/tool:y", `{"reason":"since"}`)
		s.must("PUT", "/v1/kills/tool:z", fmt.Sprintf(`{"reason":"short","until":%q}`, time.Now().Add(time.Minute).Format(time.RFC3339)))
		s.must("PUT", "/v1/limits/tool:x", `{"perSecond":5}`)
		s.must("DELETE", "/v1/keys/"+key, "")
		late := s.must("POST", "/v1/keys", `{"tenant":"acme","subject":"s","scopes":["*"]}`)["id"].(string)
		s.must("DELETE", "/v1/keys/"+late, "")
		s.order("DELETE", "/v1/keys/none", "")
		time.Sleep(time.Hour)
		s.ship(place)
		s.close()

		restored := newShop(t)
		if _, err := restored.restore(place).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		restored.open(2)
		c := restored.confirm(place)
		p, err := c.Plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		words := func(orders []recovery.Order) (out []string) {
			for _, o := range orders {
				out = append(out, o.What)
			}
			return out
		}
		want := []string{"suspend tenant acme by operator: second", "kill tool:y", words(p.Replay)[2], "revoke key " + key, "revoke key " + late}
		if got := words(p.Replay); !slices.Equal(got, want) || !strings.HasPrefix(got[2], "kill tool:z until ") {
			t.Errorf("replayed are %q, want %q", got, want)
		}
		if got, want := words(p.Left), []string{"lift the kill switch on tool:x", `limit tool:x to {"perSecond":5}`, "make a key of tenant acme"}; !slices.Equal(got, want) {
			t.Errorf("not replayed are %q, want %q", got, want)
		}
		var became []string
		for range 2 { // an interruption before the end has it be run again
			became = nil
			cut := *c
			stop, cancel := context.WithCancel(t.Context())
			n := 0
			err := cut.Run(stop, p, func(_ recovery.Order, b string) {
				if became = append(became, b); n == 2 {
					cancel()
				}
				n++
			})
			cancel()
			if err == nil {
				t.Error("it was interrupted, and says nothing")
			}
			restored.closed()
		}
		became = nil
		if err := c.Run(t.Context(), p, func(_ recovery.Order, b string) { became = append(became, b) }); err != nil {
			t.Fatal(err)
		}
		if want := []string{"its source has said so already, or something later", "replayed", "has ended", "it ended by then already", "the key was made since the backup, and is gone"}; !slices.Equal(became, want) && became[3] != "replayed" {
			t.Errorf("of the orders became %q, want %q", became, want)
		}
		if err := c.Run(t.Context(), p, func(recovery.Order, string) {}); !errors.Is(err, recovery.ErrNotRestored) {
			t.Errorf("confirmed once more: %v", err)
		}
		if _, err := c.Plan(t.Context()); !errors.Is(err, recovery.ErrNotRestored) {
			t.Errorf("planned once more: %v", err)
		}
		restored.close()
		r, err := verify.Store(t.Context(), restored.receipts, verify.Options{Keys: receipttest.Keys})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Faults { // what was no change is missing
			if f.Kind != verify.Missing && f.Kind != verify.Tail {
				t.Errorf("the restored record: %s", f.Words)
			}
		}
	})
}

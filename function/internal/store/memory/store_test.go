package memory

import (
	"errors"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/directives/directivestest"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/entitlement/entitlementtest"
	"example.com/erlmcp/function/internal/governor/governortest"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/identity/identitytest"
)

var _ directives.VersionStore = (*Store)(nil)

func TestStore(t *testing.T)      { governortest.TestStore(t, New()) }
func TestDirectives(t *testing.T) { directivestest.TestStore(t, New()) }
func TestTenants(t *testing.T)    { entitlementtest.TestStore(t, New()) }
func TestKeys(t *testing.T)       { identitytest.TestKeyStore(t, New()) }

func TestVersions(t *testing.T) {
	s, ctx := New(), t.Context()
	made, err := s.ChangeTenant(ctx, "acme", nil, func(*entitlement.Tenant) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if v, err := s.Versions(ctx); err != nil || v["tenants"] != made.Revision || v["keys"] != 0 {
		t.Errorf("versions %v, %v", v, err)
	}
	k, err := s.AddKey(ctx, identity.Key{ID: "aaaaaaaa"})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := s.Versions(ctx); err != nil || v["tenants"] != made.Revision || v["keys"] != k.Revision {
		t.Errorf("versions %v, %v", v, err)
	}
}

// TestEventsAreForgotten lets two months pass.
func TestEventsAreForgotten(t *testing.T) {
	s, now := New(), time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	s.now = func() time.Time { return now }
	apply := func(id string) error {
		_, err := s.ChangeTenant(t.Context(), "acme", &entitlement.Event{ID: id, Source: "market"}, func(*entitlement.Tenant) error { return nil })
		return err
	}
	if err := errors.Join(apply("1"), apply("2")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(60 * 24 * time.Hour)
	if err := apply("3"); err != nil {
		t.Fatal(err)
	}
	if err := apply("1"); !errors.Is(err, entitlement.ErrSeen) {
		t.Errorf("after sixty days: %v", err)
	}
	now = now.Add(time.Second)
	if err := errors.Join(apply("4"), apply("1")); err != nil {
		t.Errorf("later: %v", err)
	}
	if len(s.events.seen) != 3 || len(s.events.order) != 3 {
		t.Errorf("%d events are remembered, in %d places", len(s.events.seen), len(s.events.order))
	}
}

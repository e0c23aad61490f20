// Package directivestest holds the suite that every [directives.Store] must pass.
package directivestest

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/directives"
)

// TestStore wants of an empty store what the writer relies on.
func TestStore(t *testing.T, s directives.Store) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if d, err := s.Directives(ctx); err != nil || !reflect.DeepEqual(d, directives.Directives{}) {
		t.Fatalf("a new store has the directives %+v, %v", d, err)
	}
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	rate := 2.5
	want := directives.Directives{
		Kills:  []directives.Kill{{Scope: "tool:search", Reason: "leaks", At: at, Until: at.Add(time.Hour)}},
		Limits: []directives.Override{{Scope: "tool:search", Limits: directives.Limits{PerSecond: &rate}}},
	}
	got, err := s.Change(ctx, func(d *directives.Directives) error {
		return errors.Join(d.Kill(want.Kills[0]), d.Override(want.Limits[0]))
	})
	if got.Version == 0 {
		t.Error("a change leaves the version at 0")
	}
	want.Version = got.Version
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("changed to %+v, %v, want %+v", got, err, want)
	}
	fault := errors.New("no")
	if _, err := s.Change(ctx, func(d *directives.Directives) error { d.Kills = nil; return fault }); !errors.Is(err, fault) {
		t.Errorf("a change that fails: %v", err)
	}
	if got, err := s.Directives(ctx); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v, want %+v", got, err, want)
	}
	// Changes at the same time all count.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := s.Change(ctx, func(d *directives.Directives) error {
				d.Limits = append(d.Limits, directives.Override{Scope: "tool:other"})
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := s.Directives(ctx); err != nil || got.Version < want.Version+4 || len(got.Limits) != 5 {
		t.Errorf("after four more changes: %+v, %v", got, err)
	}
}

package memory

import (
	"fmt"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/effect"
	"example.com/erlmcp/function/internal/effect/effecttest"
)

func TestEffects(t *testing.T) { effecttest.TestStore(t, NewEffects()) }

func TestEffectsAreForgotten(t *testing.T) {
	r := NewEffects()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for n := range 3 * maxEffects {
		at := now.Add(time.Duration(n) * time.Second)
		if _, err := r.Claim(t.Context(), fmt.Sprint(n), effect.IdempotencyRecord{Claim: "a", Expires: at.Add(time.Minute)}, at); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.kept) > maxEffects {
		t.Errorf("%d are kept", len(r.kept))
	}
}

// Package effecttest holds the suite that every [effect.Store] must pass.
package effecttest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/effect"
)

// TestStore wants of an empty store what the control plane relies on.
func TestStore(t *testing.T, s effect.Store) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	mine := func(claim string) effect.IdempotencyRecord {
		return effect.IdempotencyRecord{Claim: claim, Request: "asked by " + claim, Expires: now.Add(time.Minute)}
	}
	answered := func(claim string) effect.IdempotencyRecord {
		r := mine(claim)
		r.Answer, r.Expires = []byte("answer to "+claim), now.Add(24*time.Hour)
		return r
	}
	claim := func(t *testing.T, key, who string, at time.Time) *effect.IdempotencyRecord {
		t.Helper()
		held, err := s.Claim(ctx, key, mine(who), at)
		if err != nil {
			t.Fatalf("%s claims %s: %v", who, key, err)
		}
		return held
	}
	is := func(t *testing.T, held *effect.IdempotencyRecord, want effect.IdempotencyRecord) {
		t.Helper()
		if held == nil {
			t.Errorf("there is none, want %+v", want)
			return
		}
		if held.Expires.Equal(want.Expires) {
			want.Expires = held.Expires // in whatever zone
		}
		if !reflect.DeepEqual(*held, want) { // an answer that is empty is not one that is not there
			t.Errorf("there is %#v, want %#v", *held, want)
		}
	}

	t.Run("a claim is held until its answer, and that until it expires", func(t *testing.T) {
		if held := claim(t, "a", "one", now); held != nil {
			t.Fatalf("an empty store holds %+v", held)
		}
		is(t, claim(t, "a", "two", now.Add(time.Second)), mine("one"))
		if err := s.Settle(ctx, "a", answered("one")); err != nil {
			t.Fatal(err)
		}
		is(t, claim(t, "a", "two", now.Add(time.Hour)), answered("one"))
		if held := claim(t, "a", "two", now.Add(24*time.Hour)); held != nil {
			t.Errorf("an answer that has expired holds: %+v", held)
		}
	})
	t.Run("a claim has no answer", func(t *testing.T) {
		empty := mine("one")
		empty.Answer = []byte{}
		for key, put := range map[string]effect.IdempotencyRecord{"g nil": mine("one"), "g empty": empty} {
			if held, err := s.Claim(ctx, key, put, now); held != nil || err != nil {
				t.Fatalf("%s: %+v, %v", key, held, err)
			}
			is(t, claim(t, key, "two", now), mine("one")) // whose answer is nil
		}
	})
	t.Run("keys are apart", func(t *testing.T) {
		for _, key := range []string{"b1", "b2"} {
			if held := claim(t, key, "one", now); held != nil {
				t.Errorf("%s is held: %+v", key, held)
			}
		}
	})
	t.Run("a claim that has expired is another's", func(t *testing.T) {
		claim(t, "c", "one", now)
		if held := claim(t, "c", "two", now.Add(time.Minute)); held != nil {
			t.Fatalf("it is held: %+v", held)
		}
		if err := s.Settle(ctx, "c", answered("one")); !errors.Is(err, effect.ErrNotMine) {
			t.Errorf("the first settles the claim of the second: %v", err)
		}
		if err := s.Drop(ctx, "c", "one"); err != nil {
			t.Error(err)
		}
		is(t, claim(t, "c", "three", now), mine("two"))
	})
	t.Run("a claim is dropped", func(t *testing.T) {
		claim(t, "d", "one", now)
		if err := s.Drop(ctx, "d", "one"); err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(ctx, "d", answered("one")); !errors.Is(err, effect.ErrNotMine) {
			t.Errorf("a dropped claim is settled: %v", err)
		}
		if held := claim(t, "d", "two", now); held != nil {
			t.Errorf("it is held: %+v", held)
		}
		if err := s.Drop(ctx, "nothing is here", "one"); err != nil {
			t.Error(err)
		}
	})
	t.Run("of many one has it", func(t *testing.T) {
		var mu sync.Mutex
		var all sync.WaitGroup
		won := 0
		for n := range 8 {
			all.Go(func() {
				held, err := s.Claim(ctx, "e", mine(fmt.Sprint(n)), now)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if held == nil {
					won++
				}
			})
		}
		if all.Wait(); won != 1 {
			t.Errorf("%d have claimed it", won)
		}
	})
	t.Run("an ended context", func(t *testing.T) {
		ended, end := context.WithCancel(ctx)
		end()
		if _, err := s.Claim(ended, "f", mine("one"), now); err == nil {
			t.Error("it is claimed")
		}
	})
}

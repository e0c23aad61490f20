package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/governor"
)

// A wall is a board in memory, which may be away.
type wall struct {
	mu    sync.Mutex
	notes map[List]map[string][]byte
	away  bool
}

var errAway = errors.New("away")

func (w *wall) PutUp(_ context.Context, list List, name string, note []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		return errAway
	}
	if w.notes == nil {
		w.notes = map[List]map[string][]byte{Instances: {}, Catalogs: {}}
	}
	w.notes[list][name] = note
	return nil
}

func (w *wall) TakeDown(_ context.Context, list List, names ...string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		delete(w.notes[list], name)
	}
	return nil
}

func (w *wall) Notes(_ context.Context, list List) (map[string][]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		return nil, errAway
	}
	return maps.Clone(w.notes[list]), nil
}

func namesOf(all []Instance) (names []string) {
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}

// TestFleet has two instances come, be emptied off the board, and go: who reads sees those that are there, and what they serve.
func TestFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		board := &wall{}
		run := func(name string, serves *Served, tenants ...string) (stop func()) {
			note, of := serves.Note()
			a := &Announcer{Board: board, Serves: func() ([]byte, string) { return note, of }, Self: func() Instance {
				return Instance{Name: name, Seen: time.Now(), Ready: true, Catalog: of, Tenants: append([]string{}, tenants...)}
			}}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				a.Run(ctx)
			}()
			return func() {
				cancel()
				<-ended
			}
		}
		want := func(when string, names []string, scopes []string, perSecond float64) {
			t.Helper()
			time.Sleep(AnnounceEvery + time.Second) // in a bubble
			instances, all, err := Read(t.Context(), board)
			if err != nil || !slices.Equal(namesOf(instances), names) {
				t.Fatalf("%s: %v, %v, want %v", when, namesOf(instances), err, names)
			}
			var got []string
			if all != nil {
				got = all.Scopes
			}
			if slices.Sort(got); !slices.Equal(got, scopes) {
				t.Errorf("%s: they serve %v, want %v", when, got, scopes)
			}
			if all != nil && all.Limits[0].PerSecond != perSecond {
				t.Errorf("%s: limits %+v", when, all.Limits)
			}
		}
		stopA := run("a", &Served{Scopes: []string{"tool:x"}, Limits: []governor.Limit{{Scope: "tool:x", PerSecond: 1}}}, "acme", "shop-*")
		stopB := run("b", &Served{Scopes: []string{"tool:y"}, Former: map[string]string{"tool:old": "tool:y"}, Limits: []governor.Limit{{Scope: "tool:x", PerSecond: 1}}}, "acme")
		want("both", []string{"a", "b"}, []string{"tool:x", "tool:y"}, 1)
		if got := Tenants(t.Context(), board); !slices.Equal(got, []string{"acme", "shop-*"}) {
			t.Errorf("tenants %v", got)
		}
		stopB()
		want("one has gone", []string{"a"}, []string{"tool:x"}, 1)
		if left, _ := board.Notes(t.Context(), Catalogs); len(left) != 1 {
			t.Errorf("%d catalogs are left of one", len(left))
		}
		board.mu.Lock()
		board.notes = map[List]map[string][]byte{Instances: {}, Catalogs: {}}
		board.mu.Unlock()
		time.Sleep(servedEvery) // in a bubble
		want("the board was emptied", []string{"a"}, []string{"tool:x"}, 1)
		board.away = true
		if _, _, err := Read(t.Context(), board); !errors.Is(err, errAway) || Tenants(t.Context(), board) != nil {
			t.Errorf("the board is away: %v", err)
		}
		board.away = false
		stopA()
		want("nobody", nil, nil, 0)
	})
}

// TestNotesOfOthers reads what other versions have written, and what is old.
func TestNotesOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		board := &wall{}
		put := func(list List, name string, note any) {
			text, ok := note.(string)
			if !ok {
				raw, err := json.Marshal(note)
				if err != nil {
					t.Fatal(err)
				}
				text = string(raw)
			}
			board.PutUp(t.Context(), list, name, []byte(text))
		}
		put(Instances, "good", Instance{Name: "good", Seen: time.Now(), Catalog: "c1", Tenants: []string{"acme"}})
		put(Instances, "old", Instance{Name: "old", Seen: time.Now().Add(-ForgetAfter - time.Second)})
		put(Instances, "strange", `{"name":7}`)
		put(Instances, "twin", Instance{Name: "other", Seen: time.Now()})
		put(Catalogs, "c1", `[]`)
		put(Catalogs, "c2", Served{})
		instances, all, err := Read(t.Context(), board)
		if got := namesOf(instances); !slices.Equal(got, []string{"good", "strange", "twin"}) {
			t.Errorf("%v", got)
		}
		if all != nil || err == nil || !strings.Contains(err.Error(), "what the instance good serves") {
			t.Errorf("%+v, %v", all, err)
		}
		if Tenants(t.Context(), board) == nil { // those that can't be read were forgotten
			t.Error("the tenants of the good one are not known")
		}
		if left, _ := board.Notes(t.Context(), Instances); len(left) != 1 {
			t.Errorf("%v are left on the board", slices.Collect(maps.Keys(left)))
		}
		if left, _ := board.Notes(t.Context(), Catalogs); len(left) != 1 {
			t.Errorf("%d catalogs are left", len(left))
		}
		put(Instances, "earlier", `{"name":"earlier","seen":"`+time.Now().Format(time.RFC3339)+`"}`)
		if got := Tenants(t.Context(), board); got != nil {
			t.Errorf("one does not say its tenants: %v", got)
		}
	})
}

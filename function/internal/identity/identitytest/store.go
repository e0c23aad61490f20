// Package identitytest holds the suite that every [identity.KeyStore] must pass.
package identitytest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/identity"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC)

// TestKeyStore wants of an empty store what instances and the control plane rely on.
func TestKeyStore(t *testing.T, s identity.KeyStore) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	t.Run("keys", func(t *testing.T) { testKeys(ctx, t, s) })
	t.Run("changes", func(t *testing.T) { testChanges(ctx, t, s) })
	t.Run("pages", func(t *testing.T) { testPages(ctx, t, s) })
	t.Run("together", func(t *testing.T) { testTogether(ctx, t, s) })
	t.Run("contexts", func(t *testing.T) { testContexts(ctx, t, s) })
}

func key(id, tenant string) identity.Key {
	return identity.Key{
		ID: id, Tenant: tenant, Subject: "ci / ré", Scopes: []string{"read", "write"}, Hash: "sha256:00", Created: noon,
		Starts: noon.Add(1), Expires: noon.Add(time.Hour),
	}
}

func testKeys(ctx context.Context, t *testing.T, s identity.KeyStore) {
	if _, err := s.Key(ctx, "aaaaaaaa"); !errors.Is(err, identity.ErrNoKey) {
		t.Errorf("a key of an empty store: %v", err)
	}
	if keys, err := s.Keys(ctx, "", "", 10); len(keys) > 0 || err != nil {
		t.Errorf("an empty store has %v, %v", keys, err)
	}
	if keys, version, err := s.KeyChanges(ctx, 0); len(keys) > 0 || version != 0 || err != nil {
		t.Errorf("changes of an empty store: %v at %d, %v", keys, version, err)
	}
	if _, err := s.ChangeKey(ctx, "aaaaaaaa", func(*identity.Key) error { t.Error("no key changes"); return nil }); !errors.Is(err, identity.ErrNoKey) {
		t.Errorf("a change of no key: %v", err)
	}
	k := key("aaaaaaaa", "acme")
	made, err := s.AddKey(ctx, k)
	if err != nil {
		t.Fatal(err)
	}
	want := &identity.StoredKey{Key: key("aaaaaaaa", "acme"), Revision: made.Revision}
	if made.Revision < 1 || !reflect.DeepEqual(made, want) {
		t.Errorf("made %+v, want %+v", made, want)
	}
	k.Scopes[0], made.Scopes[0] = "spoilt", "spoilt"
	if _, err := s.AddKey(ctx, key("aaaaaaaa", "other")); !errors.Is(err, identity.ErrKeyTaken) {
		t.Errorf("a key of the same id: %v", err)
	}
	read, err := s.Key(ctx, "aaaaaaaa")
	if err != nil || !reflect.DeepEqual(read, want) {
		t.Errorf("read %+v, %v, want %+v", read, err, want)
	}
	read.Scopes[0] = "spoilt"
	fault := errors.New("no")
	if _, err := s.ChangeKey(ctx, "aaaaaaaa", func(k *identity.Key) error { k.Scopes[0] = "spoilt"; return fault }); !errors.Is(err, fault) {
		t.Errorf("a change that fails: %v", err)
	}
	var kept *identity.Key
	changed, err := s.ChangeKey(ctx, "aaaaaaaa", func(k *identity.Key) error {
		if !reflect.DeepEqual(*k, want.Key) {
			return fmt.Errorf("change was given %+v, want %+v", k, want.Key)
		}
		k.Revoked, kept = noon, k
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	kept.Scopes[0] = "spoilt"
	want.Revoked = noon
	if changed.Revision <= want.Revision {
		t.Errorf("revision %d after %d", changed.Revision, want.Revision)
	}
	if want.Revision = changed.Revision; !reflect.DeepEqual(changed, want) {
		t.Errorf("changed to %+v, want %+v", changed, want)
	}
	changed.Scopes[0] = "spoilt"
	if read, err := s.Key(ctx, "aaaaaaaa"); err != nil || !reflect.DeepEqual(read, want) {
		t.Errorf("read %+v, %v, want %+v", read, err, want)
	}
	few := identity.Key{ID: "bbbbbbbb", Tenant: "acme", Subject: "ci", Hash: "sha256:00"}
	if k, err := s.AddKey(ctx, few); err != nil || !reflect.DeepEqual(k.Key, few) {
		t.Errorf("a key of few words: %#v, %v", k, err)
	}
	for what, scopes := range map[string][]string{"none": nil, "an empty list": {}} {
		changed, err := s.ChangeKey(ctx, "bbbbbbbb", func(k *identity.Key) error { k.Scopes = scopes; return nil })
		if err != nil {
			t.Fatal(err)
		}
		read, err := s.Key(ctx, "bbbbbbbb")
		if err != nil || !reflect.DeepEqual(read, changed) || (read.Scopes == nil) != (scopes == nil) {
			t.Errorf("%s for scopes: read %#v, %v, changed to %#v", what, read, err, changed)
		}
	}
}

func testChanges(ctx context.Context, t *testing.T, s identity.KeyStore) {
	all, revision, err := s.KeyChanges(ctx, 0)
	if err != nil || len(all) != 2 || all[1].Revision != revision {
		t.Fatalf("everything is %+v at %d, %v", all, revision, err)
	}
	follow := func(k *identity.StoredKey, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		changed, version, err := s.KeyChanges(ctx, revision)
		if err != nil || version != k.Revision || k.Revision <= revision || !slices.ContainsFunc(changed, func(c *identity.StoredKey) bool { return reflect.DeepEqual(c, k) }) {
			t.Errorf("changes since %d: %+v at %d, %v, want %+v", revision, changed, version, err, k)
		}
		if !slices.IsSortedFunc(changed, func(a, b *identity.StoredKey) int { return int(a.Revision - b.Revision) }) {
			t.Error("not in the order of revisions")
		}
		revision = version
	}
	follow(s.ChangeKey(ctx, "bbbbbbbb", func(k *identity.Key) error { k.Expires = noon; return nil }))
	follow(s.AddKey(ctx, key("cccccccc", "other")))
	follow(s.ChangeKey(ctx, "aaaaaaaa", func(k *identity.Key) error { k.Subject = "x"; return nil }))
	if _, version, err := s.KeyChanges(ctx, revision); err != nil || version != revision {
		t.Errorf("changes since the last one are at %d, %v, want %d", version, err, revision)
	}
}

func testPages(ctx context.Context, t *testing.T, s identity.KeyStore) {
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprintf("page%04d", i))
	}
	together(len(want), func(i int) {
		if _, err := s.AddKey(ctx, key(want[i], "paged")); err != nil {
			t.Error(err)
		}
	})
	for _, most := range []int{1, 7, 1000} {
		for tenant, want := range map[string][]string{
			"paged": want, "acme": {"aaaaaaaa", "bbbbbbbb"}, "none": nil, "": append([]string{"aaaaaaaa", "bbbbbbbb", "cccccccc"}, want...),
		} {
			var got []string
			after := ""
			for {
				page, err := s.Keys(ctx, tenant, after, most)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) > most {
					t.Fatalf("a page of %d has %d", most, len(page))
				}
				if len(page) == 0 {
					break
				}
				for _, k := range page {
					got = append(got, k.ID)
				}
				after = got[len(got)-1]
			}
			if !slices.Equal(got, want) {
				t.Errorf("pages of %d of %q:\n%v, want\n%v", most, tenant, got, want)
			}
		}
	}
	if page, err := s.Keys(ctx, "", "", 0); err != nil || len(page) != 0 {
		t.Errorf("a page of none: %v, %v", page, err)
	}
}

// testTogether changes one key from many sides, and adds one.
func testTogether(ctx context.Context, t *testing.T, s identity.KeyStore) {
	const changes = 64
	if _, err := s.AddKey(ctx, identity.Key{ID: "together", Tenant: "acme"}); err != nil {
		t.Fatal(err)
	}
	together(changes, func(i int) {
		if _, err := s.ChangeKey(ctx, "together", func(k *identity.Key) error { k.Scopes = append(k.Scopes, fmt.Sprint(i)); return nil }); err != nil {
			t.Error(err)
		}
	})
	if k, err := s.Key(ctx, "together"); err != nil || len(k.Scopes) != changes {
		t.Errorf("%d changes of %d are there, %v", len(k.Scopes), changes, err)
	}
	var mu sync.Mutex
	added, taken := 0, 0
	together(8, func(i int) {
		_, err := s.AddKey(ctx, key("eeeeeeee", fmt.Sprint("t", i)))
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			added++
		case errors.Is(err, identity.ErrKeyTaken):
			taken++
		default:
			t.Error(err)
		}
	})
	if added != 1 || taken != 7 {
		t.Errorf("eight keys of one id: %d added, %d taken", added, taken)
	}
}

func testContexts(ctx context.Context, t *testing.T, s identity.KeyStore) {
	gone, cancel := context.WithCancel(ctx)
	cancel()
	for what, do := range map[string]func() error{
		"AddKey": func() error { _, err := s.AddKey(gone, key("gonegone", "acme")); return err },
		"Key":    func() error { _, err := s.Key(gone, "aaaaaaaa"); return err },
		"Keys":   func() error { _, err := s.Keys(gone, "", "", 10); return err },
		"ChangeKey": func() error {
			_, err := s.ChangeKey(gone, "aaaaaaaa", func(*identity.Key) error { return nil })
			return err
		},
		"KeyChanges": func() error { _, _, err := s.KeyChanges(gone, 0); return err },
	} {
		if do() == nil {
			t.Errorf("%s goes on without its context", what)
		}
	}
	if _, err := s.Key(ctx, "gonegone"); !errors.Is(err, identity.ErrNoKey) {
		t.Errorf("a key was added without its context: %v", err)
	}
}

func together(n int, do func(int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

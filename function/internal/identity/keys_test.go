package identity

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

var day = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// stored makes a key of a store, and the text of it.
func stored(subject string, revision int64) (string, *StoredKey) {
	text, k := NewKey(Key{Tenant: "acme", Subject: subject, Scopes: []string{"read"}})
	return text, &StoredKey{Key: k, Revision: revision}
}

// who is whom the text authenticates, or why it does not.
func who(k *Keys, text string) string {
	_, p, err := k.check(text, day)
	if err != nil {
		return string(err.Cause)
	}
	return p.Subject
}

func TestStoredKeys(t *testing.T) {
	adaText, ada := stored("ada", 1)
	bobText, bob := stored("bob", 2)
	var none *Keys
	first, err := none.With([]*StoredKey{ada, bob})
	if err != nil {
		t.Fatal(err)
	}
	if who(first, adaText) != "ada" || who(first, bobText) != "bob" {
		t.Errorf("%s and %s", who(first, adaText), who(first, bobText))
	}
	revoked := bob.Clone()
	revoked.Revoked, revoked.Revision = day, 3
	second, err := first.With([]*StoredKey{revoked})
	if err != nil || who(second, bobText) != "revoked" || who(second, adaText) != "ada" {
		t.Errorf("after a revocation: %s and %s, %v", who(second, adaText), who(second, bobText), err)
	}
	if who(first, bobText) != "bob" {
		t.Error("what was has changed")
	}
	for _, old := range []*StoredKey{bob, {Key: bob.Key, Revision: 3}} {
		if third, err := second.With([]*StoredKey{old}); err != nil || who(third, bobText) != "revoked" {
			t.Errorf("what is older or seen takes the place of what is there: %s, %v", who(third, bobText), err)
		}
	}
	ada.Scopes[0] = "spoilt"
	if _, p, _ := first.check(adaText, day); !slices.Equal(p.Scopes, []string{"read"}) {
		t.Errorf("scopes %v", p.Scopes)
	}
}

// TestMalformedStoredKeys has keys that no one should have stored. Each is left out and told of, and no other is touched.
func TestMalformedStoredKeys(t *testing.T) {
	goodText, good := stored("good", 5)
	for what, c := range map[string]struct {
		spoil func(*StoredKey)
		want  []string
	}{
		"nothing but an id": {func(k *StoredKey) { k.Key = Key{ID: k.ID} }, []string{`the tenant ""`, `the subject ""`, "the hash must be"}},
		"no id":             {func(k *StoredKey) { k.ID = "" }, []string{"the id must have 8"}},
		"a long id":         {func(k *StoredKey) { k.ID += "x" }, []string{"the id must have 8"}},
		"a reserved tenant": {func(k *StoredKey) { k.Tenant = "local" }, []string{`the tenant "local" is reserved`}},
		"a tenant of words": {func(k *StoredKey) { k.Tenant = "a b" }, []string{`the tenant "a b"`}},
		"no hash":           {func(k *StoredKey) { k.Hash = "" }, []string{"the hash must be"}},
		"a key in clear":    {func(k *StoredKey) { k.Hash = "erlmcp_aaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbb" }, []string{"the hash must be"}},
		"a short hash":      {func(k *StoredKey) { k.Hash = k.Hash[:20] }, []string{"the hash must be"}},
		"a scope of words":  {func(k *StoredKey) { k.Scopes = []string{"read", "a b"} }, []string{`the scope "a b" is not one word`}},
	} {
		text, bad := stored("bad", 1)
		before, err := (&Keys{}).With([]*StoredKey{bad})
		if err != nil || who(before, text) != "bad" {
			t.Fatal(err)
		}
		spoilt := bad.Clone()
		c.spoil(spoilt)
		spoilt.Revision = 2
		keys, err := before.With([]*StoredKey{spoilt, good})
		if err == nil {
			t.Errorf("%s: no fault", what)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(lines[i], want) || !strings.HasPrefix(lines[i], "the stored key \"") {
				t.Errorf("%s: %s, want %s", what, lines[i], want)
			}
		}
		if strings.Contains(err.Error(), "bbbbbbbbbbbb") {
			t.Errorf("%s: a key is told in the clear: %v", what, err)
		}
		if got := who(keys, text); spoilt.ID == bad.ID && got != "unknown" {
			t.Errorf("%s: it authenticates %s", what, got)
		}
		if who(keys, goodText) != "good" {
			t.Errorf("%s: another key suffers", what)
		}
		mended := bad.Clone()
		mended.Revision = 3
		if keys, err = keys.With([]*StoredKey{mended}); err != nil || who(keys, text) != "bad" {
			t.Errorf("%s: mended it authenticates %s, %v", what, who(keys, text), err)
		}
		if spoilt.Check() == nil || bad.Check() != nil {
			t.Errorf("%s: %v and %v", what, spoilt.Check(), bad.Check())
		}
	}
}

// TestFileAndStore has keys in both: the file's win, and hold while the store can't be read.
func TestFileAndStore(t *testing.T) {
	fileText, inFile := stored("file", 0)
	file, err := (&KeyFile{Keys: []Key{inFile.Key}}).index()
	if err != nil {
		t.Fatal(err)
	}
	storeText, inStore := stored("store", 1)
	thiefText, thief := stored("thief", 2)
	thief.ID = inFile.ID // with a hash of its own
	revoked := inFile.Clone()
	revoked.Revoked, revoked.Revision = day, 3
	try := func(o Options, text string) string {
		o.Chain, o.Now = []string{APIKeys}, func() time.Time { return day }
		p, err := New(o).Authenticate(t.Context(), &Request{Header: http.Header{"Authorization": {"Bearer " + text}}, RemoteAddr: "192.0.2.1:1"})
		if err != nil {
			if err.Cause == Unavailable && err.Wait > 0 {
				t.Error("a store that is away counts as a guess")
			}
			return string(err.Cause)
		}
		return p.Subject
	}
	for _, taken := range []*StoredKey{thief, revoked} {
		store, err := (*Keys)(nil).With([]*StoredKey{inStore, taken})
		if err != nil {
			t.Fatal(err)
		}
		inFile, inStore := func() *Keys { return file }, func(context.Context) *Keys { return store }
		away := func(context.Context) *Keys { return nil }
		for _, c := range []struct {
			what string
			o    Options
			text string
			want string
		}{
			{"both", Options{Keys: inFile, Stored: inStore}, fileText, "file"},
			{"both", Options{Keys: inFile, Stored: inStore}, storeText, "store"},
			{"both", Options{Keys: inFile, Stored: inStore}, thiefText[:len(KeyPrefix)] + fileText[len(KeyPrefix):len(KeyPrefix)+idLength] + thiefText[len(KeyPrefix)+idLength:], "unknown"},
			{"the file alone", Options{Keys: inFile}, fileText, "file"},
			{"the file alone", Options{Keys: inFile}, storeText, "unknown"},
			{"the store alone", Options{Stored: inStore}, storeText, "store"},
			{"neither", Options{}, storeText, "unknown"},
			{"the store is away", Options{Keys: inFile, Stored: away}, fileText, "file"},
			{"the store is away", Options{Keys: inFile, Stored: away}, storeText, "unavailable"},
		} {
			if got := try(c.o, c.text); got != c.want {
				t.Errorf("%s: %s, want %s", c.what, got, c.want)
			}
		}
	}
}

// TestStoredKeysAuthenticate goes the way of a request, while keys change.
func TestStoredKeysAuthenticate(t *testing.T) {
	text, k := stored("ada", 1)
	keys := &Keys{}
	a := New(Options{Chain: []string{APIKeys}, Stored: func(context.Context) *Keys { return keys }, Now: func() time.Time { return day }})
	try := func() Cause {
		p, err := a.Authenticate(t.Context(), &Request{Header: http.Header{"Authorization": {"Bearer " + text}}, RemoteAddr: "192.0.2.1:1"})
		if err != nil {
			return err.Cause
		}
		return Cause(p.Subject)
	}
	got := []Cause{try()}
	for _, change := range []func(){func() {}, func() { k.Revoked = day }, func() { k.Revoked, k.Expires = time.Time{}, day }, func() { k.Expires = time.Time{} }} {
		k = k.Clone()
		k.Revision++
		change()
		var err error
		if keys, err = keys.With([]*StoredKey{k}); err != nil {
			t.Fatal(err)
		}
		got = append(got, try())
	}
	if want := []Cause{Unknown, "ada", Revoked, Expired, "ada"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if len(slices.Collect(maps.Keys(a.Stats()))) != 4 {
		t.Errorf("outcomes %v", a.Stats())
	}
}

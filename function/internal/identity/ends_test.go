package identity

import (
	"testing"
	"time"
)

// TestFirstEnd lets callers be left without a key, or not.
func TestFirstEnd(t *testing.T) {
	const d = 24 * time.Hour
	set := func(keys ...Key) *Keys {
		f := &KeyFile{}
		for i, k := range keys {
			_, k := NewKey(k)
			k.ID, k.Tenant = "aaaaaaa"+string(rune('a'+i)), "acme"
			f.Keys = append(f.Keys, k)
		}
		out, err := f.index()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	// From and to are days from now; 0 is not said.
	key := func(subject string, from, to int) Key {
		k := Key{Subject: subject}
		if from != 0 {
			k.Created = day.Add(time.Duration(from) * d)
		}
		if to != 0 {
			k.Expires = day.Add(time.Duration(to) * d)
		}
		return k
	}
	revoked := func(k Key) Key { k.Revoked = day.Add(-d); return k }
	starts := func(k Key, in int) Key { k.Starts = day.Add(time.Duration(in) * d); return k }
	for name, c := range map[string]struct {
		sets []*Keys
		want int // days from now; 0 is none
	}{
		"nobody":                               {[]*Keys{nil, set()}, 0},
		"one that never ends":                  {[]*Keys{set(key("ada", -90, 0))}, 0},
		"the first of two":                     {[]*Keys{set(key("ada", -80, 10), key("bob", -85, 5))}, 5},
		"a subject of each set":                {[]*Keys{set(key("ada", -80, 10)), set(key("carol", 0, 0), key("bob", -85, 5))}, 5},
		"rotated":                              {[]*Keys{set(key("ada", -89, 1), key("ada", -1, 89))}, 89},
		"rotated, and the next one never ends": {[]*Keys{set(key("ada", -89, 1), key("ada", -1, 0))}, 0},
		"the next one is in the store":         {[]*Keys{set(key("ada", -89, 1)), set(key("bob", -1, 0), key("ada", -1, 60))}, 60},
		"revoked":                              {[]*Keys{set(revoked(key("ada", -85, 5)))}, 0},
		"the next one is revoked":              {[]*Keys{set(key("ada", -85, 5), revoked(key("ada", -1, 89)))}, 5},
		"the next one starts later":            {[]*Keys{set(key("ada", -85, 5), starts(key("ada", -1, 89), 4))}, 89},
		"ended three days ago":                 {[]*Keys{set(key("ada", -93, -3), key("bob", -85, 5))}, -3},
		"ended a week ago":                     {[]*Keys{set(key("ada", -97, -7), key("bob", -85, 5))}, 5},
		"made for days":                        {[]*Keys{set(key("ada", -9, 18))}, 0},
		"made for four weeks":                  {[]*Keys{set(key("ada", -9, 19))}, 19},
		"made long before it starts":           {[]*Keys{set(starts(key("ada", -90, 18), -9))}, 0},
		"nobody knows when it was made":        {[]*Keys{set(key("ada", 0, 3))}, 3},
		"the file has the id, too":             {[]*Keys{set(key("bob", -1, 0)), set(key("ada", -85, 5))}, 0},
	} {
		at, ok := FirstEnd(day, c.sets...)
		if ok != (c.want != 0) || ok && !at.Equal(day.Add(time.Duration(c.want)*d)) {
			t.Errorf("%s: %v %v, want %d days from now", name, at, ok, c.want)
		}
	}
	spoilt, _ := (*Keys)(nil).With([]*StoredKey{{Key: Key{ID: "zzzzzzzz", Expires: day.Add(d)}, Revision: 1}})
	if at, ok := FirstEnd(day, spoilt); ok {
		t.Errorf("a malformed key ends at %v", at)
	}
}

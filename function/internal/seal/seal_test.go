package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"
)

var (
	oldKey = bytes.Repeat([]byte{1}, KeySize)
	newKey = bytes.Repeat([]byte{2}, KeySize)
	now    = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
)

func ring(t *testing.T, keys ...[]byte) *Ring {
	t.Helper()
	r, err := NewRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestDerive holds derived secrets against those of an HKDF by RFC 5869 in Python.
func TestDerive(t *testing.T) {
	const of1, of2 = "3a409fecead38afea119a0307131138e0aaad950d8c3173261352822b489f160", "5abb34bd59c88b045cc94cb7f4063829099a144855fcb3dc8f59b9cab874f2f0"
	got := ring(t, newKey, oldKey).Derive("hashes")
	if len(got) != 2 || hex.EncodeToString(got[0]) != of2 || hex.EncodeToString(got[1]) != of1 {
		t.Errorf("%x", got)
	}
	if other := ring(t, newKey).Derive("others"); bytes.Equal(other[0], got[0]) {
		t.Error("purposes share a secret")
	}
}

func TestOpen(t *testing.T) {
	sealed := ring(t, oldKey).Seal("state", []byte("alice tools/call"), []byte("secret"), now.Add(time.Minute))
	if strings.Contains(sealed, "secret") {
		t.Fatal("the text is not encrypted")
	}
	cases := []struct {
		name    string
		ring    *Ring
		purpose string
		binding string
		sealed  string
		at      time.Time
		want    error
	}{
		{"same ring", ring(t, oldKey), "state", "alice tools/call", sealed, now, nil},
		{"rotated ring", ring(t, newKey, oldKey), "state", "alice tools/call", sealed, now, nil},
		{"key dropped", ring(t, newKey), "state", "alice tools/call", sealed, now, ErrKey},
		{"other purpose", ring(t, oldKey), "cursor", "alice tools/call", sealed, now, ErrForged},
		{"other binding", ring(t, oldKey), "state", "bob tools/call", sealed, now, ErrForged},
		{"expired", ring(t, oldKey), "state", "alice tools/call", sealed, now.Add(time.Minute), ErrExpired},
		{"longer", ring(t, oldKey), "state", "alice tools/call", sealed + "-TAMPERED", now, ErrMalformed},
		{"not base64", ring(t, oldKey), "state", "alice tools/call", sealed + "!", now, ErrMalformed},
		{"short", ring(t, oldKey), "state", "alice tools/call", sealed[:20], now, ErrMalformed},
		{"empty", ring(t, oldKey), "state", "alice tools/call", "", now, ErrMalformed},
		{"newer format", ring(t, oldKey), "state", "alice tools/call", "Ag" + sealed[2:], now, ErrVersion},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.ring.Open(c.purpose, []byte(c.binding), c.sealed, c.at)
			if !errors.Is(err, c.want) {
				t.Fatalf("err = %v, want %v", err, c.want)
			}
			if c.want == nil && string(got) != "secret" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestEveryFlippedBitIsRefused(t *testing.T) {
	r := ring(t, oldKey)
	raw, _ := encoding.DecodeString(r.Seal("state", nil, []byte("secret"), now.Add(time.Minute)))
	for i := range raw {
		for bit := range 8 {
			flipped := bytes.Clone(raw)
			flipped[i] ^= 1 << bit
			if _, err := r.Open("state", nil, encoding.EncodeToString(flipped), now); err == nil {
				t.Fatalf("byte %d bit %d flipped and accepted", i, bit)
			}
		}
	}
}

func TestParseRing(t *testing.T) {
	std := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, KeySize))
	url := base64.RawURLEncoding.EncodeToString(newKey)
	for _, c := range []struct {
		text string
		keys int
	}{
		{std, 1}, {url + ", " + std, 2}, {"", 0}, {"c2hvcnQ=", 0}, {std + ",,", 0}, {"not base64!", 0},
	} {
		r, err := ParseRing(c.text)
		if (err == nil) != (c.keys > 0) {
			t.Errorf("ParseRing(%q): %v", c.text, err)
		} else if err == nil && len(r.keys) != c.keys {
			t.Errorf("ParseRing(%q): %d keys, want %d", c.text, len(r.keys), c.keys)
		}
	}
}

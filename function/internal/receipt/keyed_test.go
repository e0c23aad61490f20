package receipt_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"

	"example.com/erlmcp/function/internal/receipt"
)

var (
	secretOld = bytes.Repeat([]byte{1}, 32)
	secretNew = bytes.Repeat([]byte{2}, 32)
)

const guessable = `{"from":"Lima","to":"Sydney"}`

// TestHasher holds hashes against those that Python's hmac and an HKDF by RFC 5869 come to.
func TestHasher(t *testing.T) {
	long := strings.Repeat("t", 300)
	for _, c := range []struct {
		name    string
		secrets [][]byte
		tenant  string
		hash    string
		keys    string
	}{
		{"a tenant", [][]byte{secretOld}, "acme", "98d2d115cde9e9fdff9d3b32b0b831ba1242ca4f819e43a0c8c91fef00c069b8", "0437509b 1b46081ae6dea6565f9b975f889bb217c700917aea707c0581fab1f8930f0a29"},
		{"another", [][]byte{secretOld}, "blue", "0a0b30828e691ff7b4cb47f128b67893447ab422adddd6a0cdc8cb33feffee1a", "0437509b 3d874130a7cb1f8ab4c6065abf3bc0e305d55d619574ba84138db61079a2beea"},
		{"nobody's", [][]byte{secretOld}, "", "13a65e313b7668fff988fd5dfcfafb16a323ba4b9dfcf2ac7f938ba85015cfb3", "0437509b 2f316defc800785127f5d906c243dd0f989eea99412d51d526d204bc8859a3cf"},
		{"another fleet's", [][]byte{secretNew}, "acme", "0c186c1acd2daae8085881a3369f53d5e802a551d87995a0db73453183b6747d", "87052f89 532fee65e8ce4036b2e60d4f84bce0ae320b5ae7ef2aca995ed78f2bb6268069"},
		{"a secret that was replaced", [][]byte{secretNew, secretOld}, "blue", "29136fbc495625c2e6cecc307ff21ae5fd588980e8a2d62ab6c6f43c2848b2ab",
			"87052f89 e896732d012c4c49263dba3f167b1cfa14e7731f1c419fbe84f13c68ab6d0f77, 0437509b 3d874130a7cb1f8ab4c6065abf3bc0e305d55d619574ba84138db61079a2beea"},
	} {
		h := receipt.NewHasher(c.secrets...)
		for range 3 { // the first derives
			if got := h.Hash(c.tenant, []byte(guessable)).String(); got != c.hash {
				t.Errorf("%s: %s, want %s", c.name, got, c.hash)
			}
		}
		var keys []string
		for _, k := range h.Keys(c.tenant) {
			keys = append(keys, fmt.Sprintf("%s %x", k.ID, []byte(k.Key)))
		}
		if got := strings.Join(keys, ", "); got != c.keys {
			t.Errorf("%s: keys %s, want %s", c.name, got, c.keys)
		}
	}
	// A tenant as receipts have it, shortened, has the key that an export for that name hands over.
	h := receipt.NewHasher(secretOld)
	short := long[:253] + "…"
	if h.Hash(long, nil) != h.Hash(short, nil) {
		t.Error("a long name has another key than receipts have it by")
	}
	var none *receipt.Hasher
	if none.Hash("acme", []byte(guessable)) != receipt.HashOf([]byte(guessable)) || none.Keys("acme") != nil {
		t.Error("without a secret it is not the bare hash")
	}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				tenant, raw := fmt.Sprint("t", i*n), fmt.Append(nil, i)
				mac := hmac.New(sha256.New, h.Keys(tenant)[0].Key)
				mac.Write(raw)
				if got := h.Hash(tenant, raw); got != receipt.Hash(mac.Sum(nil)) {
					t.Errorf("%s %s: %s", tenant, raw, got)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkHash(b *testing.B) {
	h := receipt.NewHasher(secretOld)
	raw := []byte(`{"a":1,"b":2}`)
	b.Run("keyed", func(b *testing.B) {
		for b.Loop() {
			h.Hash("acme", raw)
		}
	})
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			receipt.HashOf(raw)
		}
	})
}

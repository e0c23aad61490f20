package receipt_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"example.com/erlmcp/function/internal/memdb"
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

// handedOver are the keys that an export has.
func handedOver(t *testing.T, text []byte) []receipt.HashKey {
	t.Helper()
	first, _, _ := bytes.Cut(text, []byte{'\n'})
	var o struct {
		Export struct {
			Format int
			Hashes []receipt.HashKey
		}
	}
	if err := json.Unmarshal(first, &o); err != nil || (o.Export.Format == 2) != (len(o.Export.Hashes) > 0) {
		t.Fatalf("%v: %s", err, first)
	}
	return o.Export.Hashes
}

// TestHandedOver exports for one tenant: with the key, the arguments of its receipts can be told, and those of no other.
func TestHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memdb.NewReceipts(0)
		record := func(tag uint32, h *receipt.Hasher) {
			j := open(t, store, func(o *receipt.Options) { o.Tag, o.Hasher = tag, h })
			for _, tenant := range []string{"acme", "blue", "core"} {
				r := call(j, receipt.Completed)
				r.Tenant, r.Arguments, r.Result = tenant, j.Hash(tenant, []byte(guessable)), j.Hash(tenant, []byte("42"))
				j.Append(r)
			}
			shut(t, j)
		}
		record(1, nil) // of before
		record(2, receipt.NewHasher(secretOld))
		fleet := receipt.NewHasher(secretNew, secretOld)
		record(3, fleet)
		report := sound(t, store)
		if report.Chains != 3 {
			t.Errorf("%v", report)
		}
		seen := map[receipt.Hash]int{}
		for _, r := range stored(t, store) {
			if r.Tenant != "" {
				seen[r.Arguments]++
			}
		}
		if len(seen) != 7 || seen[receipt.HashOf([]byte(guessable))] != 3 {
			t.Errorf("the same arguments have these hashes: %v", seen)
		}
		for _, c := range []struct {
			name, tenant string
			hasher       *receipt.Hasher
			keys         int
		}{
			{"for a tenant", "acme", fleet, 2},
			{"for another", "blue", fleet, 2},
			{"by one who knows the old secret alone", "acme", receipt.NewHasher(secretOld), 1},
			{"by one who knows none", "acme", nil, 0},
			{"for all", "", fleet, 0},
			{"for a tenant without receipts", "none", fleet, 2},
		} {
			var out bytes.Buffer
			if _, err := receipt.Export(t.Context(), store, &out, receipt.ExportOptions{Tenant: c.tenant, Signer: operator, Hasher: c.hasher}); err != nil {
				t.Fatal(err)
			}
			if r, err := receipt.VerifyExport(t.Context(), bytes.NewReader(out.Bytes()), receipt.VerifyOptions{Keys: keys}); err != nil || !r.OK() {
				t.Errorf("%s: %v %v", c.name, err, r)
			}
			given := handedOver(t, out.Bytes())
			if len(given) != c.keys {
				t.Errorf("%s: the keys are %v", c.name, given)
			}
			told := 0
			for _, r := range stored(t, store) {
				for _, k := range given {
					mac := hmac.New(sha256.New, k.Key)
					mac.Write([]byte(guessable))
					if r.Tenant != "" && r.Arguments == receipt.Hash(mac.Sum(nil)) {
						told++
						if r.Tenant != c.tenant {
							t.Errorf("%s: the arguments of %s are told", c.name, r.Tenant)
						}
					}
				}
			}
			if want := c.keys; c.tenant != "none" && told != want {
				t.Errorf("%s: the arguments of %d receipts can be told, want %d", c.name, told, want)
			}
			for _, secret := range [][]byte{secretOld, secretNew} {
				if bytes.Contains(out.Bytes(), fmt.Appendf(nil, "%x", secret)) {
					t.Errorf("%s: a secret is in it", c.name)
				}
			}
		}
	})
}

// TestFormats wants that what has a key says so, in the format of its segment, and that nothing else is taken for it.
func TestFormats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memdb.NewReceipts(0)
		j := open(t, store, func(o *receipt.Options) { o.Hasher = receipt.NewHasher(secretOld) })
		j.Append(call(j, receipt.Completed))
		shut(t, j)
		var out bytes.Buffer
		if _, err := receipt.Export(t.Context(), store, &out, receipt.ExportOptions{Tenant: "acme", Signer: operator, Hasher: receipt.NewHasher(secretOld)}); err != nil {
			t.Fatal(err)
		}
		l := func() lines {
			return bytes.Split(bytes.TrimSuffix(bytes.Clone(out.Bytes()), []byte{'\n'}), []byte{'\n'})
		}
		chain := j.Head().Chain
		for _, c := range []struct {
			name  string
			edit  func(lines) lines
			words string
		}{
			{"a segment with a key in the old format", func(l lines) lines { return l.replace(l.header(chain, 1), `"format":2`, `"format":1`) }, "not in canonical form"},
			{"without a key in the new one", func(l lines) lines { return l.replace(l.header(chain, 1), `"hashes":"0437509b",`, ``) }, "not in canonical form"},
			{"under another key", func(l lines) lines { return l.replace(l.header(chain, 1), `0437509b`, `87052f89`) }, "did not sign"},
			{"a later format", func(l lines) lines { return l.replace(l.header(chain, 1), `"format":2`, `"format":3`) }, "format 3, and this version knows up to 2"},
			{"a certificate in the new format", func(l lines) lines { return l.replace(l.at(0, `{"certificate":`), `"format":1`, `"format":2`) }, "format 2, and this version knows up to 1"},
			{"an export with keys in the old format", func(l lines) lines { return l.replace(0, `"format":2`, `"format":1`) }, "not in canonical form"},
			{"an export with another key", func(l lines) lines { return l.replace(0, `"key":"1b46`, `"key":"1b47`) }, "another hash"},
		} {
			r, err := receipt.VerifyExport(t.Context(), bytes.NewReader(c.edit(l()).text()), receipt.VerifyOptions{Keys: keys})
			if err != nil {
				t.Fatal(err)
			}
			if r.OK() || !strings.Contains(r.String(), c.words) {
				t.Errorf("%s: %v, want %q", c.name, r, c.words)
			}
		}
	})
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

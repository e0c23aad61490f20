package verify_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/store/memory"
)

var (
	secretOld = bytes.Repeat([]byte{1}, 32)
	secretNew = bytes.Repeat([]byte{2}, 32)
)

const guessable = `{"from":"Lima","to":"Sydney"}`

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
		store := memory.NewReceipts(0)
		record := func(tag uint32, h *receipt.Hasher) {
			j := open(t, store, func(o *journal.Options) { o.Tag, o.Hasher = tag, h })
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
			if _, err := verify.WriteExport(t.Context(), store, &out, verify.ExportOptions{Tenant: c.tenant, Signer: operator, Hasher: c.hasher}); err != nil {
				t.Fatal(err)
			}
			if r, err := verify.Export(t.Context(), bytes.NewReader(out.Bytes()), verify.Options{Keys: keys}); err != nil || !r.OK() {
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
		store := memory.NewReceipts(0)
		j := open(t, store, func(o *journal.Options) { o.Hasher = receipt.NewHasher(secretOld) })
		j.Append(call(j, receipt.Completed))
		shut(t, j)
		var out bytes.Buffer
		if _, err := verify.WriteExport(t.Context(), store, &out, verify.ExportOptions{Tenant: "acme", Signer: operator, Hasher: receipt.NewHasher(secretOld)}); err != nil {
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
			r, err := verify.Export(t.Context(), bytes.NewReader(c.edit(l()).text()), verify.Options{Keys: keys})
			if err != nil {
				t.Fatal(err)
			}
			if r.OK() || !strings.Contains(r.String(), c.words) {
				t.Errorf("%s: %v, want %q", c.name, r, c.words)
			}
		}
	})
}

package function

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/identity"
)

// TestArgumentsCantBeGuessed tries all that two tenants can have sent, and all names: who has the export of one tells that one's arguments and
// callers, and who has the store alone none.
func TestArgumentsCantBeGuessed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}}, identity.Key{Tenant: "blue", Subject: "ci", Scopes: []string{"*"}})
		memory := NewInMemoryStore()
		settings := func(fleet string) Option {
			return WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", file, "SEALING_KEYS", fleet))
		}
		// The fleet's keys are replaced between the two calls of each.
		for i, fleet := range []string{testKey(1), testKey(2) + "," + testKey(1)} {
			s := newServer(t, WithMemory(memory), settings(fleet))
			for _, key := range keys {
				modern("tools/call", "add", fmt.Sprintf(`"name":"add","arguments":{"a":4,"b":%d}`, i)).with("Authorization", "Bearer "+key).send(t, s.URL)
			}
			s.Close()
		}
		for _, c := range []struct {
			tenant, fleet string
			want          map[string]int // receipts that are told, by tenant
		}{
			{"acme", testKey(2) + "," + testKey(1), map[string]int{"acme": 2}},
			{"blue", testKey(2) + "," + testKey(1), map[string]int{"blue": 2}},
			{"acme", testKey(2), map[string]int{"acme": 1}},
			{"acme", testKey(1), map[string]int{"acme": 1}},
			{"acme", testKey(3), nil},
			{"", testKey(2) + "," + testKey(1), nil},
		} {
			r, err := openRecords(t.Context(), "", WithMemory(memory), settings(c.fleet))
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if _, err := r.Export(t.Context(), &out, c.tenant, time.Time{}, time.Time{}); err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(out.String(), "\n")
			var opening struct {
				Export struct {
					Hashes []struct{ ID, Key string }
				}
			}
			if err := json.Unmarshal([]byte(first), &opening); err != nil {
				t.Fatal(err)
			}
			known := map[string]bool{} // hashes of all that can be guessed
			try := func(guess []byte) {
				bare := sha256.Sum256(guess)
				known[hex.EncodeToString(bare[:])] = true
				for _, k := range opening.Export.Hashes {
					key, err := hex.DecodeString(k.Key)
					if err != nil {
						t.Fatal(err)
					}
					mac := hmac.New(sha256.New, key)
					mac.Write(guess)
					known[hex.EncodeToString(mac.Sum(nil))] = true
				}
			}
			for a := range 10 {
				for b := range 10 {
					try(fmt.Appendf(nil, `{"a":%d,"b":%d}`, a, b))
				}
			}
			for _, tenant := range []string{"acme", "blue"} {
				try([]byte((&identity.Principal{Tenant: tenant, Subject: "ci", Issuer: identity.APIKeys}).String()))
			}
			for hash := range maps.Clone(known) {
				known[hash[:32]] = true
			}
			told, named := map[string]int{}, map[string]int{}
			calls := 0
			for one, err := range r.Select(t.Context(), "", time.Time{}, time.Time{}) {
				if err != nil {
					t.Fatal(err)
				}
				if one.Tool == "add" {
					calls++
					if known[one.Arguments.String()] {
						told[one.Tenant]++
					}
					if known[one.Principal] {
						named[one.Tenant]++
					}
				}
			}
			if calls != 4 || fmt.Sprint(told) != fmt.Sprint(c.want) {
				t.Errorf("with an export for %q under %.8s…: of %d calls the arguments of %v are told, want %v", c.tenant, c.fleet, calls, told, c.want)
			}
			if fmt.Sprint(named) != fmt.Sprint(c.want) {
				t.Errorf("with an export for %q under %.8s…: the callers of %v are told, want %v", c.tenant, c.fleet, named, c.want)
			}
			if report, err := r.Verify(t.Context(), c.tenant, time.Time{}, time.Time{}); err != nil || !report.OK() {
				t.Errorf("%v %v", err, report)
			}
			r.Close()
		}
	})
}

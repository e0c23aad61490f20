package controlapi_test

import (
	"testing"

	"example.com/erlmcp/function/internal/receipt"
)

// TestPublicKeys takes what the route says for a file of public keys, as verifiers do.
func TestPublicKeys(t *testing.T) {
	f := newFixture(t)
	said, _ := f.do(ask{method: "GET", path: "/v1/receipts/keys"}).object(t)["keys"].([]any)
	if len(said) != 1 {
		t.Fatalf("%v", said)
	}
	one, _ := said[0].(map[string]any)
	text, _ := one["pem"].(string)
	keys, err := receipt.ParseKeys([]byte(text))
	want, _ := f.journal.Keys(t.Context())
	if err != nil || len(keys) != 1 || !keys[0].Equal(want[0]) || one["id"] != receipt.KeyID(keys[0]) {
		t.Errorf("%v, %v, %v", one, keys, err)
	}
}

package controlapi_test

import (
	"errors"
	"testing"

	"example.com/erlmcp/function/internal/receipt"
)

// TestPublicKeys takes what the route says for a file of public keys, as verifiers do: each vouches for what it is for.
func TestPublicKeys(t *testing.T) {
	f := newFixture(t)
	said, _ := f.do(ask{method: "GET", path: "/v1/receipts/keys"}).object(t)["keys"].([]any)
	if len(said) != 2 {
		t.Fatalf("%v", said)
	}
	var file string
	var ids []any
	for _, one := range said {
		one, _ := one.(map[string]any)
		text, _ := one["pem"].(string)
		file += text
		ids = append(ids, one["id"])
	}
	keys, err := receipt.ParseKeys([]byte(file))
	want, _ := f.journal.Keys(t.Context())
	if err != nil || len(keys.Keys) != 1 || !keys.Keys[0].Equal(want.Keys[0]) || ids[0] != receipt.KeyID(keys.Keys[0]) {
		t.Errorf("%v, %v, %v", ids, keys, err)
	}
	if r := keys.Roots; len(r.Keys) != 1 || !r.Keys[0].Equal(want.Roots.Keys[0]) || !r.Since.Equal(want.Roots.Since) || ids[1] != receipt.KeyID(r.Keys[0]) {
		t.Errorf("%v, %v, want %v", ids, r, want.Roots)
	}
}

// TestAnchor: the account that pushes messages may ask for a root, and operators of any role may not. It leaves no receipt, which would be
// another reason for a root.
func TestAnchor(t *testing.T) {
	f := newFixture(t)
	by := func(account, audience string) ask {
		return ask{method: "POST", path: "/v1/receipts/anchor", as: f.pushToken(account, audience, googleKey())}
	}
	before := f.journal.count()
	for range 2 {
		if got := f.do(by(pushAccount, "https://taiea.example")); got.status != 204 || got.body != "" {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	if n := f.anchored.Load(); n != 2 || f.journal.count() != before {
		t.Errorf("asked for %d times, and %d receipts", n, f.journal.count()-before)
	}
	for who, c := range map[string]struct {
		ask    ask
		status int
	}{
		"nobody":              {ask{method: "POST", path: "/v1/receipts/anchor", as: "nobody"}, 401},
		"an admin":            {ask{method: "POST", path: "/v1/receipts/anchor", as: "admin"}, 401},
		"another account":     {by("other@example.iam.gserviceaccount.com", "https://taiea.example"), 403},
		"for another service": {by(pushAccount, "https://other.example"), 401},
	} {
		if got := f.do(c.ask); got.status != c.status {
			t.Errorf("%s: %d %s, want %d", who, got.status, got.body, c.status)
		}
	}
	f.down["anchor"] = errors.New("the key does not sign")
	if got := f.do(by(pushAccount, "https://taiea.example")); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("no root can be made: %d %s", got.status, got.body)
	}
	if n := f.anchored.Load(); n != 3 {
		t.Errorf("asked for %d times", n)
	}
}

package receipttest

import (
	"context"
	"crypto/ed25519"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/receipt/verify"
)

// The operator of tests, and the public key.
var (
	Operator = receipt.NewSigner(ed25519.NewKeyFromSeed([]byte("the operator's key, 32 bytes lon")))
	Keys     = []ed25519.PublicKey{Operator.Public()}
)

// Always has a key sign that does not change.
func Always(s receipt.Signer) func() receipt.Signer { return func() receipt.Signer { return s } }

// By has a key vouch for roots that does not change, nil for none.
func By(s receipt.Signer) journal.RootSigner {
	return func(time.Time) (receipt.Signer, bool) { return s, true }
}

// Open returns a journal on a store.
func Open(t testing.TB, store receipt.Store, change func(*journal.Options)) *journal.Journal {
	t.Helper()
	o := journal.Options{Instance: "node-1", Tag: 7, Store: store, Signer: Always(Operator)}
	if change != nil {
		change(&o)
	}
	j, err := journal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// Receipt is one of a call.
func Receipt(j *journal.Journal, kind receipt.Kind) receipt.Receipt {
	return receipt.Receipt{
		ID: j.NewID(), Kind: kind, Tenant: "acme", Principal: "5d41402abc4b2a76", Method: "tools/call", Tool: "search", Decision: receipt.Allow,
		Era: "2026-07-28", Arguments: receipt.HashOf([]byte(`{"q":"x"}`)), Catalog: "c7", Policy: "p3", Trace: "4bf92f3577b34da6a3ce929d0e0e4736",
	}
}

// Stored lists the receipts of a store.
func Stored(t testing.TB, store receipt.Store) (out []receipt.Receipt) {
	t.Helper()
	for r, err := range verify.Select(t.Context(), store, "", time.Time{}, time.Now().Add(1000*time.Hour)) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// Sound wants that a store verifies, and returns the report.
func Sound(t testing.TB, store receipt.Store, announced ...receipt.Head) *verify.Report {
	t.Helper()
	r, err := verify.Store(t.Context(), store, verify.Options{Keys: Keys, Announced: announced})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() {
		t.Errorf("%v", r)
	}
	return r
}

// Close closes a journal, and wants that all is stored.
func Close(t testing.TB, j *journal.Journal) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := j.Close(ctx); err != nil {
		t.Error(err)
	}
}

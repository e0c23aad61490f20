package app

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/cloudkms"
	"example.com/erlmcp/function/internal/cloudkms/cloudkmstest"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
)

// TestVersionsBefore proves what an earlier version of the key in Cloud KMS has signed. Its public key is asked for when it is needed, so no
// start waits for it.
func TestVersionsBefore(t *testing.T) {
	kms := cloudkmstest.NewKMS(t)
	service := httptest.NewServer(kms)
	defer service.Close()
	reach := func(k *cloudkms.Options) {
		k.Endpoint, k.Token = service.URL, func(context.Context) (string, error) { return cloudkmstest.Token, nil }
	}
	first := cloudkms.Options{Key: cloudkmstest.Key}
	reach(&first)
	signer, err := cloudkms.NewSigner(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	memory := NewMemory()
	j, err := journal.Start(journal.Options{Instance: "a", Store: memory.Receipts, Signer: func() receipt.Signer { return signer }}, nil)
	if err != nil {
		t.Fatal(err)
	}
	j.Append(receipt.Receipt{ID: j.NewID(), Kind: receipt.Completed, Decision: receipt.Allow, Method: "tools/call", Tool: "echo"})
	j.Close(time.Now().Add(10 * time.Second))

	second, _ := kms.Rotate(t)
	before := kms.Asked()
	o := Options{Memory: memory, Getenv: func(name string) string { return map[string]string{"RECEIPT_KMS_KEY": second}[name] }}
	o.Stand.KMS = reach
	r, err := OpenRecords(t.Context(), "", o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n := kms.Asked() - before; n != 1 {
		t.Errorf("a start asks Cloud KMS %d times, want once", n)
	}
	for range 2 {
		if report, _, err := r.Prove(t.Context(), "", time.Time{}, time.Time{}); err != nil || !report.OK() || report.Receipts == 0 {
			t.Errorf("%v, %v", report, err)
		}
	}
	if n := kms.Asked() - before; n != 2 {
		t.Errorf("%d requests, want one more for the version before", n)
	}
}

package firestore

import (
	"bytes"
	"flag"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/receipttest"
)

var (
	costRounds = flag.Int("cost", 0, "measure what a busy instance writes")
	strict     = flag.Bool("strict", false, "for as long as published; without it a tenth")
)

// TestCost holds the receipts of 10 000 calls a second against the emulator.
func TestCost(t *testing.T) {
	if *costRounds == 0 {
		t.Skip("asked for with -cost")
	}
	d := 5 * time.Second
	if *strict {
		d = time.Minute
	}
	emulator(t)
	warm(t)
	receipttest.Load(t, connect(t).Receipts(365*24*time.Hour), d)
}

// warm has the emulator take as much in another database first: in its first seconds it runs interpreted, and is slower than it and
// Firestore are.
func warm(t *testing.T) {
	store := connect(t).Receipts(time.Hour)
	for n := range int64(100) {
		s := &receipt.Segment{Chain: "warm", Number: n + 1, To: time.Now(), Certificate: []byte("c"), Header: []byte("h"), Receipts: bytes.Repeat([]byte("receipt\n"), 40_000)}
		if err := store.PutSegment(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

package memory

import (
	"fmt"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/receipttest"
)

func TestReceipts(t *testing.T) { receipttest.TestStore(t, NewReceipts(0)) }

func TestReceiptsAreForgotten(t *testing.T) {
	s := NewReceipts(100)
	for n := range int64(10) {
		if err := s.PutSegment(t.Context(), &receipt.Segment{Chain: "a", Number: n + 1, To: time.Unix(n, 0), Receipts: fmt.Appendf(nil, "%030d", n)}); err != nil {
			t.Fatal(err)
		}
	}
	got := ""
	for seg, err := range s.OfChain(t.Context(), "a", 1) {
		if err != nil {
			t.Fatal(err)
		}
		got += fmt.Sprint(seg.Number, " ")
	}
	if got != "8 9 10 " {
		t.Errorf("kept %s", got)
	}
}

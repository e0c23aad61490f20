package firestore

import (
	"testing"
	"time"

	"example.com/erlmcp/function/internal/receipt/receipttest"
)

func TestReceipts(t *testing.T) {
	emulator(t)
	receipttest.TestStore(t, connect(t).Receipts(365*24*time.Hour))
}

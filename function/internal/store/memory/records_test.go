package memory

import (
	"path/filepath"
	"testing"

	"example.com/erlmcp/function/internal/backup/backuptest"
)

type records = Records

// recorded is a store with its records.
type recorded struct {
	*Store
	*records
}

func TestRecords(t *testing.T) {
	for name, file := range map[string]bool{"in memory": false, "in a file": true} {
		t.Run(name, func(t *testing.T) {
			backuptest.TestStore(t, func(t *testing.T) backuptest.Pair {
				k := kept{New(), NewReceipts(0), NewEffects()}
				if file {
					k = open(t, filepath.Join(t.TempDir(), "store"))
					t.Cleanup(func() { shut(t, k) })
				}
				return backuptest.Pair{Filled: recorded{k.Store, NewRecords(k.Store, k.receipts)}, Receipts: k.receipts}
			})
		})
	}
}

// TestRecordsAreKept reads again from the file what was put into it.
func TestRecordsAreKept(t *testing.T) {
	a, path := kept{New(), NewReceipts(0), NewEffects()}, filepath.Join(t.TempDir(), "store")
	b := open(t, path)
	from, to := NewRecords(a.Store, a.receipts), NewRecords(b.Store, b.receipts)
	backuptest.Fill(t, backuptest.Pair{Filled: recorded{a.Store, from}, Receipts: a.receipts}, 5)
	backuptest.Copy(t, from, to)
	want := b.text()
	shut(t, b)
	again := open(t, path)
	defer shut(t, again)
	if got := again.text(); got != want {
		t.Errorf("put was\n%s\nand read is\n%s", want, got)
	}
}

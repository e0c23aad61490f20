package firestore

import (
	"testing"
	"time"

	"example.com/erlmcp/function/internal/backup/backuptest"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/archive"
	"example.com/erlmcp/function/internal/receipt/receipttest"
	"example.com/erlmcp/function/internal/store/memory"
)

func TestReceipts(t *testing.T) {
	emulator(t)
	receipttest.TestStore(t, connect(t).Receipts(365*24*time.Hour))
}

// TestArchive archives what Firestore has of a suite, and wants of the archive alone what Firestore says, in the order in which Firestore says it.
func TestArchive(t *testing.T) {
	emulator(t)
	now := func() time.Time { return time.Date(2026, 12, 10, 2, 17, 0, 0, time.UTC) }
	objects := backuptest.NewObjects()
	store := connect(t).Receipts(30 * 24 * time.Hour)
	receipttest.TestStore(t, &archive.Store{Recent: store, Archive: archive.Open(objects, 0, now)})
	w := &archive.Writer{Store: store, To: objects, Keep: 30 * 24 * time.Hour, Now: now}
	if done, err := w.Run(t.Context()); err != nil || done.Segments < 120 || done.Roots != 14 {
		t.Fatalf("%+v %v", done, err)
	}
	archived := &archive.Store{Recent: memory.NewReceipts(0), Archive: archive.Open(objects, 0, now)}
	both := &archive.Store{Recent: store, Archive: archive.Open(objects, 0, now)}
	for name, read := range map[string]func(receipt.Store) []*receipt.Segment{
		"between": func(s receipt.Store) []*receipt.Segment { return all(t, s.Between(t.Context(), time.Time{}, now())) },
		"backwards": func(s receipt.Store) []*receipt.Segment {
			return all(t, s.Backwards(t.Context(), "acme", time.Time{}, now()))
		},
		"a chain": func(s receipt.Store) []*receipt.Segment { return all(t, s.OfChain(t.Context(), "a", 7)) },
	} {
		want := read(store)
		for _, s := range []receipt.Store{archived, both} {
			got := read(s)
			if len(got) != len(want) || len(want) < 100 {
				t.Fatalf("%s: %d segments in the archive, %d in Firestore", name, len(got), len(want))
			}
			for i := range want {
				if got[i].Chain != want[i].Chain || got[i].Number != want[i].Number || !got[i].To.Equal(want[i].To) || string(got[i].Receipts) != string(want[i].Receipts) {
					t.Errorf("%s, %d: segment %d of %s, and in Firestore %d of %s", name, i, got[i].Number, got[i].Chain, want[i].Number, want[i].Chain)
				}
			}
		}
	}
}

func all(t *testing.T, segments func(func(*receipt.Segment, error) bool)) (out []*receipt.Segment) {
	t.Helper()
	for s, err := range segments {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

package verify_test

import (
	"bytes"
	"flag"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/receipt/receipttest"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/store/memory"
)

var update = flag.Bool("update", false, "write testdata/keyed.jsonl anew, because the format has another version")

// writtenFile has bare hashes of arguments, as all exports had, and keyedFile those with a key, which it hands over.
const (
	writtenFile = "testdata/export.jsonl"
	keyedFile   = "testdata/keyed.jsonl"
)

// written is an export as a version before this one wrote it, with the operator's key of these tests.
func written(t testing.TB) []byte { return writtenIn(t, writtenFile) }

func writtenIn(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestWritten verifies what an earlier version wrote: exports are kept for longer than versions are.
func TestWritten(t *testing.T) {
	if *update {
		synctest.Test(t, func(t *testing.T) { writeExport(t) })
	}
	keyed := writtenIn(t, keyedFile)
	r, err := verify.Export(t.Context(), bytes.NewReader(keyed), verify.Options{Keys: keys})
	if err != nil || !r.OK() || r.Receipts != 3 || r.Withheld != 1 || r.Roots != 2 || len(handedOver(t, keyed)) != 1 {
		t.Errorf("%v %v", err, r)
	}
	r, err = verify.Export(t.Context(), bytes.NewReader(written(t)), verify.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() || r.Receipts != 6 || r.Segments != 4 || r.Chains != 2 || r.Roots != 2 || len(r.Notes) > 0 {
		t.Errorf("%v", r)
	}
}

// writeExport writes the export of two instances that end.
func writeExport(t *testing.T) {
	store := memory.NewReceipts(0)
	hasher := receipt.NewHasher([]byte("the fleet's secret, 32 bytes long"))
	one := open(t, store, func(o *journal.Options) { o.Hasher = hasher })
	two := open(t, store, func(o *journal.Options) { o.Instance, o.Tag, o.Hasher = "node-2", 8, hasher })
	one.Append(call(one, receipt.Admitted))
	refused := call(two, receipt.Refused)
	refused.Decision, refused.Reason, refused.Limit, refused.Tenant = receipt.Refuse, "rate", "tool:search 5/s", "blue"
	two.Append(refused)
	two.Append(refused)
	time.Sleep(1100 * time.Millisecond) // in a bubble
	anchor := func() []receipt.Head {
		heads := []receipt.Head{one.Head(), two.Head()}
		if _, err := journal.Anchor(t.Context(), store, receipttest.By(operator), heads, time.Now()); err != nil {
			t.Fatal(err)
		}
		return heads
	}
	anchor()
	ended := call(one, receipt.Completed)
	ended.Duration, ended.Result = 1100*time.Millisecond, receipt.HashOf([]byte("[]"))
	one.Append(ended)
	change := call(one, receipt.Changed)
	change.Detail, change.Tool = `{"limit":"tool:search","perSecond":2}`, ""
	one.Append(change)
	shut(t, one)
	shut(t, two)
	heads := anchor()
	var out bytes.Buffer
	if _, err := verify.WriteExport(t.Context(), store, &out, verify.ExportOptions{Tenant: "acme", Signer: operator, Announced: heads, Hasher: hasher}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyedFile, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// FuzzExport wants that no export makes the verification fall, and that none but the true one is sound.
func FuzzExport(f *testing.F) {
	text := written(f)
	f.Add(text)
	f.Add([]byte("{\"export\":{}}\n{\"segment\":{}}\n{\"end\":{}}\n"))
	f.Fuzz(func(t *testing.T, other []byte) { forged(t, text, other) })
}

// FuzzEdits does the same with lines of the true export, dropped, doubled, moved and changed: what is signed is still signed.
func FuzzEdits(f *testing.F) {
	text := written(f)
	f.Add([]byte{0, 3, 0, 1, 4, 9, 2, 5, 6, 3, 7, 99})
	f.Fuzz(func(t *testing.T, edits []byte) {
		edits = edits[:min(len(edits), 3*20)]
		l := lines(bytes.SplitAfter(bytes.Clone(text), []byte{'\n'}))
		for ; len(edits) >= 3 && len(l) > 0; edits = edits[3:] {
			i, n := int(edits[1])%len(l), int(edits[2])
			switch edits[0] % 5 {
			case 0:
				l = l.drop(i, i+1)
			case 1:
				l = slices.Insert(l, n%len(l), l[i])
			case 2:
				j := n % len(l)
				l[i], l[j] = l[j], l[i]
			case 3:
				l[i] = bytes.Clone(l[i])
				if len(l[i]) > 0 {
					l[i][n%len(l[i])] ^= 1 << (n % 7)
				}
			case 4:
				l[i] = l[i][:min(n, len(l[i]))]
			}
		}
		forged(t, text, bytes.Join(l, nil))
	})
}

func forged(t *testing.T, text, other []byte) {
	r, err := verify.Export(t.Context(), bytes.NewReader(other), verify.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	if r.OK() && !bytes.Equal(other, text) {
		t.Fatalf("a forgery: %s", other)
	}
}

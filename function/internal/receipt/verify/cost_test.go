package verify_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/receipt/receipttest"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/store/memory"
)

var (
	costRounds = flag.Int("cost", 0, "measure what a million receipts cost to verify, and what a busy instance writes")
	strict     = flag.Bool("strict", false, "as many and for as long as published; without it a tenth")
)

// TestCost measures what it costs to verify an export, and what an instance writes that decides 10 000 calls a second.
func TestCost(t *testing.T) {
	if *costRounds == 0 {
		t.Skip("asked for with -cost")
	}
	receipts, second, minute := 100_000, 2*time.Second, 5*time.Second
	if *strict {
		receipts, second, minute = 1_000_000, 20*time.Second, time.Minute
	}
	t.Run("verification", func(t *testing.T) { verification(t, receipts, second) })
	t.Run("rate", func(t *testing.T) { receipttest.Load(t, slow{newDisk(t), 5 * time.Millisecond}, minute) })
}

// verification exports what eight instances have written, and verifies that on one core.
func verification(t *testing.T, receipts int, limit time.Duration) {
	const instances = 8
	name := filepath.Join(t.TempDir(), "export.jsonl")
	synctest.Test(t, func(t *testing.T) {
		store := newDisk(t)
		var journals []*journal.Journal
		for i := range instances {
			journals = append(journals, open(t, store, func(o *journal.Options) { o.Instance, o.Tag = fmt.Sprint("node-", i+1), uint32(i+1) }))
		}
		heads := func() (out []receipt.Head) {
			for _, j := range journals {
				out = append(out, j.Head())
			}
			return out
		}
		for n := range receipts - instances {
			j := journals[n%instances]
			j.Append(receipttest.Call(j, n))
			if n%(instances*100) == 0 { // 2000 a second
				time.Sleep(400 * time.Millisecond)
			}
			if n%120_000 == 0 {
				if _, err := journal.Anchor(t.Context(), store, receipttest.By(operator), heads(), time.Now()); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, j := range journals {
			shut(t, j)
		}
		out, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if _, err := verify.WriteExport(t.Context(), store, out, verify.ExportOptions{Signer: operator, Announced: heads()}); err != nil {
			t.Fatal(err)
		}
	})
	in, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	runtime.GC()
	used, begin := receipttest.CPU(), time.Now()
	r, err := verify.Export(t.Context(), in, verify.Options{Keys: keys})
	took, cost := time.Since(begin), receipttest.CPU()-used
	if err != nil {
		t.Fatal(err)
	}
	size, err := in.Seek(0, io.SeekCurrent)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d receipts, %.0f MB, verified in %.2f s of CPU and %.2f s on one core, %.1f µs for each", r.Receipts, float64(size)/1e6, cost.Seconds(), took.Seconds(), float64(cost.Microseconds())/float64(r.Receipts))
	if !r.OK() || r.Receipts != int64(receipts) || r.Chains != instances {
		t.Errorf("of %d receipts: %v", receipts, r)
	}
	if cost > limit {
		t.Errorf("%.2f s of CPU, want at most %v", cost.Seconds(), limit)
	}
}

// A slow store takes its time for each write.
type slow struct {
	receipt.Store
	latency time.Duration
}

func (s slow) PutSegment(ctx context.Context, segment *receipt.Segment) error {
	time.Sleep(s.latency) // real time: it is measured
	return s.Store.PutSegment(ctx, segment)
}

// A disk keeps the receipts of segments in a file, and the rest in memory, so that memory tells of the journal alone. Roots and what
// chains open with are where they always are.
type disk struct {
	*memory.Receipts
	file *os.File
	mu   sync.Mutex
	end  int64
	all  []kept // by To
}

type kept struct {
	to     time.Time
	at     int64
	length int
}

func newDisk(t *testing.T) *disk {
	f, err := os.Create(filepath.Join(t.TempDir(), "segments"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &disk{Receipts: memory.NewReceipts(0), file: f}
}

func (d *disk) PutSegment(ctx context.Context, s *receipt.Segment) error {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(s); err != nil {
		return err
	}
	brief := *s
	brief.Receipts = nil
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.file.WriteAt(b.Bytes(), d.end); err != nil {
		return err
	}
	i, _ := slices.BinarySearchFunc(d.all, s.To, func(k kept, to time.Time) int {
		if k.to.After(to) {
			return 1
		}
		return -1 // behind those of the same time
	})
	d.all = slices.Insert(d.all, i, kept{s.To, d.end, b.Len()})
	d.end += int64(b.Len())
	return d.Receipts.PutSegment(ctx, &brief)
}

func (d *disk) Between(_ context.Context, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return func(yield func(*receipt.Segment, error) bool) {
		for _, k := range d.all {
			if k.to.Before(from) || k.to.After(to) {
				continue
			}
			s := &receipt.Segment{}
			b := make([]byte, k.length)
			_, err := d.file.ReadAt(b, k.at)
			if err == nil {
				err = gob.NewDecoder(bytes.NewReader(b)).Decode(s)
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

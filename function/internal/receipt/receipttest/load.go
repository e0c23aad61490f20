package receipttest

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/receipt/verify"
)

const (
	perSecond   = 10000
	maxWrites   = 40 // per second
	maxHeap     = 64 << 20
	loadCallers = 8
)

// Load has one journal take 10 000 receipts a second for a while and store them in an empty store, and wants that it writes at
// most 40 times a second, loses nothing and needs no more memory than 64 MiB, and that what is stored verifies. It logs the
// figures.
func Load(t *testing.T, store receipt.Store, d time.Duration) {
	t.Helper()
	operator := receipt.NewSigner(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	var last atomic.Pointer[receipt.Head]
	j, err := journal.Open(journal.Options{Instance: "node-1", Store: store, Signer: Always(operator), Announce: func(h receipt.Head) { last.Store(&h) }})
	if err != nil {
		t.Fatal(err)
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	used := CPU()
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range loadCallers {
		wg.Go(func() {
			const mine = perSecond / loadCallers
			for n := 0; n < mine*int(d/time.Second); {
				for due := min(int(time.Since(begin).Seconds()*mine), mine*int(d/time.Second)); n < due; n++ {
					j.Append(Call(j, i*mine+n))
				}
				time.Sleep(2 * time.Millisecond) // real time: it is measured
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	heap, waiting, oldest := uint64(0), 0, time.Duration(0)
	for appending := true; appending; {
		select {
		case <-done:
			appending = false
		case <-time.After(50 * time.Millisecond): // real time: it is measured
		}
		runtime.ReadMemStats(&now)
		s := j.Stats()
		heap, waiting, oldest = max(heap, now.HeapAlloc), max(waiting, s.Waiting), max(oldest, s.Oldest)
	}
	took := time.Since(begin)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := j.Close(ctx); err != nil {
		t.Error(err)
	}
	cost := CPU() - used
	s := j.Stats()
	grown := max(0, int64(heap)-int64(before.HeapAlloc))
	t.Logf("%d receipts in %.1f s, %.0f a second: %.1f writes a second of %d on average, %d failed; at most %d waited, for %v at most, in %.1f MiB of memory; %.1f µs of CPU for each",
		s.Appended, took.Seconds(), float64(s.Appended)/took.Seconds(), float64(s.Writes)/took.Seconds(), s.Stored/max(1, s.Writes), s.Failures,
		waiting, oldest.Round(time.Millisecond), float64(grown)/(1<<20), float64(cost.Microseconds())/float64(max(1, s.Appended)))

	want := int64(perSecond * int(d/time.Second))
	if s.Appended != want || s.Stored != want+1 || s.Lost+s.Late > 0 || s.Waiting > 0 {
		t.Errorf("of %d receipts %d are stored, %d were lost, %d were late, %d wait", want, s.Stored-1, s.Lost, s.Late, s.Waiting)
	}
	if took > d*11/10 {
		t.Errorf("it took %v to append what comes in %v", took, d)
	}
	if float64(s.Writes)/took.Seconds() > maxWrites {
		t.Errorf("%.1f writes a second, want at most %d", float64(s.Writes)/took.Seconds(), maxWrites)
	}
	if grown > maxHeap {
		t.Errorf("%.1f MiB of memory, want at most %d", float64(grown)/(1<<20), maxHeap>>20)
	}
	r, err := verify.Store(ctx, store, verify.Options{Keys: []ed25519.PublicKey{operator.Public()}, Announced: []receipt.Head{*last.Load()}})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() || r.Receipts != want+1 {
		t.Errorf("of %d receipts: %v", want+1, r)
	}
}

// Call is the receipt of the n-th of many calls, of 50 tenants and 20 tools.
func Call(j *journal.Journal, n int) receipt.Receipt {
	return receipt.Receipt{
		ID: j.NewID(), Kind: receipt.Completed, Tenant: fmt.Sprintf("tenant-%d", n%50), Principal: "5d41402abc4b2a765d41402abc4b2a76", Method: "tools/call",
		Tool: fmt.Sprintf("tool-%d", n%20), Decision: receipt.Allow, Era: "2026-07-28", Duration: time.Duration(n%100000) * time.Microsecond,
		Arguments: receipt.HashOf([]byte{byte(n), byte(n >> 8)}), Result: receipt.HashOf([]byte{byte(n >> 16)}), Catalog: "c7", Policy: "p3",
		Trace: "4bf92f3577b34da6a3ce929d0e0e4736",
	}
}

// CPU is the time that this process has had of processors.
func CPU() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u) // can't fail for the process itself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package verify_test

import (
	"flag"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/verify"
)

// kept are roots of the world as they are kept elsewhere.
func (w *hours) kept(want func(*receipt.Root) bool) verify.Kept {
	return verify.Kept{Place: "gs://bucket", Roots: func(yield func(*receipt.Root, error) bool) {
		for _, r := range w.roots {
			if (want == nil || want(r)) && !yield(r, nil) {
				return
			}
		}
	}}
}

var gone = regexp.MustCompile(`^chain ([0-9a-f-]+)\b.*?receipts? (\d+)(?:–(\d+))?`)

// missing are the receipts that a report names as such.
func missing(t *testing.T, r *verify.Report) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, f := range r.Faults {
		if f.Kind != verify.Missing && f.Kind != verify.Tail {
			t.Errorf("%s: %s", f.Kind, f.Words)
		}
		m := gone.FindStringSubmatch(f.Words)
		if m == nil {
			continue
		}
		from, _ := strconv.Atoi(m[2])
		to, err := strconv.Atoi(m[3])
		if err != nil {
			to = from
		}
		for n := from; n <= to; n++ {
			out[fmt.Sprint(m[1], " ", n)] = true
		}
	}
	return out
}

var whole = flag.Bool("whole", false, "roll back to each minute")

// TestKeptRoots rolls the store back to each of its minutes, roots included, with nothing announced. The roots that are kept elsewhere name
// each receipt that is gone, and no other.
func TestKeptRoots(t *testing.T) {
	w := makeHours(t)
	last, err := receipt.ReadHeads(w.roots[len(w.roots)-1].Text)
	if err != nil {
		t.Fatal(err)
	}
	step := 13
	if *whole {
		step = 1
	}
	for minute := 0; minute < 180; minute += step {
		until := w.begin.Add(time.Duration(minute) * time.Minute)
		store := w.left(t, func(s *receipt.Segment) bool { return s.To.Before(until) }, func(r *receipt.Root) bool { return r.Time.Before(until) })
		r, err := verify.Store(t.Context(), store, verify.Options{Keys: keys, Kept: w.kept(nil), Now: w.end})
		if err != nil {
			t.Fatal(err)
		}
		named, want := missing(t, r), map[string]bool{}
		for _, h := range last.Heads {
			for seq := range h.Seq {
				want[fmt.Sprint(h.Chain, " ", seq+1)] = true
			}
		}
		for s, err := range store.Between(t.Context(), time.Time{}, w.end) {
			if err != nil {
				t.Fatal(err)
			}
			h, err := receipt.ReadHeader(s.Header)
			if err != nil {
				t.Fatal(err)
			}
			for seq := h.First; seq <= h.Last; seq++ {
				delete(want, fmt.Sprint(h.Chain, " ", seq))
			}
		}
		if len(want) == 0 || len(named) != len(want) {
			t.Errorf("rolled back to minute %d: %d receipts are named, and %d are missing", minute, len(named), len(want))
		}
		for id := range want {
			if !named[id] {
				t.Errorf("rolled back to minute %d: receipt %s is not named", minute, id)
				break
			}
		}
		if t.Failed() {
			return
		}
	}
}

// TestKeptRootsOfAnother has the store go on after it was rolled back, with roots of its own in place of those that are kept.
func TestKeptRootsOfAnother(t *testing.T) {
	w := makeHours(t)
	for _, c := range []struct {
		name   string
		kept   func(*receipt.Root) bool
		change func(*receipt.Root) *receipt.Root
		want   map[verify.FaultKind]int
	}{
		{"the same", nil, nil, map[verify.FaultKind]int{}},
		{"some", func(r *receipt.Root) bool { return r.Number%7 == 0 }, nil, map[verify.FaultKind]int{}},
		{"none", func(*receipt.Root) bool { return false }, nil, map[verify.FaultKind]int{}},
		{"another in its place", nil, func(r *receipt.Root) *receipt.Root {
			h, err := receipt.ReadHeads(r.Text)
			if err != nil {
				t.Fatal(err)
			}
			if h.Heads = h.Heads[:1]; r.Number < 90 {
				return r
			}
			if err := h.Sign(t.Context(), operator); err != nil {
				t.Fatal(err)
			}
			return &receipt.Root{Number: r.Number, Time: r.Time, Text: h.Append(nil)}
		}, map[verify.FaultKind]int{verify.Replaced: len(w.roots) - 89 + len(w.roots) - 90}},
	} {
		store := w.left(t, nil, func(*receipt.Root) bool { return false })
		for _, r := range w.roots {
			if c.change != nil {
				r = c.change(r)
			}
			if err := store.PutRoot(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		r, err := verify.Store(t.Context(), store, verify.Options{Keys: keys, Kept: w.kept(c.kept), Now: w.end})
		if err != nil {
			t.Fatal(err)
		}
		got := map[verify.FaultKind]int{}
		for _, f := range r.Faults {
			got[f.Kind]++
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v: %v", c.name, got, c.want, r.Faults[:min(3, len(r.Faults))])
		}
	}
	fails := fmt.Errorf("no answer")
	bad := verify.Kept{Place: "gs://bucket", Roots: func(yield func(*receipt.Root, error) bool) { yield(nil, fails) }}
	if _, err := verify.Store(t.Context(), w.left(t, nil, nil), verify.Options{Keys: keys, Kept: bad}); err == nil {
		t.Error("kept roots that can't be read are passed over")
	}
}

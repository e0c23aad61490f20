package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/receipt/receipttest"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/store/memory"
)

// TestTamperedTenant edits an export for one tenant, whose end the editor could make anew: it must be found from the segments.
func TestTamperedTenant(t *testing.T) {
	w := makeWorld(t)
	whole := w.export(t, "rare")
	if r := verified(t, w, whole.text()); !r.OK() || r.Receipts != 2*2+1 || r.Withheld != 5*(perSegment-1) || r.Segments != 5 {
		t.Fatalf("as it was: %v\n%s", r, whole.text())
	}
	for _, other := range []string{"acme", "blue", "core"} {
		if bytes.Contains(whole.text(), []byte(other)) {
			t.Errorf("an export for one tenant names %s", other)
		}
	}
	if r := verified(t, w, w.export(t, "acme").text()); !r.OK() || r.Receipts != 2*(6*7)+4*7 {
		t.Errorf("a tenant in every segment: %v", r)
	}
	if r := verified(t, w, w.export(t, "nobody").text()); !r.OK() || r.Receipts+r.Segments != 0 {
		t.Errorf("a tenant without receipts: %v", r)
	}
	one := w.chains[0]
	for _, c := range []struct {
		name  string
		edit  func(l lines) lines
		kind  verify.FaultKind
		words []string
	}{
		{"the hash of another's receipt edited", func(l lines) lines {
			i := l.header(one, 2) + 3
			l[i] = []byte(`"` + receipt.HashOf([]byte("x")).String() + `"`)
			return l
		}, verify.Replaced, []string{"segment 2"}},
		{"the hash of another's receipt dropped", func(l lines) lines { i := l.header(one, 2) + 3; return l.drop(i, i+1) }, verify.Missing, []string{"segment 2"}},
		{"two hashes swapped", func(l lines) lines { i := l.header(one, 2) + 3; l[i], l[i+1] = l[i+1], l[i]; return l }, verify.Replaced, []string{"segment 2"}},
		{"a receipt edited", func(l lines) lines { return l.replace(l.receipt("node-1", 28), "search", "delete") }, verify.Altered, []string{"(28)"}},
		{"a receipt edited, with its hash", func(l lines) lines { return l.rehash(l.receipt("node-1", 28), "delete") }, verify.Replaced, []string{"segment 2"}},
		{"a receipt hidden behind its hash", func(l lines) lines {
			i := l.receipt("node-1", 28)
			r, _ := receipt.Parse(l[i])
			l[i] = []byte(`"` + r.Hash.String() + `"`)
			return l
		}, verify.Withheld, []string{"segment 2", "1 receipts of the tenant"}},
		{"a segment dropped that the next one knows of", func(l lines) lines { i := l.header(one, 2); return l.drop(i, i+1+perSegment) }, verify.Missing, []string{"segment 2 is missing, and has receipts of the tenant"}},
		{"two segments swapped", func(l lines) lines {
			i, j := l.header(one, 2), l.header(one, 5)
			a, b := slices.Clone(l[i:i+1+perSegment]), slices.Clone(l[j:j+1+perSegment])
			copy(l[i:], b)
			copy(l[j:], a)
			return l
		}, verify.Reordered, []string{"segment 2"}},
		{"the count of the tenant's receipts edited", func(l lines) lines { return l.replace(l.header(one, 5), `"count":1`, `"count":0`) }, verify.Altered, nil},
		{"the last segment dropped, with the old end", func(l lines) lines { i := l.header(one, 5); return l.drop(i, i+1+perSegment) }, verify.Missing, []string{"the export had 5 segments, and has 4"}},
		{"the last segment dropped, with another end", func(l lines) lines { i := l.header(one, 5); return l.drop(i, i+1+perSegment).remade(thief) }, verify.Forged, []string{"end of the export"}},
		{"said to be another's", func(l lines) lines { return l.replace(0, "rare", "acme").remade(nil) }, verify.Withheld, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			named(t, verified(t, w, c.edit(w.export(t, "rare")).text()), c.kind, c.words...)
		})
	}
}

// TestEveryByte flips a bit of every byte of an export.
func TestEveryByte(t *testing.T) {
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReceipts(0)
		j := open(t, store, nil)
		j.Append(call(j, receipt.Admitted))
		shut(t, j) // which adds the receipt of the end
		if _, err := journal.Anchor(t.Context(), store, receipttest.By(operator), []receipt.Head{j.Head()}, time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := verify.WriteExport(t.Context(), store, &out, verify.ExportOptions{Signer: operator, Announced: []receipt.Head{j.Head()}}); err != nil {
			t.Fatal(err)
		}
	})
	o := verify.Options{Keys: keys}
	if r, err := verify.Export(t.Context(), bytes.NewReader(out.Bytes()), o); err != nil || !r.OK() || len(r.Notes) > 0 {
		t.Fatalf("%v %v", r, err)
	}
	for i := range out.Bytes() {
		text := bytes.Clone(out.Bytes())
		text[i] ^= 1 << rand.IntN(8)
		if r, err := verify.Export(t.Context(), bytes.NewReader(text), o); err != nil || r.OK() {
			t.Fatalf("byte %d of %q is %q, and nothing is said: %v", i, out.Bytes()[max(0, i-20):i+1], text[i], err)
		}
	}
	for i := range out.Len() - 1 {
		if r, err := verify.Export(t.Context(), bytes.NewReader(out.Bytes()[:i]), o); err != nil || r.OK() {
			t.Fatalf("cut off after %d bytes, and nothing is said: %v", i, err)
		}
	}
}

// TestTamperedStore edits what is stored, as one might who has the database, with every means but the keys.
func TestTamperedStore(t *testing.T) {
	w := makeWorld(t)
	one, two, three := w.chains[0], w.chains[1], w.chains[2]
	is := func(s *receipt.Segment, chain string, number int64) bool {
		return s.Chain == chain && s.Number == number
	}
	drop := func(chain string, numbers ...int64) func(*receipt.Segment) *receipt.Segment {
		return func(s *receipt.Segment) *receipt.Segment {
			if s.Chain == chain && (len(numbers) == 0 || slices.Contains(numbers, s.Number)) {
				return nil
			}
			return s
		}
	}
	edit := func(chain string, number int64, change func(*receipt.Segment)) func(*receipt.Segment) *receipt.Segment {
		return func(s *receipt.Segment) *receipt.Segment {
			if is(s, chain, number) {
				change(s)
			}
			return s
		}
	}
	var twos *receipt.Segment
	for s, err := range w.store.OfChain(t.Context(), two, 2) {
		if err != nil {
			t.Fatal(err)
		}
		twos = s
		break
	}
	for _, c := range []struct {
		name  string
		edit  func(*receipt.Segment) *receipt.Segment
		kind  verify.FaultKind
		words []string
	}{
		{"a receipt edited", edit(one, 2, func(s *receipt.Segment) {
			s.Receipts = bytes.Replace(s.Receipts, []byte("search"), []byte("delete"), 1)
		}), verify.Altered, []string{"node-1", "segment 2", "(21)"}},
		{"a receipt dropped", edit(one, 2, func(s *receipt.Segment) {
			_, s.Receipts, _ = bytes.Cut(s.Receipts, []byte{'\n'})
		}), verify.Missing, []string{"receipt 21 is missing"}},
		{"half of the receipts dropped", edit(one, 2, func(s *receipt.Segment) {
			s.Receipts = bytes.Join(bytes.SplitAfter(s.Receipts, []byte{'\n'})[:10], nil)
		}), verify.Missing, []string{"receipts 31–40 are missing"}},
		{"no receipts", edit(one, 2, func(s *receipt.Segment) { s.Receipts = nil }), verify.Missing, []string{"receipts 21–40 are missing"}},
		{"a segment dropped", drop(one, 3), verify.Missing, []string{"segment 3 is missing, with receipts 41–60"}},
		{"two segments dropped", drop(one, 3, 4), verify.Missing, []string{"segments 3–4 are missing, with receipts 41–80"}},
		{"the first segments dropped", drop(one, 1, 2), verify.Missing, []string{"segments 1–2 are missing, with receipts 1–40"}},
		{"the last segment dropped", drop(one, inChain), verify.Tail, []string{"receipts 101–121 are missing", "receipt 100 is the last one stored"}},
		{"a chain dropped", drop(one), verify.Tail, []string{one, "receipts 1–121 are missing", "nothing of the chain is stored"}},
		{"another chain's segment in the place of one", edit(one, 2, func(s *receipt.Segment) {
			s.Header, s.Receipts, s.Certificate = twos.Header, twos.Receipts, twos.Certificate
		}), verify.Misfiled, []string{two, "it is filed as segment 2 of chain " + one}},
		{"the certificate of another chain", edit(one, 2, func(s *receipt.Segment) { s.Certificate = twos.Certificate }), verify.Foreign, []string{"carries the certificate of chain " + two}},
		{"a certificate that can't be read", edit(one, 2, func(s *receipt.Segment) { s.Certificate = s.Certificate[:20] }), verify.Altered, []string{"certificate"}},
		{"a header that can't be read", edit(one, 2, func(s *receipt.Segment) { s.Header = s.Header[1:] }), verify.Altered, []string{"header of segment 2"}},
		{"filed at another time", edit(one, 2, func(s *receipt.Segment) { s.From = s.From.Add(-time.Hour) }), verify.Misfiled, []string{"segment 2"}},
		{"filed under another tenant", edit(one, 2, func(s *receipt.Segment) { s.Tenants[0] = "x" }), verify.Misfiled, []string{"segment 2", "other tenants"}},
		{"filed under fewer ids", edit(one, 2, func(s *receipt.Segment) { s.Calls = s.Calls[:0] }), verify.Misfiled, []string{"segment 2", "other ids"}},
		{"filed under another number", edit(one, 2, func(s *receipt.Segment) { s.Number = 20 }), verify.Misfiled, []string{"filed as segment 20"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := verify.Store(t.Context(), w.without(t, c.edit), verify.Options{Keys: keys, Announced: w.announced, Now: w.now})
			if err != nil {
				t.Fatal(err)
			}
			named(t, r, c.kind, c.words...)
			for _, f := range r.Faults {
				if f.Kind == verify.Misfiled && c.kind != verify.Misfiled {
					t.Errorf("a fault that follows from another: %s", f.Words)
				}
			}
		})
	}

	t.Run("as it was", func(t *testing.T) {
		// node-3 was killed: the range between the last stored and the last announced receipt is named.
		r, err := verify.Store(t.Context(), w.store, verify.Options{Keys: keys, Announced: w.announced, Now: w.now})
		if err != nil || len(r.Faults) != 1 || r.Faults[0].Kind != verify.Tail || r.Faults[0].Chain != three || r.Faults[0].Seq != 81 || r.Faults[0].Last != 120 {
			t.Errorf("%v %v", r, err)
		}
	})
	t.Run("alive", func(t *testing.T) {
		// While it announces, what is not stored is on its way; what was stored once must be there.
		head := w.announced[2]
		head.Time = w.now.Add(-time.Second)
		r, err := verify.Store(t.Context(), w.store, verify.Options{Keys: keys, Announced: []receipt.Head{head}, Now: w.now})
		if err != nil || !r.OK() || !strings.Contains(r.String(), "40 receipts of chain "+three+" of instance node-3 are on their way") {
			t.Errorf("%v %v", r, err)
		}
		r, err = verify.Store(t.Context(), w.without(t, drop(three, 4)), verify.Options{Keys: keys, Announced: []receipt.Head{head}, Now: w.now})
		if err != nil {
			t.Fatal(err)
		}
		named(t, r, verify.Tail, "receipts 61–120 are missing")
	})
	t.Run("a range", func(t *testing.T) {
		segments := slices.Collect(func(yield func(*receipt.Segment) bool) {
			for s := range w.store.OfChain(t.Context(), one, 1) {
				if !yield(s) {
					return
				}
			}
		})
		o := verify.Options{Keys: keys, Announced: w.announced, Now: w.now, From: segments[1].To, To: segments[3].To}
		if r, err := verify.Store(t.Context(), w.store, o); err != nil || !r.OK() || r.Segments != 9 {
			t.Errorf("%v %v", r, err)
		}
		for number, words := range map[int64]string{2: "segment 2 is missing, with receipt 40", 3: "segment 3 is missing, with receipts 41–60", 4: "segment 4 is missing, with receipts 61–80"} {
			r, err := verify.Store(t.Context(), w.without(t, drop(one, number)), o)
			if err != nil {
				t.Fatal(err)
			}
			named(t, r, verify.Missing, words)
		}
		for _, number := range []int64{1, 5} { // out of the range
			if r, err := verify.Store(t.Context(), w.without(t, drop(one, number)), o); err != nil || (number == 1) != r.OK() {
				t.Errorf("without segment %d: %v %v", number, r, err)
			}
		}
	})
	t.Run("roots", func(t *testing.T) {
		var roots []*receipt.Root
		for r, err := range w.store.Roots(t.Context(), time.Time{}, w.now) {
			if err != nil {
				t.Fatal(err)
			}
			roots = append(roots, r)
		}
		for _, c := range []struct {
			name  string
			edit  func(*receipt.Root) *receipt.Root
			kind  verify.FaultKind
			words string
		}{
			{"dropped", func(*receipt.Root) *receipt.Root { return nil }, verify.Missing, "root 2 is missing"},
			{"edited", func(r *receipt.Root) *receipt.Root { r.Text[20] ^= 1; return r }, verify.Altered, "a root after root 1"},
			{"moved", func(r *receipt.Root) *receipt.Root { r.Time = r.Time.Add(time.Microsecond); return r }, verify.Misfiled, "root 2"},
		} {
			store := w.without(t, func(s *receipt.Segment) *receipt.Segment { return s })
			r, err := verify.Store(t.Context(), rooted{store, func(yield func(*receipt.Root, error) bool) {
				for i, r := range roots {
					c2 := *r
					c2.Text = bytes.Clone(r.Text)
					if e := &c2; i == 1 {
						if e = c.edit(e); e != nil && !yield(e, nil) {
							return
						}
					} else if !yield(e, nil) {
						return
					}
				}
			}}, verify.Options{Keys: keys, Now: w.now})
			if err != nil {
				t.Fatal(err)
			}
			named(t, r, c.kind, c.words)
		}
	})
}

// rooted is a store with other roots.
type rooted struct {
	receipt.Store
	roots iter.Seq2[*receipt.Root, error]
}

func (r rooted) Roots(context.Context, time.Time, time.Time) iter.Seq2[*receipt.Root, error] {
	return r.roots
}

// TestClock is an instance whose clock is moved, though its chain and its signatures are right.
func TestClock(t *testing.T) {
	for _, c := range []struct {
		name  string
		moved time.Duration
		words string
	}{
		{"back by two hours", -2 * time.Hour, "the clock was moved back"},
		{"ahead by two hours", 2 * time.Hour, "is yet to come"},
		{"back by a second", -time.Second, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.NewReceipts(0)
				start := time.Now().Add(-time.Minute)
				var moved atomic.Int64
				j := open(t, store, func(o *journal.Options) {
					o.Now = func() time.Time { return start.Add(time.Duration(moved.Load())) }
				})
				for i := range 3 {
					if i == 1 {
						moved.Store(int64(c.moved))
					}
					if err := j.Commit(t.Context(), call(j, receipt.Admitted)); err != nil {
						t.Fatal(err)
					}
				}
				shut(t, j)
				r, err := verify.Store(t.Context(), store, verify.Options{Keys: keys})
				if err != nil || r.OK() != (c.words == "") {
					t.Fatalf("%v %v", r, err)
				}
				if c.words != "" {
					named(t, r, verify.Clock, "segment 2", "(2)", c.words)
				}
			})
		})
	}
}

func TestFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReceipts(0)
		j := open(t, store, nil)
		r := call(j, receipt.Admitted)
		j.Append(r)
		for range 1000 {
			j.Append(call(j, receipt.Admitted))
		}
		time.Sleep(time.Minute) // a long call
		r.Kind = receipt.Completed
		j.Append(r)
		shut(t, j)
		found, report, err := verify.Find(t.Context(), store, r.ID, keys)
		if err != nil || len(found) != 2 || found[0].Kind != receipt.Admitted || found[1].Kind != receipt.Completed || !report.OK() {
			t.Errorf("%v %v %v", found, report, err)
		}
		if found, report, err := verify.Find(t.Context(), store, receipt.NewID(7, time.Now().Add(time.Hour)), keys); err != nil || len(found) > 0 || report.Segments > 0 {
			t.Errorf("what there is not: %v %v %v", found, report, err)
		}
		if _, _, err := verify.Find(t.Context(), store, "x", keys); err == nil {
			t.Error("x is no id")
		}
		if _, report, err := verify.Find(t.Context(), edited{store, func(s *receipt.Segment) {
			s.Receipts = bytes.Replace(s.Receipts, []byte("search"), []byte("delete"), 1)
		}}, r.ID, keys); err != nil || report.OK() {
			t.Errorf("an edited receipt: %v %v", report, err)
		}
	})
}

// edited is a store whose segments are edited as they are read.
type edited struct {
	receipt.Store
	edit func(*receipt.Segment)
}

func (e edited) OfCall(ctx context.Context, call int64) iter.Seq2[*receipt.Segment, error] {
	return func(yield func(*receipt.Segment, error) bool) {
		for s, err := range e.Store.OfCall(ctx, call) {
			c := *s
			c.Receipts = bytes.Clone(s.Receipts)
			e.edit(&c)
			if !yield(&c, err) {
				return
			}
		}
	}
}

// TestBrokenStore wants an error where a store can't be read, not a verdict.
func TestBrokenStore(t *testing.T) {
	broken := rooted{memory.NewReceipts(0), func(yield func(*receipt.Root, error) bool) { yield(nil, errors.New("no answer")) }}
	if _, err := verify.Store(t.Context(), broken, verify.Options{}); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Error(err)
	}
	if _, err := verify.WriteExport(t.Context(), broken, &bytes.Buffer{}, verify.ExportOptions{}); err == nil {
		t.Error("exported")
	}
	if _, err := verify.Export(t.Context(), brokenReader{}, verify.Options{}); err == nil {
		t.Error("read")
	}
	if _, err := verify.WriteExport(t.Context(), memory.NewReceipts(0), brokenReader{}, verify.ExportOptions{}); err == nil {
		t.Error("written")
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error)  { return 0, errors.New("no disk") }
func (brokenReader) Write([]byte) (int, error) { return 0, errors.New("no disk") }

// TestManyTenants is an export for one of more tenants than a chain remembers.
func TestManyTenants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReceipts(0)
		j := open(t, store, func(o *journal.Options) { o.MaxWaiting = 1 << 20; o.MaxBytes = 1 << 30 })
		for n := range 3 {
			for i := range 6000 {
				r := call(j, receipt.Admitted)
				r.Tenant = fmt.Sprintf("tenant %d-%d", n%2, i)
				j.Append(r)
			}
			r := call(j, receipt.Admitted)
			if err := j.Commit(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		shut(t, j)
		sound(t, store, j.Head())
		for _, tenant := range []string{"acme", "tenant 0-5"} {
			var out bytes.Buffer
			x, err := verify.WriteExport(t.Context(), store, &out, verify.ExportOptions{Signer: operator, Tenant: tenant})
			if err != nil {
				t.Fatal(err)
			}
			r, err := verify.Export(t.Context(), &out, verify.Options{Keys: keys})
			if err != nil || !r.OK() || r.Receipts != x.Receipts || r.Receipts < 2 || !strings.Contains(r.String(), "too many tenants") {
				t.Errorf("%v %v", r, err)
			}
		}
	})
}

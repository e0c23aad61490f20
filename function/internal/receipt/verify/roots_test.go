package verify_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/receipt/receipttest"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/store/memory"
)

// hours is what a fleet wrote in three hours: node-1 a receipt a minute, node-2 one each 20 minutes, and node-3 lived for 10 minutes
// of the last hour. A root was made each minute.
type hours struct {
	segments  []*receipt.Segment
	roots     []*receipt.Root
	announced []receipt.Head
	begin     time.Time
	end       time.Time
}

func makeHours(t *testing.T) *hours { return makeHoursBy(t, receipttest.By(operator)) }

func makeHoursBy(t *testing.T, by journal.RootSigner) *hours {
	t.Helper()
	w := &hours{}
	store := memory.NewReceipts(0)
	synctest.Test(t, func(t *testing.T) {
		w.begin = time.Now()
		node := func(i uint32) *journal.Journal {
			return open(t, store, func(o *journal.Options) { o.Instance, o.Tag = fmt.Sprint("node-", i), i })
		}
		journals := []*journal.Journal{node(1), node(2), nil}
		for minute := range 180 {
			switch minute {
			case 130:
				journals[2] = node(3)
			case 140:
				shut(t, journals[2])
			}
			for i, j := range journals {
				if i == 0 || i == 1 && minute%20 == 0 || i == 2 && minute >= 130 && minute < 140 {
					j.Append(call(j, receipt.Completed))
				}
			}
			time.Sleep(time.Minute)
			w.announced = nil
			for _, j := range journals {
				if j != nil {
					w.announced = append(w.announced, j.Head())
				}
			}
			if _, err := journal.Anchor(t.Context(), store, by, w.announced, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		shut(t, journals[0])
		shut(t, journals[1])
		w.end = time.Now().Add(time.Second)
	})
	for s, err := range store.Between(t.Context(), time.Time{}, w.end) {
		if err != nil {
			t.Fatal(err)
		}
		w.segments = append(w.segments, s)
	}
	for r, err := range store.Roots(t.Context(), time.Time{}, w.end) {
		if err != nil {
			t.Fatal(err)
		}
		w.roots = append(w.roots, r)
	}
	return w
}

// left is a store with what an insider leaves.
func (w *hours) left(t *testing.T, segment func(*receipt.Segment) bool, root func(*receipt.Root) bool) *memory.Receipts {
	t.Helper()
	out := memory.NewReceipts(0)
	for _, s := range w.segments {
		if segment == nil || segment(s) {
			if err := out.PutSegment(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, r := range w.roots {
		if root == nil || root(r) {
			if err := out.PutRoot(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

// witness is a root of the world, as it would be noted.
func (w *hours) witness(t *testing.T, number int64) verify.Witness {
	t.Helper()
	h, err := receipt.ReadHeads(w.roots[number-1].Text)
	if err != nil {
		t.Fatal(err)
	}
	return verify.Witness{Number: number, Hash: h.Hash()}
}

// TestRemovedRoots removes roots, and what they are to vouch for with them, as one might who has the database.
func TestRemovedRoots(t *testing.T) {
	w := makeHours(t)
	at := func(minutes int) time.Time { return w.begin.Add(time.Duration(minutes) * time.Minute) }
	until := func(minutes int) func(*receipt.Root) bool {
		return func(r *receipt.Root) bool { return r.Time.Before(at(minutes)) }
	}
	from := func(minutes int) func(*receipt.Root) bool {
		return func(r *receipt.Root) bool { return !r.Time.Before(at(minutes)) }
	}
	none := func(*receipt.Root) bool { return false }
	only := func(tags ...string) func(*receipt.Segment) bool {
		return func(s *receipt.Segment) bool { return strings.Contains(strings.Join(tags, " "), s.Chain[:8]) }
	}
	const one, two, three = "00000001", "00000002", "00000003"
	early := func(s *receipt.Segment) bool { return s.To.Before(at(120)) }
	last := w.witness(t, int64(len(w.roots)))
	other := verify.Witness{Number: 60, Hash: receipt.HashOf([]byte("x"))}
	for _, c := range []struct {
		name     string
		segments func(*receipt.Segment) bool
		roots    func(*receipt.Root) bool
		options  verify.Options
		kind     verify.FaultKind // "" is that nothing is wrong
		words    []string
	}{
		{"nothing", nil, nil, verify.Options{Announced: w.announced, Witnesses: []verify.Witness{last, w.witness(t, 1), w.witness(t, 77)}}, "", nil},
		{"nothing, in a range", nil, nil, verify.Options{From: at(60), To: at(120), Announced: w.announced}, "", nil},
		{"the roots of the last hour", nil, until(120), verify.Options{}, verify.Missing, []string{"no root between the root of 2000-01-01T01:59:00", "and the end", "segments from 2000-01-01T02:00:00", "to 2000-01-01T0"}},
		{"with the chain that was begun in it", only(one, two), until(120), verify.Options{}, verify.Missing, []string{"no root between"}},
		{"and with all but a chain that wrote now and then", only(two), until(120), verify.Options{}, verify.Missing, []string{"segments from 2000-01-01T02:00:00", "to 2000-01-01T0"}},
		{"the roots of ten minutes, in which a chain lived", only(three), until(130), verify.Options{}, verify.Missing, []string{"no root between", "segments from 2000-01-01T02:10:00"}},
		{"the first hour's", nil, from(60), verify.Options{From: at(0)}, verify.Missing, []string{"no root between the begin and the root of 2000-01-01T01:00:00"}},
		{"the first hour's, and all is read", nil, from(60), verify.Options{}, verify.Missing, []string{"roots 1–59 are missing"}},
		{"those in the middle", nil, func(r *receipt.Root) bool { return r.Number < 80 || r.Number > 90 }, verify.Options{}, verify.Missing, []string{"no root between the root of 2000-01-01T01:19:00", "and the root of 2000-01-01T01:31:00"}},
		{"those in a range", nil, until(60), verify.Options{From: at(90), To: at(150)}, verify.Missing, []string{"no root between the begin and the end"}},
		{"all", nil, none, verify.Options{}, verify.Missing, []string{"there is no root, and there are segments since 2000-01-01T00:00:00"}},
		{"all, with a chain", only(one, two), none, verify.Options{}, verify.Missing, []string{"there is no root, and"}},
		{"all, with all chains but a short one", only(three), none, verify.Options{}, verify.Missing, []string{"there is no root, and"}},
		{"all, with a chain that was announced", only(one, two), none, verify.Options{Announced: w.announced}, verify.Tail, []string{"node-3", "receipts 1–11 are missing", "nothing of the chain is stored"}},
		{"all, with a chain that was announced after the range", only(two, three), none, verify.Options{From: at(30), To: at(90), Announced: w.announced}, verify.Tail, []string{"node-1", "receipts 1–180 are missing", "nothing of the chain is stored"}},
		{"the begin of a chain, with the range's end", func(s *receipt.Segment) bool { return s.Chain[:8] != one || s.To.After(at(100)) }, none,
			verify.Options{From: at(30), To: at(90), Announced: w.announced}, verify.Missing, []string{"node-1", "segments 1–101 are missing"}},
		{"the last hour, which was announced", early, until(120), verify.Options{Announced: w.announced}, verify.Tail, []string{"node-1", "receipts 121–180 are missing"}},
		{"the last hour, and the last root was noted", early, until(120), verify.Options{Witnesses: []verify.Witness{last}}, verify.Missing, []string{"root 180 was noted, and the last one is root 119: roots 120–180 are missing"}},
		{"the last root, which was noted", nil, func(r *receipt.Root) bool { return r.Number < 180 }, verify.Options{Witnesses: []verify.Witness{last}}, verify.Missing, []string{"the last one is root 179: root 180 is missing"}},
		{"all, and one was noted", nil, none, verify.Options{Witnesses: []verify.Witness{last}}, verify.Missing, []string{"root 180 was noted, and there is none"}},
		{"roots made anew", nil, nil, verify.Options{Witnesses: []verify.Witness{other}}, verify.Replaced, []string{"root 60 has the hash", "the one that was noted had " + other.Hash.String()}},
		{"roots made anew before the range", nil, nil, verify.Options{From: at(61), Witnesses: []verify.Witness{other}}, verify.Replaced, []string{"root 61 follows another root 60"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := w.left(t, c.segments, c.roots)
			o := c.options
			o.Keys, o.Now = keys, w.end.Add(time.Minute)
			r, err := verify.Store(t.Context(), store, o)
			if err != nil {
				t.Fatal(err)
			}
			check := func(r *verify.Report) {
				t.Helper()
				if c.kind != "" {
					named(t, r, c.kind, c.words...)
				} else if !r.OK() {
					t.Error(r)
				}
			}
			check(r)
			if !o.To.IsZero() {
				return // of an export it is not known what is behind its end
			}
			for _, tenant := range []string{"", "acme"} {
				if tenant != "" && (c.kind == verify.Tail || c.kind == verify.Replaced && !o.From.IsZero()) {
					continue
				}
				var out bytes.Buffer
				if _, err := verify.WriteExport(t.Context(), store, &out, verify.ExportOptions{Tenant: tenant, From: o.From, Signer: operator, Announced: o.Announced, Now: o.Now}); err != nil {
					t.Fatal(err)
				}
				r, err := verify.Export(t.Context(), &out, verify.Options{Keys: keys, Witnesses: o.Witnesses, Now: o.Now.Add(time.Hour)})
				if err != nil {
					t.Fatal(err)
				}
				check(r)
			}
		})
	}
	// All are removed, and the fleet goes on and makes the first one anew.
	store := w.left(t, only(one, two), none)
	if _, err := journal.Anchor(t.Context(), store, receipttest.By(operator), nil, w.end); err != nil {
		t.Fatal(err)
	}
	r, err := verify.Store(t.Context(), store, verify.Options{Keys: keys, Now: w.end})
	if err != nil {
		t.Fatal(err)
	}
	named(t, r, verify.Missing, "no root between the begin and the root of 2000-01-01T03:00:0")
	// However many are removed: a few roots may be late, and no more.
	for n := range 12 {
		store := w.left(t, nil, func(r *receipt.Root) bool { return r.Number <= int64(len(w.roots)-n) })
		r, err := verify.Store(t.Context(), store, verify.Options{Keys: keys, Now: w.end})
		if err != nil || r.OK() != (n <= 6) {
			t.Errorf("without the last %d roots: %v %v", n, err, r)
		}
	}
}

// TestRootsLate has roots come late, or not at all, for reasons that are no one's fault.
func TestRootsLate(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, store receipt.Store, anchor func())
	}{
		{"a new fleet", func(t *testing.T, store receipt.Store, _ func()) {
			j := open(t, store, nil)
			j.Append(call(j, receipt.Completed))
			time.Sleep(59 * time.Second) // in a bubble
		}},
		{"instances that were killed, hours apart", func(t *testing.T, store receipt.Store, anchor func()) {
			for range 4 {
				j := open(t, store, nil)
				j.Append(call(j, receipt.Completed))
				time.Sleep(time.Minute) // in a bubble
				anchor()
				j.Append(call(j, receipt.Completed))
				time.Sleep(3 * time.Hour) // in a bubble
			}
		}},
		{"store or key away for some minutes", func(t *testing.T, store receipt.Store, anchor func()) {
			j := open(t, store, nil)
			for minute := range 30 {
				j.Append(call(j, receipt.Completed))
				time.Sleep(time.Minute) // in a bubble
				if minute < 10 || minute > 14 {
					anchor()
				}
			}
		}},
		{"quiet for days", func(t *testing.T, store receipt.Store, anchor func()) {
			j := open(t, store, nil)
			for range 3 {
				j.Append(call(j, receipt.Completed))
				time.Sleep(time.Minute) // in a bubble
				anchor()
				time.Sleep(24 * time.Hour) // in a bubble
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.NewReceipts(0)
				c.run(t, store, func() {
					if _, err := journal.Anchor(t.Context(), store, receipttest.By(operator), nil, time.Now()); err != nil {
						t.Fatal(err)
					}
				})
				if r, err := verify.Store(t.Context(), store, verify.Options{Keys: keys}); err != nil || !r.OK() {
					t.Errorf("%v %v", err, r)
				}
				var out bytes.Buffer
				if _, err := verify.WriteExport(t.Context(), store, &out, verify.ExportOptions{Signer: operator}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(24 * time.Hour) // in a bubble
				if r, err := verify.Export(t.Context(), &out, verify.Options{Keys: keys}); err != nil || !r.OK() {
					t.Errorf("exported: %v %v", err, r)
				}
			})
		})
	}
}

func TestParseWitness(t *testing.T) {
	hash := strings.Repeat("0123456789abcdef", 4)
	for _, text := range []string{"", "7", "7:", ":" + hash, "0:" + hash, "-7:" + hash, "+7:" + hash, "07:" + hash, "7:" + hash[1:], "7:" + hash + "0", "7:" + strings.ToUpper(hash), "7: " + hash, "9999999999999999999:" + hash} {
		if w, err := verify.ParseWitness(text); err == nil {
			t.Errorf("%q is %v", text, w)
		}
	}
	for _, text := range []string{"7:" + hash, "1:" + hash, "9223372036854775807:" + hash} {
		if w, err := verify.ParseWitness(text); err != nil || w.String() != text {
			t.Errorf("%q is %v, %v", text, w, err)
		}
	}
}

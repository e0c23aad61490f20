package verify_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
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

// What these tests write and read with.
var (
	operator = receipttest.Operator
	keys     = receipttest.Keys
	open     = receipttest.Open
	call     = receipttest.Receipt
	stored   = receipttest.Stored
	sound    = receipttest.Sound
	shut     = receipttest.Close
)

// A world is what three instances wrote in a minute: node-1 and node-2 ended, node-3 was killed after it had announced more than
// it had stored. Each has segments of 20 receipts, of three tenants in turn: the fourth comes in every third segment.
type world struct {
	store     *memory.Receipts
	announced []receipt.Head
	now       time.Time
	chains    []string // by instance
}

const (
	perSegment = 20
	inChain    = 6 // segments of node-1 and node-2, the end in the last one
)

func makeWorld(t *testing.T) *world {
	t.Helper()
	w := &world{store: memory.NewReceipts(0)}
	synctest.Test(t, func(t *testing.T) {
		var journals []*journal.Journal
		away := &hanging{Store: w.store}
		for i := range 3 {
			store := receipt.Store(w.store)
			if i == 2 {
				store = away
			}
			journals = append(journals, open(t, store, func(o *journal.Options) { o.Instance, o.Tag = fmt.Sprint("node-", i+1), uint32(i+1) }))
		}
		anchor := func() {
			var heads []receipt.Head
			for _, j := range journals {
				heads = append(heads, j.Head())
			}
			if _, err := journal.Anchor(t.Context(), w.store, receipttest.By(operator), heads, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		for segment := range inChain {
			for n := range perSegment {
				for _, j := range journals {
					r := call(j, receipt.Admitted)
					r.Tenant = []string{"acme", "blue", "core"}[n%3]
					if segment%3 == 1 && n == 7 {
						r.Tenant = "rare"
					}
					j.Append(r)
				}
			}
			if segment < inChain-1 {
				time.Sleep(1100 * time.Millisecond)
			}
			if segment == 3 {
				away.hangs.Store(true) // node-3 loses its store
			}
			if segment%2 == 1 {
				anchor()
			}
		}
		shut(t, journals[0])
		shut(t, journals[1])
		for _, j := range journals {
			w.announced = append(w.announced, j.Head())
			w.chains = append(w.chains, j.Head().Chain)
		}
		anchor()
		time.Sleep(time.Minute)
		w.now = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := journals[2].Close(ctx); err == nil {
			t.Error("node-3 lives on")
		}
	})
	return w
}

// A hanging store takes no more segments.
type hanging struct {
	receipt.Store
	hangs atomic.Bool
}

func (h *hanging) PutSegment(ctx context.Context, s *receipt.Segment) error {
	if h.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return h.Store.PutSegment(ctx, s)
}

// without is a copy of the store of which an editor sees every segment; nil drops it.
func (w *world) without(t *testing.T, edit func(*receipt.Segment) *receipt.Segment) *memory.Receipts {
	t.Helper()
	out := memory.NewReceipts(0)
	for s, err := range w.store.Between(t.Context(), time.Time{}, w.now) {
		if err != nil {
			t.Fatal(err)
		}
		c := *s
		c.Header, c.Receipts, c.Certificate, c.Tenants, c.Calls = bytes.Clone(s.Header), bytes.Clone(s.Receipts), bytes.Clone(s.Certificate), slices.Clone(s.Tenants), slices.Clone(s.Calls)
		if e := edit(&c); e != nil {
			if err := out.PutSegment(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	for r, err := range w.store.Roots(t.Context(), time.Time{}, w.now) {
		if err != nil {
			t.Fatal(err)
		}
		if err := out.PutRoot(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// lines is an export, line by line.
type lines [][]byte

func (w *world) export(t *testing.T, tenant string) lines {
	t.Helper()
	var out bytes.Buffer
	if _, err := verify.WriteExport(t.Context(), w.store, &out, verify.ExportOptions{Tenant: tenant, Signer: operator, Announced: w.announced[:2], Now: w.now}); err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSuffix(out.Bytes(), []byte{'\n'}), []byte{'\n'})
}

func (l lines) text() []byte { return append(bytes.Join(l, []byte{'\n'}), '\n') }

// at finds the n-th line with all of these.
func (l lines) at(n int, parts ...string) int {
	for i, line := range l {
		if all := !slices.ContainsFunc(parts, func(p string) bool { return !bytes.Contains(line, []byte(p)) }); all {
			if n--; n < 0 {
				return i
			}
		}
	}
	panic(fmt.Sprint("no such line: ", parts))
}

// header finds the header of a segment.
func (l lines) header(chain string, number int) int {
	return l.at(0, `{"segment":`, `"chain":"`+chain+`"`, fmt.Sprintf(`"number":%d,`, number))
}

// receipt finds a receipt of an instance.
func (l lines) receipt(instance string, seq int) int {
	return l.at(0, `"instance":"`+instance+`"`, `"kind":`, fmt.Sprintf(`"seq":%d,`, seq))
}

func (l lines) replace(i int, old, new string) lines {
	if !bytes.Contains(l[i], []byte(old)) {
		panic(fmt.Sprintf("%s has no %s", l[i], old))
	}
	l[i] = bytes.Replace(l[i], []byte(old), []byte(new), 1)
	return l
}

func (l lines) drop(from, to int) lines { return slices.Delete(l, from, to) }

// rehash gives a receipt another tool, and the hash of that.
func (l lines) rehash(i int, tool string) lines {
	r, _ := receipt.Parse(l[i])
	r.Tool = tool
	l[i] = r.Append(nil)
	return l
}

// follow makes the hashes anew from a receipt to the end of its segment, and returns them.
func (l lines) follow(from, to int) (hashes []receipt.Hash) {
	var last receipt.Hash
	for i := from; i < to; i++ {
		r, _ := receipt.Parse(l[i])
		if i > from {
			r.Previous = last
		}
		l[i] = r.Append(nil)
		last = r.Hash
		hashes = append(hashes, last)
	}
	return hashes
}

// remade replaces the end of an export by one that fits it, signed unless the key is nil.
func (l lines) remade(key ed25519.PrivateKey) lines {
	if bytes.HasPrefix(l[len(l)-1], []byte(`{"end":`)) {
		l = l[:len(l)-1]
	}
	segments := int64(bytes.Count(l.text(), []byte(`{"segment":`)))
	end := &receipt.ExportEnd{Format: receipt.Format, Digest: receipt.HashOf(l.text()), Segments: segments}
	if key != nil {
		sign(end, key)
	}
	return append(l, slices.Concat([]byte(`{"end":`), end.Append(nil), []byte{'}'}))
}

// sign has a key sign a statement of the operator's.
func sign(s interface {
	Sign(context.Context, receipt.Signer) error
}, key ed25519.PrivateKey) {
	if err := s.Sign(context.Background(), receipt.NewSigner(key)); err != nil {
		panic(err)
	}
}

var (
	thief     = ed25519.NewKeyFromSeed([]byte("another key, of 32 bytes as well"))
	rightful  = ed25519.NewKeyFromSeed([]byte("the operator's key, 32 bytes lon"))
	thiefName = receipt.KeyID(thief.Public().(ed25519.PublicKey))
)

func verified(t *testing.T, w *world, text []byte) *verify.Report {
	t.Helper()
	r, err := verify.Export(t.Context(), bytes.NewReader(text), verify.Options{Keys: keys, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// named wants a fault of a kind, whose words hold all of the parts.
func named(t *testing.T, r *verify.Report, kind verify.FaultKind, parts ...string) {
	t.Helper()
	for _, f := range r.Faults {
		if f.Kind == kind && !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(f.Words, p) }) {
			return
		}
	}
	t.Errorf("there is no fault %q with %q:\n%v", kind, parts, r)
}

// TestTamperedExport edits an export as one might who has it, with every means but the keys.
func TestTamperedExport(t *testing.T) {
	w := makeWorld(t)
	if r := verified(t, w, w.export(t, "").text()); !r.OK() || r.Receipts != 2*(inChain*perSegment+1)+4*perSegment || r.Chains != 3 || r.Roots != 4 {
		// Of node-3 there is more announced than stored, but not in what was exported.
		if len(r.Faults) != 1 || r.Faults[0].Kind != verify.Tail || r.Faults[0].Instance != "node-3" {
			t.Fatalf("as it was: %v", r)
		}
	}
	one, two := w.chains[0], w.chains[1]
	for _, c := range []struct {
		name  string
		edit  func(l lines) lines
		kind  verify.FaultKind
		words []string
	}{
		{"a bit of a receipt flipped", func(l lines) lines { l[l.receipt("node-1", 30)][20] ^= 1; return l }, verify.Altered, []string{"node-1", "segment 2", "line "}},
		{"a tool edited", func(l lines) lines { return l.replace(l.receipt("node-1", 30), "search", "delete") }, verify.Altered, []string{"node-1", "(30)", "content does not give its hash"}},
		{"a tenant edited", func(l lines) lines { return l.replace(l.receipt("node-1", 31), "blue", "acme") }, verify.Altered, []string{"(31)"}},
		{"a decision edited", func(l lines) lines { return l.replace(l.receipt("node-2", 1), "allow", "refuse") }, verify.Altered, []string{"node-2", "(1)"}},
		{"a time edited", func(l lines) lines { return l.replace(l.receipt("node-2", 50), `"time":"2000`, `"time":"1999`) }, verify.Altered, []string{"(50)"}},
		{"a hash edited", func(l lines) lines {
			i := l.receipt("node-1", 30)
			r, _ := receipt.Parse(l[i])
			return l.replace(i, r.Hash.String(), receipt.HashOf([]byte("x")).String())
		}, verify.Altered, []string{"(30)"}},
		{"a space added", func(l lines) lines { return l.replace(l.receipt("node-1", 30), `"seq":30`, `"seq": 30`) }, verify.Altered, []string{"receipt 30", "canonical"}},
		{"a member added", func(l lines) lines { return l.replace(l.receipt("node-1", 30), `"seq":30`, `"score":1,"seq":30`) }, verify.Altered, []string{"receipt 30"}},
		{"edited, with the hash of that", func(l lines) lines { return l.rehash(l.receipt("node-1", 30), "delete") }, verify.Replaced, []string{"(30)", "in the place of another"}},
		{"the first of a segment edited, with the hash of that", func(l lines) lines { return l.rehash(l.receipt("node-1", 21), "delete") }, verify.Replaced, []string{"(21)"}},
		{"edited, with all hashes after it in the segment", func(l lines) lines {
			l.rehash(l.receipt("node-1", 30), "delete")
			l.follow(l.receipt("node-1", 30), l.receipt("node-1", 40)+1)
			return l
		}, verify.Replaced, []string{"segment 2 (receipts 21–40)", "hashes after them made anew"}},
		{"edited, with hashes, digest and head", func(l lines) lines {
			l.rehash(l.receipt("node-1", 30), "delete")
			l.follow(l.receipt("node-1", 30), l.receipt("node-1", 40)+1)
			return l.seal(one, nil)
		}, verify.Forged, []string{"segment 2 (receipts 21–40)", "did not sign"}},
		{"the same, signed with another key", func(l lines) lines {
			l.rehash(l.receipt("node-1", 30), "delete")
			l.follow(l.receipt("node-1", 30), l.receipt("node-1", 40)+1)
			return l.seal(one, thief)
		}, verify.Forged, []string{"segment 2 (receipts 21–40)", "did not sign"}},
		{"a chain made anew under another key", func(l lines) lines { return l.usurp(one, thief, thief) }, verify.Forged, []string{"certificate", thiefName, "not one of yours"}},
		{"a chain made anew under another key, by the operator's name", func(l lines) lines {
			return l.usurp(one, thief, thief).replace(l.at(0, `{"certificate":`, thiefName), thiefName, receipt.KeyID(operator.Public()))
		}, verify.Forged, []string{"did not make"}},
		{"a chain made anew, unsigned", func(l lines) lines { return l.usurp(one, thief, nil) }, verify.Unsigned, []string{"certificate"}},
		{"a chain made anew leaves the old one out", func(l lines) lines { return l.usurp(one, thief, thief) }, verify.Tail, []string{one, "nothing of the chain is stored"}},
		{"the first receipt dropped", func(l lines) lines { i := l.receipt("node-1", 1); return l.drop(i, i+1) }, verify.Missing, []string{"segment 1", "receipt 1 is missing"}},
		{"the first of a segment dropped", func(l lines) lines { i := l.receipt("node-1", 21); return l.drop(i, i+1) }, verify.Missing, []string{"segment 2", "receipt 21 is missing"}},
		{"the last of a segment dropped", func(l lines) lines { i := l.receipt("node-1", 40); return l.drop(i, i+1) }, verify.Missing, []string{"segment 2", "receipt 40 is missing"}},
		{"one in the middle dropped", func(l lines) lines { i := l.receipt("node-1", 30); return l.drop(i, i+1) }, verify.Missing, []string{"receipt 30 is missing"}},
		{"some dropped", func(l lines) lines { i := l.receipt("node-1", 30); return l.drop(i, i+5) }, verify.Missing, []string{"receipts 30–34 are missing"}},
		{"all of a segment dropped", func(l lines) lines { i := l.receipt("node-1", 21); return l.drop(i, i+20) }, verify.Missing, []string{"receipts 21–40 are missing"}},
		{"the end of a chain dropped", func(l lines) lines { i := l.at(0, `"kind":"closed"`, "node-1"); return l.drop(i, i+1) }, verify.Missing, []string{"receipt 121 is missing"}},
		{"a receipt there twice", func(l lines) lines { i := l.receipt("node-1", 30); return slices.Insert(l, i, l[i]) }, verify.Duplicated, []string{"(30)"}},
		{"two receipts swapped", func(l lines) lines { i := l.receipt("node-1", 30); l[i], l[i+1] = l[i+1], l[i]; return l }, verify.Reordered, []string{"(30) comes after receipt 31"}},
		{"a receipt moved to another segment", func(l lines) lines {
			i, j := l.receipt("node-1", 30), l.receipt("node-1", 50)
			moved := l[i]
			return slices.Insert(l, j, moved).drop(i, i+1)
		}, verify.Foreign, []string{"segment 3", "(30) is not of this segment, which has receipts 41–60"}},
		{"a receipt of another instance in its place", func(l lines) lines { l[l.receipt("node-1", 30)] = l[l.receipt("node-2", 30)]; return l }, verify.Foreign, []string{"(30) was recorded by instance node-2", "instance node-1"}},
		{"a receipt made up", func(l lines) lines {
			i := l.receipt("node-1", 30)
			r, _ := receipt.Parse(l[i])
			r.Seq, r.Previous = 41, r.Hash
			return slices.Insert(l, i+11, r.Append(nil))
		}, verify.Foreign, []string{"segment 2", "(41) is not of this segment"}},
		{"a receipt hidden behind its hash", func(l lines) lines {
			i := l.receipt("node-1", 30)
			r, _ := receipt.Parse(l[i])
			l[i] = []byte(`"` + r.Hash.String() + `"`)
			return l
		}, verify.Withheld, []string{"receipt 30"}},
		{"a segment dropped", func(l lines) lines { i := l.header(one, 3); return l.drop(i, i+1+perSegment) }, verify.Missing, []string{"node-1", "segment 3 is missing, with receipts 41–60"}},
		{"the first segment dropped", func(l lines) lines { i := l.header(one, 1); return l.drop(i, i+1+perSegment) }, verify.Missing, []string{"segment 1 is missing, with receipts 1–20"}},
		{"the last segment dropped", func(l lines) lines { i := l.header(one, inChain); return l.drop(i, i+1+perSegment+1) }, verify.Tail, []string{"receipts 101–121 are missing", "receipt 100 is the last one stored"}},
		{"a chain dropped", func(l lines) lines {
			return slices.DeleteFunc(l, func(line []byte) bool {
				return bytes.Contains(line, []byte(`"instance":"node-1"`)) && !bytes.Contains(line, []byte(`"heads"`)) || bytes.Contains(line, []byte(one)) && bytes.HasPrefix(line, []byte(`{"segment"`))
			})
		}, verify.Tail, []string{one, "receipts 1–121 are missing", "nothing of the chain is stored"}},
		{"two segments swapped", func(l lines) lines {
			i, j := l.header(one, 2), l.header(one, 3)
			a, b := slices.Clone(l[i:i+1+perSegment]), slices.Clone(l[j:j+1+perSegment])
			copy(l[i:], b)
			copy(l[j:], a)
			return l
		}, verify.Reordered, []string{"segment 2 (receipts 21–40)", "comes after segment 3"}},
		{"a segment there twice", func(l lines) lines {
			i := l.header(one, 2)
			return slices.Insert(l, i, slices.Clone(l[i:i+1+perSegment])...)
		}, verify.Duplicated, []string{"segment 2 (receipts 21–40)"}},
		{"a segment of another chain by this one's name", func(l lines) lines { return l.replace(l.header(two, 2), two, one) }, verify.Forged, []string{one, "segment 2", "did not sign"}},
		{"the times of a header moved", func(l lines) lines { return l.replace(l.header(one, 3), `"from":"2000`, `"from":"1999`) }, verify.Forged, []string{"segment 3", "did not sign"}},
		{"the number of a header changed", func(l lines) lines { return l.replace(l.header(one, 3), `"number":3`, `"number":9`) }, verify.Forged, []string{"segment 9"}},
		{"a chain closed early", func(l lines) lines {
			return l.replace(l.header(one, 3), `"chain":"`+one+`"`, `"chain":"`+one+`","closed":true`)
		}, verify.Forged, []string{"segment 3"}},
		{"the signature of a header dropped", func(l lines) lines {
			i := l.header(one, 3)
			h := headerOf(l[i])
			h.Signature = nil
			return l.replace(i, fmt.Sprintf(`,"signature":"%x"`, headerOf(l[i]).Signature), "")
		}, verify.Forged, []string{"segment 3"}},
		{"a header that can't be read", func(l lines) lines { return l.replace(l.header(one, 3), `"digest"`, `"digset"`) }, verify.Altered, []string{"line ", "header"}},
		{"a header dropped", func(l lines) lines { i := l.header(one, 3); return l.drop(i, i+1) }, verify.Missing, []string{"segment 3 is missing, with receipts 41–60"}},
		{"a header of a later format", func(l lines) lines { return l.replace(l.header(one, 3), `"format":1`, `"format":3`) }, verify.Altered, []string{"format 3", "newer version"}},
		{"an instance renamed in its certificate", func(l lines) lines { return l.replace(l.at(0, `{"certificate":`, "node-1"), "node-1", "node-9") }, verify.Forged, []string{"certificate", "node-9"}},
		{"a certificate dropped", func(l lines) lines { i := l.at(0, `{"certificate":`, "node-1"); return l.drop(i, i+1) }, verify.Missing, []string{"certificate of chain " + one}},
		{"the signature of a certificate dropped", func(l lines) lines {
			i := l.at(0, `{"certificate":`, "node-1")
			c := certificateOf(l[i])
			return l.replace(i, fmt.Sprintf(`,"signature":"%x"`, []byte(c.Signature)), "")
		}, verify.Forged, []string{"certificate", "did not make"}},
		{"a root edited", func(l lines) lines { return l.replace(l.at(1, `{"root":`), `"number":2`, `"number":1`) }, verify.Forged, []string{"root 1"}},
		{"a root dropped", func(l lines) lines { i := l.at(1, `{"root":`); return l.drop(i, i+1) }, verify.Missing, []string{"root 2 is missing"}},
		{"the first root dropped", func(l lines) lines { i := l.at(0, `{"root":`); return l.drop(i, i+1) }, verify.Missing, []string{"root 1 is missing"}},
		{"two roots swapped", func(l lines) lines { i := l.at(1, `{"root":`); l[i], l[i+1] = l[i+1], l[i]; return l }, verify.Reordered, []string{"root 2 comes after root 3"}},
		{"a root signed with another key", func(l lines) lines {
			i := l.at(1, `{"root":`)
			h := rootOf(l[i])
			h.Heads[0].Seq--
			sign(h, thief)
			l[i] = slices.Concat([]byte(`{"root":`), h.Append(nil), []byte{'}'})
			return l
		}, verify.Forged, []string{"root 2", thiefName}},
		{"a root that holds another head", func(l lines) lines {
			i := l.at(1, `{"root":`)
			h := rootOf(l[i])
			h.Heads[0].Hash = receipt.HashOf([]byte("x"))
			sign(h, rightful)
			l[i] = slices.Concat([]byte(`{"root":`), h.Append(nil), []byte{'}'})
			return l
		}, verify.Replaced, []string{"is not the one that root 2 holds"}},
		{"cut off in a line", func(l lines) lines { l[len(l)/2] = l[len(l)/2][:40]; return l[:len(l)/2+1] }, verify.Truncated, []string{"cut off"}},
		{"cut off after a line", func(l lines) lines { return l[:l.receipt("node-2", 70)] }, verify.Truncated, nil},
		{"cut off after a segment", func(l lines) lines { return l[:l.header(one, 5)] }, verify.Truncated, nil},
		{"cut off after a segment: which receipts", func(l lines) lines { return l[:l.header(one, 5)] }, verify.Tail, []string{"node-1", "receipts 81–121 are missing"}},
		{"cut off, with an end that nobody signed", func(l lines) lines { return l[:l.header(one, 5)].remade(nil) }, verify.Unsigned, []string{"end of the export"}},
		{"cut off, with an end of another key", func(l lines) lines { return l[:l.header(one, 5)].remade(thief) }, verify.Forged, []string{"end of the export", thiefName}},
		{"the end of another export", func(l lines) lines {
			return append(l[:l.header(one, 5)], w.export(t, "acme")[len(w.export(t, "acme"))-1])
		}, verify.Missing, []string{"the export had"}},
		{"an announced head dropped", func(l lines) lines { i := l.at(0, `{"announced":`); return l.drop(i, i+1) }, verify.Altered, []string{"bytes give another hash"}},
		{"an announced head edited", func(l lines) lines { return l.replace(l.at(0, `{"announced":`), `"seq":121`, `"seq":120`) }, verify.Replaced, []string{"is not the one that announced holds"}},
		{"a line after the end", func(l lines) lines { return append(l, l[l.receipt("node-1", 3)]) }, verify.Foreign, []string{"after the end"}},
		{"two exports in one", func(l lines) lines { return append(l[:len(l)-1], w.export(t, "")...) }, verify.Foreign, []string{"another export begins"}},
		{"said to be of one tenant", func(l lines) lines { return l.replace(0, `"to":`, `"tenant":"acme","to":`) }, verify.Altered, nil},
		{"nothing at all", func(l lines) lines { return nil }, verify.Truncated, nil},
		{"something else", func(l lines) lines { return lines{[]byte(`{"hello":"world"}`)} }, verify.Altered, []string{"not an export"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var text []byte
			if l := c.edit(w.export(t, "")); l != nil {
				text = l.text()
			}
			named(t, verified(t, w, text), c.kind, c.words...)
		})
	}
}

func inner(line []byte) []byte {
	_, text, _ := bytes.Cut(line, []byte{':'})
	return text[:len(text)-1]
}

func headerOf(line []byte) *receipt.Header {
	h, err := receipt.ReadHeader(inner(line))
	if err != nil {
		panic(err)
	}
	return h
}

func certificateOf(line []byte) *receipt.Certificate {
	c, err := receipt.ReadCertificate(inner(line))
	if err != nil {
		panic(err)
	}
	return c
}

func rootOf(line []byte) *receipt.Heads {
	h, err := receipt.ReadHeads(inner(line))
	if err != nil {
		panic(err)
	}
	return h
}

// seal makes digest and head of the second segment of a chain anew, from its receipts, and signs them if there is a key.
func (l lines) seal(chain string, key ed25519.PrivateKey) lines {
	i := l.header(chain, 2)
	h := headerOf(l[i])
	var all []byte
	for _, line := range l[i+1 : i+1+perSegment] {
		r, _ := receipt.Parse(line)
		all = append(all, r.Hash[:]...)
		h.Head = r.Hash
	}
	h.Digest = receipt.HashOf(all)
	text := h.AppendSigned(nil, thief)
	if key == nil {
		h2 := headerOf(l[i])
		text = bytes.Replace(text, fmt.Appendf(nil, "%x", []byte(h.Signature)), fmt.Appendf(nil, "%x", []byte(h2.Signature)), 1)
	}
	l[i] = slices.Concat([]byte(`{"segment":`), text, []byte{'}'})
	return l
}

// usurp makes a chain anew under another key, with a certificate that another operator signs, and tool names of its own.
func (l lines) usurp(chain string, key, signer ed25519.PrivateKey) lines {
	i := l.at(0, `{"certificate":`, `"instance":"node-1"`)
	c := certificateOf(l[i])
	c.Key = receipt.Bytes(key.Public().(ed25519.PublicKey))
	c.Operator, c.Signature = "", nil
	if signer != nil {
		c.Operator = receipt.KeyID(signer.Public().(ed25519.PublicKey))
		sign(c, signer)
	}
	l[i] = slices.Concat([]byte(`{"certificate":`), c.Append(nil), []byte{'}'})
	name := c.Chain()
	last := receipt.Hash{}
	for number := 1; number <= inChain; number++ {
		at := l.header(chain, number)
		h := headerOf(l[at])
		h.Chain = name
		var all []byte
		if number > 1 {
			h.Previous = last
		}
		last = h.Previous
		for n := at + 1; n < len(l) && l[n][0] == '{' && !bytes.HasPrefix(l[n], []byte(`{"segment"`)) && !bytes.HasPrefix(l[n], []byte(`{"certificate"`)) && !bytes.HasPrefix(l[n], []byte(`{"end"`)); n++ {
			r, _ := receipt.Parse(l[n])
			r.Tool, r.Previous = "delete", last
			l[n] = r.Append(nil)
			last = r.Hash
			all = append(all, last[:]...)
		}
		h.Head, h.Digest = last, receipt.HashOf(all)
		l[at] = slices.Concat([]byte(`{"segment":`), h.AppendSigned(nil, key), []byte{'}'})
	}
	return l.remade(nil)
}

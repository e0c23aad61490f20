package journal_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
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

var dawn = time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC)

// at is a time so long after dawn.
func at(d time.Duration) time.Time { return dawn.Add(d) }

// headOf is what an instance announces that has stored all.
func headOf(chain string, seq int64, when time.Duration) receipt.Head {
	return receipt.Head{
		Chain: chain, Instance: "of " + chain, Seq: seq, Appended: seq, Stored: seq, Hash: receipt.HashOf(fmt.Append(nil, chain, seq)), Time: at(when), To: at(when),
	}
}

// brief says which heads a root has: chain, seq and state.
func brief(h *receipt.Heads) string {
	if h == nil {
		return "none"
	}
	out := fmt.Sprint(h.Number, ":")
	for _, x := range h.Heads {
		out += strings.TrimRight(fmt.Sprintf(" %s %d %s", x.Chain, x.Seq, x.State), " ")
	}
	return out
}

func roots(t *testing.T, store receipt.Store) (out []*receipt.Root) {
	t.Helper()
	for r, err := range store.Roots(t.Context(), time.Time{}, at(1000*time.Hour)) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// TestAnchor makes root after root.
func TestAnchor(t *testing.T) {
	ended := func(h receipt.Head) receipt.Head { h.State = receipt.Ended; return h }
	lost := func(h receipt.Head) receipt.Head { h.Lost = 3; return h }
	waiting := func(h receipt.Head) receipt.Head { h.Appended += 5; return h }
	const minute = time.Minute
	type step struct {
		after time.Duration
		heads []receipt.Head
		want  string
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"nothing was ever recorded", []step{{0, nil, "none"}, {minute, nil, "none"}}},
		{"chains, by their names", []step{{0, []receipt.Head{headOf("b", 3, 0), headOf("a", 5, 0)}, "1: a 5 b 3"}}},
		{"nothing new", []step{
			{0, []receipt.Head{headOf("a", 5, 0)}, "1: a 5"},
			{minute, []receipt.Head{headOf("a", 5, minute)}, "1: a 5"},
			{2 * minute, nil, "1: a 5"},
		}},
		{"one moves", []step{
			{0, []receipt.Head{headOf("a", 5, 0), headOf("b", 3, 0)}, "1: a 5 b 3"},
			{minute, []receipt.Head{headOf("a", 6, minute), headOf("b", 3, minute)}, "2: a 6 b 3"},
		}},
		{"more waits", []step{
			{0, []receipt.Head{headOf("a", 5, 0)}, "1: a 5"},
			{minute, []receipt.Head{waiting(headOf("a", 5, minute))}, "2: a 5"},
		}},
		{"receipts were lost", []step{
			{0, []receipt.Head{headOf("a", 5, 0)}, "1: a 5"},
			{minute, []receipt.Head{lost(headOf("a", 5, minute))}, "2: a 5"},
		}},
		{"two announcements of one chain", []step{{0, []receipt.Head{headOf("a", 4, 0), headOf("a", 5, 0), headOf("a", 3, 0)}, "1: a 5"}}},
		{"an old announcement", []step{
			{0, []receipt.Head{headOf("a", 5, 0)}, "1: a 5"},
			{minute, []receipt.Head{headOf("a", 4, 0), headOf("b", 1, minute)}, "2: a 5 b 1"},
		}},
		{"one ends, and is left out after", []step{
			{0, []receipt.Head{headOf("a", 5, 0), headOf("b", 3, 0)}, "1: a 5 b 3"},
			{minute, []receipt.Head{ended(headOf("a", 6, minute)), headOf("b", 3, minute)}, "2: a 6 ended b 3"},
			{2 * minute, []receipt.Head{headOf("b", 4, 2*minute)}, "3: b 4"},
		}},
		{"an end, and then an announcement from before it", []step{
			{0, []receipt.Head{ended(headOf("a", 6, 0)), headOf("b", 3, 0)}, "1: a 6 ended b 3"},
			{minute, []receipt.Head{headOf("a", 6, 0), headOf("b", 4, minute)}, "2: a 6 ended b 4"},
		}},
		{"one is not heard of any more", []step{
			{0, []receipt.Head{headOf("a", 5, 0), headOf("b", 3, 0)}, "1: a 5 b 3"},
			{59 * minute, []receipt.Head{headOf("b", 4, 59*minute)}, "2: a 5 b 4"},
			{61 * minute, []receipt.Head{headOf("b", 4, 61*minute)}, "3: a 5 silent b 4"},
			{62 * minute, []receipt.Head{headOf("b", 5, 62*minute)}, "4: b 5"},
			{63 * minute, []receipt.Head{headOf("a", 6, 63*minute), headOf("b", 5, 63*minute)}, "5: a 6 b 5"},
		}},
		{"a clock that is behind", []step{
			{0, []receipt.Head{headOf("a", 5, 0)}, "1: a 5"},
			{-10 * time.Second, []receipt.Head{headOf("a", 6, 0)}, "2: a 6"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := memory.NewReceipts(0)
			for _, s := range c.steps {
				h, err := journal.Anchor(t.Context(), store, receipttest.By(operator), s.heads, at(s.after))
				if err != nil {
					t.Fatal(err)
				}
				if got := brief(h); got != s.want {
					t.Errorf("after %v: %s, want %s", s.after, got, s.want)
				}
				if all := roots(t, store); h != nil && int64(len(all)) != h.Number {
					t.Errorf("after %v: %d roots are stored, and this is number %d", s.after, len(all), h.Number)
				}
			}
			follow(t, roots(t, store))
		})
	}
}

// follow wants that roots are signed, numbered, in order of time, and each holds the hash of the one before.
func follow(t *testing.T, all []*receipt.Root) {
	t.Helper()
	var last *receipt.Heads
	for i, r := range all {
		h, err := receipt.ReadHeads(r.Text)
		if err != nil {
			t.Fatal(err)
		}
		if h.Number != int64(i+1) || h.Number != r.Number || !h.Time.Equal(r.Time) || h.Operator != receipt.KeyID(operator.Public()) {
			t.Errorf("root %d: %+v", i+1, h)
		}
		if last != nil && (h.Time.Before(last.Time) || h.Previous != last.Hash()) || last == nil && !h.Previous.IsZero() {
			t.Errorf("root %d does not follow: %+v", i+1, h)
		}
		last = h
	}
	store := memory.NewReceipts(0)
	for _, r := range all {
		if err := store.PutRoot(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	r, err := verify.Store(t.Context(), store, verify.Options{Keys: keys, Now: at(1000 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Faults {
		if f.Kind != verify.Tail { // of these chains there are no segments
			t.Error(f.Words)
		}
	}
}

// TestAnchorUnannounced has no one announce anything: the heads are read from the store.
func TestAnchorUnannounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := func(d time.Duration) { time.Sleep(time.Until(at(d))) }
		until(0)
		store := memory.NewReceipts(0)
		j := open(t, store, nil)
		chain := j.Head().Chain
		record := func(n int) {
			t.Helper()
			for range n {
				if err := j.Commit(t.Context(), call(j, receipt.Completed)); err != nil {
					t.Fatal(err)
				}
			}
		}
		anchored := func(want string) *receipt.Heads {
			t.Helper()
			h, err := journal.Anchor(t.Context(), store, receipttest.By(operator), nil, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if got := brief(h); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			return h
		}
		record(2)
		h := anchored("1: " + chain + " 2")
		if x := h.Heads[0]; x.Hash != j.Head().Hash || x.Instance != "node-1" || x.Stored != 2 || x.Appended != 2 {
			t.Errorf("%+v", x)
		}
		until(time.Minute)
		anchored("1: " + chain + " 2")
		record(1)
		anchored("2: " + chain + " 3")
		until(20 * time.Minute) // its first segment is not looked for any more
		record(1)
		anchored("3: " + chain + " 4")
		until(21 * time.Minute)
		shut(t, j)
		anchored("4: " + chain + " 5 ended")
		until(22 * time.Minute)
		anchored("4: " + chain + " 5 ended")
		follow(t, roots(t, store))
		sound(t, store)
	})
}

// TestAnchorTogether has all instances make the next root at once, none so often that others can come first ten times.
func TestAnchorTogether(t *testing.T) {
	store := memory.NewReceipts(0)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range int64(3) {
				if _, err := journal.Anchor(t.Context(), store, receipttest.By(operator), []receipt.Head{headOf(fmt.Sprint("chain-", i), n+1, 0)}, at(time.Duration(n)*time.Minute)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all := roots(t, store)
	if len(all) < 3 || len(all) > 12 {
		t.Errorf("%d roots", len(all))
	}
	follow(t, all)
}

// TestAnchorMany has more chains than a root holds: those that move are in it.
func TestAnchorMany(t *testing.T) {
	store := memory.NewReceipts(0)
	var heads []receipt.Head
	for i := range 2100 {
		heads = append(heads, headOf(fmt.Sprintf("chain-%04d", i), 1, time.Duration(i)*time.Millisecond))
	}
	if _, err := journal.Anchor(t.Context(), store, receipttest.By(operator), heads[:1500], at(time.Minute)); err != nil {
		t.Fatal(err)
	}
	heads[0].Seq, heads[0].Appended, heads[0].Stored = 2, 2, 2
	h, err := journal.Anchor(t.Context(), store, receipttest.By(operator), heads, at(2*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	has := func(chain string) bool {
		return slices.ContainsFunc(h.Heads, func(x receipt.Head) bool { return x.Chain == chain })
	}
	if len(h.Heads) != 2000 || !has("chain-0000") || !has("chain-2099") || has("chain-0001") {
		t.Errorf("%d heads, the first %s", len(h.Heads), h.Heads[0].Chain)
	}
	if text := roots(t, store)[1].Text; len(text) > 1<<20 {
		t.Errorf("a root of %d bytes", len(text))
	}
	follow(t, roots(t, store))
}

// TestAnchorFails wants the cause, and that nothing is stored that could not be verified.
func TestAnchorFails(t *testing.T) {
	heads := []receipt.Head{headOf("a", 5, 0)}
	away := errors.New("away")
	refusing := func(kind string) func(receipt.Store) receipt.Store {
		return func(s receipt.Store) receipt.Store { return failing{s, kind, away} }
	}
	for _, c := range []struct {
		name   string
		store  func(receipt.Store) receipt.Store
		signer receipt.Signer
		want   string
	}{
		{"a key that does not sign", nil, signers{operator, nil, away}, "the operator's key does not sign: away"},
		{"a key that signs for another", nil, signers{operator, receipt.NewSigner(ed25519.NewKeyFromSeed([]byte("another key, of 32 bytes as well"))), nil}, "does not verify what it signs"},
		{"the last root can't be read", refusing("last root"), operator, "away"},
		{"first segments can't be read", refusing("openings"), operator, "away"},
		{"a root can't be stored", refusing("put"), operator, "away"},
		{"others always come first", func(s receipt.Store) receipt.Store { return failing{s, "put", receipt.ErrConflict} }, operator, "ten times: call less often"},
		{"the last root was altered", func(s receipt.Store) receipt.Store {
			if err := s.PutRoot(t.Context(), &receipt.Root{Number: 1, Time: dawn, Text: []byte(`{"format":1}`)}); err != nil {
				t.Fatal(err)
			}
			return s
		}, operator, "root 1 is not in canonical form"},
		{"the last root is of a later version", func(s receipt.Store) receipt.Store {
			if err := s.PutRoot(t.Context(), &receipt.Root{Number: 1, Time: dawn, Text: []byte(`{"format":2,"trees":[]}`)}); err != nil {
				t.Fatal(err)
			}
			return s
		}, operator, "root 1 has format 2"},
		{"a certificate was altered", func(s receipt.Store) receipt.Store {
			if err := s.PutSegment(t.Context(), &receipt.Segment{Chain: "b", Number: 1, To: dawn, Certificate: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
			return s
		}, operator, "the certificate of chain b is not in canonical form"},
	} {
		t.Run(c.name, func(t *testing.T) {
			memory := memory.NewReceipts(0)
			store := receipt.Store(memory)
			if c.store != nil {
				store = c.store(store)
			}
			before := len(roots(t, memory))
			h, err := journal.Anchor(t.Context(), store, receipttest.By(c.signer), heads, dawn)
			if err == nil || !strings.Contains(err.Error(), c.want) || h != nil {
				t.Errorf("%v, %s, want %q", err, brief(h), c.want)
			}
			if n := len(roots(t, memory)); n != before {
				t.Errorf("%d roots are stored", n)
			}
		})
	}
	store := memory.NewReceipts(0)
	h, err := journal.Anchor(t.Context(), store, receipttest.By(nil), heads, dawn)
	if err != nil || h.Operator != "" || h.Signature != nil || len(roots(t, store)) != 1 {
		t.Errorf("without a key: %+v, %v", h, err)
	}
}

// signers sign as one operator with the key of another, or not at all.
type signers struct {
	receipt.Signer
	other receipt.Signer
	err   error
}

func (s signers) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.other.Sign(ctx, message)
}

// A failing store fails in one thing.
type failing struct {
	receipt.Store
	at  string
	err error
}

func (f failing) LastRoot(ctx context.Context) (*receipt.Root, error) {
	if f.at == "last root" {
		return nil, f.err
	}
	return f.Store.LastRoot(ctx)
}

func (f failing) Openings(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	if f.at == "openings" {
		return func(yield func(*receipt.Segment, error) bool) { yield(nil, f.err) }
	}
	return f.Store.Openings(ctx, from, to)
}

func (f failing) PutRoot(ctx context.Context, r *receipt.Root) error {
	if f.at == "put" {
		return f.err
	}
	return f.Store.PutRoot(ctx, r)
}

// TestAnchorApart has two instances make roots, of which one has the key of roots: from a time on it alone makes them. Whose a root must be is
// decided by the time that the root will have, whatever the clock of its maker says.
func TestAnchorApart(t *testing.T) {
	since := dawn.Add(10 * time.Minute)
	other := receipt.NewSigner(ed25519.NewKeyFromSeed([]byte("the key of roots, 32 bytes long.")))
	data := func(at time.Time) (receipt.Signer, bool) { return operator, at.Before(since) }
	control := func(at time.Time) (receipt.Signer, bool) {
		if at.Before(since) {
			return operator, true
		}
		return other, true
	}
	store := memory.NewReceipts(0)
	for _, c := range []struct {
		by    journal.RootSigner
		after time.Duration
		key   receipt.Signer // nil: no root is made
	}{
		{data, time.Minute, operator}, {control, 2 * time.Minute, operator}, {data, 9 * time.Minute, operator},
		{data, 10 * time.Minute, nil}, {control, 10 * time.Minute, other}, {data, 11 * time.Minute, nil},
		{data, 9 * time.Minute, nil},      // its clock is late: the root would follow one of 10 minutes
		{control, 9 * time.Minute, other}, // and so is this one's
		{control, 12 * time.Minute, other},
	} {
		before := len(roots(t, store))
		heads := []receipt.Head{headOf("c", int64(before+1), 0)}
		h, err := journal.Anchor(t.Context(), store, c.by, heads, dawn.Add(c.after))
		if err != nil {
			t.Fatal(err)
		}
		made := len(roots(t, store)) > before
		if made != (c.key != nil) || made && h.Operator != receipt.KeyID(c.key.Public()) {
			t.Errorf("after %v: %s, made %t", c.after, brief(h), made)
		}
	}
}

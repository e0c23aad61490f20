// Package receipttest holds the suite that every [receipt.Store] must pass.
package receipttest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// TestStore wants of an empty store what the room relies on.
func TestStore(t *testing.T, s receipt.Store) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	t.Run("segments", func(t *testing.T) { testSegments(ctx, t, s) })
	t.Run("roots", func(t *testing.T) { testRoots(ctx, t, s) })
	t.Run("together", func(t *testing.T) { testTogether(ctx, t, s) })
	t.Run("great segment", func(t *testing.T) { testGreat(ctx, t, s) })
}

func segment(chain string, number int64, second int, tenants []string, calls ...int64) *receipt.Segment {
	return &receipt.Segment{
		Chain: chain, Number: number, From: noon.Add(time.Duration(second-1) * time.Second), To: noon.Add(time.Duration(second) * time.Second),
		Tenants: tenants, Calls: calls, Certificate: []byte("certificate of " + chain), Header: fmt.Appendf(nil, "header %s %d", chain, number),
		Receipts: []byte("one\ntwo\n"),
	}
}

// names lists what a sequence yields.
func names(t *testing.T, seq iter.Seq2[*receipt.Segment, error]) string {
	t.Helper()
	var out []string
	for s, err := range seq {
		if err != nil {
			t.Error(err)
			break
		}
		out = append(out, fmt.Sprintf("%s%d", s.Chain, s.Number))
	}
	return strings.Join(out, " ")
}

func testSegments(ctx context.Context, t *testing.T, s receipt.Store) {
	if last, err := s.Last(ctx, "a"); last != nil || err != nil {
		t.Fatalf("the last segment of an empty store: %v, %v", last, err)
	}
	if got := names(t, s.Between(ctx, time.Time{}, noon.Add(time.Hour))); got != "" {
		t.Fatalf("an empty store has %s", got)
	}
	const high = int64(-1) << 40 // of a tag with its first bit set
	var all []*receipt.Segment
	for i := range int64(120) { // more than one page of results
		all = append(all, segment("a", i+1, int(i)+1, []string{"acme"}, i))
	}
	all = append(all,
		segment("b", 1, 3, []string{"other", "tenant/with\x00odd names"}, high, high+1),
		segment("b", 2, 3, []string{"acme", "other"}, high+1),
		segment("b", 3, 200, nil),
	)
	for _, seg := range all {
		if err := s.PutSegment(ctx, seg); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PutSegment(ctx, segment("b", 1, 3, []string{"other", "tenant/with\x00odd names"}, high, high+1)); err != nil {
		t.Errorf("the same segment again: %v", err)
	}
	for _, change := range []func(*receipt.Segment){
		func(s *receipt.Segment) { s.Header = []byte("another") },
		func(s *receipt.Segment) { s.Receipts = []byte("one\ntwp\n") },
		func(s *receipt.Segment) { s.Certificate = nil },
	} {
		other := segment("b", 1, 3, nil)
		change(other)
		if err := s.PutSegment(ctx, other); !errors.Is(err, receipt.ErrConflict) {
			t.Errorf("another segment in the same place: %v", err)
		}
	}
	at := func(second int) time.Time { return noon.Add(time.Duration(second) * time.Second) }
	for _, c := range []struct {
		what string
		got  iter.Seq2[*receipt.Segment, error]
		want string
	}{
		{"a chain", s.OfChain(ctx, "b", 1), "b1 b2 b3"},
		{"the rest of a chain", s.OfChain(ctx, "b", 3), "b3"},
		{"what follows a chain", s.OfChain(ctx, "b", 4), ""},
		{"another chain", s.OfChain(ctx, "c", 1), ""},
		{"a range", s.Between(ctx, at(2), at(4)), "a2 a3 b1 b2 a4"},
		{"a range between seconds", s.Between(ctx, at(2).Add(time.Microsecond), at(3).Add(-time.Microsecond)), ""},
		{"an early range", s.Between(ctx, time.Time{}, at(1)), "a1"},
		{"a tenant", s.OfTenant(ctx, "acme", at(3), at(4)), "a3 b2 a4"},
		{"a tenant of few", s.OfTenant(ctx, "other", time.Time{}, at(1000)), "b1 b2"},
		{"an odd tenant", s.OfTenant(ctx, "tenant/with\x00odd names", time.Time{}, at(1000)), "b1"},
		{"no tenant", s.OfTenant(ctx, "acm", time.Time{}, at(1000)), ""},
		{"a range backwards", s.Backwards(ctx, "", at(2), at(4)), "a4 b2 b1 a3 a2"},
		{"a tenant backwards", s.Backwards(ctx, "acme", at(3), at(4)), "a4 b2 a3"},
		{"a tenant of few backwards", s.Backwards(ctx, "other", time.Time{}, at(1000)), "b2 b1"},
		{"no tenant backwards", s.Backwards(ctx, "acm", time.Time{}, at(1000)), ""},
		{"a call", s.OfCall(ctx, 7), "a8"},
		{"a call in two segments", s.OfCall(ctx, high+1), "b1 b2"},
		{"no call", s.OfCall(ctx, 1000), ""},
		{"openings", s.Openings(ctx, time.Time{}, at(1000)), "a1 b1"},
		{"later openings", s.Openings(ctx, at(2), at(3)), "b1"},
	} {
		if got := names(t, c.got); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	if got := strings.Fields(names(t, s.Between(ctx, time.Time{}, at(1000)))); len(got) != len(all) {
		t.Errorf("%d segments of %d", len(got), len(all))
	}
	if got := strings.Fields(names(t, s.Backwards(ctx, "acme", time.Time{}, at(1000)))); len(got) != 121 || got[0] != "a120" || got[120] != "a1" {
		t.Errorf("a long range backwards: %v", got)
	}
	if got := strings.Fields(names(t, s.OfChain(ctx, "a", 1))); len(got) != 120 || got[9] != "a10" || got[119] != "a120" {
		t.Errorf("a long chain: %v", got)
	}
	for _, want := range all[118:] {
		last, err := s.Last(ctx, want.Chain)
		if err != nil || last == nil {
			t.Fatalf("the last of %s: %v, %v", want.Chain, last, err)
		}
		for got, err := range s.OfChain(ctx, want.Chain, want.Number) {
			if err != nil {
				t.Fatal(err)
			}
			got.From, got.To = got.From.UTC(), got.To.UTC()
			if !reflect.DeepEqual(got, want) {
				t.Errorf("read %+v, want %+v", got, want)
			}
			break
		}
	}
	// What is empty is nil when it is read, however it was written.
	for number, empty := range map[int64]*receipt.Segment{
		1: {}, 2: {Tenants: []string{}, Calls: []int64{}, Certificate: []byte{}, Header: []byte{}, Receipts: []byte{}},
	} {
		empty.Chain, empty.Number, empty.From, empty.To = "empty", number, at(2000), at(2000)
		if err := s.PutSegment(ctx, empty); err != nil {
			t.Fatal(err)
		}
	}
	read := 0
	for got, err := range s.OfChain(ctx, "empty", 1) {
		if err != nil {
			t.Fatal(err)
		}
		read++
		got.From, got.To = got.From.UTC(), got.To.UTC()
		if want := (&receipt.Segment{Chain: "empty", Number: int64(read), From: at(2000), To: at(2000)}); !reflect.DeepEqual(got, want) {
			t.Errorf("read %#v, want %#v", got, want)
		}
	}
	if read != 2 {
		t.Errorf("%d empty segments", read)
	}
	if last, err := s.Last(ctx, "a"); err != nil || last.Number != 120 {
		t.Errorf("the last segment: %v, %v", last, err)
	}
	for range s.Between(ctx, time.Time{}, at(1000)) {
		break // and the store goes on
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range s.Between(gone, time.Time{}, at(1000)) {
		if err == nil {
			t.Error("a sequence goes on without its context")
		}
		break
	}
	if err := s.PutSegment(gone, segment("d", 1, 1, nil)); err == nil {
		t.Error("a write goes on without its context")
	}
}

func testRoots(ctx context.Context, t *testing.T, s receipt.Store) {
	if r, err := s.LastRoot(ctx); r != nil || err != nil {
		t.Fatalf("the last root of an empty store: %v, %v", r, err)
	}
	root := func(n int64, text string) *receipt.Root {
		return &receipt.Root{Number: n, Time: noon.Add(time.Duration(n) * time.Minute), Text: []byte(text)}
	}
	for n := int64(1); n <= 12; n++ {
		if err := s.PutRoot(ctx, root(n, "x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PutRoot(ctx, root(12, "x")); err != nil {
		t.Errorf("the same root again: %v", err)
	}
	if err := s.PutRoot(ctx, root(12, "y")); !errors.Is(err, receipt.ErrConflict) {
		t.Errorf("another root in the same place: %v", err)
	}
	var got []int64
	for r, err := range s.Roots(ctx, noon.Add(9*time.Minute), noon.Add(11*time.Minute)) {
		if err != nil {
			t.Fatal(err)
		}
		if string(r.Text) != "x" || !r.Time.Equal(noon.Add(time.Duration(r.Number)*time.Minute)) {
			t.Errorf("root %+v", r)
		}
		got = append(got, r.Number)
	}
	if !slices.Equal(got, []int64{9, 10, 11}) {
		t.Errorf("roots %v", got)
	}
	if err := s.PutRoot(ctx, &receipt.Root{Number: 13, Time: noon.Add(time.Hour), Text: []byte{}}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.LastRoot(ctx); err != nil || r.Number != 13 || r.Text != nil {
		t.Errorf("a root without a text: %#v, %v", r, err)
	}
	if err := s.PutRoot(ctx, root(14, "x")); err != nil {
		t.Fatal(err)
	}
	if r, err := s.LastRoot(ctx); err != nil || r.Number != 14 {
		t.Errorf("the last root: %v, %v", r, err)
	}
}

// testTogether wants that of two that write into the same place one learns so.
func testTogether(ctx context.Context, t *testing.T, s receipt.Store) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	stored, conflicts := 0, 0
	for i := range 4 {
		wg.Go(func() {
			seg := segment("together", 1, 1, nil)
			seg.Header = fmt.Appendf(nil, "header %d", i)
			err := s.PutSegment(ctx, seg)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				stored++
			case errors.Is(err, receipt.ErrConflict):
				conflicts++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if stored != 1 || conflicts != 3 {
		t.Errorf("%d stored, %d in conflict", stored, conflicts)
	}
}

// testGreat stores the greatest segment that a journal makes: with as many tenants as fit.
func testGreat(ctx context.Context, t *testing.T, s receipt.Store) {
	taker := &capture{Store: s}
	var last atomic.Pointer[receipt.Head]
	j, err := journal.Open(journal.Options{
		Instance: strings.Repeat("i", 100), Store: taker, Now: func() time.Time { return noon }, Announce: func(h receipt.Head) { last.Store(&h) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		j.Append(receipt.Receipt{
			ID: receipt.NewID(uint32(i), noon.Add(time.Duration(i)*time.Second)), Kind: receipt.Admitted, Tenant: fmt.Sprintf("%0128d", i), Tool: "search",
			Arguments: receipt.HashOf(nil), Time: noon,
		})
	}
	if err := j.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if taker.great < 850<<10 {
		t.Errorf("the greatest segment has %d bytes", taker.great)
	}
	read := 0
	for seg, err := range s.OfChain(ctx, last.Load().Chain, 1) {
		if err != nil {
			t.Fatal(err)
		}
		read += strings.Count(string(seg.Receipts), "\n")
	}
	if read != 5001 {
		t.Errorf("%d receipts read of 5001", read)
	}
}

// capture notes how great segments are.
type capture struct {
	receipt.Store
	great int
}

func (c *capture) PutSegment(ctx context.Context, s *receipt.Segment) error {
	size := len(s.Receipts) + len(s.Header)
	for _, tenant := range s.Tenants {
		size += len(tenant)
	}
	c.great = max(c.great, size)
	return c.Store.PutSegment(ctx, s)
}

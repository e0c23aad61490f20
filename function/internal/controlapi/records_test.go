package controlapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/controlapi"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/store/memory"
)

// stored are records of a store, as the product reads them.
type stored struct{ store receipt.Store }

func (s stored) Keys(context.Context) (receipt.PublicKeys, error) { return receipt.PublicKeys{}, nil }

func (s stored) Find(ctx context.Context, id string) ([]receipt.Receipt, *verify.Report, error) {
	return verify.Find(ctx, s.store, id, nil)
}

func (s stored) Select(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error] {
	return verify.Select(ctx, s.store, tenant, from, to)
}

func (s stored) Newest(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error] {
	return verify.Newest(ctx, s.store, tenant, from, to)
}

func (s stored) Verify(ctx context.Context, tenant string, from, to time.Time) (*verify.Report, error) {
	return verify.Store(ctx, s.store, verify.Options{From: from, To: to})
}

func (s stored) Export(ctx context.Context, w io.Writer, tenant string, from, to time.Time) (int64, error) {
	x, err := verify.WriteExport(ctx, s.store, w, verify.ExportOptions{Tenant: tenant, From: from, To: to})
	return x.Receipts, err
}

// TestRecords reads by the routes what two instances recorded, whose segments lie across each other.
func TestRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReceipts(0)
		begin := time.Now().UTC()
		const most = 200
		var journals []*journal.Journal
		var ids []string
		for i := range 2 {
			j, err := journal.Open(journal.Options{Instance: fmt.Sprint("i", i), Store: store})
			if err != nil {
				t.Fatal(err)
			}
			journals = append(journals, j)
		}
		for n := range most {
			time.Sleep(time.Until(begin.Add(time.Duration(n) * 1500 * time.Millisecond)))
			for i, j := range journals {
				r := receipt.Receipt{ID: j.NewID(), Kind: receipt.Completed, Tenant: []string{"acme", "shop"}[n%2], Tool: []string{"read", "write", "list"}[n%3], Decision: receipt.Allow}
				if n%10 == 0 {
					r.Kind = receipt.Changed
				}
				if n%5 == 0 {
					r.Reason = "rate"
				}
				ids = append(ids, r.ID)
				if n%7 == i {
					if err := j.Commit(t.Context(), r); err != nil {
						t.Fatal(err)
					}
				} else {
					j.Append(r)
				}
			}
		}
		for _, j := range journals {
			if err := j.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		f := newFixture(t, func(o *controlapi.Options) { o.Records = stored{store} })
		order := ""
		all := func(query string, limit int) (found []receipt.Receipt) {
			t.Helper()
			query += order
			after := ""
			for range 2*most + 10 {
				got := f.do(ask{method: "GET", path: fmt.Sprintf("/v1/receipts?limit=%d&after=%s&%s", limit, after, query), as: "viewer"})
				if got.status != 200 {
					t.Fatalf("%d %s", got.status, got.body)
				}
				var page struct {
					Receipts []json.RawMessage
					Next     string
				}
				if err := json.Unmarshal([]byte(got.body), &page); err != nil {
					t.Fatal(err)
				}
				for _, text := range page.Receipts {
					r, err := receipt.Parse(text) // what is answered is the canonical form, and hashes to its hash
					if err != nil {
						t.Fatalf("%v: %s", err, text)
					}
					found = append(found, r)
				}
				if page.Next == "" {
					if !strings.Contains(order, "oldest") && !slices.IsSortedFunc(found, func(x, y receipt.Receipt) int { return y.Time.Compare(x.Time) }) {
						t.Errorf("%s by %d: not the newest first", query, limit)
					}
					return found
				}
				after = page.Next
			}
			t.Fatal("pages have no end")
			return nil
		}
		for i := range 9 {
			limit := []int{7, 100, 500}[i%3]
			order = []string{"", "&order=newest", "&order=oldest"}[i/3]
			if got := all("", limit); len(got) != 2*most+2 { // and the ends of both chains
				t.Errorf("by %d: %d receipts", limit, len(got))
			}
			seen := map[string]bool{}
			for _, r := range all("tenant=acme&tool=read", limit) {
				if r.Tenant != "acme" || r.Tool != "read" || seen[r.ID] {
					t.Errorf("%+v", r)
				}
				seen[r.ID] = true
			}
			if want := 2 * 34; len(seen) != want { // n%6 == 0
				t.Errorf("by %d: %d receipts of a tenant and a tool, want %d", limit, len(seen), want)
			}
			if got := all("kind=changed", limit); len(got) != 2*most/10 {
				t.Errorf("by %d: %d changes", limit, len(got))
			}
			for query, want := range map[string]int{"reason=rate": 2 * most / 5, "reason=rate&kind=changed": 2 * most / 10, "reason=quota": 0, "reason=": 2*most + 2} {
				if got := all(query, limit); len(got) != want {
					t.Errorf("%s by %d: %d receipts, want %d", query, limit, len(got), want)
				}
			}
			from, to := begin.Add(90*time.Second), begin.Add(150*time.Second)
			got := all("from="+from.Format(time.RFC3339)+"&to="+to.Format(time.RFC3339), limit)
			for _, r := range got {
				if r.Time.Before(from) || r.Time.After(to) {
					t.Errorf("%v is not from %v to %v", r.Time, from, to)
				}
			}
			if len(got) != 2*41 {
				t.Errorf("by %d: %d receipts of a minute", limit, len(got))
			}
		}
		for _, id := range []string{ids[0], ids[117]} {
			got := f.do(ask{method: "GET", path: "/v1/receipts/" + id})
			o := got.object(t)
			if got.status != 200 || len(o["receipts"].([]any)) != 1 || o["report"].(map[string]any)["ok"] != true {
				t.Errorf("%d %s", got.status, got.body)
			}
		}
		got := f.do(ask{method: "GET", path: "/v1/receipts/verify"}).object(t)
		if got["ok"] != true || got["receipts"] != float64(2*most+2) || !strings.Contains(got["words"].(string), "nothing is altered") {
			t.Errorf("%v", got)
		}
		exported := f.do(ask{method: "GET", path: "/v1/receipts/export"})
		report, err := verify.Export(t.Context(), strings.NewReader(exported.body), verify.Options{})
		if err != nil || !report.OK() || report.Receipts != 2*most+2 {
			t.Errorf("%v %v", report, err)
		}
	})
}

// TestPagesWhileMoreIsRecorded wants each receipt once that was there when the first page was asked for, in either order.
func TestPagesWhileMoreIsRecorded(t *testing.T) {
	for _, order := range []string{"newest", "oldest"} {
		synctest.Test(t, func(t *testing.T) {
			store := memory.NewReceipts(0)
			j, err := journal.Open(journal.Options{Instance: "i", Store: store})
			if err != nil {
				t.Fatal(err)
			}
			record := func() string {
				r := receipt.Receipt{ID: j.NewID(), Kind: receipt.Completed, Tenant: "acme"}
				if err := j.Commit(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				return r.ID
			}
			var before []string
			for range 30 {
				before = append(before, record())
				time.Sleep(time.Second)
			}
			f := newFixture(t, func(o *controlapi.Options) { o.Records = stored{store} })
			var got []string
			for after := ""; ; {
				page := f.do(ask{method: "GET", path: "/v1/receipts?limit=4&tenant=acme&order=" + order + "&after=" + after}).object(t)
				for _, r := range page["receipts"].([]any) {
					got = append(got, r.(map[string]any)["id"].(string))
				}
				next, more := page["next"].(string)
				if !more {
					break
				}
				if after = next; len(got) < 30 {
					record()
				}
			}
			if order == "newest" {
				slices.Reverse(before)
			} else {
				got = got[:min(len(got), len(before))] // what was recorded meanwhile comes at the end
			}
			if !slices.Equal(got, before) {
				t.Errorf("%s first: %d receipts, want the %d of before in their order", order, len(got), len(before))
			}
			if err := j.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// long has more receipts than one page reads.
type long struct {
	controlapi.Records
	begin time.Time
}

func (l long) Select(_ context.Context, _ string, from, to time.Time) iter.Seq2[receipt.Receipt, error] {
	return func(yield func(receipt.Receipt, error) bool) {
		for n := range 45000 {
			r := receipt.Receipt{
				ID: "019b4f3a-7c55-7d1e-9a3b-" + fmt.Sprintf("%012d", n), Time: l.begin.Add(time.Duration(n) * 10 * time.Millisecond),
				Kind: receipt.Completed, Instance: "i", Seq: int64(n + 1), Previous: receipt.HashOf(nil),
			}
			if n == 44999 {
				r.Kind = receipt.Changed
			}
			if r.Time.Before(from) || r.Time.After(to) {
				continue
			}
			r.Append(nil) // sets the hash
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (l long) Newest(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error] {
	return backwards(l.Select(ctx, tenant, from, to))
}

// TestPagesAreBounded though what is looked for is far.
func TestPagesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(o *controlapi.Options) { o.Records = long{begin: time.Now().Add(-time.Hour)} })
		var pages []string
		for after := ""; ; {
			got := f.do(ask{method: "GET", path: "/v1/receipts?kind=changed&order=oldest&after=" + after}).object(t)
			pages = append(pages, fmt.Sprint(len(got["receipts"].([]any))))
			next, more := got["next"].(string)
			if !more {
				break
			}
			after = next
		}
		if got := strings.Join(pages, " "); got != "0 0 1" {
			t.Errorf("pages of %s", got)
		}
	})
}

// slow has a second go by with each receipt.
type slow struct {
	long
	f *fixture
}

func (s slow) Select(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error] {
	return func(yield func(receipt.Receipt, error) bool) {
		for r, err := range s.long.Select(ctx, tenant, from, to) {
			s.f.pass(time.Second)
			if !yield(r, err) {
				return
			}
		}
	}
}

func (s slow) Newest(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error] {
	return func(yield func(receipt.Receipt, error) bool) {
		for r, err := range s.long.Newest(ctx, tenant, from, to) {
			s.f.pass(time.Second)
			if !yield(r, err) {
				return
			}
		}
	}
}

// TestPagesInTime end before the caller gives up, and say where to go on.
func TestPagesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slow
		s.begin = time.Now().Add(-time.Hour)
		f := newFixture(t, func(o *controlapi.Options) { o.Records = &s })
		s.f = f
		first := f.do(ask{method: "GET", path: "/v1/receipts"}).object(t)
		second := f.do(ask{method: "GET", path: "/v1/receipts?after=" + fmt.Sprint(first["next"])}).object(t)
		for _, page := range []map[string]any{first, second} {
			if n := len(page["receipts"].([]any)); n < 1 || n > 4 || page["next"] == nil {
				t.Errorf("a page of %d receipts, and next is %v", n, page["next"])
			}
		}
	})
}

// waiting verifies until it is told to end.
type waiting struct {
	controlapi.Records
	begun, end chan struct{}
}

func (w waiting) Verify(ctx context.Context, _ string, _, _ time.Time) (*verify.Report, error) {
	w.begun <- struct{}{}
	select {
	case <-w.end:
		return &verify.Report{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestHeavyReadsAreFew at a time.
func TestHeavyReadsAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := waiting{begun: make(chan struct{}), end: make(chan struct{})}
		f := newFixture(t, func(o *controlapi.Options) { o.Records = w })
		done := make(chan *reply)
		for range 2 {
			go func() { done <- f.do(ask{method: "GET", path: "/v1/receipts/verify"}) }()
			<-w.begun
		}
		for _, path := range []string{"/v1/receipts/verify", "/v1/receipts/export"} {
			if got := f.do(ask{method: "GET", path: path}); got.status != 503 || got.header.Get("Retry-After") != "10" {
				t.Errorf("%s: %d %s", path, got.status, got.body)
			}
		}
		close(w.end)
		for range 2 {
			if got := <-done; got.status != 200 {
				t.Errorf("%d %s", got.status, got.body)
			}
		}
	})
}

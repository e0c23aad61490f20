// Package firestoretest is the suite of collections that tools read: any [documents.Collection] must pass it, and the tools over it let no
// caller have what is another's. What is right is what [Naive] finds among the same documents.
package firestoretest

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/backend/firestore/documents"
)

// Open returns a collection of the documents, empty of others.
type Open func(*testing.T, []documents.Document) documents.Collection

// Values are some of each type, at the edges and equal to each other across types.
var Values = []any{
	nil, false, true, int64(0), int64(1), int64(-1), int64(math.MaxInt64), int64(math.MinInt64), int64(1<<53 + 1), math.Copysign(0, -1), 1.0, 1.5, -1.5, 1e300, math.NaN(), math.Inf(1), math.Inf(-1),
	math.SmallestNonzeroFloat64, time.Unix(0, 0).UTC(), time.Date(2026, 11, 30, 12, 0, 0, 123456000, time.UTC), time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC),
	"", "a", "A", "1", "ä", "zz", "a\x00b", "\uffff", "🦊", "2026-11-30T12:00:00Z", []byte{}, []byte{0, 255}, []byte("a"),
	documents.Reference("orders/1"), documents.Reference("orders/1/items/2"), documents.Reference("people/ä b"),
	documents.Point{}, documents.Point{Latitude: 90, Longitude: -180}, documents.Point{Latitude: -1.5, Longitude: 2},
	[]any{}, []any{int64(1)}, []any{int64(1), "a"}, []any{nil}, map[string]any{}, map[string]any{"a": int64(1)}, map[string]any{"a": int64(1), "b": nil}, map[string]any{"b": []any{"x"}},
	documents.Vector{1, 2}, documents.Vector{0.5, 1, 2},
}

// generate makes documents whose fields often have the same values.
func generate(r *rand.Rand, n int) (all []documents.Document) {
	ids := []string{"a/", "..", "x"} // what ids are made of, with the slash replaced
	for i := range n {
		fields := map[string]any{"any": Values[i%len(Values)], "tenant": fmt.Sprint("t", r.IntN(3)), "status": []any{"open", "paid", int64(3), true}[r.IntN(4)], "n": int64(r.IntN(4)),
			"in": map[string]any{"deep": []any{"x", "y", 2.5}[r.IntN(3)], "er": map[string]any{"still": int64(i)}}, "at": time.Unix(int64(r.IntN(3)), 0).UTC()}
		if r.IntN(4) == 0 {
			delete(fields, []string{"any", "status", "n", "in", "at"}[r.IntN(5)])
		}
		id := fmt.Sprintf("%s%c%03d", ids[r.IntN(len(ids))][:1], []rune("aZ~ü🦊 .%_-")[r.IntN(10)], i)
		all = append(all, documents.Document{ID: id, Fields: fields})
	}
	return all
}

// TestCollection holds a collection against [Naive].
func TestCollection(t *testing.T, open Open) {
	r := rand.New(rand.NewPCG(18, 2))
	all := generate(r, 3*len(Values))
	c, right := open(t, all), Naive(all)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	t.Run("get", func(t *testing.T) {
		for _, want := range all {
			got, err := c.Get(ctx, want.ID)
			if err != nil || got == nil || got.ID != want.ID || compare(got.Fields, want.Fields) != 0 || !sameTypes(got.Fields, want.Fields) {
				t.Errorf("%q is %+v, want %+v: %v", want.ID, got, want, err)
			}
		}
		for _, id := range []string{"nothing", "a", "ü", ".x", "...", "__a", "a__", "%2e%2e", "*", "~*", "a b", "a\nb"} {
			if got, err := c.Get(ctx, id); got != nil || err != nil {
				t.Errorf("%q is %+v, %v", id, got, err)
			}
		}
	})
	t.Run("find", func(t *testing.T) { testFind(ctx, t, c, right, r) })
	t.Run("stop", func(t *testing.T) {
		for range c.Find(ctx, documents.Query{Limit: 100}) {
			break // and another is found after it
		}
		if got := collect(t, c.Find(ctx, documents.Query{Limit: 1})); len(got) != 1 {
			t.Errorf("found %v", got)
		}
	})
	t.Run("select", func(t *testing.T) {
		for d, err := range c.Find(ctx, documents.Query{Limit: 5, Select: []string{"in.deep", "n"}, Equal: []documents.Field{{Path: "tenant", Value: "t1"}}}) {
			if err != nil {
				t.Fatal(err)
			}
			want, _ := right.Get(ctx, d.ID)
			for _, path := range []string{"in.deep", "n"} {
				got, ok := documents.Lookup(d.Fields, path)
				if v, there := documents.Lookup(want.Fields, path); ok != there || compare(got, v) != 0 {
					t.Errorf("%s of %s is %v, want %v", path, d.ID, got, v)
				}
			}
		}
	})
}

// testFind asks generated queries whole and in pages.
func testFind(ctx context.Context, t *testing.T, c documents.Collection, right Naive, r *rand.Rand) {
	paths := []string{"tenant", "status", "n", "in.deep", "at", "any", "in", "nothing"}
	found, paged := 0, 0
	for range 150 {
		q := documents.Query{Limit: 1000}
		free := slices.Clone(paths)
		r.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
		for range r.IntN(3) {
			// A null and NaN are asked for in other ways than by a value, and no argument is one.
			d := right[r.IntN(len(right))]
			if v, ok := documents.Lookup(d.Fields, free[0]); ok && v != nil && !isNaN(v) && !isMap(v) {
				q.Equal = append(q.Equal, documents.Field{Path: free[0], Value: v})
			}
			free = free[1:]
		}
		for range r.IntN(3) {
			if free[0] != "nothing" || r.IntN(5) == 0 {
				q.Order = append(q.Order, documents.Order{Path: free[0], Descending: r.IntN(2) == 0})
			}
			free = free[1:]
		}
		want := ids(collect(t, right.Find(ctx, q)))
		if got := ids(collect(t, c.Find(ctx, q))); !slices.Equal(got, want) {
			t.Fatalf("%+v finds\n%q, want\n%q", q, got, want)
		}
		found += len(want)
		var pages []string
		for q.Limit = 1 + len(want)/5 + r.IntN(5); ; { // few pages: each is a question to a database
			page := collect(t, c.Find(ctx, q))
			if pages = append(pages, ids(page)...); len(page) < q.Limit {
				break
			}
			last := positionOf(q.Order, page[len(page)-1])
			q.After = &last
			paged++
		}
		if !slices.Equal(pages, want) {
			t.Fatalf("%+v finds in pages\n%q, want\n%q", q, pages, want)
		}
	}
	if t.Logf("150 queries find %d documents, in %d pages", found, paged); found < 1000 {
		t.Error("that is too few to say anything")
	}
}

func isNaN(v any) bool {
	f, ok := v.(float64)
	return ok && math.IsNaN(f)
}

func isMap(v any) bool {
	return reflect.TypeOf(v).Kind() == reflect.Map || reflect.TypeOf(v).Kind() == reflect.Slice
}

func collect(t *testing.T, seq func(func(*documents.Document, error) bool)) (all []documents.Document) {
	t.Helper()
	for d, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, *d)
	}
	return all
}

func ids(all []documents.Document) (out []string) {
	for _, d := range all {
		out = append(out, d.ID)
	}
	return out
}

// sameTypes tells whether equal values have the same types, too.
func sameTypes(a, b any) bool {
	if reflect.TypeOf(a) != reflect.TypeOf(b) {
		return false
	}
	switch a := a.(type) {
	case []any:
		for i := range a {
			if !sameTypes(a[i], b.([]any)[i]) {
				return false
			}
		}
	case map[string]any:
		for name := range a {
			if !sameTypes(a[name], b.(map[string]any)[name]) {
				return false
			}
		}
	}
	return true
}

package firestoretest

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/backend/firestore/documents"
)

// Naive is a [documents.Collection] of documents in memory: it looks at each, and does all at once, in the order of
// https://docs.cloud.google.com/firestore/native/docs/concepts/data-types.
type Naive []documents.Document

// Get implements [documents.Collection].
func (n Naive) Get(_ context.Context, id string) (*documents.Document, error) {
	for _, d := range n {
		if d.ID == id {
			return &d, nil
		}
	}
	return nil, nil
}

// Find implements [documents.Collection].
func (n Naive) Find(_ context.Context, q documents.Query) iter.Seq2[*documents.Document, error] {
	return func(yield func(*documents.Document, error) bool) {
		for i, d := range n.find(q) {
			if i == q.Limit || !yield(&d, nil) {
				return
			}
		}
	}
}

func (n Naive) find(q documents.Query) (found []documents.Document) {
	for _, d := range n {
		fits := true
		for _, f := range q.Equal {
			v, ok := documents.Lookup(d.Fields, f.Path)
			fits = fits && ok && compare(v, f.Value) == 0
		}
		position := documents.Position{ID: d.ID}
		for _, o := range q.Order {
			v, ok := documents.Lookup(d.Fields, o.Path)
			fits = fits && ok
			position.Values = append(position.Values, v)
		}
		if fits && (q.After == nil || inOrder(q.Order, position, *q.After) > 0) {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, func(a, b documents.Document) int {
		return inOrder(q.Order, positionOf(q.Order, a), positionOf(q.Order, b))
	})
	return found
}

func positionOf(order []documents.Order, d documents.Document) documents.Position {
	p := documents.Position{ID: d.ID}
	for _, o := range order {
		v, _ := documents.Lookup(d.Fields, o.Path)
		p.Values = append(p.Values, v)
	}
	return p
}

func inOrder(order []documents.Order, a, b documents.Position) int {
	descending := false
	for i, o := range order {
		descending = o.Descending
		if c := compare(a.Values[i], b.Values[i]); c != 0 {
			return turned(c, descending)
		}
	}
	return turned(strings.Compare(a.ID, b.ID), descending)
}

func turned(c int, descending bool) int {
	if descending {
		return -c
	}
	return c
}

// rank is the place of a value's type in the order.
func rank(v any) int {
	switch v.(type) {
	case nil:
		return 0
	case bool:
		return 1
	case int64, float64:
		return 2
	case time.Time:
		return 3
	case string:
		return 4
	case []byte:
		return 5
	case documents.Reference:
		return 6
	case documents.Point:
		return 7
	case []any:
		return 8
	case documents.Vector:
		return 9
	}
	return 10
}

func compare(a, b any) int {
	if c := cmp.Compare(rank(a), rank(b)); c != 0 {
		return c
	}
	switch a := a.(type) {
	case bool:
		if a == b.(bool) {
			return 0
		} else if a {
			return 1
		}
		return -1
	case int64, float64:
		return compareNumbers(a, b)
	case time.Time:
		return a.Compare(b.(time.Time))
	case string:
		return strings.Compare(a, b.(string)) // UTF-8 is in the order of its octets
	case []byte:
		return bytes.Compare(a, b.([]byte))
	case documents.Reference:
		return slices.Compare(strings.Split(string(a), "/"), strings.Split(string(b.(documents.Reference)), "/"))
	case documents.Point:
		p := b.(documents.Point)
		return cmp.Or(cmp.Compare(a.Latitude, p.Latitude), cmp.Compare(a.Longitude, p.Longitude))
	case []any:
		return slices.CompareFunc(a, b.([]any), compare)
	case documents.Vector:
		w := b.(documents.Vector)
		return cmp.Or(cmp.Compare(len(a), len(w)), slices.Compare(a, w))
	case map[string]any:
		m := b.(map[string]any)
		names, others := slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(m))
		for i := range min(len(names), len(others)) {
			if c := cmp.Or(strings.Compare(names[i], others[i]), compare(a[names[i]], m[others[i]])); c != 0 {
				return c
			}
		}
		return cmp.Compare(len(names), len(others))
	}
	return 0
}

// compareNumbers compares whole numbers and doubles by their exact values; NaN is before all.
func compareNumbers(a, b any) int {
	n, whole := a.(int64)
	m, whole2 := b.(int64)
	switch {
	case whole && whole2:
		return cmp.Compare(n, m)
	case whole:
		return -compareNumbers(b, a)
	case !whole2:
		return cmp.Compare(a.(float64)+0, b.(float64)+0) // -0 and 0 are the same
	}
	f := a.(float64)
	switch {
	case math.IsNaN(f) || f < math.MinInt64:
		return -1
	case f >= math.MaxInt64:
		return 1
	}
	return cmp.Or(cmp.Compare(int64(math.Trunc(f)), m), cmp.Compare(f-math.Trunc(f), 0))
}

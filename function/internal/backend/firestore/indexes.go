package firestore

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/backend/firestore/documents"
)

// An Index is a composite one, of the documents of collections of one name. String returns the command that makes it.
type Index struct {
	Database, Collection string
	Fields               []documents.Order
}

func (x Index) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "gcloud firestore indexes composite create --collection-group=%s --query-scope=collection", x.Collection)
	if x.Database != "" {
		fmt.Fprintf(&b, " --database=%s", x.Database)
	}
	for _, f := range x.Fields {
		order := "ascending"
		if f.Descending {
			order = "descending"
		}
		fmt.Fprintf(&b, " --field-config=field-path=%s,order=%s", f.Path, order)
	}
	return b.String()
}

// Indexes returns the composite indexes that the source's tools need on Firestore, which the emulator does without; each once, in the order of
// the tools. A query that is ordered needs one that begins with the fields that it has given values of. There is one for each such field, with
// those of Own before it: for a query about several fields Firestore merges them
// (https://docs.cloud.google.com/firestore/native/docs/query-data/index-overview). Without an order, those that it has for single fields do.
func (s *Source) Indexes() ([]Index, error) {
	p, err := s.check()
	if err != nil {
		return nil, err
	}
	var all []Index
	add := func(equal []string, order []documents.Order) {
		if len(order) == 0 || len(equal)+len(order) < 2 {
			return
		}
		x := Index{Database: s.Database, Collection: path.Base(s.Collection)}
		for _, f := range equal {
			x.Fields = append(x.Fields, documents.Order{Path: f})
		}
		x.Fields = append(x.Fields, order...)
		if !slices.ContainsFunc(all, func(y Index) bool { return slices.Equal(x.Fields, y.Fields) }) {
			all = append(all, x)
		}
	}
	var own []string
	for _, o := range p.own {
		own = append(own, o.field)
	}
	for _, t := range p.tools {
		// Where a field of the order has a given value, nothing is ordered by it.
		var choosable []string
		for _, o := range t.order {
			if slices.ContainsFunc(t.Where, func(c Condition) bool { return c.Field == o.Path }) {
				choosable = append(choosable, o.Path)
			}
		}
		for subset := range 1 << len(choosable) {
			var given []documents.Field
			for _, f := range own {
				given = append(given, documents.Field{Path: f})
			}
			for i, f := range choosable {
				if subset&(1<<i) != 0 {
					given = append(given, documents.Field{Path: f})
				}
			}
			order := ordered(t.order, given)
			if subset == 0 && !slices.ContainsFunc(t.Where, func(c Condition) bool { return c.Required }) {
				add(own, order) // nothing else is given
			}
			for _, c := range t.Where {
				is := func(f documents.Field) bool { return f.Path == c.Field }
				if !slices.ContainsFunc(t.order, func(o documents.Order) bool { return o.Path == c.Field }) || slices.ContainsFunc(given, is) {
					add(append(own[:len(own):len(own)], c.Field), order)
				}
			}
		}
	}
	return all, nil
}

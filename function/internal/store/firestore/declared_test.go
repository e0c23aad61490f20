package firestore

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// declared is what declared.json says that the database must have; infra makes it so.
type declared struct {
	Indexes   []index
	TTLs      []place
	Unindexed []place // what is too long to be worth an index
}

type index struct {
	Collection, Scope string
	Fields            []field
}

type field struct{ Path, Order string }

type place struct{ Collection, Field string }

// TestDeclaredIsWhatTheCodeNeeds reads this package's queries and documents. The emulator wants no indexes, so that nothing else
// would find a missing one before production does.
func TestDeclaredIsWhatTheCodeNeeds(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") || f == "collections.go" { // of an operator's own collections: package backend/firestore tells their indexes
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		sources[f] = string(text)
	}
	need, faults := needed(sources)
	for _, f := range faults {
		t.Error(f)
	}
	var have declared
	text, err := os.ReadFile("declared.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &have); err != nil {
		t.Fatal(err)
	}
	if len(have.TTLs) == 0 {
		t.Error("declared.json: nothing expires")
	}
	if !slices.EqualFunc(have.Indexes, need.Indexes, func(a, b index) bool { return reflect.DeepEqual(a, b) }) {
		t.Errorf("declared.json has indexes %+v, the queries need %+v", have.Indexes, need.Indexes)
	}
	if !slices.Equal(have.TTLs, need.TTLs) {
		t.Errorf("declared.json has TTLs %+v, the documents need %+v", have.TTLs, need.TTLs)
	}
	if !slices.Equal(have.Unindexed, need.Unindexed) {
		t.Errorf("declared.json leaves %+v without an index, the documents need %+v", have.Unindexed, need.Unindexed)
	}
}

// TestNeeded holds for queries as they may come.
func TestNeeded(t *testing.T) {
	const head = "package p\nconst receipts = \"erlmcp-receipts\"\nfunc f() {\n"
	for _, c := range []struct {
		name, body string
		want       declared
		fault      string
	}{
		{"a document needs none", `s.client.Collection(receipts).Doc("x").Get(ctx)`, declared{}, ""},
		{"one field needs none", `s.client.Collection(receipts).Where("tenant", "==", t).Documents(ctx)`, declared{}, ""},
		{"equal fields are merged", `s.client.Collection(receipts).Where("a", "==", 1).Where("b", "==", 2).Documents(ctx)`, declared{}, ""},
		{"order by the field that is ranged over", `s.client.Collection(receipts).Where("at", ">", 1).OrderBy("at", firestore.Asc).Documents(ctx)`, declared{}, ""},
		{"equal and ordered", `s.client.Collection(receipts).Where("tenant", "==", t).OrderBy("at", firestore.Desc).Limit(10).Documents(ctx)`,
			declared{Indexes: []index{{"erlmcp-receipts", "COLLECTION", []field{{"tenant", "ASCENDING"}, {"at", "DESCENDING"}}}}}, ""},
		{"equal and ranged", `s.client.Collection("erlmcp-x").Where("tenant", "==", t).Where("at", ">=", t).Documents(ctx)`,
			declared{Indexes: []index{{"erlmcp-x", "COLLECTION", []field{{"tenant", "ASCENDING"}, {"at", "ASCENDING"}}}}}, ""},
		{"one of several, and ranged", `s.client.Collection(receipts).Where("tenants", "array-contains", t).Where("at", ">=", t).OrderBy("at", firestore.Asc).Documents(ctx)`,
			declared{Indexes: []index{{"erlmcp-receipts", "COLLECTION", []field{{"tenants", "CONTAINS"}, {"at", "ASCENDING"}}}}}, ""},
		{"over all parents", `s.client.CollectionGroup("segments").Where("a", "==", t).OrderBy("b", firestore.Asc).Documents(ctx)`,
			declared{Indexes: []index{{"segments", "COLLECTION_GROUP", []field{{"a", "ASCENDING"}, {"b", "ASCENDING"}}}}}, ""},
		{"built in steps", `q := s.client.Collection(receipts).Query; q = q.Where("a", "==", 1)`, declared{}, "one chain"},
		{"a name that is not known", `s.client.Collection(receipts).Where(name, "==", 1).Documents(ctx)`, declared{}, "constant"},
		{"a filter of its own", `s.client.Collection(receipts).WhereEntity(f).Documents(ctx)`, declared{}, "WhereEntity"},
	} {
		got, faults := needed(map[string]string{"x.go": head + c.body + "\n}\n"})
		if (len(faults) > 0) != (c.fault != "") || c.fault != "" && !strings.Contains(strings.Join(faults, "\n"), c.fault) {
			t.Errorf("%s: faults %v, want %q", c.name, faults, c.fault)
		}
		if c.fault == "" && !reflect.DeepEqual(got.Indexes, c.want.Indexes) {
			t.Errorf("%s: %+v, want %+v", c.name, got.Indexes, c.want.Indexes)
		}
	}
	const document = "package p\nconst quotas = \"q\"\n// kept in: quotas\ntype quota struct {\n\tText []byte `firestore:\"text\"`\n\tExpires time.Time `firestore:\"expires\"`\n}\n"
	if got, faults := needed(map[string]string{"x.go": document}); len(faults) > 0 || !slices.Equal(got.TTLs, []place{{"q", "expires"}}) || !slices.Equal(got.Unindexed, []place{{"q", "text"}}) {
		t.Errorf("%+v %v", got, faults)
	}
	if _, faults := needed(map[string]string{"x.go": strings.Replace(document, "// kept in: quotas\n", "", 1)}); len(faults) != 1 {
		t.Errorf("a document that expires somewhere: %v", faults)
	}
	lasting := strings.NewReplacer("kept in: quotas", "kept in: quotas, others", "expires", "until", "\"q\"", "\"q\"\nconst others = \"o\"").Replace(document)
	if got, faults := needed(map[string]string{"x.go": lasting}); len(faults) > 0 || len(got.TTLs) > 0 || !slices.Equal(got.Unindexed, []place{{"q", "text"}, {"o", "text"}}) {
		t.Errorf("documents that last, in two collections: %+v %v", got, faults)
	}
}

// needed derives composite indexes from the chains of calls that make queries, and from the documents, whose comments say in which
// collections they are kept, TTL policies for the fields named expires and which fields are not to be indexed: those of bytes. What
// it can't derive is a fault.
func needed(sources map[string]string) (need declared, faults []string) {
	constants := map[string]string{}
	var files []*ast.File
	set := token.NewFileSet()
	names := make([]string, 0, len(sources))
	for name := range sources {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f, err := parser.ParseFile(set, name, sources[name], parser.ParseComments)
		if err != nil {
			return need, []string{err.Error()}
		}
		files = append(files, f)
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.ValueSpec); ok {
				for i, id := range s.Names {
					if i < len(s.Values) {
						if text, ok := literal(s.Values[i], nil); ok {
							constants[id.Name] = text
						}
					}
				}
			}
			return true
		})
	}
	for _, f := range files {
		inner := map[ast.Node]bool{} // calls within a longer chain
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if !inner[n] {
					q, fault := chain(n, constants, inner)
					if fault != "" {
						faults = append(faults, fmt.Sprintf("%s: %s", set.Position(n.Pos()), fault))
					} else if i, ok := q.index(); ok && !slices.ContainsFunc(need.Indexes, func(x index) bool { return reflect.DeepEqual(x, i) }) {
						need.Indexes = append(need.Indexes, i)
					}
				}
			case *ast.GenDecl:
				for _, spec := range n.Specs {
					t, ok := spec.(*ast.TypeSpec)
					if !ok {
						continue
					}
					s, ok := t.Type.(*ast.StructType)
					_, kept, said := strings.Cut(n.Doc.Text(), "kept in: ")
					if !ok || !said && !expires(s) {
						continue
					}
					for name := range strings.SplitSeq(strings.SplitN(kept, "\n", 2)[0], ",") {
						collection := constants[strings.TrimSpace(name)]
						if collection == "" {
							faults = append(faults, fmt.Sprintf("%s: the comment of %s must say \"kept in: \" and the constants of its collections", set.Position(t.Pos()), t.Name))
							continue
						}
						if expires(s) {
							need.TTLs = append(need.TTLs, place{collection, "expires"})
						}
						for _, f := range s.Fields.List {
							if a, ok := f.Type.(*ast.ArrayType); ok && fmt.Sprint(a.Elt) == "byte" {
								need.Unindexed = append(need.Unindexed, place{collection, nameOf(f)})
							}
						}
					}
				}
			}
			return true
		})
	}
	return need, faults
}

func expires(s *ast.StructType) bool {
	return slices.ContainsFunc(s.Fields.List, func(f *ast.Field) bool { return nameOf(f) == "expires" })
}

// nameOf is the name of a field in Firestore.
func nameOf(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	return reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("firestore")
}

func literal(e ast.Expr, constants map[string]string) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		text, ok := constants[e.Name]
		return text, ok
	}
	return "", false
}

// A query is what a chain of calls asks for.
type query struct {
	collection, scope string
	equal             []field
	ordered           []field // ranges and orders
}

// index is the composite index that the query needs, if it does: one for equal fields beside an order, or for two orders.
func (q query) index() (index, bool) {
	if len(q.ordered) == 0 || len(q.equal)+len(q.ordered) < 2 {
		return index{}, false
	}
	return index{Collection: q.collection, Scope: q.scope, Fields: slices.Concat(q.equal, q.ordered)}, true
}

func chain(outermost *ast.CallExpr, constants map[string]string, inner map[ast.Node]bool) (q query, fault string) {
	asks := false
	for call := outermost; ; {
		s, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			break
		}
		arg := func(n int) string {
			if n < len(call.Args) {
				if text, ok := literal(call.Args[n], constants); ok {
					return text
				}
			}
			fault = s.Sel.Name + " with what is not a constant: the index that it needs can't be told"
			return ""
		}
		switch s.Sel.Name {
		case "WhereEntity", "WherePath", "OrderByPath", "FindNearest":
			return q, s.Sel.Name + ": this test does not know which index it needs"
		case "Where":
			asks = true
			path, op := arg(0), arg(1)
			switch {
			case fault != "":
				return q, fault
			case op == "==" || op == "in":
				q.equal = append([]field{{path, "ASCENDING"}}, q.equal...)
			case op == "array-contains":
				q.equal = append([]field{{path, "CONTAINS"}}, q.equal...)
			case !slices.ContainsFunc(q.ordered, func(f field) bool { return f.Path == path }):
				q.ordered = append([]field{{path, "ASCENDING"}}, q.ordered...)
			}
		case "OrderBy":
			asks = true
			path := arg(0)
			if fault != "" {
				return q, fault
			}
			order := "ASCENDING"
			if d, ok := call.Args[1].(*ast.SelectorExpr); ok && d.Sel.Name == "Desc" {
				order = "DESCENDING"
			}
			q.ordered = append([]field{{path, order}}, q.ordered...)
		case "Collection", "CollectionGroup":
			if !asks {
				return query{}, ""
			}
			q.scope = map[string]string{"Collection": "COLLECTION", "CollectionGroup": "COLLECTION_GROUP"}[s.Sel.Name]
			q.collection = arg(0)
			return q, fault
		}
		next, ok := s.X.(*ast.CallExpr)
		if !ok {
			break
		}
		inner[next] = true
		call = next
	}
	if asks {
		return q, "a query that does not begin with its collection in one chain: the index that it needs can't be told"
	}
	return q, ""
}

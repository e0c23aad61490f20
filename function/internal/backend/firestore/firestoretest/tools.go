package firestoretest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/backend/firestore"
	"example.com/erlmcp/function/internal/backend/firestore/documents"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
)

// orders is a source over the generated documents, of which a caller's own are those of its tenant.
func orders() *firestore.Source {
	return &firestore.Source{
		Name: "orders", Collection: "shops/main/orders", Own: "tenant == principal.tenant",
		Tools: []firestore.Tool{
			{Read: firestore.Get, MaxBytes: 1 << 20},
			{Read: firestore.Find, Order: []string{"at desc", "n"}, Max: 7, Where: []firestore.Condition{
				{Field: "status"}, {Field: "n", Type: "integer"}, {Field: "in.deep"}, {Field: "at", Type: "timestamp"},
			}},
			{Read: firestore.Find, Name: "every", Order: []string{"any"}, Max: 200},
			{Read: firestore.Find, Name: "shown", Fields: []string{"in.deep", "n"}, Order: []string{"n"}, Max: 200},
		},
	}
}

// A Caller calls the tools of entries as a principal.
type Caller struct {
	t       *testing.T
	catalog *catalog.Catalog
	as      *identity.Principal
}

// NewCaller returns one; as may be nil.
func NewCaller(t *testing.T, s *firestore.Source, c documents.Collection, as *identity.Principal) Caller {
	t.Helper()
	entries, err := s.Entries(c)
	if err != nil {
		t.Fatal(err)
	}
	built, err := catalog.Build(entries...)
	if err != nil {
		t.Fatal(err)
	}
	return Caller{t, built, as}
}

// Call returns the structured content of an answer as text, or what a model reads in place of one. Where unchecked is set, the schema is not
// asked, as if it were wider than the tool.
func (c Caller) Call(tool string, args map[string]any, unchecked bool) (answer, refusal string) {
	t := c.catalog.Tool(c.t.Context(), tool)
	if t == nil {
		c.t.Fatalf("there is no tool %s", tool)
	}
	args = maps.Clone(args)
	if !unchecked {
		c.catalog.Settle(tool, args, true) // as the engine does
	}
	if err := t.Check(args); err != nil && !unchecked {
		return "", err.Error()
	}
	ctx := c.t.Context()
	if c.as != nil {
		ctx = identity.NewContext(ctx, c.as)
	}
	result, err := t.Call(ctx, &mcp.Call{Arguments: args})
	switch {
	case err != nil:
		return "", err.Error()
	case result.IsError:
		return "", result.Content[0].Text
	case string(result.Structured) != result.Content[0].Text:
		c.t.Errorf("the text is %s, and the structured content %s", result.Content[0].Text, result.Structured)
	}
	return string(result.Structured), ""
}

// A Page is an answer of find.
type Page struct {
	Documents []struct {
		ID, Omitted string
		Fields      map[string]any
	}
	Cursor, Note string
}

// Page calls find.
func (c Caller) Page(tool string, args map[string]any) Page {
	c.t.Helper()
	answer, refusal := c.Call(tool, args, false)
	var p Page
	if err := json.Unmarshal([]byte(answer), &p); err != nil {
		c.t.Fatalf("%s%v answers %s%s: %v", tool, args, answer, refusal, err)
	}
	return p
}

// All follows the cursors of find.
func (c Caller) All(tool string, args map[string]any) (all []string) {
	c.t.Helper()
	for {
		p := c.Page(tool, args)
		for _, d := range p.Documents {
			all = append(all, d.ID)
		}
		if p.Cursor == "" || len(all) > 1000 {
			return all
		}
		args[cursorArgument] = p.Cursor
	}
}

const cursorArgument = "cursor"

// claimed are documents whose tenant is none, or nearly one.
func claimed() (all []documents.Document) {
	for i, tenant := range []any{nil, "", "T1", "t1 ", " t1", "t1\x00", int64(1), true, []any{"t1"}, map[string]any{"t1": true}, documents.Reference("t1/x"), []byte("t1"), "t", "t11", "*"} {
		all = append(all, documents.Document{ID: fmt.Sprint("claimed", i), Fields: map[string]any{"tenant": tenant, "status": "open", "n": int64(1), "at": Values[18], "any": int64(1), "in": map[string]any{"deep": "x"}}})
	}
	return append(all, documents.Document{ID: "unclaimed", Fields: map[string]any{"status": "open", "n": int64(1), "at": Values[18], "any": int64(1)}})
}

// TestTools has callers ask the tools over a collection for what they may, and for what they may not.
func TestTools(t *testing.T, open Open) {
	r := rand.New(rand.NewPCG(18, 3))
	all := append(generate(r, 90), claimed()...)
	for i := range all {
		if tenant, ok := all[i].Fields["tenant"]; ok {
			all[i].Fields["mark"] = fmt.Sprintf("mark of %v", tenant)
		} else {
			all[i].Fields["mark"] = "mark of none"
		}
	}
	c := open(t, all)
	for _, tenant := range []string{"t0", "t1", "t2", "t3", "local"} {
		t.Run(tenant, func(t *testing.T) {
			caller := NewCaller(t, orders(), c, &identity.Principal{Tenant: tenant})
			var own Naive
			for _, d := range all {
				if d.Fields["tenant"] == tenant {
					own = append(own, d)
				}
			}
			testGet(t, caller, all, tenant)
			testOwn(t, caller, own, r)
			testAttacks(t, caller, NewCaller(t, orders(), c, &identity.Principal{Tenant: "t2"}), own, tenant)
		})
	}
}

// testGet asks for every document, and wants that nobody sees which there are of others'.
func testGet(t *testing.T, caller Caller, all []documents.Document, tenant string) {
	_, none := caller.Call("orders_get", map[string]any{"id": "nothing"}, false)
	for _, d := range all {
		answer, refusal := caller.Call("orders_get", map[string]any{"id": d.ID}, false)
		if d.Fields["tenant"] == tenant {
			if !strings.Contains(answer, `"mark":"mark of `+tenant+`"`) {
				t.Errorf("%q of the caller's own: %s%s", d.ID, answer, refusal)
			}
		} else if answer != "" || refusal != strings.Replace(none, `"nothing"`, fmt.Sprintf("%q", d.ID), 1) {
			t.Errorf("%q, which is another's: %s%s, and of what is not there: %s", d.ID, answer, refusal, none)
		}
	}
}

// testOwn asks for what fits arguments, in pages.
func testOwn(t *testing.T, caller Caller, own Naive, r *rand.Rand) {
	ctx := t.Context()
	expect := func(tool string, args map[string]any, q documents.Query) {
		t.Helper()
		q.Limit = 1000
		want := ids(collect(t, own.Find(ctx, q)))
		if got := caller.All(tool, args); !slices.Equal(got, want) {
			t.Errorf("%s%v finds\n%q, want\n%q", tool, args, got, want)
		}
	}
	for range 15 {
		q := documents.Query{Order: []documents.Order{{Path: "at", Descending: true}, {Path: "n"}}}
		args := map[string]any{}
		given := func(argument, path string, written, value any) {
			if r.IntN(3) == 0 {
				args[argument] = written
				q.Equal = append(q.Equal, documents.Field{Path: path, Value: value})
				q.Order = slices.DeleteFunc(q.Order, func(o documents.Order) bool { return o.Path == path })
			}
		}
		given("status", "status", "open", "open")
		given("n", "n", int64(2), int64(2))
		given("in_deep", "in.deep", "x", "x")
		if r.IntN(4) == 0 {
			args["limit"] = int64(1 + r.IntN(7))
		}
		expect("orders_find", args, q)
	}
	expect("orders_find", map[string]any{"n": "2"}, documents.Query{Equal: []documents.Field{{Path: "n", Value: int64(2)}}, Order: []documents.Order{{Path: "at", Descending: true}}}) // as models write it
	for _, at := range []string{"1970-01-01T00:00:01Z", "1970-01-01T01:00:01.0000004+01:00"} {
		expect("orders_find", map[string]any{"at": at, "status": nil}, documents.Query{Equal: []documents.Field{{Path: "at", Value: time.Unix(1, 0).UTC()}}, Order: []documents.Order{{Path: "n"}}})
	}
	for _, limit := range []int64{2, 200} { // each value is in a cursor
		expect("orders_every", map[string]any{"limit": limit}, documents.Query{Order: []documents.Order{{Path: "any"}}})
	}
	for _, d := range caller.Page("orders_shown", nil).Documents {
		for name, v := range d.Fields {
			if inner, ok := v.(map[string]any); name != "n" && (name != "in" || !ok || len(inner) != 1) {
				t.Errorf("%s shows %v", d.ID, d.Fields)
			}
		}
	}
}

// testAttacks has arguments try to leave the condition. Whatever comes back, nothing of it is another's.
func testAttacks(t *testing.T, caller, other Caller, own Naive, tenant string) {
	forged := func(change func(c map[string]any)) string {
		p := other.Page("orders_find", map[string]any{"limit": int64(1)})
		raw, err := base64.RawURLEncoding.DecodeString(p.Cursor)
		var c map[string]any
		if err == nil {
			err = json.Unmarshal(raw, &c)
		}
		if err != nil {
			t.Fatal(err)
		}
		change(c)
		raw, _ = json.Marshal(c)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	mine := caller.Page("orders_find", map[string]any{"limit": int64(1)}).Cursor
	type args = map[string]any
	find := []args{
		{"tenant": "t2"}, {"`tenant`": "t2"}, {"tenant ==": "t2"}, {"in.deep": "x"}, {"mark": "mark of t2"}, {"own": ""}, {"where": args{"tenant": "t2"}}, {"": ""}, {"__name__": "x"},
		{"status": []any{"open", "paid"}}, {"status": args{"$ne": ""}}, {"status": args{"stringValue": "open"}}, {"status": "open\" OR tenant == \"t2"}, {"status": true}, {"status": 1.5},
		{"status": strings.Repeat("x", 2000)}, {"status": "tenant"}, {"status": "t2"}, {"status": []any{nil}}, {"n": "2 or 1"}, {"n": 2.5}, {"n": uint64(1 << 63)}, {"n": []any{}},
		{"at": "now"}, {"at": "2026-11-30"}, {"at": "0000-01-01T00:00:00Z"}, {"at": int64(0)}, {"at": args{}}, {"limit": int64(0)}, {"limit": int64(-1)}, {"limit": int64(8)}, {"limit": "all"}, {"limit": 1.5},
		{"cursor": ""}, {"cursor": "x"}, {"cursor": "e30"}, {"cursor": "bnVsbA"}, {"cursor": int64(1)}, {"cursor": []any{mine}}, {"cursor": strings.Repeat("e", 9000)}, {"cursor": "../../x"},
		{"cursor": mine, "status": "open"},
	}
	for _, change := range []func(map[string]any){
		func(c map[string]any) {},
		func(c map[string]any) { c["i"] = "../x" },
		func(c map[string]any) { c["i"] = "" },
		func(c map[string]any) { c["i"] = "__x__" },
		func(c map[string]any) { c["v"] = []any{} },
		func(c map[string]any) { c["v"] = []any{"a", "b", "c"} },
		func(c map[string]any) { c["v"] = args{"tenant": "t2"} },
		func(c map[string]any) { c["v"] = []any{args{"x": "1"}, nil} },
		func(c map[string]any) { c["v"] = []any{args{"r": "../.."}, nil} },
		func(c map[string]any) { c["v"] = []any{args{"i": "99999999999999999999"}, nil} },
		func(c map[string]any) { c["q"] = "" },
	} {
		find = append(find, args{"cursor": forged(change)})
	}
	if tenant == "t2" {
		find = slices.DeleteFunc(find, func(a args) bool { return a["cursor"] == forged(func(map[string]any) {}) }) // which is its own
	}
	get := []args{}
	for _, id := range []any{"a/b/c", "..", ".", "__id__", "__", "", " ", "/", "x/", "/x", "../t2", "orders/x", "shops/other/orders/x", "%2e%2e", "%2F", "x\x00", "\xff", strings.Repeat("x", 1501), nil, true, int64(1), []any{"x"}, args{"id": "x"}} {
		get = append(get, args{"id": id})
	}
	for tool, all := range map[string][]args{"orders_find": find, "orders_get": append(get, args{})} {
		for _, a := range all {
			for _, unchecked := range []bool{false, true} {
				answer, refusal := caller.Call(tool, a, unchecked)
				if strings.Contains(strings.ReplaceAll(answer, "mark of "+tenant+`"`, ""), "mark of ") || strings.Contains(refusal, "mark of t") && a["mark"] == nil {
					t.Errorf("%s%v lets out what is another's: %s%s", tool, a, answer, refusal)
				}
				if answer == "" && len(refusal) < 10 {
					t.Errorf("%s%v says %q", tool, a, refusal)
				}
				_, isText := a["status"].(string)
				if answer != "" && !(isText && len(a) == 1) {
					t.Errorf("%s%v is answered: %.300s", tool, a, answer)
				}
			}
		}
	}
	// A position is no secret: one that is forged for this very query begins elsewhere among the caller's own.
	if len(own) > 0 {
		raw, _ := base64.RawURLEncoding.DecodeString(mine)
		var c map[string]any
		json.Unmarshal(raw, &c)
		c["v"], c["i"] = []any{nil, nil}, "0"
		raw, _ = json.Marshal(c)
		for _, d := range caller.Page("orders_find", args{"cursor": base64.RawURLEncoding.EncodeToString(raw)}).Documents {
			if d.Fields["tenant"] != tenant {
				t.Errorf("behind a forged position is %v", d)
			}
		}
	}
}

// Failing is a [documents.Collection] that answers with an error, and counts how often it is asked.
type Failing struct {
	Err   error
	Asked int
}

// Get implements [documents.Collection].
func (f *Failing) Get(context.Context, string) (*documents.Document, error) {
	f.Asked++
	return nil, f.Err
}

// Find implements [documents.Collection].
func (f *Failing) Find(context.Context, documents.Query) iter.Seq2[*documents.Document, error] {
	f.Asked++
	return func(yield func(*documents.Document, error) bool) { yield(nil, f.Err) }
}

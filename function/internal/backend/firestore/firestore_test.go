package firestore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/backend/firestore"
	"example.com/erlmcp/function/internal/backend/firestore/documents"
	"example.com/erlmcp/function/internal/backend/firestore/firestoretest"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
)

func naive(_ *testing.T, all []documents.Document) documents.Collection {
	return firestoretest.Naive(all)
}

func TestNaive(t *testing.T) {
	firestoretest.TestCollection(t, naive)
	firestoretest.TestTools(t, naive)
}

func source(change func(*firestore.Source)) *firestore.Source {
	s := &firestore.Source{Name: "orders", Collection: "orders", Own: "tenant == principal.tenant", Tools: []firestore.Tool{{Read: firestore.Get}, {Read: firestore.Find}}}
	change(s)
	return s
}

var acme = &identity.Principal{Tenant: "acme"}

// TestFaults has each fault say where it is, all of them at once.
func TestFaults(t *testing.T) {
	find := func(change func(*firestore.Tool)) func(*firestore.Source) {
		return func(s *firestore.Source) { change(&s.Tools[1]) }
	}
	where := func(conditions ...firestore.Condition) func(*firestore.Source) {
		return find(func(t *firestore.Tool) { t.Where = conditions })
	}
	for _, c := range []struct {
		name   string
		change func(*firestore.Source)
		want   []string
	}{
		{"no name", func(s *firestore.Source) { s.Name = "a b" }, []string{`name: "a b"`}},
		{"a path of a document", func(s *firestore.Source) { s.Collection = "orders/1" }, []string{`collection: "orders/1" is not the path of a collection`}},
		{"a path that leads up", func(s *firestore.Source) { s.Collection = "shops/../orders" }, []string{"collection: "}},
		{"whose is not said", func(s *firestore.Source) { s.Own = "" }, []string{"own: it is missing: say whose documents"}},
		{"both", func(s *firestore.Source) { s.Shared = true }, []string{"shared: own says whose"}},
		{"another comparison", func(s *firestore.Source) { s.Own = "tenant != principal.tenant" }, []string{`own: "tenant != principal.tenant" is not FIELD == principal.tenant`}},
		{"the other way round", func(s *firestore.Source) { s.Own = "principal.tenant == tenant" }, []string{`own: "principal.tenant == tenant"`}},
		{"alternatives", func(s *firestore.Source) { s.Own = "tenant == principal.tenant || true" }, []string{"own: "}},
		{"always", func(s *firestore.Source) { s.Own = "true" }, []string{"own: "}},
		{"a literal", func(s *firestore.Source) { s.Own = `tenant == "acme"` }, []string{"own: "}},
		{"one of two", func(s *firestore.Source) { s.Own = "tenant == principal.tenant && " }, []string{`own: "" is not`}},
		{"a field twice", func(s *firestore.Source) { s.Own = "a == principal.tenant && a == principal.subject" }, []string{"own: a is there twice"}},
		{"a reserved field", func(s *firestore.Source) { s.Own = "__name__ == principal.tenant" }, []string{"own: __name__ is a name that the database keeps"}},
		{"no tools", func(s *firestore.Source) { s.Tools = nil }, []string{"tools: there are none"}},
		{"another read", find(func(t *firestore.Tool) { t.Read = "put" }), []string{`tools[1].read: "put" is neither`}},
		{"two of a name", find(func(t *firestore.Tool) { t.Name = "get" }), []string{"tools[1].name: another tool is orders_get, too"}},
		{"a name with a space", find(func(t *firestore.Tool) { t.Name = "a b" }), []string{"tools[1].name: "}},
		{"get with conditions", func(s *firestore.Source) { s.Tools[0].Max = 3 }, []string{"tools[0].where, order and max: they are of find alone"}},
		{"bounds", find(func(t *firestore.Tool) { t.Max, t.MaxBytes = 201, -1 }), []string{"tools[1].max: 201 documents", "tools[1].maxBytes: -1"}},
		{"fields within each other", find(func(t *firestore.Tool) { t.Fields = []string{"a.b", "a", "c-d"} }), []string{"tools[1].fields[1]: a.b and a have", "tools[1].fields[2]: "}},
		{"an own field", where(firestore.Condition{Field: "tenant"}), []string{"tools[1].where[0]: tenant is what own says"}},
		{"a field twice", where(firestore.Condition{Field: "a"}, firestore.Condition{Field: "a", Argument: "b"}), []string{"tools[1].where[1]: a is there already"}},
		{"an argument twice", where(firestore.Condition{Field: "a.b"}, firestore.Condition{Field: "a_b"}, firestore.Condition{Field: "limit"}, firestore.Condition{Field: "c", Argument: "cursor"}),
			[]string{"where[1]: there is another argument a_b", "where[2]: there is another argument limit", "where[3]: there is another argument cursor"}},
		{"types and paths", where(firestore.Condition{Field: "a`b"}, firestore.Condition{Field: "c", Type: "date"}, firestore.Condition{Field: "__x__"}),
			[]string{"where[0]: \"a`b\" is not the path", "where[0]: the argument", `where[1]: the type "date" is none of boolean, bytes, integer, number, point, reference, string, timestamp`, "where[2]: __x__ is a name"}},
		{"orders", find(func(t *firestore.Tool) { t.Order = []string{"a", "a desc", "b down", "c.", "d"} }),
			[]string{"tools[1].order: there are more than 4", "order[1]: a is there already", `order[2]: "down" is neither asc nor desc`, `order[3]: "c." is not the path`}},
		{"an order by what is not shown", find(func(t *firestore.Tool) { t.Fields, t.Order = []string{"a", "b.c"}, []string{"a.x", "b", "b.c"} }), []string{"tools[1].order[1]: the order, and the cursor that continues it, tell of b"}},
		{"many conditions", where(make([]firestore.Condition, 21)...), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := source(c.change)
			entries, err := s.Entries(firestoretest.Naive{})
			if err == nil || entries != nil {
				t.Fatalf("%d entries, %v", len(entries), err)
			}
			if _, other := s.Indexes(); other == nil || other.Error() != err.Error() {
				t.Errorf("indexes: %v", other)
			}
			lines := strings.Split(err.Error(), "\n")
			for _, want := range c.want {
				if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, want) }) {
					t.Errorf("%q is not in\n%v", want, err)
				}
			}
			if c.want != nil && len(lines) != len(c.want) {
				t.Errorf("%d faults of %d:\n%v", len(lines), len(c.want), err)
			}
		})
	}
}

// TestCallers has nothing be read for callers of whom it is not known what is their own.
func TestCallers(t *testing.T) {
	all := firestoretest.Naive{
		{ID: "a", Fields: map[string]any{"tenant": "acme", "region": "eu"}}, {ID: "b", Fields: map[string]any{"tenant": "acme", "region": int64(7)}},
		{ID: "c", Fields: map[string]any{"tenant": "acme", "region": true}}, {ID: "d", Fields: map[string]any{"tenant": "acme", "region": ""}},
		{ID: "e", Fields: map[string]any{"tenant": "acme"}}, {ID: "f", Fields: map[string]any{"tenant": "acme", "region": 7.0}}, {ID: "g", Fields: map[string]any{"tenant": "acme", "region": nil}},
	}
	by := func(own string) *firestore.Source {
		return source(func(s *firestore.Source) { s.Own, s.Tools[1].Order = own, []string{"tenant"} })
	}
	claims := func(region any) *identity.Principal {
		return &identity.Principal{Tenant: "acme", Subject: "ann", Issuer: "i", Claims: map[string]any{"region": region}}
	}
	const both = "tenant == principal.tenant && region == principal.claims.region"
	for _, c := range []struct {
		own  string
		as   *identity.Principal
		want string // the ids, or a part of the refusal
	}{
		{both, claims("eu"), "a"}, {both, claims(int64(7)), "b f"}, {both, claims(true), "c"}, {both, claims("us"), ""},
		{both, claims(""), "the caller has no claims.region"}, {both, claims(nil), "the caller has no claims.region"}, {both, claims(7.5), "the caller has no claims.region"},
		{both, claims([]any{"eu"}), "the caller has no claims.region"}, {both, claims(map[string]any{"eu": true}), "the caller has no claims.region"}, {both, acme, "the caller has no claims.region"},
		{both, nil, "it is not known who calls"}, {"tenant == principal.tenant", &identity.Principal{}, "the caller has no tenant"}, {"tenant == principal.subject", acme, "the caller has no subject"},
		{"tenant == principal.issuer", acme, "the caller has no issuer"}, {"tenant == principal.subject", &identity.Principal{Subject: "acme"}, "a b c d e f g"},
	} {
		caller := firestoretest.NewCaller(t, by(c.own), all, c.as)
		counted := &firestoretest.Failing{Err: errors.New("x")}
		if _, refusal := caller.Call("orders_find", map[string]any{}, false); refusal != "" {
			if c.want == "" || !strings.Contains(refusal, c.want) {
				t.Errorf("%s of %+v: %s", c.own, c.as, refusal)
			}
			blind := firestoretest.NewCaller(t, by(c.own), counted, c.as)
			blind.Call("orders_find", map[string]any{}, false)
			if _, refusal := blind.Call("orders_get", map[string]any{"id": "a"}, false); !strings.Contains(refusal, c.want) || counted.Asked > 0 {
				t.Errorf("%s of %+v %v: get says %s, and something is read", c.own, c.as, c.as.Claims, refusal)
			}
			continue
		}
		if got := strings.Join(caller.All("orders_find", map[string]any{}), " "); got != c.want {
			t.Errorf("%s of %+v finds %s", c.own, c.as, got)
		}
		for _, d := range all {
			answer, _ := caller.Call("orders_get", map[string]any{"id": d.ID}, false)
			if is := slices.Contains(strings.Fields(c.want), d.ID); is != (answer != "") {
				t.Errorf("%s of %+v gets %s: %s", c.own, c.as, d.ID, answer)
			}
		}
	}
	shared := source(func(s *firestore.Source) { s.Own, s.Shared = "", true })
	if got := firestoretest.NewCaller(t, shared, all, nil).All("orders_find", map[string]any{}); len(got) != len(all) {
		t.Errorf("of all that is shared, %v is found", got)
	}
}

// TestLyingDatabase has a database answer with what was not asked for.
func TestLyingDatabase(t *testing.T) {
	lie := lying{{ID: "a", Fields: map[string]any{"tenant": "other", "mark": "secret"}}}
	caller := firestoretest.NewCaller(t, source(func(*firestore.Source) {}), lie, acme)
	for tool, args := range map[string]map[string]any{"orders_get": {"id": "a"}, "orders_find": {}} {
		if answer, refusal := caller.Call(tool, args, false); answer != "" || refusal == "" || strings.Contains(refusal, "secret") {
			t.Errorf("%s: %s%s", tool, answer, refusal)
		}
	}
}

// lying finds all, whatever is asked for.
type lying firestoretest.Naive

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		err         error
		unavailable bool
		want        string
	}{
		{fmt.Errorf("%w: rpc to 10.0.0.1 of projects/secret", documents.ErrUnavailable), true, "orders can't be read at the moment"},
		{fmt.Errorf("%w: create it at https://console/projects/secret", documents.ErrNoIndex), false, "the database has no index for this query"},
		{errors.New("denied to service-account@secret"), false, "the operator finds the cause in the log"},
	} {
		var log bytes.Buffer
		s := source(func(s *firestore.Source) { s.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		entries, err := s.Entries(&firestoretest.Failing{Err: c.err})
		if err != nil || len(entries) != 2 {
			t.Fatal(err)
		}
		caller := firestoretest.NewCaller(t, s, &firestoretest.Failing{Err: c.err}, acme)
		for tool, args := range map[string]map[string]any{"orders_get": {"id": "a"}, "orders_find": {}} {
			log.Reset()
			_, refusal := caller.Call(tool, args, false)
			if !strings.Contains(refusal, c.want) || strings.Contains(refusal, "secret") || strings.Contains(refusal, mcp.ErrUnavailable.Error()) != c.unavailable {
				t.Errorf("%v: %s", c.err, refusal)
			}
			if !strings.Contains(log.String(), "secret") || !strings.Contains(log.String(), tool) {
				t.Errorf("the log has %s", log.String())
			}
		}
	}
}

// TestSizes has pages end where an answer would be too long.
func TestSizes(t *testing.T) {
	var all firestoretest.Naive
	for i := range 30 {
		all = append(all, documents.Document{ID: fmt.Sprintf("%02d", i), Fields: map[string]any{"tenant": "acme", "text": strings.Repeat("x", 100+i), "n": int64(i)}})
	}
	all[7].Fields["text"] = strings.Repeat("x", 5000)
	s := source(func(s *firestore.Source) {
		s.Tools[0].MaxBytes, s.Tools[1].MaxBytes = 1000, 1000
		s.Tools = append(s.Tools, firestore.Tool{Read: firestore.Find, Name: "long", Order: []string{"text"}, MaxBytes: 1 << 20, Max: 1})
	})
	caller := firestoretest.NewCaller(t, s, all, acme)
	args := map[string]any{}
	pages, found, omitted := 0, 0, 0
	for {
		answer, _ := caller.Call("orders_find", args, false)
		if len(answer) > 1000+500 { // a cursor and what is around the documents
			t.Errorf("an answer of %d bytes", len(answer))
		}
		p := caller.Page("orders_find", args)
		pages++
		for _, d := range p.Documents {
			if found++; d.Omitted != "" {
				omitted++
			}
		}
		if p.Cursor == "" {
			break
		}
		args["cursor"] = p.Cursor
	}
	if found != 30 || omitted != 1 || pages < 5 {
		t.Errorf("%d documents, of which %d omitted, in %d pages", found, omitted, pages)
	}
	if _, refusal := caller.Call("orders_get", map[string]any{"id": "07"}, false); !strings.Contains(refusal, "bytes, and an answer at most 1000") {
		t.Error(refusal)
	}
	all[29].Fields["text"] = "a" + strings.Repeat("y", 9000)
	all = append(all, documents.Document{ID: "z", Fields: map[string]any{"tenant": "acme", "text": "b"}})
	if p := firestoretest.NewCaller(t, s, all, acme).Page("orders_long", map[string]any{}); p.Cursor != "" || !strings.Contains(p.Note, "There are more, and no cursor") {
		t.Errorf("%q %s", p.Note, p.Cursor)
	}
}

// TestIndexes has the examples of Firestore's documentation, of indexes that are made by themselves, of composite ones and of those that are
// merged (https://docs.cloud.google.com/firestore/native/docs/query-data/index-overview), and what gcloud takes for commands.
func TestIndexes(t *testing.T) {
	is := func(fields ...string) (c []firestore.Condition) {
		for _, f := range fields {
			c = append(c, firestore.Condition{Field: f})
		}
		return c
	}
	var commands []string
	for _, c := range []struct {
		name  string
		own   string
		where []firestore.Condition
		order []string
		want  []string
	}{
		{"equal fields alone are merged", "", is("state", "country"), nil, nil},
		{"of one's own, and equal", "tenant == principal.tenant", is("state"), nil, nil},
		{"one order", "", nil, []string{"population desc"}, nil},
		{"two orders", "", nil, []string{"state", "population desc"}, []string{"state, population desc"}},
		{"equal, and ordered", "", is("country"), []string{"population desc"}, []string{"country, population desc"}},
		{"the documentation's restaurants", "", is("category", "city", "editors_pick"), []string{"star_rating desc"},
			[]string{"category, star_rating desc", "city, star_rating desc", "editors_pick, star_rating desc"}},
		{"of one's own", "tenant == principal.tenant && x.y == principal.subject", is("status"), []string{"created desc"}, []string{"tenant, x.y, created desc", "tenant, x.y, status, created desc"}},
		{"a value that must be given", "tenant == principal.tenant", []firestore.Condition{{Field: "status", Required: true}}, []string{"created"}, []string{"tenant, status, created"}},
		{"an order by what may be given", "tenant == principal.tenant", is("created"), []string{"created"}, []string{"tenant, created"}},
		{"one of two orders", "tenant == principal.tenant", is("status", "created"), []string{"created", "total"},
			[]string{"tenant, created, total", "tenant, status, created, total", "tenant, status, total", "tenant, created, total"}},
		{"an order by one's own", "tenant == principal.tenant", nil, []string{"tenant", "created"}, []string{"tenant, created"}},
	} {
		s := &firestore.Source{Name: "orders", Collection: "shops/main/orders", Database: "shop", Own: c.own, Shared: c.own == "", Tools: []firestore.Tool{{Read: firestore.Get}, {Read: firestore.Find, Where: c.where, Order: c.order}}}
		got, err := s.Indexes()
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, x := range got {
			var fields []string
			for _, f := range x.Fields {
				if fields = append(fields, f.Path); f.Descending {
					fields[len(fields)-1] += " desc"
				}
			}
			texts = append(texts, strings.Join(fields, ", "))
			commands = append(commands, x.String())
			if x.Collection != "orders" || x.Database != "shop" {
				t.Errorf("%s: %+v", c.name, x)
			}
		}
		want := slices.Clone(c.want)
		slices.Sort(want)
		want = slices.Compact(want)
		if slices.Sort(texts); !slices.Equal(texts, want) {
			t.Errorf("%s: %q, want %q", c.name, texts, want)
		}
	}
	tool := os.Getenv("GCLOUD_LINT")
	if tool == "" {
		t.Skip("NOT TESTED: GCLOUD_LINT names no gcloud-lint, which tries the commands")
	}
	file := filepath.Join(t.TempDir(), "commands.md")
	if err := os.WriteFile(file, []byte("```sh\n"+strings.Join(commands, "\n")+"\n```\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, file).CombinedOutput()
	if t.Logf("%s", out); err != nil || !strings.Contains(string(out), fmt.Sprintf("%d gcloud commands, 0 bad", len(commands))) {
		t.Errorf("%v", err)
	}
}

// Get implements [documents.Collection].
func (l lying) Get(context.Context, string) (*documents.Document, error) { return &l[0], nil }

// Find implements [documents.Collection].
func (l lying) Find(ctx context.Context, _ documents.Query) iter.Seq2[*documents.Document, error] {
	return firestoretest.Naive(l).Find(ctx, documents.Query{Limit: 10})
}

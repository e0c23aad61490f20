package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/policy"
)

func answers(context.Context, *mcp.Call) (*mcp.Result, error) { return &mcp.Result{}, nil }

func written(name, input string, terms Terms) *Tool {
	return &Tool{Name: name, Description: "Does.", Input: json.RawMessage(input), Terms: terms, Call: answers}
}

func prompt(name string, terms Terms) *Prompt {
	return &Prompt{Name: name, Description: "Says.", Terms: terms, Arguments: []Argument{{Name: "who", Required: true}, {Name: "style"}}, Get: func(_ context.Context, args map[string]string) (*mcp.PromptResult, error) {
		return &mcp.PromptResult{Description: args["who"]}, nil
	}}
}

func read(_ context.Context, uri string, vars map[string]string) (*mcp.ReadResult, error) {
	return &mcp.ReadResult{Contents: []mcp.ResourceContents{{URI: uri, Text: vars["id"]}}}, nil
}

// TestFaults has each fault of an entry stop the building, and say which entry it is.
func TestFaults(t *testing.T) {
	const object = `{"type":"object"}`
	for _, c := range []struct {
		name    string
		entries []Entry
		want    string
	}{
		{"no name", []Entry{written("", object, Terms{})}, `tool "": a name has 1 to 128`},
		{"a name with a space", []Entry{written("a b", object, Terms{})}, `tool "a b": a name has`},
		{"no description", []Entry{&Tool{Name: "a", Input: json.RawMessage(object), Call: answers}}, "a description is missing"},
		{"two tools of a name", []Entry{written("a", object, Terms{}), written("a", object, Terms{})}, "another tool of this name"},
		{"no schema at all", []Entry{written("a", `{`, Terms{})}, "input schema"},
		{"a schema of a list", []Entry{written("a", `{"type":"array"}`, Terms{})}, `the type must be "object"`},
		{"another dialect", []Entry{written("a", `{"type":"object","$schema":"http://json-schema.org/draft-04/schema#"}`, Terms{})}, "is not supported"},
		{"a number that no double is", []Entry{written("a", `{"type":"object","properties":{"n":{"maximum":9007199254740993}}}`, Terms{})}, "can't be held exactly"},
		{"the same in a list", []Entry{written("a", `{"type":"object","properties":{"n":{"enum":[9007199254740993]}}}`, Terms{})}, "can't be held exactly"},
		{"a negative timeout", []Entry{written("a", object, Terms{Timeout: -1})}, "is negative"},
		{"a negative weight", []Entry{written("a", object, Terms{Weight: -1})}, "is negative"},
		{"a negative limit", []Entry{written("a", object, Terms{Limits: governor.Limit{PerDay: -1}})}, "is less than none"},
		{"a breaker without a rest", []Entry{written("a", object, Terms{Breaker: governor.Breaker{Failures: 1}})}, "a time to rest"},
		{"two words for a scope", []Entry{written("a", object, Terms{Scopes: []string{"a b"}})}, "not one word"},
		{"a pack in capitals", []Entry{written("a", object, Terms{Pack: "A"})}, "the pack"},
		{"an upstream of two words", []Entry{written("a", object, Terms{Upstream: "a b"})}, "the upstream"},
		{"a rule that is none", []Entry{written("a", object, Terms{Rules: []policy.Rule{{Name: "r", When: "1 +", Then: policy.Deny}}})}, "its policy"},
		{"a rule about no argument", []Entry{written("a", `{"type":"object","properties":{"a":{}},"additionalProperties":false}`, Terms{Rules: []policy.Rule{{Name: "r", When: "args.b == 1", Then: policy.Deny}}})}, "rule r is about args.b, and the arguments are a"},
		{"a function that is nil", []Entry{FromFunc[None, string]("a", "A.", nil)}, "the function is nil"},
		{"an input that is no struct", []Entry{FromFunc("a", "A.", func(context.Context, int) (string, error) { return "", nil })}, "input type"},
		{"an input that has no schema", []Entry{FromFunc("a", "A.", func(context.Context, struct{ C chan int }) (string, error) { return "", nil })}, "input type"},
		{"an output that has no schema", []Entry{FromFunc("a", "A.", func(context.Context, None) (chan int, error) { return nil, nil })}, "output type"},
		{"a schema of text", []Entry{func() Entry {
			x := FromFunc("a", "A.", func(context.Context, None) (string, error) { return "", nil })
			x.Output = json.RawMessage(object)
			return x
		}()}, "answers with content alone"},
		{"a schema of results that is none", []Entry{&Tool{Name: "a", Description: "A.", Input: json.RawMessage(object), Output: json.RawMessage(`{"type":7}`), Call: answers}}, "output schema"},
		{"a prompt without a description", []Entry{&Prompt{Name: "p"}}, `prompt "p": a description is missing`},
		{"two prompts of a name", []Entry{prompt("p", Terms{}), prompt("p", Terms{})}, "another prompt of this name"},
		{"a resource without a scheme", []Entry{&Resource{URI: "a", Name: "a"}}, "the URI needs a scheme"},
		{"a resource without a name", []Entry{&Resource{URI: "doc://a"}}, "a name is missing"},
		{"a resource that is no URI", []Entry{&Resource{URI: "doc://%zz", Name: "a"}}, `resource "doc://%zz"`},
		{"two resources, written in two ways", []Entry{&Resource{URI: "doc://a", Name: "a"}, &Resource{URI: "DOC://%61", Name: "b"}}, "another resource at this URI"},
		{"a template that is none", []Entry{&Template{URI: "doc://{a", Name: "a"}}, `resource template "doc://{a"`},
		{"a template without variables", []Entry{&Template{URI: "doc://a", Name: "a"}}, "no variable"},
		{"a template without a name", []Entry{&Template{URI: "doc://{a}"}}, "a name is missing"},
		{"two templates of a URI", []Entry{&Template{URI: "doc://{a}", Name: "a"}, &Template{URI: "doc://{a}", Name: "b"}}, "another template of this URI"},
	} {
		t.Run(c.name, func(t *testing.T) {
			built, err := Build(c.entries...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q in it", err, c.want)
			}
			if built != nil {
				t.Error("there is a catalog nevertheless")
			}
		})
	}
	_, err := Build(written("", `{`, Terms{Weight: -1}), prompt("", Terms{Weight: -1}))
	if n := len(strings.Split(err.Error(), "\n")); n != 5 {
		t.Errorf("%d faults of five: %v", n, err)
	}
}

// TestEntries looks for each kind of entry as a server does, and with a view that hides some.
func TestEntries(t *testing.T) {
	c, err := Build(
		written("b", `{"type":"object"}`, Terms{Formerly: "old", Timeout: time.Second, Upstream: "crm", Strict: true}),
		written("a", `{"type":"object"}`, Terms{Formerly: "b", Scopes: []string{"s"}, Pack: "core"}), // b is another tool's now
		prompt("p", Terms{Scopes: []string{"t"}}),
		&Resource{URI: "doc://fixed", Name: "fixed", Read: read},
		&Template{URI: "doc://{id}", Name: "each", Read: read, Complete: func(context.Context, string, string, map[string]string) ([]string, error) { return nil, nil }},
	)
	if err != nil {
		t.Fatal(err)
	}
	seen, hidden := t.Context(), NewContext(t.Context(), func(o *Object) bool { return o.Name == "a" })
	for kind, want := range map[mcp.Kind][]string{mcp.Tools: {"a", "b"}, mcp.Prompts: {"p"}, mcp.Resources: {"doc://fixed"}, mcp.Templates: {"doc://{id}"}} {
		if l := c.List(seen, kind); l.Private || !slices.Equal(keysOf(l), want) || !c.Has(kind) || l.TTL != listTTL {
			t.Errorf("kind %v: %+v, want %v", kind, l, want)
		}
		want = slices.DeleteFunc(want, func(key string) bool { return key != "a" })
		if l := c.List(hidden, kind); !l.Private || !slices.Equal(keysOf(l), want) {
			t.Errorf("kind %v, with a view: %+v, want %v", kind, l, want)
		}
	}
	if c.Tool(seen, "b") == nil || c.Tool(hidden, "b") != nil || c.Tool(hidden, "a") == nil || c.Tool(seen, "none") != nil {
		t.Error("tools")
	}
	if c.Named("old") != "b" || c.Named("b") != "b" || c.Named("none") != "none" {
		t.Error("former names")
	}
	p := c.Prompt(seen, "p")
	if p == nil || c.Prompt(hidden, "p") != nil || c.Prompt(seen, "none") != nil || !slices.Equal(p.Required, []string{"who"}) {
		t.Fatalf("prompt %+v", p)
	}
	if said, err := p.Get(seen, nil, map[string]string{"who": "x"}); err != nil || said.Description != "x" {
		t.Errorf("%+v, %v", said, err)
	}
	for uri, want := range map[string]string{"doc://fixed": "", "doc://7": "7", "doc://a%2Fb": "a/b", "other://7": "none", "doc://..": "fault", "doc://x%2F..": "fault", "doc://..%3Bv=1": "fault"} {
		r, vars, err := c.Resource(seen, uri)
		switch {
		case (want == "fault") != (err != nil):
			t.Errorf("%s: %v", uri, err)
		case want == "fault":
		case (want == "none") != (r == nil):
			t.Errorf("%s: %+v", uri, r)
		case r != nil:
			if got, err := r.Read(seen, nil, uri, vars); err != nil || got.Contents[0].Text != want {
				t.Errorf("%s: %+v, %v, want %q", uri, got, err, want)
			}
			if hid, _, _ := c.Resource(hidden, uri); hid != nil {
				t.Errorf("%s is seen through a view that hides it", uri)
			}
		}
	}
	if x := c.Completer(seen, mcp.Prompts, "p"); x == nil || !slices.Equal(x.Arguments, []string{"who", "style"}) || x.Complete != nil {
		t.Errorf("%+v", x)
	}
	if x := c.Completer(seen, mcp.Templates, "doc://{id}"); x == nil || !slices.Equal(x.Arguments, []string{"id"}) || x.Complete == nil {
		t.Errorf("%+v", x)
	}
	if c.Completer(seen, mcp.Tools, "a") != nil || c.Completer(seen, mcp.Templates, "doc://{no}") != nil || !c.Completes() {
		t.Error("completers")
	}
	for about, want := range map[[2]string]string{
		{"tools/call", "a"}: "a", {"tools/call", "none"}: "", {"prompts/get", "p"}: "p", {"resources/read", "doc://fixed"}: "doc://fixed", {"resources/subscribe", "doc://7"}: "doc://{id}",
		{"completion/complete", "p"}: "p", {"completion/complete", "doc://{id}"}: "doc://{id}", {"tools/list", "a"}: "",
	} {
		got := ""
		if o := c.Object(about[0], about[1]); o != nil {
			got = o.Name
		}
		if got != want {
			t.Errorf("%v is about %q, want %q", about, got, want)
		}
	}
	if got := c.LimitScopes(); !slices.Equal(got, []string{"tool:a", "tool:b", "upstream:crm"}) {
		t.Error(got)
	}
	if got := c.FormerScopes(); len(got) != 1 || got["tool:old"] != "tool:b" {
		t.Error(got)
	}
	if got := c.Strict(); !slices.Equal(got, []string{"tool b"}) || c.Ruled() || !c.Packed() || len(c.Scopes()) != 2 {
		t.Error(got, c.Ruled(), c.Packed(), c.Scopes())
	}
	if err := c.EachTool(func(name string, terms Terms) error { return errors.New(name + terms.Formerly) }); err == nil || err.Error() != "a\nbold" {
		t.Error(err)
	}
	empty, err := Build()
	if err != nil || empty.Has(mcp.Tools) || empty.Completes() || empty.Ruled() || empty.Packed() || len(empty.Version()) != 16 || empty.Version() == c.Version() {
		t.Errorf("%+v, %v", empty, err)
	}
}

func keysOf(l mcp.Listing) (keys []string) {
	for _, item := range l.Items {
		keys = append(keys, item.Key)
	}
	return keys
}

// TestResults has functions of each kind of result called with arguments as they come.
func TestResults(t *testing.T) {
	type in struct {
		N int `json:"n"`
	}
	type out struct {
		Twice int `json:"twice"`
	}
	for _, c := range []struct {
		name       string
		tool       *Tool
		text       string
		structured string
	}{
		{"a text", FromFunc("t", "T.", func(_ context.Context, x in) (string, error) { return "text", nil }), "text", ""},
		{"nothing", FromFunc("t", "T.", func(_ context.Context, x in) (None, error) { return None{}, nil }), "done", ""},
		{"content", FromFunc("t", "T.", func(_ context.Context, x in) ([]mcp.Content, error) { return []mcp.Content{mcp.Text("block")}, nil }), "block", ""},
		{"a result", FromFunc("t", "T.", func(_ context.Context, x in) (*mcp.Result, error) {
			return &mcp.Result{Content: []mcp.Content{mcp.Text("own")}}, nil
		}), "own", ""},
		{"a type of its own", FromFunc("t", "T.", func(_ context.Context, x in) (out, error) { return out{2 * x.N}, nil }), `{"twice":6}`, `{"twice":6}`},
		{"arguments as they came", FromFunc("t", "T.", func(_ context.Context, x json.RawMessage) (string, error) { return string(x), nil }), `{"n":3}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			built, err := Build(c.tool)
			if err != nil {
				t.Fatal(err)
			}
			args := map[string]any{"n": int64(3)}
			built.Settle("t", args, false)
			engine := built.Tool(t.Context(), "t")
			if err := engine.Check(args); err != nil {
				t.Fatal(err)
			}
			r, err := engine.Call(t.Context(), &mcp.Call{Arguments: args, Raw: json.RawMessage(`{"n":3}`)})
			if err != nil {
				t.Fatal(err)
			}
			raw, err := json.Marshal(r.Content)
			if err != nil || !strings.Contains(string(raw), strings.ReplaceAll(c.text, `"`, `\"`)) || string(r.Structured) != c.structured {
				t.Errorf("%s, %s, %v", raw, r.Structured, err)
			}
			if engine.Fits != nil && engine.Fits(r) != nil {
				t.Error("what it says of itself does not fit")
			}
			if _, err := engine.Call(t.Context(), &mcp.Call{Arguments: map[string]any{"n": "three"}}); err == nil && c.name != "arguments as they came" {
				t.Error("a text is taken for a number")
			}
		})
	}
}

// TestWrittenSchemas holds answers against a schema that was written by hand.
func TestWrittenSchemas(t *testing.T) {
	tool := written("t", `{"type":"object"}`, Terms{})
	tool.Output = json.RawMessage(`{"type":"object","required":["a"],"properties":{"a":{"type":"integer"}}}`)
	c, err := Build(tool, func() *Tool {
		list := written("list", `{"type":"object"}`, Terms{})
		list.Output = json.RawMessage(`{"type":"array"}`)
		return list
	}())
	if err != nil {
		t.Fatal(err)
	}
	for answer, fits := range map[string]bool{`{"a":1}`: true, `{"a":"1"}`: false, `{}`: false, `[1]`: false, `{`: false, ``: false} {
		r := &mcp.Result{}
		if answer != "" {
			r.Structured = json.RawMessage(answer)
		}
		if err := c.Tool(t.Context(), "t").Fits(r); (err == nil) != fits {
			t.Errorf("%q: %v", answer, err)
		}
	}
	for _, item := range c.List(t.Context(), mcp.Tools).Items { // legacy clients refuse a list for an output that is no object
		if old := strings.Contains(string(item.Legacy), "outputSchema"); old != (item.Key == "t") {
			t.Errorf("%s: %s", item.Key, item.Legacy)
		}
	}
}

// TestHeaderParams are the annotations of SEP-2243: its own rules for where they may stand.
func TestHeaderParams(t *testing.T) {
	for schema, want := range map[string]string{
		`{"properties":{"region":{"type":"string","x-mcp-header":"Region"}}}`:                                 "Region",
		`{"properties":{"at":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}}}}`:    "N",
		`{"properties":{"a":{"type":"boolean","x-mcp-header":"B"},"b":{"type":"string","x-mcp-header":"A"}}}`: "A B",
		`{"properties":{"a":{"type":"string"}}}`:                                                              "",
		`{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}`:                                           "fault",
		`{"properties":{"a":{"type":"string","x-mcp-header":"A b"}}}`:                                         "fault",
		`{"properties":{"a":{"type":"string","x-mcp-header":7}}}`:                                             "fault",
		`{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}`:  "fault",
		`{"x-mcp-header":"A"}`: "fault",
		`{"properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}}`:                                            "fault",
		`{"properties":{"a":{"$ref":"#/$defs/a"}},"$defs":{"a":{"type":"string","x-mcp-header":"A"}}}`:                                  "fault",
		`{"properties":{"a":{"type":"object","properties":{"b":{"anyOf":[{"type":"string","x-mcp-header":"A"},{"type":"integer"}]}}}}}`: "fault",
	} {
		c, err := Build(written("t", `{"type":"object",`+schema[1:], Terms{}))
		if (err != nil) != (want == "fault") {
			t.Errorf("%s: %v", schema, err)
		}
		if err != nil {
			continue
		}
		var got []string
		for _, p := range c.Headers("t") {
			got = append(got, strings.TrimPrefix(p.Key, "Mcp-Param-"))
		}
		if strings.Join(got, " ") != want || c.Headers("none") != nil {
			t.Errorf("%s: %v, want %q", schema, got, want)
		}
	}
}

// TestEntriesBuildAgain builds catalogs of the same entries again while calls of the first run: each is as the first, and calls go on as they were.
func TestEntriesBuildAgain(t *testing.T) {
	type out struct {
		Sum int `json:"sum"`
	}
	entries := []Entry{
		FromFunc("add", "Adds.", func(_ context.Context, in struct{ A, B int }) (out, error) { return out{in.A + in.B}, nil }),
		&Prompt{Name: "p", Description: "Prompts."},
		&Resource{URI: "NOTE://a", Name: "a"},
		&Template{URI: "note://{x}", Name: "x"},
	}
	first, err := Build(entries...)
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]bool{first.Version(): true}
	var calling sync.WaitGroup
	stop := make(chan struct{})
	calling.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			tool := first.Tool(t.Context(), "add")
			r, err := tool.Call(t.Context(), &mcp.Call{Arguments: map[string]any{"A": int64(1), "B": int64(2)}})
			if err != nil || tool.Fits(r) != nil || tool.Check(map[string]any{"A": "one"}) == nil {
				t.Errorf("%+v %v", r, err)
				return
			}
			if r, _, err := first.Resource(t.Context(), "note://b"); r == nil || err != nil {
				t.Error("the template matches no more")
				return
			}
		}
	})
	for range 20 {
		again, err := Build(entries...)
		if err != nil {
			t.Fatal(err)
		}
		versions[again.Version()] = true
	}
	close(stop)
	calling.Wait()
	if len(versions) != 1 {
		t.Errorf("the same entries are the versions %v", versions)
	}
	for _, hash := range []string{"a", "b"} {
		declared, err := (&Declaration{Hash: hash}).Build(entries...)
		if err != nil {
			t.Fatal(err)
		}
		versions[declared.Version()] = true
		if declared.Hash() != hash || first.Hash() != "" {
			t.Errorf("hashes %q, and without a declaration %q", declared.Hash(), first.Hash())
		}
	}
	if len(versions) != 3 {
		t.Errorf("declarations of other hashes are the versions %v", versions)
	}
}

// TestNamesThatAreTaken names both places of what has one name.
func TestNamesThatAreTaken(t *testing.T) {
	at := func(place string) Terms { return Terms{Place: place} }
	tool := func(place string) Entry {
		tool := FromFunc("x", "X.", func(context.Context, None) (None, error) { return None{}, nil })
		tool.Terms = at(place)
		return tool
	}
	prompt := func(place string) Entry { return &Prompt{Name: "x", Description: "X.", Terms: at(place)} }
	resource := func(place string) Entry { return &Resource{URI: "x:y", Name: "x", Terms: at(place)} }
	template := func(place string) Entry { return &Template{URI: "x:{y}", Name: "x", Terms: at(place)} }
	for what, of := range map[string]func(string) Entry{
		`tool "x"%s: there is another tool of this name`: tool, `prompt "x"%s: there is another prompt of this name`: prompt,
		`resource "x:y"%s: there is another resource at this URI`: resource, `resource template "x:{y}"%s: there is another template of this URI`: template,
	} {
		for _, c := range []struct{ first, second, at, beside string }{
			{"", "", "", ""}, {"", "c.yaml:2", " (c.yaml:2)", ", of the program"}, {"c.yaml:2", "", "", ", at c.yaml:2"}, {"c.yaml:2", "c.yaml:9", " (c.yaml:9)", ", at c.yaml:2"},
		} {
			_, err := Build(of(c.first), of(c.second))
			if want := fmt.Sprintf(what, c.at) + c.beside; err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
	}
}

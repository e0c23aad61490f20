package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/value"
)

// linted are the findings of a catalog of one tool.
func linted(t *testing.T, tool *Tool) (out []string) {
	t.Helper()
	tool.Call = func(context.Context, *mcp.Call) (*mcp.Result, error) { return nil, nil }
	built, err := Build(tool)
	if err != nil {
		t.Fatalf("%s: %v", tool.Input, err)
	}
	for _, f := range built.Lint() {
		out = append(out, f.String())
	}
	return out
}

// TestLint has a schema that breaks each rule and one that does not.
func TestLint(t *testing.T) {
	long := strings.Repeat("ü", maxDescribed+1)
	object := func(members string) string {
		return `{"type":"object","properties":{` + members + `},"additionalProperties":false}`
	}
	broken := map[string]bool{}
	for _, c := range []struct {
		name, description, input, output string
		want                             []string
	}{
		{"add", "Adds.", `{"type":"object"}`, ``, nil},
		{"_Add-2", long[2:], object(``), `{"type":"object","oneOf":[{"required":["a"]}],"properties":{"a":{"enum":[1]},"ü":{"$ref":"#"}}}`, nil},
		{"taiea.health.check", "Tells.", object(``), ``, []string{"its name has other characters"}},
		{strings.Repeat("a", 65), "Tells.", object(``), ``, []string{"more than 64", "its name has 65 characters"}},
		{strings.Repeat("a", 59), "Tells.", object(``), ``, []string{"its name has 59 characters, and with any server's name 60 or more: dropped by Cursor"}},
		{strings.Repeat("a", 58), "Tells.", object(``), ``, nil},
		{"21st", "Tells.", object(``), ``, []string{`its name begins with "2"`}},
		{"-a", "Tells.", object(``), ``, []string{`its name begins with "-"`}},
		{"add", long, object(``), ``, []string{"its description has 1025 characters, more than 1024: refused by OpenAI"}},
		{"add", "Adds.", object(`"a":{"type":"string","description":"` + long + `"}`), ``, []string{"input.a: its description has 1025 characters, more than 1024: dropped by Copilot"}},
		{"add", "Adds.", object(`"a":{"type":"string","description":"` + long[2:] + `"}`), ``, nil},

		{"add", "Adds.", `{"type":"object","anyOf":[{"required":["a"]},{"required":["b"]}]}`, ``, []string{"input: its root has anyOf"}},
		{"add", "Adds.", `{"type":"object","oneOf":[{}]}`, ``, []string{"its root has oneOf", "it has oneOf"}},
		{"add", "Adds.", `{"type":"object","allOf":[{}]}`, ``, []string{"its root has allOf", "it has allOf"}},
		{"add", "Adds.", `{"type":"object","not":{"required":["a"]}}`, ``, []string{"its root has not"}},
		{"add", "Adds.", `{"type":"object","if":{"required":["a"]},"then":{"required":["b"]}}`, ``, []string{"its root has if", "it has if"}},
		{"add", "Adds.", object(`"a":{"anyOf":[{"type":"string"},{"type":"integer"}]}`), ``, nil},
		{"add", "Adds.", object(`"anyOf":{"type":"string"},"not":{"type":"string"},"$ref":{"type":"string"},"enum":{"type":"string"}`), ``,
			[]string{`the name "$ref" has other characters`}},

		{"add", "Adds.", object(`"a.b-c_D9":{"type":"string"}`), ``, nil},
		{"add", "Adds.", object(`"filter[id]":{"type":"string"}`), ``, []string{`input: the name "filter[id]" has other characters`}},
		{"add", "Adds.", object(`"a":{"type":"object","properties":{"größe":{"type":"string"}}}`), ``, []string{`input.a: the name "größe" has other characters`}},
		{"add", "Adds.", object(`"` + strings.Repeat("a", 65) + `":{"type":"string"}`), ``, []string{"more than 64 of them: refused by Anthropic"}},

		{"add", "Adds.", object(`"a":{"description":"anything"}`), ``, []string{"input.a: it has no type"}},
		{"add", "Adds.", object(`"a":true`), ``, []string{"input.a: it has no type"}},
		{"add", "Adds.", object(`"a":{"type":"array","items":{}}`), ``, []string{"input.a[]: it has no type"}},
		{"add", "Adds.", object(`"a":{"enum":["x"]}`), ``, []string{"input.a: it has no type"}},
		{"add", "Adds.", object(`"a":{"type":"object","additionalProperties":{}}`), ``, nil},
		{"add", "Adds.", object(`"a":{"type":["string","null"]}`), ``, []string{"input.a: its type is the list [string null]"}},

		{"add", "Adds.", object(`"a":{"type":"array"}`), ``, []string{"input.a: it is an array and has no items"}},
		{"add", "Adds.", object(`"a":{"type":"array","items":{"type":"array"}}`), ``, []string{"input.a[]: it is an array and has no items"}},
		{"add", "Adds.", object(`"a":{"type":"array","items":{"type":"string"}}`), ``, nil},
		{"add", "Adds.", `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"a":{"type":"array","items":[{"type":"string"}]}}}`, ``,
			[]string{"input.a: its items are a list of schemas"}},

		{"add", "Adds.", `{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}`, ``, nil},
		{"add", "Adds.", `{"type":"object","required":["b"]}`, ``, []string{"input: it requires b"}},
		{"add", "Adds.", object(`"a":{"type":"string","required":["b"]}`), ``, []string{"input.a: it has properties or required, and is no object"}},

		{"add", "Adds.", object(`"a":{"type":"string","enum":["1","2"]}`), ``, nil},
		{"add", "Adds.", object(`"a":{"type":"integer","enum":[1,2]}`), ``, []string{"input.a: its enum has 1"}},
		{"add", "Adds.", object(`"a":{"type":"array","items":{"type":"string","enum":["x",2]}}`), ``, []string{"input.a[]: its enum has 2"}},
		{"add", "Adds.", object(`"a":{"type":"object","properties":{"b":{"type":"boolean","enum":[true]}}}`), ``, []string{"input.a.b: its enum has true"}},

		{"add", "Adds.", object(`"a":{"type":"string","format":"date-time"},"b":{"type":"integer","format":"int64"}`), ``, nil},
		{"add", "Adds.", object(`"a":{"type":"string","format":"email"}`), ``, []string{"input.a: its format is email"}},
		{"add", "Adds.", object(`"a":{"type":"integer","minimum":1,"maximum":2,"default":1}`), ``, nil},
		{"add", "Adds.", object(`"a":{"type":"integer","exclusiveMinimum":0}`), ``, []string{"input.a: it has exclusiveMinimum"}},
		{"add", "Adds.", object(`"a":{"type":"string","const":"x"}`), ``, []string{"input.a: it has const"}},

		{"add", "Adds.", `{"type":"object","properties":{"a":{"$ref":"#/$defs/d"}},"$defs":{"d":{"type":"string"}}}`, ``, []string{"input.a: it refers to another schema"}},
		{"add", "Adds.", object(``), `{"type":"object","properties":{"a":{"$ref":"#/$defs/d"}},"$defs":{"d":{"type":"string"}}}`, nil},

		{"add", "Adds.", object(`"a":{"type":"string","pattern":"^(?:[a-z]{2}-)+\\d{2,}$"}`), ``, nil},
		{"add", "Adds.", object(`"a":{"type":"string","pattern":"(?i)^a"}`), ``, []string{"input.a: its pattern (?i)^a has (?i"}},
		{"add", "Adds.", object(``), `{"type":"object","properties":{"a":{"type":"string","pattern":"^\\pL+$"}}}`, []string{`output.a: its pattern ^\pL+$ has \p`}},
		{"add", "Adds.", object(``), `{"type":"object","patternProperties":{"\\Aa":{"type":"string"}}}`, []string{`output: its pattern \Aa has \A`}},

		{"add", "Adds.", object(``), `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object"}`, nil},
		{"add", "Adds.", `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object"}`, `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object"}`,
			[]string{"output: it is of http://json-schema.org/draft-07/schema#: refused by clients"}},
	} {
		tool := &Tool{Name: c.name, Description: c.description, Input: json.RawMessage(c.input)}
		if c.output != "" {
			tool.Output = json.RawMessage(c.output)
		}
		got := linted(t, tool)
		for i := range max(len(got), len(c.want)) {
			if len(got) != len(c.want) || !strings.Contains(got[i], c.want[i]) {
				t.Errorf("%.20s %s %s: %q, want %q", c.name, c.input, c.output, got, c.want)
				break
			}
			broken[Rules[slices.IndexFunc(Rules, func(r Rule) bool { return strings.HasSuffix(got[i], " by "+r.By+", "+strings.Join(r.Sources, " ")) })].What] = true
		}
	}
	if n := len(slices.Collect(maps.Keys(broken))); n != len(Rules)-1 { // how many tools there are has a test of its own
		t.Errorf("of %d rules, %d are broken by a case", len(Rules), n)
	}
}

func TestLintCountsTools(t *testing.T) {
	var entries []Entry
	for i := range maxTools + 2 {
		entries = append(entries, &Tool{Name: fmt.Sprintf("t%03d", i), Description: "Is one of many.", Input: json.RawMessage(`{"type":"object"}`)})
		built, err := Build(slices.Clone(entries)...)
		if err != nil {
			t.Fatal(err)
		}
		if got := built.Lint(); len(got) != max(0, min(1, i+1-maxTools)) || len(got) == 1 && !strings.Contains(got[0].String(), "tool t128: it is one more than 128 tools") {
			t.Fatalf("%d tools: %q", i+1, got)
		}
	}
}

type tree struct {
	Name  string
	Below []tree `json:",omitempty"`
}

// TestLintOfGoTypes holds what package value publishes against the rules.
func TestLintOfGoTypes(t *testing.T) {
	for _, c := range []struct {
		in   any
		want []string
	}{
		{struct{}{}, nil},
		{struct {
			A int8
			B []string
			C map[string]float64
			D *bool  `default:"true"`
			E string `enum:"a,b" maxLength:"3"`
			F []byte
			G struct{ H [][]uint }
		}{}, nil},
		{struct{ A any }{}, []string{"input.A: it has no type"}},
		{struct{ A []json.RawMessage }{}, []string{"input.A[]: it has no type"}},
		{struct{ A map[string]any }{}, nil},
		{struct {
			A int `enum:"1,2"`
		}{}, []string{"input.A: its enum has 1"}},
		{tree{}, []string{"it refers to another schema"}},
	} {
		of, err := value.Of(reflect.TypeOf(c.in), value.In)
		if err != nil {
			t.Fatal(err)
		}
		got := linted(t, &Tool{Name: "add", Description: "Adds.", in: of})
		if len(got) != len(c.want) || len(got) == 1 && !strings.Contains(got[0], c.want[0]) {
			t.Errorf("%T: %q, want %q", c.in, got, c.want)
		}
	}
}

// TestUnportable has patterns that Go compiles, and what of them others do not.
func TestUnportable(t *testing.T) {
	for pattern, want := range map[string]string{
		`^[a-z0-9._-]{1,64}$`: ``, `^\d{4}-\d\d$`: ``, `^a{2,}b{2,3}?$`: ``, `[^\]\[/]`: ``, `\x41\.\{\}\/`: ``, `^(?:a|b)*$`: ``, `[a\-z]`: ``, `\bword\b`: ``, `[\w-]`: ``, `ü+`: ``, `[{}()]`: ``,
		`(?i)a`: `(?i`, `(?P<a>b)`: `(?P`, `(?<a>b)`: `(?<`, `\pL`: `\p`, `\p{Greek}`: `\p`, `[\PL]`: `\P`, `\A`: `\A`, `a\z`: `\z`, `\Qa.b\E`: `\Q`, `\x{1F600}`: `\x`, `\123`: `\1`, `\-`: `\-`, `a\:b`: `\:`, `\_`: `\_`,
		`[[:alpha:]]`: `[: in a class`, `[]a]`: `] first in a class`, `[^]a]`: `] first in a class`, `[\w-.]`: `\w- in a class`, `a{`: `{ without a backslash`, `a{,5}`: `{ without a backslash`, `{a}`: `{ without a backslash`,
		`a}`: `} without a backslash`, `a]`: `] without a backslash`,
	} {
		if got := unportable(pattern); got != want {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
}

// TestReadmeListsTheRules wants each rule, whom it is of and where that is from in function/README.md.
func TestReadmeListsTheRules(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range Rules {
		if row := readmeRow(r); strings.Count(string(readme), row) != 1 {
			t.Errorf("function/README.md has not once: %s", row)
		}
	}
}

func readmeRow(r Rule) string {
	by := r.By
	if r.Dropped {
		by += " (dropped)"
	}
	var links []string
	for _, source := range r.Sources {
		name := strings.TrimPrefix(strings.TrimPrefix(source, "https://"), "github.com/")
		name = strings.NewReplacer("/issues/", "#", "/pull/", "#").Replace(name)
		if repository, path, ok := strings.Cut(name, "/blob/"); ok {
			name = repository + ", " + path[strings.LastIndex(path, "/")+1:]
		}
		links = append(links, fmt.Sprintf("[%s](%s)", name, source))
	}
	return fmt.Sprintf("| %s | %s | %s |\n", r.What, by, strings.Join(links, ", "))
}

package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/mcp"
)

func names(l mcp.Listing) string {
	var all []string
	for _, item := range l.Items {
		all = append(all, item.Key)
	}
	return strings.Join(all, " ")
}

func hiding(hidden ...string) context.Context {
	return NewContext(context.Background(), func(o *Object) bool {
		for _, name := range hidden {
			if o.Name == name {
				return false
			}
		}
		return true
	})
}

// TestSearchedList has the list that callers have by what they see.
func TestSearchedList(t *testing.T) {
	const object = `{"type":"object"}`
	pinned := written("pinned", object, Terms{})
	pinned.Listed = true
	entries := []Entry{written("a", object, Terms{}), written("b", object, Terms{}), pinned}
	for _, c := range []struct {
		name   string
		above  int
		hidden []string
		want   string
	}{
		{"no more than may be listed", 3, nil, "a b pinned"},
		{"more", 2, nil, "call_tool find_tools pinned"},
		{"more, and not for who sees less", 2, []string{"a"}, "b pinned"},
		{"always", 0, nil, "call_tool find_tools pinned"},
		{"nothing to find", 0, []string{"a", "b", "pinned"}, ""},
		{"what is pinned is hidden", 1, []string{"pinned"}, "call_tool find_tools"},
		{"no search for the caller", 0, []string{"find_tools"}, "a b pinned"},
	} {
		built, err := Build(append([]Entry{&Search{Above: c.above}}, entries...)...)
		if err != nil {
			t.Fatal(err)
		}
		if got := names(built.List(hiding(c.hidden...), mcp.Tools)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if built.Indirect("call_tool") != mcp.ByName || built.Indirect("a") != mcp.Direct || built.Tool(context.Background(), "call_tool") != nil || built.Object("tools/call", "call_tool") != nil {
			t.Errorf("%s: call_tool is not what leads to others", c.name)
		}
	}
	plain, err := Build(entries...)
	if err != nil || plain.Indirect("call_tool") != mcp.Direct || plain.Tool(context.Background(), "find_tools") != nil || names(plain.List(context.Background(), mcp.Tools)) != "a b pinned" {
		t.Errorf("a catalog without search: %v", err)
	}
	versions := map[string]bool{plain.Version(): true}
	for _, above := range []int{0, 1} {
		built, _ := Build(append([]Entry{&Search{Above: above}}, entries...)...)
		versions[built.Version()] = true
	}
	if len(versions) != 3 {
		t.Error("lists that differ are of one version")
	}
}

func TestSearchFaults(t *testing.T) {
	const object = `{"type":"object"}`
	for want, entries := range map[string][]Entry{
		"search: it is set twice": {&Search{}, &Search{}},
		"search: a list can't have more tools than -1: give a number from 0":                                                  {&Search{Above: -1}},
		`tool "call_tool": the name is that of a tool by which others are found: give this one another, or leave search out`:  {written("call_tool", object, Terms{}), &Search{}},
		`tool "find_tools": the name is that of a tool by which others are found: give this one another, or leave search out`: {&Search{}, written("find_tools", object, Terms{})},
	} {
		if _, err := Build(entries...); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := Build(written("call_tool", object, Terms{}), written("find_tools", object, Terms{})); err != nil {
		t.Errorf("without search the names are free: %v", err)
	}
}

// TestHiddenIsNotFound searches generated catalogs in generated views 10 000 times: no answer has a hidden tool, each has what may be called,
// and with a name at hand that may be called, it is the first.
func TestHiddenIsNotFound(t *testing.T) {
	random := rand.New(rand.NewPCG(18, 4))
	vocabulary := strings.Fields("list get create delete user order invoice group label page state report account secret token")
	text := func(words int) string {
		var out []string
		for range 1 + random.IntN(words) {
			out = append(out, vocabulary[random.IntN(len(vocabulary))])
		}
		return strings.Join(out, " ")
	}
	searches, answered, rounds := 0, 0, 40
	if testing.Short() {
		rounds = 4
	}
	for round := range rounds {
		entries := []Entry{&Search{}}
		var all []string
		for i := range 1 + random.IntN(60) {
			tool := written(fmt.Sprintf("%s_%d", strings.ReplaceAll(text(3), " ", "_"), i), `{"type":"object","properties":{"`+text(1)+`":{}}}`, Terms{})
			tool.Description = text(8)
			entries, all = append(entries, tool), append(all, tool.Name)
		}
		built, err := Build(entries...)
		if err != nil {
			t.Fatal(err)
		}
		find := built.Tool(context.Background(), FindTools)
		for range 250 {
			hidden := map[string]bool{}
			share := random.Float64()
			for _, name := range all {
				hidden[name] = random.Float64() < share
			}
			ctx := NewContext(context.Background(), func(o *Object) bool { return !hidden[o.Name] })
			query, named := text(4), ""
			if random.IntN(4) == 0 {
				named = all[random.IntN(len(all))]
				query = named
			}
			result, err := find.Call(ctx, &mcp.Call{Arguments: map[string]any{"query": query, "limit": int64(1 + random.IntN(20))}})
			if err != nil {
				t.Fatal(err)
			}
			var answer struct{ Tools []struct{ Name string } }
			if err := json.Unmarshal(result.Structured, &answer); err != nil {
				t.Fatal(err)
			}
			for i, found := range answer.Tools {
				if hidden[found.Name] || built.Tool(ctx, found.Name) == nil {
					t.Fatalf("round %d: %q finds %s, which the caller can't call", round, query, found.Name)
				}
				if i == 0 && named != "" && !hidden[named] && found.Name != named {
					t.Errorf("round %d: %q finds %s first", round, query, found.Name)
				}
			}
			for name := range hidden {
				if hidden[name] && bytes.Contains(result.Structured, []byte(`"`+name+`"`)) {
					t.Fatalf("round %d: the answer has %s", round, name)
				}
			}
			searches++
			if len(answer.Tools) > 0 {
				answered++
			}
		}
	}
	if searches != 250*rounds || answered < searches/3 {
		t.Errorf("%d searches, of which %d found anything", searches, answered)
	}
}

// TestReadMoreIsListed lists what reads answers on to who sees a tool that has such answers, beside all tools and beside those that find others.
func TestReadMoreIsListed(t *testing.T) {
	const object = `{"type":"object"}`
	long := written("s", object, Terms{})
	long.ReadsOn, long.Hints.ReadOnly = true, &yes
	plain := written("a", object, Terms{})
	for _, c := range []struct {
		name    string
		entries []Entry
		hidden  []string
		want    string
	}{
		{"one can be read on", []Entry{plain, long}, nil, "a read_more s"},
		{"none can", []Entry{plain}, nil, "a"},
		{"it is hidden", []Entry{plain, long}, []string{"s"}, "a"},
		{"they are searched", []Entry{plain, long, &Search{}}, nil, "call_tool find_tools read_more"},
		{"it is hidden, and others are searched", []Entry{plain, long, &Search{}}, []string{"s"}, "call_tool find_tools"},
	} {
		built, err := Build(c.entries...)
		if err != nil {
			t.Fatal(err)
		}
		if got := names(built.List(hiding(c.hidden...), mcp.Tools)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if is := built.Indirect("read_more") == mcp.ByCursor; is != (len(c.entries) > 1) {
			t.Errorf("%s: a call by read_more is one of another tool: %t", c.name, is)
		}
	}
	changes := written("s", object, Terms{})
	changes.ReadsOn = true
	for want, entries := range map[string][]Entry{
		"it may change something":  {changes},
		"give this one another":    {long, written("read_more", object, Terms{})},
		"there is another tool of": {long, long},
	} {
		if _, err := Build(entries...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := Build(written("read_more", object, Terms{})); err != nil {
		t.Errorf("a tool of the program's own where nothing is read on: %v", err)
	}
}

package clients

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"example.com/erlmcp/local/checks/npm"
)

// TestSearched has clients find tools and call them by find_tools and call_tool, and use the path of a toolset.
func TestSearched(t *testing.T) {
	node := npm.Modules(t, "clients")
	for _, c := range []struct {
		name   string
		script func(act, url string) []string
		modern bool
	}{
		{"client 2.4 modern", func(act, url string) []string { return []string{"node/client-v2.mjs", act, url, "modern"} }, true},
		{"client 2.4 legacy", func(act, url string) []string { return []string{"node/client-v2.mjs", act, url, "legacy"} }, false},
		{"sdk 1.32 legacy", func(act, url string) []string { return []string{"node/sdk-v1.mjs", act, url} }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := server(t, "FIXTURE_SEARCH=1") // of its own: one of the tools can be called once
			var got struct {
				Tools, Found                                   []string
				Schema                                         string
				Sum, Direct                                    struct{ Sum int }
				BadArguments, Unknown, Shard, Refused, Removed said
			}
			out := runNode(t, node, c.script("searched", url)...)
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			check := func(what string, ok bool, value any) {
				t.Helper()
				if !ok {
					t.Errorf("%s: %+v", what, value)
				}
			}
			check("the list", slices.Equal(got.Tools, []string{"call_tool", "find_tools"}), got.Tools)
			check("what is found", slices.Equal(got.Found, []string{"add"}) && got.Schema == "a b", got.Found)
			check("calls", got.Sum.Sum == 5 && got.Direct.Sum == 2, got)
			check("arguments that do not fit", got.BadArguments.IsError && strings.Contains(got.BadArguments.Text, "do not fit the input schema of add"), got.BadArguments)
			check("unknown tool", got.Unknown.IsError && strings.Contains(got.Unknown.Text, `there is no tool "nope"`), got.Unknown)
			check("x-mcp-header", got.Shard.Text == "shard eu", got.Shard)
			check("refusal", got.Refused.IsError && strings.Contains(got.Refused.Text, refusedText), got.Refused)
			if c.modern {
				check("question", got.Removed.Text == "x is removed", got.Removed)
			} else {
				check("question that can't be put", got.Removed.IsError && strings.Contains(got.Removed.Text, cannotAsk), got.Removed)
			}

			out = runNode(t, node, c.script("listed", server(t)+"/sums")...)
			if got.Tools = nil; json.Unmarshal(out, &got) != nil || !slices.Equal(got.Tools, []string{"add"}) || got.Sum.Sum != 5 {
				t.Errorf("the path of a toolset: %s", out)
			}
		})
	}
}

package function

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestQuotasOfCallsThatWereNotEntered wants a quota to count the calls whose function was entered, and no others.
func TestQuotasOfCallsThatWereNotEntered(t *testing.T) {
	type input struct {
		N     int       `json:"n" jsonschema:"a number"`
		At    time.Time `json:"at,omitzero"`
		Shard string    `json:"shard,omitempty" header:"Shard"`
	}
	for _, c := range []struct {
		name, params string
		header       string // Mcp-Param-Shard
		entered      bool
	}{
		{"fits", `"arguments":{"n":1}`, "", true},
		{"fails in the function", `"arguments":{"n":-1}`, "", true},
		{"a member is missing", `"arguments":{}`, "", false},
		{"no arguments", `"arguments":null`, "", false},
		{"another type", `"arguments":{"n":"one"}`, "", false},
		{"not whole", `"arguments":{"n":1.5}`, "", false},
		{"a member too much", `"arguments":{"n":1,"m":2}`, "", false},
		{"another case", `"arguments":{"N":1}`, "", false},
		{"no list", `"arguments":[1]`, "", false},
		{"too large a number", `"arguments":{"n":99999999999999999999}`, "", false},
		{"no time", `"arguments":{"n":1,"at":"noon"}`, "", false},
		{"a header that says something else", `"arguments":{"n":1,"shard":"a"}`, "b", false},
		{"a body that is cut off", `"arguments":{"n":`, "", false},
	} {
		for _, old := range []bool{false, true} {
			if old && c.header != "" {
				continue // it has no such headers
			}
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					entered := 0
					scarce := NewTool("scarce", "Two a day.", func(_ context.Context, in input) (string, error) {
						if entered++; in.N < 0 {
							return "", context.DeadlineExceeded
						}
						return "here", nil
					}, ToolOptions{PerDay: 2})
					url := newServer(t, WithMemory(NewInMemoryStore()), WithTools(scarce)).URL
					send := func(params, header string) int {
						w := modern("tools/call", "scarce", `"name":"scarce",`+params)
						if header != "" {
							w = w.with("Mcp-Param-Shard", header)
						}
						if old {
							w = legacy("2025-11-25", "tools/call", `"name":"scarce",`+params)
						}
						_, got := w.send(t, url)
						return parse(t, got).code()
					}
					for range 5 {
						send(c.params, c.header)
					}
					want := 2 // of five
					if !c.entered {
						want = 0
					}
					if entered != want {
						t.Fatalf("entered %d times of 5, want %d", entered, want)
					}
					for range 3 {
						send(`"arguments":{"n":1}`, "")
					}
					if code := send(`"arguments":{"n":1}`, ""); entered != 2 || code != 1059 {
						t.Errorf("entered %d times, want 2, and then code %d", entered, code)
					}
				})
			})
		}
	}
}

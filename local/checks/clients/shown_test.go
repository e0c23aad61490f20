package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"example.com/erlmcp/local/checks/npm"
)

var update = flag.Bool("update", false, "write testdata/shown.txt anew")

// A shown is what the user of a client sees of a call that failed.
type shown struct {
	What, Shown string
	Survived    bool // the connection: the next call on it works
}

// reasons are what each client must let its user read, whatever it adds.
var reasons = map[string]string{
	"tool error":       "the disk is full",
	"bad arguments":    "do not fit the input schema of add",
	"unknown tool":     "nope",
	"refusal":          refusedText,
	"policy":           "with these arguments it is not allowed",
	"question":         "", // it differs by era
	"too large":        "too large",
	"missing resource": "not found",
}

const undeclared = "did not declare what this call needs: elicitation"

// TestShown holds what failures look like to the users of each client against testdata/shown.txt, which is there to be
// read: it tells what a change of a message or a status does to people.
func TestShown(t *testing.T) {
	node, url := npm.Modules(t, "clients"), server(t)
	script := func(args ...string) []shown {
		var got []shown
		if out := runNode(t, node, args...); json.Unmarshal(out, &got) != nil {
			t.Fatalf("%s", out)
		}
		return got
	}
	var table strings.Builder
	table.WriteString("What the user of each client sees when a call fails. To write it anew:\n\n\tgo test ./clients -run Shown -update\n")
	for _, c := range []struct {
		client string
		modern bool
		got    []shown
	}{
		{"Go SDK, 2026-07-28", true, failGoSDK(t, url, "2026-07-28")},
		{"Go SDK, 2025-11-25", false, failGoSDK(t, url, "2025-11-25")},
		{"TypeScript client 2, 2026-07-28", true, script("node/client-v2.mjs", "failures", url, "modern")},
		{"TypeScript client 2, 2025-11-25", false, script("node/client-v2.mjs", "failures", url, "legacy")},
		{"TypeScript SDK 1, 2025-11-25", false, script("node/sdk-v1.mjs", "failures", url)},
		{"Inspector, 2026-07-28", true, failInspector(t, node, url, "modern")},
		{"Inspector, 2025-11-25", false, failInspector(t, node, url, "legacy")},
	} {
		fmt.Fprintf(&table, "\n%s\n", c.client)
		for _, s := range c.got {
			want, known := reasons[s.What]
			if s.What == "question" {
				want = cannotAsk
				if c.modern {
					want = undeclared
				}
			}
			if !known || !strings.Contains(s.Shown, want) {
				t.Errorf("%s: %s is shown as %q, without %q", c.client, s.What, s.Shown, want)
			}
			if !s.Survived {
				t.Errorf("%s: the connection does not survive: %s", c.client, s.What)
			}
			fmt.Fprintf(&table, "  %-17s %s\n", s.What, steady(s.Shown))
		}
		if len(c.got) < len(reasons)-1 { // a command line has no room for what is too large
			t.Errorf("%s: only %d failures", c.client, len(c.got))
		}
	}
	const golden = "testdata/shown.txt"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	old, now := strings.Split(string(want), "\n"), strings.Split(table.String(), "\n")
	line := func(lines []string, i int) string {
		if i < len(lines) {
			return lines[i]
		}
		return "(the end)"
	}
	for i := range max(len(old), len(now)) {
		if line(old, i) != line(now, i) {
			t.Errorf("%s:%d: got\n%s\nwant\n%s\nif that is meant: go test ./clients -run Shown -update", golden, i+1, line(now, i), line(old, i))
		}
	}
}

var (
	duration = regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+(\.\d+)?s\b`)
	volatile = regexp.MustCompile(`("(?:id|retryAfterMs|receipt)":)("[^"]*"|\d+)`)
	receipt  = regexp.MustCompile(`\(receipt [0-9a-f-]{36}\)`)
)

// steady replaces what differs from run to run.
func steady(text string) string {
	text = strings.ReplaceAll(text, "\n", " ")
	text = receipt.ReplaceAllString(duration.ReplaceAllString(text, "…"), "(receipt …)")
	return volatile.ReplaceAllString(text, "$1…")
}

func failGoSDK(t *testing.T, url, version string) []shown {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client := mcp.NewClient(&mcp.Implementation{Name: "check", Version: "1.0.0"}, nil)
	s, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: url}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	call := func(name string, args any) (*mcp.CallToolResult, error) {
		return s.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: args})
	}
	tool := func(name string, args any) func() (string, error) {
		return func() (string, error) {
			r, err := call(name, args)
			if err != nil || !r.IsError {
				return "", err
			}
			return r.Content[0].(*mcp.TextContent).Text, nil
		}
	}
	call("rare", nil)
	var got []shown
	for _, f := range []struct {
		what string
		fn   func() (string, error)
	}{
		{"tool error", tool("fail", nil)},
		{"bad arguments", tool("add", map[string]any{"a": "x", "b": 1})},
		{"unknown tool", tool("nope", nil)},
		{"refusal", tool("rare", nil)},
		{"policy", tool("add", map[string]any{"a": 5000, "b": 1})},
		{"question", tool("remove", map[string]any{"name": "x"})},
		{"too large", tool("remove", map[string]any{"name": strings.Repeat("x", 5<<20)})},
		{"missing resource", func() (string, error) {
			_, err := s.ReadResource(ctx, &mcp.ReadResourceParams{URI: "note://nothing"})
			return "", err
		}},
	} {
		text, err := f.fn()
		var wire *jsonrpc.Error
		switch {
		case errors.As(err, &wire):
			text = fmt.Sprintf("error %d: %v", wire.Code, err)
		case err != nil:
			text = "error without code: " + err.Error()
		default:
			text = "tool error: " + text
		}
		next, err := call("add", map[string]any{"a": 1, "b": 1})
		got = append(got, shown{f.what, text, err == nil && fmt.Sprint(next.StructuredContent) == "map[sum:2]"})
	}
	return got
}

// failInspector makes the inspector fail; it connects for each call anew, so that there is nothing to survive.
func failInspector(t *testing.T, node, url, era string) []shown {
	t.Helper()
	var got []shown
	for _, f := range []struct{ what, args string }{
		{"tool error", "tools/call --tool-name fail"},
		{"bad arguments", "tools/call --tool-name add --tool-arg a=x --tool-arg b=1"},
		{"unknown tool", "tools/call --tool-name nope"},
		{"refusal", "tools/call --tool-name rare"},
		{"policy", "tools/call --tool-name add --tool-arg a=5000 --tool-arg b=1"},
		{"question", "tools/call --tool-name remove --tool-arg name=x"},
		{"missing resource", "resources/read --uri note://nothing"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		cmd := exec.CommandContext(ctx, node, inspector(url, era, f.args)...)
		var out, fault bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &fault
		err := cmd.Run()
		cancel()
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Errorf("inspector %s %s: %v\n%s", era, f.args, err, out.Bytes())
		}
		var result struct {
			Result struct{ Content []struct{ Text string } }
		}
		var said struct {
			Error struct{ Code, Message string }
		}
		text := ""
		if out.Len() > 0 && json.Unmarshal(out.Bytes(), &result) == nil && len(result.Result.Content) > 0 {
			text = "tool error: " + result.Result.Content[0].Text + "; "
		}
		if err := json.Unmarshal(fault.Bytes(), &said); err != nil {
			t.Errorf("inspector %s %s: %v\n%s", era, f.args, err, fault.Bytes())
		}
		got = append(got, shown{f.what, fmt.Sprintf("%s%s: %s", text, said.Error.Code, said.Error.Message), true})
	}
	return got
}

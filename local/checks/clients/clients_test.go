// Package clients runs the real MCP clients against the real server: the official Go SDK, both TypeScript clients and the
// inspector's command line, in each era that they speak.
package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

var tools = []string{"add", "countdown", "fail", "many", "rare", "remove", "shard", "wait"}

// refusedText is what must reach the person whose call was refused.
const refusedText = "the limit of 0.001 calls a second on tool:rare is reached"

const cannotAsk = "from protocol revision 2026-07-28 on"

// server builds and starts the fixture and returns its URL.
func server(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "fixture")
	if out, err := exec.Command("go", "build", "-o", binary, "./fixture").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "PORT=0", "DRAIN_TIMEOUT=200ms")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	var line struct{ URL string }
	if err := json.NewDecoder(log).Decode(&line); err != nil {
		t.Fatal(err)
	}
	return line.URL
}

func TestGoSDK(t *testing.T) {
	url := server(t)
	for _, version := range []string{"2026-07-28", "2025-11-25", "2025-06-18"} {
		t.Run(version, func(t *testing.T) { walkGoSDK(t, url, version) })
	}
}

func walkGoSDK(t *testing.T, url, version string) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var mu sync.Mutex
	var progress []float64
	var asked []string
	answer := &mcp.ElicitResult{Action: "accept", Content: map[string]any{"confirm": true}}
	client := mcp.NewClient(&mcp.Implementation{Name: "check", Version: "1.0.0"}, &mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
			mu.Lock()
			defer mu.Unlock()
			progress = append(progress, r.Params.Progress)
		},
		ElicitationHandler: func(_ context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			asked = append(asked, r.Params.Message)
			return answer, nil
		},
	})
	s, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: url}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.InitializeResult().ProtocolVersion; got != version {
		t.Fatalf("negotiated %s", got)
	}
	modern := version == "2026-07-28"

	var names []string
	for tool, err := range s.Tools(ctx, nil) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, tool.Name)
	}
	if !slices.Equal(names, tools) {
		t.Errorf("tools %v", names)
	}
	call := func(name string, args any) (*mcp.CallToolResult, error) {
		p := &mcp.CallToolParams{Name: name, Arguments: args}
		if name == "countdown" {
			p.SetProgressToken("t")
		}
		return s.CallTool(ctx, p)
	}
	text := func(name string, args any) (string, bool) {
		t.Helper()
		r, err := call(name, args)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return r.Content[0].(*mcp.TextContent).Text, r.IsError
	}
	if r, err := call("add", map[string]any{"a": 2, "b": 3}); err != nil || fmt.Sprint(r.StructuredContent) != "map[sum:5]" {
		t.Errorf("add: %+v %v", r, err)
	}
	if got, failed := text("fail", nil); got != "the disk is full" || !failed {
		t.Errorf("fail: %q %t", got, failed)
	}
	if got, failed := text("add", map[string]any{"a": "x", "b": 1}); !failed || !strings.Contains(got, "do not fit the input schema of add") {
		t.Errorf("bad arguments: %q %t", got, failed)
	}
	var wire *jsonrpc.Error
	if _, err := call("nope", nil); !errors.As(err, &wire) || wire.Code != -32602 || !strings.Contains(wire.Message, `unknown tool: "nope"`) {
		t.Errorf("unknown tool: %v", err)
	}
	if got, _ := text("countdown", nil); got != "lift-off" {
		t.Errorf("countdown: %q", got)
	}
	mu.Lock()
	if !slices.Equal(progress, []float64{1, 2, 3}) {
		t.Errorf("progress %v", progress)
	}
	mu.Unlock()
	if got, failed := text("shard", map[string]any{"shard": "größe"}); got != "shard größe" || failed {
		t.Errorf("shard: %q %t", got, failed)
	}
	if r, err := call("many", nil); err != nil || len(r.Content) != 4 {
		t.Errorf("many: %+v %v", r, err)
	}

	call("rare", nil)
	if _, err := call("rare", nil); err == nil || !strings.Contains(err.Error(), refusedText) {
		t.Errorf("a refusal does not reach the person: %v", err)
	}

	got, failed := text("remove", map[string]any{"name": "x"})
	switch {
	case modern && (got != "x is removed" || len(asked) != 1):
		t.Errorf("remove, accepted: %q, asked %v", got, asked)
	case !modern && (!failed || !strings.Contains(got, cannotAsk)):
		t.Errorf("remove by a client that can't be asked: %q", got)
	}
	answer = &mcp.ElicitResult{Action: "decline"}
	if got, failed := text("remove", map[string]any{"name": "x"}); modern && (got != "the user declined" || !failed) {
		t.Errorf("remove, declined: %q", got)
	}

	soon, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	begin := time.Now()
	if _, err := s.CallTool(soon, &mcp.CallToolParams{Name: "wait"}); err == nil || time.Since(begin) > 2*time.Second {
		t.Errorf("wait, cancelled: %v after %v", err, time.Since(begin))
	}
	stop()

	if r, err := s.ReadResource(ctx, &mcp.ReadResourceParams{URI: "note://there"}); err != nil || r.Contents[0].Text != "contents of note://there" {
		t.Errorf("resource: %+v %v", r, err)
	}
	if _, err := s.ReadResource(ctx, &mcp.ReadResourceParams{URI: "note://nothing"}); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("missing resource: %v", err)
	}
	if r, err := s.GetPrompt(ctx, &mcp.GetPromptParams{Name: "greet", Arguments: map[string]string{"who": "Ada"}}); err != nil || r.Messages[0].Content.(*mcp.TextContent).Text != "Hello, Ada" {
		t.Errorf("prompt: %+v %v", r, err)
	}
	complete := &mcp.CompleteParams{Ref: &mcp.CompleteReference{Type: "ref/prompt", Name: "greet"}, Argument: mcp.CompleteParamsArgument{Name: "who", Value: "a"}}
	if r, err := s.Complete(ctx, complete); err != nil || !slices.Equal(r.Completion.Values, []string{"Ada", "Alan"}) {
		t.Errorf("completion: %+v %v", r, err)
	}
	if r, err := call("add", map[string]any{"a": 20, "b": 22}); err != nil || fmt.Sprint(r.StructuredContent) != "map[sum:42]" {
		t.Errorf("after the errors: %+v %v", r, err)
	}
}

// modules installs what package.json names, once, and returns a Node that is new enough.
func modules(t *testing.T) (node string) {
	t.Helper()
	manifest, err := os.ReadFile("node/package.json")
	if err != nil {
		t.Fatal(err)
	}
	const stamp = "node/node_modules/.installed"
	if done, _ := os.ReadFile(stamp); !bytes.Equal(done, manifest) {
		cmd := exec.Command("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--package-lock=false", "--loglevel=error")
		cmd.Dir = "node"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("npm install: %v\n%s", err, out)
		}
		if err := os.WriteFile(stamp, manifest, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	node, err = filepath.Abs("node/node_modules/node-" + runtime.GOOS + "-" + arch + "/bin/node")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(node); err != nil {
		node = "node" // a system without a packaged one: it must be 22.19 or later
	}
	return node
}

func runNode(t *testing.T, node string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, args...)
	var fault bytes.Buffer
	cmd.Stderr = &fault
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node %s: %v\n%s%s", strings.Join(args, " "), err, out, fault.String())
	}
	return out
}

// A said is what a client made of a result or an error.
type said struct {
	Text    string
	IsError bool
	Code    any
	Message string
}

func TestTypeScript(t *testing.T) {
	node, url := modules(t), server(t)
	for _, c := range []struct {
		name   string
		script []string
		modern bool
		lost   any // code of a missing resource
	}{
		{"client 2.4 modern", []string{"node/client-v2.mjs", url, "modern"}, true, -32602.0},
		{"client 2.4 legacy", []string{"node/client-v2.mjs", url, "legacy"}, false, -32602.0}, // it translates the legacy -32002
		{"sdk 1.32 legacy", []string{"node/sdk-v1.mjs", url}, false, -32002.0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got struct {
				Tools                                                  []string
				Sum, After                                             struct{ Sum int }
				BadArguments, Fail, Unknown, Shard, Countdown, Refused said
				RemoveAccepted, RemoveDeclined                         said
				Many, Asked, Resources, Templates, Completion          []string
				Progress                                               []float64
				Resource, Prompt                                       string
				Missing, Cancelled                                     struct{ Error said }
				CancelledAfter                                         int
			}
			out := runNode(t, node, c.script...)
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			check := func(what string, ok bool, value any) {
				t.Helper()
				if !ok {
					t.Errorf("%s: %+v", what, value)
				}
			}
			check("tools over all pages", slices.Equal(got.Tools, tools), got.Tools)
			check("structured content", got.Sum.Sum == 5, got.Sum)
			check("arguments that do not fit", got.BadArguments.IsError && strings.Contains(got.BadArguments.Text, "do not fit"), got.BadArguments)
			check("tool error", got.Fail.IsError && got.Fail.Text == "the disk is full", got.Fail)
			check("unknown tool", got.Unknown.Code == -32602.0 && strings.Contains(got.Unknown.Message, `unknown tool: "nope"`), got.Unknown)
			check("content", slices.Equal(got.Many, []string{"text", "image", "resource", "resource_link"}), got.Many)
			check("x-mcp-header", got.Shard.Text == "shard größe", got.Shard)
			check("refusal", strings.Contains(got.Refused.Message, refusedText), got.Refused)
			check("progress", slices.Equal(got.Progress, []float64{1, 2, 3}) && got.Countdown.Text == "lift-off", got.Progress)
			if c.modern {
				check("question accepted", got.RemoveAccepted.Text == "x is removed", got.RemoveAccepted)
				check("question declined", got.RemoveDeclined.IsError && got.RemoveDeclined.Text == "the user declined", got.RemoveDeclined)
				check("questions", slices.Equal(got.Asked, []string{"Remove x?", "Remove x?"}), got.Asked)
			} else {
				check("question that can't be put", got.RemoveAccepted.IsError && strings.Contains(got.RemoveAccepted.Text, cannotAsk), got.RemoveAccepted)
			}
			check("cancellation", got.Cancelled.Error.Message != "" && got.CancelledAfter < 2000, got.Cancelled)
			check("resources", slices.Equal(got.Resources, []string{"note://hello"}) && slices.Equal(got.Templates, []string{"note://{name}"}), got.Resources)
			check("resource", got.Resource == "contents of note://there", got.Resource)
			check("missing resource", got.Missing.Error.Code == c.lost && strings.Contains(got.Missing.Error.Message, "not found"), got.Missing)
			check("prompt", got.Prompt == "Hello, Ada", got.Prompt)
			check("completion", slices.Equal(got.Completion, []string{"Ada", "Alan"}), got.Completion)
			check("a call after the errors", got.After.Sum == 42, got.After)
		})
	}
}

func TestInspector(t *testing.T) {
	node, url := modules(t), server(t)
	for _, era := range []string{"modern", "legacy"} {
		for _, c := range []struct {
			args string
			want []string
		}{
			{"--method tools/list --strict", []string{`"name":"add"`, `"x-mcp-header":"Shard"`}},
			{"--method tools/call --tool-name add --tool-arg a=2 --tool-arg b=3", []string{`"sum":5`}},
			{"--method tools/call --tool-name shard --tool-arg shard=eu", []string{"shard eu"}},
			{"--method resources/list", []string{"note://hello"}},
			{"--method resources/read --uri note://there", []string{"contents of note://there"}},
			{"--method prompts/list", []string{`"name":"greet"`}},
			{"--method prompts/get --prompt-name greet --prompt-args who=Ada", []string{"Hello, Ada"}},
		} {
			t.Run(era+" "+strings.Fields(c.args)[1], func(t *testing.T) {
				args := append([]string{"node/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js",
					"--cli", "--server-url", url, "--transport", "http", "--protocol-era", era, "--format", "json", "-q"}, strings.Fields(c.args)...)
				out := string(runNode(t, node, args...))
				for _, want := range c.want {
					if !strings.Contains(out, want) {
						t.Errorf("%s lacks %s", out, want)
					}
				}
			})
		}
	}
}

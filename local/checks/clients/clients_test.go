// Package clients runs the real MCP clients against the real server: the official Go SDK, both TypeScript clients and the
// inspector's command line, in each era that they speak.
package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"example.com/erlmcp/local/checks/npm"
)

var tools = []string{"add", "countdown", "fail", "many", "rare", "remove", "shard", "wait", "waiting"}

// refusedText is what must reach the model whose call was refused.
const refusedText = "the limit of 0.001 calls a second on tool:rare is reached"

const cannotAsk = "from protocol revision 2026-07-28 on"

// pages is how many requests it takes to list the tools.
const pages = 3

// fixture is the server under test, built once.
var fixture string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "clients")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fixture = filepath.Join(dir, "fixture")
	status := 1
	if out, err := exec.Command("go", "build", "-o", fixture, "./fixture").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the fixture: %v\n%s", err, out)
	} else {
		status = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(status)
}

// server starts the fixture, with more settings, and returns its URL.
func server(t *testing.T, settings ...string) string {
	t.Helper()
	cmd := exec.Command(fixture)
	cmd.Env = append(append(os.Environ(), settings...), "LOG_OUTPUT=stderr", "PORT=0", "TAIEA_TOOLS=none", "DRAIN_TIMEOUT=200ms")
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	stderr := bufio.NewReader(io.TeeReader(pipe, &log))
	var line struct{ URL string }
	for line.URL == "" && err == nil {
		var raw []byte
		raw, err = stderr.ReadBytes('\n')
		json.Unmarshal(raw, &line)
	}
	ended := make(chan struct{})
	go func() { io.Copy(io.Discard, stderr); close(ended) }() // a full pipe would stop the server
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the server outlives SIGTERM by 10s")
			cmd.Process.Kill()
			<-ended
		}
		cmd.Wait() // its status tells whether calls were cut off, which tests provoke
		if t.Failed() {
			t.Logf("log of the server:\n%s", log.Bytes())
		}
	})
	if err != nil {
		t.Fatalf("the server did not say its URL: %v", err)
	}
	return line.URL
}

func TestGoSDK(t *testing.T) {
	url := server(t)
	for _, version := range []string{"2026-07-28", "2025-11-25", "2025-06-18"} {
		t.Run(version, func(t *testing.T) { walkGoSDK(t, &mcp.StreamableClientTransport{Endpoint: url}, version) })
	}
}

// TestGoSDKStarts walks through the same server over standard input and output.
func TestGoSDKStarts(t *testing.T) {
	for _, version := range []string{"2026-07-28", "2025-11-25", "2025-06-18"} {
		t.Run(version, func(t *testing.T) {
			cmd := exec.Command(fixture, "stdio")
			cmd.Env = append(os.Environ(), "TAIEA_TOOLS=none")
			var log bytes.Buffer
			cmd.Stderr = &log
			walkGoSDK(t, &mcp.CommandTransport{Command: cmd}, version)
			if t.Failed() {
				t.Logf("log of the server:\n%s", &log)
			}
		})
	}
}

func walkGoSDK(t *testing.T, transport mcp.Transport, version string) {
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
	s, err := client.Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.InitializeResult().ProtocolVersion; got != version {
		t.Fatalf("negotiated %s", got)
	}
	modern := version == "2026-07-28"

	var names []string
	list, asks := &mcp.ListToolsParams{}, 0
	for ; asks == 0 || list.Cursor != "" && asks < 10; asks++ {
		r, err := s.ListTools(ctx, list)
		if err != nil {
			t.Fatal(err)
		}
		for _, tool := range r.Tools {
			names = append(names, tool.Name)
		}
		list = &mcp.ListToolsParams{Cursor: r.NextCursor}
	}
	if !slices.Equal(names, tools) || asks != pages {
		t.Errorf("%d pages with tools %v", asks, names)
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
	} else {
		first, _ := r.Content[0].(*mcp.TextContent)
		image, _ := r.Content[1].(*mcp.ImageContent)
		embedded, _ := r.Content[2].(*mcp.EmbeddedResource)
		link, _ := r.Content[3].(*mcp.ResourceLink)
		if first == nil || first.Text != "look:" || image == nil || string(image.Data) != "\x89PNG" || image.MIMEType != "image/png" ||
			embedded == nil || embedded.Resource.Text != "hello" || link == nil || link.URI != "note://hello" {
			t.Errorf("many: %+v %+v %+v %+v", first, image, embedded, link)
		}
	}

	call("rare", nil)
	if got, failed := text("rare", nil); !failed || !strings.Contains(got, refusedText) {
		t.Errorf("a refusal does not reach the model: %q %t", got, failed)
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

	running := func() string {
		r, err := call("waiting", nil)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(r.StructuredContent)
	}
	idle := running()
	soon, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	begin := time.Now()
	if _, err := s.CallTool(soon, &mcp.CallToolParams{Name: "wait"}); err == nil || time.Since(begin) > 2*time.Second {
		t.Errorf("wait, cancelled: %v after %v", err, time.Since(begin))
	}
	stop()
	if modern { // an older client's cancellation is a request of its own, which another instance may get
		for limit := time.Now().Add(2 * time.Second); running() != idle; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Error("wait, cancelled, still runs on the server")
				break
			}
		}
	}

	if r, err := s.ListResources(ctx, nil); err != nil || len(r.Resources) != 1 || r.Resources[0].URI != "note://hello" {
		t.Errorf("resources: %+v %v", r, err)
	}
	if r, err := s.ListResourceTemplates(ctx, nil); err != nil || len(r.ResourceTemplates) != 1 || r.ResourceTemplates[0].URITemplate != "note://{name}" {
		t.Errorf("templates: %+v %v", r, err)
	}
	if r, err := s.ListPrompts(ctx, nil); err != nil || len(r.Prompts) != 1 || r.Prompts[0].Name != "greet" || !r.Prompts[0].Arguments[0].Required {
		t.Errorf("prompts: %+v %v", r, err)
	}
	if r, err := s.ReadResource(ctx, &mcp.ReadResourceParams{URI: "note://hello"}); err != nil || r.Contents[0].Text != "hello" {
		t.Errorf("resource: %+v %v", r, err)
	}
	if r, err := s.ReadResource(ctx, &mcp.ReadResourceParams{URI: "note://there"}); err != nil || r.Contents[0].Text != "contents of note://there" {
		t.Errorf("resource of a template: %+v %v", r, err)
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
	node, url := npm.Modules(t, "clients"), server(t)
	for _, c := range []struct {
		name   string
		script []string
		modern bool
		lost   any // code of a missing resource
	}{
		{"client 2.4 modern", []string{"node/client-v2.mjs", "walk", url, "modern"}, true, -32602.0},
		{"client 2.4 legacy", []string{"node/client-v2.mjs", "walk", url, "legacy"}, false, -32602.0}, // it translates the legacy -32002
		{"sdk 1.32 legacy", []string{"node/sdk-v1.mjs", "walk", url}, false, -32002.0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got struct {
				Tools                                                  []string
				Sum, After                                             struct{ Sum int }
				BadArguments, Fail, Unknown, Shard, Countdown, Refused said
				RemoveAccepted, RemoveDeclined                         said
				Pages                                                  int
				Many, Asked, Resources, Templates, Prompts, Completion []string
				Progress                                               []float64
				Resource, FromTemplate, Prompt                         string
				StillWaiting                                           bool
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
			check("pages", got.Pages == pages, got.Pages)
			check("structured content", got.Sum.Sum == 5, got.Sum)
			check("arguments that do not fit", got.BadArguments.IsError && strings.Contains(got.BadArguments.Text, "do not fit"), got.BadArguments)
			check("tool error", got.Fail.IsError && got.Fail.Text == "the disk is full", got.Fail)
			check("unknown tool", got.Unknown.Code == -32602.0 && strings.Contains(got.Unknown.Message, `unknown tool: "nope"`), got.Unknown)
			check("content", slices.Equal(got.Many, []string{"text look:", "image iVBORw==", "resource hello", "resource_link note://hello"}), got.Many)
			check("x-mcp-header", got.Shard.Text == "shard größe", got.Shard)
			check("refusal", got.Refused.IsError && strings.Contains(got.Refused.Text, refusedText), got.Refused)
			check("progress", slices.Equal(got.Progress, []float64{1, 2, 3}) && got.Countdown.Text == "lift-off", got.Progress)
			if c.modern {
				check("question accepted", got.RemoveAccepted.Text == "x is removed", got.RemoveAccepted)
				check("question declined", got.RemoveDeclined.IsError && got.RemoveDeclined.Text == "the user declined", got.RemoveDeclined)
				check("the end of a cancelled call", !got.StillWaiting, got.StillWaiting)
				check("questions", slices.Equal(got.Asked, []string{"Remove x?", "Remove x?"}), got.Asked)
			} else {
				check("question that can't be put", got.RemoveAccepted.IsError && strings.Contains(got.RemoveAccepted.Text, cannotAsk), got.RemoveAccepted)
			}
			check("cancellation", got.Cancelled.Error.Message != "" && got.CancelledAfter < 2000, got.Cancelled)
			check("resources", slices.Equal(got.Resources, []string{"note://hello"}) && slices.Equal(got.Templates, []string{"note://{name}"}), got.Resources)
			check("prompts", slices.Equal(got.Prompts, []string{"greet"}), got.Prompts)
			check("resource", got.Resource == "hello", got.Resource)
			check("resource of a template", got.FromTemplate == "contents of note://there", got.FromTemplate)
			check("missing resource", got.Missing.Error.Code == c.lost && strings.Contains(got.Missing.Error.Message, "not found"), got.Missing)
			check("prompt", got.Prompt == "Hello, Ada", got.Prompt)
			check("completion", slices.Equal(got.Completion, []string{"Ada", "Alan"}), got.Completion)
			check("a call after the errors", got.After.Sum == 42, got.After)
		})
	}
}

// inspector is the command line of a request, which begins with its method.
func inspector(url, era, request string) []string {
	return append([]string{"node/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js",
		"--cli", "--server-url", url, "--transport", "http", "--protocol-era", era, "--format", "json", "-q", "--method"}, strings.Fields(request)...)
}

func TestInspector(t *testing.T) {
	node, url := npm.Modules(t, "clients"), server(t)
	for _, era := range []string{"modern", "legacy"} {
		for _, c := range []struct {
			args string
			want []string
		}{
			{"tools/list --strict", []string{`"name":"add"`, `"x-mcp-header":"Shard"`}},
			{"tools/call --tool-name add --tool-arg a=2 --tool-arg b=3", []string{`"sum":5`}},
			{"tools/call --tool-name shard --tool-arg shard=eu", []string{"shard eu"}},
			{"resources/list", []string{"note://hello"}},
			{"resources/read --uri note://there", []string{"contents of note://there"}},
			{"prompts/list", []string{`"name":"greet"`}},
			{"prompts/get --prompt-name greet --prompt-args who=Ada", []string{"Hello, Ada"}},
		} {
			t.Run(era+" "+c.args, func(t *testing.T) {
				out := string(runNode(t, node, inspector(url, era, c.args)...))
				for _, want := range c.want {
					if !strings.Contains(out, want) {
						t.Errorf("%s lacks %s", out, want)
					}
				}
			})
		}
	}
}

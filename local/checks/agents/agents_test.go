// Package agents runs real agent frameworks against the real server. Each has a fake model, so that what the model is given can be
// seen: which tools, and what of a result, a refusal, a failure. The model is one of the framework's own form, or the provider's API
// on loopback; nothing leaves this machine.
package agents

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/npm"
)

var update = flag.Bool("update", false, "write testdata/given.txt anew")

const golden = "testdata/given.txt"

// A framework is a script that shows what the framework's model is given.
type framework struct {
	script   []string
	packages []string // as package.json has them, the first of them the framework's name
	onePage  bool     // the framework lists one page of tools only
	runsOn   string   // why a call of it that is cancelled goes on at the server, if it does
	faults   faults
}

// faults are what the framework itself does to what the server sends, by scenario.
type faults map[string]string

const (
	aside   = "its revision cancels with a message of its own, which names the request by a number that other clients of the caller use too"
	silent  = "the framework does not hand the abort on to the call"
	hangsUp = "the framework closes the connection, which in its revision is no cancellation"

	asCome     = "hands on the whole result, what is for the client alone too"
	noMatter   = "does not say that this is an error"
	asSuccess  = "says that this is no error"
	fewerTools = "lists one page of tools only"
)

var frameworks = []framework{
	{script: []string{"sdk.mjs", "mcp-sdk-1.12"}, packages: []string{"mcp-sdk-1.12"}, runsOn: aside},
	{script: []string{"sdk.mjs", "mcp-sdk-1.20"}, packages: []string{"mcp-sdk-1.20"}, runsOn: aside},
	{script: []string{"ai.mjs"}, packages: []string{"ai", "@ai-sdk/mcp"}, faults: faults{"refused": noMatter, "failed": noMatter}},
	{script: []string{"langchain.mjs"}, packages: []string{"@langchain/mcp-adapters", "langchain"}, runsOn: aside, faults: faults{
		"refused": "asks the model to mend what is no mistake of its own"}},
	{script: []string{"openai.mjs"}, packages: []string{"@openai/agents"}, faults: faults{
		"listed": "allows arguments that the server refuses", "refused": noMatter, "failed": noMatter}},
	{script: []string{"mastra.mjs"}, packages: []string{"@mastra/mcp", "@mastra/core"}, faults: faults{
		"text": asCome, "cancelled": "the run does not say that it was aborted"}},
	{script: []string{"genkit.mjs"}, packages: []string{"@genkit-ai/mcp", "genkit"}, runsOn: silent},
	{script: []string{"genai.mjs"}, packages: []string{"@google/genai", "@modelcontextprotocol/sdk"}, runsOn: silent, faults: faults{
		"refused": asCome}},
	{script: []string{"anthropic.mjs"}, packages: []string{"@anthropic-ai/sdk", "@modelcontextprotocol/sdk"}, runsOn: silent, faults: faults{
		"listed": "writes null for what a schema lacks"}},
	{script: []string{"claude.mjs"}, packages: []string{"@anthropic-ai/claude-agent-sdk"}},
	{script: []string{"mcp-use.mjs"}, packages: []string{"mcp-use", "langchain"}, onePage: true, runsOn: hangsUp, faults: faults{
		"listed": fewerTools + ", and loses integers, bounds and enums", "text": asCome, "refused": asSuccess, "failed": asSuccess}},
	{script: []string{"llamaindex.mjs"}, packages: []string{"@llamaindex/tools", "@llamaindex/workflow"}, onePage: true, runsOn: silent,
		faults: faults{"listed": fewerTools, "called": "loses quotes", "text": asCome, "refused": asSuccess, "failed": asSuccess}},
	{script: []string{"mcporter.mjs"}, packages: []string{"mcporter"}, runsOn: hangsUp},
}

// notRun are those that people may look for here, and why they are not.
var notRun = [][2]string{
	{"mcp-use 2", "it makes servers and has no agent; that of mcp-use 1 is run"},
	{"llamaindex", "its agent is that of @llamaindex/workflow, which is run; it needs another @llamaindex/core than @llamaindex/tools does"},
}

// promises are what each model must be given.
var promises = map[string]*regexp.Regexp{
	"called":    regexp.MustCompile(`sum\W+5\b`),
	"text":      regexp.MustCompile(`\bhere\b`),
	"refused":   regexp.MustCompile(`the limit of 0\.001 calls a second on tool:rare is reached; try again in 16m\d`),
	"failed":    regexp.MustCompile(`the disk is full`),
	"restarted": regexp.MustCompile(`sum\W+42\b`),
}

// A line is what a script says of one scenario.
type line struct {
	Scenario   string
	Tools      []tool
	Given      *string // to the model, of the call
	Thrown     string  // by the run of the agent
	EndedAfter *int    // milliseconds from the abort until the server saw the call's end
}

func TestGiven(t *testing.T) {
	node := npm.Modules(t, "agents")
	sections := make([]string, len(frameworks))
	two := make(chan struct{}, 2)
	t.Run("each", func(t *testing.T) {
		for i, f := range frameworks {
			t.Run(strings.Join(f.script, " "), func(t *testing.T) {
				t.Parallel()
				two <- struct{}{}
				defer func() { <-two }()
				sections[i] = f.section(t, node)
			})
		}
	})
	if t.Failed() {
		return
	}
	table := "What the model of each framework is given. To write it anew:\n\n\tgo test ./agents -update\n\n"
	table += strings.Join(sections, "\n") + "\nnot run\n"
	for _, n := range notRun {
		table += fmt.Sprintf("  %-11s %s\n", n[0], n[1])
	}
	if *update {
		if err := os.WriteFile(golden, []byte(table), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	old, now := strings.Split(string(want), "\n"), strings.Split(table, "\n")
	for i := range max(len(old), len(now)) {
		if o, n := at(old, i), at(now, i); o != n {
			t.Errorf("%s:%d: got\n%s\nwant\n%s\nif that is meant: go test ./agents -update", golden, i+1, n, o)
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(the end)"
}

// section runs a framework and returns its part of the table.
func (f framework) section(t *testing.T, node string) string {
	s := start(t)
	lines := f.run(t, node, s)
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n", f.title(t))
	row := func(what, format string, args ...any) {
		fmt.Fprintf(&out, "  %-11s %s\n", what, steady(fmt.Sprintf(format, args...)))
		if fault := f.faults[what]; fault != "" {
			fmt.Fprintf(&out, "  %-11s ^ the framework's own doing: %s\n", "", fault)
		}
	}
	row("speaks", "%s", strings.Join(s.revisions("add"), ", "))
	for _, l := range lines {
		promise := promises[l.Scenario]
		switch {
		case l.Scenario == "listed":
			row("listed", "%s", f.listed(t, s.tools(), l.Tools))
			continue
		case l.Scenario == "cancelled":
			row("cancelled", "%s", f.cancelled(t, l))
			continue
		case promise == nil:
			t.Fatalf("an unknown scenario: %+v", l)
		case l.Given == nil:
			t.Errorf("%s: the model is given nothing; the run throws %q", l.Scenario, l.Thrown)
			continue
		case !promise.MatchString(*l.Given):
			t.Errorf("%s: the model is given %s, which is not like %s", l.Scenario, *l.Given, promise)
		case l.Thrown != "":
			t.Errorf("%s: the run throws %s", l.Scenario, l.Thrown)
		}
		row(l.Scenario, "%s", *l.Given)
	}
	if want := len(promises) + 2; len(lines) != want {
		t.Errorf("%d scenarios of %d", len(lines), want)
	}
	return out.String()
}

// title has the versions of the framework's packages.
func (f framework) title(t *testing.T) string {
	raw, err := os.ReadFile("node/package.json")
	var manifest struct{ Dependencies map[string]string }
	if err == nil {
		err = json.Unmarshal(raw, &manifest)
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range f.packages {
		version := manifest.Dependencies[p]
		if alias, ok := strings.CutPrefix(version, "npm:"); ok {
			cut := strings.LastIndex(alias, "@")
			p, version = alias[:cut], alias[cut+1:]
		}
		out = append(out, p+" "+version)
	}
	return strings.Join(out, ", ")
}

// listed says which of the server's tools the model is offered, and how their schemas differ from the server's.
func (f framework) listed(t *testing.T, served, offered []tool) string {
	var names []string
	unlike := map[string][]string{} // names of tools by the schema
	for _, o := range offered {
		names = append(names, o.Name)
		i := slices.IndexFunc(served, func(s tool) bool { return strings.HasSuffix("_"+o.Name, "_"+s.Name) })
		if i < 0 {
			t.Errorf("listed: the server has no tool %q", o.Name)
			continue
		}
		if o.Description != served[i].Description {
			t.Errorf("listed: %s is described as %q, not as %q", o.Name, o.Description, served[i].Description)
		}
		if got := canonical(t, o.Schema); got != canonical(t, served[i].Schema) {
			unlike[got] = append(unlike[got], served[i].Name)
		}
	}
	if want := len(served); len(offered) != want && (!f.onePage || len(offered) != want-1) {
		t.Errorf("listed: the model is offered %v, of %d tools", names, want)
	}
	out := strings.Join(names, ", ")
	if len(unlike) == 0 {
		return out + "; schemas as served"
	}
	out += "; schemas as served but for"
	for _, schema := range slices.Sorted(maps.Keys(unlike)) {
		out += " " + strings.Join(unlike[schema], ", ") + ": " + schema + ";"
	}
	return strings.TrimSuffix(out, ";")
}

func canonical(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		t.Fatalf("a schema: %v: %s", err, raw)
	}
	out, err := json.Marshal(value) // sorts members
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// cancelled says how a run ends that is cancelled while its tool runs, and whether the server sees it.
func (f framework) cancelled(t *testing.T, l line) string {
	if !strings.HasPrefix(l.Thrown, "the run ") {
		t.Errorf("cancelled: %s", l.Thrown)
	}
	out := l.Thrown
	if l.Given != nil {
		out += ", its model is given " + *l.Given
	}
	switch {
	case l.EndedAfter != nil && f.runsOn != "":
		t.Errorf("cancelled: the call ends at the server after %d ms; it was not expected to, because %s", *l.EndedAfter, f.runsOn)
	case l.EndedAfter == nil && f.runsOn == "":
		t.Error("cancelled: the call still runs on the server 2 s later")
	case l.EndedAfter == nil:
		return out + "; the call runs on until its timeout: " + f.runsOn
	}
	return out + "; the call ends at the server"
}

// run has the framework's script go through all scenarios, and replaces the server when the script says so.
func (f framework) run(t *testing.T, node string, s *server) (lines []line) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, append([]string{"node/" + f.script[0], s.url}, f.script[1:]...)...)
	// Of the environment of who runs the check, no login, setting or proxy is for these programs.
	compiled, err := filepath.Abs("node/node_modules/.compiled")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "NO_COLOR=1", "NODE_COMPILE_CACHE=" + compiled,
		"MASTRA_TELEMETRY_DISABLED=1", "MCP_USE_ANONYMIZED_TELEMETRY=false"}
	cmd.WaitDelay = 5 * time.Second
	var fault bytes.Buffer
	cmd.Stderr = &fault
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scan := bufio.NewScanner(stdout)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		var l line
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil || l.Scenario == "" {
			continue // what the framework itself prints
		}
		if l.Scenario == "restart" {
			s.stop()
			s.start()
			io.WriteString(stdin, "go\n")
			continue
		}
		lines = append(lines, l)
	}
	if err := cmd.Wait(); err != nil || scan.Err() != nil {
		t.Fatalf("%s: %v %v\n%s", f.script[0], err, scan.Err(), fault.Bytes())
	}
	if t.Failed() {
		t.Logf("%s says\n%s", f.script[0], fault.Bytes())
	}
	return lines
}

var (
	duration   = regexp.MustCompile(`\b16m\d+(\.\d+)?s\b`)
	receipt    = regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)
	retryAfter = regexp.MustCompile(`(retryAfterMs\W+)\d+`)
	version    = regexp.MustCompile(`("version":)"[^"]*"`)
)

// steady replaces what differs from run to run.
func steady(text string) string {
	text = strings.ReplaceAll(text, "\n", `\n`)
	text = receipt.ReplaceAllString(duration.ReplaceAllString(text, "…"), "…")
	return version.ReplaceAllString(retryAfter.ReplaceAllString(text, "$1…"), "$1…")
}

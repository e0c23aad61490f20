// Package editor has the language server that editors check and complete YAML with read catalog files by the schema that erlmcp publishes.
package editor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/erlmcp/local/checks/npm"
	"example.com/erlmcp/local/checks/world"
)

const root = "../../.."

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// A file is one that is open in the editor: at is where to complete, from 0.
type file struct {
	Text string    `json:"text"`
	At   *position `json:"at,omitempty"`
}

type position struct {
	Line      int `json:"line"`
	Character int `json:"character"`
}

type answer struct {
	Diagnostics []struct {
		Line    int
		Message string
	}
	Completions []struct{ Label, Documentation string }
}

// ask has the language server check and complete files.
func ask(t *testing.T, files ...file) []answer {
	t.Helper()
	schema, err := exec.Command(world.Program(t, "erlmcp"), "catalog", "schema").Output()
	if err != nil {
		t.Fatal(err)
	}
	question, err := json.Marshal(map[string]any{"schema": json.RawMessage(schema), "files": files})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(npm.Modules(t, "editor"), "node/editor.mjs")
	var fault bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(question), &fault
	out, err := cmd.Output()
	var answers []answer
	if err == nil {
		err = json.Unmarshal(out, &answers)
	}
	if err != nil || len(answers) != len(files) {
		t.Fatalf("%d answers to %d files: %v: %s", len(answers), len(files), err, &fault)
	}
	return answers
}

var block = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// whole returns what a document shows of a catalog as a file: of a source, of a tool, or all of it.
func whole(t *testing.T, shown string) string {
	t.Helper()
	indented := "  " + strings.ReplaceAll(strings.Trim(shown, "\n"), "\n", "\n  ")
	switch first := strings.TrimSpace(shown); {
	case strings.HasPrefix(first, "catalog:"):
		return shown
	case strings.HasPrefix(first, "- match:"):
		return "catalog: 1\nsources:\n- name: api\n  openapi: openapi.yaml\n  tools:\n" + indented + "\n"
	case strings.HasPrefix(first, "- name:"):
		return "catalog: 1\nsources:\n" + indented + "\n"
	}
	t.Fatalf("the document shows what is no part of a catalog: %s", shown)
	return ""
}

// TestShown has the editor find nothing at fault with the catalogs that are shown.
func TestShown(t *testing.T) {
	sample, err := os.ReadFile(root + "/local/bookshop/catalog.yaml")
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile(root + "/infra/docs/catalog.md")
	if err != nil {
		t.Fatal(err)
	}
	all, err := os.ReadFile("testdata/all.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files := []file{{Text: string(sample)}, {Text: string(all)}}
	for _, m := range block.FindAllSubmatch(document, -1) {
		files = append(files, file{Text: whole(t, string(m[1]))})
	}
	if len(files) < 6 {
		t.Errorf("%d files and parts of files are shown", len(files))
	}
	for i, a := range ask(t, files...) {
		for _, d := range a.Diagnostics {
			t.Errorf("line %d: %s\n%s", d.Line, d.Message, files[i].Text)
		}
	}
}

const source = "catalog: 1\nsources:\n- name: shop\n  openapi: openapi.yaml\n  tools: [{match: \"*\"}]\n"

// TestFaults has the editor mark the line at which erlmcp catalog check finds a fault, and no other one.
func TestFaults(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "openapi.yaml"), []byte("openapi: 3.1.0\ninfo: {title: Shop, version: '1'}\nservers: [{url: https://shop.example}]\npaths: {/: {get: {operationId: root, responses: {'200': {description: Good.}}}}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	faults := []struct {
		text string
		line int
	}{
		{"sources: []\n", 1},
		{"catalog: 2\n", 1},
		{"catalog: one\n", 1},
		{"catalog: 1\nsource: []\n", 2},
		{"catalog: 1\ncatalog: 1\n", 2},
		{"catalog: 1\nsources:\n- rest: https://shop.example\n  tools: [{name: a, description: A., request: GET /}]\n", 3},
		{source + "  opnapi: f\n", 6},
		{source + "  timeout: fast\n", 6},
		{source + "  auth:\n    bearer: hunter2\n", 7},
		{source + "  auth: {basic: {user: env:A, password: env:B, realm: x}}\n", 6},
		{source + "  retries: {after: [connect, 500]}\n", 6},
		{source + "  limits:\n    perSecond: -1\n", 7},
		{source + "  limits:\n    perSecond: 1\n    dryRun: perhaps\n", 8},
		{source + "  result:\n    max: 64KB\n", 7},
		{source + "  result: {pages: {into: page, max: 3}}\n", 6},
		{source + "  variables: {tls: true}\n", 6},
		{"catalog: 1\nsources:\n- name: shop\n  openapi: openapi.yaml\n  tools:\n  - match: root\n    arguments:\n      a: {fixed: 1, in: cookie}\n", 8},
		{"catalog: 1\nsources:\n- name: texts\n  texts:\n    dir: .\n    as: pages\n", 6},
	}
	files := []file{{Text: source}}
	for _, f := range faults {
		files = append(files, file{Text: f.text})
	}
	answers := ask(t, files...)
	if len(answers[0].Diagnostics) > 0 {
		t.Errorf("what is right is marked: %+v", answers[0])
	}
	if out, err := check(t, dir, source); err != nil {
		t.Errorf("what is right is refused: %s", out)
	}
	for i, f := range faults {
		marked := answers[i+1].Diagnostics
		if len(marked) == 0 {
			t.Errorf("nothing is marked in\n%s", f.text)
		}
		for _, d := range marked {
			if d.Line != f.line {
				t.Errorf("line %d: %s, want line %d\n%s", d.Line, d.Message, f.line, f.text)
			}
		}
		if out, err := check(t, dir, f.text); err == nil || !strings.Contains(out, fmt.Sprintf("line %d: ", f.line)) {
			t.Errorf("erlmcp catalog check names no line %d: %v %s\n%s", f.line, err, out, f.text)
		}
	}
}

func check(t *testing.T, dir, text string) (string, error) {
	at := filepath.Join(dir, "catalog.yaml")
	if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
		return "", err
	}
	out, err := exec.Command(world.Program(t, "erlmcp"), "catalog", "check", at).CombinedOutput()
	return string(out), err
}

// TestCompletion has the editor offer the members that there are, and say of each what it is for, at | in a file.
func TestCompletion(t *testing.T) {
	places := []struct {
		text  string
		want  []string
		words string
	}{
		{"catalog: 1\n|", []string{"defaults", "search", "sources"}, "where tools, resources and prompts come from"},
		{"catalog: 1\nsources:\n- name: shop\n  openapi: openapi.yaml\n  |\n  tools: []\n", []string{"auth", "breaker", "confirm", "limits", "retries", "server"}, "how the server authenticates to the API"},
		{source + "  auth:\n    |\n", []string{"basic", "bearer", "google", "key", "oauth2"}, "client credentials of OAuth 2.0 (RFC 6749, section 4.4)"},
		{"catalog: 1\nsources:\n- name: shop\n  openapi: openapi.yaml\n  tools:\n  - match: root\n    |\n", []string{"arguments", "confirm", "description", "limits", "name", "offer"}, "what the tool does, by which models choose it"},
		{"catalog: 1\nsources:\n- name: shop\n  texts:\n    dir: texts\n    as: |\n", []string{"prompts", "resources"}, "what its files are"},
	}
	var files []file
	for _, p := range places {
		before, after, _ := strings.Cut(p.text, "|")
		files = append(files, file{before + after, &position{strings.Count(before, "\n"), len(before) - strings.LastIndexByte(before, '\n') - 1}})
	}
	for i, a := range ask(t, files...) {
		var labels, words []string
		for _, c := range a.Completions {
			labels, words = append(labels, c.Label), append(words, c.Documentation)
			if c.Documentation == "" {
				t.Errorf("nothing is said of %s\n%s", c.Label, places[i].text)
			}
		}
		for _, want := range places[i].want {
			if !slices.Contains(labels, want) {
				t.Errorf("%s is not offered, of %v\n%s", want, labels, places[i].text)
			}
		}
		if !slices.ContainsFunc(words, func(text string) bool { return strings.Contains(text, places[i].words) }) {
			t.Errorf("no member is for %q: %q\n%s", places[i].words, words, places[i].text)
		}
	}
}

// Package docs holds the documents against what they speak of: every command in them is parsed by the program that it calls, or
// by its own rules, every link leads somewhere, and what the log is said to say is said. Metrics are checked by observability.
package docs

import (
	"encoding/json"
	"fmt"
	"go/parser"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../../.."

// written are the documents; runbooks travel with alerts, and have a form of their own.
var written = append([]string{"README.md", "function/README.md", "function/CHANGING.md", "local/README.md", "infra/README.md"}, under("infra/docs")...)

var documents = append(slices.Clip(written), under("infra/docs/runbooks")...)

func under(folder string) []string {
	files, err := filepath.Glob(filepath.Join(root, folder, "*.md"))
	if err != nil || len(files) < 4 {
		panic(fmt.Sprint(folder, ": ", files, err))
	}
	for i, f := range files {
		files[i] = folder + "/" + filepath.Base(f)
	}
	return files
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A command is a line of a document's shell.
type command struct {
	document, line string
}

var (
	blocks  = regexp.MustCompile("(?s)```sh\n(.*?)```")
	indents = regexp.MustCompile(`(?m)^ {3}`)
	inline  = regexp.MustCompile("`((?:gcloud|kubectl|make|docker|erlmcp|terraform|curl|openssl|go) [^`]+)`")
	comment = regexp.MustCompile(`\s+#.*$`)
	nested  = regexp.MustCompile(`\$\(([^()]*)\)`)
)

func commands(t *testing.T) []command {
	t.Helper()
	var out []command
	for _, d := range documents {
		text := strings.ReplaceAll(indents.ReplaceAllString(read(t, d), ""), "\\\n", " ")
		var lines []string
		for _, b := range blocks.FindAllStringSubmatch(text, -1) {
			lines = append(lines, strings.Split(b[1], "\n")...)
		}
		for _, i := range inline.FindAllStringSubmatch(blocks.ReplaceAllString(text, ""), -1) {
			lines = append(lines, i[1])
		}
		for _, l := range lines {
			l = strings.TrimSpace(comment.ReplaceAllString(l, ""))
			for _, n := range nested.FindAllStringSubmatch(l, -1) {
				out = append(out, command{d, n[1]})
			}
			l = nested.ReplaceAllString(l, "X")
			if l != "" && !strings.HasPrefix(l, "#") {
				out = append(out, command{d, l})
			}
		}
	}
	if len(out) < 80 {
		t.Fatalf("only %d commands", len(out))
	}
	return out
}

var assignment = regexp.MustCompile(`^[A-Z_]+=\S* +`)

// TestCommands sends every command to what knows it. A program that is not listed here is a fault: nothing would check it.
func TestCommands(t *testing.T) {
	erlmcp := filepath.Join(t.TempDir(), "erlmcp")
	if out, err := exec.Command("go", "build", "-o", erlmcp, root+"/function/cmd/erlmcp").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	makefile := read(t, "Makefile")
	var gcloud, used []string
	for _, c := range commands(t) {
		line := c.line
		for assignment.MatchString(line) {
			line = assignment.ReplaceAllString(line, "")
		}
		program, rest, _ := strings.Cut(line, " ")
		fault := func(format string, args ...any) {
			t.Errorf("%s: %s: %s", c.document, c.line, fmt.Sprintf(format, args...))
		}
		used = append(used, program)
		switch program {
		case "gcloud":
			gcloud = append(gcloud, line)
		case "make":
			for word := range strings.FieldsSeq(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(rest, "X")) {
				if name, _, ok := strings.Cut(word, "="); ok {
					if !strings.Contains(makefile, name) {
						fault("make has no variable %s", name)
					}
				} else if !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(word)+`:`).MatchString(makefile) && !strings.Contains(makefile, " "+word+":") {
					fault("make has no target %s", word)
				}
			}
		case "kubectl":
			kubectl(fault, line)
		case "erlmcp":
			operator(fault, erlmcp, line)
		case "docker":
			docker(t, fault, rest)
		case "curl":
			address(fault, line)
		case "terraform":
			words := strings.Fields(rest)
			if strings.HasPrefix(words[0], "-chdir=") {
				words = words[1:]
			}
			if out, _ := exec.Command("terraform", words[0], "-help").CombinedOutput(); !strings.Contains(string(out), "Usage: terraform") {
				fault("terraform has no such command")
			}
		case "git":
			if sub := strings.Fields(rest)[0]; !slices.Contains([]string{"tag", "push", "clone", "checkout"}, sub) {
				fault("git %s is not known here", sub)
			}
		case "go":
			goTool(fault, strings.Fields(rest))
		case "infra/release":
			if words := strings.Fields(rest); len(words) < 3 || !strings.Contains(words[1], "-docker.pkg.dev/") || !strings.HasPrefix(words[2], "erlmcp") {
				fault("a release has a name, an image and pipelines")
			}
		case "cp":
			if _, err := os.Stat(filepath.Join(root, strings.Fields(rest)[0])); err != nil {
				fault("%v", err)
			}
		case "export", "openssl", "ulimit", "ss", "claude", "npx", "-d": // of the machine, or a client's
		default:
			fault("nothing here knows %s", program)
		}
	}
	for _, p := range []string{"gcloud", "kubectl", "make", "erlmcp", "docker", "curl"} {
		if !slices.Contains(used, p) {
			t.Errorf("no %s among the commands: they are not found", p)
		}
	}
	lint(t, gcloud)
}

// goTool holds the arguments of the go command against the source: packages are there, and so are tests that are named. What follows
// the package of go run is the program's own.
func goTool(fault func(string, ...any), args []string) {
	if !slices.Contains([]string{"run", "test", "install"}, args[0]) {
		fault("go %s is not known here", args[0])
	}
	var folder, test string
	for i, arg := range args {
		if arg == "-run" {
			test = args[i+1]
		}
		if path, ok := strings.CutPrefix(arg, "./"); ok && folder == "" {
			folder = filepath.Join(root, strings.TrimSuffix(path, "..."))
		}
	}
	if _, err := os.Stat(folder); err != nil {
		fault("%v", err)
	}
	if test == "" {
		return
	}
	files, _ := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if !slices.ContainsFunc(files, func(file string) bool {
		text, _ := os.ReadFile(file)
		return strings.Contains(string(text), "\nfunc "+test+"(")
	}) {
		fault("%s has no test %s", folder, test)
	}
}

// kubectl parses a line in kubectl itself, with a cluster that is not there.
func kubectl(fault func(string, ...any), line string) {
	line = strings.ReplaceAll(line, " -f deployment", " deployment") // logs would wait
	cmd := exec.Command("timeout", "5", "bash", "-c", line+" --request-timeout=1s </dev/null")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "KUBECONFIG=/dev/null", "EDITOR=true")
	out, _ := cmd.CombinedOutput()
	for _, wrong := range []string{"unknown flag", "unknown shorthand", "unknown command", "invalid argument", "Usage:", "See 'kubectl", "not found"} {
		if strings.Contains(string(out), wrong) {
			fault("%s", out)
			return
		}
	}
}

// operator runs one of erlmcp's own commands where no fleet is: what it does not understand it says first.
func operator(fault func(string, ...any), binary, line string) {
	if strings.HasPrefix(line, "erlmcp probe http") {
		return // parsed by its own test
	}
	dir, err := os.MkdirTemp("", "docs")
	if err != nil {
		fault("%v", err)
		return
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("timeout", "10", "bash", "-c", strings.Replace(line, "erlmcp", binary, 1))
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "REDIS_URL=redis://127.0.0.1:1", "API_KEYS_FILE=keys.json"}
	out, err := cmd.CombinedOutput()
	if exit, ok := err.(*exec.ExitError); ok && exit.ExitCode() == 2 || strings.Contains(string(out), "flag provided but not defined") || strings.Contains(string(out), "unknown command") {
		fault("%s", out)
	}
}

var services = regexp.MustCompile(`\b(blue-\d|green-\d|taiea|balancer|redis|firestore|collector)\b`)

func docker(t *testing.T, fault func(string, ...any), rest string) {
	compose := read(t, "local/compose.yaml")
	switch sub := strings.Fields(rest)[0]; sub {
	case "run", "build":
	case "compose":
		if !strings.Contains(rest, "-f local/compose.yaml ") {
			fault("which file?")
		}
		for _, s := range services.FindAllString(rest, -1) {
			if !strings.Contains(compose, "\n  "+s+":\n") {
				fault("compose.yaml has no service %s", s)
			}
		}
	default:
		fault("docker %s is not known here", sub)
	}
}

var (
	place      = regexp.MustCompile(`https?://[^\s'"]+`)
	monitoring = regexp.MustCompile(`^https://monitoring\.googleapis\.com/v1/projects/[a-z-]+/location/global/prometheus/api/v1/query$`)
)

func address(fault func(string, ...any), line string) {
	u := place.FindString(line)
	if monitoring.MatchString(u) {
		return
	}
	at := strings.SplitN(u, "/", 4)
	if len(at) == 4 && controlled(at[3]) {
		return
	}
	if len(at) < 4 || !slices.Contains([]string{"mcp", "health", "ready", "metrics"}, strings.TrimRight(at[3], "`")) {
		fault("the server has nothing at %q", u)
	}
}

// controlled tells whether the control plane's document has the path.
var controlled = func() func(path string) bool {
	var document struct{ Paths map[string]any }
	text, err := os.ReadFile(root + "/function/internal/controlapi/openapi.json")
	if err == nil {
		err = json.Unmarshal(text, &document)
	}
	if err != nil {
		panic(err)
	}
	var paths []string
	for p := range document.Paths {
		paths = append(paths, regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(strings.TrimPrefix(p, "/"), `[^/?]+`))
	}
	return regexp.MustCompile(`^(` + strings.Join(paths, "|") + `)(\?|$)`).MatchString
}()

// lint parses lines in gcloud itself.
func lint(t *testing.T, lines []string) {
	t.Helper()
	tool := os.Getenv("GCLOUD_LINT")
	if tool == "" {
		t.Log("NOT TESTED: GCLOUD_LINT names no gcloud-lint")
		return
	}
	file := filepath.Join(t.TempDir(), "commands.md")
	if err := os.WriteFile(file, []byte("```sh\n"+strings.Join(lines, "\n")+"\n```\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), fmt.Sprintf(": %d gcloud commands, 0 bad", len(lines))) {
		t.Errorf("%d commands: %v\n%s", len(lines), err, out)
	}
}

func TestCloudBuild(t *testing.T) {
	tool := os.Getenv("CLOUDBUILD_CHECK")
	if tool == "" {
		t.Skip("NOT TESTED: CLOUDBUILD_CHECK names no cloudbuild-check")
	}
	for _, given := range []string{"_PIPELINES=erlmcp", "_BUCKET=my-project-erlmcp-releases,_IMAGE=us-central1-docker.pkg.dev/my-project/erlmcp/erlmcp,_PIPELINES=erlmcp erlmcp-taiea"} {
		if out, err := exec.Command(tool, "--substitutions="+given, root+"/cloudbuild.yaml").CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

var (
	links   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

func TestLinksLeadSomewhere(t *testing.T) {
	for _, d := range documents {
		for _, l := range links.FindAllStringSubmatch(read(t, d), -1) {
			to, anchor, _ := strings.Cut(l[1], "#")
			if strings.HasPrefix(to, "https://") {
				continue
			}
			target := d
			if to != "" {
				target = filepath.Join(filepath.Dir(d), to)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: %s: %v", d, l[1], err)
				continue
			}
			if anchor == "" {
				continue
			}
			var anchors []string
			for _, h := range heading.FindAllStringSubmatch(read(t, target), -1) {
				anchors = append(anchors, strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
			}
			if !slices.Contains(anchors, anchor) {
				t.Errorf("%s: %s: there is no such heading", d, l[1])
			}
		}
	}
}

// TestDocumentsSayWhomTheyAreFor wants that in the first paragraph, and the way to the erlmcp command before it is used.
func TestDocumentsSayWhomTheyAreFor(t *testing.T) {
	use := regexp.MustCompile("(?m)(^ *|`)erlmcp (help|tools|call|probe|keys|kill|limits|receipts|verify|new|settings|lint)\\b")
	for _, d := range written {
		text := read(t, d)
		parts := strings.SplitN(text, "\n\n", 3)
		if len(parts) < 3 || !strings.HasPrefix(parts[0], "# ") || !regexp.MustCompile(`\b(is|It is) for\b`).MatchString(parts[1]) {
			t.Errorf("%s does not begin with whom it is for: %q", d, parts[1])
		}
		got := regexp.MustCompile(`go install \./function/cmd/erlmcp|README\.md#the-erlmcp-command`).FindStringIndex(text)
		if first := use.FindStringIndex(text); first != nil && (got == nil || got[0] > first[0]) {
			t.Errorf("%s uses the erlmcp command, and does not say before how to get it: %q", d, text[first[0]:first[1]])
		}
	}
}

var (
	goBlocks = regexp.MustCompile("(?s)```go\n(.*?)```")
	imported = []string{"context", "errors", "fmt", "net/http", "testing", "time", "example.com/erlmcp/function", "example.com/erlmcp/function/ask",
		"example.com/erlmcp/function/functiontest"}
)

// TestGoCompiles compiles the Go of each document as a file of the package of tools. Lines that begin with a tab belong into the
// catalog: here they are parsed alone, and the checks of a fork put them there.
func TestGoCompiles(t *testing.T) {
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	dir := t.TempDir()
	for _, d := range documents {
		file, code := filepath.Join(dir, fmt.Sprintf("%d.go", len(overlay.Replace))), ""
		for _, b := range goBlocks.FindAllStringSubmatch(read(t, d), -1) {
			if !strings.HasPrefix(b[1], "\t") {
				code += b[1] + "\n"
			} else if _, err := parser.ParseExpr("function.Catalog{\n" + b[1] + "}"); err != nil {
				t.Errorf("%s: %v in\n%s", d, err, b[1])
			}
		}
		if code == "" {
			continue
		}
		if !strings.HasPrefix(code, "package ") {
			head := "package tools\n\n"
			for _, path := range imported {
				if regexp.MustCompile(`\b` + filepath.Base(path) + `\.`).MatchString(code) {
					head += fmt.Sprintf("import %q\n", path)
				}
			}
			code = head + "\n" + code
		}
		if err := os.WriteFile(file, []byte(code), 0o644); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(here, "function/tools", fmt.Sprintf("document%d_test.go", len(overlay.Replace)))] = file
	}
	if len(overlay.Replace) < 2 {
		t.Fatal("the documents have no Go")
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, text, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-overlay", list, "-run", "Remove", "./function/tools")
	cmd.Dir = here
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestNamedSourceIsThere wants every test and file of Go that a document names to be there.
func TestNamedSourceIsThere(t *testing.T) {
	var tests, files strings.Builder
	for _, folder := range []string{"function", "local"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") {
				return err
			}
			files.WriteString("/" + filepath.ToSlash(path) + "\n")
			text, err := os.ReadFile(path)
			for _, name := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
				tests.WriteString(name[1] + "\n")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range written {
		for _, name := range regexp.MustCompile("`(Test[A-Z]\\w+|[\\w/]+\\.go)`").FindAllStringSubmatch(read(t, d), -1) {
			made := name[1] == "function/tools/weather.go" // by the reader
			if !made && !strings.Contains(tests.String(), name[1]+"\n") && !strings.Contains(files.String(), "/"+name[1]+"\n") {
				t.Errorf("%s names %s, and there is none", d, name[1])
			}
		}
	}
}

func TestTheLogSaysSo(t *testing.T) {
	var source strings.Builder
	err := filepath.WalkDir(filepath.Join(root, "function"), func(path string, e os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			text, err := os.ReadFile(path)
			source.Write(text)
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// What troubleshooting says that the log says.
	for _, quote := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(read(t, "infra/docs/troubleshooting.md"), -1) {
		name, text, _ := strings.Cut(quote[1], ": ")
		if text == "" {
			text = name
		}
		if begin, _, _ := strings.Cut(text, ","); !strings.Contains(source.String(), begin) {
			t.Errorf("nothing says %q", quote[1])
		}
	}
}

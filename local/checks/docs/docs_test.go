// Package docs holds the documents against what they speak of: every command in them is parsed by the program that it calls, or
// by its own rules, every link leads somewhere, and what the log is said to say is said. Metrics are checked by observability.
package docs

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../../.."

var documents = append([]string{"README.md", "infra/README.md"}, append(under("infra/docs"), under("infra/docs/runbooks")...)...)

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
	inline  = regexp.MustCompile("`((?:gcloud|kubectl|make|docker|erlmcp|terraform|curl|openssl) [^`]+)`")
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
			if out, _ := exec.Command("terraform", strings.Fields(rest)[0], "-help").CombinedOutput(); !strings.Contains(string(out), "Usage: terraform") {
				fault("terraform has no such command")
			}
		case "git":
			if sub := strings.Fields(rest)[0]; !slices.Contains([]string{"tag", "push", "clone", "checkout"}, sub) {
				fault("git %s is not known here", sub)
			}
		case "go":
			if _, path, ok := strings.Cut(rest, "run ./"); ok {
				if _, err := os.Stat(filepath.Join(root, strings.Fields(path)[0])); err != nil {
					fault("%v", err)
				}
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
	text, err := os.ReadFile(root + "/function/internal/control/openapi.json")
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
	for _, given := range []string{"_PLATFORM=cloudrun", "_PLATFORM=gke,_CLUSTER=erlmcp-cluster,_LOCATION=us-central1"} {
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

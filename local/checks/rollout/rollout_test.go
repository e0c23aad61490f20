// Package rollout runs the steps of a release against a Cloud Run and a cluster that are played: what gets traffic when, and
// that whatever fails leaves the version before it serving.
package rollout

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

	"gopkg.in/yaml.v3"
)

const root = "../../.."

func TestMain(m *testing.M) {
	if name := os.Getenv("PLAYED"); name != "" {
		os.Exit(play(name, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// A world is what the played programs act on, in a file between their runs.
type world struct {
	Latest    string
	Traffic   map[string]int // revision to percent
	Tags      map[string]string
	Image     string
	Undone    bool
	Public    bool
	Log       []string
	ProbeFail int // the probe from which on probes fail, 0 for none
	Probes    int
	Errors    int // requests of the new revision that failed
	Stuck     bool
	Token     string
}

func (w *world) save() {
	text, _ := json.Marshal(w)
	os.WriteFile(os.Getenv("WORLD"), text, 0o644)
}

func load(file string) *world {
	w := new(world)
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, w)
	}
	if err != nil {
		panic(err)
	}
	return w
}

// play acts as gcloud, kubectl or the probe.
func play(name string, args []string) int {
	w := load(os.Getenv("WORLD"))
	defer w.save()
	line := name + " " + strings.Join(args, " ")
	flag := func(name string) string {
		if i := slices.Index(args, name); i >= 0 && i+1 < len(args) {
			return args[i+1]
		}
		return ""
	}
	if name != "probe" {
		w.Log = append(w.Log, quote(append([]string{name}, args...)))
	}
	switch {
	case name == "probe":
		w.Probes++
		w.Token = os.Getenv("PROBE_TOKEN")
		if w.ProbeFail > 0 && w.Probes >= w.ProbeFail {
			return 1
		}
	case strings.Contains(line, "services describe"):
		fmt.Println(w.describe(flag("--format")))
	case strings.Contains(line, "get-iam-policy"):
		if w.Public {
			fmt.Println(`{"bindings":[{"members":["allUsers"]}]}`)
		}
	case strings.Contains(line, "print-identity-token"):
		fmt.Println("token-for-" + flag("--audiences"))
	case strings.Contains(line, "run deploy"):
		if !slices.Contains(args, "--no-traffic") {
			w.Traffic = map[string]int{"new": 100}
		}
		w.Latest, w.Image = "new", flag("--image")
		w.Tags[flag("--tag")] = "new"
	case strings.Contains(line, "update-traffic"):
		w.Traffic = map[string]int{}
		if slices.Contains(args, "--to-latest") {
			w.Traffic[w.Latest] = 100
		}
		for part := range strings.SplitSeq(flag("--to-revisions"), ",") {
			if revision, percent, ok := strings.Cut(part, "="); ok {
				var n int
				fmt.Sscan(percent, &n)
				w.Traffic[revision] = n
			}
		}
	case strings.Contains(line, "logging read"):
		fmt.Print(strings.Repeat("entry\n", w.Errors))
	case strings.Contains(line, "set image"):
		w.Image, w.Latest = args[len(args)-1], "new"
	case strings.Contains(line, "rollout status"):
		if w.Stuck && !w.Undone {
			return 1
		}
	case strings.Contains(line, "rollout undo"):
		w.Undone = true
	case strings.Contains(line, "erlmcp version"):
		fmt.Println("0.7.1")
	case strings.Contains(line, "erlmcp probe"):
		w.Probes++
		if w.ProbeFail > 0 && w.Probes >= w.ProbeFail {
			return 1
		}
	}
	return 0
}

func (w *world) describe(format string) string {
	switch format {
	case "value(status.url)":
		return "https://erlmcp.example"
	case "value(status.latestCreatedRevisionName)":
		return w.Latest
	}
	var traffic []map[string]any
	for r, n := range w.Traffic {
		traffic = append(traffic, map[string]any{"revisionName": r, "percent": n})
	}
	for tag, r := range w.Tags {
		traffic = append(traffic, map[string]any{"revisionName": r, "tag": tag, "url": "https://" + tag + "---erlmcp.example"})
	}
	text, _ := json.Marshal(map[string]any{"status": map[string]any{"traffic": traffic}})
	return string(text)
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_./:=@%,+-]+$`)

func quote(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		if out[i] = a; !plain.MatchString(a) {
			out[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}

// A release runs the steps of cloudbuild.yaml from deploy on.
type release struct {
	t     *testing.T
	dir   string
	env   []string
	steps []string
}

func newRelease(t *testing.T, platform string, w world) *release {
	t.Helper()
	r := &release{t: t, dir: t.TempDir()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gcloud", "kubectl", "probe"} {
		os.WriteFile(filepath.Join(r.dir, name), []byte("#!/bin/sh\nPLAYED="+name+" exec "+self+" \"$@\"\n"), 0o755)
	}
	os.MkdirAll(filepath.Join(r.dir, "state"), 0o755)
	os.WriteFile(filepath.Join(r.dir, "state/image"), []byte("registry/erlmcp@sha256:abc\n"), 0o644)
	w.Traffic, w.Tags, w.Latest = map[string]int{"old": 100}, map[string]string{}, "old"
	text, _ := json.Marshal(w)
	os.WriteFile(filepath.Join(r.dir, "world"), text, 0o644)
	r.env = append(os.Environ(), "PATH="+r.dir+":"+os.Getenv("PATH"), "WORLD="+filepath.Join(r.dir, "world"), "STATE="+filepath.Join(r.dir, "state"),
		"PROBE="+filepath.Join(r.dir, "probe"), "PLATFORM="+platform, "PROJECT=my-project", "REGION=us-central1", "SERVICE=erlmcp", "TAG=v0.7.1",
		"CLUSTER=erlmcp-cluster", "LOCATION=us-central1", "BAKE=2", "EVERY=0.2", "RUN_AS=release@my-project.iam.gserviceaccount.com")
	var build struct {
		Steps []struct{ ID, Script string }
	}
	file, err := os.ReadFile(root + "/cloudbuild.yaml")
	if err == nil {
		err = yaml.Unmarshal(file, &build)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range build.Steps {
		if strings.HasPrefix(s.Script, "infra/rollout ") && s.ID != "build" {
			r.steps = append(r.steps, s.Script)
		}
	}
	if len(r.steps) != 5 {
		t.Fatalf("steps: %q", r.steps)
	}
	return r
}

func (r *release) run(script string) error {
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir, cmd.Env = root, r.env
	out, err := cmd.CombinedOutput()
	r.t.Logf("%s: %v\n%s", script, err, out)
	return err
}

func (r *release) world() *world { return load(filepath.Join(r.dir, "world")) }

func TestCloudRun(t *testing.T) {
	for _, c := range []struct {
		name   string
		world  world
		failed int // the step that must fail, -1 for none
	}{
		{"all well", world{}, -1},
		{"public", world{Public: true}, -1},
		{"does not serve", world{ProbeFail: 1}, 1},
		{"stops serving at 10 %", world{ProbeFail: 3}, 2},
		{"errors at 10 %", world{Errors: 6}, 2},
		{"few errors", world{Errors: 5}, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRelease(t, "cloudrun", c.world)
			var seen []map[string]int
			failed := -1
			for i, s := range r.steps {
				err := r.run(s)
				seen = append(seen, r.world().Traffic)
				if err != nil {
					failed = i
					break
				}
			}
			w := r.world()
			if failed != c.failed {
				t.Fatalf("step %d failed, want %d", failed, c.failed)
			}
			if failed >= 0 {
				if w.Traffic["old"] != 100 {
					t.Errorf("after the failure: %v", w.Traffic)
				}
				return
			}
			want := []map[string]int{{"old": 100}, {"old": 100}, {"old": 90, "new": 10}, {"old": 50, "new": 50}, {"new": 100}}
			if fmt.Sprint(seen) != fmt.Sprint(want) {
				t.Errorf("traffic: %v", seen)
			}
			if w.Image != "registry/erlmcp@sha256:abc" || w.Tags["v0-7-1"] != "new" {
				t.Errorf("%+v", w)
			}
			if wantToken := map[bool]string{false: "token-for-https://erlmcp.example"}[c.world.Public]; w.Token != wantToken {
				t.Errorf("the probe brought %q", w.Token)
			}
			// Back again by hand, to any revision.
			if err := r.run("infra/rollout rollback old"); err != nil || r.world().Traffic["old"] != 100 {
				t.Errorf("%v %v", err, r.world().Traffic)
			}
			lint(t, r.world().Log)
		})
	}
}

func TestGKE(t *testing.T) {
	for _, c := range []struct {
		name   string
		world  world
		failed int
	}{
		{"all well", world{}, -1},
		{"gets stuck", world{Stuck: true}, 0},
		{"does not serve", world{ProbeFail: 1}, 1},
		{"stops serving", world{ProbeFail: 3}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRelease(t, "gke", c.world)
			failed := -1
			for i, s := range r.steps {
				if r.run(s) != nil {
					failed = i
					break
				}
			}
			w := r.world()
			if failed != c.failed || w.Undone != (failed >= 0) || w.Image != "erlmcp=registry/erlmcp@sha256:abc" {
				t.Errorf("step %d failed, want %d; %+v", failed, c.failed, w)
			}
			lint(t, w.Log)
		})
	}
}

func TestWrongUse(t *testing.T) {
	r := newRelease(t, "cloudrun", world{})
	for script, status := range map[string]int{
		"infra/rollout": 2, "infra/rollout ship": 2, "infra/rollout smoke": 1, "infra/rollout shift 10": 1, "PLATFORM=moon infra/rollout deploy": 1, "TAG= infra/rollout deploy": 1,
	} {
		err := r.run(script)
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != status {
			t.Errorf("%s: %v, want status %d", script, err, status)
		}
	}
	if w := r.world(); w.Traffic["old"] != 100 {
		t.Errorf("%v", w.Traffic)
	}
}

// lint holds the gcloud commands that ran against gcloud's own parser, where there is one.
func lint(t *testing.T, lines []string) {
	t.Helper()
	tool := os.Getenv("GCLOUD_LINT")
	if tool == "" {
		t.Log("NOT TESTED: GCLOUD_LINT names no gcloud-lint")
		return
	}
	file := filepath.Join(t.TempDir(), "commands.md")
	os.WriteFile(file, []byte("```sh\n"+strings.Join(lines, "\n")+"\n```\n"), 0o644)
	out, err := exec.Command(tool, file).CombinedOutput()
	n := 0
	for _, l := range lines {
		if strings.HasPrefix(l, "gcloud ") {
			n++
		}
	}
	if err != nil || !strings.Contains(string(out), fmt.Sprintf(": %d gcloud commands, 0 bad", n)) {
		t.Errorf("%d commands: %v\n%s", n, err, out)
	}
}

// TestTimeout adds up what the steps may take.
func TestTimeout(t *testing.T) {
	var build struct {
		Timeout       string
		Substitutions map[string]string
		Steps         []struct{ ID string }
	}
	file, err := os.ReadFile(root + "/cloudbuild.yaml")
	if err == nil {
		err = yaml.Unmarshal(file, &build)
	}
	if err != nil {
		t.Fatal(err)
	}
	var seconds, bake int
	fmt.Sscan(strings.TrimSuffix(build.Timeout, "s"), &seconds)
	fmt.Sscan(build.Substitutions["_BAKE"], &bake)
	const longest, rest = 7200, 3600 // infra/cloudrun takes no longer bake
	if bake != 1800 || seconds < 2*longest+rest {
		t.Errorf("the build may take %d s, of which two bakes take up to %d and all else %d", seconds, 2*longest, rest)
	}
	var ids []string
	for _, s := range build.Steps {
		ids = append(ids, s.ID)
	}
	if want := "check test conformance build deploy smoke traffic-10 traffic-50 traffic-100"; strings.Join(ids, " ") != want {
		t.Errorf("steps %v, want %s", ids, want)
	}
}

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

// A service is one of the two functions, on Cloud Run or GKE.
type service struct {
	Latest  string
	Traffic map[string]int // revision to percent
	Tags    map[string]string
	Image   string
	Public  bool
	Stuck   bool
	Undone  bool
	Fails   bool // answers no probe of the control plane
	Version string
}

// A world is what the played programs act on, in a file between their runs.
type world struct {
	Data, Control service
	Log           []string
	ProbeFail     int // the probe from which on probes fail, 0 for none
	Probes        int
	Errors        int // requests of the new revision that failed
	Token         string
	Gone          bool // nothing is known of the control plane
}

// bake is long where the second probe of one must end it, which a slow machine may take a while to make.
func (w *world) bake(failed int) string {
	switch {
	case w.ProbeFail == 3:
		return "60"
	case failed == 5:
		return "0"
	}
	return "2"
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

// play acts as gcloud, kubectl, curl or the probe.
func play(name string, args []string) int {
	w := load(os.Getenv("WORLD"))
	defer w.save()
	line := name + " " + strings.Join(args, " ")
	s, host := &w.Data, "erlmcp.example"
	if slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, "taiea") }) {
		s, host = &w.Control, "taiea.example"
		if w.Gone {
			return 1
		}
	}
	flag := func(name string) string {
		if i := slices.Index(args, name); i >= 0 && i+1 < len(args) {
			return args[i+1]
		}
		return ""
	}
	if name != "probe" && name != "curl" {
		w.Log = append(w.Log, quote(append([]string{name}, args...)))
	}
	switch {
	case name == "probe":
		w.Probes++
		w.Token = os.Getenv("PROBE_TOKEN")
		if w.ProbeFail > 0 && w.Probes >= w.ProbeFail {
			return 1
		}
	case name == "curl":
		if s.Fails {
			return 22
		}
		w.Log = append(w.Log, "# "+line)
		fmt.Printf(`{"status":"up","version":%q}`, s.Version)
	case strings.Contains(line, "services describe"):
		fmt.Println(s.describe(host, flag("--format")))
	case strings.Contains(line, "get-iam-policy"):
		if s.Public {
			fmt.Println(`{"bindings":[{"members":["allUsers"]}]}`)
		}
	case strings.Contains(line, "print-identity-token"):
		fmt.Println("token-for-" + flag("--audiences"))
	case strings.Contains(line, "run deploy"):
		if !slices.Contains(args, "--no-traffic") {
			s.Traffic = map[string]int{"new": 100}
		}
		s.Latest, s.Image = "new", flag("--image")
		s.Tags[flag("--tag")] = "new"
	case strings.Contains(line, "update-traffic"):
		s.Traffic = map[string]int{}
		if slices.Contains(args, "--to-latest") {
			s.Traffic[s.Latest] = 100
		}
		for part := range strings.SplitSeq(flag("--to-revisions"), ",") {
			if revision, percent, ok := strings.Cut(part, "="); ok {
				var n int
				fmt.Sscan(percent, &n)
				s.Traffic[revision] = n
			}
		}
	case strings.Contains(line, "logging read"):
		fmt.Print(strings.Repeat("entry\n", w.Errors))
	case strings.Contains(line, "set image"):
		s.Image, s.Latest = args[len(args)-1], "new"
	case strings.Contains(line, "rollout status"):
		if s.Stuck && !s.Undone {
			return 1
		}
	case strings.Contains(line, "rollout undo"):
		s.Undone = true
	case strings.Contains(line, "erlmcp version"):
		fmt.Println(s.Version)
	case strings.Contains(line, "erlmcp probe"):
		if s == &w.Control {
			return map[bool]int{true: 1}[s.Fails]
		}
		w.Probes++
		if w.ProbeFail > 0 && w.Probes >= w.ProbeFail {
			return 1
		}
	}
	return 0
}

func (s *service) describe(host, format string) string {
	switch format {
	case "value(status.url)":
		return "https://" + host
	case "value(status.latestCreatedRevisionName)":
		return s.Latest
	}
	var traffic []map[string]any
	for r, n := range s.Traffic {
		traffic = append(traffic, map[string]any{"revisionName": r, "percent": n})
	}
	for tag, r := range s.Tags {
		traffic = append(traffic, map[string]any{"revisionName": r, "tag": tag, "url": "https://" + tag + "---" + host})
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
	for _, name := range []string{"gcloud", "kubectl", "curl", "probe"} {
		os.WriteFile(filepath.Join(r.dir, name), []byte("#!/bin/sh\nPLAYED="+name+" exec "+self+" \"$@\"\n"), 0o755)
	}
	os.MkdirAll(filepath.Join(r.dir, "state"), 0o755)
	os.WriteFile(filepath.Join(r.dir, "state/image"), []byte("registry/erlmcp@sha256:abc\n"), 0o644)
	for _, s := range []*service{&w.Data, &w.Control} {
		s.Traffic, s.Tags, s.Latest = map[string]int{"old": 100}, map[string]string{}, "old"
		if s.Version == "" {
			s.Version = "0.7.1"
		}
	}
	text, _ := json.Marshal(w)
	os.WriteFile(filepath.Join(r.dir, "world"), text, 0o644)
	r.env = append(os.Environ(), "PATH="+r.dir+":"+os.Getenv("PATH"), "WORLD="+filepath.Join(r.dir, "world"), "STATE="+filepath.Join(r.dir, "state"),
		"PROBE="+filepath.Join(r.dir, "probe"), "PLATFORM="+platform, "PROJECT=my-project", "REGION=us-central1", "SERVICE=erlmcp", "TAIEA="+map[string]string{"cloudrun": "erlmcp-taiea", "gke": "taiea"}[platform], "TAG=v0.7.1",
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
	if len(r.steps) != 6 {
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
		{"public", world{Data: service{Public: true}}, -1},
		{"a webhook", world{Control: service{Public: true}}, -1},
		{"does not serve", world{ProbeFail: 1}, 1},
		{"stops serving at 10 %", world{ProbeFail: 3}, 2},
		{"errors at 10 %", world{Errors: 6}, 2},
		{"few errors", world{Errors: 5}, -1},
		{"the control plane does not serve", world{Control: service{Fails: true}}, 5},
		{"the control plane has another version", world{Control: service{Version: "0.7.0"}}, 5},
		{"the control plane is not to be found", world{Gone: true}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRelease(t, "cloudrun", c.world)
			r.env = append(r.env, "BAKE="+c.world.bake(c.failed))
			var seen []map[string]int
			failed := -1
			for i, s := range r.steps {
				err := r.run(s)
				seen = append(seen, r.world().Data.Traffic)
				if i < 5 && r.world().Control.Image != "" {
					t.Errorf("the control plane is changed by %s", s)
				}
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
				if w.Data.Traffic["old"] != 100 || w.Control.Traffic["old"] != 100 {
					t.Errorf("after the failure: %v, %v", w.Data.Traffic, w.Control.Traffic)
				}
				return
			}
			want := []map[string]int{{"old": 100}, {"old": 100}, {"old": 90, "new": 10}, {"old": 50, "new": 50}, {"new": 100}, {"new": 100}}
			if fmt.Sprint(seen) != fmt.Sprint(want) {
				t.Errorf("traffic: %v", seen)
			}
			for _, s := range []service{w.Data, w.Control} {
				if s.Image != "registry/erlmcp@sha256:abc" || s.Tags["v0-7-1"] != "new" || s.Traffic["new"] != 100 {
					t.Errorf("%+v", s)
				}
			}
			if wantToken := map[bool]string{false: "token-for-https://erlmcp.example"}[c.world.Data.Public]; w.Token != wantToken {
				t.Errorf("the probe brought %q", w.Token)
			}
			if brought := strings.Contains(strings.Join(w.Log, "\n"), "Bearer token-for-https://taiea.example https://v0-7-1---taiea.example/ready"); brought == c.world.Control.Public {
				t.Errorf("the control plane's probe brought a token: %v", brought)
			}
			// Back again by hand, to any revision.
			if err := r.run("infra/rollout rollback old"); err != nil || r.world().Data.Traffic["old"] != 100 || r.world().Control.Traffic["old"] != 100 {
				t.Errorf("%v %v", err, r.world())
			}
			if err := r.run("infra/rollout rollback new newer"); err != nil || r.world().Data.Traffic["new"] != 100 || r.world().Control.Traffic["newer"] != 100 {
				t.Errorf("%v %v", err, r.world())
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
		{"gets stuck", world{Data: service{Stuck: true}}, 0},
		{"does not serve", world{ProbeFail: 1}, 1},
		{"stops serving", world{ProbeFail: 3}, 4},
		{"the control plane gets stuck", world{Control: service{Stuck: true}}, 5},
		{"the control plane does not serve", world{Control: service{Fails: true}}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRelease(t, "gke", c.world)
			r.env = append(r.env, "BAKE="+c.world.bake(c.failed))
			failed := -1
			for i, s := range r.steps {
				if r.run(s) != nil {
					failed = i
					break
				}
			}
			w := r.world()
			if failed != c.failed || w.Data.Undone != (failed >= 0) || w.Data.Image != "erlmcp=registry/erlmcp@sha256:abc" {
				t.Errorf("step %d failed, want %d; %+v", failed, c.failed, w)
			}
			if reached := failed == -1 || failed == 5; w.Control.Undone != (failed == 5) || (w.Control.Image == "taiea=registry/erlmcp@sha256:abc") != reached {
				t.Errorf("step %d failed, and the control plane is %+v", failed, w.Control)
			}
			if failed < 0 {
				if err := r.run("infra/rollout rollback 7"); err != nil || !r.world().Data.Undone || r.world().Control.Undone {
					t.Errorf("%v: to a revision of one: %+v", err, r.world())
				}
				if err := r.run("infra/rollout rollback"); err != nil || !r.world().Control.Undone {
					t.Errorf("%v: of both: %+v", err, r.world())
				}
			}
			lint(t, w.Log)
		})
	}
}

// TestAlone releases to an environment that has no control plane, or has the one of Cloud Run.
func TestAlone(t *testing.T) {
	for _, platform := range []string{"cloudrun", "gke"} {
		r := newRelease(t, platform, world{})
		r.env = append(r.env, "TAIEA=", "BAKE=0")
		for _, s := range r.steps {
			if err := r.run(s); err != nil {
				t.Fatalf("%s: %s: %v", platform, s, err)
			}
		}
		if w := r.world(); w.Data.Latest != "new" || w.Control.Latest != "old" || strings.Contains(strings.Join(w.Log, "\n"), "taiea") {
			t.Errorf("%s: %+v", platform, w)
		}
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
	if w := r.world(); w.Data.Traffic["old"] != 100 {
		t.Errorf("%v", w.Data.Traffic)
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
	if want := "check test conformance build deploy smoke traffic-10 traffic-50 traffic-100 taiea"; strings.Join(ids, " ") != want {
		t.Errorf("steps %v, want %s", ids, want)
	}
}

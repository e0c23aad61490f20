// Package rollout releases by the real gcloud to a Cloud Deploy that is played by its documentation, over the pipelines, rules and roles that
// the real provider plans: whatever is lost, refused or killed on the way, what served before serves, or what the judge has passed.
package rollout

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var schedules = flag.Int("schedules", 200, "how many schedules are drawn")

const (
	goodImage = "us-central1-docker.pkg.dev/my-project/erlmcp-staging/erlmcp@sha256:%064x"
	builds    = "erlmcp-staging-release@my-project.iam.gserviceaccount.com"
)

// A run is a cloud with gcloud before it.
type run struct {
	*testing.T
	cloud *cloud
	api   *api
	path  string // where gcloud is looked for first
}

func begin(t *testing.T, p *platform, seed uint64) *run {
	c := newCloud(p, seed)
	a := &api{cloud: c}
	srv := httptest.NewServer(a)
	a.url = srv.URL
	t.Cleanup(srv.Close)
	t.Cleanup(func() {
		if t.Failed() || testing.Verbose() {
			a.mu.Lock()
			defer a.mu.Unlock()
			t.Logf("seed %d:\n%s", seed, strings.Join(c.log, "\n"))
		}
	})
	return &run{t, c, a, ""}
}

// release runs infra/release as the account of builds, and kills it after so long, 0 for never.
func (r *run) release(name, image string, kill time.Duration, pipelines ...string) (string, error) {
	cmd := exec.Command("infra/release", append([]string{name, image}, pipelines...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "PROJECT="+project, "REGION="+region, "BUCKET="+r.cloud.bucket, "EVERY=0", "CLOUD="+r.api.url, "PATH="+r.path+":"+os.Getenv("PATH"),
		"CLOUDSDK_CONFIG="+filepath.Join(r.TempDir(), "gcloud"), "CLOUDSDK_AUTH_ACCESS_TOKEN="+builds, "CLOUDSDK_CORE_DISABLE_PROMPTS=1",
		"CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDDEPLOY="+r.api.url+"/", "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE="+r.api.url+"/storage/v1/")
	if kill == 0 {
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	timer := time.AfterFunc(kill, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // with all that it started
	defer timer.Stop()
	return "killed", cmd.Wait()
}

// settle lets time pass until nothing moves.
func (r *run) settle() {
	r.Helper()
	r.api.mu.Lock()
	defer r.api.mu.Unlock()
	for _, fault := range r.cloud.rest() {
		r.Error(fault)
	}
}

// TestTagged builds no image of a tag that the source does not have.
func TestTagged(t *testing.T) {
	cmd := exec.Command("make", "tagged", "TAG=v0.0.1-other", "IMAGE=us-central1-docker.pkg.dev/my-project/erlmcp/erlmcp")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "the tag is v0.0.1-other and the source says v") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestReleases(t *testing.T) {
	p := planned(t)
	all := []string{"erlmcp-staging", "erlmcp-staging-taiea", "erlmcp-staging-ops"} // data plane, control plane, and the job
	image := func(n int, bad bool) string {
		if bad {
			return fmt.Sprintf(strings.Replace(goodImage, "/erlmcp@", "/bad@", 1), n)
		}
		return fmt.Sprintf(goodImage, n)
	}
	_, missing := exec.LookPath("gcloud")
	// By the real gcloud: the first release of all pipelines, a bad one and a good one of the data plane, and each again.
	t.Run("one after the other", func(t *testing.T) {
		if missing != nil {
			t.Skip("NOT TESTED: there is no gcloud: https://cloud.google.com/sdk/docs/install")
		}
		r := begin(t, p, 1)
		if out, err := r.release("v0-1-0", image(1, false), 0, all...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		r.settle()
		r.serves(all[1], "v0-1-0")
		r.serves(all[2], "v0-1-0")
		for i, bad := range []bool{true, false} {
			name := fmt.Sprintf("v0-%d-0", i+2)
			if out, err := r.release(name, image(i, bad), 0, all[0]); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			r.settle()
			out, err := r.release(name, image(i, bad), 0, all[0])
			if bad != (err != nil) || bad && !strings.Contains(out, "has rolled "+name+" back") {
				t.Errorf("%s again: %v\n%s", name, err, out)
			}
			r.settle()
			r.serves(all[0], []string{"v0-1-0", name}[i])
		}
	})
	t.Run("what must hold can break", func(t *testing.T) {
		for what, broken := range map[string]func(p *platform, data *pipeline){
			"nobody judges": func(_ *platform, data *pipeline) {
				data.phases = slices.Clone(data.phases)
				data.phases[0].verify, data.phases[1].verify = false, false
			},
			"half at once": func(_ *platform, data *pipeline) {
				data.phases = slices.Clone(data.phases)
				data.phases[0].percent = 50
			},
			"nobody goes on":          func(_ *platform, data *pipeline) { data.advances = nil },
			"nobody goes back":        func(_ *platform, data *pipeline) { data.rollsBack = nil },
			"the judge has no token":  func(p *platform, _ *pipeline) { p.without("roles/iam.serviceAccountOpenIdTokenCreator") },
			"the judge sees nothing":  func(p *platform, _ *pipeline) { p.without("roles/monitoring.viewer") },
			"the canary has no tag":   func(_ *platform, data *pipeline) { data.tags = nil },
			"nobody may deploy":       func(p *platform, _ *pipeline) { p.without("roles/run.developer") },
			"nobody may go on":        func(p *platform, _ *pipeline) { p.without("roles/clouddeploy.operator") },
			"nobody may run as those": func(p *platform, _ *pipeline) { p.without("roles/iam.serviceAccountUser") },
		} {
			own := *p
			data := *p.pipelines[all[0]]
			own.pipelines = map[string]*pipeline{data.name: &data}
			broken(&own, &data)
			c, faults := newCloud(&own, 1), []string(nil)
			for i, version := range []string{"good", "bad", "better"} {
				rel := &release{name: version, pipeline: data.name, manifest: strings.Replace(p.files["config/"+data.name+"/service.yaml"], `"image": "erlmcp"`, `"image": "`+version+`"`, 1)}
				c.roll(rel, version, false)
				faults = append(faults, c.rest()...)
				if good := c.good[data.name]; i != 1 && good != rel {
					faults = append(faults, version+" does not serve")
				}
			}
			if len(faults) == 0 {
				t.Errorf("%s: nothing is wrong with that", what)
			}
		}
	})
	t.Run("builds deploy nothing", func(t *testing.T) {
		for _, service := range all {
			for _, permission := range []string{"run.services.update", "run.services.create", "run.jobs.update", "run.jobs.create", "iam.serviceAccounts.getOpenIdToken"} {
				if p.may(builds, permission, "service:"+service) || p.may(builds, permission, "job:"+service) {
					t.Errorf("%s has %s on %s", builds, permission, service)
				}
			}
		}
	})
	stand := t.TempDir()
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(stand, "gcloud"))
	}
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(*schedules) {
		t.Run(fmt.Sprintf("schedule %d", seed), func(t *testing.T) {
			t.Parallel()
			r := begin(t, p, seed+100)
			r.path = stand
			r.schedule(rand.New(rand.NewPCG(seed, 2)), all[:2], image) // the job goes the way of the control plane
		})
	}
}

func (r *run) serves(pipeline, release string) {
	r.Helper()
	if good := r.cloud.good[pipeline]; good == nil || good.name != release {
		r.Errorf("%s: %+v serves, want %s", pipeline, good, release)
	}
}

// schedule draws releases, good and bad, some at once, over a platform that refuses and loses, and kills what hands them over.
func (r *run) schedule(draw *rand.Rand, all []string, image func(int, bool) string) {
	if out, err := r.release("v0-0-0", image(0, false), 0, all...); err != nil {
		r.Fatalf("%v\n%s", err, out)
	}
	r.settle()
	r.cloud.faulty = 0.15
	bads := map[string]bool{}
	for i := 1; i <= 4; i++ {
		name, bad := fmt.Sprintf("v0-%d-0", i), draw.IntN(3) == 0
		bads[name] = bad
		var kill time.Duration
		if draw.IntN(2) == 0 {
			kill = time.Duration(1+draw.IntN(300)) * time.Millisecond
		}
		_, err := r.release(name, image(i, bad), kill, all...)
		if draw.IntN(2) == 0 {
			r.settle()
		}
		for try := 0; err != nil && try < 10; try++ { // who was killed or refused comes again
			var out string
			if out, err = r.release(name, image(i, bad), 0, all...); strings.Contains(out, "has rolled "+name+" back") {
				err = nil // it is told so, and that is the end of it
			}
		}
		if err != nil {
			r.Fatalf("%s is not handed over: %v", name, err)
		}
	}
	r.cloud.faulty = 0
	r.settle()
	for _, pipeline := range all {
		for name, rel := range r.cloud.releases[pipeline] {
			if len(rel.rollouts) == 0 && !bads[name] {
				r.Errorf("%s: %s was never rolled out, and nobody was told", pipeline, name)
			}
		}
		if good := r.cloud.good[pipeline]; good == nil || bads[good.name] {
			r.Errorf("%s: %+v serves", pipeline, good)
		}
	}
}

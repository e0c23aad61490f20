package rollout

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// A service is one of the two functions on Cloud Run, or a job, which is as a service that has all traffic at once.
type service struct {
	template  string         // its manifest, as it was applied last
	revisions []string       // by what they run: the manifest
	traffic   map[string]int // percent by revision's manifest
	tags      map[string]string
}

// A release is what gcloud has made of one.
type release struct {
	name     string
	pipeline string
	manifest string
	fault    string // why it can't be rendered
	rollouts []*rollout
}

// A rollout brings a release to where its pipeline ends, phase by phase.
type rollout struct {
	name     string
	release  *release
	state    string // PENDING, IN_PROGRESS, SUCCEEDED or FAILED
	phase    int
	job      string // deploy or verify
	tries    int    // of the job
	repaired bool   // what was to be done after its failure has been done
	phases   []phase
}

// A cloud is Cloud Run and Cloud Deploy, as their documentation says that they behave:
// https://cloud.google.com/deploy/docs/deployment-strategies/canary/cloud-run and …/docs/automation-rules. Time passes in steps.
type cloud struct {
	*platform
	rand     *rand.Rand
	services map[string]*service
	releases map[string]map[string]*release // by pipeline and name
	order    []*rollout
	good     map[string]*release // that has been rolled out last, by pipeline
	objects  map[string]string
	deploy   string // the account that runs jobs
	faulty   float64
	log      []string
	passed   map[string]bool // manifests that a judge has passed at each phase, or that were the first
}

func newCloud(p *platform, seed uint64) *cloud {
	c := &cloud{platform: p, rand: rand.New(rand.NewPCG(seed, 1)), services: map[string]*service{}, releases: map[string]map[string]*release{}, good: map[string]*release{},
		objects: maps.Clone(p.files), passed: map[string]bool{}}
	for name, line := range p.pipelines {
		hello := "image: hello"
		c.services[name] = &service{template: hello, revisions: []string{hello}, traffic: map[string]int{hello: 100}, tags: map[string]string{}}
		c.releases[name] = map[string]*release{}
		c.deploy = line.account
		c.passed[hello] = true
	}
	return c
}

func (c *cloud) say(format string, args ...any) { c.log = append(c.log, fmt.Sprintf(format, args...)) }

// render makes the manifest of a release of what gcloud has uploaded, as skaffold does: images are replaced by name.
func (c *cloud) render(r *release, source, image string) {
	files, err := unpack(c.objects[source])
	if err != nil {
		r.fault = err.Error()
		return
	}
	var config struct {
		APIVersion string `yaml:"apiVersion"`
		Manifests  struct {
			RawYaml []string `yaml:"rawYaml"`
		}
		Deploy map[string]any
		Verify []struct{ Container struct{ Image string } }
	}
	if err := yaml.Unmarshal([]byte(files["skaffold.yaml"]), &config); err != nil || config.Deploy["cloudrun"] == nil || len(config.Manifests.RawYaml) != 1 {
		r.fault = fmt.Sprintf("skaffold.yaml: %v %+v", err, config)
		return
	}
	manifest := files[config.Manifests.RawYaml[0]]
	judges := 0
	for _, v := range config.Verify {
		if judges++; v.Container.Image != "erlmcp" {
			r.fault = "the judge is of another image"
			return
		}
	}
	if !strings.Contains(manifest, `"image": "erlmcp"`) || judges == 1 != c.pipelines[r.pipeline].judged() {
		r.fault = fmt.Sprintf("the manifest is of another image, or there are %d judges", judges)
		return
	}
	r.manifest = strings.Replace(manifest, `"image": "erlmcp"`, fmt.Sprintf("%q: %q", "image", image), 1)
}

func unpack(archive string) (map[string]string, error) {
	zipped, err := gzip.NewReader(strings.NewReader(archive))
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for r := tar.NewReader(zipped); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		var content bytes.Buffer
		if _, err := io.Copy(&content, r); err != nil {
			return nil, err
		}
		files[path.Clean(h.Name)] = content.String()
	}
}

// roll begins a rollout of a release. The first of a target skips the canary, and so does a way back.
func (c *cloud) roll(r *release, name string, back bool) *rollout {
	line := c.pipelines[r.pipeline]
	phases := line.phases
	if len(phases) == 0 {
		phases = []phase{{"stable", 100, line.standard}}
	} else if back || c.good[r.pipeline] == nil {
		phases = phases[len(phases)-1:]
	}
	o := &rollout{name: name, release: r, state: "PENDING", job: "deploy", phases: phases}
	r.rollouts = append(r.rollouts, o)
	c.order = append(c.order, o)
	c.say("%s of %s", o.name, r.pipeline)
	return o
}

// step lets each pipeline do the next thing that there is to do, and tells whether there was any.
func (c *cloud) step() (moved bool) {
	for _, name := range slices.Sorted(maps.Keys(c.pipelines)) {
		if c.advance(c.pipelines[name]) {
			moved = true
		}
	}
	return moved
}

func (c *cloud) advance(line *pipeline) bool {
	var mine []*rollout
	for _, o := range c.order {
		if o.release.pipeline == line.name {
			mine = append(mine, o)
		}
	}
	for _, o := range mine { // one at a time
		if o.state == "IN_PROGRESS" {
			return c.work(line, o)
		}
	}
	for _, o := range mine {
		if o.state == "FAILED" && !o.repaired {
			o.repaired = true
			if c.repair(line, o) {
				return true
			}
		}
	}
	for _, o := range mine {
		if o.state == "PENDING" {
			o.state = "IN_PROGRESS"
			return true
		}
	}
	return false
}

// work does a rollout's next job.
func (c *cloud) work(line *pipeline, o *rollout) bool {
	p := o.phases[o.phase]
	if fault := c.job(line, o, p); fault != "" {
		c.say("%s %s %s: %s", o.name, p.id, o.job, fault)
		if o.tries++; o.tries > line.retries[o.job] {
			o.state = "FAILED"
		}
		return true
	}
	o.tries = 0
	if o.job == "deploy" && p.verify {
		o.job = "verify"
		return true
	}
	if o.phase == len(o.phases)-1 {
		o.state = "SUCCEEDED"
		c.good[line.name] = o.release
		return true
	}
	if !slices.Contains(line.advances, p.id) {
		c.say("%s waits for a person after %s", o.name, p.id)
		o.state = "STUCK"
		return false
	}
	if !c.may(line.account, "clouddeploy.rollouts.advance", "pipeline:"+line.name) {
		c.say("%s may not advance", line.account)
		o.state = "STUCK"
		return false
	}
	o.phase++
	o.job = "deploy"
	return true
}

// job deploys or judges, as the account that does, and returns what went wrong.
func (c *cloud) job(line *pipeline, o *rollout, p phase) string {
	needs := func(permission, on string) string {
		if c.may(c.deploy, permission, on) {
			return ""
		}
		return c.deploy + " lacks " + permission + " on " + on
	}
	type template struct {
		Spec struct {
			Account  string   `yaml:"serviceAccountName"`
			Template struct { // of a job
				Spec struct {
					Account string `yaml:"serviceAccountName"`
				}
			}
		}
	}
	var runsAs struct {
		Kind string
		Spec struct{ Template template }
	}
	if err := yaml.Unmarshal([]byte(o.release.manifest), &runsAs); err != nil {
		return err.Error()
	}
	lacks := needs("storage.objects.get", "bucket:"+c.bucket) + needs("logging.logEntries.create", "")
	if o.job == "verify" {
		lacks += needs("iam.serviceAccounts.getOpenIdToken", "account:"+c.deploy) + needs("run.routes.invoke", "service:"+line.name) + needs("monitoring.timeSeries.list", "") +
			needs("artifactregistry.repositories.downloadArtifacts", "repository:erlmcp-staging")
		if len(line.phases) > 0 { // the judge finds the canary by its tag
			lacks += needs("run.services.get", "service:"+line.name)
			if c.services[line.name].tags["canary"] != o.release.manifest {
				lacks += "no revision has the tag canary"
			}
			if args := c.files["config/"+line.name+"/skaffold.yaml"]; !strings.Contains(args, `"-service=projects/`+project+"/locations/"+region+"/services/"+line.name+`"`) {
				lacks += "the judge is not told of the service: " + args
			}
		}
		switch {
		case lacks != "":
			return lacks
		case strings.Contains(o.release.manifest, "bad"):
			return "the judge says no"
		}
		if o.phase == len(o.phases)-2 {
			c.passed[o.release.manifest] = true
		}
		return ""
	}
	kind, spec := strings.ToLower(runsAs.Kind), runsAs.Spec.Template.Spec
	lacks += needs("run."+kind+"s.get", kind+":"+line.name) + needs("run."+kind+"s.update", kind+":"+line.name) +
		needs("iam.serviceAccounts.actAs", "account:"+spec.Account+spec.Template.Spec.Account)
	switch {
	case o.release.fault != "":
		return o.release.fault
	case lacks != "":
		return lacks
	case c.rand.Float64() < c.faulty:
		return "409: Conflict for resource"
	}
	s := c.services[line.name]
	s.template = o.release.manifest
	s.revisions = append(s.revisions, s.template)
	s.tags = map[string]string{}
	if before := c.good[line.name]; before != nil && p.percent < 100 {
		s.traffic = map[string]int{before.manifest: 100 - p.percent}
		s.traffic[s.template] += p.percent
		for _, tag := range line.tags {
			s.tags[tag] = s.template
		}
	} else {
		s.traffic = map[string]int{s.template: 100}
		if before == nil { // there is nothing to compare the first with
			c.passed[s.template] = true
		}
	}
	return ""
}

// repair does after a failure what the pipeline's automation says.
func (c *cloud) repair(line *pipeline, o *rollout) bool {
	before := c.good[line.name]
	switch {
	case !line.rollsBack[o.job] || before == nil:
		c.say("nothing is rolled back after %s", o.name)
		return false
	case !c.may(line.account, "clouddeploy.rollouts.rollback", "pipeline:"+line.name) || !c.may(line.account, "clouddeploy.rollouts.create", "pipeline:"+line.name):
		c.say("%s may not roll back", line.account)
		return false
	}
	c.roll(before, fmt.Sprintf("%s-rollback-%d", before.name, len(c.order)), true)
	return true
}

// rest lets time pass until nothing moves, and returns what was wrong at any moment, or is then.
func (c *cloud) rest() (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for n := 0; c.step(); n++ {
		faults = append(faults, c.now()...)
		if n == 1000 {
			fault("it never comes to rest")
			return faults
		}
	}
	for name, s := range c.services {
		good := c.good[name]
		if good == nil {
			continue
		}
		if s.template != good.manifest {
			fault("%s: the template is not what serves", name)
		}
		if len(s.traffic) != 1 || s.traffic[good.manifest] != 100 {
			fault("%s: the release that passed has %d %% of the traffic", name, s.traffic[good.manifest])
		}
		if len(s.tags) > 0 {
			fault("%s: the tags %v stay", name, s.tags)
		}
	}
	return faults
}

// now is what is wrong at a moment: all traffic must go somewhere, and what was not passed must have little of it.
func (c *cloud) now() (faults []string) {
	for name, s := range c.services {
		all, gradual := 0, len(c.pipelines[name].phases) > 0
		for manifest, percent := range s.traffic {
			all += percent
			if strings.Contains(manifest, "bad") && gradual && c.good[name] != nil && percent > 10 {
				faults = append(faults, fmt.Sprintf("%s: a bad version has %d %%", name, percent))
			}
			if gradual && percent == 100 && !c.passed[manifest] {
				faults = append(faults, name+": what nobody passed has all traffic")
			}
		}
		if all != 100 {
			faults = append(faults, fmt.Sprintf("%s: %d %% of the traffic goes somewhere", name, all))
		}
	}
	return faults
}

package kubernetes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// A delivery plays Cloud Deploy's canary on GKE over the real API server, as its documentation says that it goes:
// https://cloud.google.com/deploy/docs/deployment-strategies/canary/gke/gateway-api. The steps, the rules of the automation and the judge's
// command line are what the real provider plans.
type delivery struct {
	*testing.T
	phases      []phase
	advances    []string // phases that are followed by the next without a person
	rollsBack   bool     // after a verdict
	deployment  string
	service     string
	route       string
	overlay     string   // what is rendered
	judge       []string // its command line
	environment string   // the folder of the files that a release brings
	account     string   // as which it all runs

	good   *release // that was rolled out last
	judged map[string]int
	looks  []string // at the cluster, in each phase
	verify func(d *delivery) (pass bool)
}

type phase struct {
	ID         string `json:"phase_id"`
	Percentage int
	Verify     bool
}

// A release is what is rendered of one image and its settings.
type release struct {
	image   string
	objects []object
}

type object map[string]any

func (o object) kind() string { return fmt.Sprint(o["kind"]) }
func (o object) name() string { return fmt.Sprint(o.at("metadata")["name"]) }

// at returns a member below members, which are made where they are not there.
func (o object) at(path ...string) map[string]any {
	m := map[string]any(o)
	for _, p := range path {
		next, ok := m[p].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[p] = next
		}
		m = next
	}
	return m
}

func (o object) clone(t *testing.T) object {
	var out map[string]any // of no name of ours, as what is in it
	text, err := yaml.Marshal(map[string]any(o))
	if err == nil {
		err = yaml.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// planned reads what the real provider plans; local/checks/infra writes it.
func planned(t *testing.T) *delivery {
	t.Helper()
	text, err := os.ReadFile("testdata/staging/delivery.json")
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Canary struct {
			Custom []struct {
				Phases []phase `json:"phase_configs"`
			} `json:"custom_canary_deployment"`
			Runtime []struct {
				Kubernetes []struct {
					Mesh []struct {
						Deployment, Service string
						Route               string `json:"http_route"`
					} `json:"gateway_service_mesh"`
				}
			} `json:"runtime_config"`
		}
		Rules []struct {
			Advance []struct {
				Phases []string `json:"source_phases"`
			} `json:"advance_rollout_rule"`
			Repair []struct {
				Jobs   []string
				Phases []struct{ Rollback []struct{} } `json:"repair_phases"`
			} `json:"repair_rollout_rule"`
		}
		Skaffold struct {
			Manifests struct{ Kustomize struct{ Paths []string } }
			Verify    []struct {
				Container struct {
					Image string
					Args  []string
				}
			}
		}
	}
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Skaffold.Manifests.Kustomize.Paths) != 1 || len(p.Skaffold.Verify) != 1 || p.Skaffold.Verify[0].Container.Image != "erlmcp" {
		t.Fatalf("skaffold.yaml: %+v", p.Skaffold)
	}
	mesh := p.Canary.Runtime[0].Kubernetes[0].Mesh[0]
	d := &delivery{T: t, phases: p.Canary.Custom[0].Phases, deployment: mesh.Deployment, service: mesh.Service, route: mesh.Route,
		overlay: p.Skaffold.Manifests.Kustomize.Paths[0], account: deployer(t), judge: p.Skaffold.Verify[0].Container.Args, judged: map[string]int{}}
	for _, r := range p.Rules {
		for _, a := range r.Advance {
			d.advances = append(d.advances, a.Phases...)
		}
		for _, repair := range r.Repair {
			for _, then := range repair.Phases {
				d.rollsBack = d.rollsBack || strings.Join(repair.Jobs, " ") == "verify" && len(then.Rollback) > 0
			}
		}
	}
	return d
}

// release renders what a release brings, as skaffold does: by kustomize, with the image by digest.
func (d *delivery) release(image, setting, value string) *release {
	d.Helper()
	at := filepath.Join(d.TempDir(), "release")
	if err := os.CopyFS(at, os.DirFS(d.environment)); err != nil {
		d.Fatal(err)
	}
	if setting != "" {
		file := filepath.Join(at, d.overlay, "kustomization.yaml")
		text, err := os.ReadFile(file)
		changed := bytes.Replace(text, []byte(setting), []byte(value), 1)
		if err != nil || bytes.Equal(changed, text) {
			d.Fatalf("the environment has no %s (%v)", setting, err)
		}
		if err := os.WriteFile(file, changed, 0o644); err != nil {
			d.Fatal(err)
		}
	}
	r := &release{image: image}
	decoder := yaml.NewDecoder(strings.NewReader(strings.ReplaceAll(must(d.T, "kustomize", filepath.Join(at, d.overlay)), "image: erlmcp\n", "image: "+image+"\n")))
	for {
		var o map[string]any
		if err := decoder.Decode(&o); err != nil {
			break
		}
		r.objects = append(r.objects, o)
	}
	if len(r.objects) < 10 {
		d.Fatalf("%d objects", len(r.objects))
	}
	return r
}

const (
	suffix = "-canary"
	// Cloud Deploy has labels of its own by which the pods of both versions are told apart.
	track = "deploy.cloud.google.com/track"
)

// selects has an object select, or have, the pods of one version.
func selects(o object, version string) object {
	if o.kind() == "Service" {
		o.at("spec", "selector")[track] = version
		return o
	}
	o.at("spec", "selector", "matchLabels")[track] = version
	o.at("spec", "template", "metadata", "labels")[track] = version
	return o
}

// canary are the objects of a phase in which not all have the new version: copies of what runs it, and the route with its weights last.
// The original Deployment and Service are left as they are.
func (d *delivery) canary(r *release, percent int) (out, route []object) {
	copied := map[string]bool{}
	for _, o := range r.objects {
		copied[o.name()] = copied[o.name()] || o.kind() == "ConfigMap" || o.kind() == "Secret"
	}
	renamed := func(o object) object {
		c := o.clone(d.T)
		c.at("metadata")["name"] = o.name() + suffix
		return c
	}
	for _, o := range r.objects {
		switch {
		case o.kind() == "Deployment" && o.name() == d.deployment:
			c := selects(renamed(o), "canary")
			refer(c.at("spec", "template", "spec"), copied)
			out = append(out, c)
		case o.kind() == "Service" && o.name() == d.service:
			out = append(out, selects(renamed(o), "canary"))
		case o.kind() == "ConfigMap" || o.kind() == "Secret":
			out = append(out, o, renamed(o))
		case o.kind() == "HorizontalPodAutoscaler" && o.at("spec", "scaleTargetRef")["name"] == d.deployment:
			c := renamed(o)
			c.at("spec", "scaleTargetRef")["name"] = d.deployment + suffix
			out = append(out, c)
		case o.kind() == "HTTPRoute" && o.name() == d.route:
			c := o.clone(d.T)
			for _, rule := range c.at("spec")["rules"].([]any) {
				var backends []any
				for _, b := range object(rule.(map[string]any))["backendRefs"].([]any) {
					old := object(b.(map[string]any))
					if old["name"] != d.service {
						backends = append(backends, b)
						continue
					}
					young := old.clone(d.T)
					young["name"] = d.service + suffix
					old["weight"], young["weight"] = 100-percent, percent
					backends = append(backends, map[string]any(old), map[string]any(young))
				}
				rule.(map[string]any)["backendRefs"] = backends
			}
			route = append(route, c)
		default:
			out = append(out, o)
		}
	}
	return out, route
}

// refer has references to objects that were copied refer to the copies.
func refer(in any, copied map[string]bool) {
	switch in := in.(type) {
	case map[string]any:
		for key, v := range in {
			ref, ok := v.(map[string]any)
			if ok && (key == "configMapRef" || key == "configMapKeyRef" || key == "configMap" || key == "secretRef" || key == "secretKeyRef") && copied[fmt.Sprint(ref["name"])] {
				ref["name"] = fmt.Sprint(ref["name"]) + suffix
			}
			refer(v, copied)
		}
	case []any:
		for _, v := range in {
			refer(v, copied)
		}
	}
}

// stable are the objects of the last phase: those that the release brings.
func (d *delivery) stable(r *release) (out, route []object) {
	for _, o := range r.objects {
		switch {
		case o.kind() == "HTTPRoute" && o.name() == d.route:
			route = append(route, o)
		case o.kind() == "Deployment" && o.name() == d.deployment, o.kind() == "Service" && o.name() == d.service:
			out = append(out, selects(o.clone(d.T), "stable"))
		default:
			out = append(out, o)
		}
	}
	return out, route
}

func (d *delivery) apply(objects []object) {
	d.Helper()
	var text bytes.Buffer
	for _, o := range objects {
		one, err := yaml.Marshal(map[string]any(o))
		if err != nil {
			d.Fatal(err)
		}
		fmt.Fprintf(&text, "---\n%s", one)
	}
	d.kubectl("apply", "--validate=strict", "-f", fileOf(d.T, text.String()))
}

// kubectl runs with the rights of the account of releases, which the API server holds it to.
func (d *delivery) kubectl(args ...string) string {
	d.Helper()
	return must(d.T, append([]string{"--as", d.account}, args...)...)
}

// roll rolls a release out, or back, and tells whether it serves in the end. After each phase it looks at the cluster, whether all is as it
// must be then.
func (d *delivery) roll(r *release, back bool) bool {
	d.Helper()
	phases := d.phases
	if back || d.good == nil { // the first one has nothing to be compared with
		phases = phases[len(phases)-1:]
	}
	for _, p := range phases {
		last := p.Percentage == 100
		if last {
			objects, route := d.stable(r)
			d.apply(objects)
			d.kubectl("rollout", "status", "deployment/"+d.deployment, "--timeout", "90s")
			d.apply(route)
			if d.kubectl("get", "deployment", d.deployment+suffix, "--ignore-not-found", "-o", "name") != "" {
				d.kubectl("scale", "deployment/"+d.deployment+suffix, "--replicas", "0")
			}
			d.good = r
		} else {
			objects, route := d.canary(r, p.Percentage)
			d.apply(objects)
			d.kubectl("rollout", "status", "deployment/"+d.deployment+suffix, "--timeout", "90s")
			d.apply(route)
		}
		d.look(r, p.Percentage)
		if p.Verify && !d.verify(d) {
			if d.rollsBack {
				d.roll(d.good, true)
			}
			return false
		}
		if p.Verify {
			d.judged[r.image] = p.Percentage
		}
		if !last && !strings.Contains(" "+strings.Join(d.advances, " ")+" ", " "+p.ID+" ") {
			d.Errorf("%s waits for a person after %s", r.image, p.ID)
			return false
		}
	}
	return true
}

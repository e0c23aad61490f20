package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestReleases rolls releases out, good ones and a bad one, over the pods of the real API server. The judge is the real one, with the
// command line that is planned, over metrics of the pods that there are.
func TestReleases(t *testing.T) {
	d := planned(t)
	d.environment = environment(t, d.overlay)
	must(t, "delete", "deployments,services,httproutes,horizontalpodautoscalers", "--all") // as in a new cluster
	erlmcp := filepath.Join(t.TempDir(), "erlmcp")
	if out, err := exec.Command("go", "build", "-o", erlmcp, "example.com/erlmcp/function/cmd/erlmcp").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var exits []int
	d.verify = func(d *delivery) bool {
		srv := httptest.NewServer(&metrics{pods: d.pods(), job: d.job()})
		defer srv.Close()
		cmd := exec.Command(erlmcp, append(slices.Clone(d.judge), "-prometheus="+srv.URL, "-bake=3s", "-every=150ms", "-undecided=undecided")...)
		cmd.Env = append(os.Environ(), "PROMETHEUS_TOKEN=")
		out, err := cmd.CombinedOutput()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			d.Fatalf("%v\n%s", err, out)
		}
		exits = append(exits, cmd.ProcessState.ExitCode())
		d.Logf("the judge exits with %d: %s", cmd.ProcessState.ExitCode(), out)
		return cmd.ProcessState.ExitCode() == 0
	}
	image := func(n int, word string) string {
		return fmt.Sprintf("us-central1-docker.pkg.dev/my-project/erlmcp/%s@sha256:%064x", word, n)
	}
	first := d.release(image(1, "erlmcp"), "", "")
	second := d.release(image(2, "erlmcp"), "UNKNOWN_TENANTS=allow", "UNKNOWN_TENANTS=deny")
	bad := d.release(image(3, "bad"), "FIRESTORE_DATABASE=erlmcp-staging", "FIRESTORE_DATABASE=other")
	fourth := d.release(image(4, "erlmcp"), "UNKNOWN_TENANTS=allow", "UNKNOWN_TENANTS=deny")
	for i, r := range []*release{first, second, bad, fourth} {
		if got := d.roll(r, false); got != (r != bad) {
			t.Fatalf("release %d serves: %t", i+1, got)
		}
		d.look(d.good, 100)
	}
	if want := []int{0, 0, 1, 0, 0}; !slices.Equal(exits, want) { // 10 and 50 %, 10 %, and 10 and 50 %
		t.Errorf("the judge exited with %v, want %v", exits, want)
	}

	t.Run("undo", func(t *testing.T) {
		undone := *d
		undone.T = t
		for _, c := range []struct {
			args []string
			to   *release
		}{{nil, second}, {[]string{"--to-revision=1"}, first}} {
			undone.kubectl(append([]string{"rollout", "undo", "deployment/" + d.deployment}, c.args...)...)
			undone.kubectl("rollout", "status", "deployment/"+d.deployment, "--timeout", "90s")
			undone.good = c.to
			undone.look(c.to, 100)
		}
		undone.roll(fourth, true) // what Cloud Deploy brings next holds again
	})
	t.Run("rights", func(t *testing.T) { d.rights(t, first) })
	t.Run("what must hold can break", func(t *testing.T) {
		alone, whole, half := d.looks[0], d.looks[2], d.looks[3] // of the second a tenth, and a half
		if f := d.faults(whole, second, first, 10); len(f) > 0 {
			t.Fatalf("as it was: %q", f)
		}
		for what, c := range map[string]struct{ old, new string }{
			"too much at once":                 {`"weight": 10`, `"weight": 60`},
			"nobody checks the pods' health":   {`"kind": "HealthCheckPolicy"`, `"kind": "Other"`},
			"streams are cut":                  {`"kind": "GCPBackendPolicy"`, `"kind": "Other"`},
			"the judge does not find a canary": {`"name": "erlmcp-canary-`, `"name": "erlmcp-young-`},
			"the judge asks for another job":   {`"NAME": "erlmcp-staging-gke"`, `"NAME": "erlmcp-staging"`},
			"the original is changed":          {first.image, second.image},
			"settings are not there":           {`"kind": "ConfigMap"`, `"kind": "Other"`},
			"pods are not ready":               {`"ready": true`, `"ready": false`},
			"few pods are left":                {`"availableReplicas": 3`, `"availableReplicas": 2`},
		} {
			if broken := strings.ReplaceAll(whole, c.old, c.new); broken == whole {
				t.Errorf("%s: there is no %s", what, c.old)
			} else if len(d.faults(broken, second, first, 10)) == 0 {
				t.Errorf("%s: nothing is wrong with that", what)
			}
		}
		hasty := *d
		hasty.judged = map[string]int{}
		for what, faults := range map[string][]string{
			"a half, and nobody has judged":  hasty.faults(half, second, first, 50),
			"it is not rolled back":          d.faults(whole, first, first, 100),
			"it is rolled back, and is gone": d.faults(alone, second, first, 10),
			"the canary has no policies":     d.faults(without(t, whole, "erlmcp-canary", "HealthCheckPolicy", "GCPBackendPolicy"), second, first, 10),
		} {
			if len(faults) == 0 {
				t.Errorf("%s: nothing is wrong with that", what)
			}
		}
	})
}

// without is what the API server has but for objects of a name and some kinds.
func without(t *testing.T, text, name string, kinds ...string) string {
	t.Helper()
	var list struct{ Items []map[string]any }
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	n := len(list.Items)
	list.Items = slices.DeleteFunc(list.Items, func(o map[string]any) bool {
		return object(o).name() == name && slices.Contains(kinds, object(o).kind())
	})
	left, err := json.Marshal(list)
	if err != nil || len(list.Items) != n-len(kinds) {
		t.Fatalf("%d of %d objects are left (%v)", len(list.Items), n, err)
	}
	return string(left)
}

// An item is what the API server has of one object.
type item struct {
	Kind     string
	Metadata struct {
		Name, DeletionTimestamp string
		Labels                  map[string]string
	}
	Spec struct {
		Rules      []struct{ BackendRefs []backend }
		TargetRef  struct{ Name string }
		Template   json.RawMessage
		Containers []struct{ Name, Image string }
	}
	Status    struct{ AvailableReplicas int }
	Endpoints []struct {
		Conditions struct{ Ready bool }
		TargetRef  struct{ Name string }
	}
	Data map[string]string
}

type backend struct {
	Name   string
	Weight *float64
}

func (b backend) weight() float64 {
	if b.Weight == nil {
		return 1
	}
	return *b.Weight
}

func items(t *testing.T, text string) (all []item) {
	t.Helper()
	var list struct{ Items []item }
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// look wants all to be as it must be once a release has a part of the traffic, in percent.
func (d *delivery) look(r *release, percent int) {
	d.Helper()
	good := d.good
	if good == nil {
		good = r
	}
	var text string
	var faults []string
	for begin := time.Now(); time.Since(begin) < 10*time.Second; time.Sleep(200 * time.Millisecond) { // controllers follow
		text = must(d.T, "get", "httproutes,deployments,endpointslices,pods,configmaps,healthcheckpolicies,gcpbackendpolicies", "-o", "json")
		if faults = d.faults(text, r, good, percent); len(faults) == 0 {
			break
		}
	}
	d.looks = append(d.looks, text)
	for _, fault := range faults {
		d.Errorf("%s at %d %%: %s", r.image, percent, fault)
	}
}

// generated are names of objects that have their contents in them.
var generated = regexp.MustCompile(`(erlmcp|taiea|ops)-[a-z]+-[a-z0-9]{10}(-canary)?\b`)

func settingsOf(text []byte) []string {
	names := generated.FindAllString(string(text), -1)
	slices.Sort(names)
	return slices.Compact(names)
}

// faults says what is wrong with the cluster while a release has so much of the traffic, and a good one the rest.
func (d *delivery) faults(text string, r, good *release, percent int) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	all := items(d.T, text)
	pods, has := map[string]string{}, map[string]bool{} // images of pods; what is there of other kinds
	for _, i := range all {
		switch {
		case i.Kind == "Pod" && i.Metadata.Labels["app"] == d.deployment && i.Metadata.DeletionTimestamp == "":
			pods[i.Metadata.Name] = i.Spec.Containers[0].Image
		case i.Kind == "HealthCheckPolicy" || i.Kind == "GCPBackendPolicy":
			has[i.Kind+" "+i.Spec.TargetRef.Name] = true
		case i.Kind == "ConfigMap":
			has[i.Kind+" "+i.Metadata.Name] = true
		}
	}

	// Who gets the calls: the endpoints of the Services, by the route's weights.
	share, total := map[string]float64{}, 0.0
	var backends []backend
	for _, i := range all {
		if i.Kind == "HTTPRoute" && i.Metadata.Name == d.route {
			for _, rule := range i.Spec.Rules {
				backends = append(backends, rule.BackendRefs...)
			}
		}
	}
	for _, b := range backends {
		total += b.weight()
	}
	for _, b := range backends {
		if b.weight() == 0 {
			continue
		}
		var ready []string
		for _, i := range all {
			if i.Kind != "EndpointSlice" || i.Metadata.Labels["kubernetes.io/service-name"] != b.Name {
				continue
			}
			for _, e := range i.Endpoints {
				if e.Conditions.Ready {
					ready = append(ready, e.TargetRef.Name)
				}
			}
		}
		if len(ready) == 0 {
			fault("%s has %v of the weight, and no pod", b.Name, b.weight())
		}
		for _, pod := range ready {
			share[pods[pod]] += 100 * b.weight() / total / float64(len(ready))
		}
		for _, kind := range []string{"HealthCheckPolicy", "GCPBackendPolicy"} {
			if !has[kind+" "+b.Name] {
				fault("%s has no %s: the load balancer asks it for /, and cuts streams after 30 s", b.Name, kind)
			}
		}
	}
	if math.Abs(share[r.image]-float64(percent)) > 0.01 || r != good && math.Abs(share[good.image]-float64(100-percent)) > 0.01 {
		fault("the shares of images are %v", share)
	}
	if percent > 10 && r != good && d.judged[r.image] == 0 {
		fault("nobody has judged it")
	}

	// What was released before stays as it is until the new one has passed, and what pods refer to is there.
	for _, i := range all {
		if i.Kind != "Deployment" || i.Metadata.Name != d.deployment && i.Metadata.Name != d.deployment+suffix {
			continue
		}
		for _, name := range settingsOf(i.Spec.Template) {
			if !has["ConfigMap "+name] {
				fault("%s refers to %s, which is not there", i.Metadata.Name, name)
			}
		}
		if i.Metadata.Name != d.deployment {
			continue
		}
		if got, want := settingsOf(i.Spec.Template), d.settings(good); !slices.Equal(got, want) || !strings.Contains(string(i.Spec.Template), good.image) {
			fault("the original has the settings %v and not the image %s with %v", got, good.image, want)
		}
		if i.Status.AvailableReplicas < 3 {
			fault("%d pods of the original are available", i.Status.AvailableReplicas)
		}
	}

	// The judge tells the pods of both versions apart by their names, which are their instances.
	canary, baseline := d.matcher("-canary="), d.matcher("-baseline=")
	for pod := range pods {
		is := strings.HasPrefix(pod, d.deployment+suffix+"-") || percent < 100 && pods[pod] == r.image && r != good
		if canary.matches(jobOf(all), pod) != is || baseline.matches(jobOf(all), pod) == is {
			fault("the judge takes the pod %s of the job %s for the canary: %t, and for the baseline: %t", pod, jobOf(all), canary.matches(jobOf(all), pod), baseline.matches(jobOf(all), pod))
		}
	}
	return faults
}

// settings are the objects that the pods of a release refer to.
func (d *delivery) settings(r *release) []string {
	for _, o := range r.objects {
		if o.kind() == "Deployment" && o.name() == d.deployment {
			text, err := json.Marshal(o.at("spec", "template"))
			if err != nil {
				d.Fatal(err)
			}
			return settingsOf(text)
		}
	}
	return nil
}

// jobOf is how the collectors of the data plane's pods name their job.
func jobOf(all []item) string {
	for _, i := range all {
		if i.Kind == "ConfigMap" && strings.HasPrefix(i.Metadata.Name, "erlmcp-place-") {
			return i.Data["NAME"]
		}
	}
	return ""
}

func (d *delivery) job() string { return jobOf(items(d.T, d.looks[len(d.looks)-1])) }

// pods are those that run, and whether each is of a bad image.
func (d *delivery) pods() map[string]bool {
	out := map[string]bool{}
	for _, i := range items(d.T, d.looks[len(d.looks)-1]) {
		if i.Kind == "Pod" && i.Metadata.Labels["app"] == d.deployment && i.Metadata.DeletionTimestamp == "" {
			out[i.Metadata.Name] = strings.Contains(i.Spec.Containers[0].Image, "/bad@")
		}
	}
	return out
}

// A matcher is of the kind that the judge's command line has: a job, and a pattern of instances, which matches as a whole.
type matcher struct {
	job      string
	instance *regexp.Regexp
	not      bool
}

var matchers = regexp.MustCompile(`job="([^"]*)",instance(=~|!~)"([^"]*)"`)

func parsed(text string) (out []matcher) {
	for _, m := range matchers.FindAllStringSubmatch(text, -1) {
		out = append(out, matcher{m[1], regexp.MustCompile("^(?:" + m[3] + ")$"), m[2] == "!~"})
	}
	return out
}

func (m matcher) matches(job, instance string) bool {
	return job == m.job && m.instance.MatchString(instance) != m.not
}

func (d *delivery) matcher(flag string) matcher {
	for _, arg := range d.judge {
		if m := parsed(arg); strings.HasPrefix(arg, flag) && len(m) == 1 {
			return m[0]
		}
	}
	d.Fatalf("the judge's command line has no %s", flag)
	return matcher{}
}

// metrics answer PromQL of the judge's form with series of pods. Every reading finds a hundred calls more of each; bad pods panic in a third.
type metrics struct {
	mu       sync.Mutex
	pods     map[string]bool
	job      string
	readings int
}

// ServeHTTP implements [http.Handler].
func (m *metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	query := r.FormValue("query")
	sides := parsed(query)
	name, _, _ := strings.Cut(query, "{")
	name, _, _ = strings.Cut(name, " ")
	if name == "erlmcp_build_info" && !sides[0].not {
		m.readings++
	}
	type series struct {
		Metric map[string]string `json:"metric"`
		Value  [2]any            `json:"value"`
	}
	found := []series{}
	for pod, bad := range m.pods {
		if !slices.ContainsFunc(sides, func(s matcher) bool { return s.matches(m.job, pod) }) {
			continue
		}
		n := 100 * m.readings
		panicked := 0
		if bad {
			panicked = n / 3
		}
		add := func(value int, labels ...string) {
			all := map[string]string{"job": m.job, "instance": pod}
			for i := 0; i < len(labels); i += 2 {
				all[labels[i]] = labels[i+1]
			}
			found = append(found, series{all, [2]any{float64(time.Now().UnixMilli()) / 1000, fmt.Sprint(value)}})
		}
		switch name {
		case "erlmcp_build_info":
			add(1, "version", "0.8.0")
		case "process_start_time_seconds":
			add(1)
		case "erlmcp_requests_total":
			add(n-panicked-n/100, "method", "tools/call", "outcome", "ok")
			add(n/100, "method", "tools/call", "outcome", "tool_failed")
			add(panicked, "method", "tools/call", "outcome", "panicked")
		case "erlmcp_errors_total":
			add(panicked, "type", "panic")
		}
	}
	json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "vector", "result": found}})
}

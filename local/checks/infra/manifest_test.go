package infra

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// withManifests adds to resources what releases bring to Cloud Run, as resources of a type of their own.
func withManifests(t *testing.T, rs []resource) []resource {
	t.Helper()
	out := rs[:len(rs):len(rs)]
	for _, r := range rs {
		name, _ := r.Values["name"].(string)
		if r.Type != "google_storage_bucket_object" || path.Base(name) != "service.yaml" {
			continue
		}
		m := resource{Address: r.Address, Type: "manifest"}
		if err := yaml.Unmarshal([]byte(fmt.Sprint(r.Values["content"])), &m.Values); err != nil {
			t.Fatalf("%s: %v", r.Address, err)
		}
		if m.Values["apiVersion"] != "serving.knative.dev/v1" {
			continue
		}
		text, err := json.Marshal(m.Values) // numbers as in a plan
		if err == nil {
			err = json.Unmarshal(text, &m.Values)
		}
		if err != nil {
			t.Fatalf("%s: %v", r.Address, err)
		}
		out = append(out, m)
	}
	return out
}

// annotation is one of a manifest, or of its template.
func annotation(r resource, of, name string) any {
	a, _ := r.At(of).(map[string]any)
	return a[name]
}

const (
	ofService  = "metadata.annotations"
	ofTemplate = "spec.template.metadata.annotations"
	container  = "spec.template.spec.containers.0"
)

func name(r resource) string { return fmt.Sprint(r.At("metadata.name")) }

func env(r resource) resource {
	c, _ := r.At(container).(map[string]any)
	return resource{Values: environment(resource{Values: c})}
}

// owned wants services of which Terraform keeps to itself what releases don't bring, and a manifest for each.
func owned(rs []resource) string {
	fault := each(rs, "google_cloud_run_v2_service", func(r resource) string {
		for _, m := range rs {
			if m.Type == "manifest" && name(m) == r.Values["name"] {
				return must(r, "template.0.containers.0.image", "us-docker.pkg.dev/cloudrun/container/hello") +
					must(m, "spec.template.spec.serviceAccountName", r.At("template.0.service_account"))
			}
		}
		return "no release brings it"
	})
	return fault + each(rs, "manifest", func(m resource) string {
		if m.At("spec.traffic") != nil {
			return "says who gets traffic, which Cloud Deploy does"
		}
		if annotation(m, ofTemplate, "autoscaling.knative.dev/minScale") != nil {
			return "keeps instances for each revision"
		}
		return must(m, container+".image", "erlmcp")
	})
}

// gradual wants the data plane's traffic moved by steps that are judged, the way on and back without a person, and one after
// another.
func gradual(rs []resource) string {
	steps := 0
	fault := each(rs, "google_clouddeploy_delivery_pipeline", func(r resource) string {
		if standard := r.At("serial_pipeline.0.stages.0.strategy.0.standard.0"); standard != nil {
			return must(r, "serial_pipeline.0.stages.0.strategy.0.standard.0.verify", !strings.HasSuffix(fmt.Sprint(r.Values["name"]), "-ops")) // a job serves nobody
		}
		phases, _ := r.At("serial_pipeline.0.stages.0.strategy.0.canary.0.custom_canary_deployment.0.phase_configs").([]any)
		var got []string
		for _, p := range phases {
			p := p.(map[string]any)
			got = append(got, fmt.Sprintf("%v %v %v", p["phase_id"], p["percentage"], p["verify"]))
		}
		steps++
		if want := "canary-10 10 true, canary-50 50 true, stable 100 false"; strings.Join(got, ", ") != want {
			return fmt.Sprintf("steps %v, want %s", got, want)
		}
		return ""
	})
	if steps != 1 {
		fault += fmt.Sprintf("%d pipelines are gradual", steps)
	}
	return fault + each(rs, "google_clouddeploy_automation", func(r resource) string {
		text, _ := json.Marshal(r.Values["rules"])
		for _, want := range []string{`"rollback":[{`, `"jobs":["verify"]`, `"jobs":["deploy"]`} {
			if !strings.Contains(string(text), want) {
				return "no " + want
			}
		}
		return ""
	})
}

// atOnce is for services of which there are no metrics to judge by: a release gets all traffic, and is asked whether it is healthy.
func atOnce(rs []resource) string {
	fault := each(rs, "google_clouddeploy_delivery_pipeline", func(r resource) string {
		return must(r, "serial_pipeline.0.stages.0.strategy.0.standard.0.verify", !strings.HasSuffix(fmt.Sprint(r.Values["name"]), "-ops"))
	})
	for _, r := range rs {
		if at, _ := r.Values["name"].(string); r.Type == "google_storage_bucket_object" && path.Base(at) == "skaffold.yaml" && !strings.Contains(at, "-ops/") {
			if text, _ := r.Values["content"].(string); !strings.Contains(text, `"probe"`) || !strings.Contains(text, `"-health"`) {
				fault += r.Address + ": nobody asks it"
			}
		}
	}
	return fault
}

// asProber wants the judge's calls, where it sends any, to be those of a tenant of its own: by a method that the service takes.
func asProber(rs []resource) (fault string) {
	for _, r := range rs {
		text, _ := r.Values["content"].(string)
		if at, _ := r.Values["name"].(string); r.Type != "google_storage_bucket_object" || path.Base(at) != "skaffold.yaml" || !strings.Contains(text, `"-load=`) {
			continue
		}
		_, as, _ := strings.Cut(text, `"-as=`)
		account, _, _ := strings.Cut(as, `"`)
		pipeline := path.Base(path.Dir(fmt.Sprint(r.Values["name"])))
		for _, m := range rs {
			if m.Type != "manifest" || name(m) != pipeline {
				continue
			}
			settings := env(m)
			methods, mapped := strings.Split(fmt.Sprint(settings.Values["AUTHENTICATION"]), ","), strings.Split(fmt.Sprint(settings.Values["TENANT_MAP"]), ",")
			if !slices.Contains(methods, "cloudrun") || !slices.Contains(mapped, "cloudrun:"+account+"=prober") {
				fault += fmt.Sprintf("%s: the judge calls as %q, and %s takes %v and knows %v", r.Address, account, pipeline, methods, mapped)
			}
		}
	}
	return fault
}

// failuresTold wants somebody to be told of each pipeline's rollouts that fail.
func failuresTold(rs []resource) string {
	var filters string
	for _, r := range rs {
		if f, _ := r.At("conditions.0.condition_matched_log.0.filter").(string); strings.Contains(f, `jsonPayload.rolloutUpdateType=("FAILED")`) {
			filters += f
		}
	}
	return each(rs, "google_clouddeploy_delivery_pipeline", func(r resource) string {
		if !strings.Contains(filters, fmt.Sprintf("%q", r.Values["name"])) {
			return "nobody is told of its rollouts that fail"
		}
		return ""
	})
}

// goingTold wants channels of that severity, and nobody else, to be told how releases go.
func goingTold(rs []resource) string {
	for _, r := range rs {
		f, _ := r.At("conditions.0.condition_matched_log.0.filter").(string)
		if strings.Contains(f, `rolloutUpdateType=("IN_PROGRESS" OR "ADVANCED" OR "SUCCEEDED" OR "CANCELLED")`) {
			return must(r, "notification_channels", []any{"projects/my-project/notificationChannels/7"})
		}
	}
	return "nobody is told how releases go"
}

// approved is for production: a person looks at what is released, and nobody need look for what failed to go back.
func approved(rs []resource) string {
	return each(rs, "google_cloudbuild_trigger", func(r resource) string { return must(r, "approval_config.0.approval_required", true) }) +
		each(rs, "google_clouddeploy_target", func(r resource) string {
			if r.Values["require_approval"] == true {
				return "it holds up the way back"
			}
			return ""
		})
}

// readable has gcloud read each manifest of a plan, where there is one, and bring it to an API: it knows every field of a service, and
// refuses what it does not know.
func readable(t *testing.T, rs []resource) {
	t.Helper()
	if _, err := exec.LookPath("gcloud"); err != nil {
		t.Log("NOT TESTED: no gcloud to read the manifests")
		return
	}
	var brought []string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var service struct{ Metadata struct{ Name string } }
		if r.Method == http.MethodPost && json.NewDecoder(r.Body).Decode(&service) == nil {
			brought = append(brought, service.Metadata.Name)
		}
		http.Error(w, `{"error":{"code":404,"status":"NOT_FOUND","message":"Resource not found."}}`, http.StatusNotFound)
	}))
	defer api.Close()
	for _, m := range rs {
		if m.Type != "manifest" {
			continue
		}
		text, err := yaml.Marshal(m.Values)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "service.yaml")
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("gcloud", "run", "services", "replace", file, "--region", "us-central1", "--project", "my-project", "--quiet")
		cmd.Env = append(cmd.Environ(), "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN=http://run.test/", "http_proxy="+api.URL, // since gcloud puts the region before the host
			"CLOUDSDK_AUTH_ACCESS_TOKEN=x")
		out, _ := cmd.CombinedOutput()
		if !slices.Contains(brought, name(m)) {
			t.Errorf("%s: gcloud brings nothing:\n%s", name(m), out)
		}
	}
}

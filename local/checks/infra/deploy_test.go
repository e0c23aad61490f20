package infra

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shim stands for terraform, gcloud, kubectl and ko: it writes down how it was called, and answers what a cloud would.
const shim = `#!/bin/bash
name=$(basename "$0")
echo "$name $*" >>"$LOG"
case "$name $*" in
  *"buckets describe"*) [ -z "${NEW:-}" ] ;;
  *"output -raw deployed_image"*) [ -z "${NEW:-}" ] && echo r/erlmcp@sha256:old || exit 1 ;;
  *"output -json stays"*) echo '["the bucket"]' ;;
  *"output -json secrets"*) echo '{"keys": "erlmcp-staging-keys", "redis-url": "erlmcp-staging-redis-url"}' ;;
  *"output -json taiea_secrets"*) echo '{"api-keys": "erlmcp-staging-taiea-api-keys"}' ;;
  *"output -raw credentials"*) echo "gcloud container clusters get-credentials erlmcp-staging-cluster --project p --location us-central1 --dns-endpoint" ;;
  *"output -raw kustomization"*) [ -z "${SHARED:-}" ] && echo "resources: [../../workload, ../../workload/taiea]" || echo "resources: [../../workload]" ;;
  *"versions access"*) echo -n of-"${@: -1}" ;;
  *"create secret generic"*) for a in "$@"; do if [ -d "$a" ]; then cat "$a"/* >>"$LOG.secrets"; fi; done ;;
  *"get deployment"*) [ -z "${NEW:-}" ] && echo r/erlmcp:v0.7.0 || exit 1 ;;
  ko*) echo r/erlmcp@sha256:new ;;
  kubectl*"-f -"*) cat >/dev/null ;;
esac
`

func TestDeployAndDestroy(t *testing.T) {
	for _, c := range []struct {
		name, script, platform, answers string
		env                             []string
		fails                           string
		want, never                     []string
	}{
		{"first, to Cloud Run", "deploy", "cloudrun", "yes\nyes\nyes\n", []string{"NEW=1"}, "", []string{
			"gcloud storage buckets create gs://my-project-erlmcp-state --project my-project --location us-central1 --uniform-bucket-level-access --public-access-prevention",
			"gcloud beta services identity create --service pubsub.googleapis.com --project my-project",
			"terraform -chdir=cloudrun init -input=false -reconfigure -backend-config=bucket=my-project-erlmcp-state -backend-config=prefix=erlmcp/staging/cloudrun",
			"-target=module.registry -var image=us-central1-docker.pkg.dev/my-project/erlmcp-staging/erlmcp:none",
			"terraform -chdir=cloudrun apply -input=false tfplan",
			"ko build ./function/cmd/erlmcp --bare",
			"-var image=r/erlmcp@sha256:new -var environment=staging -var-file ../environments/staging.tfvars -var-file ../environments/staging.cloudrun.tfvars",
			"terraform -chdir=cloudrun apply -input=false tfplan",
		}, nil},
		{"again", "deploy", "cloudrun", "yes\n", nil, "", []string{
			"-var image=r/erlmcp@sha256:old -var environment=staging", "terraform -chdir=cloudrun apply -input=false tfplan",
		}, []string{"buckets create", "ko build", "-target"}},
		{"not confirmed", "deploy", "cloudrun", "no\n", nil, "nothing was changed", []string{"plan -input=false -out=tfplan"}, []string{" apply "}},
		{"nobody there to confirm", "deploy", "cloudrun", "", nil, "nothing was changed", []string{"plan -input=false -out=tfplan"}, []string{" apply "}},
		{"to GKE", "deploy", "gke", "yes\n", nil, "", []string{
			"terraform -chdir=gke plan -input=false -out=tfplan -var environment=staging", "terraform -chdir=gke apply -input=false tfplan",
			"gcloud container clusters get-credentials erlmcp-staging-cluster", "kubectl apply -f gke/workload/namespace.yaml",
			"gcloud secrets versions access latest --project my-project --secret erlmcp-staging-keys", "kubectl --namespace erlmcp create secret generic erlmcp-secret",
			"gcloud secrets versions access latest --project my-project --secret erlmcp-staging-taiea-api-keys", "kubectl --namespace erlmcp create secret generic taiea-secret",
			"kubectl apply --validate=strict -k gke/environments/staging", "kubectl --namespace erlmcp rollout status deployment/erlmcp",
			"kubectl --namespace erlmcp rollout status deployment/taiea",
		}, []string{"ko build", "of-erlmcp"}},
		{"to GKE beside Cloud Run", "deploy", "gke", "yes\n", []string{"SHARED=1"}, "", []string{
			"kubectl --namespace erlmcp create secret generic erlmcp-secret", "kubectl --namespace erlmcp rollout status deployment/erlmcp",
		}, []string{"taiea"}},
		{"first, to GKE", "deploy", "gke", "yes\nyes\n", []string{"NEW=1"}, "", []string{"ko build ./function/cmd/erlmcp --bare", "kubectl apply --validate=strict -k"}, nil},
		{"destroyed", "destroy", "cloudrun", "yes\n", nil, "", []string{"plan -destroy", "terraform -chdir=cloudrun apply -input=false tfplan"}, []string{"buckets"}},
		{"not destroyed", "destroy", "gke", "y\n", nil, "nothing was changed", []string{"plan -destroy"}, []string{" apply "}},
		{"nowhere", "deploy", "moon", "", nil, "cloudrun or gke", nil, []string{"terraform"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := source(t)
			bin, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
			for _, name := range []string{"terraform", "gcloud", "kubectl", "ko"} {
				os.WriteFile(filepath.Join(bin, name), []byte(shim), 0o755)
			}
			for name, text := range map[string]string{"staging.tfvars": "project = \"my-project\"\nproject_number = \"1\"\n", "staging.cloudrun.tfvars": ""} {
				os.WriteFile(filepath.Join(dir, "infra/environments", name), []byte(text), 0o644)
			}
			cmd := exec.Command("infra/"+c.script, "staging", c.platform)
			cmd.Dir = dir
			cmd.Env = append(append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "LOG="+log, "YES=", "IMAGE="), c.env...)
			cmd.Stdin = strings.NewReader(c.answers)
			out, err := cmd.CombinedOutput()
			if (err != nil) != (c.fails != "") || !strings.Contains(string(out), c.fails) {
				t.Fatalf("%v, want %q\n%s", err, c.fails, out)
			}
			text, _ := os.ReadFile(log)
			lines := strings.Split(string(text), "\n")
			for _, want := range c.want {
				i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, want) })
				if i < 0 {
					t.Fatalf("no %q after what came before, in\n%s", want, text)
				}
				lines = lines[i+1:]
			}
			for _, never := range c.never {
				if strings.Contains(string(text), never) {
					t.Errorf("%q in\n%s", never, text)
				}
			}
			if c.script == "destroy" && !strings.Contains(string(out), "What stays:\n  - the bucket") {
				t.Errorf("it does not say what stays:\n%s", out)
			}
			if c.platform == "gke" && c.script == "deploy" {
				secrets, _ := os.ReadFile(log + ".secrets")
				overlay, _ := os.ReadFile(filepath.Join(dir, "infra/gke/environments/staging/kustomization.yaml"))
				image := `{name: erlmcp, newName: "r/erlmcp", newTag: "v0.7.0"}`
				if slices.Contains(c.env, "NEW=1") {
					image = `{name: erlmcp, newName: "r/erlmcp", digest: "sha256:new"}`
				}
				want := "of-erlmcp-staging-keysof-erlmcp-staging-redis-url"
				if !slices.Contains(c.env, "SHARED=1") {
					want += "of-erlmcp-staging-taiea-api-keys"
				}
				if string(secrets) != want || !strings.Contains(string(overlay), image) {
					t.Errorf("secrets %s, overlay %s", secrets, overlay)
				}
			}
			lint(t, strings.Split(string(text), "\n"))
			if plans, _ := filepath.Glob(filepath.Join(dir, "infra/*/tfplan")); len(plans) > 0 {
				t.Errorf("%v stays, and holds secrets", plans)
			}
		})
	}
}

// lint holds the gcloud commands among lines against gcloud's own parser, where there is one.
func lint(t *testing.T, lines []string) {
	t.Helper()
	tool := os.Getenv("GCLOUD_LINT")
	if tool == "" {
		t.Log("NOT TESTED: GCLOUD_LINT names no gcloud-lint")
		return
	}
	lines = slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, "gcloud ") })
	file := filepath.Join(t.TempDir(), "commands.md")
	os.WriteFile(file, []byte("```sh\n"+strings.Join(lines, "\n")+"\n```\n"), 0o644)
	out, err := exec.Command(tool, file).CombinedOutput()
	if want := fmt.Sprintf(": %d gcloud commands, 0 bad", len(lines)); len(lines) > 0 && (err != nil || !strings.Contains(string(out), want)) {
		t.Errorf("%d commands: %v\n%s", len(lines), err, out)
	}
}

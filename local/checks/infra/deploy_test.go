package infra

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/erlmcp/local/checks/tfplan"
)

// shim stands for terraform, gcloud, kubectl and ko: it writes down how it was called, and answers what a cloud would.
const shim = `#!/bin/bash
name=$(basename "$0")
echo "$name $*" >>"$LOG"
case "$name $*" in
  *"buckets describe"*) [ -z "${NEW:-}" ] ;;
  *"output -raw image"*) echo us-central1-docker.pkg.dev/my-project/erlmcp-staging/erlmcp ;;
  *"output -json release"*) echo '{"bucket": "my-project-erlmcp-staging-releases", "pipelines": ["erlmcp-staging", "erlmcp-staging-taiea"], "digest": "d"}' ;;
  *"services describe"*) [ -z "${NEW:-}" ] && echo us-central1-docker.pkg.dev/my-project/erlmcp-staging/erlmcp@sha256:old || echo us-docker.pkg.dev/cloudrun/container/hello ;;
  *"releases describe"*) [ -n "${THERE:-}" ] ;;
  *"rollouts list"*) echo "${STATE:-IN_PROGRESS}" ;;
  *"output -json stays"*) echo '["the bucket"]' ;;
  *"output -json secrets"*) echo '{"keys": "erlmcp-staging-keys", "redis-url": "erlmcp-staging-redis-url"}' ;;
  *"output -json taiea_secrets"*) [ -n "${SHARED:-}" ] && echo '{}' || echo '{"api-keys": "erlmcp-staging-taiea-api-keys"}' ;;
  *"output -raw credentials"*) echo "gcloud container clusters get-credentials erlmcp-staging-cluster --project p --location us-central1 --dns-endpoint" ;;
  *"versions access"*) echo -n of-"${@: -1}" ;;
  *"create secret generic"*) for a in "$@"; do if [ -d "$a" ]; then cat "$a"/* >>"$LOG.secrets"; fi; done ;;
  *"get deployment"*) [ -z "${NEW:-}" ] && echo us-central1-docker.pkg.dev/my-project/erlmcp-staging/erlmcp@sha256:old || exit 1 ;;
  ko*) echo us-central1-docker.pkg.dev/my-project/erlmcp-staging/erlmcp@sha256:new ;;
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
		{"first, to Cloud Run", "deploy", "cloudrun", "yes\nyes\n", []string{"NEW=1"}, "", []string{
			"gcloud storage buckets create gs://my-project-erlmcp-state --project my-project --location us-central1 --uniform-bucket-level-access --public-access-prevention",
			"gcloud beta services identity create --service pubsub.googleapis.com --project my-project",
			"terraform -chdir=cloudrun init -input=false -reconfigure -backend-config=bucket=my-project-erlmcp-state -backend-config=prefix=erlmcp/staging/cloudrun",
			"-var environment=staging -var-file=../environments/staging.tfvars -var-file=../environments/staging.cloudrun.tfvars",
			"terraform -chdir=cloudrun apply -input=false",
			"gcloud storage cp environments/staging.cloudrun.tfvars environments/staging.tfvars gs://my-project-erlmcp-state/erlmcp/staging/",
			"ko build ./function/cmd/erlmcp --bare",
			"--images erlmcp=us-central1-docker.pkg.dev/my-project/erlmcp-staging/erlmcp@sha256:new", "--delivery-pipeline erlmcp-staging-taiea --project my-project --region us-central1 --source",
		}, nil},
		{"again", "deploy", "cloudrun", "yes\n", nil, "", []string{
			"-var environment=staging", "terraform -chdir=cloudrun apply -input=false", "--images erlmcp=us-central1-docker.pkg.dev/my-project/erlmcp-staging/erlmcp@sha256:old",
		}, []string{"buckets create", "ko build", "service-agent", "redis.googleapis.com"}},
		{"with a key of one's own", "deploy", "cloudrun", "yes\n", []string{"KEYED=1"}, "", []string{
			"gcloud storage service-agent --project my-project", "gcloud beta services identity create --service firestore.googleapis.com --project my-project", "terraform -chdir=cloudrun apply -input=false",
		}, nil},
		{"signed", "deploy", "cloudrun", "yes\n", []string{"ATTESTOR=projects/my-project/attestors/a", "ATTESTOR_KEY=projects/my-project/k"}, "", []string{
			"gcloud beta container binauthz attestations sign-and-create --project my-project --artifact-url us-central1-docker.pkg.dev/my-project/erlmcp-staging/erlmcp@sha256:old --attestor projects/my-project/attestors/a --keyversion projects/my-project/k",
			"releases create",
		}, nil},
		{"with a key of that platform's own", "deploy", "cloudrun", "yes\n", []string{"KEYED=cloudrun"}, "", []string{
			"gcloud storage service-agent --project my-project", "gcloud beta services identity create --service firestore.googleapis.com --project my-project", "terraform -chdir=cloudrun apply -input=false",
		}, nil},
		{"with nothing new", "deploy", "cloudrun", "yes\n", []string{"THERE=1"}, "", []string{"terraform -chdir=cloudrun apply -input=false", "rollouts list"}, []string{"releases create"}},
		{"with what was rolled back", "deploy", "cloudrun", "yes\n", []string{"THERE=1", "STATE=FAILED"}, "erlmcp-staging has rolled settings-", []string{"rollouts list"}, []string{"releases create"}},
		{"not confirmed", "deploy", "cloudrun", "no\n", nil, "nothing was changed", []string{"plan -input=false -out="}, []string{" apply ", "releases create"}},
		{"nobody there to confirm", "deploy", "cloudrun", "", nil, "nothing was changed", []string{"plan -input=false -out="}, []string{" apply "}},
		{"to GKE", "deploy", "gke", "yes\n", nil, "", []string{
			"terraform -chdir=gke plan -input=false -out=", "terraform -chdir=gke apply -input=false",
			"gcloud container clusters get-credentials erlmcp-staging-cluster", "kubectl apply -f -", // what one end of a pipe does is told in any order with the other
			"gcloud secrets versions access latest --project my-project --secret erlmcp-staging-keys", "kubectl --namespace erlmcp create secret generic erlmcp-secret",
			"gcloud secrets versions access latest --project my-project --secret erlmcp-staging-taiea-api-keys", "kubectl --namespace erlmcp create secret generic taiea-secret",
			"--images erlmcp=us-central1-docker.pkg.dev/my-project/erlmcp-staging/erlmcp@sha256:old",
		}, []string{"ko build", "of-erlmcp"}},
		{"to GKE beside Cloud Run", "deploy", "gke", "yes\n", []string{"SHARED=1"}, "", []string{
			"kubectl --namespace erlmcp create secret generic erlmcp-secret", "releases create",
		}, []string{"taiea-secret"}},
		{"first, to GKE", "deploy", "gke", "yes\nyes\n", []string{"NEW=1"}, "", []string{"ko build ./function/cmd/erlmcp --bare", "releases create"}, nil},
		{"destroyed", "-destroy", "cloudrun", "yes\n", nil, "", []string{"-destroy -var environment=staging", "terraform -chdir=cloudrun apply -input=false"}, []string{"buckets", "releases create"}},
		{"not destroyed", "-destroy", "gke", "y\n", nil, "nothing was changed", []string{"-destroy"}, []string{" apply "}},
		{"nowhere", "deploy", "moon", "", nil, "cloudrun or gke", nil, []string{"terraform"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tfplan.Copy(t, root)
			bin, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
			for _, name := range []string{"terraform", "gcloud", "kubectl", "ko"} {
				os.WriteFile(filepath.Join(bin, name), []byte(shim), 0o755)
			}
			variables, further := "project = \"my-project\"\nproject_number = \"1\"\n", ""
			for _, set := range c.env {
				switch key := "kms_key = \"" + ourKey + "\"\n"; set {
				case "KEYED=1":
					variables += key
				case "KEYED=cloudrun": // where only that platform knows it
					further = key
				}
			}
			for name, text := range map[string]string{"staging.tfvars": variables, "staging.cloudrun.tfvars": further} {
				os.WriteFile(filepath.Join(dir, "infra/environments", name), []byte(text), 0o644)
			}
			args := []string{"staging", c.platform}
			if c.script == "-destroy" {
				args = append([]string{c.script}, args...)
			}
			cmd := exec.Command("infra/deploy", args...)
			cmd.Dir = dir
			cmd.Env = append(append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "LOG="+log, "YES=", "IMAGE=", "EVERY=0"), c.env...)
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
			if c.script == "-destroy" && !strings.Contains(string(out), "What stays:\n  - the bucket") {
				t.Errorf("it does not say what stays:\n%s", out)
			}
			if c.platform == "gke" && c.script == "deploy" {
				secrets, _ := os.ReadFile(log + ".secrets")
				want := "of-erlmcp-staging-keysof-erlmcp-staging-redis-url"
				if !slices.Contains(c.env, "SHARED=1") {
					want += "of-erlmcp-staging-taiea-api-keys"
				}
				if string(secrets) != want {
					t.Errorf("secrets %s", secrets)
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

// Package kubernetes applies the manifests of infra/gke/workload to a real API server with its controllers and a simulated
// node: whether they are accepted, roll out, come back from a bad rollout, and stay available while a node is drained.
package kubernetes

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	infra   = "../../../infra"
	gateway = "sigs.k8s.io/gateway-api@v1.4.0"
)

// kubectl runs against the cluster that KUBECONFIG names, which make kubernetes starts.
func kubectl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("kubectl", append([]string{"--namespace", "erlmcp"}, args...)...)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := kubectl(t, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func refused(t *testing.T, why string, args ...string) {
	t.Helper()
	out, err := kubectl(t, args...)
	if err == nil || !strings.Contains(out, why) {
		t.Errorf("kubectl %s: %v, want %q:\n%s", strings.Join(args, " "), err, why, out)
	}
}

// replace makes a file of the output of kubectl kustomize with one thing changed.
func replace(t *testing.T, manifests, old, new string) string {
	t.Helper()
	changed := strings.ReplaceAll(manifests, old, new)
	if changed == manifests {
		t.Fatalf("the manifests hold no %q", old)
	}
	return fileOf(t, changed)
}

func fileOf(t *testing.T, manifests string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// available is how many pods could serve.
func available(t *testing.T) int {
	t.Helper()
	var d struct {
		Status struct{ AvailableReplicas int }
	}
	if err := json.Unmarshal([]byte(must(t, "get", "deployment", "erlmcp", "-o", "json")), &d); err != nil {
		t.Fatal(err)
	}
	return d.Status.AvailableReplicas
}

// environment has the cluster know all kinds, and makes a folder with the files of an environment, whose own is at a path below.
func environment(t *testing.T, at string) (base string) {
	t.Helper()
	if os.Getenv("KUBECONFIG") == "" {
		t.Fatal("KUBECONFIG names no cluster: make kubernetes starts one")
	}
	var module struct{ Dir string }
	out, err := exec.Command("go", "mod", "download", "-json", gateway).Output()
	if err != nil || json.Unmarshal(out, &module) != nil {
		t.Fatalf("%s: %v\n%s", gateway, err, out)
	}
	must(t, "apply", "--server-side", "-f", filepath.Join(module.Dir, "config/crd/standard"), "-f", "testdata/policies.yaml")
	must(t, "wait", "--for", "condition=Established", "crd", "--all", "--timeout", "30s")

	base = t.TempDir()
	for _, sub := range []string{"gke/workload", "observability"} {
		if err := os.CopyFS(filepath.Join(base, sub), os.DirFS(filepath.Join(infra, sub))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(base, at), os.DirFS("testdata/staging")); err != nil {
		t.Fatal(err)
	}
	must(t, "apply", "--validate=strict", "-f", "testdata/staging/namespace.yaml")
	for _, secret := range []string{"erlmcp-secret", "taiea-secret"} {
		if out, err := kubectl(t, "create", "secret", "generic", secret, "--from-literal=keys=x", "--from-literal=redis-url=rediss://x"); err != nil && !strings.Contains(out, "already exists") {
			t.Fatal(out)
		}
	}
	return base
}

func TestManifests(t *testing.T) {
	base := environment(t, "gke/environments/staging")
	environment := filepath.Join(base, "gke/environments/staging")
	manifests := must(t, "kustomize", environment)

	t.Run("files", func(t *testing.T) { filesAreMounted(t, manifests) })
	must(t, "apply", "--validate=strict", "-k", environment)
	must(t, "rollout", "status", "deployment/erlmcp", "--timeout", "90s")
	if n := available(t); n != 3 {
		t.Fatalf("%d pods", n)
	}
	must(t, "rollout", "status", "deployment/taiea", "--timeout", "90s")

	t.Run("strict", func(t *testing.T) {
		refused(t, "unknown field", "apply", "--validate=strict", "--dry-run=server", "-f", replace(t, manifests, "readinessProbe:", "readynessProbe:"))
		refused(t, "unknown field", "apply", "--validate=strict", "--dry-run=server", "-f", replace(t, manifests, "timeoutSec: 3600", "timeoutSecs: 3600"))
	})
	t.Run("restricted", func(t *testing.T) {
		// The namespace enforces on pods what it only warns of on deployments.
		for old, new := range map[string]string{
			"runAsNonRoot: true":              "runAsNonRoot: false",
			"allowPrivilegeEscalation: false": "allowPrivilegeEscalation: true",
			"- ALL":                           "- NET_RAW",
			"type: RuntimeDefault":            "type: Unconfined",
		} {
			out, _ := kubectl(t, "apply", "--dry-run=server", "-f", replace(t, manifests, old, new))
			if !strings.Contains(out, "would violate PodSecurity \"restricted") {
				t.Errorf("%s: no warning:\n%s", new, out)
			}
		}
		if out := must(t, "apply", "--dry-run=server", "-k", environment); strings.Contains(out, "PodSecurity") {
			t.Errorf("as they are:\n%s", out)
		}
		refused(t, "violates PodSecurity \"restricted", "run", "root", "--image", "erlmcp")
	})
	t.Run("collector", func(t *testing.T) {
		got := must(t, "get", "deployment", "erlmcp", "-o", `jsonpath={range .spec.template.spec.initContainers[*]}{.name} {.restartPolicy} {.envFrom[0].configMapRef.name} {.env[0].valueFrom.configMapKeyRef.name}{end} {.spec.template.spec.volumes[?(@.name=="collector")].configMap.name}`)
		for name := range strings.FieldsSeq(strings.TrimPrefix(got, "collector Always ")) {
			must(t, "get", "configmap", name) // by the name that its contents gave it
		}
		if len(strings.Fields(got)) != 5 || !strings.HasPrefix(got, "collector Always erlmcp-place-") {
			t.Errorf("%s", got)
		}
		if place := must(t, "get", "configmap", strings.Fields(got)[2], "-o", "jsonpath={.data}"); place != `{"CLUSTER":"erlmcp-staging-cluster","LOCATION":"us-central1","NAME":"erlmcp-staging-gke","NAMESPACE":"erlmcp"}` {
			t.Errorf("it says that it is at %s", place)
		}

		without := filepath.Join(base, "gke/environments/without") // telemetry = false
		if err := os.CopyFS(without, os.DirFS("testdata/without")); err != nil {
			t.Fatal(err)
		}
		out := must(t, "kustomize", without)
		if strings.Contains(out, "otelcol") || strings.Contains(out, "name: collector") || !strings.Contains(out, `OTEL_EXPORTER_OTLP_ENDPOINT: ""`) {
			t.Errorf("a collector in\n%s", out)
		}
		must(t, "apply", "--validate=strict", "--dry-run=server", "-k", without)
	})
	t.Run("control plane", func(t *testing.T) {
		for what, want := range map[string]string{
			"{.spec.template.spec.serviceAccountName} {.spec.template.spec.volumes[?(@.secret)].secret.secretName} {.status.availableReplicas}":                                           "taiea taiea-secret 2",
			"{range .spec.template.spec.containers[*]}{.name} {.image} {.env[*].valueFrom.secretKeyRef.name}{end}":                                                                        "taiea erlmcp taiea-secret taiea-secret",
			"{.spec.template.spec.containers[0].readinessProbe.httpGet.path} {.spec.template.spec.containers[0].livenessProbe.httpGet.path} {.spec.template.spec.initContainers[*].name}": "/ready /health collector",
		} {
			if got := must(t, "get", "deployment", "taiea", "-o", "jsonpath="+what); got != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
		}
		settings := must(t, "get", "configmap", must(t, "get", "deployment", "taiea", "-o", "jsonpath={.spec.template.spec.containers[0].envFrom[0].configMapRef.name}"), "-o", "jsonpath={.data}")
		for _, want := range []string{`"FUNCTION_TARGET":"taiea"`, `"OPERATORS":"admin=alice@example.com,operator=ci@my-project.iam.gserviceaccount.com"`} {
			if !strings.Contains(settings, want) {
				t.Errorf("no %s in %s", want, settings)
			}
		}
		if account := must(t, "get", "serviceaccount", "taiea", "-o", `jsonpath={.metadata.annotations.iam\.gke\.io/gcp-service-account}`); account != "erlmcp-staging-taiea@my-project.iam.gserviceaccount.com" {
			t.Errorf("it acts as %s", account)
		}
		// Neither the gateway nor the data plane's pods have a way in.
		if routes := must(t, "get", "httproute", "-o", "jsonpath={.items[*].spec.rules[*].backendRefs[*].name}"); routes != "erlmcp-service" {
			t.Errorf("routes lead to %s", routes)
		}
		if kind := must(t, "get", "service", "taiea-service", "-o", "jsonpath={.spec.type} {.spec.selector}"); kind != `ClusterIP {"app":"taiea"}` {
			t.Errorf("service %s", kind)
		}
		if from := must(t, "get", "networkpolicy", "taiea", "-o", "jsonpath={.spec.podSelector.matchLabels} {.spec.policyTypes} {.spec.ingress[*].from}"); from !=
			`{"app":"taiea"} ["Ingress"] [{"podSelector":{"matchLabels":{"operates":"taiea"}}}]` {
			t.Errorf("let in: %s", from)
		}
		for selector, want := range map[string]int{"app in (erlmcp, taiea),operates=taiea": 0, "app=taiea": 2} {
			if got := strings.Count(must(t, "get", "pods", "-l", selector, "-o", "name"), "pod/"); got != want {
				t.Errorf("%d pods are %s, want %d", got, selector, want)
			}
		}
		for _, policy := range []string{"erlmcp Ingress", "functions-egress Egress"} {
			name, kind, _ := strings.Cut(policy, " ")
			if got := must(t, "get", "networkpolicy", name, "-o", "jsonpath={.spec.policyTypes[*]}"); got != kind {
				t.Errorf("%s: %s", name, got)
			}
		}
	})
	t.Run("autoscaler", func(t *testing.T) {
		got := must(t, "get", "hpa", "erlmcp-hpa", "-o", `jsonpath={.spec.minReplicas}-{.spec.maxReplicas} {range .spec.metrics[*]}{.resource.name} {.resource.target.averageUtilization} {end}`)
		if got != "3-10 cpu 70 memory 80" {
			t.Errorf("%s", got)
		}
	})
	t.Run("rollouts", func(t *testing.T) {
		must(t, "set", "image", "deployment/erlmcp", "erlmcp=us-central1-docker.pkg.dev/p/erlmcp/erlmcp:v0.7.1")
		least := watch(t)
		must(t, "rollout", "status", "deployment/erlmcp", "--timeout", "90s")
		if n := least(); n < 3 {
			t.Errorf("only %d pods during a rollout", n)
		}

		// No node can hold it: the rollout stops, and what runs goes on.
		must(t, "patch", "deployment", "erlmcp", "-p", `{"spec":{"progressDeadlineSeconds":10}}`)
		must(t, "set", "resources", "deployment/erlmcp", "--limits=cpu=100,memory=1Gi", "--requests=cpu=100,memory=512Mi")
		least = watch(t)
		refused(t, "exceeded its progress deadline", "rollout", "status", "deployment/erlmcp", "--timeout", "60s")
		must(t, "rollout", "undo", "deployment/erlmcp")
		must(t, "rollout", "status", "deployment/erlmcp", "--timeout", "60s")
		if n := least(); n < 3 {
			t.Errorf("only %d pods during a bad rollout", n)
		}
		image := func() string {
			return must(t, "get", "deployment", "erlmcp", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
		}
		if !strings.HasSuffix(image(), ":v0.7.1") {
			t.Errorf("undone to %s", image())
		}
		if h := must(t, "rollout", "history", "deployment/erlmcp"); !strings.Contains(h, "\n1 ") {
			t.Errorf("history:\n%s", h)
		}
		must(t, "rollout", "undo", "deployment/erlmcp", "--to-revision=1")
		must(t, "rollout", "status", "deployment/erlmcp", "--timeout", "90s")
		if image() != "erlmcp" {
			t.Errorf("revision 1 is %s", image())
		}
	})
	t.Run("drain", func(t *testing.T) {
		node := must(t, "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}")
		least := watch(t)
		// The only node: pods that are evicted have nowhere to go, so that one may leave and the rest must stay.
		refused(t, "violate the pod's disruption budget", "drain", node, "--timeout", "15s", "--pod-selector", "app=erlmcp")
		if n := least(); n != 2 {
			t.Errorf("%d pods while the node was drained, want 2", n)
		}
		must(t, "uncordon", node)
		must(t, "rollout", "status", "deployment/erlmcp", "--timeout", "60s")
	})
}

// watch looks at the pods until the function that it returns is called, which says how few could serve.
func watch(t *testing.T) func() int {
	stop, least := make(chan struct{}), make(chan int)
	go func() {
		fewest := 1 << 20
		for {
			out, err := exec.Command("kubectl", "--namespace", "erlmcp", "get", "pods", "-l", "app=erlmcp", "-o",
				`jsonpath={range .items[*]}{.metadata.deletionTimestamp}{range .status.conditions[?(@.type=="Ready")]}{.status}{end}{"\n"}{end}`).Output()
			if n := countReady(string(out)); err == nil && n < fewest {
				fewest = n
			}
			select {
			case <-stop:
				least <- fewest
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	return func() int { close(stop); return <-least }
}

// countReady counts the lines of pods that are ready and not going.
func countReady(lines string) int {
	n := 0
	for line := range strings.Lines(lines) {
		if strings.TrimSpace(line) == "True" {
			n++
		}
	}
	return n
}

package kubernetes

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// planned objects of the namespace: it, the Role, and who has that.
func namespaced(t *testing.T) (all []object) {
	t.Helper()
	text, err := os.ReadFile("testdata/staging/namespace.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for decoder := yaml.NewDecoder(strings.NewReader(string(text))); ; {
		var o map[string]any
		if err := decoder.Decode(&o); err != nil {
			return all
		}
		all = append(all, o)
	}
}

// deployer is the account that the plan binds to the Role, by the name that GKE gives accounts of Google's: their address.
func deployer(t *testing.T) string {
	t.Helper()
	for _, o := range namespaced(t) {
		if o.kind() == "RoleBinding" {
			return fmt.Sprint(object(o["subjects"].([]any)[0].(map[string]any))["name"])
		}
	}
	t.Fatal("nobody may release")
	return ""
}

// rights wants the account of releases to write the kinds that a release brings and no others, and the API server to refuse what could be used to
// get further than that.
func (d *delivery) rights(t *testing.T, r *release) {
	names := map[string]string{} // of resources, by kind
	for line := range strings.Lines(must(t, "api-resources", "--no-headers")) {
		f := strings.Fields(line)
		names[f[len(f)-1]] = f[0]
	}
	want := map[string]bool{"deployments/scale": true}
	for _, o := range r.objects {
		want[names[o.kind()]] = true
	}
	var role object
	got := map[string]bool{}
	for _, o := range namespaced(t) {
		if o.kind() != "Role" {
			continue
		}
		role = o
		for _, rule := range o["rules"].([]any) {
			rule := object(rule.(map[string]any))
			for _, resource := range rule["resources"].([]any) {
				if slices.Contains(rule["verbs"].([]any), any("patch")) {
					got[fmt.Sprint(resource)] = true
				}
			}
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("it may write %v, and a release brings %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}

	as := func(args ...string) []string { return append([]string{"--as", d.account}, args...) }
	for _, args := range []string{
		"get secrets", "get secret erlmcp-secret", "create secret generic other --from-literal=a=b", "delete secret erlmcp-secret",
		"create token erlmcp", "create role more --verb=get --resource=secrets", "create rolebinding more --role=releases --user=other",
		"patch role releases --type=json -p [{\"op\":\"remove\",\"path\":\"/rules/0\"}]", "delete rolebinding releases",
		"create clusterrole more --verb=get --resource=secrets", "create clusterrolebinding more --clusterrole=cluster-admin --user=" + d.account,
		"label namespace erlmcp pod-security.kubernetes.io/enforce=privileged --overwrite", "create namespace other", "delete namespace erlmcp",
		"get nodes", "get pods --all-namespaces", "run other --image=other", "delete pods --all", "exec deployment/erlmcp -- true",
		"get configmaps --namespace default", "create configmap other --namespace default", "get deployments --namespace kube-system",
		"get customresourcedefinitions",
	} {
		refused(t, "orbidden", as(strings.Fields(args)...)...)
	}
	for _, args := range []string{"get deployments", "rollout history deployment/erlmcp", "get events", "create configmap other --from-literal=a=b", "delete configmap other"} {
		must(t, as(strings.Fields(args)...)...)
	}

	// Who releases has these rights by the Role alone.
	without := role.clone(t)
	without["rules"] = slices.DeleteFunc(without["rules"].([]any), func(rule any) bool {
		return slices.Contains(rule.(map[string]any)["resources"].([]any), any("deployments"))
	})
	text, err := yaml.Marshal(map[string]any(without))
	if err != nil {
		t.Fatal(err)
	}
	must(t, "apply", "-f", fileOf(t, string(text)))
	refused(t, "orbidden", as("rollout", "undo", "deployment/erlmcp")...)
	must(t, "apply", "-f", "testdata/staging/namespace.yaml")
	must(t, as("rollout", "history", "deployment/erlmcp")...)
}

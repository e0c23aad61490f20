// Package tfplan has the real providers plan the Terraform of this repository without a cloud, for the checks that read what they plan.
package tfplan

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Compositions are what may be planned, each a folder of infra.
var Compositions = []string{"cloudrun", "gke"}

// Copy copies what Terraform reads, of the repository at root, to a folder of its own, where it may leave its files, with the state beside it.
func Copy(t *testing.T, root string) string {
	t.Helper()
	dir := t.TempDir()
	for _, tree := range []string{"infra", "function/internal/store/firestore"} {
		if err := os.CopyFS(filepath.Join(dir, tree), os.DirFS(filepath.Join(root, tree))); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range Compositions {
		if err := os.WriteFile(filepath.Join(dir, "infra", c, "backend_override.tf"), []byte("terraform {\n  backend \"local\" {}\n}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Run runs terraform in a folder, and returns what it prints.
func Run(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("terraform")
	if err != nil {
		t.Fatal("terraform is not installed: https://developer.hashicorp.com/terraform/install, 1.11 or later")
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TF_IN_AUTOMATION=1", "GOOGLE_OAUTH_ACCESS_TOKEN=x", "CHECKPOINT_DISABLE=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("terraform %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return out
}

// A Plan is what terraform show -json says of one.
type Plan struct {
	PlannedValues struct {
		Outputs    map[string]struct{ Value any } `json:"outputs"`
		RootModule module                         `json:"root_module"`
	} `json:"planned_values"`
	Changes []Change `json:"resource_changes"`
}

// A Change is what is to happen to one resource.
type Change struct {
	Address  string
	Previous string `json:"previous_address"` // where it was before it was moved
	Module   string `json:"module_address"`
	Mode     string
	Type     string
	Name     string
	Index    any
	Provider string `json:"provider_name"`
	Change   struct {
		Actions       []string
		Before, After map[string]any
		Unknown       map[string]any `json:"after_unknown"` // true in the place of what is not known yet
		Replaces      []any          `json:"replace_paths"`
	}
}

// Make plans a composition, in a folder that is initialized, with variables. A state that is there is taken at its word.
func Make(t *testing.T, dir string, variables map[string]string) (p Plan) {
	t.Helper()
	args := []string{"plan", "-input=false", "-refresh=false", "-no-color", "-out=tfplan"}
	for k, v := range variables {
		args = append(args, "-var", k+"="+v)
	}
	Run(t, dir, args...)
	if err := json.Unmarshal(Run(t, dir, "show", "-json", "tfplan"), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// Resources are those of all modules.
func (p *Plan) Resources() []Resource { return p.PlannedValues.RootModule.all() }

type module struct {
	Resources []Resource
	Children  []module `json:"child_modules"`
}

func (m module) all() []Resource {
	out := m.Resources
	for _, c := range m.Children {
		out = append(out, c.all()...)
	}
	return out
}

// A Resource is one that is planned, with what is known of it.
type Resource struct {
	Address, Type string
	Values        map[string]any
}

// At follows a path such as "template.0.containers".
func (r Resource) At(path string) any {
	var v any = r.Values
	for key := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			if key != "0" || len(x) == 0 {
				return nil
			}
			v = x[0]
		default:
			return nil
		}
	}
	return v
}

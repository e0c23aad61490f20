package infra

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/erlmcp/local/checks/tfplan"
)

// environments are those of the last release: with these variables the state in testdata/released is theirs.
var environments = map[string]map[string]string{
	"cloudrun": with(cloudrun("production"), "domain", "mcp.example.com", "receipt_key", "kms", "authentication", "cloudrun,keys", "policy", "rules: []",
		"databases", `["erlmcp-restored"]`, "taiea_authentication", "cloudrun,keys", "people", `{on_call=["group:oncall@example.com"]}`),
	"gke": with(gke("production"), "receipt_key", "kms", "authentication", "keys", "policy", "rules: []", "databases", `["erlmcp-restored"]`,
		"taiea_url", "https://taiea.example.com", "webhook", "true", "taiea_authentication", "keys"),
}

// upgrades has environments of the last release taken to this one: nothing that is there may be destroyed or made anew, but for grants of
// roles. UPDATE=1 with RELEASED, a checkout of a release, writes what its environments are.
func (w *workspace) upgrades(t *testing.T) {
	for composition, variables := range environments {
		t.Run(composition, func(t *testing.T) {
			file := filepath.Join("testdata/released", composition+".json.gz")
			if checkout := os.Getenv("RELEASED"); checkout != "" && os.Getenv("UPDATE") != "" {
				record(t, checkout, composition, variables, file)
			}
			dir := filepath.Join(w.dir, "infra", composition)
			state := filepath.Join(dir, "terraform.tfstate")
			unpack(t, file, state)
			defer os.Remove(state)
			p := tfplan.Make(t, dir, variables)
			if fault := lossless(p.Changes); fault != "" {
				t.Error(fault)
			}
			moved, made := 0, []string{}
			for i, c := range p.Changes {
				if c.Previous != "" {
					moved++
				}
				if slices.Equal(c.Change.Actions, []string{"create"}) {
					made = append(made, c.Address)
				}
				if c.Type == "google_firestore_database" {
					p.Changes[i].Change.Actions = []string{"delete", "create"}
				}
			}
			t.Logf("%d resources move, and %d are new: %v", moved, len(made), made)
			if lossless(p.Changes) == "" {
				t.Error("nobody minds that databases are made anew")
			}
		})
	}
}

// lossless wants nothing destroyed, for good or to be made anew, but grants of roles, which hold nothing, and files that releases bring, of which
// the bucket keeps versions.
func lossless(changes []tfplan.Change) string {
	var faults []string
	there := 0
	for _, c := range changes {
		if c.Change.Before != nil {
			there++
		}
		if slices.Contains(c.Change.Actions, "delete") && !strings.HasSuffix(c.Type, "_iam_member") && !strings.HasPrefix(c.Address, "module.delivery.google_storage_bucket_object.") {
			faults = append(faults, fmt.Sprintf("%s: %v because of %v", c.Address, c.Change.Actions, c.Change.Replaces))
		}
	}
	if there < 100 {
		faults = append(faults, fmt.Sprintf("%d resources were there", there))
	}
	return strings.Join(faults, "\n")
}

// record writes the state that an environment of a checkout would have: what the real providers plan, with made-up values in place of
// those that a cloud makes, planned again until nothing is left to change.
func record(t *testing.T, checkout, composition string, variables map[string]string, file string) {
	t.Helper()
	dir := filepath.Join(tfplan.Copy(t, checkout), "infra", composition)
	tfplan.Run(t, dir, "init", "-input=false", "-no-color")
	made := schemas(t, dir)
	state := map[string]tfplan.Change{}
	for round := range 8 {
		p := tfplan.Make(t, dir, variables)
		changed := false
		for _, c := range p.Changes {
			if c.Mode != "managed" || slices.Equal(c.Change.Actions, []string{"no-op"}) {
				continue
			}
			if c.Change.Actions[0] == "update" && round > 0 { // of what a cloud makes, and goes on so
				c.Change.Actions = nil
			} else {
				changed = true
			}
			if round > 5 && c.Change.Actions != nil {
				t.Logf("%s: %v because of %v", c.Address, c.Change.Actions, c.Change.Replaces)
			}
			old := state[c.Address].Change.After
			c.Change.After = made[c.Type].fill(c.Address, c.Change.After, c.Change.Unknown, old)
			state[c.Address] = c
		}
		t.Logf("round %d: %v", round, changed)
		write(t, filepath.Join(dir, "terraform.tfstate"), stateOf(state, made))
		if !changed {
			os.MkdirAll(filepath.Dir(file), 0o755)
			var packed bytes.Buffer
			z, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
			z.Write(stateOf(state, made))
			z.Close()
			write(t, file, packed.Bytes())
			return
		}
	}
	t.Fatal("there is always something left to change")
}

// stateOf is a state in the form of Terraform's version 4.
func stateOf(changes map[string]tfplan.Change, made map[string]schema) []byte {
	type instance struct {
		Index      any            `json:"index_key,omitempty"`
		Version    int            `json:"schema_version"`
		Attributes map[string]any `json:"attributes"`
	}
	type entry struct {
		Module    string     `json:"module,omitempty"`
		Mode      string     `json:"mode"`
		Type      string     `json:"type"`
		Name      string     `json:"name"`
		Provider  string     `json:"provider"`
		Instances []instance `json:"instances"`
	}
	entries := map[string]*entry{}
	for _, address := range slices.Sorted(maps.Keys(changes)) {
		c := changes[address]
		key := c.Module + " " + c.Type + " " + c.Name
		e := entries[key]
		if e == nil {
			e = &entry{c.Module, c.Mode, c.Type, c.Name, fmt.Sprintf("provider[%q]", c.Provider), nil}
			entries[key] = e
		}
		e.Instances = append(e.Instances, instance{c.Index, made[c.Type].Version, c.Change.After})
	}
	var all []*entry
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		all = append(all, entries[key])
	}
	text, _ := json.Marshal(map[string]any{"version": 4, "serial": 1, "lineage": "released", "resources": all})
	return text
}

// A schema is what a provider says of a type of resource.
type schema struct {
	Version int
	Block   block
}

type block struct {
	Attributes map[string]struct {
		Type               any
		Description        string
		Optional, Required bool
	}
	Blocks map[string]struct{ Block block } `json:"block_types"`
}

// schemas are those of all types of resources that the providers of a composition know.
func schemas(t *testing.T, dir string) map[string]schema {
	t.Helper()
	var all struct {
		Providers map[string]struct {
			Resources map[string]schema `json:"resource_schemas"`
		} `json:"provider_schemas"`
	}
	if err := json.Unmarshal(tfplan.Run(t, dir, "providers", "schema", "-json"), &all); err != nil {
		t.Fatal(err)
	}
	out := map[string]schema{}
	for _, p := range all.Providers {
		maps.Copy(out, p.Resources)
	}
	return out
}

// fill puts what was there before, or else something made up, in the place of what is not known.
func (s schema) fill(address string, after, unknown, before map[string]any) map[string]any {
	out := maps.Clone(after)
	for name, is := range unknown {
		if is != true {
			continue
		}
		if out[name] = before[name]; before[name] != nil {
			continue
		}
		switch email, _ := after["email"].(string); {
		case strings.Contains(address, ".google_service_account.") && (name == "id" || name == "name"): // which is looked at
			out[name] = "projects/my-project/serviceAccounts/" + email
			continue
		}
		kind := s.Block.Attributes[name].Type
		if of, ok := kind.([]any); ok {
			kind = of[0]
		}
		switch kind {
		case "map", "object":
			out[name] = map[string]any{}
		case "string":
			out[name] = address + "." + name
		case "number":
			out[name] = 1
		case "bool":
			out[name] = false
		default:
			out[name] = []any{}
		}
	}
	return out
}

func write(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func unpack(t *testing.T, file, to string) {
	t.Helper()
	packed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, text)
}

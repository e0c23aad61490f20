package rollout

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"example.com/erlmcp/local/checks/grants"
	"example.com/erlmcp/local/checks/tfplan"
)

const (
	root    = "../../.."
	project = "my-project"
	region  = "us-central1"
)

// A pipeline is what Terraform plans of one, its target and its automation.
type pipeline struct {
	name      string
	phases    []phase // of a canary; none for a release that gets all at once
	standard  bool    // verified
	retries   map[string]int
	rollsBack map[string]bool // jobs after whose failure there is a rollback
	advances  []string        // phases after which a rollout goes on by itself
	tags      []string        // of a canary
	account   string          // that runs the jobs and the automation
}

type phase struct {
	id      string
	percent int
	verify  bool
}

// A platform is what the real provider plans: the pipelines, what releases bring, and who may what.
type platform struct {
	pipelines map[string]*pipeline
	files     map[string]string // of the bucket
	bucket    string
	grants    *grants.Grants
}

// judged tells whether a rollout is verified: of a service it is, and of a job it is not.
func (p *pipeline) judged() bool { return p.standard || len(p.phases) > 0 }

// planned plans an environment of Cloud Run with the real provider.
func planned(t *testing.T) *platform {
	t.Helper()
	at := filepath.Join(tfplan.Copy(t, root), "infra/cloudrun")
	tfplan.Run(t, at, "init", "-input=false", "-no-color")
	p := tfplan.Make(t, at, map[string]string{"project": project, "project_number": "123456789012", "environment": "staging",
		"repository": `{url="https://github.com/example/erlmcp.git",connection="ours"}`})
	return read(t, p.Resources())
}

type resource struct{ tfplan.Resource }

func (r resource) text(key string) string { s, _ := r.Values[key].(string); return s }

// read takes from a plan what the platform goes by.
func read(t *testing.T, rs []tfplan.Resource) *platform {
	t.Helper()
	p := &platform{pipelines: map[string]*pipeline{}, files: map[string]string{}, grants: grants.Of(rs)}
	for _, planned := range rs {
		r := resource{planned}
		switch r.Type {
		case "google_clouddeploy_delivery_pipeline":
			var stages struct {
				Strategy []struct {
					Standard []struct{ Verify bool }
					Canary   []struct {
						Custom []struct {
							Phases []struct {
								ID         string `json:"phase_id"`
								Percentage int
								Verify     bool
							} `json:"phase_configs"`
						} `json:"custom_canary_deployment"`
						Runtime []struct {
							CloudRun []struct {
								Automatic bool     `json:"automatic_traffic_control"`
								Tags      []string `json:"canary_revision_tags"`
							} `json:"cloud_run"`
						} `json:"runtime_config"`
					}
				}
			}
			convert(t, r.Values["serial_pipeline"].([]any)[0].(map[string]any)["stages"].([]any)[0], &stages)
			line := p.pipeline(r.text("name"))
			for _, s := range stages.Strategy {
				for _, s := range s.Standard {
					line.standard = s.Verify
				}
				for _, c := range s.Canary {
					if !c.Runtime[0].CloudRun[0].Automatic {
						t.Errorf("%s: nobody moves traffic", line.name)
					}
					line.tags = c.Runtime[0].CloudRun[0].Tags
					for _, f := range c.Custom[0].Phases {
						line.phases = append(line.phases, phase{f.ID, f.Percentage, f.Verify})
					}
				}
			}
		case "google_clouddeploy_automation":
			line := p.pipeline(r.text("delivery_pipeline"))
			var rules []struct {
				Advance []struct {
					Phases []string `json:"source_phases"`
				} `json:"advance_rollout_rule"`
				Repair []struct {
					Jobs   []string
					Phases []struct {
						Retry    []struct{ Attempts string }
						Rollback []struct{}
					} `json:"repair_phases"`
				} `json:"repair_rollout_rule"`
			}
			convert(t, r.Values["rules"], &rules)
			for _, rule := range rules {
				for _, a := range rule.Advance {
					line.advances = append(line.advances, a.Phases...)
				}
				for _, repair := range rule.Repair {
					for _, job := range repair.Jobs {
						for _, f := range repair.Phases {
							for _, retry := range f.Retry {
								var n int
								fmt.Sscan(retry.Attempts, &n)
								line.retries[job] = n
							}
							line.rollsBack[job] = line.rollsBack[job] || len(f.Rollback) > 0
						}
					}
				}
			}
			line.account = r.text("service_account")
		case "google_storage_bucket":
			if strings.HasPrefix(r.Address, "module.delivery") {
				p.bucket = r.text("name")
			}
		case "google_storage_bucket_object":
			p.files[r.text("name")] = r.text("content")
		}
	}
	return p
}

func (p *platform) pipeline(name string) *pipeline {
	if p.pipelines[name] == nil {
		p.pipelines[name] = &pipeline{name: name, retries: map[string]int{}, rollsBack: map[string]bool{}}
	}
	return p.pipelines[name]
}

func convert(t *testing.T, from, to any) {
	t.Helper()
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

// may tells whether a service account has a permission on a resource.
func (p *platform) may(account, permission, on string) bool {
	return p.grants.May("serviceAccount:"+account, permission, on)
}

// without takes a role from everyone.
func (p *platform) without(role string) { p.grants = p.grants.Without(role) }

package infra

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// backedUp wants a job that backs up daily and drills monthly.
func backedUp(rs []resource) string { return kept(rs) + job(rs) + scheduled(rs) }

// kept wants a bucket whose objects nobody who puts them there can change or delete, and an account that can't change the database that
// serves.
func kept(rs []resource) string {
	fault := each(rs, "google_storage_bucket", func(r resource) string {
		if !strings.HasPrefix(r.Address, "module.platform.module.backup") {
			return ""
		}
		var period string
		if p, _ := r.At("retention_policy.0.retention_period").(string); p == "" || p == "0" {
			period = "nothing is retained"
		}
		rule, _ := r.At("lifecycle_rule.0.condition.0.matches_prefix.0").(string)
		if !strings.HasSuffix(rule, "/backups/") {
			period += "what vouches for receipts is deleted: " + rule
		}
		return period + must(r, "uniform_bucket_level_access", true) + must(r, "public_access_prevention", "enforced")
	})
	var roles []string
	for _, r := range rs {
		switch {
		case r.Type == "google_storage_bucket_iam_member" && strings.HasPrefix(r.Address, "module.platform.module.backup"):
			roles = append(roles, fmt.Sprint(r.Values["role"]))
		case r.Type == "google_project_iam_member" && strings.HasPrefix(r.Address, "module.platform.module.backup") && r.Values["role"] == "roles/datastore.user":
			if e := fmt.Sprint(r.At("condition.0.expression")); !strings.HasSuffix(e, `-drill"`) || strings.Contains(e, "||") {
				fault += r.Address + ": may write where " + e
			}
		}
	}
	slices.Sort(roles)
	if want := "roles/storage.objectCreator roles/storage.objectCreator roles/storage.objectCreator roles/storage.objectViewer roles/storage.objectViewer roles/storage.objectViewer"; strings.Join(roles, " ") != want {
		fault += fmt.Sprintf("on the bucket there are %v, want %s", roles, want)
	}
	return fault
}

// job wants the manifest of the job that Terraform made, run as its account.
func job(rs []resource) string {
	return each(rs, "google_cloud_run_v2_job", func(r resource) string {
		for _, o := range rs {
			name, _ := o.Values["name"].(string)
			if o.Type != "google_storage_bucket_object" || path.Base(name) != "job.yaml" {
				continue
			}
			m := resource{Address: o.Address}
			if err := yaml.Unmarshal([]byte(fmt.Sprint(o.Values["content"])), &m.Values); err != nil {
				return err.Error()
			}
			return must(m, "apiVersion", "run.googleapis.com/v1") + must(m, "kind", "Job") + must(m, "metadata.name", r.Values["name"]) +
				must(m, "spec.template.spec.template.spec.containers.0.image", "erlmcp") +
				must(m, "spec.template.spec.template.spec.serviceAccountName", r.At("template.0.template.0.service_account"))
		}
		return "no release brings it"
	})
}

// scheduled wants the body of each schedule to be a command that runs.
func scheduled(rs []resource) string {
	var commands []string
	fault := each(rs, "google_cloud_scheduler_job", func(r resource) string {
		if r.Address == "google_cloud_scheduler_job.roots[0]" { // runs no job
			return must(r, "time_zone", "Etc/UTC")
		}
		text, err := base64.StdEncoding.DecodeString(fmt.Sprint(r.At("http_target.0.body")))
		var body struct {
			Overrides struct {
				ContainerOverrides []struct {
					Name string
					Args []string
				}
			}
		}
		if err == nil {
			err = json.Unmarshal(text, &body)
		}
		if err != nil || len(body.Overrides.ContainerOverrides) != 1 {
			return fmt.Sprintf("runs %s, %v", text, err)
		}
		commands = append(commands, body.Overrides.ContainerOverrides[0].Args[0])
		return must(r, "time_zone", "Etc/UTC")
	})
	slices.Sort(commands)
	if strings.Join(commands, " ") != "backup drill" {
		fault += fmt.Sprintf("%v are run by themselves", commands)
	}
	return fault
}

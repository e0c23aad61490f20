package infra

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

const (
	webhooked  = "Cloud Run with a webhook, and a part of a landing zone"
	rootsSince = "2026-12-01T00:00:00Z"
)

// rootsApart wants the key of roots with the control plane alone, each process to know from when on it makes them, and on Cloud Run the control
// plane to be asked for one each minute, as an account and for an audience that it lets in.
func rootsApart(rs []resource) (fault string) {
	told := processes(rs)
	if len(told) < 2 {
		return fmt.Sprintf("there are the processes %v", told)
	}
	for name, env := range told {
		keys := 0
		for _, k := range []string{"RECEIPT_ROOT_KEY_FILE", "RECEIPT_ROOT_KMS_KEY"} {
			if env[k] != "" {
				keys++
			}
		}
		if want := map[bool]int{true: 1}[strings.HasSuffix(name, "taiea")]; keys != want {
			fault += fmt.Sprintf("%s has %d keys of roots, want %d\n", name, keys, want)
		}
		if env["RECEIPT_ROOTS_SINCE"] != rootsSince {
			fault += fmt.Sprintf("%s makes roots since %q\n", name, env["RECEIPT_ROOTS_SINCE"])
		}
	}
	holders := []string{}
	for _, r := range rs {
		if strings.HasSuffix(fmt.Sprint(r.Values["secret_id"]), "-receipt-root-key") && r.Values["member"] != nil || strings.Contains(r.Address, "google_kms_crypto_key_iam_member.roots") {
			holders = append(holders, fmt.Sprint(r.Values["member"]))
		}
	}
	if !slices.Equal(holders, []string{"serviceAccount:erlmcp-taiea@my-project.iam.gserviceaccount.com"}) {
		fault += fmt.Sprintf("the key of roots is with %v\n", holders)
	}
	if has(rs, "google_container_cluster") {
		return fault // its pods always have time
	}
	asked := 0
	for _, r := range rs {
		if r.Type == "google_cloud_scheduler_job" && strings.Contains(fmt.Sprint(r.At("http_target.0.uri")), "/v1/receipts/anchor") {
			asked++
			fault += must(r, "schedule", "* * * * *") + must(r, "http_target.0.uri", "https://erlmcp-taiea-123456789012.us-central1.run.app/v1/receipts/anchor") +
				must(r, "http_target.0.oidc_token.0.audience", told["erlmcp-taiea"]["PUBSUB_AUDIENCE"]) +
				must(r, "http_target.0.oidc_token.0.service_account_email", told["erlmcp-taiea"]["PUBSUB_SERVICE_ACCOUNT"])
		}
		if r.Type == "manifest" && name(r) == "erlmcp-taiea" && annotation(r, ofTemplate, "run.googleapis.com/cpu-throttling") != "true" {
			fault += "a request each minute keeps an instance of the control plane, and all its time is paid for\n"
		}
	}
	if asked != 1 {
		fault += fmt.Sprintf("the control plane is asked for roots by %d schedules\n", asked)
	}
	return fault
}

// processes are the settings of what a plan runs, by its name: services, and the pods of a cluster's kustomization.
func processes(rs []resource) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, r := range rs {
		if r.Type == "manifest" {
			out[name(r)] = map[string]string{}
			for k, v := range env(r).Values {
				out[name(r)][k] = fmt.Sprint(v)
			}
		}
		if at, _ := r.Values["name"].(string); r.Type != "google_storage_bucket_object" || path.Base(path.Dir(at)) != "release" || path.Base(at) != "kustomization.yaml" {
			continue
		}
		var k struct {
			Maps []struct {
				Name     string
				Literals []string
			} `yaml:"configMapGenerator"`
		}
		if yaml.Unmarshal([]byte(fmt.Sprint(r.Values["content"])), &k) != nil {
			continue
		}
		for _, m := range k.Maps {
			function, is := strings.CutSuffix(m.Name, "-settings")
			if !is {
				continue
			}
			out[function] = map[string]string{}
			for _, l := range m.Literals {
				key, value, _ := strings.Cut(l, "=")
				out[function][key] = value
			}
		}
	}
	return out
}

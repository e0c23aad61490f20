package infra

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// attested wants all that runs to go by the project's policy, by which images run that the release's account has signed, and by name those that
// it does not build. The policy's words are those of https://cloud.google.com/binary-authorization/docs/policy-yaml-reference.
func attested(rs []resource) string {
	const releases = "serviceAccount:erlmcp-release@my-project.iam.gserviceaccount.com"
	const key = "projects/my-project/locations/us-central1/keyRings/erlmcp-images/cryptoKeys/images"
	fault := each(rs, "google_binary_authorization_policy", func(r resource) string {
		var others []string
		patterns, _ := r.Values["admission_whitelist_patterns"].([]any)
		for _, p := range patterns {
			others = append(others, fmt.Sprint(p.(map[string]any)["name_pattern"]))
		}
		slices.Sort(others)
		want := []string{"us-docker.pkg.dev/cloud-ops-agents-artifacts/google-cloud-opentelemetry-collector/otelcol-google:0.156.1"}
		if !has(rs, "google_container_cluster") {
			want = append(want, "us-docker.pkg.dev/cloudrun/container/hello", "us-docker.pkg.dev/cloudrun/container/job")
		}
		if !slices.Equal(others, want) {
			return fmt.Sprintf("%v run unsigned, want %v", others, want)
		}
		return must(r, "default_admission_rule.0.evaluation_mode", "REQUIRE_ATTESTATION") +
			must(r, "default_admission_rule.0.enforcement_mode", "ENFORCED_BLOCK_AND_AUDIT_LOG") +
			must(r, "default_admission_rule.0.require_attestations_by", []any{"erlmcp-images"})
	})
	fault += each(rs, "google_binary_authorization_attestor", func(r resource) string {
		return must(r, "name", "erlmcp-images") + must(r, "attestation_authority_note.0.note_reference", "erlmcp-images") +
			must(r, "attestation_authority_note.0.public_keys.0.id", "//cloudkms.googleapis.com/v1/"+key+"/cryptoKeyVersions/1")
	})
	// https://cloud.google.com/binary-authorization/docs/making-attestations: who signs has these, and here nobody else has any of them.
	got := map[string]string{}
	for _, r := range rs {
		role := fmt.Sprint(r.Values["role"])
		if strings.Contains(role, "binaryauthorization") || strings.Contains(role, "containeranalysis") || r.Type == "google_kms_crypto_key_iam_member" && r.Values["crypto_key_id"] == any(key) {
			got[r.Type+" "+role] += fmt.Sprint(r.Values["member"])
		}
	}
	want := map[string]string{
		"google_kms_crypto_key_iam_member roles/cloudkms.signerVerifier":                            releases,
		"google_binary_authorization_attestor_iam_member roles/binaryauthorization.attestorsViewer": releases,
		"google_container_analysis_note_iam_member roles/containeranalysis.notes.attacher":          releases,
		"google_project_iam_member roles/containeranalysis.occurrences.editor":                      releases,
	}
	if !maps.Equal(got, want) {
		fault += fmt.Sprintf("roles to sign images are %v, want %v", got, want)
	}
	fault += each(rs, "google_cloudbuild_trigger", func(r resource) string {
		return must(r, "substitutions._ATTESTOR", "projects/my-project/attestors/erlmcp-images") + must(r, "substitutions._ATTESTOR_KEY", key+"/cryptoKeyVersions/1")
	})
	for _, r := range rs {
		switch r.Type {
		case "manifest":
			if got := annotation(r, ofService, "run.googleapis.com/binary-authorization"); got != "default" {
				fault += fmt.Sprintf("%s goes by the policy %v", r.Address, got)
			}
		case "google_container_cluster":
			fault += must(r, "binary_authorization.0.evaluation_mode", "PROJECT_SINGLETON_POLICY_ENFORCE")
		}
	}
	return fault
}

// unattested wants no policy for the project where the variable does not ask for it, and the policy wherever images must be signed.
func unattested(rs []resource) string {
	asked := has(rs, "google_binary_authorization_attestor")
	if has(rs, "google_binary_authorization_policy") != asked {
		return "the project has a policy of Binary Authorization without an attestor, or the other way round"
	}
	for _, r := range rs {
		if r.Type == "manifest" && (annotation(r, ofService, "run.googleapis.com/binary-authorization") != nil) != asked {
			return r.Address + " goes by a policy that there is not, or by none"
		}
	}
	return ""
}

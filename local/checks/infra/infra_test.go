// Package infra checks the Terraform of both compositions without a cloud: form, types, each combination of variables that
// the documents offer, and what the real provider plans to make, held against rules.
package infra

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"example.com/erlmcp/local/checks/tfplan"
)

const root = "../../../"

func TestForm(t *testing.T) {
	if out := tfplan.Run(t, root+"infra", "fmt", "-check", "-recursive", "-diff", "-no-color"); len(out) > 0 {
		t.Errorf("terraform fmt -recursive infra:\n%s", out)
	}
}

// A workspace holds both compositions with their providers, and what was planned in it.
type workspace struct {
	dir   string
	plans map[string]tfplan.Plan
	known map[string]schema
}

// schemas are those of the providers of a composition.
func (w *workspace) schemas(t *testing.T) map[string]schema {
	t.Helper()
	if w.known == nil {
		w.known = schemas(t, filepath.Join(w.dir, "infra/cloudrun"))
	}
	return w.known
}

func TestCompositions(t *testing.T) {
	w := &workspace{dir: tfplan.Copy(t, root), plans: map[string]tfplan.Plan{}}
	for _, c := range tfplan.Compositions {
		tfplan.Run(t, filepath.Join(w.dir, "infra", c), "init", "-input=false", "-no-color")
	}
	t.Run("combinations", w.combinations)
	t.Run("costs", w.costs)
	t.Run("plans", w.rulesHold)
	t.Run("rules can fail", w.rulesCanFail)
	t.Run("generated", w.generated)
	t.Run("upgrades", w.upgrades)
	t.Run("examples", w.examples)
}

func (w *workspace) combinations(t *testing.T) {
	for _, c := range tfplan.Compositions {
		at := filepath.Join(w.dir, "infra", c)
		tfplan.Run(t, at, "validate", "-no-color")
		t.Logf("%s", tfplan.Run(t, at, "test", "-no-color", "-filter=tests/combinations.tftest.hcl"))
	}
}

// TestVariablesAreDescribed holds for each variable of the compositions that it is described, validated unless its type leaves nothing
// to check, and of the same type in both.
func TestVariablesAreDescribed(t *testing.T) {
	blocks := regexp.MustCompile(`(?ms)^variable "(\w+)" \{\n(.*?)^\}`)
	types := map[string]string{}
	for _, c := range tfplan.Compositions {
		text, err := os.ReadFile(root + "infra/" + c + "/variables.tf")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, b := range blocks.FindAllStringSubmatch(string(text), -1) {
			names = append(names, b[1])
			if !strings.Contains(b[2], "description = ") {
				t.Errorf("%s: %s is not described", c, b[1])
			}
			kind := strings.Join(strings.Fields(regexp.MustCompile(`(?s)  type +=(.*?)\n(  default|\n  validation|$)`).FindStringSubmatch(b[2])[1]), " ")
			if other, there := types[b[1]]; there && kind != other {
				t.Errorf("%s: %s is %s, and %s in the other composition", c, b[1], kind, other)
			}
			types[b[1]] = kind
			if !strings.Contains(b[2], "validation {") && !regexp.MustCompile(`type +\s*= bool`).MatchString(b[2]) {
				t.Errorf("%s: %s is not validated", c, b[1])
			}
		}
		if len(names) < 10 || !slices.IsSorted(names) {
			t.Errorf("%s: variables are not in order: %v", c, names)
		}
	}
}

type resource = tfplan.Resource

func (w *workspace) plan(t *testing.T, composition string, variables map[string]string) tfplan.Plan {
	t.Helper()
	key := fmt.Sprint(composition, variables)
	p, ok := w.plans[key]
	if !ok {
		p = tfplan.Make(t, filepath.Join(w.dir, "infra", composition), variables)
		w.plans[key] = p
	}
	return p
}

// Traits of a set of variables, for which rules hold that are not asked for one by one.
type traits int

const (
	production traits = 1 << iota // by the environment's name, and with the size of that name
	public
	keyed // with a key of one's own
	zoned // in a landing zone
)

type set struct {
	name, composition string
	variables         map[string]string
	is                traits
	rules             []rule
}

// sets of variables with the rules that hold for them beside those that hold for all.
var sets = []set{
	{"Cloud Run in production", "cloudrun", with(cloudrun("production"), "objectives", "true", "channels", `{info=["projects/my-project/notificationChannels/7"]}`), production, []rule{objective("erlmcp"), goingTold, owned, gradual, asProber, watched, scalesToZero, released, collected, seen("erlmcp", 17), apart, signed, backedUp,
		operated("user:alice@example.com"), delivered("https://erlmcp-taiea-123456789012.us-central1.run.app/v1/events/pubsub")}},
	{"Cloud Run in staging, size production", "cloudrun", with(cloudrun("staging"), "size", "production"), 0, []rule{owned, gradual, asProber, watched, shared, replicated, scalesToZero, released, collected, seen("erlmcp-staging", 17), apart, signed, backedUp,
		operated("user:alice@example.com"), delivered("https://erlmcp-staging-taiea-123456789012.us-central1.run.app/v1/events/pubsub")}},
	{"Cloud Run without telemetry", "cloudrun", with(cloudrun("staging"), "telemetry", "false", "taiea_operators", "{}", "receipt_key", "none"), 0,
		[]rule{owned, atOnce, watched, scalesToZero, released, unseen, apart, operated()}},
	{"Cloud Run, public, with a domain", "cloudrun", with(cloudrun("production"), "public", "true", "authentication", "oauth,keys", "domain", "mcp.example.com",
		"ingress", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER", "settings", `{OAUTH_ISSUERS="https://login.example.com"}`, "receipt_key", "kms", "receipt_roots_since", rootsSince), production | public, []rule{rootsApart, gradual, watched, behindBalancer, apart, signedInKMS, backedUp, operated("user:alice@example.com")}},
	{"Cloud Run, private, with a map of tenants", "cloudrun", with(cloudrun("staging"), "size", "small", "settings", `{TENANT_MAP="cloudrun:*=*"}`), 0, []rule{gradual, asProber}},
	{"Cloud Run, private, to holders of keys", "cloudrun", with(cloudrun("staging"), "size", "small", "authentication", "keys"), 0, []rule{gradual, asProber}},
	{webhooked, "cloudrun", with(cloudrun("production"), "webhook", "true", "taiea_authentication", "google,keys", "authentication", "cloudrun,keys", "policy", "rules: []",
		"static_egress", "true", "secret_locations", `["us-central1","us-east1"]`, "binary_authorization", "true", "receipt_roots_since", rootsSince), production | public, []rule{attested, rootsApart, gradual, asProber, watched, hooked, apart, signed, fromOneAddress, located("us-central1", "us-east1")}},
	{"Cloud Run in a landing zone", "cloudrun", with(landed(cloudrun("production")), "domain", "mcp.example.com", "balancer_rate", "6000", "ingress", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"),
		production | keyed | zoned, []rule{gradual, watched, behindBalancer, throttled, apart, signed, backedUp}},
	{"GKE in a landing zone", "gke", with(landed(gke("production")), "secondary_ranges", `{pods="p",services="s"}`), production | keyed | zoned, []rule{gradual, watched, privateNodes, onCluster, kept}},
	{"Cloud Run, size try", "cloudrun", with(cloudrun("staging"), "size", "try"), 0, []rule{owned, atOnce, released, straight, seenNothing, apart, signed, alone, sized("1", "true"),
		operated("user:alice@example.com"), delivered("https://erlmcp-staging-taiea-123456789012.us-central1.run.app/v1/events/pubsub")}},
	{"Cloud Run, size small", "cloudrun", with(cloudrun("staging"), "size", "small"), 0, []rule{owned, gradual, watched, released, straight, seen("erlmcp-staging", 17), apart, signed, shared,
		natless, sized("10", "true"), operated("user:alice@example.com"), delivered("https://erlmcp-staging-taiea-123456789012.us-central1.run.app/v1/events/pubsub")}},
	{"GKE, Autopilot", "gke", with(gke("production"), "objectives", "true"), production, []rule{objective("erlmcp-gke"), gradual, watched, privateNodes, seen("erlmcp-gke", 17), onCluster, kept}},
	{"GKE, Standard", "gke", with(gke("production"), "autopilot", "false", "static_egress", "true", "kms_key", ourKey, "taiea_url", "https://taiea.example.com", "webhook", "true", "taiea_authentication", "keys",
		"authentication", "keys", "binary_authorization", "true", "receipt_roots_since", rootsSince), production | keyed, []rule{attested, rootsApart, gradual, watched, privateNodes, guidesNodes, onCluster, fromOneAddress, delivered("https://taiea.example.com/v1/events/pubsub")}},
	{"GKE beside Cloud Run", "gke", with(gke("staging"), "shares_cloudrun", "true"), 0, []rule{notTwice, gradual, watched, privateNodes, seen("erlmcp-staging-gke", 17)}},
	{"GKE without telemetry", "gke", with(gke("staging"), "telemetry", "false"), 0, []rule{gradual, watched, privateNodes, seenNothing}},
}

func cloudrun(environment string) map[string]string {
	return with(gke(environment), "taiea_operators", `{"alice@example.com"="admin"}`, "domain", "")
}

func gke(environment string) map[string]string {
	return map[string]string{
		"project": "my-project", "project_number": "123456789012", "environment": environment, "domain": "mcp.example.com",
		"emails": `["oncall@example.com"]`, "billing_account": "012345-6789AB-CDEF01",
		"settings": `{GOOGLE_DOMAINS="example.com"}`, "repository": `{url="https://github.com/example/erlmcp.git",github_installation=1234,github_token_secret="github-token"}`,
	}
}

func with(m map[string]string, pairs ...string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

func (w *workspace) rulesHold(t *testing.T) {
	for _, s := range sets {
		t.Run(s.name, func(t *testing.T) {
			p := w.plan(t, s.composition, s.variables)
			resources := withManifests(t, p.Resources())
			if len(resources) < 15 {
				t.Fatalf("%d resources", len(resources))
			}
			for _, r := range append(slices.Clone(always), s.rules...) {
				if fault := r(resources); fault != "" {
					t.Error(fault)
				}
			}
			var said []string // commands among the outputs
			for _, name := range []string{"proxy", "credentials"} {
				if text, ok := p.PlannedValues.Outputs[name].Value.(string); ok {
					said = append(said, text)
				}
			}
			if len(said) == 0 {
				t.Error("no command among the outputs")
			}
			lint(t, said)
			readable(t, resources)
			if s.is&production != 0 {
				if fault := protected(resources) + approved(resources) + replicated(resources); fault != "" {
					t.Error(fault)
				}
			}
			if s.is&keyed != 0 {
				if fault := encrypted(w.schemas(t), ourKey)(resources) + usable(resources); fault != "" {
					t.Error(fault)
				}
			}
			if s.is&zoned != 0 {
				for _, r := range []rule{guest, located("us-central1"), pooled, handedOn, reaching} {
					if fault := r(resources); fault != "" {
						t.Error(fault)
					}
				}
			}
			if s.is&public == 0 {
				if fault := closed(resources); fault != "" {
					t.Error(fault)
				}
			}
		})
	}
}

// rulesCanFail breaks one thing at a time in a plan that is in order.
func (w *workspace) rulesCanFail(t *testing.T) {
	whole := w.plan(t, "cloudrun", with(cloudrun("production"), "objectives", "true", "channels", `{info=["projects/my-project/notificationChannels/7"]}`))
	resources := withManifests(t, whole.Resources())
	taken := delivered("https://erlmcp-taiea-123456789012.us-central1.run.app/v1/events/pubsub")
	for _, c := range []struct {
		old, new string
		rule     rule
	}{
		{`"roles/datastore.user"`, `"roles/editor"`, noPrimitiveRoles},
		{`"google_redis_instance"`, `"google_service_account_key"`, noKeyFiles},
		{`"SERVER_AUTHENTICATION"`, `"DISABLED"`, redisIsSafe},
		{`"noeviction"`, `"allkeys-lru"`, redisIsSafe},
		{`"STANDARD_HA"`, `"BASIC"`, replicated},
		{`"DELETE_PROTECTION_ENABLED"`, `"DELETE_PROTECTION_DISABLED"`, protected},
		{`"deletion_protection":true`, `"deletion_protection":false`, protected},
		{`"serviceAccount:service-123456789012@gcp-sa-monitoring-notification.iam.gserviceaccount.com"`, `"allUsers"`, closed},
		{`"POINT_IN_TIME_RECOVERY_ENABLED"`, `"POINT_IN_TIME_RECOVERY_DISABLED"`, firestoreIsKept},
		{`"erlmcp-quotas"`, `"quotas"`, firestoreIsKept},
		{`databases/erlmcp-receipts`, `databases/erlmcp`, separated},
		{`"roles/datastore.viewer"`, `"roles/datastore.user"`, separated},
		{`"datastore.entities.create"`, `"datastore.entities.update"`, separated},
		{`"secret_id":"erlmcp-keys"`, `"secret_id":"erlmcp-taiea-keys"`, ownSecrets},
		{`"receipts"`, `"tenants"`, firestoreIsKept},
		{`"CONTAINS"`, `"ASCENDING"`, firestoreIsKept},
		{`"erlmcp-taiea@my-project.iam.gserviceaccount.com"`, `"erlmcp@my-project.iam.gserviceaccount.com"`, apart},
		{`"serviceAccount:service-123456789012@gcp-sa-monitoring-notification.iam.gserviceaccount.com"`, `"user:alice@example.com"`, apart},
		{`"secret_id":"erlmcp-keys"`, `"secret_id":"erlmcp-taiea-api-keys"`, ownSecrets},
		{`"secret_id":"erlmcp-keys"`, `"secret_id":"erlmcp-api-keys"`, ownSecrets},
		{`"user:alice@example.com"`, `"allUsers"`, operated("user:alice@example.com")},
		{`"value":"cloudrun"`, `"value":"google"`, operated("user:alice@example.com")},
		{`"max_delivery_attempts":10`, `"max_delivery_attempts":5`, taken},
		{`"erlmcp-entitlements-dead"`, `"erlmcp-entitlements-lost"`, taken},
		{`"erlmcp-push@my-project.iam.gserviceaccount.com"`, `"erlmcp@my-project.iam.gserviceaccount.com"`, apart},
		{`"RECEIPT_KEY_FILE"`, `"RECEIPT_KEY"`, signed},
		{`"/startup"`, `"/health"`, probed},
		{`"private-ranges-only"`, `"all-traffic"`, probed},
		{`"run.googleapis.com/vpc-access-egress"`, `"run.googleapis.com/egress"`, shared},
		{`"google_monitoring_uptime_check_config"`, `"google_storage_bucket"`, watched},
		{`"run.googleapis.com/cpu-throttling":"false"`, `"run.googleapis.com/cpu-throttling":"true"`, scalesToZero},
		{`"run.googleapis.com/minScale"`, `"autoscaling.knative.dev/minScale"`, scalesToZero},
		{`FAILED`, `SUCCEEDED`, failuresTold},
		{`IN_PROGRESS`, `PENDING`, goingTold},
		{`notificationChannels/7`, `notificationChannels/8`, goingTold},
		{`"percentage":50`, `"percentage":90`, gradual},
		{`"verify":true`, `"verify":false`, gradual},
		{`"jobs":["verify"]`, `"jobs":["predeploy"]`, gradual},
		{`"TENANT_MAP"`, `"TENANTS"`, asProber},
		{`"value":"cloudrun"`, `"value":"keys"`, asProber},
		{`\"-as=erlmcp-deploy`, `\"-as=erlmcp`, asProber},
		{`"approval_required":true`, `"approval_required":false`, approved},
		{`"require_approval":null`, `"require_approval":true`, approved},
		{`"image":"erlmcp"`, `"image":"erlmcp:latest"`, owned},
		{`"cloudbuild.yaml"`, `"other.yaml"`, released},
		{`roles/run.developer`, `roles/run.admin`, released},
		{`roles/clouddeploy.releaser`, `roles/run.developer`, released},
		{`**Do**`, `**Panic**`, told},
		{`job=\"erlmcp\"`, `job=\"erlmcp-staging\"`, seen("erlmcp", 17)},
		{`"goal":0.995`, `"goal":0.99`, objective("erlmcp")},
		{`|shutting_down\")`, `\")`, objective("erlmcp")},
		{`"max":0.5`, `"max":5`, objective("erlmcp")},
		{`"disable_metric_validation":true`, `"disable_metric_validation":false`, seen("erlmcp", 17)},
		{`"google_monitoring_dashboard"`, `"google_storage_bucket"`, seen("erlmcp", 17)},
		{`run.googleapis.com/container-dependencies`, `run.googleapis.com/dependencies`, collected},
		{`"http://localhost:4318"`, `""`, collected},
		{`"roles/monitoring.metricWriter"`, `"roles/monitoring.editor"`, collected},
		{`"roles/telemetry.tracesWriter"`, `"roles/cloudtrace.admin"`, noPrimitiveRoles},
	} {
		breaks(t, resources, c.old, c.new, c.rule)
	}
	small := w.plan(t, "cloudrun", with(cloudrun("staging"), "size", "small"))
	for _, c := range []struct{ old, new string }{
		{`"https://telemetry.googleapis.com"`, `"https://telemetry.example.com"`},
		{`location=us-central1`, `region=us-central1`},
		{`"OTEL_SERVICE_NAME"`, `"SERVICE_NAME"`},
		{`"roles/monitoring.metricWriter"`, `"roles/monitoring.viewer"`},
	} {
		breaks(t, withManifests(t, small.Resources()), c.old, c.new, straight)
	}
	try := w.plan(t, "cloudrun", with(cloudrun("staging"), "size", "try"))
	for _, c := range []struct {
		old, new string
		rule     rule
	}{
		{`"name":"GOVERNOR_SCOPE"`, `"name":"SCOPE"`, alone},
		{`"name":"SEALING_KEYS_FILE"`, `"name":"REDIS_URL_FILE"`, alone},
		{`"google_storage_bucket"`, `"google_redis_instance"`, alone},
		{`"google_storage_bucket"`, `"google_compute_router_nat"`, alone},
		{`"google_storage_bucket"`, `"google_service_networking_connection"`, alone},
		{`"google_storage_bucket"`, `"google_monitoring_uptime_check_config"`, alone},
		{`"autoscaling.knative.dev/maxScale":"1"`, `"autoscaling.knative.dev/maxScale":"2"`, sized("1", "true")},
		{`"run.googleapis.com/cpu-throttling":"true"`, `"run.googleapis.com/cpu-throttling":"false"`, sized("1", "true")},
		{`"verify":true`, `"verify":false`, atOnce},
		{`\"probe\"`, `\"judge\"`, atOnce},
	} {
		breaks(t, withManifests(t, try.Resources()), c.old, c.new, c.rule)
	}
	w.landingRulesCanFail(t)
}

// landingRulesCanFail does so in plans of the sets of landing zones.
func (w *workspace) landingRulesCanFail(t *testing.T) {
	encrypted := encrypted(w.schemas(t), ourKey)
	for _, c := range []struct {
		set, old, new string
		rule          rule
	}{
		{"Cloud Run in a landing zone", `"customer_managed_key":"` + ourKey + `"`, `"customer_managed_key":null`, encrypted},
		{"Cloud Run in a landing zone", `"default_kms_key_name":"` + ourKey + `"`, `"default_kms_key_name":""`, encrypted},
		{"Cloud Run in a landing zone", `"encryption_key":"` + ourKey + `"`, `"encryption_key":null`, encrypted},
		{"Cloud Run in a landing zone", `run.googleapis.com/encryption-key`, `run.googleapis.com/key`, encrypted},
		{"Cloud Run in a landing zone", `"kms_key_name":"` + ourKey + `"`, `"kms_key_name":null`, encrypted},
		{"Cloud Run in a landing zone", `"google_kms_crypto_key_iam_member"`, `"google_storage_bucket_iam_member"`, usable},
		{"Cloud Run in a landing zone", `@gcp-sa-firestore.`, `@gcp-sa-other.`, usable},
		{"Cloud Run in a landing zone", `"google_storage_bucket"`, `"google_compute_network"`, guest},
		{"Cloud Run in a landing zone", `"google_storage_bucket"`, `"google_service_networking_connection"`, guest},
		{"Cloud Run in a landing zone", `"authorized_network":"` + hosted, `"authorized_network":"` + part, guest},
		{"Cloud Run in a landing zone", `"all-traffic"`, `"private-ranges-only"`, guest},
		{"Cloud Run in a landing zone", `"location":"us-central1"}`, `"location":"us-east1"}`, located("us-central1")},
		{"Cloud Run in a landing zone", `"user_managed"`, `"others"`, located("us-central1")},
		{"Cloud Run in a landing zone", `"action":"throttle"`, `"action":"allow"`, throttled},
		{"Cloud Run in a landing zone", `"google_compute_security_policy"`, `"google_storage_bucket"`, throttled},
		{"Cloud Run in a landing zone", `"worker_pool":"` + ourPool + `"`, `"worker_pool":null`, pooled},
		{"Cloud Run in a landing zone", `roles/cloudbuild.workerPoolUser`, `roles/cloudbuild.viewer`, pooled},
		{"Cloud Run in a landing zone", `"storage.googleapis.com/my-logs"`, `"storage.googleapis.com/other"`, handedOn},
		{"Cloud Run in a landing zone", `service_name=(\"erlmcp\"`, `service_name=(\"erlmcp-staging\"`, handedOn},
		{"Cloud Run in a landing zone", `"roles/pubsub.publisher"`, `"roles/pubsub.viewer"`, handedOn},
		{"Cloud Run in a landing zone", `EGRESS_ALLOW`, `EGRESS`, reaching},
		{"GKE in a landing zone", `"boot_disk_kms_key":"` + ourKey + `"`, `"boot_disk_kms_key":null`, encrypted},
		{"GKE in a landing zone", `"key_name":"` + ourKey + `"`, `"key_name":""`, encrypted},
		{"GKE in a landing zone", `"subnetwork":"` + part, `"subnetwork":"` + hosted, guest},
		{"GKE in a landing zone", `functions-egress`, `functions`, reaching},
		{"GKE, Standard", `"projects/my-project/roles/erlmcp_reaches"`, `"roles/container.developer"`, namespaced},
		{"GKE, Standard", `"projects/my-project/roles/erlmcp_reaches"`, `"roles/container.developer"`, noPrimitiveRoles},
		{webhooked, `"secret_id":"erlmcp-keys"`, `"secret_id":"erlmcp-receipt-root-key"`, ownSecrets},
		{webhooked, `"RECEIPT_ROOT_KEY_FILE"`, `"RECEIPT_ROOT_KEY"`, rootsApart},
		{webhooked, `"RECEIPT_ROOTS_SINCE"`, `"ROOTS_SINCE"`, rootsApart},
		{webhooked, `/v1/receipts/anchor`, `/v1/fleet`, rootsApart},
		{webhooked, `"run.googleapis.com/cpu-throttling":"true"`, `"run.googleapis.com/cpu-throttling":"false"`, rootsApart},
		{webhooked, `"audience":"https://erlmcp-taiea`, `"audience":"https://erlmcp`, rootsApart},
		{webhooked, `"schedule":"* * * * *"`, `"schedule":"0 * * * *"`, rootsApart},
		{"Cloud Run, public, with a domain", `"serviceAccount:erlmcp-taiea@my-project.iam.gserviceaccount.com"`, `"serviceAccount:erlmcp@my-project.iam.gserviceaccount.com"`, rootsApart},
		{"Cloud Run, public, with a domain", `"RECEIPT_ROOT_KMS_KEY"`, `"RECEIPT_ROOT_KEY"`, rootsApart},
		{"GKE, Standard", `RECEIPT_ROOT_KEY_FILE`, `ROOT_KEY_FILE`, rootsApart},
		{"GKE, Standard", `"PROJECT_SINGLETON_POLICY_ENFORCE"`, `"DISABLED"`, attested},
		{webhooked, `"run.googleapis.com/binary-authorization":"default"`, `"run.googleapis.com/binary-authorization":"other"`, attested},
		{webhooked, `"REQUIRE_ATTESTATION"`, `"ALWAYS_ALLOW"`, attested},
		{webhooked, `"ENFORCED_BLOCK_AND_AUDIT_LOG"`, `"DRYRUN_AUDIT_LOG_ONLY"`, attested},
		{webhooked, `"us-docker.pkg.dev/cloudrun/container/hello"`, `"us-docker.pkg.dev/*"`, attested},
		{webhooked, `"_ATTESTOR_KEY"`, `"_KEY"`, attested},
		{webhooked, `"roles/containeranalysis.notes.attacher"`, `"roles/containeranalysis.notes.viewer"`, attested},
		{"GKE, Standard", `"google_binary_authorization_attestor_iam_member"`, `"google_storage_bucket_iam_member"`, attested},
		{"Cloud Run in a landing zone", `"google_storage_bucket"`, `"google_binary_authorization_policy"`, unattested},
		{"GKE, Standard", `"container.clusters.connect"`, `"container.pods.exec"`, namespaced},
		{"GKE, Standard", `"serviceAccount:erlmcp-deploy@`, `"serviceAccount:erlmcp-release@`, namespaced},
		{webhooked, `"MANUAL_ONLY"`, `"AUTO_ONLY"`, fromOneAddress},
		{webhooked, `"all-traffic"`, `"private-ranges-only"`, fromOneAddress},
	} {
		s := sets[slices.IndexFunc(sets, func(s set) bool { return s.name == c.set })]
		p := w.plan(t, s.composition, s.variables)
		breaks(t, withManifests(t, p.Resources()), c.old, c.new, c.rule)
	}
}

// breaks wants a rule to hold for resources, and no more once something in them is another.
func breaks(t *testing.T, resources []resource, old, other string, holds rule) {
	t.Helper()
	text, _ := json.Marshal(resources)
	broken := strings.ReplaceAll(string(text), old, other)
	if broken == string(text) {
		t.Errorf("the plan holds no %s", old)
	}
	var rs []resource
	if err := json.Unmarshal([]byte(broken), &rs); err != nil {
		t.Fatal(err)
	}
	if holds(rs) == "" {
		t.Errorf("nobody minds %s in place of %s", other, old)
	}
	if fault := holds(resources); fault != "" {
		t.Errorf("unbroken: %s", fault)
	}
}

// generated keeps the kustomizations of plans for the check of the manifests, which joins them to these.
func (w *workspace) generated(t *testing.T) {
	variables := with(gke("staging"), "authentication", "keys", "policy", "rules: []", "taiea_operators", `{"alice@example.com"="admin","ci@my-project.iam.gserviceaccount.com"="operator"}`, "receipt_roots_since", rootsSince)
	for name, variables := range map[string]map[string]string{"staging": variables, "without": with(variables, "telemetry", "false", "private_upstreams", `["10.1.0.0/16"]`, "taiea_url", "https://taiea.example.com", "taiea_authentication", "google,keys")} {
		p := w.plan(t, "gke", variables)
		text, ok := p.PlannedValues.Outputs["kustomization"].Value.(string)
		if !ok {
			t.Fatal("the plan does not know the output kustomization")
		}
		asPlanned(t, name+"/kustomization.yaml", text)
		if name == "staging" {
			asPlanned(t, name+"/namespace.yaml", fmt.Sprint(p.PlannedValues.Outputs["namespace"].Value))
			asPlanned(t, name+"/delivery.json", goesBy(t, p.Resources()))
		}
		for output, secrets := range map[string]string{"secrets": "keys redis-url redis-ca receipt-key api-keys policy", "taiea_secrets": "keys redis-url redis-ca receipt-key"} {
			for s := range strings.FieldsSeq(secrets) {
				if v, _ := p.PlannedValues.Outputs[output].Value.(map[string]any); v[s] != "erlmcp-staging-"+s {
					t.Errorf("%s: %s: %v", output, s, v[s])
				}
			}
		}
		if v, _ := p.PlannedValues.Outputs["taiea_secrets"].Value.(map[string]any); name == "without" && v["api-keys"] != "erlmcp-staging-taiea-api-keys" || v["policy"] != nil {
			t.Errorf("taiea_secrets: %v", v)
		}
	}
}

// asPlanned wants a file of the check of the manifests to say what is planned.
func asPlanned(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join("../kubernetes/testdata", name)
	if was, _ := os.ReadFile(file); text == string(was) {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Fatalf("testdata/%s is another (UPDATE=1 writes it):\n%s", name, text)
	}
	os.MkdirAll(filepath.Dir(file), 0o755)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// goesBy is what Cloud Deploy goes by in releases to the cluster: the steps, the rules of its automation, and skaffold.yaml.
func goesBy(t *testing.T, rs []resource) string {
	out := map[string]any{}
	for _, r := range rs {
		switch name, _ := r.Values["name"].(string); {
		case r.Type == "google_clouddeploy_delivery_pipeline":
			out["canary"] = r.At("serial_pipeline.0.stages.0.strategy.0.canary.0")
		case r.Type == "google_clouddeploy_automation":
			out["rules"] = r.Values["rules"]
		case r.Type == "google_storage_bucket_object" && path.Base(name) == "skaffold.yaml":
			var skaffold any
			if err := yaml.Unmarshal([]byte(fmt.Sprint(r.Values["content"])), &skaffold); err != nil {
				t.Fatal(err)
			}
			out["skaffold"] = skaffold
		}
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil || len(out) != 3 {
		t.Fatalf("%v: %s", err, text)
	}
	return string(text) + "\n"
}

// A rule says what is wrong with resources, "" for nothing.
type rule func([]resource) string

// each holds a rule for all resources of some types, of which there must be.
func each(rs []resource, types string, wrong func(resource) string) string {
	var faults []string
	found := false
	for _, r := range rs {
		if slices.Contains(strings.Fields(types), r.Type) {
			found = true
			if w := wrong(r); w != "" {
				faults = append(faults, r.Address+": "+w)
			}
		}
	}
	if !found {
		return "no " + types
	}
	return strings.Join(faults, "\n")
}

func must(r resource, path string, want ...any) string {
	got := r.At(path)
	if !slices.ContainsFunc(want, func(w any) bool { return fmt.Sprint(got) == fmt.Sprint(w) }) {
		return fmt.Sprintf("%s is %v, want %v", path, got, want)
	}
	return ""
}

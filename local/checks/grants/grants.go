// Package grants reads who may do what from a plan of the real provider, by what Google's documentation says of its roles.
package grants

import (
	"fmt"
	"slices"
	"strings"

	"example.com/erlmcp/local/checks/tfplan"
)

// roles are what of Google's roles matters here: https://cloud.google.com/iam/docs/roles-permissions.
var roles = map[string][]string{
	"roles/artifactregistry.reader":   {"artifactregistry.repositories.downloadArtifacts"},
	"roles/artifactregistry.writer":   {"artifactregistry.repositories.downloadArtifacts", "artifactregistry.repositories.uploadArtifacts"},
	"roles/certificatemanager.viewer": {"certificatemanager.certs.get", "certificatemanager.certs.list"},
	"roles/clouddeploy.approver":      {"clouddeploy.rollouts.approve", "clouddeploy.rollouts.get", "clouddeploy.rollouts.list"},
	"roles/clouddeploy.jobRunner":     {"logging.logEntries.create", "storage.objects.create", "storage.objects.get", "storage.objects.list"},
	"roles/clouddeploy.operator": {"clouddeploy.deliveryPipelines.get", "clouddeploy.releases.get", "clouddeploy.rollouts.advance", "clouddeploy.rollouts.create", "clouddeploy.rollouts.get",
		"clouddeploy.rollouts.retryJob", "clouddeploy.rollouts.rollback"},
	"roles/clouddeploy.releaser": {"clouddeploy.config.get", "clouddeploy.deliveryPipelines.get", "clouddeploy.operations.get", "clouddeploy.releases.create", "clouddeploy.releases.get",
		"clouddeploy.releases.list", "clouddeploy.rollouts.create", "clouddeploy.rollouts.get", "clouddeploy.rollouts.list", "clouddeploy.targets.get"},
	"roles/clouddeploy.viewer": {"clouddeploy.config.get", "clouddeploy.deliveryPipelines.get", "clouddeploy.jobRuns.list", "clouddeploy.operations.get", "clouddeploy.releases.get",
		"clouddeploy.releases.list", "clouddeploy.rollouts.get", "clouddeploy.rollouts.list", "clouddeploy.targets.get"},
	"roles/cloudscheduler.viewer":                {"cloudscheduler.jobs.get", "cloudscheduler.jobs.list"},
	"roles/iam.serviceAccountOpenIdTokenCreator": {"iam.serviceAccounts.getOpenIdToken"},
	"roles/iam.serviceAccountUser":               {"iam.serviceAccounts.actAs"},
	"roles/logging.logWriter":                    {"logging.logEntries.create"},
	"roles/logging.viewer":                       {"logging.logEntries.list"},
	"roles/monitoring.viewer":                    {"monitoring.timeSeries.list"},
	"roles/pubsub.publisher":                     {"pubsub.topics.publish"},
	"roles/pubsub.subscriber":                    {"pubsub.subscriptions.consume"},
	"roles/pubsub.viewer":                        {"pubsub.subscriptions.get", "pubsub.topics.get"},
	"roles/redis.viewer":                         {"redis.instances.get", "redis.instances.list", "redis.operations.get", "redis.operations.list"},
	"roles/run.developer":                        {"run.jobs.create", "run.jobs.get", "run.jobs.update", "run.services.create", "run.services.get", "run.services.update"},
	"roles/run.invoker":                          {"run.jobs.run", "run.routes.invoke"},
	"roles/run.jobsExecutor":                     {"run.executions.cancel", "run.executions.get", "run.executions.list", "run.jobs.get", "run.jobs.run"},
	"roles/run.viewer":                           {"run.executions.get", "run.executions.list", "run.jobs.get", "run.services.get", "run.services.list"},
	"roles/storage.bucketViewer":                 {"storage.buckets.get", "storage.buckets.list"},
	"roles/storage.objectUser":                   {"storage.objects.create", "storage.objects.delete", "storage.objects.get", "storage.objects.list"},
}

// resources are the kinds that grant something, with the kind of what it is on and the value that names that; "" is the whole project.
var resources = map[string]struct{ on, name string }{
	"google_artifact_registry_repository_iam_member":  {"repository", "repository"},
	"google_cloud_run_v2_job_iam_member":              {"job", "name"},
	"google_cloud_run_v2_service_iam_member":          {"service", "name"},
	"google_clouddeploy_delivery_pipeline_iam_member": {"pipeline", "name"},
	"google_project_iam_member":                       {},
	"google_pubsub_subscription_iam_member":           {"subscription", "subscription"},
	"google_pubsub_topic_iam_member":                  {"topic", "topic"},
	"google_service_account_iam_member":               {"account", "service_account_id"},
	"google_storage_bucket_iam_member":                {"bucket", "bucket"},
}

// A Grant is a role of a member, such as group:oncall@example.com, on something, such as job:erlmcp-ops, or on the whole project: "".
type Grant struct{ Role, On, Member string }

// Grants are those of a plan.
type Grants struct {
	All    []Grant
	custom []string // permissions of the one role that is not Google's, and whose name is known once it is there: ""
}

// Of reads the grants of a plan.
func Of(rs []tfplan.Resource) *Grants {
	g := &Grants{}
	for _, r := range rs {
		text := func(key string) string { s, _ := r.Values[key].(string); return s }
		if r.Type == "google_project_iam_custom_role" {
			permissions, _ := r.Values["permissions"].([]any)
			for _, p := range permissions {
				g.custom = append(g.custom, fmt.Sprint(p))
			}
		}
		kind, ok := resources[r.Type]
		if !ok {
			continue
		}
		on := ""
		if kind.on != "" {
			name := text(kind.name)
			on = kind.on + ":" + name[strings.LastIndex(name, "/")+1:]
		}
		g.All = append(g.All, Grant{text("role"), on, text("member")})
	}
	return g
}

// May tells whether a member has a permission on something.
func (g *Grants) May(member, permission, on string) bool {
	return slices.ContainsFunc(g.All, func(x Grant) bool {
		permissions := roles[x.Role]
		if x.Role == "" {
			permissions = g.custom
		}
		return x.Member == member && (x.On == "" || x.On == on) && slices.Contains(permissions, permission)
	})
}

// Without returns the grants without those of a role.
func (g *Grants) Without(role string) *Grants {
	return &Grants{slices.DeleteFunc(slices.Clone(g.All), func(x Grant) bool { return x.Role == role }), g.custom}
}

# Who may do what with what runs, as groups rather than persons: viewers look, who is on call does what the runbooks say, and deployers
# release. Nobody of them can read what a secret holds, or what a store has of tenants.

locals {
  looks   = toset(concat(var.people.viewers, var.people.on_call, var.people.deployers))
  on_call = toset(var.people.on_call)
  deploys = toset(var.people.deployers)
}

# Of the project's own roles those that show and don't change.
resource "google_project_iam_member" "looks" {
  for_each = { for pair in setproduct(local.looks, [
    "certificatemanager.viewer", "clouddeploy.viewer", "cloudscheduler.viewer", "logging.viewer", "monitoring.viewer", "pubsub.viewer", "redis.viewer", "run.viewer",
  ]) : "${pair[1]} ${pair[0]}" => { member = pair[0], role = "roles/${pair[1]}" } }
  project = var.project
  role    = each.value.role
  member  = each.value.member
}

# How databases are set up, and nothing of what is in them: each of the platform's roles that has this has both.
resource "google_project_iam_custom_role" "databases" {
  count       = length(local.looks) == 0 ? 0 : 1
  project     = var.project
  role_id     = "${replace(var.name, "-", "_")}_databases"
  title       = "Databases of ${var.name}, from outside"
  permissions = ["datastore.backupSchedules.list", "datastore.databases.getMetadata", "datastore.databases.list"]
}

resource "google_project_iam_member" "databases" {
  for_each = local.looks
  project  = var.project
  role     = google_project_iam_custom_role.databases[0].id
  member   = each.value
}

# Into the control plane, which decides by itself what each may do there.
resource "google_cloud_run_v2_service_iam_member" "taiea" {
  for_each = local.looks
  project  = var.project
  location = var.region
  name     = var.taiea
  role     = "roles/run.invoker"
  member   = each.value
}

resource "google_storage_bucket_iam_member" "backups" {
  for_each = var.job == null ? [] : local.looks
  bucket   = var.job.bucket
  role     = "roles/storage.bucketViewer"
  member   = each.value
}

# On call: to go back to the release before; to make a backup, and to deal with events that were not taken.
resource "google_clouddeploy_delivery_pipeline_iam_member" "on_call" {
  for_each = { for pair in setproduct(local.on_call, var.delivery.pipelines) : join(" ", reverse(pair)) => { member = pair[0], pipeline = pair[1] } }
  project  = var.project
  location = var.region
  name     = each.value.pipeline
  role     = "roles/clouddeploy.operator"
  member   = each.value.member
}

resource "google_cloud_run_v2_job_iam_member" "on_call" {
  for_each = var.job == null ? [] : local.on_call
  project  = var.project
  location = var.region
  name     = var.job.name
  role     = "roles/run.jobsExecutor"
  member   = each.value
}

resource "google_pubsub_subscription_iam_member" "on_call" {
  for_each     = local.on_call
  project      = var.project
  subscription = var.events.dead_letters
  role         = "roles/pubsub.subscriber"
  member       = each.value
}

resource "google_pubsub_topic_iam_member" "on_call" {
  for_each = local.on_call
  project  = var.project
  topic    = var.events.topic
  role     = "roles/pubsub.publisher"
  member   = each.value
}

# Deployers: to approve tags, whose builds have no role of less than the project's, and to release.
resource "google_project_iam_member" "approves" {
  for_each = local.deploys
  project  = var.project
  role     = "roles/cloudbuild.builds.approver"
  member   = each.value
}

resource "google_clouddeploy_delivery_pipeline_iam_member" "deploys" {
  for_each = { for t in setproduct(local.deploys, var.delivery.pipelines, ["operator", "releaser"]) : join(" ", reverse(t)) => { member = t[0], pipeline = t[1], role = t[2] } }
  project  = var.project
  location = var.region
  name     = each.value.pipeline
  role     = "roles/clouddeploy.${each.value.role}"
  member   = each.value.member
}

resource "google_storage_bucket_iam_member" "releases" {
  for_each = { for pair in setproduct(local.deploys, ["bucketViewer", "objectUser"]) : join(" ", reverse(pair)) => { member = pair[0], role = pair[1] } }
  bucket   = var.delivery.bucket
  role     = "roles/storage.${each.value.role}"
  member   = each.value.member
}

# Rollouts run as this account, whoever begins one.
resource "google_service_account_iam_member" "rollouts" {
  for_each           = setunion(local.on_call, local.deploys)
  service_account_id = var.delivery.account
  role               = "roles/iam.serviceAccountUser"
  member             = each.value
}

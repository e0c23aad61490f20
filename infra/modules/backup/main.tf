# What a lost, spoilt or rolled-back database is had back from: a bucket that lets nobody change or delete what is in it before its time, in
# another project if one is named, and a job of the released image. Servers put roots of receipts there each minute; the job backs up
# each day, and shows each month, by a database of its own, that a backup can be had back.

locals {
  project  = var.bucket.project == null ? var.project : var.bucket.project
  place    = "gs://${google_storage_bucket.this.name}/${var.name}"
  drill    = "${var.name}-drill"
  job      = "${var.name}-ops"
  schedule = { backup = { cron = "17 2 * * *", args = ["backup", local.place] }, drill = { cron = "17 4 1 * *", args = ["drill", local.place, "-into", local.drill, "-empty"] } }
}

resource "google_storage_bucket" "this" {
  project                     = local.project
  name                        = "${local.project}-${var.name}-backups"
  location                    = coalesce(var.bucket.location, var.region)
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.protected

  retention_policy {
    retention_period = tostring(var.bucket.retention_days * 86400)
    is_locked        = var.bucket.locked
  }

  # Backups go once they need not be kept any more. Roots and changes vouch for receipts for as long as there are any.
  lifecycle_rule {
    condition {
      age            = var.bucket.retention_days + 1
      matches_prefix = ["${var.name}/backups/"]
    }
    action {
      type = "Delete"
    }
  }
}

# To add and to read, and neither to change nor to delete: servers and the job.
resource "google_storage_bucket_iam_member" "this" {
  for_each = merge([for who, member in merge(var.servers, { ops = google_service_account.this.member }) : {
    for role in ["objectCreator", "objectViewer"] : "${who}-${role}" => { member = member, role = "roles/storage.${role}" }
  }]...)
  bucket = google_storage_bucket.this.name
  role   = each.value.role
  member = each.value.member
}

# The job runs as this account. It reads the database that serves, and writes into that of the drill alone.
resource "google_service_account" "this" {
  project      = var.project
  account_id   = local.job
  display_name = "Backups and drills of ${var.name}"
}

resource "google_project_iam_member" "firestore" {
  for_each = { viewer = var.databases, user = [module.drill.database] }
  project  = var.project
  role     = "roles/datastore.${each.key}"
  member   = google_service_account.this.member

  condition {
    title       = each.key == "viewer" ? "backups" : "drills"
    description = "Its own databases alone"
    expression  = join(" || ", [for d in each.value : "resource.name == \"projects/${var.project}/databases/${d}\""])
  }
}

resource "google_secret_manager_secret_iam_member" "receipt_key" {
  count     = var.receipt_key == null ? 0 : 1
  project   = var.project
  secret_id = var.receipt_key
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.this.member
}

# Costs nothing between drills.
module "drill" {
  source      = "../firestore"
  project     = var.project
  region      = var.database_location
  name        = local.drill
  protected   = false
  history     = false
  backup_days = 0
}

# As of a service, what it runs is what a release brings.
resource "google_cloud_run_v2_job" "this" {
  project             = var.project
  name                = local.job
  location            = var.region
  deletion_protection = false

  template {
    template {
      service_account = google_service_account.this.email
      containers {
        image = "us-docker.pkg.dev/cloudrun/container/job" # until the first release
      }
    }
  }

  lifecycle {
    ignore_changes = [annotations, binary_authorization, client, client_version, labels, launch_stage, template]
  }
}

locals {
  # As the API of Knative has it: https://cloud.google.com/run/docs/reference/yaml/v1.
  manifest = {
    apiVersion = "run.googleapis.com/v1"
    kind       = "Job"
    metadata   = { name = local.job, labels = var.labels }
    spec = { template = {
      metadata = { labels = var.labels, annotations = { "run.googleapis.com/execution-environment" = "gen2" } }
      spec = { taskCount = 1, template = { spec = {
        serviceAccountName = google_service_account.this.email
        maxRetries         = 2
        timeoutSeconds     = 86400 # of one try, which begins anew
        containers = [{
          name         = "erlmcp"
          image        = "erlmcp"
          args         = local.schedule.backup.args
          resources    = { limits = { cpu = "1", memory = "1Gi" } }
          env          = [for k, v in merge(var.settings, var.receipt_key == null ? {} : { RECEIPT_KEY_FILE = "/secrets/receipt-key/value" }) : { name = k, value = v }]
          volumeMounts = [for s in var.receipt_key[*] : { name = "receipt-key", mountPath = "/secrets/receipt-key" }]
        }]
        volumes = [for s in var.receipt_key[*] : { name = "receipt-key", secret = { secretName = s, items = [{ key = "latest", path = "value" }] } }]
      } } }
    } }
  }
}

resource "google_cloud_run_v2_job_iam_member" "schedule" {
  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_job.this.name
  role     = "roles/run.jobsExecutorWithOverrides"
  member   = google_service_account.this.member
}

resource "google_cloud_scheduler_job" "this" {
  for_each         = local.schedule
  project          = var.project
  region           = var.region
  name             = "${var.name}-${each.key}"
  description      = "Runs ${local.job} as erlmcp ${each.key}"
  schedule         = each.value.cron
  time_zone        = "Etc/UTC"
  attempt_deadline = "60s"

  retry_config {
    retry_count          = 5
    min_backoff_duration = "60s"
  }

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/${google_cloud_run_v2_job.this.id}:run"
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode(jsonencode({ overrides = { containerOverrides = [{ name = "erlmcp", args = each.value.args }] } }))

    oauth_token {
      service_account_email = google_service_account.this.email
    }
  }
}

# Commands of the released image, run by Cloud Scheduler, or by hand. As of a service, what it runs is what a release brings.

resource "google_cloud_run_v2_job" "this" {
  project             = var.project
  name                = var.name
  location            = var.region
  deletion_protection = false

  template {
    template {
      service_account = var.account
      encryption_key  = var.kms_key
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
    metadata   = merge({ name = var.name, labels = var.labels }, !var.signed ? {} : { annotations = { "run.googleapis.com/binary-authorization" = "default" } })
    spec = { template = {
      metadata = { labels = var.labels, annotations = merge({ "run.googleapis.com/execution-environment" = "gen2" },
      var.kms_key == null ? {} : { "run.googleapis.com/encryption-key" = var.kms_key }) }
      spec = { taskCount = 1, template = { spec = {
        serviceAccountName = var.account
        maxRetries         = 2
        timeoutSeconds     = 86400 # of one try, which begins anew
        containers = [{
          name         = "erlmcp"
          image        = "erlmcp"
          args         = var.commands.backup.args
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
  member   = "serviceAccount:${var.account}"
}

resource "google_cloud_scheduler_job" "this" {
  for_each         = var.commands
  project          = var.project
  region           = var.region
  name             = "${trimsuffix(var.name, "-ops")}-${each.key}"
  description      = "Runs ${var.name} as erlmcp ${each.key}"
  schedule         = each.value.schedule
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
      service_account_email = var.account
    }
  }
}

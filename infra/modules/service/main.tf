# One of the two functions on Cloud Run.

locals {
  # A change of a secret that is mounted as a file is followed; one in a variable needs a new revision.
  files = { for k, f in {
    "api-keys"         = "API_KEYS_FILE"
    "keys"             = "SEALING_KEYS_FILE"
    "policy"           = "POLICY_FILE"
    "receipt-key"      = "RECEIPT_KEY_FILE"
    "receipt-root-key" = "RECEIPT_ROOT_KEY_FILE"
    "redis-url"        = "REDIS_URL_FILE"
    "taiea-keys"       = "TAIEA_SEALING_KEYS_FILE"
    } : k => { variable = f, secret = var.secrets[k] } if contains(keys(var.secrets), k)
  }
  variables = { for k, v in { "redis-ca" = "REDIS_CA", "webhook-secrets" = "WEBHOOK_SECRETS" } :
    v => var.secrets[k] if contains(keys(var.secrets), k)
  }
}

# Terraform makes the service, and says who may call it. What it runs is the manifest below, which releases bring: Cloud Deploy owns
# template, traffic and all else that a manifest says, so that settings, too, come gradually and go back together with the image.
resource "google_cloud_run_v2_service" "this" {
  project             = var.project
  name                = var.name
  location            = var.region
  ingress             = var.ingress
  deletion_protection = var.protected

  template {
    service_account = var.account
    encryption_key  = var.kms_key
    containers {
      image = "us-docker.pkg.dev/cloudrun/container/hello" # until the first release
    }
  }

  lifecycle {
    ignore_changes = [annotations, binary_authorization, client, client_version, custom_audiences, description, ingress, labels, launch_stage, scaling, template, traffic]
  }
}

locals {
  # As the API of Knative has it, which Cloud Deploy applies: https://cloud.google.com/run/docs/reference/yaml/v1. The image is named by
  # the release.
  manifest = {
    apiVersion = "serving.knative.dev/v1"
    kind       = "Service"
    metadata = {
      name   = var.name
      labels = var.labels
      annotations = merge({
        "run.googleapis.com/ingress"  = lower(replace(replace(trimprefix(var.ingress, "INGRESS_TRAFFIC_"), "INTERNAL_ONLY", "INTERNAL"), "INTERNAL_LOAD_BALANCER", "internal-and-cloud-load-balancing"))
        "run.googleapis.com/minScale" = tostring(var.instances.min) # of the service: in a template it would hold for each revision
        }, length(var.audiences) == 0 ? {} : { "run.googleapis.com/custom-audiences" = jsonencode(var.audiences) },
      !var.signed ? {} : { "run.googleapis.com/binary-authorization" = "default" }) # the project's policy
    }
    spec = { template = {
      metadata = {
        labels = var.labels
        annotations = merge({
          "autoscaling.knative.dev/maxScale"         = tostring(var.instances.max)
          "run.googleapis.com/cpu-throttling"        = tostring(var.billing == "request")
          "run.googleapis.com/execution-environment" = "gen2"
          "run.googleapis.com/startup-cpu-boost"     = "true"
          }, var.network == null ? {} : {
          "run.googleapis.com/network-interfaces" = jsonencode([var.network])
          "run.googleapis.com/vpc-access-egress"  = var.all_traffic ? "all-traffic" : "private-ranges-only"
        }, var.kms_key == null ? {} : { "run.googleapis.com/encryption-key" = var.kms_key }, var.collector == null ? {} : { "run.googleapis.com/container-dependencies" = jsonencode({ (var.function) = ["collector"] }) })
      }
      spec = {
        containerConcurrency = var.concurrency
        serviceAccountName   = var.account
        timeoutSeconds       = var.timeout
        containers = concat([{
          name      = var.function
          image     = "erlmcp"
          ports     = [{ name = "http1", containerPort = 8080 }]
          resources = { limits = { cpu = var.cpu, memory = var.memory } }
          # A round trip to Redis: Direct VPC egress may take a minute to connect.
          startupProbe  = { periodSeconds = 2, timeoutSeconds = 2, failureThreshold = 60, httpGet = { path = var.startup } }
          livenessProbe = { initialDelaySeconds = 30, periodSeconds = 10, timeoutSeconds = 5, httpGet = { path = "/health" } }
          env = concat(
            [for k, v in merge(var.settings, { FUNCTION_TARGET = var.function }, { for f in local.files : f.variable => "/secrets/${f.secret}/value" }) : { name = k, value = v }],
            [for k, secret in local.variables : { name = k, valueFrom = { secretKeyRef = { name = secret, key = "latest" } } }],
          )
          volumeMounts = [for k, f in local.files : { name = k, mountPath = "/secrets/${f.secret}" }]
          }], [for c in [var.collector] : {
          name         = "collector" # started before the function, and there still for what is sent last
          image        = c.image
          args         = ["--config=env:CONFIG"]
          resources    = { limits = { cpu = c.cpu, memory = c.memory } }
          startupProbe = { periodSeconds = 1, timeoutSeconds = 1, failureThreshold = 60, httpGet = { path = "/", port = 13133 } }
          env          = [for k, v in merge(c.environment, { CONFIG = c.config, GOMEMLIMIT = "200MiB" }) : { name = k, value = v }]
        } if c != null])
        volumes = [for k, f in local.files : { name = k, secret = { secretName = f.secret, items = [{ key = "latest", path = "value" }] } }]
      }
    } }
  }
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = toset(var.public ? ["allUsers"] : var.invokers)
  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.this.name
  role     = "roles/run.invoker"
  member   = each.value
}

# erlmcp on GKE: a cluster, and what its pods need. What the pods are is in workload/, as manifests; the output
# kustomization joins the two. With shares_cloudrun the counters, the store, the secrets and the images are those of
# infra/cloudrun in the same environment, so that traffic can move from one to the other.

locals {
  name      = var.environment == "production" ? "erlmcp" : "erlmcp-${var.environment}"
  protected = coalesce(var.protected, var.environment == "production")
  labels    = { app = "erlmcp", environment = var.environment }
  url       = "https://${var.domain}"

  # The control plane, unless it is the one on Cloud Run.
  taiea          = !var.shares_cloudrun
  taiea_url      = var.taiea_url == "" ? "http://localhost:8081" : var.taiea_url # of a forwarded port
  taiea_endpoint = "${local.taiea_url}/v1/events/pubsub"

  # Keys of the Kubernetes secrets with the ids that they are copied from, and the settings that name them as files.
  secrets = { erlmcp = module.platform.secrets.erlmcp, taiea = { for n, id in module.platform.secrets.taiea : n == "taiea-api-keys" ? "api-keys" : n => id } }
  files = { for function, names in local.secrets : function =>
    { for n, setting in { api-keys = "API_KEYS_FILE", policy = "POLICY_FILE", receipt-key = "RECEIPT_KEY_FILE", receipt-root-key = "RECEIPT_ROOT_KEY_FILE", taiea-keys = "TAIEA_SEALING_KEYS_FILE" } : setting => "/secrets/${n}" if contains(keys(names), n) }
  }

  # Images that no release of ours builds: the collector.
  unsigned = !var.binary_authorization ? null : var.telemetry ? [var.collector_image] : []

  certificate_map = local.name
  delivery        = var.shares_cloudrun ? "${local.name}-gke" : local.name
}

resource "google_project_service" "this" {
  for_each = toset(concat([
    "artifactregistry", "certificatemanager", "cloudbilling", "billingbudgets", "cloudbuild", "clouddeploy", "cloudkms", "cloudtrace", "compute", "container", "firestore",
    "iam", "iamcredentials", "monitoring", "pubsub", "redis", "secretmanager", "servicenetworking", "storage", "telemetry",
  ], var.binary_authorization ? ["binaryauthorization", "containeranalysis"] : []))
  project            = var.project
  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

module "platform" {
  source    = "../modules/platform"
  made      = !var.shares_cloudrun
  place     = { project = var.project, project_number = var.project_number, region = var.region }
  name      = local.name
  labels    = local.labels
  protected = local.protected
  telemetry = var.telemetry
  domain    = var.domain
  network = { ranges = var.ranges, nat = true, static = var.static_egress,
    existing = var.network == null ? null : { network = var.network, subnetwork = var.subnetwork, project = var.network_project }
  }
  redis     = { memory_gb = var.redis_memory_gb, highly_available = var.redis_highly_available }
  firestore = { location = coalesce(var.firestore_location, var.region), backup_days = var.backup_days, apart = var.databases_apart, databases = var.databases, serves = var.database }
  backups   = var.backups == null ? null : merge(var.backups, { locked = coalesce(var.backups.locked, var.environment == "production"), reads_key = false }) # pods have it as a file
  receipts  = { key = var.receipt_key, key_version = var.receipt_key_version, days = tonumber(lookup(var.settings, "RECEIPT_RETENTION_DAYS", "400")), roots_since = var.receipt_roots_since }
  erlmcp    = { authentication = var.authentication, policy = var.policy }
  taiea = { authentication = var.taiea_authentication,
    events = var.taiea_url == "" ? null : { endpoint = local.taiea_endpoint, publishers = var.publishers, sources = var.event_sources }
  }
  webhook          = var.webhook ? "taiea" : "none"
  kms_key          = one(module.encryption[*].key)
  secret_locations = var.secret_locations
  unsigned_images  = local.unsigned
  depends_on       = [google_project_service.this]
}

# What is kept is encrypted with a key of one's own, where there is one.
module "encryption" {
  count          = var.kms_key == null ? 0 : 1
  source         = "../modules/encryption"
  key            = var.kms_key
  project_number = var.project_number
  services       = concat(["compute", "container"], var.shares_cloudrun ? [] : ["artifactregistry", "firestore", "pubsub", "redis", "secretmanager", "storage"])
  depends_on     = [google_project_service.this]
}

module "logs" {
  count   = length(var.log_sinks) == 0 ? 0 : 1
  source  = "../modules/logs"
  project = var.project
  name    = "${local.name}-gke"
  filter  = "resource.type=\"k8s_container\" AND resource.labels.cluster_name=\"${module.cluster.name}\" AND resource.labels.namespace_name=\"erlmcp\""
  sinks   = var.log_sinks
}

# The pods' Kubernetes service accounts act as the functions' accounts.
resource "google_service_account_iam_member" "pod" {
  service_account_id = module.platform.accounts.erlmcp.account
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[erlmcp/erlmcp]"
  depends_on         = [module.cluster] # which brings the pool of identities
}

resource "google_service_account_iam_member" "taiea_pod" {
  count              = local.taiea ? 1 : 0
  service_account_id = module.platform.accounts.taiea.account
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[erlmcp/taiea]"
  depends_on         = [module.cluster]
}

resource "google_service_account_iam_member" "ops_pod" {
  count              = length(module.platform.backup[*])
  service_account_id = module.platform.backup.account
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[erlmcp/ops]"
  depends_on         = [module.cluster]
}

resource "google_compute_global_address" "ingress" {
  project    = var.project
  name       = "${local.name}-ingress"
  depends_on = [google_project_service.this]
}

module "cluster" {
  source           = "../modules/cluster"
  project          = var.project
  region           = var.region
  zone             = var.zone
  name             = local.name
  labels           = local.labels
  network          = module.platform.network.network
  subnetwork       = module.platform.network.subnetwork
  autopilot        = var.autopilot
  nodes            = var.nodes
  secondary_ranges = var.secondary_ranges
  signed           = var.binary_authorization
  kms_key          = one(module.encryption[*].key)
  operators        = var.operators
  registry         = module.platform.registry.repository
  protected        = local.protected
  depends_on       = [google_project_service.this]
}

module "delivery" {
  source     = "../modules/delivery"
  project    = var.project
  region     = var.region
  name       = local.delivery
  accounts   = {} # pods have theirs by Workload Identity
  registry   = module.platform.registry.repository
  bake       = var.bake
  build_pool = var.build_pool
  kms_key    = one(module.encryption[*].key)
  cluster    = { name = module.cluster.name, location = module.cluster.location }
  pipelines = { erlmcp = {
    files = merge({ "gke/environments/release/kustomization.yaml" = local.kustomization },
      { for f in fileset("${path.module}/workload", "**") : "gke/workload/${f}" => file("${path.module}/workload/${f}") },
      { for f in fileset("${path.module}/../observability", "*") : "observability/${f}" => file("${path.module}/../observability/${f}") },
    )
    kustomization = "gke/environments/release"
    gradual       = true
    # Pods of the canary are of a Deployment of their own, and an instance has its pod's name. The judge has no key to call with.
    judge = ["judge", "-bake=${var.bake}s", "-undecided=pass", "-prometheus=https://monitoring.googleapis.com/v1/projects/${var.project}/location/global/prometheus",
    "-canary=job=\"${local.name}-gke\",instance=~\"erlmcp-canary-.*\"", "-baseline=job=\"${local.name}-gke\",instance!~\"erlmcp-canary-.*\""]
  } }
  protected  = local.protected
  depends_on = [google_project_service.this]
}

module "release" {
  count          = var.repository == null ? 0 : 1
  source         = "../modules/release"
  project        = var.project
  project_number = var.project_number
  region         = var.region
  name           = local.delivery
  repository     = var.repository
  registry       = module.platform.registry.repository
  approval       = local.protected
  attestor       = module.platform.attestor
  delivery       = { bucket = module.delivery.bucket, pipelines = module.delivery.pipelines, account = module.delivery.account }
  depends_on     = [google_project_service.this]
}

module "observability" {
  source         = "../modules/observability"
  project        = var.project
  project_number = var.project_number
  name           = "${local.name}-gke"
  host           = var.domain
  cluster        = module.cluster.name
  objectives     = var.telemetry && var.objectives
  telemetry      = var.telemetry
  private        = false
  pipelines      = module.delivery.names
  platform       = local.name
  watched        = setunion(["CertificateExpires"], var.shares_cloudrun ? [] : ["RedisFull"], module.platform.events != null ? ["EventsNotTaken"] : [])
  emails         = var.emails
  channels       = var.channels
  budget         = { billing_account = var.billing_account, monthly = var.monthly_budget }
  depends_on     = [google_project_service.this]
}

module "cost" {
  source                    = "../modules/cost"
  platform                  = !var.shares_cloudrun
  balanced                  = true
  calls_per_instance_second = var.calls_per_instance_second
  redis                     = { memory_gb = var.redis_memory_gb, highly_available = var.redis_highly_available }
  nat                       = var.network == null
  firestore                 = var.databases_apart && var.backups != null ? { backups = 0, history = false } : { backups = var.backup_days + (local.protected ? 14 : 0), history = true } # daily ones, and weekly ones for 14 weeks
  secrets                   = { count = length(merge(values(module.platform.secrets)...)), files = 0, kms = var.receipt_key == "kms" }                                                   # files are in the cluster
  settings                  = var.settings
  signed                    = var.binary_authorization
  anchored                  = local.taiea && var.receipt_roots_since != null
  backups                   = module.platform.backup == null ? null : var.backups
  telemetry                 = var.telemetry
  uptime                    = true
  alerts                    = length(module.observability.alerts)
  schedules                 = 0 # pods of the cluster
  release                   = { build_minutes = 30, deploy_minutes = 10 + 2 * var.bake / 60 }
  gke                       = { autopilot = var.autopilot, nodes = var.nodes.min, pods = 3, taiea = local.taiea ? 2 : 0, collector = var.telemetry }
}

# erlmcp on GKE: a cluster, and what its pods need. What the pods are is in workload/, as manifests; the output
# kustomization joins the two. With shares_cloudrun the counters, the store, the secrets and the images are those of
# infra/cloudrun in the same environment, so that traffic can move from one to the other.

locals {
  name      = var.environment == "production" ? "erlmcp" : "erlmcp-${var.environment}"
  protected = coalesce(var.protected, var.environment == "production")
  labels    = { app = "erlmcp", environment = var.environment }
  url       = "https://${var.domain}"

  methods = [for m in split(",", var.authentication) : trimspace(m)]
  shared  = toset(concat(["keys", "redis-ca", "redis-url"], var.receipt_key == "secret" ? ["receipt-key"] : []))
  secrets = setunion(local.shared, contains(local.methods, "keys") ? ["api-keys"] : [], var.policy == "" ? [] : ["policy"])

  # The control plane, unless it is the one on Cloud Run.
  taiea          = !var.shares_cloudrun
  taiea_name     = "${local.name}-taiea"
  taiea_account  = "${local.taiea_name}@${var.project}.iam.gserviceaccount.com"
  taiea_url      = var.taiea_url == "" ? "http://localhost:8081" : var.taiea_url # of a forwarded port
  taiea_endpoint = "${local.taiea_url}/v1/events/pubsub"
  taiea_events   = local.taiea && var.taiea_url != ""
  taiea_methods  = [for m in split(",", var.taiea_authentication) : trimspace(m)]
  taiea_secrets = !local.taiea ? toset([]) : setunion(local.shared, contains(local.taiea_methods, "keys") ? ["taiea-api-keys"] : [],
  var.webhook ? ["webhook-secrets"] : [])

  receipt_key = {
    secret = { RECEIPT_KEY_FILE = "/secrets/receipt-key" }
    kms    = { RECEIPT_KMS_KEY = try(module.signing[0].version, "projects/${var.project}/locations/${var.region}/keyRings/${local.name}/cryptoKeys/receipts/cryptoKeyVersions/${var.receipt_key_version}") }
    none   = {}
  }[var.receipt_key]

  # The first one, and those that may take its place.
  databases = concat([for m in module.firestore : m.database], [for m in module.firestores : m.database])
  database  = coalesce(var.database, local.name)

  backups = length(module.backup) > 0 # that are made here
  place   = var.backups == null ? {} : { BACKUP_PLACE = "gs://${coalesce(var.backups.project, var.project)}-${local.name}-backups/${local.name}" }

  # What is shared goes by its names, which follow from the environment.
  network         = var.shares_cloudrun ? "projects/${var.project}/global/networks/${local.name}-network" : module.network[0].network
  subnetwork      = var.shares_cloudrun ? "projects/${var.project}/regions/${var.region}/subnetworks/${local.name}-${var.region}" : module.network[0].subnetwork
  registry        = var.shares_cloudrun ? local.name : module.registry[0].repository
  account         = "${local.name}@${var.project}.iam.gserviceaccount.com"
  account_name    = var.shares_cloudrun ? "projects/${var.project}/serviceAccounts/${local.account}" : module.identity[0].account
  certificate_map = local.name
  delivery        = var.shares_cloudrun ? "${local.name}-gke" : local.name
}

resource "google_project_service" "this" {
  for_each = toset([
    "artifactregistry", "certificatemanager", "cloudbilling", "billingbudgets", "cloudbuild", "clouddeploy", "cloudkms", "cloudtrace", "compute", "container", "firestore",
    "iam", "iamcredentials", "monitoring", "pubsub", "redis", "secretmanager", "servicenetworking", "storage", "telemetry",
  ])
  project            = var.project
  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

module "network" {
  count      = var.shares_cloudrun ? 0 : 1
  source     = "../modules/network"
  project    = var.project
  region     = var.region
  name       = local.name
  ranges     = var.ranges
  nat        = true
  depends_on = [google_project_service.this]
}

module "redis" {
  count            = var.shares_cloudrun ? 0 : 1
  source           = "../modules/redis"
  project          = var.project
  region           = var.region
  name             = local.name
  network          = module.network[0].network
  peering          = module.network[0].peering
  memory_gb        = var.redis_memory_gb
  highly_available = var.redis_highly_available
  protected        = local.protected
}

module "firestore" {
  count       = var.shares_cloudrun ? 0 : 1
  source      = "../modules/firestore"
  project     = var.project
  region      = coalesce(var.firestore_location, var.region)
  name        = local.name
  protected   = local.protected
  backup_days = var.backup_days
  depends_on  = [google_project_service.this]
}

# Another database is made empty, restored into, and only then served from.
module "firestores" {
  for_each    = var.shares_cloudrun ? [] : var.databases
  source      = "../modules/firestore"
  project     = var.project
  region      = coalesce(var.firestore_location, var.region)
  name        = each.value
  protected   = local.protected
  backup_days = var.backup_days
  depends_on  = [google_project_service.this]
}

module "identity" {
  count      = var.shares_cloudrun ? 0 : 1
  source     = "../modules/identity"
  project    = var.project
  name       = local.name
  databases  = local.databases
  telemetry  = var.telemetry
  depends_on = [google_project_service.this]
}

# The control plane's own, so that neither function can do what the other may.
module "taiea_identity" {
  count      = local.taiea ? 1 : 0
  source     = "../modules/identity"
  project    = var.project
  name       = local.taiea_name
  databases  = local.databases
  telemetry  = var.telemetry
  depends_on = [google_project_service.this]
}

# The pods' Kubernetes service accounts act as the functions' accounts.
resource "google_service_account_iam_member" "pod" {
  service_account_id = local.account_name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[erlmcp/erlmcp]"
  depends_on         = [module.cluster] # which brings the pool of identities
}

resource "google_service_account_iam_member" "taiea_pod" {
  count              = local.taiea ? 1 : 0
  service_account_id = module.taiea_identity[0].account
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[erlmcp/taiea]"
  depends_on         = [module.cluster]
}

module "secrets" {
  count      = var.shares_cloudrun ? 0 : 1
  source     = "../modules/secrets"
  project    = var.project
  name       = local.name
  names      = local.secrets
  redis_url  = module.redis[0].url
  redis_ca   = module.redis[0].ca
  policy     = var.policy
  reader     = module.identity[0].member
  taiea      = { names = local.taiea_secrets, reader = module.taiea_identity[0].member }
  protected  = local.protected
  depends_on = [google_project_service.this]
}

module "signing" {
  count       = var.receipt_key == "kms" && !var.shares_cloudrun ? 1 : 0
  source      = "../modules/signing"
  project     = var.project
  region      = var.region
  name        = local.name
  key_version = var.receipt_key_version
  signers     = merge({ erlmcp = module.identity[0].member, taiea = module.taiea_identity[0].member }, var.backups == null ? {} : { ops = module.backup[0].member })
  depends_on  = [google_project_service.this]
}

module "backup" {
  count             = var.backups == null || var.shares_cloudrun ? 0 : 1
  source            = "../modules/backup"
  project           = var.project
  region            = var.region
  name              = local.name
  bucket            = merge(var.backups, { locked = coalesce(var.backups.locked, var.environment == "production") })
  database_location = coalesce(var.firestore_location, var.region)
  databases         = local.databases
  servers           = { erlmcp = module.identity[0].member, taiea = module.taiea_identity[0].member }
  depends_on        = [google_project_service.this]
}

resource "google_service_account_iam_member" "ops_pod" {
  count              = length(module.backup)
  service_account_id = module.backup[0].account
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[erlmcp/ops]"
  depends_on         = [module.cluster]
}

module "events" {
  count          = local.taiea_events ? 1 : 0
  source         = "../modules/events"
  project        = var.project
  project_number = var.project_number
  name           = local.name
  labels         = local.labels
  endpoint       = local.taiea_endpoint
  publishers     = var.publishers
  sources        = var.event_sources
  depends_on     = [google_project_service.this]
}

module "registry" {
  count      = var.shares_cloudrun ? 0 : 1
  source     = "../modules/registry"
  project    = var.project
  region     = var.region
  name       = local.name
  depends_on = [google_project_service.this]
}

module "certificate" {
  count      = var.shares_cloudrun ? 0 : 1
  source     = "../modules/certificate"
  project    = var.project
  name       = local.name
  domain     = var.domain
  depends_on = [google_project_service.this]
}

resource "google_compute_global_address" "ingress" {
  project    = var.project
  name       = "${local.name}-ingress"
  depends_on = [google_project_service.this]
}

module "cluster" {
  source     = "../modules/cluster"
  project    = var.project
  region     = var.region
  zone       = var.zone
  name       = local.name
  labels     = local.labels
  network    = local.network
  subnetwork = local.subnetwork
  autopilot  = var.autopilot
  nodes      = var.nodes
  operators  = var.operators
  registry   = local.registry
  protected  = local.protected
  depends_on = [google_project_service.this]
}

module "delivery" {
  source   = "../modules/delivery"
  project  = var.project
  region   = var.region
  name     = local.delivery
  accounts = {} # pods have theirs by Workload Identity
  registry = local.registry
  bake     = var.bake
  cluster  = { name = module.cluster.name, location = module.cluster.location }
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
  registry       = local.registry
  approval       = local.protected
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
  telemetry      = var.telemetry
  private        = false
  pipelines      = module.delivery.names
  platform       = local.name
  watched        = setunion(["CertificateExpires"], var.shares_cloudrun ? [] : ["RedisFull"], local.taiea_events ? ["EventsNotTaken"] : [])
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
  nat                       = true
  firestore                 = { backups = var.backup_days + (local.protected ? 14 : 0) }                                                  # daily ones, and weekly ones for 14 weeks
  secrets                   = { count = length(setunion(local.secrets, local.taiea_secrets)), files = 0, kms = var.receipt_key == "kms" } # files are in the cluster
  settings                  = var.settings
  telemetry                 = var.telemetry
  uptime                    = true
  alerts                    = length(module.observability.alerts)
  schedules                 = 0 # pods of the cluster
  release                   = { build_minutes = 30, deploy_minutes = 10 + 2 * var.bake / 60 }
  gke                       = { autopilot = var.autopilot, nodes = var.nodes.min, pods = 3, taiea = local.taiea ? 2 : 0, collector = var.telemetry }
}

# What erlmcp counts in, keeps things in and runs as, wherever it runs: the same for Cloud Run and for GKE. Where another composition has
# made it for the same environment nothing is made, and all of it goes by its names, which follow from the environment's.

locals {
  project = var.place.project
  region  = var.place.region
  taiea   = "${var.name}-taiea"

  # The first one, and those that may take its place.
  stores = concat(module.firestore[*].databases, [for m in module.firestores : m.databases])
  serves = [for part in var.firestore.apart ? ["", "-usage", "-receipts"] : [""] : "${coalesce(var.firestore.serves, var.name)}${part}"]

  methods         = [for m in split(",", var.erlmcp.authentication) : trimspace(m)]
  taiea_methods   = [for m in split(",", var.taiea.authentication) : trimspace(m)]
  both            = toset(concat(["keys"], var.redis == null ? [] : ["redis-ca", "redis-url"], var.receipts.key == "secret" ? ["receipt-key"] : []))
  secrets         = setunion(local.both, contains(local.methods, "keys") ? ["api-keys"] : [], var.erlmcp.policy == "" ? [] : ["policy"])
  taiea_secrets   = !var.made ? toset([]) : setunion(local.both, ["taiea-keys"], local.roots && !local.signs ? ["receipt-root-key"] : [], contains(local.taiea_methods, "keys") ? ["taiea-api-keys"] : [], var.webhook == "taiea" ? ["webhook-secrets"] : [])
  webhook_secrets = local.hooked ? setunion(local.both, ["webhook-secrets"]) : toset([])

  # By its name, which is known before it is there.
  adds = one([for r in google_project_iam_custom_role.adds : "projects/${local.project}/roles/${r.role_id}"])

  hooked    = var.made && var.webhook == "apart"
  backed_up = var.made && var.backups != null
  signs     = var.receipts.key == "kms"
  roots     = var.receipts.roots_since != null # are the control plane's alone

  networked = var.made && var.network.existing == null && (var.redis != null || var.network.static)
  # Of a network that exists: by its id where it is another project's (Shared VPC), else by its name.
  existing = [for e in var.network.existing[*] : {
    network    = "projects/${coalesce(e.project, local.project)}/global/networks/${e.network}"
    subnetwork = "projects/${coalesce(e.project, local.project)}/regions/${local.region}/subnetworks/${e.subnetwork}"
  }]
  network = {
    network    = try(local.existing[0].network, module.network[0].network, "projects/${local.project}/global/networks/${var.name}-network")
    subnetwork = try(local.existing[0].subnetwork, module.network[0].subnetwork, "projects/${local.project}/regions/${local.region}/subnetworks/${var.name}-${local.region}")
    names = try(var.network.existing.project != null ? local.existing[0] : { network = var.network.existing.network, subnetwork = var.network.existing.subnetwork },
    module.network[0].names, { network = "${var.name}-network", subnetwork = "${var.name}-${local.region}" })
  }
}

module "network" {
  count   = local.networked ? 1 : 0
  source  = "../network"
  project = local.project
  region  = local.region
  name    = var.name
  ranges  = var.network.ranges
  nat     = var.network.nat || var.network.static
  static  = var.network.static
}

module "redis" {
  count            = var.made && var.redis != null ? 1 : 0
  source           = "../redis"
  project          = local.project
  region           = local.region
  name             = var.name
  network          = local.network.network
  peering          = local.networked ? module.network[0].peering : "made by the network's owners"
  memory_gb        = var.redis.memory_gb
  highly_available = var.redis.highly_available
  protected        = var.protected
  kms_key          = var.kms_key
}

module "firestore" {
  count       = var.made ? 1 : 0
  source      = "../firestore"
  project     = local.project
  region      = var.firestore.location
  name        = var.name
  protected   = var.protected
  backup_days = var.firestore.backup_days
  kms_key     = var.kms_key
  apart       = var.firestore.apart

  receipts_elsewhere = var.backups != null
}

# Another database is made empty, restored into, and only then served from.
module "firestores" {
  for_each    = var.made ? var.firestore.databases : []
  source      = "../firestore"
  project     = local.project
  region      = var.firestore.location
  name        = each.value
  protected   = var.protected
  backup_days = var.firestore.backup_days
  apart       = var.firestore.apart

  receipts_elsewhere = var.backups != null
  kms_key            = var.kms_key
}

# To read documents and to add such as are not there: https://docs.cloud.google.com/firestore/docs/security/iam
resource "google_project_iam_custom_role" "adds" {
  count       = var.made ? 1 : 0
  project     = local.project
  role_id     = "${replace(var.name, "-", "_")}_adds"
  title       = "Documents of ${var.name}, to add and to read"
  permissions = ["datastore.databases.get", "datastore.entities.create", "datastore.entities.get", "datastore.entities.list"]
}

module "identity" {
  count     = var.made ? 1 : 0
  source    = "../identity"
  project   = local.project
  name      = var.name
  databases = local.stores
  adds      = local.adds
  operates  = false
  telemetry = var.telemetry
}

# The control plane's own, so that neither function can do what the other may.
module "taiea_identity" {
  count     = var.made ? 1 : 0
  source    = "../identity"
  project   = local.project
  name      = local.taiea
  databases = local.stores
  adds      = local.adds
  operates  = true
  telemetry = var.telemetry
}

# Everyone reaches what takes webhooks. It applies events, and answers nobody about anything else.
module "webhook_identity" {
  count     = local.hooked ? 1 : 0
  source    = "../identity"
  project   = local.project
  name      = "${var.name}-webhook"
  databases = local.stores
  adds      = local.adds
  operates  = true
  telemetry = var.telemetry
}

module "secrets" {
  count     = var.made ? 1 : 0
  source    = "../secrets"
  project   = local.project
  name      = var.name
  redis_url = one(module.redis[*].url)
  redis_ca  = one(module.redis[*].ca)
  policy    = var.erlmcp.policy
  readers = merge({
    erlmcp = { names = local.secrets, member = module.identity[0].member }
    taiea  = { names = local.taiea_secrets, member = module.taiea_identity[0].member }
  }, { for a in module.webhook_identity : "webhook" => { names = local.webhook_secrets, member = a.member } })
  protected = var.protected
  kms_key   = var.kms_key
  locations = length(var.secret_locations) > 0 || var.kms_key == null ? var.secret_locations : [local.region]
}

module "signing" {
  count       = var.made && local.signs ? 1 : 0
  source      = "../signing"
  project     = local.project
  region      = local.region
  name        = var.name
  key_version = var.receipts.key_version
  roots       = local.roots ? module.taiea_identity[0].member : null
  signers     = merge({ erlmcp = module.identity[0].member, taiea = module.taiea_identity[0].member }, { for a in module.webhook_identity : "webhook" => a.member }, { for b in module.backup : "ops" => b.member })
}

module "attestation" {
  count   = var.made && var.unsigned_images != null ? 1 : 0
  source  = "../attestation"
  project = local.project
  region  = local.region
  name    = var.name
  others  = var.unsigned_images
}

module "backup" {
  count             = local.backed_up ? 1 : 0
  source            = "../backup"
  project           = local.project
  region            = local.region
  name              = var.name
  bucket            = { for k, v in var.backups : k => v if k != "reads_key" }
  database_location = var.firestore.location
  databases         = flatten(local.stores)
  receipt_days      = var.receipts.days
  receipt_key       = var.backups.reads_key && var.receipts.key == "secret" ? module.secrets[0].ids["receipt-key"] : null
  servers           = merge({ erlmcp = module.identity[0].member, taiea = module.taiea_identity[0].member }, { for a in module.webhook_identity : "webhook" => a.member })
  kms_key           = var.kms_key
}

module "registry" {
  count   = var.made ? 1 : 0
  source  = "../registry"
  project = local.project
  region  = local.region
  name    = var.name
  kms_key = var.kms_key
}

module "events" {
  count          = var.made && var.taiea.events != null ? 1 : 0
  source         = "../events"
  project        = local.project
  project_number = var.place.project_number
  name           = var.name
  labels         = var.labels
  endpoint       = var.taiea.events.endpoint
  publishers     = var.taiea.events.publishers
  sources        = var.taiea.events.sources
  kms_key        = var.kms_key
}

module "certificate" {
  count   = var.made && var.domain != "" ? 1 : 0
  source  = "../certificate"
  project = local.project
  name    = var.name
  domain  = var.domain
}

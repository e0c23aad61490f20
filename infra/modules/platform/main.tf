# What erlmcp counts in, keeps things in and runs as, wherever it runs: the same for Cloud Run and for GKE. Where another composition has
# made it for the same environment nothing is made, and all of it goes by its names, which follow from the environment's.

locals {
  project = var.place.project
  region  = var.place.region
  taiea   = "${var.name}-taiea"

  # The first one, and those that may take its place.
  databases = concat(module.firestore[*].database, [for m in module.firestores : m.database])
  database  = coalesce(var.firestore.serves, var.name)

  methods       = [for m in split(",", var.erlmcp.authentication) : trimspace(m)]
  taiea_methods = [for m in split(",", var.taiea.authentication) : trimspace(m)]
  both          = toset(concat(["keys"], var.redis == null ? [] : ["redis-ca", "redis-url"], var.receipts.key == "secret" ? ["receipt-key"] : []))
  secrets       = setunion(local.both, contains(local.methods, "keys") ? ["api-keys"] : [], var.erlmcp.policy == "" ? [] : ["policy"])
  taiea_secrets = !var.made ? toset([]) : setunion(local.both, contains(local.taiea_methods, "keys") ? ["taiea-api-keys"] : [], var.taiea.webhook ? ["webhook-secrets"] : [])

  networked = var.made && var.redis != null
  backed_up = var.made && var.backups != null
  signs     = var.receipts.key == "kms"
}

module "network" {
  count   = local.networked ? 1 : 0
  source  = "../network"
  project = local.project
  region  = local.region
  name    = var.name
  ranges  = var.network.ranges
  nat     = var.network.nat
}

module "redis" {
  count            = local.networked ? 1 : 0
  source           = "../redis"
  project          = local.project
  region           = local.region
  name             = var.name
  network          = module.network[0].network
  peering          = module.network[0].peering
  memory_gb        = var.redis.memory_gb
  highly_available = var.redis.highly_available
  protected        = var.protected
}

module "firestore" {
  count       = var.made ? 1 : 0
  source      = "../firestore"
  project     = local.project
  region      = var.firestore.location
  name        = var.name
  protected   = var.protected
  backup_days = var.firestore.backup_days
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
}

module "identity" {
  count     = var.made ? 1 : 0
  source    = "../identity"
  project   = local.project
  name      = var.name
  databases = local.databases
  telemetry = var.telemetry
}

# The control plane's own, so that neither function can do what the other may.
module "taiea_identity" {
  count     = var.made ? 1 : 0
  source    = "../identity"
  project   = local.project
  name      = local.taiea
  databases = local.databases
  telemetry = var.telemetry
}

module "secrets" {
  count     = var.made ? 1 : 0
  source    = "../secrets"
  project   = local.project
  name      = var.name
  names     = local.secrets
  redis_url = one(module.redis[*].url)
  redis_ca  = one(module.redis[*].ca)
  policy    = var.erlmcp.policy
  reader    = module.identity[0].member
  taiea     = { names = local.taiea_secrets, reader = module.taiea_identity[0].member }
  protected = var.protected
}

module "signing" {
  count       = var.made && local.signs ? 1 : 0
  source      = "../signing"
  project     = local.project
  region      = local.region
  name        = var.name
  key_version = var.receipts.key_version
  signers     = merge({ erlmcp = module.identity[0].member, taiea = module.taiea_identity[0].member }, { for b in module.backup : "ops" => b.member })
}

module "backup" {
  count             = local.backed_up ? 1 : 0
  source            = "../backup"
  project           = local.project
  region            = local.region
  name              = var.name
  bucket            = { for k, v in var.backups : k => v if k != "reads_key" }
  database_location = var.firestore.location
  databases         = local.databases
  receipt_key       = var.backups.reads_key && var.receipts.key == "secret" ? module.secrets[0].ids["receipt-key"] : null
  servers           = { erlmcp = module.identity[0].member, taiea = module.taiea_identity[0].member }
}

module "registry" {
  count   = var.made ? 1 : 0
  source  = "../registry"
  project = local.project
  region  = local.region
  name    = var.name
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
}

module "certificate" {
  count   = var.made && var.domain != "" ? 1 : 0
  source  = "../certificate"
  project = local.project
  name    = var.name
  domain  = var.domain
}

# erlmcp on Cloud Run: its two functions, what they count and keep things in, and the way from a tag to a revision.

# What the sizes are. A variable of the same name comes before its size. infra/docs/sizes.md says what each costs, and when to take it.
locals {
  sizes = {
    try = {
      redis_memory_gb = 0 # none: the one instance counts by itself, and its releases get all traffic at once
      instances       = { min = 0, max = 1 }
      billing         = "request"
      telemetry       = true
      collector       = false # the function sends what it measures itself
      alerts          = false
      uptime          = false
      nat             = false
      backup_days     = 1

      redis_highly_available = false
    }
    small = {
      redis_memory_gb = 1
      instances       = { min = 0, max = 10 }
      billing         = "request"
      telemetry       = true
      collector       = false
      alerts          = true
      uptime          = true
      nat             = false
      backup_days     = 7

      redis_highly_available = false
    }
    production = {
      redis_memory_gb = 1
      instances       = { min = 0, max = 100 }
      billing         = "instance"
      telemetry       = true
      collector       = true
      alerts          = true
      uptime          = true
      nat             = true # for GKE, which may share the network
      backup_days     = 7

      redis_highly_available = true
    }
  }

  size = merge(local.sizes[var.size], { for name, value in {
    redis_memory_gb        = var.redis_memory_gb
    instances              = var.instances
    billing                = var.billing
    telemetry              = var.telemetry
    collector              = var.collector
    alerts                 = var.alerts
    uptime                 = var.uptime
    nat                    = var.nat
    backup_days            = var.backup_days
    redis_highly_available = var.redis_highly_available
  } : name => value if value != null })

  shares_counters = local.size.redis_memory_gb > 0
  judged          = var.judged == null ? local.size.telemetry && local.shares_counters : var.judged
  collected       = local.size.telemetry && local.size.collector
  looked_at       = local.size.uptime && var.ingress != "INGRESS_TRAFFIC_INTERNAL_ONLY" # from outside, every minute
}

locals {
  name      = var.environment == "production" ? "erlmcp" : "erlmcp-${var.environment}"
  protected = coalesce(var.protected, var.environment == "production")
  labels    = { app = "erlmcp", environment = var.environment }

  host = var.domain != "" ? var.domain : "${local.name}-${var.project_number}.${var.region}.run.app"
  url  = "https://${local.host}"

  # A client's own token would have to be one of Google's; the proxy brings the user's.
  proxied = !var.public && var.domain == ""

  # In a variable and not a file: a change of it is a new revision.
  collectors = { for name in [local.name, local.taiea, local.webhook] : name => !local.collected ? null : {
    image  = var.collector_image
    cpu    = "500m"
    memory = "256Mi"
    config = file("${path.module}/../observability/collector.yaml")
    environment = {
      CLUSTER              = "__run__" # as Google's own collectors say it
      GOOGLE_CLOUD_PROJECT = var.project
      LOCATION             = var.region
      NAME                 = name
      NAMESPACE            = name
    }
  } }

  # Where each function sends what it measures: to its collector, or to Google itself, by the names that the collector gives.
  sends = { for name in [local.name, local.taiea, local.webhook] : name => !local.size.telemetry ? {} : local.collected ? { OTEL_EXPORTER_OTLP_ENDPOINT = "http://localhost:4318" } : {
    OTEL_EXPORTER_OTLP_ENDPOINT = "https://telemetry.googleapis.com"
    OTEL_RESOURCE_ATTRIBUTES    = "cluster=__run__,location=${var.region},namespace=${name}"
    OTEL_SERVICE_NAME           = name
  } }

  # Where the judge gets in, it calls the tools that only read, so that a release is judged also while nobody else calls, as a tenant of its
  # own. Without metrics there is nothing to compare: the release gets all traffic, and is asked whether it is healthy, as the control plane is.
  deployer = "${local.name}-deploy@${var.project}.iam.gserviceaccount.com"
  run_url  = "https://${local.name}-${var.project_number}.${var.region}.run.app"
  judge = !local.judged ? ["probe", "-health", "-as=${local.deployer}", "-audience=${local.run_url}", local.url] : concat(
  ["judge", "-service=projects/${var.project}/locations/${var.region}/services/${local.name}", "-bake=${var.bake}s"], local.loaded)
  loaded = !local.invoked || var.ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY" ? ["-undecided=pass"] : [
    "-undecided=fail", "-load=${local.url}/mcp", "-as=${local.deployer}", "-audience=${local.run_url}",
  ]

  # Accounts that may invoke the service call as whom Cloud Run says that they are, that of releases too.
  invoked = contains([for m in split(",", var.authentication) : trimspace(m)], "cloudrun")
  prober  = !local.invoked ? {} : { TENANT_MAP = join(",", compact(["cloudrun:${local.deployer}=prober", lookup(var.settings, "TENANT_MAP", "")])) }

  settings = merge(local.platform, local.sends[local.name], {
    AUTHENTICATION     = var.authentication
    CONNECTION_TIMEOUT = "620s" # beyond the 600 s for which load balancers keep connections
    PUBLIC_URL         = local.url
    UNKNOWN_TENANTS    = var.unknown_tenants
  }, var.domain == "" ? {} : { TRUSTED_PROXIES = "2" }, length(var.private_upstreams) == 0 ? {} : { EGRESS_ALLOW = join(",", var.private_upstreams) }, var.settings, local.prober)

  receipt_days = tonumber(lookup(var.settings, "RECEIPT_RETENTION_DAYS", "400"))

  # What both functions are told.
  platform = merge(module.platform.settings,
    var.backups != null && local.receipt_days > 30 ? { RECEIPT_STORE_DAYS = "30" } : {}, # what is older is in the bucket of backups
    local.shares_counters ? {} : { GOVERNOR_SCOPE = "instance" },
  )

  # Images that no release of ours builds: what services run until the first one, and the collector.
  unsigned = !var.binary_authorization ? null : concat([for i in ["hello", "job"] : "us-docker.pkg.dev/cloudrun/container/${i}"], local.size.telemetry ? [var.collector_image] : [])

  # What takes webhooks, where there is any.
  webhook     = "${local.name}-webhook"
  webhook_url = "https://${local.webhook}-${var.project_number}.${var.region}.run.app"

  # The control plane.
  taiea          = "${local.name}-taiea"
  taiea_url      = "https://${local.taiea}-${var.project_number}.${var.region}.run.app"
  taiea_endpoint = "${local.taiea_url}/v1/events/pubsub"
  taiea_chain    = coalesce(var.taiea_authentication, "cloudrun")
  taiea_settings = merge(local.platform, local.sends[local.taiea], module.platform.root_settings, {
    AUTHENTICATION         = local.taiea_chain
    OPERATORS              = join(",", [for who, role in var.taiea_operators : "${role}=${who}"])
    PUBLIC_URL             = local.taiea_url
    PUBSUB_AUDIENCE        = local.taiea_endpoint
    PUBSUB_SERVICE_ACCOUNT = module.platform.events.publisher
  }, var.taiea_settings)
}

resource "google_project_service" "this" {
  for_each = toset(concat([
    "artifactregistry", "certificatemanager", "cloudbilling", "billingbudgets", "cloudbuild", "clouddeploy", "cloudkms", "cloudscheduler", "cloudtrace", "compute", "firestore", "iam",
    "iamcredentials", "monitoring", "pubsub", "redis", "run", "secretmanager", "servicenetworking", "storage", "telemetry",
  ], var.binary_authorization ? ["binaryauthorization", "containeranalysis"] : []))
  project            = var.project
  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

module "platform" {
  source    = "../modules/platform"
  made      = true
  place     = { project = var.project, project_number = var.project_number, region = var.region }
  name      = local.name
  labels    = local.labels
  protected = local.protected
  telemetry = local.size.telemetry
  domain    = var.domain
  network = { ranges = var.ranges, nat = local.size.nat, static = var.static_egress,
    existing = var.network == null ? null : { network = var.network, subnetwork = var.subnetwork, project = var.network_project }
  }
  redis     = !local.shares_counters ? null : { memory_gb = local.size.redis_memory_gb, highly_available = local.size.redis_highly_available }
  firestore = { location = coalesce(var.firestore_location, var.region), backup_days = local.size.backup_days, apart = var.databases_apart, databases = var.databases, serves = var.database }
  backups   = var.backups == null ? null : merge(var.backups, { locked = coalesce(var.backups.locked, var.environment == "production"), reads_key = true })
  receipts  = { key = var.receipt_key, key_version = var.receipt_key_version, days = local.receipt_days, roots_since = var.receipt_roots_since }
  erlmcp    = { authentication = var.authentication, policy = var.policy }
  taiea = { authentication = local.taiea_chain,
    events = { endpoint = local.taiea_endpoint, publishers = var.publishers, sources = var.event_sources }
  }
  webhook          = var.webhook ? "apart" : "none"
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
  services       = ["artifactregistry", "firestore", "pubsub", "redis", "run", "secretmanager", "storage"]
  depends_on     = [google_project_service.this]
}

module "logs" {
  count   = length(var.log_sinks) == 0 ? 0 : 1
  source  = "../modules/logs"
  project = var.project
  name    = local.name
  filter  = "(resource.type=\"cloud_run_revision\" AND resource.labels.service_name=(\"${local.name}\" OR \"${local.taiea}\" OR \"${local.webhook}\")) OR (resource.type=\"cloud_run_job\" AND resource.labels.job_name=\"${local.name}-ops\")"
  sinks   = var.log_sinks
}

module "job" {
  count       = var.backups == null ? 0 : 1
  source      = "../modules/job"
  project     = var.project
  region      = var.region
  name        = "${local.name}-ops"
  labels      = local.labels
  account     = module.platform.backup.email
  commands    = module.platform.backup.commands
  kms_key     = one(module.encryption[*].key)
  signed      = var.binary_authorization
  receipt_key = lookup(module.platform.secrets.erlmcp, "receipt-key", null)
  settings    = { for k, v in merge(local.platform, var.settings) : k => v if contains(["BACKUP_PLACE", "FIRESTORE_DATABASE", "GOOGLE_CLOUD_PROJECT", "RECEIPT_KMS_KEY", "RECEIPT_ROOTS_SINCE", "RECEIPT_RETENTION_DAYS", "RECEIPT_STORE_DAYS"], k) }
}

module "service" {
  source      = "../modules/service"
  project     = var.project
  region      = var.region
  name        = local.name
  function    = "erlmcp"
  labels      = local.labels
  account     = module.platform.accounts.erlmcp.email
  collector   = local.collectors[local.name]
  network     = one(module.platform.network[*].names)
  all_traffic = var.static_egress
  signed      = var.binary_authorization
  kms_key     = one(module.encryption[*].key)
  secrets     = module.platform.secrets.erlmcp
  settings    = local.settings
  startup     = "/startup"
  audiences   = var.domain == "" ? [] : [local.url, "${local.url}/mcp"]
  ingress     = var.ingress
  public      = var.public
  invokers    = concat(var.invokers, local.looked_at ? [module.observability.agent] : [])
  instances   = local.size.instances
  concurrency = var.concurrency
  cpu         = var.cpu
  memory      = var.memory
  timeout     = var.timeout
  billing     = local.size.billing
  protected   = local.protected
}

# The control plane, where who calls the data plane has no right. Senders of webhooks have no account of Google's. So Cloud Run lets everyone into
# a second service of it, where nothing but an event that one of them has signed is served.
module "control" {
  for_each = merge({ taiea = {
    name      = local.taiea
    secrets   = { for n, id in module.platform.secrets.taiea : n == "taiea-api-keys" ? "api-keys" : n => id }
    settings  = local.taiea_settings
    audiences = [local.taiea_endpoint]
    public    = false
    invokers  = concat([for who in keys(var.taiea_operators) : endswith(who, ".gserviceaccount.com") ? "serviceAccount:${who}" : "user:${who}" if who != "*"], ["serviceAccount:${module.platform.events.account}"])
    timeout   = 900
    billing   = var.receipt_roots_since == null ? local.size.billing : "request" # else a request a minute would keep an instance
    } }, !var.webhook ? {} : { webhook = {
    name      = local.webhook
    secrets   = module.platform.secrets.webhook
    settings  = merge(local.platform, local.sends[local.webhook], { AUTHENTICATION = "cloudrun", PUBLIC_URL = local.webhook_url, TAIEA_ROUTES = "webhook" })
    audiences = []
    public    = true
    invokers  = []
    timeout   = 60
    billing   = local.size.billing
  } })
  source      = "../modules/service"
  project     = var.project
  region      = var.region
  name        = each.value.name
  function    = "taiea"
  labels      = local.labels
  account     = module.platform.accounts[each.key].email
  collector   = local.collectors[each.value.name]
  network     = one(module.platform.network[*].names)
  all_traffic = var.static_egress
  signed      = var.binary_authorization
  kms_key     = one(module.encryption[*].key)
  secrets     = each.value.secrets
  settings    = each.value.settings
  startup     = "/ready"
  audiences   = each.value.audiences
  ingress     = var.ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY" ? var.ingress : "INGRESS_TRAFFIC_ALL" # no balancer is before it
  public      = each.value.public
  invokers    = each.value.invokers
  instances   = { min = 0, max = 2 }
  concurrency = 80
  cpu         = "1"
  memory      = "1Gi"
  timeout     = each.value.timeout
  billing     = each.value.billing
  protected   = local.protected
}

# Roots of receipts, where it alone makes them: without requests it has no time, and may not run. As the account that pushes events it is let in.
resource "google_cloud_scheduler_job" "roots" {
  count            = var.receipt_roots_since == null ? 0 : 1
  project          = var.project
  region           = var.region
  name             = "${local.name}-roots"
  description      = "Asks ${local.taiea} for a root of receipts"
  schedule         = "* * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "60s"

  http_target {
    http_method = "POST"
    uri         = "${local.taiea_url}/v1/receipts/anchor"

    oidc_token {
      service_account_email = module.platform.events.account
      audience              = local.taiea_endpoint
    }
  }

  depends_on = [google_project_service.this]
}

module "balancer" {
  count           = var.domain == "" ? 0 : 1
  source          = "../modules/balancer"
  project         = var.project
  region          = var.region
  name            = local.name
  service         = module.service.name
  certificate_map = module.platform.certificate.map
  rate            = var.balancer_rate
}

module "delivery" {
  source     = "../modules/delivery"
  project    = var.project
  region     = var.region
  name       = local.name
  accounts   = merge({ for function, a in module.platform.accounts : function => a.account }, var.backups == null ? {} : { ops = module.platform.backup.account })
  registry   = module.platform.registry.repository
  bake       = var.bake
  build_pool = var.build_pool
  kms_key    = one(module.encryption[*].key)
  pipelines = merge(var.backups == null ? {} : { ops = { files = { "job.yaml" = module.job[0].manifest }, gradual = false } }, {
    erlmcp = { files = { "service.yaml" = module.service.manifest }, gradual = local.judged, judge = local.judge }
  }, { for name, s in module.control : name => { files = { "service.yaml" = s.manifest }, gradual = false, judge = concat(["probe", "-health"], name == "webhook" ? [local.webhook_url] : ["-as=${local.deployer}", local.taiea_url]) } })
  protected  = local.protected
  depends_on = [google_project_service.this]
}

module "release" {
  count          = var.repository == null ? 0 : 1
  source         = "../modules/release"
  project        = var.project
  project_number = var.project_number
  region         = var.region
  name           = local.name
  repository     = var.repository
  registry       = module.platform.registry.repository
  approval       = local.protected
  attestor       = module.platform.attestor
  delivery       = { bucket = module.delivery.bucket, pipelines = module.delivery.pipelines, account = module.delivery.account }
  depends_on     = [google_project_service.this]
}

module "people" {
  source   = "../modules/people"
  project  = var.project
  region   = var.region
  name     = local.name
  people   = var.people
  taiea    = module.control["taiea"].name
  events   = { topic = module.platform.events.topic, dead_letters = module.platform.events.dead_letters }
  delivery = { bucket = module.delivery.bucket, pipelines = module.delivery.pipelines, account = module.delivery.account }
  job      = var.backups == null ? null : { name = module.job[0].name, bucket = module.platform.backup.bucket }
}

module "observability" {
  source         = "../modules/observability"
  project        = var.project
  project_number = var.project_number
  name           = local.name
  host           = local.looked_at ? local.host : ""
  service        = local.name
  objectives     = local.size.telemetry && var.objectives
  telemetry      = local.size.telemetry
  alerting       = local.size.alerts
  private        = !var.public
  pipelines      = module.delivery.names
  platform       = local.name
  watched = setunion(["ControlPlaneFails", "EventsNotTaken"], local.shares_counters ? ["RedisFull"] : [], var.backups == null ? [] : ["BackupsFail", "BackupsOld"],
  var.domain == "" || !local.looked_at ? [] : ["CertificateExpires"])
  emails     = var.emails
  channels   = var.channels
  budget     = { billing_account = var.billing_account, monthly = var.monthly_budget }
  depends_on = [google_project_service.this]
}

module "cost" {
  source                    = "../modules/cost"
  platform                  = true
  balanced                  = var.domain != ""
  calls_per_instance_second = var.calls_per_instance_second
  redis                     = !local.shares_counters ? null : { memory_gb = local.size.redis_memory_gb, highly_available = local.size.redis_highly_available }
  nat                       = var.network == null && (local.shares_counters && local.size.nat || var.static_egress)
  firestore                 = var.databases_apart && var.backups != null ? { backups = 0, history = false } : { backups = local.size.backup_days + (local.protected ? 14 : 0), history = true } # daily ones, and weekly ones for 14 weeks
  secrets = {
    count = length(merge(values(module.platform.secrets)...))
    files = length(setsubtract(keys(module.platform.secrets.erlmcp), ["redis-ca"])) # which is in a variable
    kms   = var.receipt_key == "kms"
  }
  settings  = merge(local.platform, var.settings)
  signed    = var.binary_authorization
  backups   = var.backups
  telemetry = local.size.telemetry
  uptime    = local.looked_at
  alerts    = length(module.observability.alerts)
  schedules = (var.backups == null ? 0 : length(module.platform.backup.commands)) + length(google_cloud_scheduler_job.roots)
  anchored  = var.receipt_roots_since != null
  release   = { build_minutes = 30, deploy_minutes = 10 + (local.judged ? 2 * var.bake / 60 : 0) }
  cloudrun = {
    cpu        = tonumber(var.cpu) + (local.collected ? 0.5 : 0)
    memory_gib = tonumber(trimsuffix(var.memory, "Gi")) + (local.collected ? 0.25 : 0)
    min        = local.size.instances.min
    billing    = local.size.billing
  }
}

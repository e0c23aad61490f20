# What an environment costs, by list prices: what is paid in a month without a single call, what a million calls add, and a release.
# Receipts of a million calls count with all that they cost until they are deleted. Left out are traffic to the internet, free tiers (but
# for that of uptime checks, within which an environment stays), events, the clients' tools, and logs and metrics of GKE's own.

locals {
  hours   = 730
  minutes = local.hours * 60
  seconds = local.hours * 3600
  gib     = pow(2, 30)

  # Under instance-based billing an instance stays for minutes after each uptime check, and is paid for.
  on_run  = var.cloudrun != null
  request = var.cloudrun == null ? false : var.cloudrun.billing == "request"
  kept    = var.cloudrun == null ? 0 : max(var.cloudrun.min, var.uptime && !local.request ? 1 : 0)
  checks  = var.uptime ? local.price.uptime_checks_hour * local.hours : 0

  # USD for a second of an instance.
  busy_second = !local.on_run ? 0 : (local.request
    ? var.cloudrun.cpu * local.price.request_cpu_second + var.cloudrun.memory_gib * local.price.request_gib_second
    : var.cloudrun.cpu * local.price.instance_cpu_second + var.cloudrun.memory_gib * local.price.instance_gib_second
  )
  kept_second = !local.on_run ? 0 : !local.request ? local.busy_second : (
    var.cloudrun.cpu * local.price.idle_cpu_second + var.cloudrun.memory_gib * local.price.idle_gib_second
  )

  collectors = var.gke == null ? 0 : var.gke.collector ? var.gke.pods + var.gke.taiea : 0
  pods       = var.gke == null ? 0 : var.gke.pods + var.gke.taiea
  running    = local.kept + local.pods # instances that are paid for without calls
  up         = local.on_run ? max(local.kept, var.uptime ? 1 : 0) : local.pods

  compute = !local.on_run ? { idle = {}, million = {} } : {
    idle = merge(
      { "Cloud Run, instances that are kept" = local.kept * local.seconds * local.kept_second },
      var.anchored ? { "Cloud Run, roots each minute" = local.minutes * (0.1 * (var.cloudrun.cpu * local.price.request_cpu_second + var.cloudrun.memory_gib * local.price.request_gib_second)
      + local.price.request_million / 1e6 + 3 / 1e5 * local.price.firestore_reads) } : {},
      local.request && var.uptime ? { "Cloud Run, answers to uptime checks" = local.checks * (0.1 * local.busy_second + local.price.request_million / 1e6) } : {},
    )
    million = merge(
      { "Cloud Run, instance time" = local.serving * local.busy_second },
      local.request ? { "Cloud Run, requests" = local.price.request_million } : {},
    )
  }

  cluster = var.gke == null ? {} : merge({ "GKE, cluster" = local.hours * local.price.cluster_hour },
    var.gke.autopilot ? {
      "GKE, pods" = local.hours * (
        (var.gke.pods * 0.5 + var.gke.taiea * 0.1 + local.collectors * 0.05) * local.price.pod_cpu_hour
        + (var.gke.pods * 0.5 + var.gke.taiea * 0.25 + local.collectors * 0.125) * local.price.pod_gib_hour
      )
      } : {
      "GKE, nodes" = var.gke.nodes * local.hours * local.price.node_hour
  })

  # What a million calls are to instances and the store.
  serving      = 1e6 / var.calls_per_instance_second # seconds of instances
  segments     = max(local.serving * var.weight.segments_second, 1e6 / 500)
  roots        = local.serving / 60
  days         = tonumber(lookup(var.settings, "RECEIPT_RETENTION_DAYS", "400"))
  store_days   = tonumber(lookup(var.settings, "RECEIPT_STORE_DAYS", local.days)) # what is older is in the archive
  months       = local.store_days * 24 / local.hours
  stored       = local.price.firestore_stored + (var.firestore.history ? local.price.firestore_pitr : 0) + var.firestore.backups * local.price.firestore_backup
  kept_gib     = local.months / local.gib # GiB × months of a byte that is kept like a receipt
  written_once = (local.price.firestore_writes + local.price.firestore_deletes) / 1e5
  archived     = local.store_days < local.days && var.backups != null ? 1 : 0
  copied       = var.backups == null ? 0 : 1
  quotas       = length([for k in keys(var.settings) : k if endswith(k, "_CALLS_PER_DAY")])
  logged = (
    (var.weight.log_bytes + var.weight.entry_bytes) * tonumber(lookup(var.settings, "LOG_SAMPLE", "1"))
    + (local.on_run ? var.weight.request_bytes : 0) + (var.balanced ? var.weight.balancer_bytes : 0)
  )

  shared = !var.platform ? {} : {
    "Memorystore for Redis" = var.redis == null ? 0 : var.redis.memory_gb * local.hours * (var.redis.highly_available ? local.price.redis_ha_gb_hour : local.price.redis_gb_hour)
    "Cloud NAT"             = !var.nat ? 0 : local.hours * (local.price.nat_address_hour + min(32, local.running) * local.price.nat_instance_hour)
    "Secret Manager"        = var.secrets.count * local.price.secret
    "Secret Manager, files" = local.request ? 0 : var.secrets.files * local.kept * local.seconds / 30 / 1e4 * local.price.secret_accesses
    "Cloud KMS"             = ((var.secrets.kms ? 1 : 0) + (var.secrets.kms && var.anchored ? 1 : 0) + (var.signed ? 1 : 0)) * local.price.key
    "Artifact Registry"     = local.price.image_gib # the last 30 images
    "Cloud Scheduler"       = var.schedules * local.price.schedule
  }

  watched = {
    "Cloud Logging, uptime checks"   = local.checks * ((local.on_run ? var.weight.request_bytes : 0) + (var.balanced ? var.weight.balancer_bytes : 0)) / local.gib * local.price.log_gib
    "Uptime checks"                  = max(0, local.checks - local.price.uptime_unpriced) / 1000 * local.price.uptime_thousand
    "Alerts"                         = (var.alerts + (var.uptime ? 1 : 0)) * (local.price.condition + local.minutes / 1e6 * local.price.evaluated_million)
    "Managed Service for Prometheus" = var.telemetry ? local.up * local.minutes * var.weight.samples / 1e6 * local.price.samples_million : 0
  }

  idle = merge(local.compute.idle, local.cluster, local.shared, local.watched, var.balanced ? { "Load balancer" = local.hours * local.price.balancer_hour } : {})

  million = merge(local.compute.million, {
    "Firestore, receipts kept"       = (1e6 * var.weight.receipt_bytes + local.segments * var.weight.segment_bytes + local.roots * var.weight.root_bytes) * local.kept_gib * local.stored
    "Firestore, receipts written"    = (local.segments + local.roots) * local.written_once
    "Firestore, orders"              = local.serving * var.weight.reads_second / 1e5 * local.price.firestore_reads
    "Firestore, quotas"              = local.quotas * local.serving * var.weight.draws_second / 1e5 * (local.price.firestore_reads + local.price.firestore_writes)
    "Backups, receipts copied"       = local.copied * 1e6 * (var.weight.backup_bytes + var.weight.hashes_bytes) * local.store_days * (try(var.backups.retention_days, 0) + 1) * 24 / local.hours / local.gib * local.price.bucket_gib
    "Backups, receipts read"         = local.copied * (local.store_days + 2 * local.archived) * (local.segments + local.roots) / 1e5 * local.price.firestore_reads
    "Backups, roots"                 = local.copied * local.roots / 1e4 * (5 * local.price.bucket_changes + local.price.bucket_reads)
    "Archive of receipts"            = local.archived * 1e6 * (var.weight.archive_bytes + var.weight.hashes_bytes) * local.days * 24 / local.hours / local.gib * local.price.bucket_gib
    "Cloud KMS"                      = var.secrets.kms ? local.roots / 1e4 * local.price.key_signatures : 0
    "Secret Manager, files"          = var.secrets.files * local.serving / 30 / 1e4 * local.price.secret_accesses
    "Cloud Logging"                  = 1e6 * local.logged / local.gib * local.price.log_gib
    "Managed Service for Prometheus" = var.telemetry && local.on_run ? local.serving / 60 * var.weight.samples / 1e6 * local.price.samples_million : 0
    "Cloud Trace"                    = var.telemetry ? tonumber(lookup(var.settings, "OTEL_TRACES_SAMPLER_ARG", "0.02")) * var.weight.spans * local.price.spans_million : 0
  })

  release = {
    "Cloud Build"  = var.release.build_minutes * local.price.build_minute
    "Cloud Deploy" = var.release.deploy_minutes * local.price.deploy_minute
  }
}

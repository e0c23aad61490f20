# What it costs, roughly, from the variables and list prices: what is paid without a single call, and what a million calls add.
# Left out: traffic to the internet, logs, metrics, spans, images and free tiers.

locals {
  hours = 730

  cloudrun = var.cloudrun == null ? {} : {
    idle = {
      "Cloud Run, instances that are kept" = var.cloudrun.min * local.hours * 3600 * local.instance_second
    }
    million = {
      "Cloud Run, instance time" = 1e6 / var.calls_per_instance_second * local.instance_second
      "Cloud Run, requests"      = var.cloudrun.billing == "request" ? var.prices.request_million : 0
    }
  }
  instance_second = var.cloudrun == null ? 0 : (
    var.cloudrun.billing == "request"
    ? var.cloudrun.cpu * var.prices.request_cpu_second + var.cloudrun.memory_gib * var.prices.request_gib_second
    : var.cloudrun.cpu * var.prices.instance_cpu_second + var.cloudrun.memory_gib * var.prices.instance_gib_second
  )

  collectors = var.gke == null ? 0 : var.gke.collector ? var.gke.pods + var.gke.taiea : 0
  gke = var.gke == null ? {} : {
    idle = merge({ "GKE, cluster" = local.hours * var.prices.cluster_hour },
      var.gke.autopilot ? {
        "GKE, pods" = local.hours * (
          (var.gke.pods * 0.5 + var.gke.taiea * 0.1 + local.collectors * 0.05) * var.prices.pod_cpu_hour
          + (var.gke.pods * 0.5 + var.gke.taiea * 0.25 + local.collectors * 0.125) * var.prices.pod_gib_hour
        )
        } : {
        "GKE, nodes" = var.gke.nodes * local.hours * var.prices.node_hour
    })
    million = {}
  }

  shared = !var.platform ? {} : {
    idle = {
      "Memorystore for Redis" = var.redis.memory_gb * local.hours * (var.redis.highly_available ? var.prices.redis_ha_gb_hour : var.prices.redis_gb_hour)
      "Cloud NAT"             = local.hours * var.prices.nat_hour
    }
    million = {
      # Orders are read once a second by one instance of the fleet while calls come; quotas are drawn in slices.
      "Firestore" = 1e6 / var.calls_per_instance_second / 1e5 * (var.prices.firestore_reads + 0.1 * var.prices.firestore_writes)
    }
  }

  balancer = var.balanced ? { idle = { "Load balancer" = local.hours * var.prices.balancer_hour }, million = {} } : {}

  parts   = [local.cloudrun, local.gke, local.shared, local.balancer]
  idle    = merge([for p in local.parts : lookup(p, "idle", {})]...)
  million = merge([for p in local.parts : lookup(p, "million", {})]...)
}

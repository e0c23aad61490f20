# What joins workload/ to this environment: settings, addresses, accounts and the collector.

locals {
  kustomization = yamlencode({
    apiVersion = "kustomize.config.k8s.io/v1beta1"
    kind       = "Kustomization"
    namespace  = "erlmcp"
    resources  = concat(["../../workload"], local.taiea ? ["../../workload/taiea"] : [], local.backups ? ["../../workload/backup"] : [])
    configMapGenerator = concat([{
      name     = "erlmcp-settings"
      behavior = "merge"
      literals = [for k, v in merge(var.telemetry ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT = "" }, {
        AUTHENTICATION       = var.authentication
        FIRESTORE_DATABASE   = local.database
        GOOGLE_CLOUD_PROJECT = var.project
        PUBLIC_URL           = local.url
        UNKNOWN_TENANTS      = var.unknown_tenants
        }, local.place, local.receipt_key, contains(local.methods, "keys") ? { API_KEYS_FILE = "/secrets/api-keys" } : {},
      var.policy == "" ? {} : { POLICY_FILE = "/secrets/policy" }, var.settings) : "${k}=${v}"]
      }, {
      name     = "erlmcp-place"
      behavior = "merge"
      literals = ["CLUSTER=${module.cluster.name}", "LOCATION=${module.cluster.location}", "NAME=${local.name}-gke"]
      }], [for g in [{
        name     = "taiea-settings"
        behavior = "merge"
        literals = [for k, v in merge(var.telemetry ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT = "" }, {
          AUTHENTICATION       = var.taiea_authentication
          FIRESTORE_DATABASE   = local.database
          GOOGLE_CLOUD_PROJECT = var.project
          OPERATORS            = join(",", [for who, role in var.taiea_operators : "${role}=${who}"])
          PUBLIC_URL           = local.taiea_url
          }, local.place, local.taiea_events ? { PUBSUB_AUDIENCE = local.taiea_endpoint, PUBSUB_SERVICE_ACCOUNT = module.events[0].publisher } : {},
          local.receipt_key,
        contains(local.taiea_methods, "keys") ? { API_KEYS_FILE = "/secrets/api-keys" } : {}, var.taiea_settings) : "${k}=${v}"]
        }, {
        name     = "taiea-place"
        behavior = "merge"
        literals = ["CLUSTER=${module.cluster.name}", "LOCATION=${module.cluster.location}", "NAME=${local.name}-gke-taiea"]
      }] : g if local.taiea], [for b in module.backup : {
      name     = "ops-settings"
      behavior = "merge"
      literals = [for k, v in merge({ FIRESTORE_DATABASE = local.database, GOOGLE_CLOUD_PROJECT = var.project }, local.receipt_key) : "${k}=${v}"]
    }])
    patches = concat([
      { patch = yamlencode({
        apiVersion = "gateway.networking.k8s.io/v1", kind = "Gateway"
        metadata   = { name = "erlmcp-ingress", annotations = { "networking.gke.io/certmap" = local.certificate_map } }
        spec       = { addresses = [{ type = "NamedAddress", value = google_compute_global_address.ingress.name }] }
      }) },
      { patch = yamlencode({
        apiVersion = "gateway.networking.k8s.io/v1", kind = "HTTPRoute"
        metadata   = { name = "erlmcp" }
        spec       = { hostnames = [var.domain] }
      }) },
      ], flatten([for function, account in merge({ erlmcp = local.account }, local.taiea ? { taiea = local.taiea_account } : {}) : [
        { patch = yamlencode({
          apiVersion = "v1", kind = "ServiceAccount"
          metadata   = { name = function, annotations = { "iam.gke.io/gcp-service-account" = account } }
        }) },
        { patch = yamlencode({
          apiVersion = "apps/v1", kind = "Deployment"
          metadata   = { name = function }
          spec = { template = { spec = var.telemetry ? {
            initContainers = [{ name = "collector", image = var.collector_image }]
            } : {
            initContainers = [{ name = "collector", "$patch" = "delete" }]
            volumes        = [{ name = "collector", "$patch" = "delete" }]
          } } }
        }) },
        ]]), flatten([for b in module.backup : concat([{ patch = yamlencode({
          apiVersion = "v1", kind = "ServiceAccount"
          metadata   = { name = "ops", annotations = { "iam.gke.io/gcp-service-account" = b.email } }
          }) }], [for name, c in b.commands : { patch = yamlencode({
          apiVersion = "batch/v1", kind = "CronJob"
          metadata   = { name = name }
          spec       = { schedule = c.schedule, jobTemplate = { spec = { template = { spec = { containers = [{ name = "erlmcp", args = c.args }] } } } } }
    }) }])]))
  })
}

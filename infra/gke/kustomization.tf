# What joins workload/ to this environment: settings, addresses, accounts and the collector.

locals {
  kustomization = yamlencode({
    apiVersion = "kustomize.config.k8s.io/v1beta1"
    kind       = "Kustomization"
    namespace  = "erlmcp"
    resources  = concat(["../../workload"], local.taiea ? ["../../workload/taiea"] : [], module.platform.backup != null ? ["../../workload/backup"] : [])
    configMapGenerator = concat([{
      name     = "erlmcp-settings"
      behavior = "merge"
      literals = [for k, v in merge(var.telemetry ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT = "" }, {
        AUTHENTICATION  = var.authentication
        PUBLIC_URL      = local.url
        UNKNOWN_TENANTS = var.unknown_tenants
      }, module.platform.settings, local.files.erlmcp, length(var.private_upstreams) == 0 ? {} : { EGRESS_ALLOW = join(",", var.private_upstreams) }, var.settings) : "${k}=${v}"]
      }, {
      name     = "erlmcp-place"
      behavior = "merge"
      literals = ["CLUSTER=${module.cluster.name}", "LOCATION=${module.cluster.location}", "NAME=${local.name}-gke"]
      }], [for g in [{
        name     = "taiea-settings"
        behavior = "merge"
        literals = [for k, v in merge(var.telemetry ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT = "" }, {
          AUTHENTICATION = var.taiea_authentication
          OPERATORS      = join(",", [for who, role in var.taiea_operators : "${role}=${who}"])
          PUBLIC_URL     = local.taiea_url
          }, module.platform.settings, module.platform.root_settings, module.platform.events == null ? {} : { PUBSUB_AUDIENCE = local.taiea_endpoint, PUBSUB_SERVICE_ACCOUNT = module.platform.events.publisher },
        local.files.taiea, var.taiea_settings) : "${k}=${v}"]
        }, {
        name     = "taiea-place"
        behavior = "merge"
        literals = ["CLUSTER=${module.cluster.name}", "LOCATION=${module.cluster.location}", "NAME=${local.name}-gke-taiea"]
      }] : g if local.taiea], [for b in module.platform.backup[*] : {
      name     = "ops-settings"
      behavior = "merge"
      literals = [for k, v in merge(module.platform.settings, { for k, v in local.files.taiea : k => v if k == "RECEIPT_KEY_FILE" },
      { for k, v in var.settings : k => v if contains(["RECEIPT_RETENTION_DAYS", "RECEIPT_STORE_DAYS"], k) }) : "${k}=${v}"]
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
      ], flatten([for function, account in { for f, a in module.platform.accounts : f => a.email if f == "erlmcp" || local.taiea } : [
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
        ]]), flatten([for b in module.platform.backup[*] : concat([{ patch = yamlencode({
          apiVersion = "v1", kind = "ServiceAccount"
          metadata   = { name = "ops", annotations = { "iam.gke.io/gcp-service-account" = b.email } }
          }) }], [for name, c in b.commands : { patch = yamlencode({
          apiVersion = "batch/v1", kind = "CronJob"
          metadata   = { name = name }
          spec       = { schedule = c.schedule, jobTemplate = { spec = { template = { spec = { containers = [{ name = "erlmcp", args = c.args }] } } } } }
    }) }])]), local.reached)
  })

  # Ways out to what is private, beside those that all environments have.
  reached = [for ranges in [var.private_upstreams] : {
    target = { kind = "NetworkPolicy", name = "functions-egress" }
    patch  = yamlencode([{ op = "add", path = "/spec/egress/-", value = { to = [for r in ranges : { ipBlock = { cidr = r } }] } }])
  } if length(ranges) > 0]
}

output "address" {
  description = "IP address for the domain's A record."
  value       = google_compute_global_address.ingress.address
}

output "certificate_record" {
  description = "DNS record that proves the domain; null where infra/cloudrun has it."
  value       = var.shares_cloudrun ? null : module.certificate[0].record
}

output "client" {
  description = "Configuration to paste into an MCP client."
  value = jsonencode({ mcpServers = { erlmcp = {
    type = "http", url = "${local.url}/mcp", headers = { Authorization = "Bearer $${ERLMCP_TOKEN}" }
  } } })
}

output "cost" {
  description = "USD at list prices: idle a month, and per million calls."
  value       = module.cost.table
}

output "credentials" {
  description = "Command that points kubectl at the cluster, through its DNS name."
  value       = "gcloud container clusters get-credentials ${module.cluster.name} --project ${var.project} --location ${module.cluster.location} --dns-endpoint"
}

output "image" {
  description = "Name of the image, without a tag."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${local.registry}/erlmcp"
}

output "kustomization" {
  description = "What joins workload/ to this environment; infra/deploy writes it to environments/ENV/kustomization.yaml."
  value = yamlencode({
    apiVersion = "kustomize.config.k8s.io/v1beta1"
    kind       = "Kustomization"
    namespace  = "erlmcp"
    resources  = concat(["../../workload"], local.taiea ? ["../../workload/taiea"] : [])
    configMapGenerator = concat([{
      name     = "erlmcp-settings"
      behavior = "merge"
      literals = [for k, v in merge(var.telemetry ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT = "" }, {
        AUTHENTICATION       = var.authentication
        FIRESTORE_DATABASE   = local.name
        GOOGLE_CLOUD_PROJECT = var.project
        PUBLIC_URL           = local.url
        TENANTS              = var.tenants
        }, local.receipt_key, contains(local.methods, "keys") ? { API_KEYS_FILE = "/secrets/api-keys" } : {},
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
          FIRESTORE_DATABASE   = local.name
          GOOGLE_CLOUD_PROJECT = var.project
          OPERATORS            = join(",", [for who, role in var.taiea_operators : "${role}=${who}"])
          PUBLIC_URL           = local.taiea_url
          }, local.taiea_events ? { PUBSUB_AUDIENCE = local.taiea_endpoint, PUBSUB_SERVICE_ACCOUNT = module.events[0].publisher } : {},
          local.receipt_key,
        contains(local.taiea_methods, "keys") ? { API_KEYS_FILE = "/secrets/api-keys" } : {}, var.taiea_settings) : "${k}=${v}"]
        }, {
        name     = "taiea-place"
        behavior = "merge"
        literals = ["CLUSTER=${module.cluster.name}", "LOCATION=${module.cluster.location}", "NAME=${local.name}-gke-taiea"]
    }] : g if local.taiea])
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
    ]]))
  })
}

output "secrets" {
  description = "Secrets that infra/deploy copies into erlmcp-secret: key of the Kubernetes secret, secret id."
  value       = { for s in local.secrets : s => "${local.name}-${s}" }
}

output "stays" {
  description = "What make destroy leaves in place."
  value = concat(
    ["the state's bucket", "enabled APIs"],
    var.shares_cloudrun ? ["all that infra/cloudrun made"] : ["the peering with Google's services, until Google frees it"],
    local.protected ? ["everything protected: cluster, Redis, Firestore database and secrets (set protected = false and deploy first)"] : ["Firestore's backups, until they expire"],
  )
}

output "taiea" {
  description = "Where operators reach the control plane: its address, or the command that brings it to http://localhost:8081; empty where it is the one on Cloud Run."
  value       = !local.taiea ? "" : var.taiea_url != "" ? var.taiea_url : "kubectl --namespace erlmcp port-forward deployment/taiea 8081:8080"
}

output "taiea_secrets" {
  description = "The same for taiea-secret."
  value       = { for s in local.taiea_secrets : trimprefix(s, "taiea-") => "${local.name}-${s}" }
}

output "url" {
  description = "Where clients reach the MCP endpoint."
  value       = "${local.url}/mcp"
}

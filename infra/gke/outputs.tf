output "address" {
  description = "IP address for the domain's A record."
  value       = google_compute_global_address.ingress.address
}

output "certificate_record" {
  description = "DNS record that proves the domain; null where infra/cloudrun has it."
  value       = var.shares_cloudrun ? null : module.platform.certificate.record
}

output "client" {
  description = "Configuration to paste into an MCP client."
  value = jsonencode({ mcpServers = { erlmcp = {
    type = "http", url = "${local.url}/mcp", headers = { Authorization = "Bearer $${ERLMCP_TOKEN}" }
  } } })
}

output "cost" {
  description = "USD at list prices: idle a month, per million calls, and of a release, each with its parts."
  value       = module.cost.table
}

output "credentials" {
  description = "Command that points kubectl at the cluster, through its DNS name."
  value       = "gcloud container clusters get-credentials ${module.cluster.name} --project ${var.project} --location ${module.cluster.location} --dns-endpoint"
}

output "egress" {
  description = "Reserved addresses from which what leaves comes; empty where the network is not made here, or they are not reserved."
  value       = try(module.platform.network.egress, [])
}

output "image" {
  description = "Name of the image, without a tag."
  value       = module.platform.registry.image
}

output "kustomization" {
  description = "What joins workload/ to this environment; a release brings it."
  value       = local.kustomization
}

output "namespace" {
  description = "The namespace on the cluster, and in it the Role of the account as which Cloud Deploy brings releases; infra/deploy applies it."
  value = join("---\n", concat([for f in ["namespace", "role"] : file("${path.module}/namespace/${f}.yaml")], [yamlencode({
    apiVersion = "rbac.authorization.k8s.io/v1", kind = "RoleBinding"
    metadata   = { name = "releases", namespace = "erlmcp" }
    roleRef    = { apiGroup = "rbac.authorization.k8s.io", kind = "Role", name = "releases" }
    subjects   = [{ apiGroup = "rbac.authorization.k8s.io", kind = "User", name = trimprefix(module.delivery.member, "serviceAccount:") }]
  })]))
}

output "release" {
  description = "What a release needs: the bucket with what it brings, the pipelines, and a digest of what it brings."
  value       = { bucket = module.delivery.bucket, pipelines = module.delivery.pipelines, digest = sha256(jsonencode(module.delivery.files)) }
}

output "secrets" {
  description = "Secrets that infra/deploy copies into erlmcp-secret: key of the Kubernetes secret, secret id."
  value       = local.secrets.erlmcp
}

output "stays" {
  description = "What make destroy leaves in place."
  value = concat(
    ["the state's bucket", "enabled APIs"],
    [for b in module.platform.backup[*] : "the bucket of backups, ${b.bucket}, which can be deleted once what is in it need not be kept any more"],
    var.shares_cloudrun ? ["all that infra/cloudrun made"] : var.network != null ? [] : ["the peering with Google's services, until Google frees it"],
    local.protected ? ["everything protected: cluster, Redis, Firestore database and secrets (set protected = false and deploy first)"] : ["Firestore's backups, until they expire"],
  )
}

output "taiea" {
  description = "Where operators reach the control plane: its address, or the command that brings it to http://localhost:8081; empty where it is the one on Cloud Run."
  value       = !local.taiea ? "" : var.taiea_url != "" ? var.taiea_url : "kubectl --namespace erlmcp port-forward deployment/taiea 8081:8080"
}

output "taiea_secrets" {
  description = "The same for taiea-secret."
  value       = local.secrets.taiea
}

output "url" {
  description = "Where clients reach the MCP endpoint."
  value       = "${local.url}/mcp"
}

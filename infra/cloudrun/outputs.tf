output "address" {
  description = "IP address for the domain's A record; empty without a domain."
  value       = var.domain == "" ? "" : module.balancer[0].address
}

output "certificate_record" {
  description = "DNS record that proves the domain; null without one."
  value       = var.domain == "" ? null : module.platform.certificate.record
}

output "client" {
  description = "Configuration to paste into an MCP client. A private service is reached through the proxy that the command starts."
  value = jsonencode({ mcpServers = { erlmcp = merge(
    { type = "http", url = local.proxied ? "http://localhost:8081/mcp" : "${local.url}/mcp" },
    local.proxied ? {} : { headers = { Authorization = "Bearer $${ERLMCP_TOKEN}" } },
  ) } })
}

output "cost" {
  description = "USD at list prices: idle a month, per million calls, and of a release, each with its parts."
  value       = module.cost.table
}

output "egress" {
  description = "Reserved addresses from which what leaves comes; empty where the network is not made here, or they are not reserved."
  value       = try(module.platform.network.egress, [])
}

output "events" {
  description = "Topic to which events of entitlements are published, and the subscription that keeps those that were not taken."
  value       = { topic = module.platform.events.topic, dead_letters = module.platform.events.dead_letters }
}

output "image" {
  description = "Name of the image, without a tag."
  value       = module.platform.registry.image
}

output "proxy" {
  description = "Command that lets a client on this machine into a private service."
  value       = "gcloud run services proxy ${local.name} --project ${var.project} --region ${var.region} --port 8081"
}

output "release" {
  description = "What a release needs: the bucket with what it brings, the pipelines, and a digest of what it brings."
  value       = { bucket = module.delivery.bucket, pipelines = module.delivery.pipelines, digest = sha256(jsonencode(module.delivery.files)) }
}

output "service" {
  description = "Name of the Cloud Run service."
  value       = module.service.name
}

output "stays" {
  description = "What make destroy leaves in place."
  value = concat(
    ["the state's bucket", "enabled APIs"],
    [for b in module.platform.backup[*] : "the bucket of backups, ${b.bucket}, which can be deleted once what is in it need not be kept any more"],
    local.shares_counters && var.network == null ? ["the peering with Google's services, until Google frees it"] : [],
    local.protected ? ["everything protected: service, Redis, Firestore database and secrets (set protected = false and deploy first)"] : ["Firestore's backups, until they expire"],
  )
}

output "taiea" {
  description = "Where operators reach the control plane."
  value       = local.taiea_url
}

output "url" {
  description = "Where clients reach the MCP endpoint."
  value       = "${local.url}/mcp"
}

output "webhook" {
  description = "Where senders of signed events send them; empty without a webhook."
  value       = var.webhook ? "${local.webhook_url}/v1/events/webhook" : ""
}

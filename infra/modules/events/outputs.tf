output "account" {
  description = "E-mail address of the account as which events are delivered."
  value       = "${var.name}-push@${var.project}.iam.gserviceaccount.com" # known before it is made
  depends_on  = [google_service_account.push]
}

output "dead_letters" {
  description = "Name of the subscription that keeps what was not taken."
  value       = google_pubsub_subscription.dead.name
}

output "publisher" {
  description = "PUBSUB_SERVICE_ACCOUNT of the control plane: the account, bound to its sources."
  value       = join(",", [for s in coalescelist(var.sources, [""]) : "${s == "" ? "" : "${s}="}${var.name}-push@${var.project}.iam.gserviceaccount.com"])
  depends_on  = [google_service_account.push]
}

output "topic" {
  description = "Name of the topic to which events are published."
  value       = google_pubsub_topic.this.name
}

output "account" {
  description = "E-mail address of the account as which events are delivered."
  value       = "${var.name}-push@${var.project}.iam.gserviceaccount.com" # known before it is made
  depends_on  = [google_service_account.push]
}

output "dead_letters" {
  description = "Name of the subscription that keeps what was not taken."
  value       = google_pubsub_subscription.dead.name
}

output "topic" {
  description = "Name of the topic to which events are published."
  value       = google_pubsub_topic.this.name
}

output "agent" {
  description = "Cloud Monitoring's agent as a member of IAM, which calls a private service to check it."
  value       = "serviceAccount:service-${var.project_number}@gcp-sa-monitoring-notification.iam.gserviceaccount.com"
}

output "alerts" {
  description = "Names of the alerts on metrics."
  value       = keys(local.rules)
}

output "channels" {
  description = "Ids of the notification channels."
  value       = [for c in google_monitoring_notification_channel.email : c.id]
}

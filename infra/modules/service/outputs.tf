output "collector_image" {
  description = "Image of the collector; empty for none."
  value       = var.collector == null ? "" : google_cloud_run_v2_service.this.template[0].containers[1].image
}

output "image" {
  description = "Image that it was made with."
  value       = google_cloud_run_v2_service.this.template[0].containers[0].image
}

output "name" {
  description = "Name of the service."
  value       = google_cloud_run_v2_service.this.name
}

output "uri" {
  description = "URL that Cloud Run gave it."
  value       = google_cloud_run_v2_service.this.uri
}

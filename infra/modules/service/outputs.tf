output "manifest" {
  description = "What releases bring, in YAML: the service as Cloud Run's API of Knative has it."
  value       = yamlencode(local.manifest)
  depends_on  = [google_cloud_run_v2_service.this] # which who brings it may change
}

output "name" {
  description = "Name of the service."
  value       = google_cloud_run_v2_service.this.name
}

output "uri" {
  description = "URL that Cloud Run gave it."
  value       = google_cloud_run_v2_service.this.uri
}

output "manifest" {
  description = "What releases bring, in YAML: the job as Cloud Run's API of Knative has it."
  value       = yamlencode(local.manifest)
}

output "name" {
  description = "Name of the job."
  value       = google_cloud_run_v2_job.this.name
}

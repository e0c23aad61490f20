output "manifest" {
  description = "What releases bring, in YAML: the job as Cloud Run's API of Knative has it."
  value       = yamlencode(local.manifest)
  depends_on  = [google_cloud_run_v2_job.this] # which who brings it may change
}

output "name" {
  description = "Name of the job."
  value       = google_cloud_run_v2_job.this.name
}

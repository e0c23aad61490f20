output "account" {
  description = "Resource name of the account that the job runs as."
  value       = google_service_account.this.name
}

output "bucket" {
  description = "The bucket's name."
  value       = google_storage_bucket.this.name
}

output "job" {
  description = "Name of the job."
  value       = google_cloud_run_v2_job.this.name
}

output "manifest" {
  description = "What releases bring, in YAML: the job as Cloud Run's API of Knative has it."
  value       = yamlencode(local.manifest)
}

output "member" {
  description = "The account that the job runs as, as a member of IAM."
  value       = google_service_account.this.member
}

output "place" {
  description = "Where backups are: gs://BUCKET/PREFIX."
  value       = local.place
}

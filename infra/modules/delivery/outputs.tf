output "account" {
  description = "Resource name of the account that deploys."
  value       = local.account
}

output "bucket" {
  description = "Bucket in which releases find what they bring."
  value       = google_storage_bucket.this.name
}

output "files" {
  description = "What a release brings, by pipeline and file."
  value       = local.files
}

output "member" {
  description = "The account that deploys and judges, as a member of IAM."
  value       = google_service_account.this.member
}

output "names" {
  description = "Names of the pipelines, known before they are there."
  value       = [for p in local.pipelines : p.name]
}

output "pipelines" {
  description = "Names of the pipelines, that of the data plane first."
  value       = [for function in sort(keys(local.pipelines)) : google_clouddeploy_delivery_pipeline.this[function].name]
}

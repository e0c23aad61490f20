output "account" {
  description = "E-mail address of the account that releases."
  value       = google_service_account.this.email
}

output "trigger" {
  description = "Name of the trigger."
  value       = google_cloudbuild_trigger.tag.name
}

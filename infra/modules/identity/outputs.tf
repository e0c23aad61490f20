output "account" {
  description = "Resource name of the account."
  value       = "projects/${var.project}/serviceAccounts/${google_service_account.this.email}"
}

output "email" {
  description = "E-mail address of the account."
  value       = google_service_account.this.email
}

output "member" {
  description = "The account as a member of IAM."
  value       = google_service_account.this.member
}

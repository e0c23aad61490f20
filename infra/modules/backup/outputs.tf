output "account" {
  description = "Resource name of the account that backs up."
  value       = "projects/${var.project}/serviceAccounts/${google_service_account.this.email}"
}

output "bucket" {
  description = "The bucket's name."
  value       = google_storage_bucket.this.name
}

output "commands" {
  description = "What is run, and when: arguments of erlmcp by the name of the schedule, in cron's form."
  value = {
    backup = { schedule = "17 2 * * *", args = ["backup", local.place] }
    drill  = { schedule = "17 4 1 * *", args = ["drill", local.place, "-into", local.drill, "-empty"] }
  }
}

output "email" {
  description = "E-mail address of the account."
  value       = google_service_account.this.email
}

output "member" {
  description = "The account as a member of IAM."
  value       = google_service_account.this.member
}

output "place" {
  description = "Where backups are: gs://BUCKET/PREFIX."
  value       = local.place
}

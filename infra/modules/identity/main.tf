# Whom a function is to Google Cloud, with what it needs and no more: its own database. Each secret, repository and service
# grants the rest by itself.

resource "google_service_account" "this" {
  project      = var.project
  account_id   = var.name
  display_name = "Function ${var.name}"
}

resource "google_project_iam_member" "firestore" {
  project = var.project
  role    = "roles/datastore.user"
  member  = google_service_account.this.member

  condition {
    title       = "own-database"
    description = "Its own database alone"
    expression  = "resource.name == \"projects/${var.project}/databases/${var.database}\""
  }
}

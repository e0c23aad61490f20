# Whom a function is to Google Cloud, with what it needs and no more: its own databases, and to write metrics and spans. Each
# secret, repository and service grants the rest by itself.

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
    description = "Its own databases alone"
    expression  = join(" || ", [for d in var.databases : "resource.name == \"projects/${var.project}/databases/${d}\""])
  }
}

# Its collector writes metrics and spans; neither role reads any.
resource "google_project_iam_member" "telemetry" {
  for_each = var.telemetry ? toset(["roles/monitoring.metricWriter", "roles/telemetry.tracesWriter"]) : []
  project  = var.project
  role     = each.value
  member   = google_service_account.this.member
}

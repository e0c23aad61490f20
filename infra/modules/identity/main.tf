# Whom a function is to Google Cloud, with what it needs and no more: its own databases, and to write metrics and spans. Each
# secret, repository and service grants the rest by itself. Where the store is three databases, what operators order is written by the
# control plane alone, and receipts are added by both, and changed or deleted by nobody.

locals {
  one   = flatten([for d in var.databases : d if length(d) == 1])
  three = [for d in var.databases : d if length(d) == 3]
  grants = {
    "roles/datastore.user"   = concat(local.one, [for d in local.three : d[1]], [for d in local.three : d[0] if var.operates])
    "roles/datastore.viewer" = [for d in local.three : d[0] if !var.operates]
    (var.adds)               = [for d in local.three : d[2]]
  }
}

resource "google_service_account" "this" {
  project      = var.project
  account_id   = var.name
  display_name = "Function ${var.name}"
}

resource "google_project_iam_member" "firestore" {
  for_each = { for role, databases in local.grants : role => databases if length(databases) > 0 }
  project  = var.project
  role     = each.key
  member   = google_service_account.this.member

  condition {
    title       = "own-database"
    description = "Its own databases alone"
    expression  = join(" || ", [for d in each.value : "resource.name == \"projects/${var.project}/databases/${d}\""])
  }
}

moved {
  from = google_project_iam_member.firestore
  to   = google_project_iam_member.firestore["roles/datastore.user"]
}

# It writes metrics and spans, by its collector or itself; neither role reads any.
resource "google_project_iam_member" "telemetry" {
  for_each = var.telemetry ? toset(["roles/monitoring.metricWriter", "roles/telemetry.tracesWriter"]) : []
  project  = var.project
  role     = each.value
  member   = google_service_account.this.member
}

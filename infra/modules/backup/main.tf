# What a lost, spoilt or rolled-back database is had back from: a bucket that lets nobody change or delete what is in it before its time, in
# another project if one is named. Servers put roots of receipts there each minute. An account of its own backs up each day, and shows
# each month, by a database of its own, that a backup can be had back.

locals {
  project = var.bucket.project == null ? var.project : var.bucket.project
  drill   = "${var.name}-drill"
  place   = "gs://${google_storage_bucket.this.name}/${var.name}"
}

resource "google_storage_bucket" "this" {
  project                     = local.project
  name                        = "${local.project}-${var.name}-backups"
  location                    = coalesce(var.bucket.location, var.region)
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  deletion_policy             = "ABANDON" # it outlives what is backed up, and its retention forbids to empty it

  dynamic "encryption" {
    for_each = var.kms_key[*]
    content {
      default_kms_key_name = encryption.value
    }
  }

  retention_policy {
    retention_period = tostring(var.bucket.retention_days * 86400)
    is_locked        = var.bucket.locked
  }

  # Backups go once they need not be kept any more. Roots and changes vouch for receipts for as long as there are any.
  lifecycle_rule {
    condition {
      age            = var.bucket.retention_days + 1
      matches_prefix = ["${var.name}/backups/"]
    }
    action {
      type = "Delete"
    }
  }

  # Receipts of a day come here a day later, and are read until the day is too old. The retention policy ends before: who may delete in
  # this project could then do so, and erlmcp verify names what is missing.
  lifecycle_rule {
    condition {
      age            = var.receipt_days + 1
      matches_prefix = ["${var.name}/archive/"]
    }
    action {
      type = "Delete"
    }
  }
}

# To add and to read, and neither to change nor to delete: servers, and who backs up.
resource "google_storage_bucket_iam_member" "this" {
  for_each = merge([for who, member in merge(var.servers, { ops = google_service_account.this.member }) : {
    for role in ["objectCreator", "objectViewer"] : "${who}-${role}" => { member = member, role = "roles/storage.${role}" }
  }]...)
  bucket = google_storage_bucket.this.name
  role   = each.value.role
  member = each.value.member
}

# Whoever backs up runs as this account. It reads the database that serves, and writes into that of the drill alone.
resource "google_service_account" "this" {
  project      = var.project
  account_id   = "${var.name}-ops"
  display_name = "Backups and drills of ${var.name}"
}

resource "google_project_iam_member" "firestore" {
  for_each = { viewer = var.databases, user = module.drill.databases }
  project  = var.project
  role     = "roles/datastore.${each.key}"
  member   = google_service_account.this.member

  condition {
    title       = each.key == "viewer" ? "backups" : "drills"
    description = "Its own databases alone"
    expression  = join(" || ", [for d in each.value : "resource.name == \"projects/${var.project}/databases/${d}\""])
  }
}

resource "google_secret_manager_secret_iam_member" "receipt_key" {
  count     = var.receipt_key == null ? 0 : 1
  project   = var.project
  secret_id = var.receipt_key
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.this.member
}

# Costs nothing between drills.
module "drill" {
  source      = "../firestore"
  project     = var.project
  region      = var.database_location
  name        = local.drill
  protected   = false
  apart       = false
  history     = false
  backup_days = 0
  kms_key     = var.kms_key

  receipts_elsewhere = true
}

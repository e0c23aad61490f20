# What must outlive the counters: the governor's epoch, the operators' orders, daily quotas and receipts. Indexes and TTL policies
# are those that the code declares.

locals {
  declared = jsondecode(file("${path.module}/../../../function/internal/store/firestore/declared.json"))
}

resource "google_firestore_database" "this" {
  project                           = var.project
  name                              = var.name
  location_id                       = var.region
  type                              = "FIRESTORE_NATIVE"
  concurrency_mode                  = "OPTIMISTIC"
  point_in_time_recovery_enablement = var.history ? "POINT_IN_TIME_RECOVERY_ENABLED" : "POINT_IN_TIME_RECOVERY_DISABLED"
  delete_protection_state           = var.protected ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy                   = var.protected ? "ABANDON" : "DELETE"
}

resource "google_firestore_field" "expiry" {
  for_each   = { for t in local.declared.ttls : "${t.collection}.${t.field}" => t }
  project    = var.project
  database   = google_firestore_database.this.name
  collection = each.value.collection
  field      = each.value.field

  ttl_config {}
  index_config {} # nothing is looked up by it
}

resource "google_firestore_field" "unindexed" {
  for_each   = { for u in local.declared.unindexed : "${u.collection}.${u.field}" => u }
  project    = var.project
  database   = google_firestore_database.this.name
  collection = each.value.collection
  field      = each.value.field

  index_config {} # long, and nothing is looked up by it
}

resource "google_firestore_index" "this" {
  for_each    = { for i in local.declared.indexes : "${i.collection}/${join(",", [for f in i.fields : "${f.path} ${f.order}"])}${i.scope == "COLLECTION" ? "" : " ${i.scope}"}" => i }
  project     = var.project
  database    = google_firestore_database.this.name
  collection  = each.value.collection
  query_scope = each.value.scope

  dynamic "fields" {
    for_each = each.value.fields
    content {
      field_path   = fields.value.path
      order        = fields.value.order == "CONTAINS" ? null : fields.value.order
      array_config = fields.value.order == "CONTAINS" ? "CONTAINS" : null
    }
  }
}

resource "google_firestore_backup_schedule" "daily" {
  count     = var.backup_days == 0 ? 0 : 1
  project   = var.project
  database  = google_firestore_database.this.name
  retention = "${var.backup_days * 86400}s"

  daily_recurrence {}
}

resource "google_firestore_backup_schedule" "weekly" {
  count     = var.protected ? 1 : 0
  project   = var.project
  database  = google_firestore_database.this.name
  retention = "${14 * 7 * 86400}s" # as long as there may be

  weekly_recurrence {
    day = "SUNDAY"
  }
}

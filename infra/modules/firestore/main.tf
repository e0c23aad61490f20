# What must outlive the counters: the governor's epoch, the operators' orders, daily quotas and receipts. Indexes and TTL policies
# are those that the code declares.
#
# Rights in Firestore are those on a database. So what instances count and receipts may have databases of their own. The first one has
# the indexes of all, as it had when it was the only one.

locals {
  declared = jsondecode(file("${path.module}/../../../function/internal/store/firestore/declared.json"))
  apart    = { for part, collections in local.declared.apart : part => collections if var.apart }
  names    = merge({ control = var.name }, { for part in keys(local.apart) : part => "${var.name}-${part}" })

  # What is counted ends with its day. Receipts are never changed, and where they are copied elsewhere too, their database needs no more.
  backed_up = { control = true, usage = false, receipts = !var.receipts_elsewhere }
  kept      = { for part, up in local.backed_up : part => up && var.history }

  # Which collections each database holds, and how addresses in it begin: those in the first one as when it was the only one.
  all   = distinct([for d in concat(local.declared.ttls, local.declared.unindexed, local.declared.indexes) : d.collection])
  holds = { for part in keys(local.names) : part => { at = part == "control" ? "" : "${part}/", collections = lookup(local.apart, part, local.all) } }

  # By address, with the database.
  expiries  = merge([for part, db in local.holds : { for t in local.declared.ttls : "${db.at}${t.collection}.${t.field}" => merge(t, { part = part }) if contains(db.collections, t.collection) }]...)
  unindexed = merge([for part, db in local.holds : { for u in local.declared.unindexed : "${db.at}${u.collection}.${u.field}" => merge(u, { part = part }) if contains(db.collections, u.collection) }]...)
  indexes = merge([for part, db in local.holds : {
    for i in local.declared.indexes : "${db.at}${i.collection}/${join(",", [for f in i.fields : "${f.path} ${f.order}"])}${i.scope == "COLLECTION" ? "" : " ${i.scope}"}" => merge(i, { part = part })
    if contains(db.collections, i.collection)
  }]...)
}

moved {
  from = google_firestore_database.this
  to   = google_firestore_database.this["control"]
}

resource "google_firestore_database" "this" {
  for_each                          = local.names
  project                           = var.project
  name                              = each.value
  location_id                       = var.region
  type                              = "FIRESTORE_NATIVE"
  concurrency_mode                  = "OPTIMISTIC"
  point_in_time_recovery_enablement = local.kept[each.key] ? "POINT_IN_TIME_RECOVERY_ENABLED" : "POINT_IN_TIME_RECOVERY_DISABLED"
  delete_protection_state           = var.protected ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy                   = var.protected ? "ABANDON" : "DELETE"

  dynamic "cmek_config" {
    for_each = var.kms_key[*]
    content {
      kms_key_name = cmek_config.value
    }
  }
}

resource "google_firestore_field" "expiry" {
  for_each   = local.expiries
  project    = var.project
  database   = google_firestore_database.this[each.value.part].name
  collection = each.value.collection
  field      = each.value.field

  ttl_config {}
  index_config {} # nothing is looked up by it
}

resource "google_firestore_field" "unindexed" {
  for_each   = local.unindexed
  project    = var.project
  database   = google_firestore_database.this[each.value.part].name
  collection = each.value.collection
  field      = each.value.field

  index_config {} # long, and nothing is looked up by it
}

resource "google_firestore_index" "this" {
  for_each    = local.indexes
  project     = var.project
  database    = google_firestore_database.this[each.value.part].name
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
  for_each  = { for part, name in local.names : part => name if local.backed_up[part] && var.backup_days > 0 }
  project   = var.project
  database  = google_firestore_database.this[each.key].name
  retention = "${var.backup_days * 86400}s"

  daily_recurrence {}
}

moved {
  from = google_firestore_backup_schedule.daily[0]
  to   = google_firestore_backup_schedule.daily["control"]
}

resource "google_firestore_backup_schedule" "weekly" {
  for_each  = { for part, name in local.names : part => name if local.backed_up[part] && var.protected }
  project   = var.project
  database  = google_firestore_database.this[each.key].name
  retention = "${14 * 7 * 86400}s" # as long as there may be

  weekly_recurrence {
    day = "SUNDAY"
  }
}

moved {
  from = google_firestore_backup_schedule.weekly[0]
  to   = google_firestore_backup_schedule.weekly["control"]
}

# What instances must share and nobody else may know. Values that are made here go to Secret Manager alone and are not in
# the state; that of the Redis password is, since Memorystore makes it.

ephemeral "random_password" "seal" {
  length  = 32 # bytes: ASCII, so that base64 of it is a key
  special = true
}

resource "google_secret_manager_secret" "this" {
  for_each            = var.names
  project             = var.project
  secret_id           = "${var.name}-${each.key}"
  deletion_protection = var.protected

  replication {
    auto {}
  }
}

# Sealing keys are rotated by adding a version that holds the new one before the old one.
resource "google_secret_manager_secret_version" "keys" {
  secret                 = google_secret_manager_secret.this["keys"].id
  secret_data_wo         = base64encode(ephemeral.random_password.seal.result)
  secret_data_wo_version = "1"
  deletion_policy        = "ABANDON"
}

resource "google_secret_manager_secret_version" "redis" {
  secret      = google_secret_manager_secret.this["redis-url"].id
  secret_data = var.redis_url
}

# No secret, but where the password is, there it is looked for.
resource "google_secret_manager_secret_version" "redis_ca" {
  secret      = google_secret_manager_secret.this["redis-ca"].id
  secret_data = var.redis_ca
}

# An empty list to begin with; operators add versions with erlmcp keys.
resource "google_secret_manager_secret_version" "api_keys" {
  count           = contains(var.names, "api-keys") ? 1 : 0
  secret          = google_secret_manager_secret.this["api-keys"].id
  secret_data     = jsonencode({ keys = [] })
  deletion_policy = "ABANDON"

  lifecycle {
    ignore_changes = [secret_data, enabled]
  }
}

resource "google_secret_manager_secret_version" "policy" {
  count       = contains(var.names, "policy") ? 1 : 0
  secret      = google_secret_manager_secret.this["policy"].id
  secret_data = var.policy
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each  = google_secret_manager_secret.this
  project   = var.project
  secret_id = each.value.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = var.reader
}

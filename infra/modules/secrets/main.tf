# What instances must share and nobody else may know. Values that are made here go to Secret Manager alone and are not in
# the state; that of the Redis password is, since Memorystore makes it.

locals {
  names = setunion([for r in var.readers : r.names]...)
}

ephemeral "random_password" "seal" {
  length  = 32 # bytes: ASCII, so that base64 of it is a key
  special = true
}

ephemeral "random_password" "taiea" {
  length  = 32
  special = true
}

ephemeral "random_password" "receipts" {
  length  = 32
  special = true
}

ephemeral "random_password" "roots" {
  length  = 32
  special = true
}

ephemeral "random_password" "webhook" {
  length  = 32
  special = true
}

resource "google_secret_manager_secret" "this" {
  for_each            = local.names
  project             = var.project
  secret_id           = "${var.name}-${each.key}"
  deletion_protection = var.protected

  replication {
    dynamic "auto" {
      for_each = length(var.locations) == 0 ? [1] : []
      content {}
    }

    dynamic "user_managed" {
      for_each = length(var.locations) == 0 ? [] : [1]
      content {
        dynamic "replicas" {
          for_each = var.locations
          content {
            location = replicas.value

            dynamic "customer_managed_encryption" {
              for_each = var.kms_key[*]
              content {
                kms_key_name = customer_managed_encryption.value
              }
            }
          }
        }
      }
    }
  }

  lifecycle {
    precondition {
      condition     = var.kms_key == null || length(var.locations) > 0
      error_message = "A key encrypts secrets in its own location: name it among locations."
    }
  }
}

# Sealing keys are rotated by erlmcp rotate, which adds versions.
resource "google_secret_manager_secret_version" "keys" {
  secret                 = google_secret_manager_secret.this["keys"].id
  secret_data_wo         = base64encode(ephemeral.random_password.seal.result)
  secret_data_wo_version = "1"
  deletion_policy        = "ABANDON"
}

# By which the control plane keeps its answers: the data plane has those above.
resource "google_secret_manager_secret_version" "taiea_keys" {
  count                  = contains(local.names, "taiea-keys") ? 1 : 0
  secret                 = google_secret_manager_secret.this["taiea-keys"].id
  secret_data_wo         = base64encode(ephemeral.random_password.taiea.result)
  secret_data_wo_version = "1"
  deletion_policy        = "ABANDON"
}

# The Ed25519 key that vouches for receipts, in PKCS #8 (RFC 8410): 16 bytes of which the last is a space, and the seed.
resource "google_secret_manager_secret_version" "receipt_key" {
  count                  = contains(local.names, "receipt-key") ? 1 : 0
  secret                 = google_secret_manager_secret.this["receipt-key"].id
  secret_data_wo         = templatefile("${path.module}/receipt-key.tftpl", { seed = ephemeral.random_password.receipts.result })
  secret_data_wo_version = "1"
  deletion_policy        = "ABANDON"
}

# The one that vouches for roots, where the control plane alone makes them.
resource "google_secret_manager_secret_version" "receipt_root_key" {
  count                  = contains(local.names, "receipt-root-key") ? 1 : 0
  secret                 = google_secret_manager_secret.this["receipt-root-key"].id
  secret_data_wo         = templatefile("${path.module}/receipt-key.tftpl", { seed = ephemeral.random_password.roots.result })
  secret_data_wo_version = "1"
  deletion_policy        = "ABANDON"
}

# As Standard Webhooks writes it. Where the sender makes the secret, operators add a version with that one.
resource "google_secret_manager_secret_version" "webhook" {
  count                  = contains(local.names, "webhook-secrets") ? 1 : 0
  secret                 = google_secret_manager_secret.this["webhook-secrets"].id
  secret_data_wo         = "whsec_${base64encode(ephemeral.random_password.webhook.result)}"
  secret_data_wo_version = "1"
  deletion_policy        = "ABANDON"
}

resource "google_secret_manager_secret_version" "redis" {
  count       = contains(local.names, "redis-url") ? 1 : 0
  secret      = google_secret_manager_secret.this["redis-url"].id
  secret_data = var.redis_url
}

# No secret, but where the password is, there it is looked for.
resource "google_secret_manager_secret_version" "redis_ca" {
  count       = contains(local.names, "redis-ca") ? 1 : 0
  secret      = google_secret_manager_secret.this["redis-ca"].id
  secret_data = var.redis_ca
}

# An empty list to begin with; operators add versions with erlmcp keys.
resource "google_secret_manager_secret_version" "api_keys" {
  count           = contains(local.names, "api-keys") ? 1 : 0
  secret          = google_secret_manager_secret.this["api-keys"].id
  secret_data     = jsonencode({ keys = [] })
  deletion_policy = "ABANDON"

  lifecycle {
    ignore_changes = [secret_data, enabled]
  }
}

resource "google_secret_manager_secret_version" "taiea_api_keys" {
  count           = contains(local.names, "taiea-api-keys") ? 1 : 0
  secret          = google_secret_manager_secret.this["taiea-api-keys"].id
  secret_data     = jsonencode({ keys = [] })
  deletion_policy = "ABANDON"

  lifecycle {
    ignore_changes = [secret_data, enabled]
  }
}

resource "google_secret_manager_secret_version" "policy" {
  count       = contains(local.names, "policy") ? 1 : 0
  secret      = google_secret_manager_secret.this["policy"].id
  secret_data = var.policy
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each  = merge([for function, r in var.readers : { for n in r.names : "${function} ${n}" => { name = n, member = r.member } }]...)
  project   = var.project
  secret_id = google_secret_manager_secret.this[each.value.name].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value.member
}

# The counters: a Redis with a replica that nobody but this network reaches, over TLS and with a password. It never evicts a
# key, since a limit that is forgotten begins with a full budget; nor is it a record, since what must outlive it is in Firestore.

resource "google_redis_instance" "this" {
  project                 = var.project
  region                  = var.region
  name                    = var.name
  display_name            = "Counters of ${var.name}"
  tier                    = var.highly_available ? "STANDARD_HA" : "BASIC"
  memory_size_gb          = var.memory_gb
  redis_version           = "REDIS_7_2"
  authorized_network      = var.network
  connect_mode            = "PRIVATE_SERVICE_ACCESS"
  auth_enabled            = true
  transit_encryption_mode = "SERVER_AUTHENTICATION"
  customer_managed_key    = var.kms_key
  deletion_protection     = var.protected

  redis_configs = {
    maxmemory-policy = "noeviction"
  }

  maintenance_policy {
    weekly_maintenance_window {
      day = "SUNDAY"
      start_time {
        hours = 4
      }
    }
  }

  lifecycle {
    precondition {
      condition     = var.peering != ""
      error_message = "Redis needs the connection to Google's services."
    }
  }
}

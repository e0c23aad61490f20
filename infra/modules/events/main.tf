# Events of entitlements, pushed to the control plane as an account of their own. What it does not take for ten times goes
# where an operator looks at it.

locals {
  agent = "serviceAccount:service-${var.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_service_account" "push" {
  project      = var.project
  account_id   = "${var.name}-push"
  display_name = "Pub/Sub to the control plane of ${var.name}"
}

# Pub/Sub's own agent makes the tokens that deliveries carry.
resource "google_service_account_iam_member" "tokens" {
  service_account_id = google_service_account.push.name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = local.agent
}

resource "google_pubsub_topic" "this" {
  project      = var.project
  name         = "${var.name}-entitlements"
  labels       = var.labels
  kms_key_name = var.kms_key
}

resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = toset(var.publishers)
  project  = var.project
  topic    = google_pubsub_topic.this.name
  role     = "roles/pubsub.publisher"
  member   = each.value
}

resource "google_pubsub_subscription" "push" {
  project                    = var.project
  name                       = "${var.name}-entitlements"
  topic                      = google_pubsub_topic.this.id
  labels                     = var.labels
  ack_deadline_seconds       = 60
  message_retention_duration = "604800s" # 7 days

  push_config {
    push_endpoint = var.endpoint

    oidc_token {
      service_account_email = google_service_account.push.email
      audience              = var.endpoint
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead.id
    max_delivery_attempts = 10
  }

  expiration_policy {
    ttl = "" # never, however long no event comes
  }

  depends_on = [google_service_account_iam_member.tokens, google_pubsub_topic_iam_member.dead]
}

resource "google_pubsub_topic" "dead" {
  project      = var.project
  name         = "${var.name}-entitlements-dead"
  labels       = var.labels
  kms_key_name = var.kms_key
}

resource "google_pubsub_subscription" "dead" {
  project                    = var.project
  name                       = "${var.name}-entitlements-dead"
  topic                      = google_pubsub_topic.dead.id
  labels                     = var.labels
  ack_deadline_seconds       = 60
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = ""
  }
}

# Pub/Sub's agent moves an event: it publishes it there, and acknowledges it here.
resource "google_pubsub_topic_iam_member" "dead" {
  project = var.project
  topic   = google_pubsub_topic.dead.name
  role    = "roles/pubsub.publisher"
  member  = local.agent
}

resource "google_pubsub_subscription_iam_member" "dead" {
  project      = var.project
  subscription = google_pubsub_subscription.push.name
  role         = "roles/pubsub.subscriber"
  member       = local.agent
}

# One of the two functions on Cloud Run. Releases bring new images and move traffic between revisions; here is all the rest.

locals {
  # A change of a secret that is mounted as a file is followed; one in a variable needs a new revision.
  files = { for k, f in { "api-keys" = "API_KEYS_FILE", "policy" = "POLICY_FILE", "receipt-key" = "RECEIPT_KEY_FILE" } :
    k => { variable = f, secret = var.secrets[k] } if contains(keys(var.secrets), k)
  }
  variables = { for k, v in { "keys" = "ERLMCP_KEYS", "redis-url" = "REDIS_URL", "webhook-secrets" = "WEBHOOK_SECRETS" } :
    v => var.secrets[k] if contains(keys(var.secrets), k)
  }
}

resource "google_cloud_run_v2_service" "this" {
  project             = var.project
  name                = var.name
  location            = var.region
  ingress             = var.ingress
  deletion_protection = var.protected
  custom_audiences    = var.audiences
  labels              = var.labels

  template {
    service_account                  = var.account
    timeout                          = "${var.timeout}s"
    max_instance_request_concurrency = var.concurrency
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    labels                           = var.labels

    scaling {
      min_instance_count = var.instances.min
      max_instance_count = var.instances.max
    }

    vpc_access {
      egress = "PRIVATE_RANGES_ONLY"
      network_interfaces {
        network    = var.network
        subnetwork = var.subnetwork
      }
    }

    # The one that takes requests, and whose image releases change: it must stay the first.
    containers {
      name       = var.function
      image      = var.image
      depends_on = var.collector == null ? null : ["collector"] # started before, and there still for what is sent last

      ports {
        container_port = 8080
      }

      resources {
        limits            = { cpu = var.cpu, memory = var.memory }
        cpu_idle          = var.billing == "request"
        startup_cpu_boost = true
      }

      # A round trip to Redis: Direct VPC egress may take a minute to connect.
      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 2
        failure_threshold = 60
        http_get {
          path = var.startup
        }
      }

      liveness_probe {
        initial_delay_seconds = 30
        period_seconds        = 10
        timeout_seconds       = 5
        http_get {
          path = "/health"
        }
      }

      dynamic "env" {
        for_each = merge(var.settings, { FUNCTION_TARGET = var.function }, { for f in local.files : f.variable => "/secrets/${f.secret}/value" })
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = local.variables
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value
              version = "latest"
            }
          }
        }
      }

      dynamic "volume_mounts" {
        for_each = local.files
        content {
          name       = volume_mounts.key
          mount_path = "/secrets/${volume_mounts.value.secret}"
        }
      }
    }

    dynamic "containers" {
      for_each = var.collector == null ? [] : [var.collector]
      content {
        name  = "collector"
        image = containers.value.image
        args  = ["--config=env:CONFIG"]

        resources {
          limits            = { cpu = containers.value.cpu, memory = containers.value.memory }
          cpu_idle          = var.billing == "request"
          startup_cpu_boost = true
        }

        startup_probe {
          period_seconds    = 1
          timeout_seconds   = 1
          failure_threshold = 60
          http_get {
            path = "/"
            port = 13133
          }
        }

        dynamic "env" {
          for_each = merge(containers.value.environment, { CONFIG = containers.value.config, GOMEMLIMIT = "200MiB" })
          content {
            name  = env.key
            value = env.value
          }
        }
      }
    }

    dynamic "volumes" {
      for_each = local.files
      content {
        name = volumes.key
        secret {
          secret = volumes.value.secret
          items {
            path    = "value"
            version = "latest"
          }
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [client, client_version, template[0].revision, template[0].containers[0].image, traffic]
  }
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = toset(var.public ? ["allUsers"] : var.invokers)
  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.this.name
  role     = "roles/run.invoker"
  member   = each.value
}

# From a release to what serves: a pipeline of Cloud Deploy for each function. The data plane gets 10 and 50 % of the traffic, each
# for as long as the judge watches, and then all. The control plane gets all at once, and so does a data plane that sends no metrics, since
# the judge compares metrics: both are then asked whether they are healthy. So does the job of operations, which serves nobody. What fails
# goes back, template and traffic, to the release before it. One rollout runs at a time, and a later one waits for it.
#
# Who owns what: Terraform makes services, accounts and this pipeline, and keeps what a release is to bring (manifests and settings)
# in a bucket. Cloud Deploy alone changes what the services run.

locals {
  account   = "projects/${var.project}/serviceAccounts/${google_service_account.this.email}"
  pipelines = { for function, p in var.pipelines : function => merge(p, { name = function == "erlmcp" ? var.name : "${var.name}-${function}" }) }
  files = merge([for function, p in local.pipelines : { for name, content in merge(p.files, { "skaffold.yaml" = yamlencode({
    apiVersion = "skaffold/v4beta7"
    kind       = "Config"
    manifests  = { for kind, m in { rawYaml = keys(p.files), kustomize = { paths = [p.kustomization] } } : kind => m if(kind == "kustomize") == (var.cluster != null) }
    deploy     = { (var.cluster == null ? "cloudrun" : "kubectl") = {} }
    verify     = [for command in p.judge == null ? [] : [p.judge] : { name = "judge", container = { name = "judge", image = "erlmcp", command = ["/ko-app/erlmcp"], args = command } }]
  }) }) : "${p.name}/${name}" => content }]...)
}

# Versions are kept: each is what a release has brought.
resource "google_storage_bucket" "this" {
  project                     = var.project
  name                        = "${var.project}-${var.name}-releases"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.protected

  dynamic "encryption" {
    for_each = var.kms_key[*]
    content {
      default_kms_key_name = encryption.value
    }
  }

  versioning {
    enabled = true
  }
}

resource "google_storage_bucket_object" "config" {
  for_each     = local.files
  bucket       = google_storage_bucket.this.name
  name         = "config/${each.key}"
  content      = each.value
  content_type = "application/yaml"
}

# As this account Cloud Deploy renders, deploys, judges, advances and rolls back.
resource "google_service_account" "this" {
  project      = var.project
  account_id   = "${var.name}-deploy"
  display_name = "Rollouts of ${var.name}"
}

# In a private pool its jobs reach what the pool's network reaches.
resource "google_project_iam_member" "pool" {
  count   = var.build_pool == null ? 0 : 1
  project = split("/", var.build_pool)[1]
  role    = "roles/cloudbuild.workerPoolUser"
  member  = google_service_account.this.member
}

# To reach the cluster, and nothing in it: what it may do there its Role in the namespace says (infra/gke/namespace).
resource "google_project_iam_custom_role" "reaches" {
  count       = var.cluster == null ? 0 : 1
  project     = var.project
  role_id     = "${replace(var.name, "-", "_")}_reaches"
  title       = "Clusters, to reach them"
  permissions = ["container.clusters.connect", "container.clusters.get"] # the first for the cluster's DNS name
}

# Of the project's roles those that can't be had for less: to run the jobs of Cloud Deploy, to write their logs, and to ask for metrics.
resource "google_project_iam_member" "this" {
  for_each = toset(concat(["roles/clouddeploy.jobRunner", "roles/logging.logWriter", "roles/monitoring.viewer"], [for r in google_project_iam_custom_role.reaches : "projects/${var.project}/roles/${r.role_id}"]))
  project  = var.project
  role     = each.value
  member   = google_service_account.this.member
}

resource "google_storage_bucket_iam_member" "this" {
  bucket = google_storage_bucket.this.name
  role   = "roles/storage.objectUser"
  member = google_service_account.this.member
}

resource "google_artifact_registry_repository_iam_member" "reader" {
  project    = var.project
  location   = var.region
  repository = var.registry
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.this.member
}

# The revisions run as the functions' accounts, and the jobs as this one. The judge brings ID tokens of this one.
resource "google_service_account_iam_member" "this" {
  for_each = merge({ for function, account in var.accounts : function => { account = account, role = "roles/iam.serviceAccountUser" } }, {
    itself = { account = local.account, role = "roles/iam.serviceAccountUser" }
    tokens = { account = local.account, role = "roles/iam.serviceAccountOpenIdTokenCreator" }
  })
  service_account_id = each.value.account
  role               = each.value.role
  member             = google_service_account.this.member
}

resource "google_cloud_run_v2_service_iam_member" "this" {
  for_each = var.cluster != null ? {} : merge([for function, p in local.pipelines : p.judge == null ? {} : { for role in ["developer", "invoker"] : "${function}-${role}" => { name = p.name, role = "roles/run.${role}" } }]...)
  project  = var.project
  location = var.region
  name     = each.value.name
  role     = each.value.role
  member   = google_service_account.this.member
}

# A job, which serves nobody and so has no judge.
resource "google_cloud_run_v2_job_iam_member" "this" {
  for_each = { for function, p in local.pipelines : function => p.name if p.judge == null }
  project  = var.project
  location = var.region
  name     = each.value
  role     = "roles/run.developer"
  member   = google_service_account.this.member
}

# No target wants approval: it would hold up the way back, too. Releases of tags are approved before their build (modules/release).
resource "google_clouddeploy_target" "this" {
  for_each    = local.pipelines
  project     = var.project
  location    = var.region
  name        = each.value.name
  description = "Where ${each.value.name} runs"

  dynamic "run" {
    for_each = var.cluster == null ? [1] : []
    content {
      location = "projects/${var.project}/locations/${var.region}"
    }
  }

  dynamic "gke" {
    for_each = var.cluster == null ? [] : [var.cluster]
    content {
      cluster      = "projects/${var.project}/locations/${gke.value.location}/clusters/${gke.value.name}"
      dns_endpoint = true
    }
  }

  execution_configs {
    usages            = ["RENDER", "DEPLOY", "VERIFY"]
    service_account   = google_service_account.this.email
    worker_pool       = var.build_pool
    artifact_storage  = "${google_storage_bucket.this.url}/artifacts"
    execution_timeout = "${var.bake + 1800}s" # of one job, and the judge watches in one
  }

  depends_on = [google_project_iam_member.this, google_project_iam_member.pool]
}

resource "google_clouddeploy_delivery_pipeline" "this" {
  for_each    = local.pipelines
  project     = var.project
  location    = var.region
  name        = each.value.name
  description = "Releases of ${each.value.name}"

  serial_pipeline {
    stages {
      target_id = google_clouddeploy_target.this[each.key].name

      strategy {
        dynamic "standard" {
          for_each = each.value.gradual ? [] : [1]
          content {
            verify = each.value.judge != null
          }
        }

        dynamic "canary" {
          for_each = each.value.gradual ? [1] : []
          content {
            runtime_config {
              dynamic "cloud_run" {
                for_each = var.cluster == null ? [1] : []
                content {
                  automatic_traffic_control = true
                  canary_revision_tags      = ["canary"] # under which the judge reaches it; gone once it is stable
                }
              }

              dynamic "kubernetes" {
                for_each = var.cluster == null ? [] : [1]
                content {
                  gateway_service_mesh {
                    deployment             = "erlmcp"
                    service                = "erlmcp-service"
                    http_route             = "erlmcp"
                    route_update_wait_time = "60s" # until load balancers have heard of it
                  }
                }
              }
            }

            custom_canary_deployment {
              dynamic "phase_configs" {
                for_each = { canary-10 = 10, canary-50 = 50, stable = 100 }
                content {
                  phase_id   = phase_configs.key
                  percentage = phase_configs.value
                  verify     = phase_configs.value < 100 # with all of the traffic there is nothing to compare with
                }
              }
            }
          }
        }
      }
    }
  }
}

# What a person would do by hand: a phase that was judged well is followed by the next, and a rollout that failed goes back to the
# release before it. A job that failed by itself, and not by its verdict, is tried again first.
resource "google_clouddeploy_automation" "this" {
  for_each          = local.pipelines
  project           = var.project
  location          = var.region
  name              = "${each.value.name}-gradually"
  delivery_pipeline = google_clouddeploy_delivery_pipeline.this[each.key].name
  service_account   = google_service_account.this.email
  description       = "Goes on when it is well, and back when it is not"

  selector {
    targets {
      id = google_clouddeploy_target.this[each.key].name
    }
  }

  dynamic "rules" {
    for_each = each.value.gradual ? [1] : []
    content {
      advance_rollout_rule {
        id            = "on"
        source_phases = ["canary-10", "canary-50"]
      }
    }
  }

  rules {
    repair_rollout_rule {
      id   = "again"
      jobs = ["deploy"]
      repair_phases {
        retry {
          attempts     = "3"
          wait         = "60s"
          backoff_mode = "BACKOFF_MODE_EXPONENTIAL"
        }
      }
      repair_phases {
        rollback {
          disable_rollback_if_rollout_pending = false
        }
      }
    }
  }

  rules {
    repair_rollout_rule {
      id   = "back"
      jobs = ["verify"]
      repair_phases {
        rollback {
          disable_rollback_if_rollout_pending = false
        }
      }
    }
  }
}

# Its roles on the pipelines alone: to advance and to roll back.
resource "google_clouddeploy_delivery_pipeline_iam_member" "operator" {
  for_each = local.pipelines
  project  = var.project
  location = var.region
  name     = google_clouddeploy_delivery_pipeline.this[each.key].name
  role     = "roles/clouddeploy.operator"
  member   = google_service_account.this.member
}

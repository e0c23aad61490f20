# A tag in the repository becomes a release: cloudbuild.yaml, run by an account that may deploy these two functions and nothing else.

resource "google_service_account" "this" {
  project      = var.project
  account_id   = "${var.name}-release"
  display_name = "Releases of ${var.name}"
}

# It writes the build's log, and looks in the function's for errors while traffic moves.
resource "google_project_iam_member" "logs" {
  for_each = toset(["roles/logging.logWriter", "roles/logging.viewer"])
  project  = var.project
  role     = each.value
  member   = google_service_account.this.member
}

resource "google_artifact_registry_repository_iam_member" "writer" {
  project    = var.project
  location   = var.region
  repository = var.registry
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.this.member
}

# To deploy revisions that run as the functions' accounts.
resource "google_service_account_iam_member" "runs_as" {
  for_each           = var.accounts
  service_account_id = each.value
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.this.member
}

moved {
  from = google_service_account_iam_member.runs_as
  to   = google_service_account_iam_member.runs_as["erlmcp"]
}

resource "google_cloud_run_v2_service_iam_member" "deployer" {
  for_each = var.service == "" ? [] : toset(["roles/run.developer", "roles/run.invoker"])
  project  = var.project
  location = var.region
  name     = var.service
  role     = each.value
  member   = google_service_account.this.member
}

resource "google_cloud_run_v2_service_iam_member" "taiea" {
  for_each = var.service == "" || var.taiea == "" ? [] : toset(["roles/run.developer", "roles/run.invoker"])
  project  = var.project
  location = var.region
  name     = var.taiea
  role     = each.value
  member   = google_service_account.this.member
}

# Its probes call new revisions with ID tokens of its own.
resource "google_service_account_iam_member" "own_tokens" {
  service_account_id = google_service_account.this.name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = google_service_account.this.member
}

resource "google_project_iam_member" "cluster" {
  count   = var.cluster == "" ? 0 : 1
  project = var.project
  role    = "roles/container.developer"
  member  = google_service_account.this.member
}

resource "google_cloudbuildv2_connection" "this" {
  count    = var.repository.connection == "" ? 1 : 0
  project  = var.project
  location = var.region
  name     = var.name

  github_config {
    app_installation_id = var.repository.github_installation
    authorizer_credential {
      oauth_token_secret_version = "projects/${var.project}/secrets/${var.repository.github_token_secret}/versions/latest"
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.github]
}

# Cloud Build's own agent reads the token with which it watches the repository.
resource "google_secret_manager_secret_iam_member" "github" {
  count     = var.repository.connection == "" ? 1 : 0
  project   = var.project
  secret_id = var.repository.github_token_secret
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:service-${var.project_number}@gcp-sa-cloudbuild.iam.gserviceaccount.com"
}

resource "google_cloudbuildv2_repository" "this" {
  project           = var.project
  location          = var.region
  name              = var.name
  parent_connection = var.repository.connection == "" ? google_cloudbuildv2_connection.this[0].name : var.repository.connection
  remote_uri        = var.repository.url
}

resource "google_cloudbuild_trigger" "tag" {
  project         = var.project
  location        = var.region
  name            = "${var.name}-release"
  description     = "Releases a tag such as v0.7.0"
  filename        = "cloudbuild.yaml"
  service_account = google_service_account.this.id

  repository_event_config {
    repository = google_cloudbuildv2_repository.this.id
    push {
      tag = "^v[0-9]+\\.[0-9]+\\.[0-9]+$"
    }
  }

  substitutions = {
    _REPOSITORY = "${var.region}-docker.pkg.dev/${var.project}/${var.registry}/erlmcp"
    _PLATFORM   = var.cluster == "" ? "cloudrun" : "gke"
    _REGION     = var.region
    _SERVICE    = var.name
    _TAIEA      = var.taiea
    _CLUSTER    = var.cluster
    _LOCATION   = var.cluster_location
    _BAKE       = var.bake
  }

  approval_config {
    approval_required = var.approval
  }
}

# A tag in the repository becomes a release: cloudbuild.yaml checks, builds the image and hands it to Cloud Deploy, by an account that can
# deploy nothing itself: what tests run as is not what changes the services.

resource "google_service_account" "this" {
  project      = var.project
  account_id   = "${var.name}-release"
  display_name = "Releases of ${var.name}"
}

# It writes the build's log, and sees pipelines and targets.
resource "google_project_iam_member" "this" {
  for_each = toset(["roles/logging.logWriter", "roles/clouddeploy.viewer"])
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

# It reads there what a release is to bring, and leaves there what it brought.
resource "google_storage_bucket_iam_member" "this" {
  for_each = toset(["roles/storage.objectUser", "roles/storage.bucketViewer"])
  bucket   = var.delivery.bucket
  role     = each.value
  member   = google_service_account.this.member
}

resource "google_clouddeploy_delivery_pipeline_iam_member" "this" {
  for_each = toset(var.delivery.pipelines)
  project  = var.project
  location = var.region
  name     = each.value
  role     = "roles/clouddeploy.releaser"
  member   = google_service_account.this.member
}

# Cloud Deploy runs the jobs of a release as this account.
resource "google_service_account_iam_member" "deploys" {
  service_account_id = var.delivery.account
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.this.member
}

# It signs the image that it has built.
resource "google_kms_crypto_key_iam_member" "signs" {
  count         = length(var.attestor[*])
  crypto_key_id = split("/cryptoKeyVersions/", var.attestor.key)[0]
  role          = "roles/cloudkms.signerVerifier"
  member        = google_service_account.this.member
}

resource "google_binary_authorization_attestor_iam_member" "signs" {
  count    = length(var.attestor[*])
  project  = var.project
  attestor = split("/", var.attestor.name)[3]
  role     = "roles/binaryauthorization.attestorsViewer"
  member   = google_service_account.this.member
}

resource "google_container_analysis_note_iam_member" "signs" {
  count   = length(var.attestor[*])
  project = var.project
  note    = split("/", var.attestor.note)[3]
  role    = "roles/containeranalysis.notes.attacher"
  member  = google_service_account.this.member
}

# What was signed is kept in the project, as an occurrence of the note.
resource "google_project_iam_member" "signs" {
  count   = length(var.attestor[*])
  project = var.project
  role    = "roles/containeranalysis.occurrences.editor"
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

  # Before anything of the tag runs: what is built is released, and the judge alone stops it then.
  approval_config {
    approval_required = var.approval
  }

  repository_event_config {
    repository = google_cloudbuildv2_repository.this.id
    push {
      tag = "^v[0-9]+\\.[0-9]+\\.[0-9]+$"
    }
  }

  substitutions = merge({
    _BUCKET    = var.delivery.bucket
    _IMAGE     = "${var.region}-docker.pkg.dev/${var.project}/${var.registry}/erlmcp"
    _PIPELINES = join(" ", var.delivery.pipelines)
    _REGION    = var.region
  }, var.attestor == null ? {} : { _ATTESTOR = var.attestor.name, _ATTESTOR_KEY = var.attestor.key })
}

# A key in Cloud KMS of one's own, for what is kept. Google's services use it as their agents, each of which must be let in.

locals {
  # https://cloud.google.com/iam/docs/service-agents
  domains = {
    artifactregistry = "gcp-sa-artifactregistry"
    compute          = "compute-system"
    container        = "container-engine-robot"
    firestore        = "gcp-sa-firestore"
    pubsub           = "gcp-sa-pubsub"
    redis            = "cloud-redis"
    run              = "serverless-robot-prod"
    secretmanager    = "gcp-sa-secretmanager"
    storage          = "gs-project-accounts"
  }
}

resource "google_kms_crypto_key_iam_member" "agent" {
  for_each      = var.services
  crypto_key_id = var.key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:service-${var.project_number}@${local.domains[each.value]}.iam.gserviceaccount.com"
}

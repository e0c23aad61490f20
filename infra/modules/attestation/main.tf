# Images that a release has built, and no others: it signs each by a key in Cloud KMS, and Binary Authorization lets those run that are signed.
# https://cloud.google.com/binary-authorization/docs/overview. A project has one policy, which all in it go by that ask for one.

locals {
  ring = "${var.name}-images" # a key ring can't be deleted, nor have its name again
  key  = "projects/${var.project}/locations/${var.region}/keyRings/${local.ring}/cryptoKeys/images"
}

resource "google_kms_key_ring" "this" {
  project  = var.project
  location = var.region
  name     = local.ring
}

resource "google_kms_crypto_key" "images" {
  name     = "images"
  key_ring = google_kms_key_ring.this.id
  purpose  = "ASYMMETRIC_SIGN"

  version_template {
    algorithm        = "EC_SIGN_P256_SHA256"
    protection_level = "SOFTWARE"
  }
}

data "google_kms_crypto_key_version" "images" {
  crypto_key = google_kms_crypto_key.images.id
}

# Under it what was signed is kept.
resource "google_container_analysis_note" "images" {
  project = var.project
  name    = local.ring

  attestation_authority {
    hint {
      human_readable_name = "Images that releases of ${var.name} have built"
    }
  }
}

resource "google_binary_authorization_attestor" "images" {
  project     = var.project
  name        = local.ring
  description = "Images that releases of ${var.name} have built"

  attestation_authority_note {
    note_reference = google_container_analysis_note.images.name

    public_keys {
      id = "//cloudkms.googleapis.com/v1/${local.key}/cryptoKeyVersions/1"
      pkix_public_key {
        public_key_pem      = data.google_kms_crypto_key_version.images.public_key[0].pem
        signature_algorithm = "ECDSA_P256_SHA256"
      }
    }
  }
}

resource "google_binary_authorization_policy" "this" {
  project                       = var.project
  description                   = "Images that releases of ${var.name} have built"
  global_policy_evaluation_mode = "ENABLE" # Google's own, of which clusters consist

  dynamic "admission_whitelist_patterns" {
    for_each = var.others
    content {
      name_pattern = admission_whitelist_patterns.value
    }
  }

  default_admission_rule {
    evaluation_mode         = "REQUIRE_ATTESTATION"
    enforcement_mode        = "ENFORCED_BLOCK_AND_AUDIT_LOG"
    require_attestations_by = [google_binary_authorization_attestor.images.name]
  }
}

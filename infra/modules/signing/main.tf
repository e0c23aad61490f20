# The key that vouches for receipts, where it is not to leave Cloud KMS. A key ring can't be deleted, and what a key has signed
# verifies with its public half for good.

resource "google_kms_key_ring" "this" {
  project  = var.project
  location = var.region
  name     = var.name
}

resource "google_kms_crypto_key" "receipts" {
  name     = "receipts"
  key_ring = google_kms_key_ring.this.id
  purpose  = "ASYMMETRIC_SIGN"

  version_template {
    algorithm        = "EC_SIGN_ED25519"
    protection_level = "SOFTWARE"
  }
}

# That of roots, which the control plane alone has.
resource "google_kms_crypto_key" "roots" {
  count    = length(var.roots[*])
  name     = "roots"
  key_ring = google_kms_key_ring.this.id
  purpose  = "ASYMMETRIC_SIGN"

  version_template {
    algorithm        = "EC_SIGN_ED25519"
    protection_level = "SOFTWARE"
  }
}

resource "google_kms_crypto_key_iam_member" "roots" {
  count         = length(var.roots[*])
  crypto_key_id = google_kms_crypto_key.roots[0].id
  role          = "roles/cloudkms.signerVerifier"
  member        = var.roots
}

# To sign, and to have the public half, with which each signature is checked before it is used.
resource "google_kms_crypto_key_iam_member" "signer" {
  for_each      = var.signers
  crypto_key_id = google_kms_crypto_key.receipts.id
  role          = "roles/cloudkms.signerVerifier"
  member        = each.value
}

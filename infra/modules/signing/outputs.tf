output "root_version" {
  description = "RECEIPT_ROOT_KMS_KEY: the version of the key of roots; null where there is none."
  value       = one([for k in google_kms_crypto_key.roots : "projects/${var.project}/locations/${var.region}/keyRings/${google_kms_key_ring.this.name}/cryptoKeys/${k.name}/cryptoKeyVersions/1"])
  depends_on  = [google_kms_crypto_key_iam_member.roots]
}

output "version" {
  description = "RECEIPT_KMS_KEY: the version of the key that signs."
  value       = "projects/${var.project}/locations/${var.region}/keyRings/${google_kms_key_ring.this.name}/cryptoKeys/${google_kms_crypto_key.receipts.name}/cryptoKeyVersions/${var.key_version}"
  depends_on  = [google_kms_crypto_key_iam_member.signer]
}

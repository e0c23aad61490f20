output "version" {
  description = "RECEIPT_KMS_KEY: the version of the key that signs."
  value       = "${google_kms_crypto_key.receipts.id}/cryptoKeyVersions/1"
  depends_on  = [google_kms_crypto_key_iam_member.signer]
}

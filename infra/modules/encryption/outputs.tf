output "key" {
  description = "Id of the key, which the services may use."
  value       = var.key
  depends_on  = [google_kms_crypto_key_iam_member.agent]
}

output "ids" {
  description = "Secret id of each name. They exist, with a version, and who reads them may."
  value       = { for k, s in google_secret_manager_secret.this : k => s.secret_id }
  depends_on = [
    google_secret_manager_secret_version.keys, google_secret_manager_secret_version.redis, google_secret_manager_secret_version.api_keys,
    google_secret_manager_secret_version.policy, google_secret_manager_secret_version.receipt_key, google_secret_manager_secret_version.webhook,
    google_secret_manager_secret_version.taiea_api_keys, google_secret_manager_secret_version.taiea_keys, google_secret_manager_secret_iam_member.reader,
  ]
}

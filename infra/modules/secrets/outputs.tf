output "ids" {
  description = "Secret id of each name. They exist, with a version, and the reader may read them."
  value       = { for k, s in google_secret_manager_secret.this : k => s.secret_id }
  depends_on = [
    google_secret_manager_secret_version.keys, google_secret_manager_secret_version.redis, google_secret_manager_secret_version.api_keys,
    google_secret_manager_secret_version.policy, google_secret_manager_secret_iam_member.reader,
  ]
}

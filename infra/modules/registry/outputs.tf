output "image" {
  description = "Name of the image, without a tag."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${var.name}/erlmcp"
  depends_on  = [google_artifact_registry_repository.this]
}

output "repository" {
  description = "Id of the repository."
  value       = google_artifact_registry_repository.this.repository_id
}

output "attestor" {
  description = "Who signs images: resource name of the attestor, of its note, and of the version of the key."
  value = {
    name = "projects/${var.project}/attestors/${google_binary_authorization_attestor.images.name}"
    note = "projects/${var.project}/notes/${google_container_analysis_note.images.name}"
    key  = "${local.key}/cryptoKeyVersions/1"
  }
}

output "location" {
  description = "Region or zone of the cluster."
  value       = google_container_cluster.this.location
}

output "name" {
  description = "Name of the cluster."
  value       = google_container_cluster.this.name
}

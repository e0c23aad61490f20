output "network" {
  description = "Id of the network."
  value       = google_compute_network.this.id
}

output "peering" {
  description = "Id of the connection to Google's services; what lives there must wait for it."
  value       = google_service_networking_connection.services.id
}

output "subnetwork" {
  description = "Id of the subnetwork."
  value       = google_compute_subnetwork.this.id
}

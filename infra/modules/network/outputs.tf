output "egress" {
  description = "Reserved addresses from which what goes through Cloud NAT comes."
  value       = google_compute_address.egress[*].address
}

output "network" {
  description = "Id of the network."
  value       = google_compute_network.this.id
}

output "names" {
  description = "Names of the network and of the subnetwork; known before they are there."
  value       = { network = google_compute_network.this.name, subnetwork = google_compute_subnetwork.this.name }
}

output "peering" {
  description = "Id of the connection to Google's services; what lives there must wait for it."
  value       = google_service_networking_connection.services.id
}

output "subnetwork" {
  description = "Id of the subnetwork."
  value       = google_compute_subnetwork.this.id
}

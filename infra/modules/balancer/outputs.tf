output "address" {
  description = "IP address to which the host name points."
  value       = google_compute_global_address.this.address
}

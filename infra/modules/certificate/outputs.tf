output "map" {
  description = "Id of the certificate map."
  value       = google_certificate_manager_certificate_map.this.id
  depends_on  = [google_certificate_manager_certificate_map_entry.this]
}

output "record" {
  description = "DNS record to set once, which proves the name: {name, type, data}."
  value       = one(google_certificate_manager_dns_authorization.this.dns_resource_record)
}

output "ca" {
  description = "Certificates in PEM that sign the server's."
  value       = join("\n", [for c in google_redis_instance.this.server_ca_certs : c.cert])
}

output "url" {
  description = "REDIS_URL, password included."
  value       = "rediss://:${google_redis_instance.this.auth_string}@${google_redis_instance.this.host}:${google_redis_instance.this.port}"
  sensitive   = true
}

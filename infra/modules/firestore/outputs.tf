output "databases" {
  description = "Names of the databases: one for all, or that of what operators order, of what instances count, and of receipts."
  value       = [for part in ["control", "usage", "receipts"] : google_firestore_database.this[part].name if contains(keys(local.names), part)]
}

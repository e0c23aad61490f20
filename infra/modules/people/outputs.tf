output "members" {
  description = "All of them, who are let into the control plane."
  value       = local.looks
}

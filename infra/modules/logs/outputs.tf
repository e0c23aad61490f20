output "writers" {
  description = "Who writes, by sink, as a member of IAM."
  value       = { for name, s in google_logging_project_sink.this : name => s.writer_identity }
}

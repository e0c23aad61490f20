# Logs of what runs, handed on to a bucket or a topic that exists, as they come. They stay in Cloud Logging, too.

resource "google_logging_project_sink" "this" {
  for_each               = var.sinks
  project                = var.project
  name                   = "${var.name}-${each.key}"
  description            = "Logs of ${var.name}"
  destination            = startswith(each.value, "gs://") ? "storage.googleapis.com/${trimprefix(each.value, "gs://")}" : "pubsub.googleapis.com/${each.value}"
  filter                 = var.filter
  unique_writer_identity = true
}

resource "google_storage_bucket_iam_member" "writer" {
  for_each = { for name, to in var.sinks : name => trimprefix(to, "gs://") if startswith(to, "gs://") }
  bucket   = each.value
  role     = "roles/storage.objectCreator"
  member   = google_logging_project_sink.this[each.key].writer_identity
}

resource "google_pubsub_topic_iam_member" "writer" {
  for_each = { for name, to in var.sinks : name => to if !startswith(to, "gs://") }
  topic    = each.value
  role     = "roles/pubsub.publisher"
  member   = google_logging_project_sink.this[each.key].writer_identity
}

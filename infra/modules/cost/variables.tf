variable "alerts" {
  description = "Alerts on metrics, each evaluated once a minute."
  type        = number
}

variable "anchored" {
  description = "Whether the control plane alone makes roots of receipts: on Cloud Run it is asked for one each minute."
  type        = bool
  default     = false
}

variable "balanced" {
  description = "Whether there is a load balancer."
  type        = bool
}

variable "backups" {
  description = "Days for which backups, which are made each day, are kept in their bucket; null for none."
  type        = object({ retention_days = number })
  default     = null
}

variable "calls_per_instance_second" {
  description = "Calls that one instance serves in a second, on average."
  type        = number
}

variable "cloudrun" {
  description = "CPUs and GiB of all containers of an instance, fewest instances and billing of the Cloud Run service; null for none."
  type        = object({ cpu = number, memory_gib = number, min = number, billing = string })
  default     = null
}

variable "firestore" {
  description = "Of the database with receipts: backups that there are at a time, and whether it has point-in-time recovery."
  type        = object({ backups = number, history = bool })
}

variable "gke" {
  description = "Kind and nodes of the GKE cluster, pods of the data plane and of the control plane, and whether these have a collector; null for none."
  type        = object({ autopilot = bool, nodes = number, pods = number, taiea = number, collector = bool })
  default     = null
}

variable "nat" {
  description = "Whether the network has Cloud NAT."
  type        = bool
}

variable "platform" {
  description = "Whether Redis, Firestore, secrets, the registry and the network are made here."
  type        = bool
}

variable "redis" {
  description = "Size of Redis; null for none."
  type        = object({ memory_gb = number, highly_available = bool })
}

variable "release" {
  description = "Minutes for which Cloud Build tests and builds a release, and for which Cloud Deploy brings it."
  type        = object({ build_minutes = number, deploy_minutes = number })
}

variable "schedules" {
  description = "Jobs of Cloud Scheduler."
  type        = number
}

variable "secrets" {
  description = "Secrets, those of them that are files which an instance looks at again every 30 s, and whether a key in Cloud KMS signs."
  type        = object({ count = number, files = number, kms = bool })
}

variable "settings" {
  description = "Settings of the function: RECEIPT_RETENTION_DAYS, RECEIPT_STORE_DAYS, LOG_SAMPLE, OTEL_TRACES_SAMPLER_ARG and daily quotas cost."
  type        = map(string)
}

variable "signed" {
  description = "Whether images are signed, by a key of their own."
  type        = bool
  default     = false
}

variable "telemetry" {
  description = "Whether metrics and spans go to Google."
  type        = bool
}

variable "uptime" {
  description = "Whether uptime checks ask from outside, every minute."
  type        = bool
}

variable "weight" {
  description = "What a call weighs, and an instance that serves calls. The check make weigh holds the first eleven to 20 % of what a real server weighs. The last three only a cloud can weigh: they are estimates, from entries that Google's documents show. hashes_bytes is two SHA-256."
  type = object({
    log_bytes       = optional(number, 610)  # of the server's own record of a call
    receipt_bytes   = optional(number, 550)  # stored for a call's receipt, with its index entries, as Firestore bills it
    segment_bytes   = optional(number, 3450) # and for the document that has the receipts of a second, or 500 of them
    segments_second = optional(number, 1)    # such documents that an instance writes
    root_bytes      = optional(number, 1320) # stored for a root, of which a fleet that serves writes one a minute
    reads_second    = optional(number, 4)    # documents that an instance reads: orders, and whether tenants, plans and keys are as they were
    draws_second    = optional(number, 0.75) # reads and writes of each daily quota in use
    archive_bytes   = optional(number, 66)   # of a call's receipt in the archive, compressed, where calls are alike
    backup_bytes    = optional(number, 140)  # and in a backup
    samples         = optional(number, 200)  # of metrics, a minute, as Managed Service for Prometheus counts them
    spans           = optional(number, 3.1)  # of a request that is traced

    hashes_bytes   = optional(number, 64)   # that hashes of arguments and results add to these two, where each call has its own: no two compress
    entry_bytes    = optional(number, 400)  # what Cloud Logging adds to a record: names, labels, times
    request_bytes  = optional(number, 1000) # Cloud Run's own record of a request
    balancer_bytes = optional(number, 1300) # the load balancer's own record of a request
  })
  default = {}
}

variable "backups" {
  description = "The bucket of backups, as backup has it, and whether the account that backs up reads the key of receipts in Secret Manager, as a job of Cloud Run does; null for no backups."
  type        = object({ project = optional(string), location = optional(string), retention_days = number, locked = bool, reads_key = bool })
}

variable "domain" {
  description = "Host name for which there is a certificate; empty for none."
  type        = string
}

variable "erlmcp" {
  description = "AUTHENTICATION of the data plane, and its rules in YAML; empty for none."
  type        = object({ authentication = string, policy = string })
}

variable "firestore" {
  description = "Location of databases, days for which daily backups are kept, whether counts and receipts have databases of their own, databases beside the first, and which one serves; null for the first."
  type        = object({ location = string, backup_days = number, apart = bool, databases = set(string), serves = string })
}

variable "kms_key" {
  description = "Key in Cloud KMS that encrypts all that is kept; null for Google's own."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels, for reports of cost."
  type        = map(string)
}

variable "made" {
  description = "Whether it is made here, and not by another composition for the same environment."
  type        = bool
}

variable "name" {
  description = "Prefix of all names, which is the data plane's own."
  type        = string
}

variable "network" {
  description = "Address ranges of the network, where there is Redis, whether it has Cloud NAT, and whether that has a reserved address; or the names of a network and a subnetwork that exist, and their project (null for this one)."
  type = object({
    ranges   = object({ nodes = string, pods = string, services = string })
    nat      = bool
    static   = optional(bool, false)
    existing = optional(object({ network = string, subnetwork = string, project = string }))
  })
}

variable "place" {
  description = "Id and number of the project, and the region."
  type        = object({ project = string, project_number = string, region = string })
}

variable "protected" {
  description = "Whether what holds something refuses to be destroyed."
  type        = bool
}

variable "receipts" {
  description = "Where the key is that vouches for receipts (secret, kms or none), which version of one in Cloud KMS signs, days for which receipts are kept, and the time from which on the control plane makes roots with a key of its own; null for never."
  type        = object({ key = string, key_version = number, days = optional(number, 400), roots_since = optional(string) })
}

variable "redis" {
  description = "Size of Redis; null for none, where one instance counts by itself."
  type        = object({ memory_gb = number, highly_available = bool })
}

variable "secret_locations" {
  description = "Regions in which secrets are kept, and nowhere else; empty for wherever Google keeps them, or where the key is."
  type        = list(string)
  default     = []
}

variable "taiea" {
  description = "AUTHENTICATION of the control plane, and where events are delivered, who publishes them and for which sources; events is null where nobody delivers any."
  type = object({
    authentication = string
    events         = object({ endpoint = string, publishers = list(string), sources = list(string) })
  })
}

variable "telemetry" {
  description = "Whether the functions' collectors write metrics and spans."
  type        = bool
}

variable "unsigned_images" {
  description = "Images that run without a release having signed them; null where all images may run."
  type        = set(string)
  default     = null
}

variable "webhook" {
  description = "Who takes webhooks: nobody (none), the control plane (taiea), or a service of its own (apart)."
  type        = string
}

variable "bucket" {
  description = "Project of the bucket and its location (null for those of all else), the days for which nothing in it can be changed or deleted, and whether nobody can shorten them any more."
  type        = object({ project = optional(string), location = optional(string), retention_days = number, locked = bool })
}

variable "database_location" {
  description = "Location of the database of the drill."
  type        = string
}

variable "databases" {
  description = "Databases that are backed up, one at a time: the one that serves, and those that may."
  type        = list(string)
}

variable "kms_key" {
  description = "Key in Cloud KMS that encrypts it; null for Google's own."
  type        = string
  default     = null
}

variable "name" {
  description = "Prefix of what is made."
  type        = string
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "receipt_days" {
  description = "RECEIPT_RETENTION_DAYS: for so long receipts are in the archive."
  type        = number
  default     = 400
}

variable "receipt_key" {
  description = "Id of the secret with the key that signs backups and reports; null where it is not in one."
  type        = string
  default     = null
}

variable "region" {
  description = "Region."
  type        = string
}

variable "servers" {
  description = "Members of IAM that put roots into the bucket, by function."
  type        = map(string)
}

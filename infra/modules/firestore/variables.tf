variable "apart" {
  description = "Whether what instances count, and receipts, have databases of their own, NAME-usage and NAME-receipts."
  type        = bool
}

variable "backup_days" {
  description = "Days for which daily backups are kept; 0 makes none."
  type        = number
}

variable "history" {
  description = "Whether any minute of the last 7 days can be read (point-in-time recovery)."
  type        = bool
  default     = true
}

variable "kms_key" {
  description = "Key in Cloud KMS that encrypts it; null for Google's own."
  type        = string
  default     = null
}

variable "name" {
  description = "Name of the database, or of the first one."
  type        = string
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "protected" {
  description = "Whether it refuses to be destroyed, and is backed up weekly too."
  type        = bool
}

variable "receipts_elsewhere" {
  description = "Whether receipts are copied elsewhere, so that a database of their own has neither backups nor a history."
  type        = bool
}

variable "region" {
  description = "Location, a region or a multi-region such as nam5."
  type        = string
}

variable "backup_days" {
  description = "Days for which daily backups are kept; 0 makes none."
  type        = number
}

variable "history" {
  description = "Whether any minute of the last 7 days can be read (point-in-time recovery)."
  type        = bool
  default     = true
}

variable "name" {
  description = "Name of the database."
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

variable "region" {
  description = "Location, a region or a multi-region such as nam5."
  type        = string
}

variable "endpoint" {
  description = "URL that events are delivered to, and for which their tokens are made."
  type        = string
}

variable "kms_key" {
  description = "Key in Cloud KMS that encrypts it; null for Google's own."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels, for reports of cost."
  type        = map(string)
}

variable "name" {
  description = "Prefix of the names."
  type        = string
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "project_number" {
  description = "Project number."
  type        = string
}

variable "publishers" {
  description = "Members of IAM that may publish events."
  type        = list(string)
}

variable "sources" {
  description = "Sources that they may speak for; empty for any."
  type        = list(string)
}

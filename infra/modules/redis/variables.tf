variable "highly_available" {
  description = "Whether there is a replica that takes over within seconds."
  type        = bool
}

variable "kms_key" {
  description = "Key in Cloud KMS that encrypts it; null for Google's own."
  type        = string
  default     = null
}

variable "memory_gb" {
  description = "Memory in GB. Counters of a million callers take about half of one."
  type        = number
}

variable "name" {
  description = "Name of the instance."
  type        = string
}

variable "network" {
  description = "Id of the network from which it is reached."
  type        = string
}

variable "peering" {
  description = "Id of the connection to Google's services."
  type        = string
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "protected" {
  description = "Whether it refuses to be destroyed."
  type        = bool
}

variable "region" {
  description = "Region."
  type        = string
}

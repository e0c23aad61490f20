variable "certificate_map" {
  description = "Id of the certificate map."
  type        = string
}

variable "name" {
  description = "Name of what is made."
  type        = string
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "rate" {
  description = "Requests a minute that one address may send (Cloud Armor); null for any number."
  type        = number
  default     = null
}

variable "region" {
  description = "Region of the service."
  type        = string
}

variable "service" {
  description = "Name of the Cloud Run service."
  type        = string
}

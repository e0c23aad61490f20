variable "key" {
  description = "Id of the key, projects/P/locations/R/keyRings/K/cryptoKeys/N."
  type        = string
}

variable "project_number" {
  description = "Number of the project whose services use it."
  type        = string
}

variable "services" {
  description = "Services that use it, such as firestore."
  type        = set(string)
}

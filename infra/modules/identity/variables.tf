variable "databases" {
  description = "Firestore databases that it reads and writes."
  type        = list(string)
}

variable "name" {
  description = "Name of the account, 6 to 30 letters, digits and dashes."
  type        = string
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "telemetry" {
  description = "Whether its collector writes metrics and spans."
  type        = bool
}

variable "adds" {
  description = "Role that reads documents and adds such as are not there, and neither changes nor deletes any."
  type        = string
}

variable "databases" {
  description = "Its stores in Firestore: each is one database, or three, of what operators order, of what instances count, and of receipts."
  type        = list(list(string))
}

variable "name" {
  description = "Name of the account, 6 to 30 letters, digits and dashes."
  type        = string
}

variable "operates" {
  description = "Whether it writes what operators order."
  type        = bool
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "telemetry" {
  description = "Whether it writes metrics and spans, by its collector or itself."
  type        = bool
}

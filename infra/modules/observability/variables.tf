variable "budget" {
  description = "Billing account (empty for no budget) and amount a month, in its currency."
  type        = object({ billing_account = string, monthly = number })
}

variable "emails" {
  description = "Who is told, by e-mail."
  type        = list(string)
}

variable "host" {
  description = "Host to look at from outside; empty for none."
  type        = string
}

variable "name" {
  description = "Name of the function."
  type        = string
}

variable "private" {
  description = "Whether the check must bring an ID token."
  type        = bool
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "project_number" {
  description = "Project number."
  type        = string
}

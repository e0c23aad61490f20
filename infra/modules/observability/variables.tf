variable "alerting" {
  description = "Whether there are alerts on its metrics."
  type        = bool
  default     = true
}

variable "budget" {
  description = "Billing account (empty for no budget) and amount a month, in its currency."
  type        = object({ billing_account = string, monthly = number })
}

variable "channels" {
  description = "Ids of existing notification channels, by severity of what they are told of: info is how releases go."
  type        = object({ critical = list(string), warning = list(string), info = list(string) })
}

variable "cluster" {
  description = "GKE cluster that it runs on; empty for none."
  type        = string
  default     = ""
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
  description = "Name of the function, and of its metrics' job."
  type        = string
}

variable "objectives" {
  description = "Whether the console shows the objective, once metrics have come."
  type        = bool
}

variable "pipelines" {
  description = "Delivery pipelines whose failed rollouts are told of."
  type        = list(string)
}

variable "platform" {
  description = "Prefix of what the alerts of observability/platform.yaml watch."
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

variable "service" {
  description = "Cloud Run service that it is; empty for none."
  type        = string
  default     = ""
}

variable "telemetry" {
  description = "Whether its metrics reach Cloud Monitoring, so that there are alerts on them, where alerting has it, and a dashboard."
  type        = bool
}

variable "watched" {
  description = "Which alerts of observability/platform.yaml there are: those of what is there."
  type        = set(string)
}

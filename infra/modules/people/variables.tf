variable "delivery" {
  description = "Bucket, pipelines and account of releases."
  type        = object({ bucket = string, pipelines = list(string), account = string })
}

variable "events" {
  description = "Topic of events, and the subscription that keeps those that were not taken."
  type        = object({ topic = string, dead_letters = string })
}

variable "job" {
  description = "Name of the job that backs up, and its bucket; null for none."
  type        = object({ name = string, bucket = string })
}

variable "name" {
  description = "Prefix of what is made."
  type        = string
}

variable "people" {
  description = "Members of IAM, such as group:oncall@example.com."
  type        = object({ viewers = list(string), on_call = list(string), deployers = list(string) })
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "region" {
  description = "Region."
  type        = string
}

variable "taiea" {
  description = "Name of the control plane's service."
  type        = string
}

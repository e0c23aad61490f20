variable "filter" {
  description = "Which logs, in the query language of Cloud Logging."
  type        = string
}

variable "name" {
  description = "Prefix of the names."
  type        = string
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "sinks" {
  description = "Where to, by name: gs://BUCKET or projects/PROJECT/topics/TOPIC."
  type        = map(string)
}

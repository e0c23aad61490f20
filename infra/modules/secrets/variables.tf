variable "name" {
  description = "Prefix of the names."
  type        = string
}

variable "names" {
  description = "Which secrets the data plane has: keys, redis-ca and redis-url where there is Redis, and api-keys, policy and receipt-key where they are used."
  type        = set(string)
}

variable "policy" {
  description = "Rules in YAML."
  type        = string
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "protected" {
  description = "Whether they refuse to be destroyed."
  type        = bool
}

variable "reader" {
  description = "Who may read names, as a member of IAM."
  type        = string
}

variable "redis_ca" {
  description = "REDIS_CA; null without Redis."
  type        = string
}

variable "redis_url" {
  description = "REDIS_URL, password included; null without Redis."
  type        = string
  sensitive   = true
}

variable "taiea" {
  description = "Which secrets the control plane reads, those of names that it shares and its own (taiea-keys, taiea-api-keys, webhook-secrets), and who it is, as a member of IAM."
  type        = object({ names = set(string), reader = string })
}

variable "kms_key" {
  description = "Key in Cloud KMS that encrypts it; null for Google's own."
  type        = string
  default     = null
}

variable "locations" {
  description = "Regions in which they are kept, and nowhere else; empty for wherever Google keeps them."
  type        = list(string)
  default     = []
}

variable "name" {
  description = "Prefix of the names."
  type        = string
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

variable "readers" {
  description = "Who reads which secrets: of each function its account as a member of IAM, and the names. All have keys; redis-ca and redis-url are for where there is Redis, receipt-key, api-keys, policy, taiea-keys, taiea-api-keys and webhook-secrets for who uses them."
  type        = map(object({ names = set(string), member = string }))
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

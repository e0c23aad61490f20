variable "account" {
  description = "E-mail address of the service account that it runs as."
  type        = string
}

variable "all_traffic" {
  description = "Whether all that leaves goes through the network, and not only what is for private addresses."
  type        = bool
  default     = false
}

variable "audiences" {
  description = "Audiences of callers' ID tokens beside its own URL."
  type        = list(string)
}

variable "billing" {
  description = "instance (CPU always) or request (CPU while a request is served)."
  type        = string
}

variable "collector" {
  description = "Image, CPUs, memory, configuration and environment of the collector beside it; null for none."
  type        = object({ image = string, cpu = string, memory = string, config = string, environment = map(string) })
}

variable "concurrency" {
  description = "Requests at a time of one instance."
  type        = number
}

variable "cpu" {
  description = "CPUs of an instance."
  type        = string
}

variable "function" {
  description = "Which of the two it is, erlmcp or taiea; its container's name."
  type        = string
}

variable "ingress" {
  description = "INGRESS_TRAFFIC_ALL, INGRESS_TRAFFIC_INTERNAL_ONLY or INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER."
  type        = string
}

variable "instances" {
  description = "Fewest and most instances."
  type        = object({ min = number, max = number })
}

variable "invokers" {
  description = "Members of IAM that may call it."
  type        = list(string)
}

variable "kms_key" {
  description = "Key in Cloud KMS that encrypts it; null for Google's own."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels, for reports of cost."
  type        = map(string)
}

variable "memory" {
  description = "Memory of an instance."
  type        = string
}

variable "name" {
  description = "Name of the service."
  type        = string
}

variable "network" {
  description = "Names of the network in which Redis is, and of the subnetwork from which instances reach it; null without Redis."
  type        = object({ network = string, subnetwork = string })
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "protected" {
  description = "Whether it refuses to be destroyed."
  type        = bool
}

variable "public" {
  description = "Whether Cloud Run lets everyone in, so that AUTHENTICATION alone decides."
  type        = bool
}

variable "region" {
  description = "Region."
  type        = string
}

variable "secrets" {
  description = "Secret ids of keys and, where there are, redis-ca, redis-url, api-keys, policy, receipt-key and webhook-secrets."
  type        = map(string)
}

variable "settings" {
  description = "Environment variables that are no secrets."
  type        = map(string)
}

variable "signed" {
  description = "Whether images run that Binary Authorization lets, and no others."
  type        = bool
  default     = false
}

variable "startup" {
  description = "Path that answers 200 once it can serve."
  type        = string
}

variable "timeout" {
  description = "Seconds that a request may take."
  type        = number
}

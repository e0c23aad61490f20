variable "balanced" {
  description = "Whether there is a load balancer."
  type        = bool
}

variable "calls_per_instance_second" {
  description = "Calls that one instance serves in a second, on average."
  type        = number
}

variable "cloudrun" {
  description = "CPUs and GiB of all containers of an instance, fewest instances and billing of the Cloud Run service; null for none."
  type        = object({ cpu = number, memory_gib = number, min = number, billing = string })
  default     = null
}

variable "gke" {
  description = "Kind and nodes of the GKE cluster, pods of the data plane and of the control plane, and whether these have a collector; null for none."
  type        = object({ autopilot = bool, nodes = number, pods = number, taiea = number, collector = bool })
  default     = null
}

variable "platform" {
  description = "Whether Redis, Firestore and the network are made here."
  type        = bool
}

variable "prices" {
  description = "List prices in USD in us-central1, to be checked against https://cloud.google.com/products/calculator."
  type        = map(number)
  default = {
    balancer_hour       = 0.025
    cluster_hour        = 0.10
    firestore_reads     = 0.03 # 100 000
    firestore_writes    = 0.09
    instance_cpu_second = 0.000018
    instance_gib_second = 0.000002
    nat_hour            = 0.0044
    node_hour           = 0.095 # n1-standard-2
    pod_cpu_hour        = 0.0445
    pod_gib_hour        = 0.0049
    redis_gb_hour       = 0.049
    redis_ha_gb_hour    = 0.064
    request_cpu_second  = 0.000024
    request_gib_second  = 0.0000025
    request_million     = 0.40
  }
}

variable "redis" {
  description = "Size of Redis."
  type        = object({ memory_gb = number, highly_available = bool })
}

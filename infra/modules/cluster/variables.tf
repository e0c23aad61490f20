variable "autopilot" {
  description = "Whether Google keeps the nodes."
  type        = bool
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

variable "name" {
  description = "Prefix of the names."
  type        = string
}

variable "network" {
  description = "Id of the network."
  type        = string
}

variable "nodes" {
  description = "Machine type, fewest and most nodes of a Standard cluster."
  type        = object({ machine_type = string, min = number, max = number })
}

variable "operators" {
  description = "Address ranges from which the public address of the cluster's API is reached, by name."
  type        = map(string)
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "protected" {
  description = "Whether it refuses to be destroyed."
  type        = bool
}

variable "region" {
  description = "Region, of the registry and of an Autopilot cluster."
  type        = string
}

variable "registry" {
  description = "Repository of images that nodes pull from."
  type        = string
}

variable "secondary_ranges" {
  description = "Names of the subnetwork's ranges of pods and of Kubernetes services."
  type        = object({ pods = string, services = string })
  default     = { pods = "pods", services = "services" }
}

variable "signed" {
  description = "Whether images run that Binary Authorization lets, and no others."
  type        = bool
  default     = false
}

variable "subnetwork" {
  description = "Id of the subnetwork with the ranges pods and services."
  type        = string
}

variable "zone" {
  description = "Zone of a Standard cluster."
  type        = string
}

variable "name" {
  description = "Prefix of the names of what is made."
  type        = string
}

variable "nat" {
  description = "Whether there is Cloud NAT, for nodes without public addresses."
  type        = bool
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "ranges" {
  description = "Address ranges in CIDR form: of nodes and instances (at least /26, of which Cloud Run takes two addresses an instance), pods and Kubernetes services."
  type        = object({ nodes = string, pods = string, services = string })
}

variable "region" {
  description = "Region."
  type        = string
}

variable "static" {
  description = "Whether Cloud NAT has an address that is reserved, and stays."
  type        = bool
  default     = false
}

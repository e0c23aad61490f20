variable "accounts" {
  description = "Resource names of the accounts as which the functions run, by function."
  type        = map(string)
}

variable "bake" {
  description = "Seconds for which the judge watches each step of traffic."
  type        = number
}

variable "build_pool" {
  description = "Private pool of Cloud Build in which jobs run, projects/P/locations/R/workerPools/N; null for Google's own."
  type        = string
  default     = null
}

variable "cluster" {
  description = "Name and location of the GKE cluster to deploy to; null deploys to Cloud Run."
  type        = object({ name = string, location = string })
  default     = null
}

variable "kms_key" {
  description = "Key in Cloud KMS that encrypts it; null for Google's own."
  type        = string
  default     = null
}

variable "name" {
  description = "Prefix of what is made."
  type        = string
}

variable "pipelines" {
  description = "By function: the files that a release brings beside skaffold.yaml, the folder of the kustomization among them on GKE, the judge's command line (null for a job of Cloud Run), and whether traffic moves gradually."
  type = map(object({
    files         = map(string)
    kustomization = optional(string, ".")
    judge         = optional(list(string))
    gradual       = bool
  }))
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "protected" {
  description = "Whether the bucket refuses to be destroyed with what is in it."
  type        = bool
}

variable "region" {
  description = "Region."
  type        = string
}

variable "registry" {
  description = "Repository of images."
  type        = string
}

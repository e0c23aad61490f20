variable "accounts" {
  description = "Resource names of the accounts as which the functions run, by function."
  type        = map(string)
}

variable "approval" {
  description = "Whether a person must approve each release."
  type        = bool
}

variable "bake" {
  description = "Seconds to wait and watch after each step of traffic."
  type        = string
}

variable "cluster" {
  description = "GKE cluster to release to; empty releases to Cloud Run."
  type        = string
  default     = ""
}

variable "cluster_location" {
  description = "Region or zone of the cluster."
  type        = string
  default     = ""
}

variable "name" {
  description = "Name of the function, and prefix of what is made."
  type        = string
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "project_number" {
  description = "Project number."
  type        = string
}

variable "region" {
  description = "Region."
  type        = string
}

variable "registry" {
  description = "Repository of images."
  type        = string
}

variable "repository" {
  description = "Source repository: its URL and the name of a connection that exists; or, for a new connection to GitHub, the installation id of Cloud Build's app there and the secret that holds the token."
  type = object({
    url                 = string
    connection          = optional(string, "")
    github_installation = optional(number)
    github_token_secret = optional(string)
  })
}

variable "service" {
  description = "Cloud Run service of the data plane; empty for none."
  type        = string
  default     = ""
}

variable "taiea" {
  description = "Cloud Run service, or Deployment on GKE, of the control plane, which gets the release last; empty for none."
  type        = string
  default     = ""
}

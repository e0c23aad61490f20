variable "approval" {
  description = "Whether a person must approve each tag before it is built and released."
  type        = bool
}

variable "attestor" {
  description = "As whom images are signed: resource names of the attestor, of its note, and of the version of the key; null where none are."
  type        = object({ name = string, note = string, key = string })
  default     = null
}

variable "delivery" {
  description = "Where releases go: the bucket, the pipelines, and the account as which Cloud Deploy runs their jobs."
  type        = object({ bucket = string, pipelines = list(string), account = string })
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

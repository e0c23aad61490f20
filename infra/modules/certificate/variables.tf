variable "domain" {
  description = "Host name, such as mcp.example.com."
  type        = string
}

variable "name" {
  description = "Name of what is made."
  type        = string
}

variable "project" {
  description = "Project id."
  type        = string
}

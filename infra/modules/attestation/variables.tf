variable "name" {
  description = "Prefix of the names."
  type        = string
}

variable "others" {
  description = "Images that run without having been signed, with a tag, a digest or a * at the end."
  type        = set(string)
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "region" {
  description = "Where the key is."
  type        = string
}

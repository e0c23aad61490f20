variable "key_version" {
  description = "Version of the key that signs."
  type        = number
}

variable "name" {
  description = "Name of the key ring."
  type        = string
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "region" {
  description = "Where the key is."
  type        = string
}

variable "roots" {
  description = "Who signs roots with a key of their own, as a member of IAM; null where the key of receipts is for both."
  type        = string
  default     = null
}

variable "signers" {
  description = "Who may sign with it, as members of IAM, by what they are here."
  type        = map(string)
}

variable "account" {
  description = "E-mail address of the account that it runs as."
  type        = string
}

variable "commands" {
  description = "Arguments of erlmcp by the name of their schedule, in cron's form. By hand it runs backup."
  type        = map(object({ schedule = string, args = list(string) }))
}

variable "kms_key" {
  description = "Key in Cloud KMS that encrypts it; null for Google's own."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels of the job."
  type        = map(string)
}

variable "name" {
  description = "Name of the job; schedules have it too, with their own in place of -ops."
  type        = string
}

variable "project" {
  description = "Project id."
  type        = string
}

variable "receipt_key" {
  description = "Id of the secret with the key that signs backups and reports; null where it is not in one."
  type        = string
  default     = null
}

variable "region" {
  description = "Region."
  type        = string
}

variable "settings" {
  description = "Settings: which database, and which key in Cloud KMS signs."
  type        = map(string)
}

variable "signed" {
  description = "Whether images run that Binary Authorization lets, and no others."
  type        = bool
  default     = false
}

variable "prefix" {
  description = "Names begin with it. Empty, the provider chooses them."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^[A-Za-z0-9-]{0,30}$", var.prefix))
    error_message = "prefix has to be at most 30 letters, digits and hyphens."
  }
}

variable "retention_seconds" {
  description = "How long the queue retains messages. Long enough for an outage of the cluster; what is over by then is recognized."
  type        = number
  default     = 14400
  validation {
    condition     = var.retention_seconds >= 3600 && var.retention_seconds <= 1209600
    error_message = "retention_seconds has to be between 3600 and 1209600."
  }
}

variable "kms_key_arn" {
  description = "ARN of a KMS key that encrypts the queues; its policy has to allow events.amazonaws.com kms:Decrypt and kms:GenerateDataKey. Empty, SQS encrypts them with a key of its own."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^(arn:[^:]+:kms:[^:]+:[0-9]{12}:key/.+)?$", var.kms_key_arn))
    error_message = "kms_key_arn has to be the ARN of a key, not of an alias."
  }
}

variable "groups" {
  description = "Auto Scaling groups that get lifecycle hooks, and whose hooks the manager may complete."
  type        = list(string)
  default     = []
}

variable "group_prefix" {
  description = "Also the hooks of all groups whose names begin with it may be completed. No hooks are created for these."
  type        = string
  default     = ""
}

variable "hook_name" {
  description = "Name of the termination hooks."
  type        = string
  default     = "node-termination-drain"
}

variable "hook_timeout_seconds" {
  description = "Heartbeat timeout of the hooks. Heartbeats keep a group waiting for longer."
  type        = number
  default     = 300
  validation {
    condition     = var.hook_timeout_seconds >= 30 && var.hook_timeout_seconds <= 7200
    error_message = "hook_timeout_seconds has to be between 30 and 7200."
  }
}

variable "launch_hooks" {
  description = "Whether the groups also get launch hooks, and their events are sent. A policy has to adopt them."
  type        = bool
  default     = false
}

variable "launch_hook_name" {
  description = "Name of the launch hooks."
  type        = string
  default     = "node-termination-join"
}

variable "direct_delivery" {
  description = "Whether the groups also send to the queue themselves, by a role of their own. It is one event with EventBridge's."
  type        = bool
  default     = false
}

variable "delegated_health" {
  description = "Whether AWS Health's events about other accounts are sent too. For a delegated administrator of the organization."
  type        = bool
  default     = false
}

variable "assume_roles" {
  description = "ARNs of roles of other accounts that the manager may assume, for roleARN in a policy. Their trust policies have to trust the manager's role."
  type        = list(string)
  default     = []
  validation {
    condition     = length([for arn in var.assume_roles : arn if !can(regex("^arn:[^:]+:iam::[0-9]{12}:role/.+$", arn))]) == 0
    error_message = "assume_roles has to be ARNs of roles."
  }
}

variable "identity" {
  description = "The role that is created for the manager: PodIdentity, IRSA, or None, to attach the output manager_policy_arn to one of yours."
  type        = string
  default     = "None"
  validation {
    condition     = contains(["None", "PodIdentity", "IRSA"], var.identity)
    error_message = "identity has to be None, PodIdentity or IRSA."
  }
}

variable "cluster" {
  description = "For identity PodIdentity, the EKS cluster whose service account gets the role. Empty, associate it yourself."
  type        = string
  default     = ""
}

variable "oidc_provider" {
  description = "For identity IRSA, the cluster's OIDC issuer without https://."
  type        = string
  default     = ""
  validation {
    condition     = !can(regex("^https://", var.oidc_provider))
    error_message = "oidc_provider has to be without https://."
  }
}

variable "namespace" {
  description = "The manager's namespace."
  type        = string
  default     = "node-termination-system"
}

variable "service_account" {
  description = "The manager's service account."
  type        = string
  default     = "node-termination-manager"
}

variable "alarm_topic_arn" {
  description = "SNS topic that is notified of the alarms. Empty, they only show in CloudWatch."
  type        = string
  default     = ""
}

variable "oldest_message_seconds" {
  description = "The alarm on the queue's oldest message. A message about an unknown instance stays for 15 minutes, one about a launch hook until it is completed."
  type        = number
  default     = 1200
  validation {
    condition     = var.oldest_message_seconds >= 60
    error_message = "oldest_message_seconds has to be at least 60."
  }
}

# The queue, the EventBridge rules and groups that send to it, lifecycle hooks, the manager's rights and alarms: the
# same as config/aws/queue.yaml. docs/aws.md
#
#   module "node_termination" {
#     source   = "github.com/nodetermination/operator//config/aws/terraform?ref=v0.1.0"
#     groups   = ["workers"]
#     identity = "PodIdentity"
#     cluster  = "production"
#   }
terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

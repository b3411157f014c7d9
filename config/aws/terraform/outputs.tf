output "queue_url" {
  description = "spec.sources[].sqs.queueURL of a NodeTerminationPolicy."
  value       = aws_sqs_queue.queue.url
}

output "queue_arn" {
  description = "For other senders' rights and for alarms of your own."
  value       = aws_sqs_queue.queue.arn
}

output "manager_policy_arn" {
  description = "For identity None, attach it to the role of the manager's service account."
  value       = aws_iam_policy.manager.arn
}

output "role_arn" {
  description = "For IRSA, the annotation eks.amazonaws.com/role-arn of the manager's service account. Null without a role."
  value       = var.identity == "IRSA" ? aws_iam_role.irsa[0].arn : var.identity == "PodIdentity" ? aws_iam_role.pod_identity[0].arn : null
}

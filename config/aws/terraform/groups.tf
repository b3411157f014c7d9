# By it groups send to the queue themselves.
resource "aws_iam_role" "delivery" {
  count = var.direct_delivery ? 1 : 0
  name  = var.prefix == "" ? null : "${var.prefix}-delivery"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "autoscaling.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "delivery" {
  count = var.direct_delivery ? 1 : 0
  name  = "send"
  role  = aws_iam_role.delivery[0].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid      = "Send"
        Effect   = "Allow"
        Action   = ["sqs:GetQueueUrl", "sqs:SendMessage"]
        Resource = aws_sqs_queue.queue.arn
      }],
      [for key in [var.kms_key_arn] : {
        Sid      = "Encrypt"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = key
      } if key != ""],
    )
  })
}

resource "aws_autoscaling_lifecycle_hook" "termination" {
  for_each                = toset(var.groups)
  autoscaling_group_name  = each.key
  name                    = var.hook_name
  lifecycle_transition    = "autoscaling:EC2_INSTANCE_TERMINATING"
  heartbeat_timeout       = var.hook_timeout_seconds
  default_result          = "CONTINUE"
  notification_target_arn = var.direct_delivery ? aws_sqs_queue.queue.arn : null
  role_arn                = var.direct_delivery ? aws_iam_role.delivery[0].arn : null
}

# An instance that does not join in time stays: without the operator nothing could be launched otherwise.
resource "aws_autoscaling_lifecycle_hook" "launch" {
  for_each                = toset(var.launch_hooks ? var.groups : [])
  autoscaling_group_name  = each.key
  name                    = var.launch_hook_name
  lifecycle_transition    = "autoscaling:EC2_INSTANCE_LAUNCHING"
  heartbeat_timeout       = var.hook_timeout_seconds
  default_result          = "CONTINUE"
  notification_target_arn = var.direct_delivery ? aws_sqs_queue.queue.arn : null
  role_arn                = var.direct_delivery ? aws_iam_role.delivery[0].arn : null
}

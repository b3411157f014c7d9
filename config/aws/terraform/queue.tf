locals {
  has_key = var.kms_key_arn != ""
}

resource "aws_sqs_queue" "queue" {
  name                       = var.prefix == "" ? null : var.prefix
  message_retention_seconds  = var.retention_seconds
  visibility_timeout_seconds = 30
  sqs_managed_sse_enabled    = local.has_key ? null : true
  kms_master_key_id          = local.has_key ? var.kms_key_arn : null
  # Messages that cannot be stored for now, or about a launch hook that waits for its node, are returned to the queue
  # every half minute to two minutes. With much less than 100 they would end in the dead-letter queue.
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = 100
  })
}

# Messages that could not be parsed. This queue should stay empty.
resource "aws_sqs_queue" "dead_letters" {
  name                      = var.prefix == "" ? null : "${var.prefix}-dead-letters"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = local.has_key ? null : true
  kms_master_key_id         = local.has_key ? var.kms_key_arn : null
}

resource "aws_sqs_queue_policy" "queue" {
  queue_url = aws_sqs_queue.queue.url
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "RulesSend"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.queue.arn
        Condition = { ArnEquals = { "aws:SourceArn" = local.rule_arns } }
      },
      # Also those of this account whose own policies allow it: whoever can send has nodes drained.
      {
        Sid       = "NobodyElseSends"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.queue.arn
        Condition = {
          ArnNotEquals = merge(
            { "aws:SourceArn" = local.rule_arns },
            { for role in aws_iam_role.delivery : "aws:PrincipalArn" => role.arn },
          )
        }
      },
      {
        Sid       = "NothingUnencrypted"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.queue.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

# SQS moves messages here, which is not sending.
resource "aws_sqs_queue_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.url
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "NobodySends"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.dead_letters.arn
      },
      {
        Sid       = "NothingUnencrypted"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.dead_letters.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

locals {
  # An alarm needs a name. That of the queue is as good as a prefix where there is none.
  alarm_prefix  = var.prefix == "" ? aws_sqs_queue.queue.name : var.prefix
  alarm_actions = var.alarm_topic_arn == "" ? null : [var.alarm_topic_arn]
}

# Nobody reads the queue, or what is read cannot be stored.
resource "aws_cloudwatch_metric_alarm" "oldest_message" {
  alarm_name          = "${local.alarm_prefix}-oldest-message"
  alarm_description   = "Messages about instances are not handled in time"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.queue.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.oldest_message_seconds
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  alarm_name          = "${local.alarm_prefix}-dead-letters"
  alarm_description   = "Messages could not be parsed"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead_letters.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
}

# For people: of all instances of a group, so that it does not say which and no node is drained for it.
resource "aws_cloudwatch_metric_alarm" "status_check" {
  for_each            = toset(var.groups)
  alarm_name          = "${local.alarm_prefix}-status-check-${each.key}"
  alarm_description   = "A status check of an instance of the group fails"
  namespace           = "AWS/EC2"
  metric_name         = "StatusCheckFailed"
  dimensions          = { AutoScalingGroupName = each.key }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
}

locals {
  has_groups  = length(var.groups) > 0 || var.group_prefix != ""
  group_names = concat(var.groups, [for prefix in [var.group_prefix] : { prefix = prefix } if prefix != ""])

  # An alarm on a status check of one instance.
  status_check = {
    metrics = {
      metricStat = {
        metric = {
          namespace  = ["AWS/EC2"]
          name       = ["StatusCheckFailed", "StatusCheckFailed_System", "StatusCheckFailed_Instance", "StatusCheckFailed_AttachedEBS"]
          dimensions = { InstanceId = [{ exists = true }] }
        }
      }
    }
  }

  # The event patterns, by the ends of the rules' names.
  rules = {
    for name, rule in {
      instance-events = {
        enabled     = true
        description = "Spot interruptions, rebalance recommendations, capacity reservations"
        pattern = {
          source = ["aws.ec2"]
          detail-type = [
            "EC2 Spot Instance Interruption Warning",
            "EC2 Instance Rebalance Recommendation",
            "EC2 Capacity Reservation Instance Interruption Warning",
            "EC2 Interruptible Capacity Reservation Instance Interruption Warning",
          ]
        }
      }
      # running is for instances that were stopped and start again.
      instance-states = {
        enabled     = true
        description = "Instances that stop, terminate or start again"
        pattern = {
          source      = ["aws.ec2"]
          detail-type = ["EC2 Instance State-change Notification"]
          detail      = { state = ["running", "stopping", "stopped", "shutting-down", "terminated"] }
        }
      }
      termination-hooks = {
        enabled     = local.has_groups
        description = "Auto Scaling groups that terminate an instance and wait at a lifecycle hook"
        pattern = {
          source      = ["aws.autoscaling"]
          detail-type = ["EC2 Instance-terminate Lifecycle Action"]
          detail      = { AutoScalingGroupName = local.group_names }
        }
      }
      launch-hooks = {
        enabled     = local.has_groups && var.launch_hooks
        description = "Auto Scaling groups that launch an instance and wait at a lifecycle hook"
        pattern = {
          source      = ["aws.autoscaling"]
          detail-type = ["EC2 Instance-launch Lifecycle Action"]
          detail      = { AutoScalingGroupName = local.group_names }
        }
      }
      scheduled-maintenance = {
        enabled     = true
        description = "Reboots, stops and retirements that EC2 has scheduled"
        pattern = {
          source      = ["aws.health"]
          detail-type = ["AWS Health Event"]
          detail = merge(
            { service = ["EC2"], eventTypeCategory = ["scheduledChange"] },
            { for field in ["affectedAccount"] : field => [local.account, { exists = false }] if !var.delegated_health },
          )
        }
      }
      # Only for those who have alarms on single instances; without any these two send nothing.
      status-checks = {
        enabled     = true
        description = "CloudWatch alarms on the status checks of one instance"
        pattern = {
          source      = ["aws.cloudwatch"]
          detail-type = ["CloudWatch Alarm State Change"]
          detail      = { state = { value = ["ALARM", "OK"] }, configuration = local.status_check }
        }
      }
      deleted-alarms = {
        enabled     = true
        description = "CloudWatch alarms on the status checks of one instance that were deleted"
        pattern = {
          source      = ["aws.cloudwatch"]
          detail-type = ["CloudWatch Alarm Configuration Change"]
          detail      = { operation = ["delete"], configuration = local.status_check }
        }
      }
    } : name => rule if rule.enabled
  }

  rule_arns = [for rule in aws_cloudwatch_event_rule.queue : rule.arn]
}

resource "aws_cloudwatch_event_rule" "queue" {
  for_each      = local.rules
  name          = var.prefix == "" ? null : "${var.prefix}-${each.key}"
  description   = each.value.description
  event_pattern = jsonencode(each.value.pattern)
}

resource "aws_cloudwatch_event_target" "queue" {
  for_each  = local.rules
  rule      = aws_cloudwatch_event_rule.queue[each.key].name
  target_id = "queue"
  arn       = aws_sqs_queue.queue.arn
}

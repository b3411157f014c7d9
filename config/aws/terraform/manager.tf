data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  # Whose attribute name has another name in newer providers.
  region = data.aws_region.current.id

  completable = concat(var.groups, [for prefix in [var.group_prefix] : "${prefix}*" if prefix != ""])
}

resource "aws_iam_policy" "manager" {
  name        = var.prefix == "" ? null : "${var.prefix}-manager"
  description = "What the manager of node-termination-operator may do"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid    = "ReadTheQueue"
        Effect = "Allow"
        Action = [
          "sqs:ChangeMessageVisibility",
          "sqs:DeleteMessage",
          "sqs:GetQueueAttributes",
          "sqs:ReceiveMessage",
        ]
        Resource = aws_sqs_queue.queue.arn
      }],
      [for key in [var.kms_key_arn] : {
        Sid      = "DecryptMessages"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = key
      } if key != ""],
      [{
        Sid      = "FindLifecycleHooks"
        Effect   = "Allow"
        Action   = ["autoscaling:DescribeAutoScalingInstances", "autoscaling:DescribeLifecycleHooks"]
        Resource = "*"
      }],
      [for statement in [{
        Sid      = "CompleteLifecycleHooks"
        Effect   = "Allow"
        Action   = ["autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"]
        Resource = [for name in local.completable : "arn:${local.partition}:autoscaling:${local.region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${name}"]
      }] : statement if local.has_groups],
      [{
        Sid      = "ReadInstances"
        Effect   = "Allow"
        Action   = "ec2:DescribeInstances"
        Resource = "*"
      }],
      [for statement in [{
        Sid      = "AssumeRoles"
        Effect   = "Allow"
        Action   = "sts:AssumeRole"
        Resource = var.assume_roles
      }] : statement if length(var.assume_roles) > 0],
    )
  })
}

resource "aws_iam_role" "pod_identity" {
  count = var.identity == "PodIdentity" ? 1 : 0
  name  = var.prefix == "" ? null : "${var.prefix}-manager"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = {
          "aws:RequestTag/kubernetes-namespace"       = var.namespace
          "aws:RequestTag/kubernetes-service-account" = var.service_account
        }
      }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "pod_identity" {
  count      = var.identity == "PodIdentity" ? 1 : 0
  role       = aws_iam_role.pod_identity[0].name
  policy_arn = aws_iam_policy.manager.arn
}

resource "aws_eks_pod_identity_association" "manager" {
  count           = var.identity == "PodIdentity" && var.cluster != "" ? 1 : 0
  cluster_name    = var.cluster
  namespace       = var.namespace
  service_account = var.service_account
  role_arn        = aws_iam_role.pod_identity[0].arn
}

resource "aws_iam_role" "irsa" {
  count = var.identity == "IRSA" ? 1 : 0
  name  = var.prefix == "" ? null : "${var.prefix}-manager"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = "arn:${local.partition}:iam::${local.account}:oidc-provider/${var.oidc_provider}" }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = {
          "${var.oidc_provider}:aud" = "sts.amazonaws.com"
          "${var.oidc_provider}:sub" = "system:serviceaccount:${var.namespace}:${var.service_account}"
        }
      }
    }]
  })
  lifecycle {
    precondition {
      condition     = var.oidc_provider != ""
      error_message = "identity IRSA needs oidc_provider, the cluster's OIDC issuer without https://."
    }
  }
}

resource "aws_iam_role_policy_attachment" "irsa" {
  count      = var.identity == "IRSA" ? 1 : 0
  role       = aws_iam_role.irsa[0].name
  policy_arn = aws_iam_policy.manager.arn
}

// SPDX-License-Identifier: Apache-2.0

// Package node reads what this operator needs to know of Nodes: the instance that one
// runs on, whether it and a pod are Ready, and which policy governs it.
package node

import (
	"regexp"

	corev1 "k8s.io/api/core/v1"
)

// ComputeTypeLabel is auto on nodes that EKS Auto Mode runs and drains by itself,
// fargate and hybrid on those that are no EC2 instances.
// https://docs.aws.amazon.com/eks/latest/userguide/automode-learn-instances.html
const ComputeTypeLabel = "eks.amazonaws.com/compute-type"

// ec2ProviderID is the cloud provider's name for an EC2 node. Fargate's and
// hybrid nodes' names have another form.
// https://github.com/kubernetes/cloud-provider-aws
var ec2ProviderID = regexp.MustCompile(`^aws:///([a-z0-9-]+)/(i-[0-9a-f]{8,17})$`)

// InstanceID returns the ID of the EC2 instance that a node runs on, such as
// i-0abc1234def567890. It returns false for Fargate, hybrid and Auto Mode nodes, which are
// not this operator's.
func InstanceID(node *corev1.Node) (string, bool) {
	match := ec2ProviderID.FindStringSubmatch(node.Spec.ProviderID)
	if match == nil || node.Labels[ComputeTypeLabel] == "auto" {
		return "", false
	}
	return match[2], true
}

// Zone returns the availability zone that a node's providerID names, empty if it names none.
func Zone(node *corev1.Node) string {
	if match := ec2ProviderID.FindStringSubmatch(node.Spec.ProviderID); match != nil {
		return match[1]
	}
	return ""
}

// SPDX-License-Identifier: Apache-2.0

// Package node reads what this operator needs to know of Nodes: the instance that one
// runs on, whether it and a pod are Ready, and which policy governs it.
package node

import (
	"regexp"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// ComputeTypeLabel is auto on nodes that EKS Auto Mode runs and drains by itself,
// fargate and hybrid on those that are no EC2 instances.
// https://docs.aws.amazon.com/eks/latest/userguide/automode-learn-instances.html
const ComputeTypeLabel = "eks.amazonaws.com/compute-type"

// ec2ProviderID is the cloud provider's name for an EC2 node: its zone, which may be missing, and
// the ID of its instance, in each form that AWS's cloud provider reads, such as
// aws:///us-east-1a/i-0abc1234def567890, aws:////i-0abc1234def567890 and the ID alone. Fargate's
// and hybrid nodes' names have another form.
// https://github.com/kubernetes/cloud-provider-aws/blob/master/pkg/providers/v1/instances.go
var ec2ProviderID = regexp.MustCompile(`^(?:aws://(?:/?([a-z0-9-]+))?/+)?(i-[^/]+)$`)

// placeholder is a providerID that the built-in cloud controllers of k3s and RKE2 make of the node's
// name: it says nothing of an instance.
var placeholder = regexp.MustCompile(`^(k3s|rke2)://`)

// InstanceID returns the ID of the EC2 instance that a node runs on, such as
// i-0abc1234def567890. It returns false for Fargate, hybrid and Auto Mode nodes, which are
// not this operator's.
func InstanceID(node *corev1.Node) (string, bool) {
	_, instanceID := parseProviderID(node)
	if instanceID == "" || node.Labels[ComputeTypeLabel] == "auto" {
		return "", false
	}
	return instanceID, true
}

// LacksProviderID reports whether a node's providerID is missing, or says nothing, so that its
// instance can be found by its names and addresses only. It is false for Fargate, hybrid and Auto
// Mode nodes, and for those of other clouds.
func LacksProviderID(node *corev1.Node) bool {
	switch node.Labels[ComputeTypeLabel] {
	case "auto", "fargate", "hybrid":
		return false
	}
	return node.Spec.ProviderID == "" || placeholder.MatchString(node.Spec.ProviderID)
}

// Zone returns the availability zone that a node's providerID names, empty if it names none.
func Zone(node *corev1.Node) string {
	zone, _ := parseProviderID(node)
	return zone
}

// parseProviderID returns the zone and the instance of an EC2 node, empty for others.
func parseProviderID(node *corev1.Node) (zone, instanceID string) {
	match := ec2ProviderID.FindStringSubmatch(node.Spec.ProviderID)
	if len(match) == 0 || !v1alpha1.IsInstanceID(match[2]) {
		return "", ""
	}
	return match[1], match[2]
}

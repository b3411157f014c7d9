// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"cmp"
	"fmt"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

// ComputeTypeLabel is auto on nodes that EKS Auto Mode runs and drains by itself,
// fargate and hybrid on those that are no EC2 instances.
// https://docs.aws.amazon.com/eks/latest/userguide/automode-learn-instances.html
const ComputeTypeLabel = "eks.amazonaws.com/compute-type"

// ec2ProviderID is the cloud provider's name for an EC2 node. Fargate's and
// hybrid nodes' names have another form.
// https://github.com/kubernetes/cloud-provider-aws
var ec2ProviderID = regexp.MustCompile(`^aws:///([a-z0-9-]+)/(i-[0-9a-f]{8,17})$`)

// InstanceID is the EC2 instance a node runs on; false for Fargate, hybrid and
// Auto Mode nodes, which are not this operator's.
func InstanceID(node *corev1.Node) (string, bool) {
	match := ec2ProviderID.FindStringSubmatch(node.Spec.ProviderID)
	if match == nil || node.Labels[ComputeTypeLabel] == "auto" {
		return "", false
	}
	return match[2], true
}

// Zone is the availability zone that a node's providerID names, empty if none.
func Zone(node *corev1.Node) string {
	if match := ec2ProviderID.FindStringSubmatch(node.Spec.ProviderID); match != nil {
		return match[1]
	}
	return ""
}

// ReadySince is since when the node has been Ready without a break: the latest
// time it is known to have booted by. False while it is not Ready.
func ReadySince(node *corev1.Node) (time.Time, bool) {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.LastTransitionTime.Time, condition.Status == corev1.ConditionTrue
		}
	}
	return time.Time{}, false
}

// Selects is whether the policy's nodeSelector takes the node, whichever policy
// governs it in the end. The error says what is wrong with the selector.
func (p *NodeTerminationPolicy) Selects(node *corev1.Node) (bool, error) {
	selector, err := p.Spec.NodeSelector.Selector()
	if err != nil {
		return false, fmt.Errorf("spec.nodeSelector: %w", err)
	}
	return selector.Matches(labels.Set(node.Labels)), nil
}

// Governing is the policy that governs a node: of those that select it the one
// with the highest priority, then the oldest, then the first by name. Nil if
// none does. Policies that are being deleted or cannot be used are passed over.
func Governing(policies []NodeTerminationPolicy, node *corev1.Node) *NodeTerminationPolicy {
	var governing *NodeTerminationPolicy
	for i := range policies {
		policy := &policies[i]
		if policy.DeletionTimestamp != nil {
			continue
		}
		if selects, err := policy.Selects(node); err != nil || !selects {
			continue
		}
		if governing == nil || policy.before(governing) {
			governing = policy
		}
	}
	return governing
}

// before is whether p wins over other where both select a node.
func (p *NodeTerminationPolicy) before(other *NodeTerminationPolicy) bool {
	return cmp.Or(
		cmp.Compare(ptr.Deref(other.Spec.Priority, 0), ptr.Deref(p.Spec.Priority, 0)),
		p.CreationTimestamp.Compare(other.CreationTimestamp.Time),
		cmp.Compare(p.Name, other.Name),
	) < 0
}

// TrimNode is the cache's transform for Nodes: it keeps what is decided by and
// what a patch needs, so that an idle manager's memory does not follow the size of
// its nodes' statuses.
func TrimNode(object any) (any, error) {
	node, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	trimmed := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:              node.Name,
			UID:               node.UID,
			ResourceVersion:   node.ResourceVersion,
			CreationTimestamp: node.CreationTimestamp,
			DeletionTimestamp: node.DeletionTimestamp,
			Labels:            node.Labels,
		},
		Spec: corev1.NodeSpec{
			ProviderID:    node.Spec.ProviderID,
			Unschedulable: node.Spec.Unschedulable,
			Taints:        node.Spec.Taints,
		},
	}
	for _, key := range []string{AnnotationApplied, AnnotationDrain} {
		if value, found := node.Annotations[key]; found {
			metav1.SetMetaDataAnnotation(&trimmed.ObjectMeta, key, value)
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			trimmed.Status.Conditions = []corev1.NodeCondition{{
				Type: condition.Type, Status: condition.Status, LastTransitionTime: condition.LastTransitionTime,
			}}
		}
	}
	trimmed.Status.Addresses = node.Status.Addresses
	trimmed.Status.NodeInfo.BootID = node.Status.NodeInfo.BootID
	return trimmed, nil
}

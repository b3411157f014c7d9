// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// Selects reports whether the policy's nodeSelector matches the node, whichever policy
// governs it in the end. The error says what is wrong with the selector.
func Selects(policy *v1alpha1.NodeTerminationPolicy, node *corev1.Node) (bool, error) {
	selector, err := policy.Spec.NodeSelector.Selector()
	if err != nil {
		return false, fmt.Errorf("spec.nodeSelector: %w", err)
	}
	return selector.Matches(labels.Set(node.Labels)), nil
}

// Governing returns the policy that governs a node: of those that select it one in mode
// Enforce before one in mode DryRun, then the one with the highest priority, then the
// oldest, then the first by name. It returns nil if none does. Policies that are being
// deleted or cannot be used are skipped.
func Governing(policies []v1alpha1.NodeTerminationPolicy, node *corev1.Node) *v1alpha1.NodeTerminationPolicy {
	var governing *v1alpha1.NodeTerminationPolicy
	for i := range policies {
		policy := &policies[i]
		if policy.DeletionTimestamp != nil {
			continue
		}
		if selects, err := Selects(policy, node); err != nil || !selects {
			continue
		}
		if governing == nil || before(policy, governing) {
			governing = policy
		}
	}
	return governing
}

// before reports whether p governs rather than other where both select a node.
func before(p, other *v1alpha1.NodeTerminationPolicy) bool {
	if p.Spec.DryRun() != other.Spec.DryRun() {
		return other.Spec.DryRun()
	}
	return cmp.Or(
		cmp.Compare(ptr.Deref(other.Spec.Priority, 0), ptr.Deref(p.Spec.Priority, 0)),
		p.CreationTimestamp.Compare(other.CreationTimestamp.Time),
		cmp.Compare(p.Name, other.Name),
	) < 0
}

// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// maxIdentifiedMessage is how long the message about nodes without a known instance gets, in bytes.
const maxIdentifiedMessage = 1000

// unidentified are the nodes of a policy of which the instance is not known: how many, how many of them EC2 has not
// answered about yet, and the first of them by name with the reason.
type unidentified struct {
	nodes, pending int
	node, why      string
}

// addUnidentified counts a node that is governed, and of which the instance is not known.
func (snap *snapshot) addUnidentified(node *corev1.Node) {
	why, pending := snap.identities.Unidentified(node)
	if why == "" {
		return
	}
	policy := ec2node.Governing(snap.policies, node)
	if policy == nil {
		return
	}
	counted := snap.unidentified[policy.UID]
	counted.nodes++
	if pending {
		counted.pending++
	}
	if counted.node == "" || cmp.Less(node.Name, counted.node) {
		counted.node, counted.why = node.Name, why
	}
	snap.unidentified[policy.UID] = counted
}

// nodesIdentified returns the condition that says whether the instance is known of each node without a
// providerID that a policy governs; nil if the policy handles no such nodes.
func (snap *snapshot) nodesIdentified(policy *v1alpha1.NodeTerminationPolicy) *metav1.Condition {
	if !policy.Spec.IdentifiesByName() {
		return nil
	}
	counted := snap.unidentified[policy.UID]
	if counted.nodes == 0 {
		return &metav1.Condition{
			Type: v1alpha1.ConditionNodesIdentified, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonIdentified,
			Message: "the instance of each node is known",
		}
	}
	condition := &metav1.Condition{
		Type: v1alpha1.ConditionNodesIdentified, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNotIdentified,
		Message: v1alpha1.TruncateMessage(fmt.Sprintf("the instance of %d nodes without a providerID is not known, and nothing is done about them; node %s: %s",
			counted.nodes, counted.node, counted.why), maxIdentifiedMessage),
	}
	if counted.pending == counted.nodes {
		condition.Reason = v1alpha1.ReasonNotAnswered
	}
	return condition
}

// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// unhealthyHold returns why failed status checks are not acted on for now: more of the policy's nodes
// have one than its maxUnhealthy. Empty: they are. A node that is cordoned already stays so.
func (r *Reconciler) unhealthyHold(ctx context.Context, s *scope) (string, error) {
	const kind = v1alpha1.InstanceStatusCheckFailed
	if s.policy.Spec.ActionFor(kind) == v1alpha1.ActionIgnore || !slices.ContainsFunc(s.active(), isStatusCheck) ||
		meta.IsStatusConditionTrue(s.nt.Status.Conditions, v1alpha1.ConditionCordoned) {
		return "", nil
	}
	nodes, err := r.countTerminations(ctx, func(nt *v1alpha1.NodeTermination) bool {
		return nt.Name == s.nt.Name || nt.HasActive(kind) && r.governs(ctx, s, nt.Spec.NodeName)
	})
	limit := s.policy.Spec.UnhealthyLimit(int(ptr.Deref(s.policy.Status.Nodes, 0)))
	if err != nil || nodes <= limit {
		return "", err
	}
	s.lookAgain(s.now.Add(pendingLook))
	return fmt.Sprintf("policy %s does nothing more for %s: %d of its nodes fail status checks, and maxUnhealthy is %d", s.policy.Name, kind, nodes, limit), nil
}

func isStatusCheck(e v1alpha1.Event) bool { return e.Kind == v1alpha1.InstanceStatusCheckFailed }

// governs reports whether the policy of a termination governs a node that there is.
func (r *Reconciler) governs(ctx context.Context, s *scope, name string) bool {
	node := &corev1.Node{}
	if r.Client.Get(ctx, client.ObjectKey{Name: name}, node) != nil {
		return false
	}
	governing := ec2node.Governing(s.policies, node)
	return governing != nil && governing.UID == s.policy.UID
}

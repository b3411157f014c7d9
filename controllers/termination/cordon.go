// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// maxNodeConflicts bounds the retries of a change to a node: kubelets and other
// controllers write nodes too, but seldom twice in a row.
const maxNodeConflicts = 5

// cordon is the phase that makes the node unschedulable and sets what else the
// policy wants there, in one request.
func (r *Reconciler) cordon(ctx context.Context, s *scope) (bool, error) {
	if s.decision.action == v1alpha1.ActionIgnore || s.node == nil || s.finished() {
		return false, nil
	}
	begins := s.nt.Status.StartTime == nil
	if begins {
		s.nt.Status.StartTime = &metav1.Time{Time: s.now}
		s.nt.Status.PolicyRef = &v1alpha1.PolicyReference{Name: s.policy.Name, UID: s.policy.UID, Generation: s.policy.Generation}
	}
	_, excludes := s.policy.Spec.ExcludesFromLoadBalancers()
	stopped := r.instanceStopped(s)
	_, answers := ec2node.ReadySince(s.node)
	s.dead = stopped && !answers
	want := wanted{
		taint:        taintFor(s.policy, s.decision.cause),
		excluded:     excludes && s.begins,
		outOfService: s.dead && s.policy.Spec.DeclaresOutOfService() && r.stoppedInEC2(s),
	}
	err := r.changeNode(ctx, s.node, func(node *corev1.Node) bool {
		return mark(node, s.nt.Spec.InstanceID, want, s.now)
	})
	if apierrors.IsNotFound(err) {
		return true, nil // the node went in this moment; its deletion brings us back
	}
	if err != nil {
		return false, fmt.Errorf("cannot cordon node %s: %w", s.node.Name, err)
	}
	if m, _ := marksOn(s.node); m.Unschedulable {
		s.condition(v1alpha1.ConditionCordoned, true, v1alpha1.ReasonCordoned, "the node is unschedulable")
	} else {
		s.condition(v1alpha1.ConditionCordoned, true, v1alpha1.ReasonCordonedBefore, "somebody else had made the node unschedulable")
	}
	if begins && r.memory.begin(s.nt.Name) {
		// Of a crowd every node is cordoned before the pods of any are looked at.
		s.unsettled = true
		s.lookAgain(s.now)
		return true, nil
	}
	return false, nil
}

// returnToService is the phase that takes back that a node is out of service once it answers,
// whatever else stands: its pods would be killed and their volumes detached in use.
func (r *Reconciler) returnToService(ctx context.Context, s *scope) (bool, error) {
	if s.node == nil {
		return false, nil
	}
	if _, answers := ec2node.ReadySince(s.node); !answers {
		return false, nil
	}
	err := r.changeNode(ctx, s.node, func(node *corev1.Node) bool { return markInService(node, s.nt.Spec.InstanceID) })
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("cannot take the taint %s off node %s: %w", outOfService.Key, s.node.Name, err)
	}
	return false, nil
}

// taintFor is the taint the policy asks for; nil for none.
func taintFor(policy *v1alpha1.NodeTerminationPolicy, cause v1alpha1.EventKind) *corev1.Taint {
	if policy.Spec.Node == nil || policy.Spec.Node.Taint == nil {
		return nil
	}
	return &corev1.Taint{Key: v1alpha1.TaintKey(cause), Effect: corev1.TaintEffect(policy.Spec.Node.Taint.Effect)}
}

// changeNode writes what change does to the node, whose new state node holds
// afterwards. Taints are one atomic list, so the patch carries the version it was
// made from, and is made anew from a fresh read when somebody wrote in between.
func (r *Reconciler) changeNode(ctx context.Context, node *corev1.Node, change func(*corev1.Node) bool) error {
	uid := node.UID
	for attempt := 0; ; attempt++ {
		base := node.DeepCopy()
		if !change(node) {
			return nil
		}
		err := r.Client.Patch(ctx, node, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
		if !apierrors.IsConflict(err) || attempt == maxNodeConflicts {
			return err
		}
		if err := r.Live.Get(ctx, types.NamespacedName{Name: node.Name}, node); err != nil {
			return err
		}
		if node.UID != uid {
			return apierrors.NewNotFound(corev1.Resource("nodes"), node.Name)
		}
	}
}

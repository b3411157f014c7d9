// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// identify is the phase that finds the node and makes sure it is the right one:
// names are used again, and whoever wrote the object may have paired an instance
// with a node it does not run.
func (r *Reconciler) identify(ctx context.Context, s *scope) (bool, error) {
	node := &corev1.Node{}
	err := r.Client.Get(ctx, types.NamespacedName{Name: s.nt.Spec.NodeName}, node)
	if apierrors.IsNotFound(err) {
		s.gone()
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read node %s: %w", s.nt.Spec.NodeName, err)
	}
	instance, ec2 := ec2node.InstanceID(node)
	known := s.nt.Status.Node
	switch {
	case known == nil && (!ec2 || instance != s.nt.Spec.InstanceID):
		if deleted, err := r.deleteForged(ctx, s); deleted || err != nil {
			s.unsettled = true
			return true, err
		}
		s.settle(v1alpha1.StateRefused, fmt.Sprintf(
			"node %s does not run on instance %s (its providerID is %q): nothing is done; delete this NodeTermination",
			node.Name, s.nt.Spec.InstanceID, node.Spec.ProviderID))
		return true, nil
	case known == nil:
		s.nt.Status.Node = referenceTo(node)
	case s.finished() && instance == s.nt.Spec.InstanceID:
		// The same instance has registered anew since: what it hears now is about this node.
		known.UID, known.GoneTime = node.UID, nil
	case known.UID != node.UID || instance != s.nt.Spec.InstanceID:
		// Another node took the name: the one this is about is gone.
		s.replaced = true
		s.gone()
		return false, nil
	}
	s.node = node
	return false, nil
}

// deleteForged deletes a NodeTermination that pairs the instance of one node with the
// name of another and that only watchers have written. None of them has a reason to
// tell of another node's instance, and as long as it does, that node's own is not heard.
func (r *Reconciler) deleteForged(ctx context.Context, s *scope) (deleted bool, err error) {
	others := func(e v1alpha1.Event) bool { return e.Source != v1alpha1.SourceIMDS }
	if len(s.nt.Spec.Events) == 0 || slices.ContainsFunc(s.nt.Spec.Events, others) {
		return false, nil
	}
	var nodes corev1.NodeList
	if err := r.Client.List(ctx, &nodes, client.MatchingFields{ec2node.InstanceIDIndex: s.nt.Spec.InstanceID}); err != nil {
		return false, fmt.Errorf("cannot find the node of instance %s: %w", s.nt.Spec.InstanceID, err)
	}
	if len(nodes.Items) == 0 {
		return false, nil
	}
	err = r.Client.Delete(ctx, s.nt, client.Preconditions{UID: &s.nt.UID, ResourceVersion: &s.nt.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("cannot delete NodeTermination %s, which names node %s instead of %s: %w",
			s.nt.Name, s.nt.Spec.NodeName, nodes.Items[0].Name, err)
	}
	r.log.WithValues(s.subject()...).Info("NodeTermination deleted, as a watcher has paired another node's instance with its own node: look who has that watcher's token",
		"nodeOfInstance", nodes.Items[0].Name)
	return true, nil
}

func referenceTo(node *corev1.Node) *v1alpha1.NodeReference {
	return &v1alpha1.NodeReference{UID: node.UID, BootID: node.Status.NodeInfo.BootID, Zone: ec2node.Zone(node)}
}

// gone notes when the node was first seen to be gone.
func (s *scope) gone() {
	if known := s.nt.Status.Node; known != nil && known.GoneTime == nil {
		known.GoneTime = &metav1.Time{Time: s.now}
	}
}

// endWithNode is the phase that ends a termination whose node is gone.
func (r *Reconciler) endWithNode(ctx context.Context, s *scope) (bool, error) {
	if s.node != nil || s.finished() || len(s.active()) == 0 {
		return false, nil
	}
	if s.nt.Status.Node == nil {
		if there, err := r.exists(ctx, s.nt.Spec.NodeName); there || err != nil {
			s.lookAgain(s.now.Add(conflictRetry)) // the cache will know it soon
			return true, err
		}
	}
	s.condition(v1alpha1.ConditionCordoned, false, v1alpha1.ReasonNodeGone, "the node is gone")
	switch {
	case s.was(v1alpha1.StateDryRun):
		s.finish(v1alpha1.StateDryRun, "the node is gone; the policy was in mode DryRun, so nothing had been done")
		return true, nil
	case s.was(v1alpha1.StateIgnored):
		s.finish(v1alpha1.StateIgnored, "the node is gone; nothing was to be done about it")
		return true, nil
	}
	if s.policy == nil && s.nt.Status.PolicyRef == nil {
		s.end(v1alpha1.StateFailed, "the node was gone and no policy governed it")
		return true, nil
	}
	if s.policy != nil && s.decision.action != v1alpha1.ActionCordonAndDrain {
		s.condition(v1alpha1.ConditionDrained, false, v1alpha1.ReasonNotRequested, "no drain was asked for")
		s.finish(v1alpha1.StateCompleted, "the node is gone; no drain was asked for")
		return true, nil
	}
	if err := r.countLeft(ctx, s); err != nil {
		return true, err
	}
	switch pods := s.nt.Status.Pods; {
	case pods != nil && *pods.Remaining > 0:
		s.end(v1alpha1.StateFailed, fmt.Sprintf("the node is gone and %d of its %d pods were not gone", *pods.Remaining, *pods.Total))
	case s.nt.Status.DrainStartTime == nil, pods == nil:
		s.end(v1alpha1.StateFailed, "the node was gone before its pods were told to go")
	default:
		s.end(v1alpha1.StateCompleted, "every pod that had to go was gone before the node")
	}
	return true, nil
}

// exists asks the API server itself for a node.
func (r *Reconciler) exists(ctx context.Context, nodeName string) (bool, error) {
	err := r.Live.Get(ctx, types.NamespacedName{Name: nodeName}, &corev1.Node{})
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("cannot read node %s: %w", nodeName, err)
	}
	return err == nil, nil
}

// countLeft counts the pods that are still bound to a node that is gone. If
// another node has its name by now the last count has to do.
func (r *Reconciler) countLeft(ctx context.Context, s *scope) error {
	if s.replaced {
		return nil
	}
	pods, err := r.Watches.List(ctx, s.nt.Spec.NodeName)
	if err != nil {
		return err
	}
	plan, err := r.plan(s, pods)
	if err != nil {
		return err
	}
	s.count(plan.Counts)
	s.recordUnblocked(plan.Unblocked)
	r.recordCutShort(s)
	s.nt.Status.Blocked = nil
	leaving, err := drain.PodsToEvict(pods, s.rules())
	if err != nil {
		return err
	}
	for i := range leaving[:min(len(leaving), maxOutcomes)] {
		s.record(leaving[i].Namespace, leaving[i].Name, v1alpha1.PodRemaining, "was still there when its node was gone")
	}
	return nil
}

// end ends the termination of a node that is gone.
func (s *scope) end(state, message string) {
	s.condition(v1alpha1.ConditionDrained, state == v1alpha1.StateCompleted, v1alpha1.ReasonNodeGone, message)
	s.finish(state, message)
}

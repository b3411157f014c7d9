// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
)

// endWithNode ends a termination whose node is gone.
func (r *Reconciler) endWithNode(ctx context.Context, s *scope) (verdict, error) {
	if s.node != nil || s.finished() || len(s.active()) == 0 {
		return proceed, nil
	}
	if s.nt.Status.Node == nil {
		if exists, err := r.nodeExists(ctx, s.nt.Spec.NodeName); exists || err != nil {
			s.lookAgain(s.now.Add(conflictRetry)) // the cache will know it soon
			return ended, err
		}
	}
	s.condition(v1alpha1.ConditionCordoned, false, v1alpha1.ReasonNodeGone, "the node is gone")
	switch {
	case s.was(v1alpha1.StateDryRun):
		s.finish(v1alpha1.StateDryRun, "the node is gone; the policy was in mode DryRun, so nothing had been done")
	case s.was(v1alpha1.StateIgnored):
		s.finish(v1alpha1.StateIgnored, "the node is gone; nothing was to be done about it")
	case s.policy == nil && s.nt.Status.PolicyRef == nil:
		s.finishGone(v1alpha1.StateFailed, "the node was gone and no policy governed it")
	case s.policy != nil && s.decision.action != v1alpha1.ActionCordonAndDrain:
		s.condition(v1alpha1.ConditionDrained, false, v1alpha1.ReasonNotRequested, "no drain was asked for")
		s.finish(v1alpha1.StateCompleted, "the node is gone; no drain was asked for")
	default:
		return ended, r.endDrain(ctx, s)
	}
	return ended, nil
}

// nodeExists asks the API server itself for a node.
func (r *Reconciler) nodeExists(ctx context.Context, nodeName string) (bool, error) {
	err := r.Live.Get(ctx, types.NamespacedName{Name: nodeName}, &corev1.Node{})
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("cannot read node %s: %w", nodeName, err)
	}
	return err == nil, nil
}

// endDrain ends the drain of a node that is gone, by the pods that were not.
func (r *Reconciler) endDrain(ctx context.Context, s *scope) error {
	if err := r.countRemaining(ctx, s); err != nil {
		return err
	}
	switch pods := s.nt.Status.Pods; {
	case pods != nil && *pods.Remaining > 0:
		s.finishGone(v1alpha1.StateFailed, fmt.Sprintf("the node is gone and %d of its %d pods were not gone", *pods.Remaining, *pods.Total))
	case s.nt.Status.DrainStartTime == nil, pods == nil:
		s.finishGone(v1alpha1.StateFailed, "the node was gone before its pods were evicted")
	default:
		s.finishGone(v1alpha1.StateCompleted, "every pod that had to go was gone before the node")
	}
	return nil
}

// countRemaining counts the pods that are still bound to a node that is gone. If
// another node has its name by now the last count has to do.
func (r *Reconciler) countRemaining(ctx context.Context, s *scope) error {
	if s.successor != nil {
		return nil
	}
	pods, err := r.Watcher.List(ctx, s.nt.Spec.NodeName)
	if err != nil {
		return err
	}
	plan, err := r.plan(s, pods, false)
	if err != nil {
		return err
	}
	r.recordPlan(s, &plan)
	s.nt.Status.Blocked = nil
	evict, err := drain.PodsToEvict(pods, s.rules())
	if err != nil {
		return err
	}
	for i := range evict[:min(len(evict), maxOutcomes)] {
		s.recordOutcome(evict[i].Namespace, evict[i].Name, v1alpha1.PodRemaining, "was still there when its node was gone")
	}
	return nil
}

// finishGone ends the termination of a node that is gone.
func (s *scope) finishGone(state, message string) {
	s.condition(v1alpha1.ConditionDrained, state == v1alpha1.StateCompleted, v1alpha1.ReasonNodeGone, message)
	s.finish(state, message)
}

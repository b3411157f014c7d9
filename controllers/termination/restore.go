// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/controllers/webhook"
)

// restore reverts what was done to the node once no event that
// counts asks for anything any more.
func (r *Reconciler) restore(ctx context.Context, s *scope) (verdict, error) {
	over := len(s.active()) == 0
	if !over && s.decision.action != v1alpha1.ActionIgnore {
		return proceed, nil
	}
	r.stopDrain(s.nt.Name) // before the node, which may refuse to be changed
	if s.node != nil {
		if err := r.revert(ctx, s.node, s.nt.Spec.InstanceID); err != nil {
			return ended, err
		}
		s.uncordoned()
	}
	switch {
	case s.finished():
		return ended, nil
	case !over:
		return proceed, nil
	}
	s.nt.Status.Blocked = nil
	if s.nt.Status.Pods != nil {
		s.nt.Status.Pods.Blocked = ptr.To[int32](0) // nobody evicts them any more
	}
	s.finish(v1alpha1.StateCancelled, "no event counts any more: "+eventSummary(s.nt.Status.Events))
	return ended, nil
}

// uncordoned says that nothing of ours is on the node any more.
func (s *scope) uncordoned() {
	switch {
	case s.nt.Status.StartTime == nil: // and nothing ever was
	case s.node.Spec.Unschedulable:
		s.condition(v1alpha1.ConditionCordoned, true, v1alpha1.ReasonCordonedBefore, "what was done to the node is reverted; somebody else keeps it unschedulable")
	default:
		s.condition(v1alpha1.ConditionCordoned, false, v1alpha1.ReasonUncordoned, "what was done to the node is reverted")
	}
}

// eventSummary returns what became of the events, and why where that is known.
func eventSummary(events []v1alpha1.EventStatus) string {
	counts := map[v1alpha1.EventState]int{}
	for _, e := range events {
		counts[e.State]++
	}
	var counted []string
	for _, state := range []v1alpha1.EventState{v1alpha1.EventCancelled, v1alpha1.EventResolved, v1alpha1.EventStale} {
		if counts[state] > 0 {
			counted = append(counted, fmt.Sprintf("%d %s", counts[state], strings.ToLower(string(state))))
		}
	}
	summary := strings.Join(counted, ", ")
	if i := slices.IndexFunc(events, func(e v1alpha1.EventStatus) bool { return e.Message != "" }); i >= 0 {
		summary += "; " + events[i].Message
	}
	return summary
}

// undo restores the node of a NodeTermination that was deleted, and forgets the termination. What
// only the cache does not have yet comes back when it does.
func (r *Reconciler) undo(ctx context.Context, instanceID string) (ctrl.Result, error) {
	r.stopDrain(instanceID)
	r.Dispatcher.Forget(instanceID, func(webhook.Attempt) bool { return false })
	if next := r.budget.forget(instanceID); next != "" {
		r.Queue.Wake(next)
	}
	nodes, err := r.appliedFor(ctx, instanceID)
	if err != nil {
		return ctrl.Result{}, err
	}
	if len(nodes) > 0 {
		if exists, err := r.terminationExists(ctx, instanceID); exists || err != nil {
			return ctrl.Result{RequeueAfter: safetyLook}, err
		}
	}
	for i := range nodes {
		node := &nodes[i]
		if err := r.revert(ctx, node, instanceID); err != nil {
			return ctrl.Result{}, err
		}
		r.Events.recordReverted(instanceID, node)
	}
	r.Local.forget(instanceID)
	return ctrl.Result{}, nil
}

// appliedFor returns the nodes on which something is applied for an instance: those whose providerID names
// it, and those without one, which another instance may have taken over since.
func (r *Reconciler) appliedFor(ctx context.Context, instanceID string) ([]corev1.Node, error) {
	var nodes corev1.NodeList
	if err := r.Client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot find the node of instance %s: %w", instanceID, err)
	}
	var appliedTo []corev1.Node
	for i := range nodes.Items {
		node := &nodes.Items[i]
		if applied, _ := ec2node.AppliedOn(node); applied.InstanceID != instanceID {
			continue
		}
		if id, ok := ec2node.InstanceID(node); ok && id == instanceID || ec2node.LacksProviderID(node) {
			appliedTo = append(appliedTo, *node.DeepCopy())
		}
	}
	return appliedTo, nil
}

// terminationExists asks the API server itself for a NodeTermination: the cache of a new
// leader may not have it yet.
func (r *Reconciler) terminationExists(ctx context.Context, name string) (bool, error) {
	err := r.Live.Get(ctx, types.NamespacedName{Name: name}, &v1alpha1.NodeTermination{})
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("cannot read NodeTermination %s: %w", name, err)
	}
	return err == nil, nil
}

// revert takes off a node what was applied for an instance.
func (r *Reconciler) revert(ctx context.Context, node *corev1.Node, instanceID string) error {
	if applied, _ := ec2node.AppliedOn(node); applied.InstanceID != instanceID {
		return nil
	}
	err := r.changeNode(ctx, node, func(node *corev1.Node) bool { return ec2node.Revert(node, instanceID) })
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot revert what was done to node %s: %w", node.Name, err)
	}
	r.logAbout(instanceID, node.Name).Info("Reverted what was done to the node")
	return nil
}

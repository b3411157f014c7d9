// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"strings"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/lifecyclehook"
)

// dryRun says what would be done, for policies in mode DryRun.
func (r *Reconciler) dryRun(ctx context.Context, s *scope) (verdict, error) {
	if s.policy == nil || !s.policy.Spec.DryRun() || s.node == nil || len(s.active()) == 0 || s.finished() {
		return proceed, nil
	}
	message, err := r.preview(ctx, s)
	if err != nil {
		return ended, err
	}
	s.setState(v1alpha1.StateDryRun, fmt.Sprintf("policy %s is in mode DryRun; it would %s", s.policy.Name, message))
	return ended, nil
}

// preview returns what would be done.
func (r *Reconciler) preview(ctx context.Context, s *scope) (string, error) {
	if s.decision.action == v1alpha1.ActionIgnore {
		return "do nothing: " + s.decision.ignores, nil
	}
	steps := []string{"cordon the node"}
	if taint := s.taint(); taint != nil {
		steps = append(steps, "set the taint "+taint.ToString())
	}
	if s.nthLabels() != nil {
		steps = append(steps, "set the labels of the AWS Node Termination Handler")
	}
	if s.decision.action != v1alpha1.ActionCordonAndDrain {
		return steps[0] + " for " + string(s.decision.cause), nil
	}
	if _, excludes := s.policy.Spec.ExcludesFromLoadBalancers(); excludes {
		steps = append(steps, "take it out of load balancers")
	}
	pods, err := r.Watcher.List(ctx, s.node.Name)
	if err != nil {
		return "", err
	}
	plan := r.plan(s, pods, false)
	s.count(plan.Counts)
	evict := fmt.Sprintf("evict %d pods", plan.Counts.Remaining)
	if plan.Counts.Waiting > 0 {
		evict += fmt.Sprintf(", %d of them later than the others", plan.Counts.Waiting)
	}
	if s.now.Before(s.decision.drainAt) {
		evict += " from " + formatTime(s.decision.drainAt)
	}
	steps = append(steps, evict)
	for _, hook := range lifecyclehook.Waiting(s.nt.Status.LifecycleHooks) {
		steps = append(steps, fmt.Sprintf("complete hook %s of group %s", hook.Name, hook.AutoScalingGroupName))
	}
	return strings.Join(steps, ", ") + " for " + string(s.decision.cause), nil
}

// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"strings"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// dryRun is the phase of policies in mode DryRun: it says what would be done.
func (r *Reconciler) dryRun(ctx context.Context, s *scope) (bool, error) {
	if s.policy == nil || !s.policy.Spec.DryRun() || s.node == nil || len(s.active()) == 0 || s.finished() {
		return false, nil
	}
	if s.nt.Status.StartTime != nil {
		s.settle(v1alpha1.StatePolicyGone, fmt.Sprintf(
			"policy %s was turned to mode DryRun: node, pods and lifecycle hooks are left as they are; turn it to Enforce to go on, or delete this NodeTermination to undo what was done to the node", s.policy.Name))
		return true, nil
	}
	message, err := r.preview(ctx, s)
	if err != nil {
		return true, err
	}
	s.settle(v1alpha1.StateDryRun, fmt.Sprintf("policy %s is in mode DryRun; it would %s", s.policy.Name, message))
	return true, nil
}

// preview is in words what would be done.
func (r *Reconciler) preview(ctx context.Context, s *scope) (string, error) {
	if s.decision.action == v1alpha1.ActionIgnore {
		return "do nothing: " + s.decision.ignores, nil
	}
	steps := []string{"cordon the node"}
	if taint := taintFor(s.policy, s.decision.cause); taint != nil {
		steps = append(steps, "set the taint "+taint.ToString())
	}
	if s.decision.action != v1alpha1.ActionCordonAndDrain {
		return steps[0] + " for " + string(s.decision.cause), nil
	}
	if _, excludes := s.policy.Spec.ExcludesFromLoadBalancers(); excludes {
		steps = append(steps, "take it out of load balancers")
	}
	pods, err := r.Watches.List(ctx, s.node.Name)
	if err != nil {
		return "", err
	}
	plan, err := r.plan(s, pods)
	if err != nil {
		return "", err
	}
	s.count(plan.Counts)
	told := fmt.Sprintf("tell %d pods to go", plan.Counts.Remaining)
	if plan.Counts.Waiting > 0 {
		told += fmt.Sprintf(", %d of them later than the others", plan.Counts.Waiting)
	}
	if s.now.Before(s.decision.drainAt) {
		told += " from " + inClock(s.decision.drainAt)
	}
	steps = append(steps, told)
	for _, hook := range s.waitingHooks() {
		steps = append(steps, fmt.Sprintf("complete hook %s of group %s", hook.Name, hook.AutoScalingGroupName))
	}
	return strings.Join(steps, ", ") + " for " + string(s.decision.cause), nil
}

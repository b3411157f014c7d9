// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/lifecyclehook"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// govern finds the policy: chosen once, then kept, so that neither labels nor new policies
// move a termination under way. Another one takes over only if it is gone.
func (r *Reconciler) govern(ctx context.Context, s *scope) (verdict, error) {
	ref := s.nt.Status.PolicyRef
	if ref == nil {
		return s.choosePolicy(), nil
	}
	chosen := policyOf(ref, s.policies)
	if chosen == nil || chosen.Spec.DryRun() {
		s.ungoverned = goneBecause(ref, chosen)
		if !s.needsPolicy() { // what was cancelled is reverted all the same
			s.policy = chosen
			return proceed, nil
		}
		if chosen = s.findPolicy(); chosen == nil || chosen.Spec.DryRun() {
			return r.policyGone(ctx, s)
		}
		ref.TakenOverFrom, ref.Name, ref.UID = ref.Name, chosen.Name, chosen.UID
	}
	s.policy, ref.Generation = chosen, chosen.Generation
	return proceed, nil
}

// choosePolicy finds the policy of a termination of which nothing was done yet.
func (s *scope) choosePolicy() verdict {
	s.policy = s.findPolicy()
	if s.policy == nil && s.node != nil && len(s.active()) > 0 {
		s.setState(v1alpha1.StateNoPolicy, "no NodeTerminationPolicy selects node "+s.nt.Spec.NodeName+": nothing is done")
		return ended
	}
	return proceed
}

// findPolicy returns the policy that governs the node, nil if none does. Of a node that is
// missing nobody knows the labels: unless it is known that nothing was to be done about it, a
// policy is found for its lifecycle hooks.
func (s *scope) findPolicy() *v1alpha1.NodeTerminationPolicy {
	if s.ungoverned == "" {
		s.ungoverned = "no policy governs the node"
	}
	switch {
	case s.node != nil:
		return ec2node.Governing(s.policies, s.node)
	case s.was(v1alpha1.StateNoPolicy), s.was(v1alpha1.StateDryRun), s.was(v1alpha1.StateIgnored):
		return nil
	}
	policy, several := policyForHooks(s.active(), s.policies)
	if len(several) > 0 {
		s.ungoverned = v1alpha1.TruncateMessage(fmt.Sprintf(
			"it is not known which policy governed the node, and several would complete its lifecycle hooks: %s", strings.Join(several, ", ")), maxReason)
	}
	return policy
}

// policyForHooks returns the policy that completes the lifecycle hooks of an instance whose
// node is gone: the one that governed the node when the latest event was stored, else the only
// one that would complete a hook that an event is about. If several would it returns their names.
func policyForHooks(events []v1alpha1.Event, policies []v1alpha1.NodeTerminationPolicy) (policy *v1alpha1.NodeTerminationPolicy, several []string) {
	var noted metav1.Time
	var candidates []*v1alpha1.NodeTerminationPolicy
	for i := range policies {
		p := &policies[i]
		if p.DeletionTimestamp != nil || p.Spec.DryRun() {
			continue
		}
		completes := false
		for _, e := range events {
			if !isGroups(e) {
				continue
			}
			if e.PolicyName == p.Name && noted.Before(&e.Time) {
				policy, noted = p, e.Time
			}
			completes = completes || wouldComplete(p, e.LifecycleHook)
		}
		if completes {
			candidates = append(candidates, p)
		}
	}
	switch {
	case policy != nil || len(candidates) == 0:
		return policy, nil
	case len(candidates) == 1:
		return candidates[0], nil
	}
	for _, p := range candidates {
		several = append(several, p.Name)
	}
	return nil, several
}

// isGroups reports whether an event is about a group that terminates the instance.
func isGroups(e v1alpha1.Event) bool {
	return e.Kind == v1alpha1.AutoScalingTermination
}

// wouldComplete reports whether a policy has a hook completed; nil is one that is not known yet.
func wouldComplete(policy *v1alpha1.NodeTerminationPolicy, hook *v1alpha1.LifecycleHook) bool {
	return policy.Spec.ActionFor(v1alpha1.AutoScalingTermination) == v1alpha1.ActionCordonAndDrain &&
		(hook == nil || !policy.Spec.LifecycleHook.Ignores(hook.Name))
}

// policyOf returns the policy that was chosen, nil if it was deleted.
func policyOf(ref *v1alpha1.PolicyReference, policies []v1alpha1.NodeTerminationPolicy) *v1alpha1.NodeTerminationPolicy {
	for i := range policies {
		if policies[i].UID == ref.UID && policies[i].DeletionTimestamp == nil {
			return &policies[i]
		}
	}
	return nil
}

// goneBecause returns why the policy that was chosen does not govern any more; left is what
// there is of it.
func goneBecause(ref *v1alpha1.PolicyReference, left *v1alpha1.NodeTerminationPolicy) string {
	if left != nil {
		return "policy " + ref.Name + " was turned to mode DryRun, and no other one governs the node"
	}
	return "policy " + ref.Name + " was deleted, and no other one governs the node"
}

// needsPolicy reports whether something is yet to be done that a policy has to say: also a
// node that was drained stays cordoned as long as an event is active.
func (s *scope) needsPolicy() bool {
	return len(s.active()) > 0 && (!s.finished() || s.nt.Status.StartTime != nil || len(lifecyclehook.Waiting(s.nt.Status.LifecycleHooks)) > 0)
}

// policyGone leaves a termination as it is until a policy governs its node again, and says
// that nobody sees to its pods and lifecycle hooks.
func (r *Reconciler) policyGone(ctx context.Context, s *scope) (verdict, error) {
	if s.finished() || s.node == nil {
		return proceed, nil
	}
	s.nt.Status.Blocked = nil
	if s.nt.Status.Pods != nil {
		s.nt.Status.Pods.Blocked = ptr.To[int32](0)
	}
	drained := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionDrained)
	if drained == nil || drained.Status == metav1.ConditionFalse && drained.Reason != v1alpha1.ReasonNotRequested {
		s.condition(v1alpha1.ConditionDrained, false, v1alpha1.StatePolicyGone, "nobody evicts the pods: "+s.ungoverned)
	}
	s.setState(v1alpha1.StatePolicyGone, s.ungoverned+
		": node, pods and lifecycle hooks are left as they are, until a policy in mode Enforce selects the node; or delete this NodeTermination to revert what was done to the node")
	_, err := r.trackHooks(ctx, s)
	return ended, err
}

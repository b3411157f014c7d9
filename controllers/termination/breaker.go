// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
)

const (
	// burst is the time within which the nodes are counted that receive an InstanceStateChange.
	burst = 5 * time.Minute
	// answerTime is how long EC2 has to contradict: the instance may be shutting down.
	answerTime = 5 * time.Second
)

// confirm has EC2 confirm an InstanceStateChange where more of the policy's nodes received one
// than its maxTerminating: budgets are passed for it at once, and messages that are wrong, or
// forged, would pass those of the whole cluster.
func (r *Reconciler) confirm(ctx context.Context, s *scope) (verdict, error) {
	at, stops := s.stopsSince()
	if !stops || s.policy.Spec.ActionFor(v1alpha1.InstanceStateChange) != v1alpha1.ActionCordonAndDrain {
		return proceed, nil
	}
	known := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionInstanceStateConfirmed)
	if known != nil && known.LastTransitionTime.Before(&metav1.Time{Time: at}) {
		known = nil // it was about an earlier one
	}
	if s.finished() { // what comes to the node yet is evicted as the others were
		s.unconfirmed = known != nil && known.Status != metav1.ConditionTrue
		return proceed, nil
	}
	why := ""
	if known == nil {
		nodes, err := r.countTerminations(ctx, func(nt *v1alpha1.NodeTermination) bool {
			return stopsAround(nt, at) && (nt.Name == s.nt.Name || r.isOfPolicy(ctx, nt, s))
		})
		limit := s.policy.Spec.TerminatingLimit(int(ptr.Deref(s.policy.Status.Nodes, 0)))
		if err != nil || nodes <= limit {
			return proceed, err
		}
		why = fmt.Sprintf("%d nodes of policy %s received InstanceStateChange within five minutes, and maxTerminating is %d", nodes, s.policy.Name, limit)
		r.logAbout(s.nt.Name, s.nt.Spec.NodeName).Info("EC2 is asked before disruption budgets are passed", "why", why)
	}
	instance, answered, _ := r.describeInstance(s, stateAge)
	noAnswer := "EC2 has not answered"
	if answered && s.mayBeForeign(instance) {
		answered, noAnswer = false, "EC2 does not know the instance, which may be another account's"
	}
	condition := confirmation(known, instance, answered, s.now)
	if condition.Reason == v1alpha1.ReasonNotAnswered && condition.Message == "" {
		condition.Message = noAnswer + ": it is believed that the instance stops"
	}
	switch {
	case known == nil:
		condition.Message = why + ": " + condition.Message
	case known.Reason == condition.Reason:
		condition.Message = known.Message
	}
	condition.Type, condition.ObservedGeneration, condition.LastTransitionTime = v1alpha1.ConditionInstanceStateConfirmed, s.nt.Generation, metav1.Time{Time: s.now}
	meta.SetStatusCondition(&s.nt.Status.Conditions, condition)
	s.unconfirmed = condition.Status != metav1.ConditionTrue
	if condition.Reason == v1alpha1.ReasonAsking {
		s.lookAgain(s.now.Add(answerTime))
	} else if condition.Reason != v1alpha1.ReasonConfirmed {
		s.lookAgain(s.now.Add(stateAge))
	}
	return proceed, nil
}

// confirmation returns status, reason and message of the condition InstanceStateConfirmed, given
// the one before, nil for none, and EC2's answer. An answer that has grown old stands until
// there is another. Why there is none is for the caller to say.
func confirmation(known *metav1.Condition, instance awsapi.Instance, answered bool, now time.Time) metav1.Condition {
	switch {
	case answered && instance.Found && !stoppingStates[instance.State]:
		return metav1.Condition{
			Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonInstanceRunning,
			Message: fmt.Sprintf("EC2 says that the instance is %s: disruption budgets are respected, and the message sets no deadline", instance.State),
		}
	case answered:
		return metav1.Condition{Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonConfirmed, Message: "EC2 confirms that the instance does not run any more"}
	case known == nil:
		return metav1.Condition{Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonAsking, Message: "EC2 is asked whether the instance stops"}
	case known.Reason == v1alpha1.ReasonAsking && !now.Before(known.LastTransitionTime.Add(answerTime)):
		return metav1.Condition{Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonNotAnswered}
	}
	return metav1.Condition{Status: known.Status, Reason: known.Reason, Message: known.Message}
}

// stoppingStates are those of an instance that does not run, or not for long.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
var stoppingStates = map[string]bool{"stopping": true, "stopped": true, "shutting-down": true, "terminated": true}

// stopsSince returns when the instance stopped, or began to, by the events that count; false
// if it did not, or no policy says what that means.
func (s *scope) stopsSince() (time.Time, bool) {
	events := s.active()
	i := slices.IndexFunc(events, stops)
	if i < 0 || s.policy == nil {
		return time.Time{}, false
	}
	return events[i].Time.Time, true
}

// stops reports whether an event says that the instance stops or terminates.
func stops(e v1alpha1.Event) bool {
	return e.Kind == v1alpha1.InstanceStateChange && stoppingStates[e.InstanceAction] && !ptr.Deref(e.Cancelled, false)
}

// believed returns the events that count. A state change that EC2 does not confirm sets no
// deadline, as budgets are passed before it.
func (s *scope) believed() []v1alpha1.Event {
	events := s.active()
	for i := range events {
		if s.unconfirmed && stops(events[i]) {
			events[i].Deadline = nil
		}
	}
	return events
}

// countTerminations returns of how many NodeTerminations something holds, as far as they say themselves: a restart
// loses nothing.
func (r *Reconciler) countTerminations(ctx context.Context, holds func(*v1alpha1.NodeTermination) bool) (int, error) {
	var list v1alpha1.NodeTerminationList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("cannot list NodeTerminations: %w", err)
	}
	count := 0
	for i := range list.Items {
		if holds(&list.Items[i]) {
			count++
		}
	}
	return count, nil
}

// stopsAround reports whether an instance stops at most five minutes before or after a time.
func stopsAround(nt *v1alpha1.NodeTermination, at time.Time) bool {
	return slices.ContainsFunc(nt.Spec.Events, func(e v1alpha1.Event) bool {
		return stops(e) && e.Time.Sub(at).Abs() <= burst
	})
}

// isOfPolicy reports whether the policy of a termination governs another one, or is going to.
func (r *Reconciler) isOfPolicy(ctx context.Context, nt *v1alpha1.NodeTermination, s *scope) bool {
	if nt.Status.PolicyRef != nil {
		return nt.Status.PolicyRef.UID == s.policy.UID
	}
	return r.governs(ctx, s, nt.Spec.NodeName)
}

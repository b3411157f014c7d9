// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// Waiting returns the hooks that are yet to be completed.
func Waiting(hooks []v1alpha1.HookStatus) []*v1alpha1.HookStatus {
	var waiting []*v1alpha1.HookStatus
	for i := range hooks {
		if hooks[i].State == v1alpha1.HookWaiting {
			waiting = append(waiting, &hooks[i])
		}
	}
	return waiting
}

// Failing returns how many hooks of a status wait while their last call failed. One that
// could not be found is one of them, as long as it may be found.
func Failing(status *v1alpha1.NodeTerminationStatus, now time.Time) int {
	failing := 0
	for _, hook := range Waiting(status.LifecycleHooks) {
		if isFailing(hook) {
			failing++
		}
	}
	condition := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionLifecycleHookCompleted)
	if len(status.LifecycleHooks) == 0 && condition != nil && condition.Reason == v1alpha1.ReasonHookFailing &&
		now.Before(condition.LastTransitionTime.Add(findFor)) {
		failing++
	}
	return failing
}

// isFailing reports whether the last call about a hook failed.
func isFailing(hook *v1alpha1.HookStatus) bool {
	return ptr.Deref(hook.Failures, 0) > 0
}

// WriteTo writes the hooks and the condition LifecycleHookCompleted into the status. If
// there is nothing new to say about the condition it stays as it is.
func (p *Plan) WriteTo(nt *v1alpha1.NodeTermination) {
	nt.Status.LifecycleHooks = p.Hooks
	if p.found { // what it said before was about the search
		meta.RemoveStatusCondition(&nt.Status.Conditions, v1alpha1.ConditionLifecycleHookCompleted)
	}
	if condition := p.Condition(); condition != nil {
		condition.ObservedGeneration = nt.Generation
		meta.SetStatusCondition(&nt.Status.Conditions, *condition)
	}
}

// Condition returns LifecycleHookCompleted, which says how it stands with the hooks; nil
// if there is nothing new to say, as without hooks.
func (p *Plan) Condition() *metav1.Condition {
	var reason, message string
	switch {
	case !p.concluded:
		return nil
	case len(p.Hooks) > 0:
		reason, message = summarize(p.Hooks)
	case p.findErr != nil:
		reason, message = v1alpha1.ReasonHookFailing, fmt.Sprintf("cannot find the lifecycle hook that waits for the instance: %v", p.findErr)
	default:
		return nil
	}
	status := metav1.ConditionFalse
	if reason == v1alpha1.ReasonHookCompleted {
		status = metav1.ConditionTrue
	}
	return &metav1.Condition{
		Type: v1alpha1.ConditionLifecycleHookCompleted, Status: status, Reason: reason, Message: message,
		LastTransitionTime: metav1.Time{Time: p.in.Now},
	}
}

// summarize returns the reason and the message that say how it stands with the hooks: a
// failing one goes before one that waits, and that before one that is ignored.
func summarize(hooks []v1alpha1.HookStatus) (reason, message string) {
	reason, message = v1alpha1.ReasonHookCompleted, fmt.Sprintf("no group waits any more (%d of %d hooks)", len(hooks), len(hooks))
	for i := range hooks {
		hook := &hooks[i]
		name := fmt.Sprintf("hook %s of group %s", hook.Name, hook.AutoScalingGroupName)
		switch {
		case hook.State == v1alpha1.HookWaiting && isFailing(hook):
			reason, message = v1alpha1.ReasonHookFailing, name+": "+hook.Message
		case hook.State == v1alpha1.HookWaiting && reason != v1alpha1.ReasonHookFailing:
			reason, message = v1alpha1.ReasonHookWaiting, name+" waits until "+hook.Deadline.UTC().Format(time.RFC3339)
			if hook.Message != "" {
				message += ": " + hook.Message
			}
		case hook.State == v1alpha1.HookIgnored && reason == v1alpha1.ReasonHookCompleted:
			reason, message = v1alpha1.ReasonHookIgnored, name+" is left to its own timeout: "+hook.Message
		case len(hooks) == 1:
			message = fmt.Sprintf("%s: %s", name, hook.State)
		}
	}
	return reason, message
}

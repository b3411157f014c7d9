// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	// maxHooks is how many hooks a status holds; a group has 50 at most, and few have two.
	maxHooks = 16
	// maxMessage is how much of a message a status holds, in bytes.
	maxMessage = 500
)

// latestHooks returns the hooks at which a group waits: of several events about one hook
// the latest counts, as a group waits there once at a time.
func latestHooks(events []v1alpha1.Event) []v1alpha1.LifecycleHook {
	var latest []v1alpha1.Event
	for _, e := range events {
		if e.LifecycleHook == nil {
			continue
		}
		same := slices.IndexFunc(latest, func(other v1alpha1.Event) bool {
			return isHook(other.LifecycleHook, e.LifecycleHook.AutoScalingGroupName, e.LifecycleHook.Name)
		})
		switch {
		case same < 0:
			latest = append(latest, e)
		case latest[same].Time.Before(&e.Time):
			latest[same] = e
		}
	}
	hooks := make([]v1alpha1.LifecycleHook, len(latest))
	for i := range latest {
		hooks[i] = *latest[i].LifecycleHook
	}
	return hooks
}

// isHook reports whether a hook has these names.
func isHook(hook *v1alpha1.LifecycleHook, group, name string) bool {
	return hook.AutoScalingGroupName == group && hook.Name == name
}

// track takes note that the group waits at a hook. A token that is not the known one
// means that it waits once more.
func (p *Plan) track(hook v1alpha1.LifecycleHook) {
	known := slices.IndexFunc(p.Hooks, func(status v1alpha1.HookStatus) bool {
		return isHook(&hook, status.AutoScalingGroupName, status.Name)
	})
	switch {
	case known < 0 && len(p.Hooks) == maxHooks:
		return
	case known < 0:
		p.Hooks = append(p.Hooks, newHookStatus(hook, p.in.Now))
	case p.Hooks[known].Token == "":
		p.Hooks[known].Token = hook.Token // found by its instance before
	case hook.Token != "" && p.Hooks[known].Token != hook.Token:
		p.Hooks[known] = newHookStatus(hook, p.in.Now)
	}
}

// newHookStatus returns the status of a hook at which a group is first known to wait.
func newHookStatus(hook v1alpha1.LifecycleHook, now time.Time) v1alpha1.HookStatus {
	return v1alpha1.HookStatus{
		AutoScalingGroupName: hook.AutoScalingGroupName, Name: hook.Name, Token: hook.Token,
		State: v1alpha1.HookWaiting, StartTime: metav1.Time{Time: now}, Deadline: metav1.Time{Time: now.Add(assumedHeartbeatTimeout)},
	}
}

// release leaves the hooks to their own timeouts, as no policy governs the node.
func (p *Plan) release() {
	for _, hook := range Waiting(p.Hooks) {
		ignore(hook, v1alpha1.TruncateMessage(p.in.Ungoverned, maxMessage))
	}
}

// update decides, from the policy as it is now, whether a hook that was not completed
// yet is this operator's and until when it is kept waiting.
func (p *Plan) update(hook *v1alpha1.HookStatus) {
	if hook.State != v1alpha1.HookWaiting && hook.State != v1alpha1.HookIgnored {
		return
	}
	hook.Deadline = metav1.Time{Time: p.deadline(hook)}
	switch reason := p.ignoreReason(hook); {
	case hook.State == v1alpha1.HookWaiting && hook.Failures != nil && p.timedOut(hook):
		p.end(hook, v1alpha1.TruncateMessage("it could not be completed before its own timeout: "+hook.Message, maxMessage))
		p.endTime(hook)
	case reason != "":
		ignore(hook, reason)
	case hook.State == v1alpha1.HookIgnored:
		hook.State, hook.Message = v1alpha1.HookWaiting, ""
	}
}

// ignoreReason returns why a hook is not to be completed; empty if it is.
func (p *Plan) ignoreReason(hook *v1alpha1.HookStatus) string {
	policy := p.in.Policy
	rules := policy.Spec.LifecycleHook
	switch {
	case p.in.Forbidden != "":
		return p.in.Forbidden
	case rules.Ignores(hook.Name) && len(rules.Only()) > 0:
		return fmt.Sprintf("it is not in lifecycleHook.names of policy %s", policy.Name)
	case rules.Ignores(hook.Name):
		return fmt.Sprintf("policy %s ignores hooks of this name", policy.Name)
	case policy.Spec.ActionFor(v1alpha1.AutoScalingTermination) != v1alpha1.ActionCordonAndDrain:
		return fmt.Sprintf("policy %s does not drain for %s", policy.Name, v1alpha1.AutoScalingTermination)
	case !slices.ContainsFunc(p.in.Events, func(e v1alpha1.Event) bool { return asksFor(e, hook) }):
		return "no event that counts asks for it any more"
	case p.overdue(hook) && rules.AtTimeout() == v1alpha1.OnTimeoutNone:
		return "pods were still there at its deadline, and policy " + policy.Name + " leaves it to its own timeout then"
	}
	return ""
}

// asksFor reports whether an event says that the group waits at a hook. A watcher's does
// not name the hook: any may be meant.
func asksFor(e v1alpha1.Event, hook *v1alpha1.HookStatus) bool {
	return e.Kind == v1alpha1.AutoScalingTermination &&
		(e.LifecycleHook == nil || isHook(e.LifecycleHook, hook.AutoScalingGroupName, hook.Name))
}

// ignore leaves a hook to its own timeout.
func ignore(hook *v1alpha1.HookStatus, reason string) {
	hook.State, hook.Message, hook.Failures, hook.RetryTime, hook.NoActionTime = v1alpha1.HookIgnored, reason, nil, nil, nil
}

// end notes that the group does not wait at a hook any more, which nobody here completed.
func (p *Plan) end(hook *v1alpha1.HookStatus, message string) {
	hook.State, hook.Failures, hook.RetryTime, hook.NoActionTime, hook.Message = v1alpha1.HookEnded, nil, nil, nil, message
}

// endTime notes that pods that are still there have no more time, as a group is known not to wait
// at a hook any more.
func (p *Plan) endTime(hook *v1alpha1.HookStatus) {
	if !p.podsGone() && p.in.Now.Before(hook.Deadline.Time) {
		hook.Deadline = metav1.Time{Time: p.in.Now}
		p.lookAgain(p.in.Now) // the drain's deadline is another
	}
}

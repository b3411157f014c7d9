// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// assumedHeartbeatTimeout is a hook's until Auto Scaling has said: what a hook has
// that was created without one.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LifecycleHook.html
const assumedHeartbeatTimeout = time.Hour

// maxHooks is how many hooks a status holds; a group has 50 at most, and few have two.
const maxHooks = 16

// noticeHooks is the phase that takes note of the hooks that wait for the drain, so
// that their deadlines count. It calls nobody: see attend.
func (r *Reconciler) noticeHooks(_ context.Context, s *scope) (bool, error) {
	if s.policy == nil {
		s.leaveHooks()
		return false, nil
	}
	for _, e := range latestActions(s.active()) {
		s.noticeHook(*e.LifecycleHook)
	}
	for i := range s.nt.Status.LifecycleHooks {
		s.judgeHook(&s.nt.Status.LifecycleHooks[i])
	}
	return false, nil
}

// leaveHooks leaves the hooks to their own timeouts whose policy is gone.
func (s *scope) leaveHooks() {
	for _, hook := range s.waitingHooks() {
		hook.State, hook.Message, hook.Failures, hook.RetryTime = v1alpha1.HookIgnored, "no policy governs the node any more", nil, nil
	}
	s.sumUpHooks()
}

// latestActions are the events whose hook waits: of several about one hook the
// latest, as a group waits there once at a time.
func latestActions(events []v1alpha1.Event) []v1alpha1.Event {
	var latest []v1alpha1.Event
	for _, e := range events {
		if e.LifecycleHook == nil {
			continue
		}
		same := slices.IndexFunc(latest, func(other v1alpha1.Event) bool {
			return other.LifecycleHook.AutoScalingGroupName == e.LifecycleHook.AutoScalingGroupName && other.LifecycleHook.Name == e.LifecycleHook.Name
		})
		switch {
		case same < 0:
			latest = append(latest, e)
		case latest[same].Time.Before(&e.Time):
			latest[same] = e
		}
	}
	return latest
}

// noticeHook notes that the group waits at a hook. A token that is not the known
// one means that it waits once more.
func (s *scope) noticeHook(hook v1alpha1.LifecycleHook) {
	known := s.hook(hook.AutoScalingGroupName, hook.Name)
	switch {
	case known == nil && len(s.nt.Status.LifecycleHooks) == maxHooks:
		return
	case known == nil:
		s.nt.Status.LifecycleHooks = append(s.nt.Status.LifecycleHooks, newHookStatus(hook, s.now))
	case known.Token == "":
		known.Token = hook.Token // found by its instance before
	case hook.Token != "" && known.Token != hook.Token:
		*known = newHookStatus(hook, s.now)
	}
}

func newHookStatus(hook v1alpha1.LifecycleHook, now time.Time) v1alpha1.HookStatus {
	return v1alpha1.HookStatus{
		AutoScalingGroupName: hook.AutoScalingGroupName, Name: hook.Name, Token: hook.Token,
		State: v1alpha1.HookWaiting, StartTime: metav1.Time{Time: now}, Deadline: metav1.Time{Time: now.Add(assumedHeartbeatTimeout)},
	}
}

func (s *scope) hook(group, name string) *v1alpha1.HookStatus {
	for i := range s.nt.Status.LifecycleHooks {
		if hook := &s.nt.Status.LifecycleHooks[i]; hook.AutoScalingGroupName == group && hook.Name == name {
			return hook
		}
	}
	return nil
}

// judgeHook decides, from the policy as it is now, whether a hook that was not
// completed yet is ours and until when it is kept waiting.
func (s *scope) judgeHook(hook *v1alpha1.HookStatus) {
	if hook.State != v1alpha1.HookWaiting && hook.State != v1alpha1.HookIgnored {
		return
	}
	hook.Deadline = metav1.Time{Time: s.hookDeadline(hook)}
	switch why := s.leaves(hook); {
	case hook.State == v1alpha1.HookWaiting && hook.Failures != nil && s.timedOut(hook):
		s.ended(hook, truncate("it could not be completed before its own timeout: "+hook.Message, maxReason))
	case why != "":
		hook.State, hook.Message, hook.Failures, hook.RetryTime = v1alpha1.HookIgnored, why, nil, nil
	case hook.State == v1alpha1.HookIgnored:
		hook.State, hook.Message = v1alpha1.HookWaiting, ""
	}
}

// leaves is why a hook is not to be completed; empty if it is.
func (s *scope) leaves(hook *v1alpha1.HookStatus) string {
	asked := slices.ContainsFunc(s.active(), func(e v1alpha1.Event) bool {
		return e.Kind == v1alpha1.AutoScalingTermination &&
			(e.LifecycleHook == nil || e.LifecycleHook.AutoScalingGroupName == hook.AutoScalingGroupName && e.LifecycleHook.Name == hook.Name)
	})
	rules := s.policy.Spec.LifecycleHook
	switch {
	case s.forbids != "":
		return s.forbids
	case rules.Ignores(hook.Name):
		return fmt.Sprintf("policy %s ignores hooks of this name", s.policy.Name)
	case s.policy.Spec.ActionFor(v1alpha1.AutoScalingTermination) != v1alpha1.ActionCordonAndDrain:
		return fmt.Sprintf("policy %s does not drain for %s", s.policy.Name, v1alpha1.AutoScalingTermination)
	case !asked:
		return "no event that counts asks for it any more"
	case s.overdue(hook) && rules.AtTimeout() == v1alpha1.OnTimeoutNone:
		return "pods were still there at its deadline, and policy " + s.policy.Name + " leaves it to its own timeout then"
	}
	return ""
}

// overdue is whether a hook's deadline has passed before the pods were gone. A drain
// that was given up earlier is no reason to complete it.
func (s *scope) overdue(hook *v1alpha1.HookStatus) bool {
	return s.node != nil && !s.podsGone() && !s.now.Before(hook.Deadline.Time)
}

// timedOut is whether the group has stopped to wait at a hook, by its own timeout.
func (s *scope) timedOut(hook *v1alpha1.HookStatus) bool {
	const tolerance = time.Minute
	return s.now.After(ptr.Deref(hook.LastHeartbeatTime, hook.StartTime).Add(heartbeatTimeout(hook) + tolerance))
}

func (s *scope) podsGone() bool {
	return meta.IsStatusConditionTrue(s.nt.Status.Conditions, v1alpha1.ConditionDrained)
}

// ended notes that the group does not wait at a hook any more, which nobody here
// completed. Pods that are still there have no more time.
func (s *scope) ended(hook *v1alpha1.HookStatus, message string) {
	hook.State, hook.Failures, hook.RetryTime, hook.Message = v1alpha1.HookEnded, nil, nil, message
	if !s.podsGone() && s.now.Before(hook.Deadline.Time) {
		hook.Deadline = metav1.Time{Time: s.now}
		s.lookAgain(s.now) // the drain's deadline is another
	}
}

// hookDeadline is until when a hook is kept waiting. Heartbeats do not move it, and
// it is not after the group stops to wait whatever is said, nor after it stops to
// wait because no heartbeat is sent in time.
func (s *scope) hookDeadline(hook *v1alpha1.HookStatus) time.Time {
	rules, timeout := s.policy.Spec.LifecycleHook, heartbeatTimeout(hook)
	wait := cmp.Or(rules.MaxWait(), timeout)
	if hook.GlobalTimeoutSeconds != nil {
		wait = min(wait, time.Duration(*hook.GlobalTimeoutSeconds)*time.Second)
	}
	deadline := hook.StartTime.Add(wait)
	interval, known := rules.HeartbeatInterval(timeout), hook.HeartbeatTimeoutSeconds != nil
	if interval == 0 || known && interval >= timeout {
		if alone := s.waitsSince(hook).Add(timeout); alone.Before(deadline) {
			return alone
		}
	}
	return deadline
}

func heartbeatTimeout(hook *v1alpha1.HookStatus) time.Duration {
	if hook.HeartbeatTimeoutSeconds == nil {
		return assumedHeartbeatTimeout
	}
	return time.Duration(*hook.HeartbeatTimeoutSeconds) * time.Second
}

// deadlineOf is when AWS takes the instance because of an event; zero if nobody
// knows. For one that waits at a hook that is when it stops to wait.
func deadlineOf(e v1alpha1.Event, hooks []v1alpha1.HookStatus) time.Time {
	if e.Deadline != nil {
		return e.Deadline.Time
	}
	var nearest time.Time
	if e.Kind != v1alpha1.AutoScalingTermination {
		return nearest
	}
	for _, hook := range hooks {
		theirs := e.LifecycleHook == nil || e.LifecycleHook.AutoScalingGroupName == hook.AutoScalingGroupName && e.LifecycleHook.Name == hook.Name
		over := hook.State == v1alpha1.HookIgnored || hook.State == v1alpha1.HookEnded && groupWaits(hooks, hook.AutoScalingGroupName)
		if theirs && !over && nearer(hook.Deadline.Time, nearest) {
			nearest = hook.Deadline.Time
		}
	}
	return nearest
}

// groupWaits is whether a group still waits, at one of several hooks.
func groupWaits(hooks []v1alpha1.HookStatus, group string) bool {
	return slices.ContainsFunc(hooks, func(hook v1alpha1.HookStatus) bool {
		return hook.AutoScalingGroupName == group && hook.State == v1alpha1.HookWaiting
	})
}

// waitingHooks are those that are yet to be completed.
func (s *scope) waitingHooks() []*v1alpha1.HookStatus {
	var waiting []*v1alpha1.HookStatus
	for i := range s.nt.Status.LifecycleHooks {
		if hook := &s.nt.Status.LifecycleHooks[i]; hook.State == v1alpha1.HookWaiting {
			waiting = append(waiting, hook)
		}
	}
	return waiting
}

// sumUpHooks says in a condition how it stands with the hooks.
func (s *scope) sumUpHooks() {
	hooks := s.nt.Status.LifecycleHooks
	if len(hooks) == 0 {
		return
	}
	reason, message := v1alpha1.ReasonHookCompleted, fmt.Sprintf("no group waits any more (%d of %d hooks)", len(hooks), len(hooks))
	for i := range hooks {
		hook := &hooks[i]
		name := fmt.Sprintf("hook %s of group %s", hook.Name, hook.AutoScalingGroupName)
		switch {
		case hook.State == v1alpha1.HookWaiting && ptr.Deref(hook.Failures, 0) > 0:
			reason, message = v1alpha1.ReasonHookFailing, name+": "+hook.Message
		case hook.State == v1alpha1.HookWaiting && reason != v1alpha1.ReasonHookFailing:
			reason, message = v1alpha1.ReasonHookWaiting, name+" waits until "+inClock(hook.Deadline.Time)
			if hook.Message != "" {
				message += ": " + hook.Message
			}
		case hook.State == v1alpha1.HookIgnored && reason == v1alpha1.ReasonHookCompleted:
			reason, message = v1alpha1.ReasonHookIgnored, name+" is left to its own timeout: "+hook.Message
		case len(hooks) == 1:
			message = fmt.Sprintf("%s: %s", name, hook.State)
		}
	}
	s.condition(v1alpha1.ConditionLifecycleHookCompleted, reason == v1alpha1.ReasonHookCompleted, reason, message)
}

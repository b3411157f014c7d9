// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"cmp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// assumedHeartbeatTimeout is a hook's heartbeat timeout until Auto Scaling has said:
// what a hook has that was created without one.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LifecycleHook.html
const assumedHeartbeatTimeout = time.Hour

// EventDeadline returns when AWS takes the instance because of an event; zero if that is
// not known. For one that waits at a hook that is when it stops to wait.
func EventDeadline(e v1alpha1.Event, hooks []v1alpha1.HookStatus) time.Time {
	if e.Deadline != nil {
		return e.Deadline.Time
	}
	var nearest time.Time
	for i := range hooks {
		hook := &hooks[i]
		over := hook.State == v1alpha1.HookIgnored || hook.State == v1alpha1.HookEnded && groupWaits(hooks, hook.AutoScalingGroupName)
		if at := hook.Deadline.Time; asksFor(e, hook) && !over && !at.IsZero() && (nearest.IsZero() || at.Before(nearest)) {
			nearest = at
		}
	}
	return nearest
}

// groupWaits reports whether a group still waits, at one of several hooks.
func groupWaits(hooks []v1alpha1.HookStatus, group string) bool {
	return slices.ContainsFunc(hooks, func(hook v1alpha1.HookStatus) bool {
		return hook.AutoScalingGroupName == group && hook.State == v1alpha1.HookWaiting
	})
}

// deadline returns until when a hook is kept waiting. Heartbeats do not move it, and it
// is not after the group stops to wait whatever is sent, nor after it stops to wait
// because no heartbeat is sent in time.
func (p *Plan) deadline(hook *v1alpha1.HookStatus) time.Time {
	rules, timeout := p.in.Policy.Spec.LifecycleHook, heartbeatTimeout(hook)
	wait := cmp.Or(rules.MaxWait(), timeout)
	if hook.GlobalTimeoutSeconds != nil {
		wait = min(wait, time.Duration(*hook.GlobalTimeoutSeconds)*time.Second)
	}
	deadline := hook.StartTime.Add(wait)
	interval, known := rules.HeartbeatInterval(timeout), hook.HeartbeatTimeoutSeconds != nil
	if interval == 0 || known && interval >= timeout {
		if unextended := p.waitsSince(hook).Add(timeout); unextended.Before(deadline) {
			return unextended
		}
	}
	return deadline
}

// heartbeatTimeout returns how long the group waits at a hook after a heartbeat.
func heartbeatTimeout(hook *v1alpha1.HookStatus) time.Duration {
	if hook.HeartbeatTimeoutSeconds == nil {
		return assumedHeartbeatTimeout
	}
	return time.Duration(*hook.HeartbeatTimeoutSeconds) * time.Second
}

// waitsSince returns since when the group waits at a hook: the message about it may have
// been on its way for a while.
func (p *Plan) waitsSince(hook *v1alpha1.HookStatus) metav1.Time {
	for _, e := range p.in.Events {
		if at := e.LifecycleHook; at != nil && isHook(at, hook.AutoScalingGroupName, hook.Name) &&
			at.Token == hook.Token && e.Time.Before(&hook.StartTime) {
			return e.Time
		}
	}
	return hook.StartTime
}

// overdue reports whether a hook's deadline has passed before the pods were gone. A
// drain that was given up earlier is no reason to complete it.
func (p *Plan) overdue(hook *v1alpha1.HookStatus) bool {
	return !p.in.NodeMissing && !p.in.NodeGone && !p.podsGone() && !p.in.Now.Before(hook.Deadline.Time)
}

// timedOut reports whether the group has stopped to wait at a hook, by its own timeout.
func (p *Plan) timedOut(hook *v1alpha1.HookStatus) bool {
	const tolerance = time.Minute
	return p.in.Now.After(ptr.Deref(hook.LastHeartbeatTime, hook.StartTime).Add(heartbeatTimeout(hook) + tolerance))
}

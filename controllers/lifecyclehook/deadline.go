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

const (
	// minWait is how long a group is kept waiting at least where the policy does not say, if
	// it accepts heartbeats: a hook's own timeout may be less than any pod needs.
	minWait = 10 * time.Minute
	// refusedAfter is after how many failures in a row a heartbeat counts as refused. One
	// alone may be a hiccup, and to shorten a deadline for that cannot be taken back.
	refusedAfter = 3
	// answerTime is how long Auto Scaling has to answer about a hook, usually a matter of
	// milliseconds, before its deadline is the nearest that it may be. Pods that are evicted
	// meanwhile would not get back the time that a nearer one takes from them.
	answerTime = 5 * time.Second
)

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

// deadline returns until when a hook is kept waiting: not after the group stops to wait
// whatever is sent, and not after it stops to wait by itself as long as it does not
// accept heartbeats. Once it does, they do not move the deadline any more.
func (p *Plan) deadline(hook *v1alpha1.HookStatus) time.Time {
	deadline := hook.StartTime.Add(p.maxWait(hook))
	if p.undecided(hook) {
		p.lookAgain(hook.StartTime.Add(answerTime))
		return deadline
	}
	if unextended := p.extendedAt(hook).Add(heartbeatTimeout(hook)); !p.extends(hook) && unextended.Before(deadline) {
		return unextended
	}
	return deadline
}

// maxWait returns how long a hook is kept waiting if the group accepts heartbeats.
func (p *Plan) maxWait(hook *v1alpha1.HookStatus) time.Duration {
	longest := cmp.Or(p.in.Policy.Spec.LifecycleHook.MaxWait(), max(heartbeatTimeout(hook), minWait))
	if hook.GlobalTimeoutSeconds != nil {
		longest = min(longest, time.Duration(*hook.GlobalTimeoutSeconds)*time.Second)
	}
	return longest
}

// undecided reports whether Auto Scaling is being asked how long a group waits at a hook, or
// whether it accepts the first heartbeat.
func (p *Plan) undecided(hook *v1alpha1.HookStatus) bool {
	if hook.State != v1alpha1.HookWaiting || hook.Failures != nil || !p.in.Now.Before(hook.StartTime.Add(answerTime)) {
		return false
	}
	return hook.HeartbeatTimeoutSeconds == nil || hook.LastHeartbeatTime == nil && p.beatsInTime(hook) && p.maxWait(hook) > heartbeatTimeout(hook)
}

// extends reports whether heartbeats keep the group waiting: one has succeeded, none is
// refused since, and the next one will be in time.
func (p *Plan) extends(hook *v1alpha1.HookStatus) bool {
	return p.beatsInTime(hook) && hook.LastHeartbeatTime != nil && ptr.Deref(hook.Failures, 0) < refusedAfter
}

// beatsInTime reports whether heartbeats are sent often enough for the group to go on waiting.
func (p *Plan) beatsInTime(hook *v1alpha1.HookStatus) bool {
	timeout := heartbeatTimeout(hook)
	interval := p.in.Policy.Spec.LifecycleHook.HeartbeatInterval(timeout)
	return interval != 0 && (hook.HeartbeatTimeoutSeconds == nil || interval < timeout)
}

// extendedAt returns from when on the group waits for one heartbeat timeout: since the last
// heartbeat, or since its wait began. Where that timeout was over before the hook was first seen
// somebody else must have extended it, if it waits at all.
func (p *Plan) extendedAt(hook *v1alpha1.HookStatus) time.Time {
	if hook.LastHeartbeatTime != nil {
		return hook.LastHeartbeatTime.Time
	}
	since := p.waitsSince(hook)
	if since.Add(heartbeatTimeout(hook)).After(hook.StartTime.Time) {
		return since.Time
	}
	return hook.StartTime.Time
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

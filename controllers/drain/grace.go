// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"time"

	"k8s.io/utils/ptr"
)

const (
	// deadlineMargin is kept between the end of a clipped grace period and the
	// deadline, for the kubelet to hear of it and to kill what did not end.
	deadlineMargin = 2 * time.Second

	// clockTolerance is how far past the deadline a shutdown may seem to end before
	// it is shortened. Its end is by the API server's clock: were ours a little
	// behind, every look would shorten it anew.
	clockTolerance = 5 * time.Second
)

// graceAt is the grace period in seconds to send the action with at a time: what
// is left before the deadline where that is shorter, but at least a second, as
// none at all would kill without a SIGTERM. Nil: the pod's own.
func (a *Action) graceAt(now time.Time) *int64 {
	if a.Deadline.IsZero() {
		return a.Grace
	}
	wanted := a.Pod.GracePeriodSeconds
	if a.Grace != nil {
		wanted = *a.Grace
	}
	left := max(1, int64((a.Deadline.Sub(now)-deadlineMargin)/time.Second))
	if wanted <= left {
		return a.Grace
	}
	return &left
}

// Given is the grace period in seconds that the pod gets if the action is sent at a time.
func (a *Action) Given(now time.Time) int64 {
	return ptr.Deref(a.graceAt(now), a.Pod.GracePeriodSeconds)
}

// shorten is the action that makes a pod end before the deadline that was told
// to go earlier, with more time; false if it ends in time or cannot end sooner.
// The kubelet begins to count anew with the shorter grace period, so that is the
// time left from now.
func (in *Input) shorten(pod Pod) (Action, bool) {
	if !in.hard() || !pod.DeletionTimestamp.After(in.Deadline.Add(clockTolerance)) {
		return Action{}, false
	}
	given := pod.DeletionGracePeriodSeconds
	action := Action{Pod: pod, Method: Delete, Grace: &given, Deadline: in.Deadline, Entitled: in.entitled(&pod)}
	return action, *action.graceAt(in.Now) < given
}

// entitled is the grace period in seconds that a pod has without a deadline.
func (in *Input) entitled(pod *Pod) int64 {
	if seconds := in.Drain.GracePeriodSeconds(); seconds != nil {
		return int64(*seconds)
	}
	return pod.GracePeriodSeconds
}

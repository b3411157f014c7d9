// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"time"

	"k8s.io/utils/ptr"
)

// clockTolerance is how far past the deadline a shutdown may seem to end before
// it is shortened. Its end is by the API server's clock: were ours a little
// behind, every look would shorten it anew.
const clockTolerance = 5 * time.Second

// shorten returns the action that ends a pod before the deadline which was evicted
// earlier, with more time; false if it ends in time or cannot end sooner, or the
// deadline has passed or is no more than an estimate. On a dead node neither counts:
// nothing runs there that could use the time.
// The kubelet begins to count anew with the shorter grace period, so that is the
// time left from now.
func (in *Input) shorten(pod *Pod) (Action, bool) {
	if !in.hasDeadline() || !pod.DeletionTimestamp.After(in.Deadline.Add(clockTolerance)) {
		return Action{}, false
	}
	if !in.NodeDead && (in.ShuttingDown || in.pastDeadline()) {
		return Action{}, false
	}
	given := pod.DeletionGracePeriodSeconds
	action := Action{Pod: *pod, Method: Delete, Grace: &given, Deadline: in.Deadline, Entitled: in.entitled(pod)}
	if in.pastDeadline() {
		action.Grace = ptr.To(leastGrace)
	}
	return action, *action.graceAt(in.Now) < given
}

// lost reports whether a pod should have ended, on a dead node where nothing reports that it has.
func (in *Input) lost(pod *Pod) bool {
	return in.NodeDead && pod.Terminating() && !in.Now.Before(lostFrom(pod))
}

// lostFrom returns from when on a terminating pod on a dead node is not waited for.
func lostFrom(pod *Pod) time.Time {
	return pod.DeletionTimestamp.Add(clockTolerance)
}

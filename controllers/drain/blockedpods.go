// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// leastBlockedBefore is how long before a deadline a blocked pod is deleted at least, if
// there is time.
const leastBlockedBefore = 30 * time.Second

// deletesBlockedFrom returns from when on a pod is deleted if it cannot be evicted, the zero
// time if that is at once; false: never.
func (in *Input) deletesBlockedFrom(pod *Pod) (time.Time, bool) {
	from := in.BudgetsUntil
	switch {
	case !in.Drain.DeletesBlocked():
		return time.Time{}, false
	case in.ShuttingDown:
		return time.Time{}, true
	case in.hasDeadline():
		if at := in.Deadline.Add(-in.blockedBefore(pod)); nearer(at, from) {
			from = at
		}
	}
	return from, !from.IsZero()
}

// blockedBefore returns how long before the deadline a pod is deleted that cannot be
// evicted: as the policy says, or by its grace period, but not in the first half of the
// time that there is, which its budget has to allow it.
func (in *Input) blockedBefore(pod *Pod) time.Duration {
	if before, set := in.Drain.BlockedBefore(); set {
		return before
	}
	began := in.Earliest
	if began.IsZero() {
		began = in.Started
	}
	wanted := max(leastBlockedBefore, time.Duration(in.entitled(pod))*time.Second)
	return min(wanted, max(0, in.Deadline.Sub(began)/2))
}

// kept reports whether a pod that prefers to stay is not evicted yet. Where blocked
// pods are never deleted it never is; nothing is kept on a dead node.
func (in *Input) kept(pod *Pod) bool {
	if in.NodeDead || !pod.Preferences.anyOf(preferToStay) {
		return false
	}
	from, ends := in.deletesBlockedFrom(pod)
	return !ends || in.Now.Before(from)
}

// keptReason returns why a pod is kept, and for how long.
func (in *Input) keptReason(pod *Pod) string {
	if until, ends := in.deletesBlockedFrom(pod); ends {
		return pod.Preferences.keptBy() + " until " + until.UTC().Format(time.RFC3339)
	}
	return pod.Preferences.keptBy()
}

// Kept returns the annotations that keep a pod from being evicted now; empty: none does.
func (in *Input) Kept(pod *Pod) string {
	if !in.kept(pod) {
		return ""
	}
	return pod.Preferences.keptBy()
}

// blockedPod returns the status of a blocked pod: why it is still there and since when.
func (in *Input) blockedPod(pod *Pod, reason string) v1alpha1.BlockedPod {
	since := &metav1.Time{Time: in.Now.Truncate(time.Second)} // as the API keeps it
	if was := in.wasBlocked(pod); was != nil {
		since = was.StartTime
	}
	return v1alpha1.BlockedPod{Namespace: pod.Namespace, Name: pod.Name, Reason: reason, StartTime: since}
}

// wasBlocked returns the status of a pod in the plan before; nil if it was not blocked.
func (in *Input) wasBlocked(pod *Pod) *v1alpha1.BlockedPod {
	for i := range in.Blocked {
		if was := &in.Blocked[i]; was.Name == pod.Name && was.Namespace == pod.Namespace {
			return was
		}
	}
	return nil
}

// unblocked returns the pods that were blocked and need not be evicted any more,
// given all that have to leave the node.
func (in *Input) unblocked(pods []Pod) []v1alpha1.BlockedPod {
	var unblocked []v1alpha1.BlockedPod
	for _, was := range in.Blocked {
		if !slices.ContainsFunc(pods, func(pod Pod) bool {
			return pod.Name == was.Name && pod.Namespace == was.Namespace && !pod.Terminating()
		}) {
			unblocked = append(unblocked, was)
		}
	}
	return unblocked
}

// reason returns why a pod is still there.
func (in *Input) reason(pod *Pod, waitsForWave bool) string {
	blocker, blocked := in.Blockers[pod.UID]
	reason := "could not be evicted yet"
	switch was := in.wasBlocked(pod); {
	case in.lost(pod):
		return "was evicted, but its instance is not running any more"
	case pod.Terminating():
		return "is still shutting down"
	case waitsForWave:
		reason = "waits for the wave before it"
	case in.kept(pod):
		reason = in.keptReason(pod)
	case blocked:
		reason = blocker.Reason
	case was != nil:
		reason = strings.TrimSuffix(was.Reason, misspelt)
	}
	if pod.Preferences.anyOf(PreferUnknown) {
		return v1alpha1.TruncateMessage(reason, maxReason-len(misspelt)-len("…")) + misspelt
	}
	return reason
}

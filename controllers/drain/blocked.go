// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// block names a pod in the plan, with why it is still there and since when.
func (in *Input) block(plan *Plan, pod *Pod, reason string) {
	if len(plan.Blocked) == maxBlocked {
		return
	}
	since := &metav1.Time{Time: in.Now.Truncate(time.Second)} // as the API keeps it
	if was := in.wasBlocked(pod); was != nil {
		since = was.StartTime
	}
	plan.Blocked = append(plan.Blocked, v1alpha1.BlockedPod{Namespace: pod.Namespace, Name: pod.Name, Reason: reason, StartTime: since})
}

// wasBlocked is what the plan before said of a pod; nil if it was not blocked.
func (in *Input) wasBlocked(pod *Pod) *v1alpha1.BlockedPod {
	for i := range in.Blocked {
		if was := &in.Blocked[i]; was.Name == pod.Name && was.Namespace == pod.Namespace {
			return was
		}
	}
	return nil
}

// unblocked are the pods that were blocked and need not be told to go any more.
func (in *Input) unblocked(leaving []Pod) []v1alpha1.BlockedPod {
	var unblocked []v1alpha1.BlockedPod
	for _, was := range in.Blocked {
		if !slices.ContainsFunc(leaving, func(pod Pod) bool {
			return pod.Name == was.Name && pod.Namespace == was.Namespace && !pod.Terminating()
		}) {
			unblocked = append(unblocked, was)
		}
	}
	return unblocked
}

// reason says why a pod is still there.
func (in *Input) reason(pod *Pod, waiting bool) string {
	blocker, refused := in.Blockers[pod.UID]
	reason := "could not be told to go yet"
	switch was := in.wasBlocked(pod); {
	case in.lost(pod):
		return "was told to go, but its instance is not running any more"
	case pod.Terminating():
		return "is still shutting down"
	case waiting:
		reason = "waits for the wave before it"
	case in.kept(pod):
		reason = in.keptReason(pod)
	case refused:
		reason = blocker.Reason
	case was != nil:
		reason = strings.TrimSuffix(was.Reason, misspelt)
	}
	if pod.Asks.anyOf(AsksUnknown) {
		return cut(reason, maxReason-len(misspelt)) + misspelt
	}
	return reason
}

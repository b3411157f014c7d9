// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
)

// maxOutcomes is how many pods a status tells of that did not go the ordinary way.
const maxOutcomes = 20

// gravity orders outcomes: where there are too many the lesser ones are left out,
// and of one pod the gravest is told.
var gravity = map[v1alpha1.PodOutcomeType]int{v1alpha1.PodWasBlocked: 1, v1alpha1.PodCutShort: 2, v1alpha1.PodRemaining: 3}

// recordUnblocked tells of the pods that were blocked when last looked and are not
// any more, as they have been told to go or are gone.
func (s *scope) recordUnblocked(pods []v1alpha1.BlockedPod) {
	for _, was := range pods {
		kept := "for a while"
		if was.StartTime != nil {
			kept = "for " + s.now.Sub(was.StartTime.Time).Round(time.Second).String()
		}
		s.record(was.Namespace, was.Name, v1alpha1.PodWasBlocked, "was kept "+kept+": "+was.Reason)
	}
}

// recordLeft tells of the pods that are still there at the end.
func (s *scope) recordLeft(left []v1alpha1.BlockedPod) {
	for _, pod := range left {
		s.record(pod.Namespace, pod.Name, v1alpha1.PodRemaining, pod.Reason)
	}
}

// record notes how a pod went, unless something graver is known of it.
func (s *scope) record(namespace, name string, outcome v1alpha1.PodOutcomeType, message string) {
	s.nt.Status.PodOutcomes = withOutcome(s.nt.Status.PodOutcomes, v1alpha1.PodOutcome{
		Namespace: namespace, Name: name, Outcome: outcome, Message: truncate(message, maxReason), Time: metav1.Time{Time: s.now.Truncate(time.Second)},
	})
}

// withOutcome adds an outcome to a list, which it keeps in order and within bounds.
func withOutcome(outcomes []v1alpha1.PodOutcome, added v1alpha1.PodOutcome) []v1alpha1.PodOutcome {
	same := slices.IndexFunc(outcomes, func(o v1alpha1.PodOutcome) bool { return o.Namespace == added.Namespace && o.Name == added.Name })
	switch {
	case same < 0:
		outcomes = append(outcomes, added)
	case gravity[added.Outcome] > gravity[outcomes[same].Outcome]:
		outcomes[same] = added
	}
	slices.SortStableFunc(outcomes, func(a, b v1alpha1.PodOutcome) int {
		return cmp.Or(cmp.Compare(gravity[b.Outcome], gravity[a.Outcome]), a.Time.Compare(b.Time.Time))
	})
	return outcomes[:min(len(outcomes), maxOutcomes)]
}

// cutShort is what a pod is told of that was told to go with less than it is
// entitled to; false if it was not.
func cutShort(action *drain.Action, now time.Time) (message string, cut bool) {
	if action.CutShort(now) == "" {
		return "", false
	}
	message = "told to go"
	if action.Overrides.Kind != "" {
		message = "deleted, although it could not be evicted (" + action.Overrides.Reason + ")"
	}
	if given := action.Given(now); given < action.Entitled {
		message += fmt.Sprintf(", with %d of its %d seconds to shut down", given, action.Entitled)
	}
	return message, true
}

// cutPod is a pod that was cut short, and how.
type cutPod struct{ namespace, name, message string }

// noteCutShort keeps for the next status that a pod was cut short.
func (r *Reconciler) noteCutShort(termination string, action *drain.Action) {
	if message, cut := cutShort(action, r.Clock.Now()); cut {
		r.memory.cutShort(termination, cutPod{action.Pod.Namespace, action.Pod.Name, message})
	}
}

// recordCutShort tells of the pods that were cut short since the status was written.
func (r *Reconciler) recordCutShort(s *scope) {
	for _, pod := range r.memory.recall(s.nt.Name).cut {
		s.record(pod.namespace, pod.name, v1alpha1.PodCutShort, pod.message)
	}
}

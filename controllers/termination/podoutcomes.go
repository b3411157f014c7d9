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

// severity orders outcomes: where there are too many the lesser ones are left out,
// and of one pod the most severe is kept.
var severity = map[v1alpha1.PodOutcomeType]int{v1alpha1.PodWasBlocked: 1, v1alpha1.PodCutShort: 2, v1alpha1.PodRemaining: 3}

// recordPlan takes over into the status what a plan says of the pods that are there and of
// those that were blocked when last looked and are not any more, as they were evicted or
// are gone, and what is known of those whose grace was shortened since.
func (r *Reconciler) recordPlan(s *scope, plan *drain.Plan) {
	s.count(plan.Counts)
	s.nt.Status.Blocked = plan.Blocked
	for _, was := range plan.Unblocked {
		kept := "for a while"
		if was.StartTime != nil {
			kept = "for " + s.now.Sub(was.StartTime.Time).Round(time.Second).String()
		}
		s.recordOutcome(was.Namespace, was.Name, v1alpha1.PodWasBlocked, "was kept "+kept+": "+was.Reason)
	}
	for _, pod := range r.Local.get(s.nt.Name).shortened {
		s.recordOutcome(pod.namespace, pod.name, v1alpha1.PodCutShort, pod.message)
	}
}

// recordOutcome notes how the shutdown of a pod went, unless something more severe is known of it.
func (s *scope) recordOutcome(namespace, name string, outcome v1alpha1.PodOutcomeType, message string) {
	s.nt.Status.PodOutcomes = withOutcome(s.nt.Status.PodOutcomes, v1alpha1.PodOutcome{
		Namespace: namespace, Name: name, Outcome: outcome, Message: v1alpha1.TruncateMessage(message, maxReason), Time: metav1.Time{Time: s.now.Truncate(time.Second)},
	})
}

// withOutcome adds an outcome to a list, which it keeps in order and within bounds.
func withOutcome(outcomes []v1alpha1.PodOutcome, added v1alpha1.PodOutcome) []v1alpha1.PodOutcome {
	same := slices.IndexFunc(outcomes, func(o v1alpha1.PodOutcome) bool { return o.Namespace == added.Namespace && o.Name == added.Name })
	switch {
	case same < 0:
		outcomes = append(outcomes, added)
	case severity[added.Outcome] > severity[outcomes[same].Outcome]:
		outcomes[same] = added
	}
	slices.SortStableFunc(outcomes, func(a, b v1alpha1.PodOutcome) int {
		return cmp.Or(cmp.Compare(severity[b.Outcome], severity[a.Outcome]), a.Time.Compare(b.Time.Time))
	})
	return outcomes[:min(len(outcomes), maxOutcomes)]
}

// graceShortened returns what became of a pod that was evicted with less than it is
// entitled to; false if it was not.
func graceShortened(action *drain.Action, now time.Time) (pod shortenedPod, shortened bool) {
	if action.CutShort(now) == "" {
		return shortenedPod{}, false
	}
	message := "evicted"
	if action.Overrides.Kind != "" {
		message = "deleted, although it could not be evicted (" + action.Overrides.Reason + ")"
	}
	if given := action.Given(now); given < action.Entitled {
		message += fmt.Sprintf(", with %d of its %d seconds to shut down", given, action.Entitled)
	}
	return shortenedPod{action.Pod.Namespace, action.Pod.Name, message}, true
}

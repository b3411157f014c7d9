// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	// longCordon is how long a node may be cordoned by this operator, with nothing ahead,
	// before people should have a look: its capacity is paid for and not used.
	longCordon = 24 * time.Hour
	// doubtTime is for how long a state change counts that was doubted.
	doubtTime = 30 * time.Minute
)

// longCordonedBy reports whether a termination keeps its node cordoned for more than a day,
// although no event has a date or deadline ahead.
func longCordonedBy(nt *v1alpha1.NodeTermination, now time.Time) bool {
	cordoned := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionCordoned)
	if cordoned == nil || cordoned.Status != metav1.ConditionTrue || cordoned.Reason != v1alpha1.ReasonCordoned || now.Sub(cordoned.LastTransitionTime.Time) <= longCordon {
		return false
	}
	ahead := func(at *metav1.Time) bool { return at != nil && at.After(now) }
	for _, e := range nt.Spec.Events {
		if stateOf(e, nt.Status.Events) == v1alpha1.EventActive && (ahead(e.Deadline) || ahead(e.NotBefore)) {
			return false
		}
	}
	return !ahead(nt.Status.Deadline)
}

// recentlyDoubted reports whether EC2 had to confirm not long ago that the instance stops.
func recentlyDoubted(status *v1alpha1.NodeTerminationStatus, now time.Time) bool {
	doubt := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionInstanceStateConfirmed)
	return doubt != nil && now.Sub(doubt.LastTransitionTime.Time) <= doubtTime
}

// unhandledSince returns since when an event is stored that no reconcile has judged; zero if
// there is none.
func unhandledSince(nt *v1alpha1.NodeTermination) time.Time {
	var oldest time.Time
	if nt.Status.ObservedGeneration == nt.Generation {
		return oldest
	}
	for _, e := range nt.Spec.Events {
		since := e.Time.Time
		if since.Before(nt.CreationTimestamp.Time) {
			since = nt.CreationTimestamp.Time
		}
		if stateOf(e, nt.Status.Events) == "" && nearer(since, oldest) {
			oldest = since
		}
	}
	return oldest
}

// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"time"

	"k8s.io/utils/ptr"
)

// deadlineMargin is kept between the end of a clipped grace period and the deadline,
// for the kubelet to receive the deletion and to kill what did not end.
const deadlineMargin = 2 * time.Second

// leastGrace is the shortest grace period in seconds that a pod is cut to: none at all
// would kill it without a SIGTERM.
const leastGrace int64 = 1

// Method is how a pod is removed from the node.
type Method string

const (
	// Evict respects disruption budgets.
	Evict Method = "Evict"
	// Delete does not.
	Delete Method = "Delete"
)

// Action is to evict or delete one pod.
type Action struct {
	Pod    Pod
	Method Method
	// Grace is the grace period in seconds that it is sent with, unless less time
	// is left before a Deadline ahead. Nil: the pod's own.
	Grace *int64
	// Entitled is the grace period in seconds that the pod has without a deadline.
	Entitled int64
	// Overrides is the blocker that a Delete goes past. The zero value is none.
	Overrides Blocker
	// Deadline is when the pod has to be gone; once it has passed, as soon as its grace
	// period allows. Zero: there is no such time.
	Deadline time.Time
}

// graceAt returns the grace period in seconds to send the action with at a time: what
// is left before a deadline ahead where that is shorter. Nil: the pod's own.
func (a *Action) graceAt(now time.Time) *int64 {
	if !now.Before(a.Deadline) {
		return a.Grace
	}
	wanted := a.Pod.GracePeriodSeconds
	if a.Grace != nil {
		wanted = *a.Grace
	}
	left := max(leastGrace, int64((a.Deadline.Sub(now)-deadlineMargin)/time.Second))
	if wanted <= left {
		return a.Grace
	}
	return &left
}

// Given returns the grace period in seconds that the pod gets if the action is sent at a time.
func (a *Action) Given(now time.Time) int64 {
	return ptr.Deref(a.graceAt(now), a.Pod.GracePeriodSeconds)
}

// Why a deadline cuts a pod short.
const (
	cutByBudget  = "budget"
	cutByRefusal = "refused"
	cutByGrace   = "grace"
)

// CutShort returns why the action, sent at a time, gives its pod less than it is
// entitled to; empty: it does not, or the pod was cut short before.
func (a *Action) CutShort(now time.Time) string {
	grace := a.graceAt(now)
	switch {
	case a.Pod.Terminating() && a.Pod.DeletionGracePeriodSeconds < a.Entitled:
		return ""
	case a.Overrides.Kind == BlockedByBudget:
		return cutByBudget
	case a.Overrides.Kind != "":
		return cutByRefusal
	case grace != nil && *grace < a.Entitled:
		return cutByGrace
	}
	return ""
}

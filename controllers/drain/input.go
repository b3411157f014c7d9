// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// Input is everything a plan is made from.
type Input struct {
	// Pods are all pods of the node, whether they have to leave it or not.
	Pods []Pod
	// Gone are pods that were on the node and are not any more: see PodWatcher.Gone.
	Gone []Pod
	// Drain is how the policy drains; nil is every default.
	Drain *v1alpha1.DrainSpec
	// Deadline is when the instance is taken away. Ahead, it clips grace periods. Once it
	// has passed and the instance is still there nobody knows how long it has, so that
	// budgets are passed on, but pods get all of their grace period. Zero: the drain is
	// soft, and budgets are kept until BudgetsUntil.
	Deadline time.Time
	// Earliest is when the drain could have begun: blocked pods have to be left at least
	// half of the time from then to the Deadline. Zero: when it did begin.
	Earliest time.Time
	// BudgetsUntil is until when budgets are kept though there is no Deadline, as that of a
	// maintenance which has begun. From then on it is as if a deadline had passed. Zero:
	// there is no such time.
	BudgetsUntil time.Time
	// Started is when the drain began. Zero: now.
	Started time.Time
	// Now is the time the plan is made for.
	Now time.Time
	// Blockers say why the Executor could not evict pods so far, by UID.
	Blockers map[types.UID]Blocker
	// Blocked are those of the plan before. A pod stays one of them until it is
	// evicted: a moment without a blocker may be no more than another attempt.
	Blocked []v1alpha1.BlockedPod
	// Own reports whether a pod is one of the operator's own, which are evicted last of
	// all: once evicted they cannot evict the others. Nil: none is.
	Own func(Pod) bool
	// ShuttingDown: the instance's operating system is shutting down, and ends the pods by
	// itself. All waves begin and blocked pods are deleted at once; Deadline is an estimate,
	// which shortens the grace period of no pod that is terminating already.
	ShuttingDown bool
	// NodeDead: the instance is stopped or terminated, so that no kubelet reports that
	// a pod has ended. All pods are evicted at once, whatever their annotations
	// ask for, and none is waited for past its grace period.
	NodeDead bool
}

// gone returns how many pods that had to leave the node did, given those that remain: one
// may have left after these were read.
func (in *Input) gone(remaining []Pod) int {
	return len(slices.DeleteFunc(PodsToEvict(in.Gone, in.Drain), func(pod Pod) bool {
		return slices.ContainsFunc(remaining, func(other Pod) bool { return other.UID == pod.UID })
	}))
}

// hasDeadline reports whether the instance is taken away at a known time.
func (in *Input) hasDeadline() bool {
	return !in.Deadline.IsZero()
}

// pastDeadline reports whether the instance was to be taken away by now.
func (in *Input) pastDeadline() bool {
	return in.hasDeadline() && !in.Now.Before(in.Deadline)
}

// pastBudgets reports whether it is BudgetsUntil.
func (in *Input) pastBudgets() bool {
	return !in.BudgetsUntil.IsZero() && !in.Now.Before(in.BudgetsUntil)
}

// timesOutAt returns when the drain is given up: not before the deadline, nor before budgets
// are passed.
func (in *Input) timesOutAt() time.Time {
	from := in.Started
	for _, t := range []time.Time{in.Deadline, in.BudgetsUntil} {
		if t.After(from) {
			from = t
		}
	}
	return from.Add(in.Drain.Timeout())
}

// entitled returns the grace period in seconds that a pod has without a deadline.
func (in *Input) entitled(pod *Pod) int64 {
	if seconds := in.Drain.GracePeriodSeconds(); seconds != nil {
		return int64(*seconds)
	}
	return pod.GracePeriodSeconds
}

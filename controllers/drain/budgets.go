// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"k8s.io/apimachinery/pkg/api/meta"

	policyv1 "k8s.io/api/policy/v1"
)

// Budgets are disruption budgets that nobody else changes, for a forecast: they answer as the API
// server would. In a drain the API server does.
type Budgets struct {
	known budgets
	// before are the statuses, as they were at first, of those that were changed since.
	before map[*budget]policyv1.PodDisruptionBudgetStatus
}

// NewBudgets returns the budgets as they are in a cluster.
func NewBudgets(pdbs []policyv1.PodDisruptionBudget) *Budgets {
	b := &Budgets{known: budgets{}, before: map[*budget]policyv1.PodDisruptionBudgetStatus{}}
	for i := range pdbs {
		b.known.set(&pdbs[i])
	}
	return b
}

// Evict evicts a pod, which counts as gone from then on. It returns why the API server would
// refuse that instead; nil: it would not.
func (b *Budgets) Evict(pod *Pod) *Blocker {
	if pod.Pending {
		return nil
	}
	selecting := group{key: groupKey{ready: pod.Ready}, budgets: b.known.selecting(pod)}
	if reason := selecting.blockReason(); reason != "" {
		return newBlocker(BlockedByBudget, reason)
	}
	b.Remove(pod)
	return nil
}

// Remove counts a pod as gone, whether its budgets allow that or not.
func (b *Budgets) Remove(pod *Pod) {
	b.count(pod, -1)
}

// Add counts a pod that was gone, or the one in its place, as ready.
func (b *Budgets) Add(pod *Pod) {
	b.count(pod, 1)
}

// Reset takes back all that was counted.
func (b *Budgets) Reset() {
	for budget, status := range b.before {
		budget.status = status
	}
	clear(b.before)
}

// count counts so many more healthy pods in the budgets of a pod, if it is one.
func (b *Budgets) count(pod *Pod, healthy int32) {
	if !pod.Ready {
		return
	}
	for _, budget := range b.known.selecting(pod) {
		if _, changed := b.before[budget]; !changed {
			b.before[budget] = budget.status
		}
		status := &budget.status
		status.CurrentHealthy += healthy
		if !isComputed(status) {
			continue
		}
		status.DisruptionsAllowed = max(0, status.CurrentHealthy-status.DesiredHealthy)
	}
}

// isComputed reports whether the controller can compute how many disruptions a budget allows.
func isComputed(status *policyv1.PodDisruptionBudgetStatus) bool {
	condition := meta.FindStatusCondition(status.Conditions, policyv1.DisruptionAllowedCondition)
	return condition == nil || condition.Reason != policyv1.SyncFailedReason
}

// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// computeBudgets gives the budgets a status that have none, as in a manifest that somebody wrote: from the
// pods that there are, which stand for those that there should be.
func (s *snapshot) computeBudgets() {
	var without []*policyv1.PodDisruptionBudget
	for i := range s.budgets {
		if status := &s.budgets[i].Status; status.ObservedGeneration == 0 && len(status.Conditions) == 0 && status.ExpectedPods == 0 {
			without = append(without, &s.budgets[i])
		}
	}
	selectors := make([]labels.Selector, len(without))
	for i, budget := range without {
		var err error
		if selectors[i], err = metav1.LabelSelectorAsSelector(budget.Spec.Selector); err != nil {
			selectors[i] = labels.Nothing() // as the API server does
		}
		budget.Status.ObservedGeneration = budget.Generation
	}
	if len(without) == 0 {
		return
	}
	for _, p := range s.pods {
		for i, budget := range without {
			if budget.Namespace != p.Namespace || !selectors[i].Matches(labels.Set(p.Labels)) {
				continue
			}
			budget.Status.ExpectedPods++
			if p.Ready && !p.Terminating() {
				budget.Status.CurrentHealthy++
			}
		}
	}
	for _, budget := range without {
		budget.Status.DesiredHealthy = desiredHealthy(&budget.Spec, budget.Status.ExpectedPods)
		budget.Status.DisruptionsAllowed = max(0, budget.Status.CurrentHealthy-budget.Status.DesiredHealthy)
	}
}

// desiredHealthy returns how many of so many pods a budget wants to be healthy.
// https://kubernetes.io/docs/tasks/run-application/configure-pdb/
func desiredHealthy(spec *policyv1.PodDisruptionBudgetSpec, expected int32) int32 {
	scaled := func(value *intstr.IntOrString) int32 {
		n, err := intstr.GetScaledValueFromIntOrPercent(value, int(expected), true)
		if err != nil {
			return expected // the API server lets no such value through
		}
		return int32(n)
	}
	switch {
	case spec.MaxUnavailable != nil:
		return max(0, expected-scaled(spec.MaxUnavailable))
	case spec.MinAvailable != nil:
		return scaled(spec.MinAvailable)
	}
	return expected // neither is set: it allows nothing
}

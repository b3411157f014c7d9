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
	without := map[string][]*budget{} // by namespace
	for i := range s.budgets {
		pdb := &s.budgets[i]
		if pdb.Status.ObservedGeneration != 0 || len(pdb.Status.Conditions) > 0 || pdb.Status.ExpectedPods != 0 {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector)
		if err != nil {
			selector = labels.Nothing() // as the API server does
		}
		pdb.Status.ObservedGeneration = pdb.Generation
		without[pdb.Namespace] = append(without[pdb.Namespace], &budget{pdb, selector})
	}
	for _, p := range s.pods {
		for _, b := range without[p.Namespace] {
			if !b.selector.Matches(labels.Set(p.Labels)) {
				continue
			}
			b.Status.ExpectedPods++
			if p.Ready && !p.Terminating() {
				b.Status.CurrentHealthy++
			}
		}
	}
	for _, budgets := range without {
		for _, b := range budgets {
			b.Status.DesiredHealthy = desiredHealthy(&b.Spec, b.Status.ExpectedPods)
			b.Status.DisruptionsAllowed = max(0, b.Status.CurrentHealthy-b.Status.DesiredHealthy)
		}
	}
}

// budget is a disruption budget without a status.
type budget struct {
	*policyv1.PodDisruptionBudget
	selector labels.Selector
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

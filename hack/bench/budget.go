// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strconv"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// createBudgets creates the budgets that every so many pods of the fleet share, and waits until they
// are in force. So many of a budget's pods must stay.
func (f *fleet) createBudgets(ctx context.Context, perBudget, stay int) error {
	if perBudget == 0 {
		return nil
	}
	n := (len(f.pods) + perBudget - 1) / perBudget
	return each(ctx, n, creators, func(ctx context.Context, i int) error {
		name := "budget-" + strconv.Itoa(i)
		budget := &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Namespace: f.name, Name: name},
			Spec: policyv1.PodDisruptionBudgetSpec{
				MinAvailable: ptr.To(intstr.FromInt(stay)),
				Selector:     &metav1.LabelSelector{MatchLabels: map[string]string{budgetLabel: name}},
			},
		}
		if err := f.lab.admin.Create(ctx, budget); err != nil {
			return err
		}
		pods := min(perBudget, len(f.pods)-i*perBudget)
		return await(ctx, pollInterval, func() error {
			if err := f.lab.admin.Get(ctx, client.ObjectKeyFromObject(budget), budget); err != nil {
				return err
			}
			if int(budget.Status.CurrentHealthy) != pods || int(budget.Status.DisruptionsAllowed) != max(0, pods-stay) {
				return fmt.Errorf("budget %s does not know its %d pods yet: %+v", name, pods, budget.Status)
			}
			return nil
		})
	})
}

// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"strings"
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// budgetOf returns a budget for the pods of an app, with so many healthy ones of those that it wants.
func budgetOf(app string, healthy, desired int32) policyv1.PodDisruptionBudget {
	return policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: app},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: matching("app", app)},
		Status:     policyv1.PodDisruptionBudgetStatus{CurrentHealthy: healthy, DesiredHealthy: desired, DisruptionsAllowed: max(0, healthy-desired)},
	}
}

func TestBudgets(t *testing.T) {
	web := Pod{Namespace: "default", Name: "web", Labels: map[string]string{"app": "web"}, Ready: true}
	unready, pending, elsewhere := web, web, web
	unready.Ready, pending.Pending, elsewhere.Namespace = false, true, "other"
	always := budgetOf("web", 1, 2)
	always.Spec.UnhealthyPodEvictionPolicy = ptr.To(policyv1.AlwaysAllow)
	second := budgetOf("web", 3, 2)
	second.Name = "web-too"
	for name, test := range map[string]struct {
		budgets []policyv1.PodDisruptionBudget
		pods    []Pod
		want    string // of each pod: "." evicted, "x" refused
	}{
		"none":                        {pods: []Pod{web, web}, want: ".."},
		"one may go":                  {budgets: []policyv1.PodDisruptionBudget{budgetOf("web", 3, 2)}, pods: []Pod{web, web}, want: ".x"},
		"none may go":                 {budgets: []policyv1.PodDisruptionBudget{budgetOf("web", 2, 2)}, pods: []Pod{web}, want: "x"},
		"pending pods always go":      {budgets: []policyv1.PodDisruptionBudget{budgetOf("web", 2, 2)}, pods: []Pod{pending}, want: "."},
		"unready, enough are healthy": {budgets: []policyv1.PodDisruptionBudget{budgetOf("web", 2, 2)}, pods: []Pod{unready, web}, want: ".x"},
		"unready, too few":            {budgets: []policyv1.PodDisruptionBudget{budgetOf("web", 1, 2)}, pods: []Pod{unready}, want: "x"},
		"unready, always allowed":     {budgets: []policyv1.PodDisruptionBudget{always}, pods: []Pod{unready}, want: "."},
		"another namespace":           {budgets: []policyv1.PodDisruptionBudget{budgetOf("web", 2, 2)}, pods: []Pod{elsewhere}, want: "."},
		"two budgets":                 {budgets: []policyv1.PodDisruptionBudget{budgetOf("web", 3, 2), second}, pods: []Pod{web}, want: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			budgets := NewBudgets(test.budgets)
			for range 2 { // the same after Reset
				got := ""
				for i := range test.pods {
					if blocker := budgets.Evict(&test.pods[i]); blocker == nil {
						got += "."
					} else if got += "x"; blocker.Kind != BlockedByBudget || !strings.Contains(blocker.Reason, "default/web") {
						t.Errorf("blocker %+v", blocker)
					}
				}
				if got != test.want {
					t.Errorf("%s, want %s", got, test.want)
				}
				budgets.Reset()
			}
		})
	}
}

func TestBudgetRecovers(t *testing.T) {
	web := Pod{Namespace: "default", Name: "web", Labels: map[string]string{"app": "web"}, Ready: true}
	budgets := NewBudgets([]policyv1.PodDisruptionBudget{budgetOf("web", 3, 2)})
	budgets.Remove(&web)
	if budgets.Evict(&web) == nil {
		t.Error("evicted, though one is gone already")
	}
	budgets.Add(&web)
	if blocker := budgets.Evict(&web); blocker != nil {
		t.Errorf("refused after another one is ready: %s", blocker.Reason)
	}
}

func TestKeptBecause(t *testing.T) {
	for want, pod := range map[string]Pod{
		"":                   {Name: "web"},
		"mirror pod":         {Mirror: true},
		"pod of a DaemonSet": {DaemonSet: true},
		"annotation":         {Preferences: PreferSkip},
	} {
		if got := KeptBecause(&pod, nil); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%+v: %q, want %q", pod, got, want)
		}
	}
}
